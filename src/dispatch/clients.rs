//! Clients: the HTTP client of now, and a new one when this process has no more files to open.
//!
//! A client bounds its kept connections for each host, but not over all of them: with many hosts they may be more than
//! the process may open files. They are closed with the client that keeps them.

use super::client::{CallClient, ClientError};
use super::names::LookupError;
use super::network::Denied;
use super::redirects::SendError;
use super::request::CallSpec;
use crate::config::Config;
use crate::job::{Attempt, JobId};
use bytes::Bytes;
use reqwest::{Request, Response, Url};
use rustix::io::Errno;
use std::error::Error;
use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The calls of one lack all notice it; one new client is enough for them.
const RENEWED_FOR: Duration = Duration::from_secs(1);

/// Making a client opens files itself: those of the authorities.
const FILES_FOR_A_CLIENT: usize = 4;

/// The client of now.
#[derive(Debug)]
pub struct Clients {
    config: Config,
    now: RwLock<Now>,
}

#[derive(Debug)]
struct Now {
    client: Arc<CallClient>,
    renewed: Option<Instant>,
    /// Held open for the time when no more can be opened.
    spare: Vec<File>,
}

impl Clients {
    /// The first client, as the settings say.
    pub fn new(config: &Config) -> Result<Clients, ClientError> {
        let client = Arc::new(CallClient::new(config)?);
        let now = Now { client, renewed: None, spare: spare_files() };
        Ok(Clients { config: config.clone(), now: RwLock::new(now) })
    }

    fn now(&self) -> Arc<CallClient> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).client)
    }

    /// As [`CallClient::check`].
    pub fn check(&self, url: &Url) -> Result<(), Denied> {
        self.now().check(url)
    }

    /// As [`CallClient::request`].
    pub fn request(
        &self,
        job: (JobId, Attempt),
        call: &CallSpec,
        body: Option<Bytes>,
    ) -> Result<Request, reqwest::Error> {
        self.now().request(job, call, body)
    }

    /// As [`CallClient::send`].
    pub async fn send(&self, request: Box<Request>) -> Result<Response, SendError> {
        self.now().send(request).await
    }

    /// Closes the connections that are kept and not used now.
    pub fn close_kept(&self) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.renewed.is_some_and(|at| at.elapsed() < RENEWED_FOR) {
            return;
        }
        tracing::warn!("no more files can be opened: kept connections are closed, and calls wait; raise `ulimit -n`");
        now.renewed = Some(Instant::now());
        now.spare.clear();
        match now.client.renewed(&self.config) {
            Ok(client) => now.client = Arc::new(client),
            Err(error) => tracing::warn!(%error, "kept connections stay open"),
        }
        now.spare = spare_files();
    }
}

fn spare_files() -> Vec<File> {
    std::iter::repeat_with(|| File::open("/dev/null")).take(FILES_FOR_A_CLIENT).filter_map(Result::ok).collect()
}

/// Whether this process, or the machine, may open no more files: a lack of ours, which no job is charged for.
pub fn is_out_of_files(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let is_lack = match error.downcast_ref::<LookupError>() {
            // The machine's resolver may keep its reasons to itself.
            Some(lookup) => {
                is_lack_of_files(lookup.reason())
                    || File::open("/dev/null").is_err_and(|error| is_lack_of_files(&error))
            }
            None => error.downcast_ref().is_some_and(is_lack_of_files),
        };
        if is_lack {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_lack_of_files(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| lacks.contains(&code))
}
