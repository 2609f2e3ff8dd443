//! Supervision: the tasks beside the dispatcher, none of which ends by itself while the service runs.

use std::future::Future;
use tokio::task::JoinSet;

/// Tasks that end with the service; all are aborted when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Helpers(JoinSet<&'static str>);

impl Helpers {
    /// Starts one; `name` says what it does, to follow "… ended".
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits until one of them has ended, and says which; a panic says where itself.
    pub(super) async fn first_end(&mut self) -> String {
        match self.0.join_next().await {
            Some(Ok(name)) => format!("the task for {name}"),
            Some(Err(error)) => format!("a task beside the dispatcher ({error})"),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_to_end_is_named() {
        let mut helpers = Helpers::default();
        helpers.spawn("waiting", std::future::pending());
        helpers.spawn("ending", async {});
        assert_eq!(helpers.first_end().await, "the task for ending");
    }

    #[tokio::test]
    async fn a_panic_is_an_end() {
        let mut helpers = Helpers::default();
        helpers.spawn("waiting", std::future::pending());
        helpers.spawn("panicking", async { panic!("broken") });
        let ended = helpers.first_end().await;
        assert!(ended.contains("panicked") && ended.contains("broken"), "{ended}");
    }
}
