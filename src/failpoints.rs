//! Failpoints: places where a test makes the program abort, wait, panic or fail.
//!
//! They are compiled in with the feature `failpoints` only, which no build for use has. `FAILPOINTS` in the
//! environment gives the orders, in the words of the crate `fail`: `claim-committed=3*off->1*return(abort)` aborts
//! the process when the fourth claim has been committed. The orders are `abort`, `panic`, `sleep:MILLISECONDS`, and
//! `error` where the place can fail. `tests/failpoints/main.rs` uses them all.

/// A place in async code: `failpoint!("name")`, or `failpoint!("name", error)` where it can fail.
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($($any:tt)*) => {};
}

/// A place in async code: `failpoint!("name")`, or `failpoint!("name", error)` where it can fail; with `blocking`
/// before the name in code that is not async.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    (blocking $name:literal, $error:expr) => {
        if $crate::failpoints::reached_blocking($name) {
            return Err($error);
        }
    };
    ($name:literal) => {
        let _ = $crate::failpoints::reached($name).await;
    };
    ($name:literal, $error:expr) => {
        if $crate::failpoints::reached($name).await {
            return Err($error);
        }
    };
}
pub(crate) use failpoint;

#[cfg(feature = "failpoints")]
pub use armed::{arm, reached, reached_blocking};

#[cfg(feature = "failpoints")]
mod armed {
    use std::time::Duration;

    /// Takes the orders from the environment, for as long as the process lives.
    pub fn arm() {
        std::mem::forget(fail::FailScenario::setup());
    }

    /// Does what is ordered here; true: the place is to fail.
    pub async fn reached(name: &str) -> bool {
        match ordered(name) {
            Some(Order::Sleep(pause)) => tokio::time::sleep(pause).await,
            Some(Order::Fail) => return true,
            None => {}
        }
        false
    }

    /// The same in code that is not async.
    #[must_use]
    pub fn reached_blocking(name: &str) -> bool {
        match ordered(name) {
            Some(Order::Sleep(pause)) => std::thread::sleep(pause),
            Some(Order::Fail) => return true,
            None => {}
        }
        false
    }

    enum Order {
        Sleep(Duration),
        Fail,
    }

    fn ordered(name: &str) -> Option<Order> {
        let order = argument(name)?;
        tracing::warn!(name, order, "a failpoint");
        match order.split_once(':') {
            Some(("sleep", millis)) => Some(Order::Sleep(Duration::from_millis(millis.parse().ok()?))),
            _ if order == "error" => Some(Order::Fail),
            _ if order == "abort" => std::process::abort(),
            #[expect(clippy::panic, reason = "what was ordered")]
            _ => panic!("a failpoint"),
        }
    }

    fn argument(name: &str) -> Option<String> {
        fail::fail_point!(name, |argument| Some(argument.unwrap_or_default()));
        None
    }
}
