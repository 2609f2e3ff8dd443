//! Client: the HTTP client that all calls share, and what goes into a request.

use super::network::{Denied, GuardedResolver, check_literal, redirects};
use super::request::CallSpec;
use crate::config::{ApiConfig, Config, HttpConfig, NetworkSet};
use crate::job::{Attempt, JobId};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Request, Url};
use std::sync::Arc;
use std::time::Duration;

/// The ancestor's name for the job's number.
const ANCESTOR_JOB_ID: HeaderName = HeaderName::from_static("x-bitlancer-job-id");
const JOB_ID: HeaderName = HeaderName::from_static("strings-queue-job-id");
const ATTEMPT: HeaderName = HeaderName::from_static("strings-queue-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long an unused connection to a handler is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct ClientError(String);

/// The client that makes all calls, with its pool of connections.
#[derive(Debug, Clone)]
pub struct CallClient {
    client: Client,
    api: ApiConfig,
    denied: Arc<NetworkSet>,
}

impl CallClient {
    /// A client as the settings say.
    pub fn new(config: &Config) -> Result<CallClient, ClientError> {
        install_tls_provider();
        let HttpConfig { connect_timeout, max_redirects, .. } = config.http;
        let denied = Arc::new(config.http.deny_networks.clone());
        let client = Client::builder()
            .user_agent(concat!("strings-queue/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(KEEP_ALIVE)
            .pool_max_idle_per_host(config.dispatch.max_in_flight_per_host)
            .tcp_nodelay(true)
            // It would tell the next host the URL of the one before, secrets and all.
            .referer(false)
            .dns_resolver(Arc::new(GuardedResolver(Arc::clone(&denied))))
            .redirect(redirects(max_redirects, Arc::clone(&denied)))
            // The environment of a service is no place for the route of its calls.
            .no_proxy()
            .build()
            .map_err(|error| ClientError(error.to_string()))?;
        Ok(CallClient { client, api: config.api.clone(), denied })
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
        body: Option<Vec<u8>>,
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
    pub async fn send(&self, request: Request) -> Result<reqwest::Response, reqwest::Error> {
        self.client.execute(request).await
    }

    /// Our credentials, for the hosts that get them; a URL's own go first.
    fn credentials_for(&self, url: &Url) -> Option<(&str, &str)> {
        let (user, password) = self.api.credentials.as_ref()?;
        let own = !url.username().is_empty() || url.password().is_some();
        (!own && is_listed(&self.api.hosts, url)).then(|| (user.as_str(), password.reveal()))
    }
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
