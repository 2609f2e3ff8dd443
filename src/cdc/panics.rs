//! Keeps the panics of the replication libraries from ending anything but their stream, and off the terminal.

use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// Runs it; a panic in it comes back as its message, and is not printed.
pub(super) fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    // What the closure changes is either dropped with the stream or, like the position, changed only as a whole.
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(outer);
    result.map_err(|panic| message(panic.as_ref()))
}

/// The same for a future: each of its polls.
pub(super) async fn quietly_await<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|context| match quietly(|| future.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_its_message() {
        assert_eq!(quietly(|| 7), Ok(7));
        assert_eq!(quietly(|| -> u8 { panic!("index {} out of range", 3) }), Err("index 3 out of range".into()));
        assert_eq!(quietly(|| -> u8 { panic!("plain") }), Err("plain".into()));
    }

    #[tokio::test]
    async fn a_future_may_panic_too() {
        assert_eq!(quietly_await(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("late")
        };
        assert_eq!(quietly_await::<_>(late).await, Err::<(), _>("late".to_owned()));
    }
}
