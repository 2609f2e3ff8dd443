//! Our number as a replication client. Two clients with one number throw each other out for ever.

use super::error::StreamError;
use rand::Rng;
use std::time::Duration;

/// Random numbers begin here: people give their servers small ones.
const LOWEST: u32 = 1 << 30;
/// A stream that the server closes within this time may have been thrown out by a client with our number.
const SOON: Duration = Duration::from_secs(20);
/// So many of them in a row are no accident.
const SUSPICIOUS: u32 = 3;

/// The number we use, and what we know of its being taken.
#[derive(Debug)]
pub(super) struct ServerId {
    number: u32,
    closed_soon: u32,
}

impl ServerId {
    /// The configured number, or a random one.
    pub(super) fn new(configured: Option<u32>) -> Self {
        ServerId { number: configured.unwrap_or_else(random), closed_soon: 0 }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// A stream that had been opened ended after `lived`. Returns the number given up if another one was taken.
    pub(super) fn stream_ended(&mut self, error: &StreamError, lived: Duration) -> Option<u32> {
        let clash = error.is_duplicate_server_id();
        self.closed_soon = if error.is_closed() && lived < SOON { self.closed_soon + 1 } else { 0 };
        if !clash && self.closed_soon < SUSPICIOUS {
            return None;
        }
        let given_up = self.number;
        *self = ServerId::new(None);
        Some(given_up)
    }
}

fn random() -> u32 {
    rand::rng().random_range(LOWEST..u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> StreamError {
        StreamError::Closed("end of file".into())
    }

    #[test]
    fn random_numbers_are_high() {
        for _ in 0..100 {
            assert!(ServerId::new(None).number() >= LOWEST);
        }
        assert_eq!(ServerId::new(Some(7)).number(), 7);
    }

    #[test]
    fn a_clash_takes_another_number_at_once() {
        let mut id = ServerId::new(Some(7));
        let clash = StreamError::Server { code: 1236, message: "a slave with the same server_id".into() };
        assert_eq!(id.stream_ended(&clash, SOON * 10), Some(7));
        assert_ne!(id.number(), 7);
    }

    #[test]
    fn streams_closed_soon_and_again_are_a_clash_too() {
        let mut id = ServerId::new(Some(7));
        assert_eq!(id.stream_ended(&closed(), Duration::ZERO), None);
        assert_eq!(id.stream_ended(&closed(), SOON), None, "it lived");
        assert_eq!(id.stream_ended(&closed(), Duration::ZERO), None);
        assert_eq!(id.stream_ended(&closed(), Duration::ZERO), None);
        assert_eq!(id.stream_ended(&closed(), Duration::ZERO), Some(7));
    }
}
