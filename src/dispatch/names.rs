//! Names: one lookup for each name at a time, whoever asks, so that a name whose servers are silent holds one
//! thread and not all of them.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How many names are looked up at once. Each lookup holds a thread of the runtime's for blocking work, for as long
/// as the machine's resolver takes, which may outlast the call. The runtime has 512: the rest is left to others, such
/// as the connections to the database.
const LOOKUPS_AT_ONCE: usize = 400;

/// What a lookup found; shared by all that waited for it.
type Found = Result<Arc<[IpAddr]>, LookupError>;
/// Tells what was found, when the lookup has ended.
type Lookup = watch::Receiver<Option<Found>>;

/// A name without an address.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(Arc<io::Error>);

impl LookupError {
    /// What the machine said.
    #[must_use]
    pub fn reason(&self) -> &io::Error {
        &self.0
    }
}

/// The lookups under way. Share it in an `Arc`.
#[derive(Debug)]
pub struct Names {
    lookups: Mutex<HashMap<String, Lookup>>,
    free: Arc<Semaphore>,
}

impl Default for Names {
    fn default() -> Names {
        Names { lookups: Mutex::default(), free: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)) }
    }
}

impl Names {
    /// The addresses of a name, as this machine's resolver tells them: files, name servers and all.
    pub async fn look_up(self: &Arc<Self>, name: &str) -> Found {
        let under_way = self.lookups().get(name).filter(|lookup| is_under_way(lookup)).cloned();
        let mut lookup = match under_way {
            Some(lookup) => lookup,
            None => self.begin(name, Arc::clone(&self.free).acquire_owned().await.ok()),
        };
        let found = lookup.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Err(LookupError(Arc::new(io::Error::other("the lookup was broken off")))))
    }

    /// Begins a lookup, or joins one that was begun while we waited for a permit.
    fn begin(self: &Arc<Self>, name: &str, permit: Option<OwnedSemaphorePermit>) -> Lookup {
        let mut lookups = self.lookups();
        if let Some(lookup) = lookups.get(name).filter(|lookup| is_under_way(lookup)) {
            return lookup.clone();
        }
        let (tell, lookup) = watch::channel(None);
        lookups.insert(name.to_owned(), lookup.clone());
        let (names, name) = (Arc::clone(self), name.to_owned());
        // In a task of its own: the one who asked may give up, while others have come to wait for it.
        tokio::spawn(async move {
            let found = ask(&name).await;
            // Before it is told: who asks from now on is not to hear what was true before.
            names.lookups().remove(&name);
            tell.send_replace(Some(found));
            drop(permit);
        });
        lookup
    }

    fn lookups(&self) -> MutexGuard<'_, HashMap<String, Lookup>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One whose task has panicked, for want of a thread perhaps, will never tell.
fn is_under_way(lookup: &Lookup) -> bool {
    lookup.has_changed().is_ok()
}

async fn ask(name: &str) -> Found {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => Ok(found.map(|address| address.ip()).collect()),
        Err(error) => Err(LookupError(Arc::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_ask_at_once_share_a_lookup_and_it_is_forgotten_afterwards() {
        let names = Arc::new(Names::default());
        let (first, second) = (names.begin("localhost", None), names.begin("localhost", None));
        assert!(first.same_channel(&second));
        assert!(names.look_up("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
        assert!(names.lookups().is_empty());
        assert!(!names.begin("localhost", None).same_channel(&first));
    }

    #[tokio::test]
    async fn a_lookup_goes_on_when_the_one_who_asked_has_given_up() {
        let names = Arc::new(Names::default());
        let asking = names.look_up("localhost");
        tokio::select! { biased; _ = asking => {} () = std::future::ready(()) => {} }
        let mut lookup = names.begin("localhost", None);
        assert!(lookup.wait_for(Option::is_some).await.unwrap().as_ref().unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_lookup_that_was_broken_off_is_begun_anew() {
        let names = Arc::new(Names::default());
        let (tell, lookup) = watch::channel(None);
        names.lookups().insert("localhost".to_owned(), lookup);
        drop(tell);
        assert!(names.look_up("localhost").await.is_ok());
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_asked_for_is_an_error_for_all() {
        let (names, name) = (Arc::new(Names::default()), format!("{}.invalid", "x".repeat(70)));
        let (first, second) = tokio::join!(names.look_up(&name), names.look_up(&name));
        assert_eq!(first.unwrap_err().to_string(), second.unwrap_err().to_string());
    }
}
