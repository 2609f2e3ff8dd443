//! Waiting for something to become true: look again with growing pauses, never sleep and hope.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` gives something, and gives that; panics with `what` when the deadline passes first.
pub async fn eventually<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Looks until `holds` says yes; panics with `what` when the deadline passes first.
pub async fn until(what: &str, deadline: Duration, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, deadline, async || holds().await.then_some(())).await;
}

/// Looks again and again for the whole time: panics with `what` as soon as `holds` says no.
pub async fn throughout(what: &str, time: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(holds().await, "after {:?} no more: {what}", start.elapsed());
        tokio::time::sleep(LONGEST_PAUSE.min(time)).await;
    }
}

#[tokio::test]
async fn eventually_gives_what_it_found() {
    let mut looks = 0;
    let found = eventually("the third look", Duration::from_secs(5), async || {
        looks += 1;
        (looks == 3).then_some("here")
    })
    .await;
    assert_eq!((found, looks), ("here", 3));
}

#[tokio::test]
#[should_panic(expected = "not within 5ms: a miracle")]
async fn eventually_gives_up_at_the_deadline() {
    until("a miracle", Duration::from_millis(5), async || false).await;
}
