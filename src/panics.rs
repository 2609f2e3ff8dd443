//! Keeps a panic from ending more than what it broke: a stream of the log, one call. It comes back as its message,
//! and stays off the terminal, for whoever handles it logs it as one line.

use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Once;
use std::task::Poll;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic was that was kept quiet.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}
static HOOK: Once = Once::new();

/// Runs it; a panic in it comes back as its message and its place in the sources, and is not printed.
pub fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                PLACE.set(info.location().map(ToString::to_string));
            } else {
                before(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    // What the closure changes is either dropped with it or, like the position, changed only as a whole.
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(outer);
    result.map_err(|panic| message(panic.as_ref()))
}

/// The same for a future: each of its polls. It stays where it is: what is moved into an async function takes its room twice.
pub async fn quietly_await<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, String> {
    poll_fn(|context| match quietly(|| future.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let place = PLACE.take().unwrap_or_else(|| "an unknown place".to_owned());
    format!("{} at {place}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn is_of_here(result: &Result<(), String>, message: &str) -> bool {
        result.as_ref().is_err_and(|panic| panic.starts_with(message) && panic.contains(" at src/panics.rs:"))
    }

    #[test]
    fn a_panic_comes_back_as_its_message_and_its_place() {
        assert_eq!(quietly(|| 7), Ok(7));
        assert!(is_of_here(&quietly(|| panic!("index {} out of range", 3)), "index 3 out of range at "));
        assert!(is_of_here(&quietly(|| panic!("plain")), "plain at "));
    }

    #[tokio::test]
    async fn a_future_may_panic_too() {
        assert_eq!(quietly_await(pin!(async { 7 })).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("late")
        };
        assert!(is_of_here(&quietly_await(pin!(late)).await, "late at "));
    }
}
