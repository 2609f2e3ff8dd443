//! Client: the HTTP client that all calls share, and what goes into a request.

use super::network::{Denied, GuardedResolver, check_literal};
use super::redirects::{SendError, redirect, target};
use super::request::CallSpec;
use crate::config::{ApiConfig, Config, NetworkSet, StatusSet};
use crate::job::{Attempt, JobId};
use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Request, Response, Url};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The ancestor's name for the job's number.
const ANCESTOR_JOB_ID: HeaderName = HeaderName::from_static("x-bitlancer-job-id");
const JOB_ID: HeaderName = HeaderName::from_static("strings-queue-job-id");
const ATTEMPT: HeaderName = HeaderName::from_static("strings-queue-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long an unused connection to a handler is kept: less than handlers do (many of them five seconds). One that is closed
/// there just as a request goes out breaks that call, and nobody can tell whether it was begun.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// How long a handler may leave unread what it was sent, as a large body that waits for a free worker; and how long one that
/// vanished may be waited for. The library would allow 30 seconds, whatever time the call has.
const UNREAD_FOR: Duration = Duration::from_secs(300);
/// After how long a silence during a call a connection of HTTP/2 is asked whether it lives, and how long it may take to answer:
/// a handler that computes for a while, and does nothing beside that, is alive. Some handlers count the questions, and close
/// the connection of who asks too often (Tomcat: "overheadCountFactor" in its manual).
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// By its library.
    #[error("the HTTP client cannot be set up: {0}")]
    Build(String),
    /// The file of `ca_file`.
    #[error("the certificates in {file} of [http] ca_file can't be used: {reason}", file = file.display())]
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The client that makes all calls, with its pool of connections.
#[derive(Debug, Clone)]
pub struct CallClient {
    client: Client,
    api: ApiConfig,
    denied: Arc<NetworkSet>,
    max_redirects: usize,
    /// What the settings say of these they say of redirects too: such a one is an answer.
    listed: [StatusSet; 2],
    /// It knows no certificate authorities, for there are none.
    trusts_nobody: bool,
}

impl CallClient {
    /// A client as the settings say.
    pub fn new(config: &Config) -> Result<CallClient, ClientError> {
        install_tls_provider();
        let denied = Arc::new(config.http.deny_networks.clone());
        let (client, trusts_nobody) = match &config.http.ca_file {
            Some(file) => (with_more_authorities(config, &denied, file)?, false),
            None => with_the_machines_authorities(config, &denied)?,
        };
        let (api, max_redirects) = (config.api.clone(), config.http.max_redirects);
        let listed = [config.http.success_statuses.clone(), config.http.retry_statuses.clone()];
        Ok(CallClient { client, api, denied, max_redirects, listed, trusts_nobody })
    }

    /// Another one in this one's place. One that has lost the authorities, as where no more files can be opened, is none.
    pub fn renewed(&self, config: &Config) -> Result<CallClient, ClientError> {
        let client = CallClient::new(config)?;
        if client.trusts_nobody && !self.trusts_nobody {
            return Err(ClientError::Build("the certificate authorities could not be read".to_owned()));
        }
        Ok(client)
    }

    /// Whether the URL's own address may be called; a name is checked when it is resolved.
    pub fn check(&self, url: &Url) -> Result<(), Denied> {
        check_literal(url, &self.denied)
    }

    /// The request of one try of a job.
    pub fn request(
        &self,
        (job, attempt): (JobId, Attempt),
        call: &CallSpec,
        body: Option<Bytes>,
    ) -> Result<Request, reqwest::Error> {
        let number = HeaderValue::from(job.0);
        let mut builder = self
            .client
            .request(call.method.clone(), call.url.clone())
            .header(ANCESTOR_JOB_ID, number.clone())
            .header(JOB_ID, number)
            .header(ATTEMPT, attempt.0)
            .header(IDEMPOTENCY_KEY, format!("strings-queue-{job}"));
        if let Some((user, password)) = self.credentials_for(&call.url) {
            builder = builder.basic_auth(user, Some(password));
        }
        if let Some(body) = body {
            builder = builder.body(body);
        }
        builder.build()
    }

    /// Sends it, following redirects; the answer's headers are in when this returns.
    pub async fn send(&self, mut request: Box<Request>) -> Result<Response, SendError> {
        let mut redirects = 0;
        loop {
            // Bodies are shared, not copied, and none is a stream.
            let again = request.try_clone().map(Box::new);
            let sent = self.client.execute(*request).await;
            let response = sent.map_err(if redirects == 0 { SendError::Http } else { SendError::Behind })?;
            if self.listed.iter().any(|statuses| statuses.contains(response.status().as_u16())) {
                return Ok(response);
            }
            let Some((target, mut next)) = target(&response)?.zip(again) else { return Ok(response) };
            if redirects == self.max_redirects {
                return Err(SendError::TooMany(redirects));
            }
            redirects += 1;
            self.check(&target)?;
            redirect(&mut next, response.status(), target);
            request = next;
        }
    }

    /// Our credentials, for the hosts that get them; a URL's own go first.
    fn credentials_for(&self, url: &Url) -> Option<(&str, &str)> {
        let (user, password) = self.api.credentials.as_ref()?;
        let own = !url.username().is_empty() || url.password().is_some();
        (!own && is_listed(&self.api.hosts, url)).then(|| (user.as_str(), password.reveal()))
    }
}

fn builder(config: &Config, denied: &Arc<NetworkSet>) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("strings-queue/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.http.connect_timeout)
        .pool_idle_timeout(KEEP_ALIVE)
        .pool_max_idle_per_host(config.dispatch.max_in_flight_per_host)
        .tcp_nodelay(true)
        .tcp_user_timeout(UNREAD_FOR)
        // One connection of HTTP/2 carries many calls: a dead one must not swallow them until TCP gives it up.
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(false)
        // It would tell the next host the URL of the one before, secrets and all.
        .referer(false)
        .dns_resolver(Arc::new(GuardedResolver::new(Arc::clone(denied))))
        .redirect(Policy::none())
        // The environment of a service is no place for the route of its calls.
        .no_proxy()
}

/// Plain HTTP needs no authorities, so their lack is no reason not to start; true if they lack.
fn with_the_machines_authorities(config: &Config, denied: &Arc<NetworkSet>) -> Result<(Client, bool), ClientError> {
    let error = match builder(config, denied).build() {
        Ok(client) => return Ok((client, false)),
        Err(error) => error,
    };
    let client = builder(config, denied).tls_certs_only([]).build().map_err(|_| build_error(&error))?;
    tracing::warn!(
        error = innermost(&error),
        "https handlers can't be called, for this machine knows no certificate authorities: \
         install ca-certificates, or name a file in [http] ca_file"
    );
    Ok((client, true))
}

fn with_more_authorities(config: &Config, denied: &Arc<NetworkSet>, file: &Path) -> Result<Client, ClientError> {
    let fault = |reason: String| ClientError::Authorities { file: file.to_owned(), reason };
    let pem = std::fs::read(file).map_err(|error| fault(error.to_string()))?;
    let more = Certificate::from_pem_bundle(&pem).map_err(|error| fault(innermost(&error)))?;
    builder(config, denied).tls_certs_merge(more).build().map_err(|error| fault(innermost(&error)))
}

fn build_error(error: &reqwest::Error) -> ClientError {
    ClientError::Build(innermost(error))
}

fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Whether the URL's host is in the list, with its port or without; an empty list holds all.
fn is_listed(hosts: &[String], url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}"));
    hosts.is_empty() || hosts.iter().any(|listed| listed == host || Some(listed) == with_port.as_ref())
}

/// reqwest takes the process's TLS provider. A second installation is refused, which is as good.
fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(hosts: &[&str], url: &str) -> bool {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        is_listed(&hosts, &Url::parse(url).unwrap())
    }

    #[test]
    fn credentials_go_to_listed_hosts_only() {
        assert!(listed(&[], "http://anywhere/"));
        assert!(listed(&["web"], "https://web:8443/") && listed(&["web:8443"], "https://web:8443/"));
        assert!(!listed(&["web:80"], "https://web/") && !listed(&["web"], "http://web.example.com/"));
    }
}
