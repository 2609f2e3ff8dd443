//! How long to wait before connecting again: the one file that knows the `backoff` crate.
//!
//! The crate is unmaintained (RUSTSEC-2025-0012); replacing it is a change of this file alone.

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use std::time::Duration;

/// The pause before the first new try.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The growing, jittered pauses between tries to reach a server. Never gives up.
#[derive(Debug)]
pub struct ReconnectPauses(ExponentialBackoff);

impl Default for ReconnectPauses {
    fn default() -> Self {
        ReconnectPauses(ExponentialBackoff {
            current_interval: FIRST_PAUSE,
            initial_interval: FIRST_PAUSE,
            max_interval: LONGEST_PAUSE,
            multiplier: 2.0,
            randomization_factor: 0.3,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }
}

impl ReconnectPauses {
    /// The next pause: about double the last one, up to five seconds and its jitter.
    pub fn next_pause(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(LONGEST_PAUSE)
    }

    /// Begins again at the shortest pause, after a success.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_end() {
        let mut pauses = ReconnectPauses::default();
        assert!(pauses.next_pause() < FIRST_PAUSE * 2);
        for _ in 0..100 {
            assert!(pauses.next_pause() <= LONGEST_PAUSE.mul_f64(1.3));
        }
        assert!(pauses.next_pause() >= LONGEST_PAUSE.mul_f64(0.7));
        pauses.reset();
        assert!(pauses.next_pause() < FIRST_PAUSE * 2);
    }
}
