//! Redirects: where an answer sends its call on to, and what of the request goes there. The HTTP library follows none: it
//! forgets, from one hop to the next, which host's credentials it had dropped.

use super::network::Denied;
use reqwest::header::{AUTHORIZATION, LOCATION};
use reqwest::{Method, Request, Response, StatusCode, Url};

/// A call that came to no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The request could not be sent, or its answer not be read.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// The same after a redirect: somebody has been called.
    #[error(transparent)]
    Behind(reqwest::Error),
    /// It was redirected to a denied address.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It was redirected once more often than the settings allow.
    #[error("more than {0} redirects")]
    TooMany(usize),
    /// It was redirected to something that can't be called.
    #[error("it leads to a URL of the scheme '{0}'")]
    Scheme(String),
}

/// Where the answer leads; none when it is the last. One that says nothing of use about that is the last too.
pub fn target(response: &Response) -> Result<Option<Url>, SendError> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| is_redirect);
    let location = location.and_then(|location| std::str::from_utf8(location.as_bytes()).ok());
    let Some(mut target) = location.and_then(|location| response.url().join(location).ok()) else { return Ok(None) };
    if !matches!(target.scheme(), "http" | "https") {
        return Err(SendError::Scheme(target.scheme().to_owned()));
    }
    // Whoever redirects has no say in who we are. Neither fails for a URL with a host.
    let _ = target.set_username("");
    let _ = target.set_password(None);
    Ok(Some(target))
}

/// Makes the request the one that follows an answer of this status (RFC 9110, section 15.4): credentials go no further than
/// their host and port, and do not come back with them.
pub fn redirect(request: &mut Request, status: StatusCode, target: Url) {
    let becomes_get = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method() == Method::POST,
        StatusCode::SEE_OTHER => {
            *request.body_mut() = None;
            request.method() != Method::HEAD
        }
        _ => false,
    };
    if becomes_get {
        *request.method_mut() = Method::GET;
        *request.body_mut() = None;
    }
    if !stays(request.url(), &target) {
        request.headers_mut().remove(AUTHORIZATION);
    }
    *request.url_mut() = target;
}

/// Whether it is the same server still, or the same host by TLS, each time at the usual port.
fn stays(from: &Url, to: &Url) -> bool {
    let door = |url: &Url| (url.scheme().to_owned(), url.port_or_known_default());
    let is_upgrade = door(from) == ("http".to_owned(), Some(80)) && door(to) == ("https".to_owned(), Some(443));
    from.host_str() == to.host_str() && (door(from) == door(to) || is_upgrade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_the_server_and_go_along_to_its_tls() {
        let goes = |from: &str, to: &str| stays(&from.parse().unwrap(), &to.parse().unwrap());
        for (from, to) in
            [("http://a/", "http://a:80/x"), ("http://a/", "https://a/x"), ("https://a:8443/", "https://a:8443/x")]
        {
            assert!(goes(from, to), "{from} {to}");
        }
        for (from, to) in [
            ("https://a/", "http://a/"),
            ("http://a:8080/", "https://a/"),
            ("http://a/", "https://a:8443/"),
            ("http://a/", "https://b/"),
            ("http://a/", "http://a.b/"),
        ] {
            assert!(!goes(from, to), "{from} {to}");
        }
    }
}
