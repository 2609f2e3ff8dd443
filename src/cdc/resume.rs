//! Where the next stream starts, and what the sweep that follows is for. Pure.

use super::error::StreamError;
use crate::followed::BinlogPosition;
use crate::wakeup::SweepCause;
use std::time::Duration;

/// So many streams in a row that ended at the place where they began: there is something that can't be read.
const STUCK: u32 = 5;

/// A stream that lived this long was a success, unless it was silence that ended it.
pub(super) const HEALTHY: Duration = Duration::from_secs(10);

/// Where a stream starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) position: BinlogPosition,
    /// Why the sweep at its start is made.
    pub(super) cause: SweepCause,
}

/// What is remembered from stream to stream.
#[derive(Debug)]
pub(super) struct Resume<S> {
    server: Option<S>,
    bookmark: Option<BinlogPosition>,
    ever_open: bool,
    stuck: u32,
}

impl<S: PartialEq> Resume<S> {
    pub(super) fn new() -> Self {
        Resume { server: None, bookmark: None, ever_open: false, stuck: 0 }
    }

    /// Where to start on this server, whose log ends at `head`: where we were, if it is the same server and its log
    /// was not begun anew, else at the end.
    pub(super) fn start(&mut self, server: S, head: BinlogPosition) -> Start {
        let same_server = self.server.as_ref() == Some(&server);
        self.server = Some(server);
        if !same_server || self.stuck >= STUCK || self.bookmark.as_ref().is_some_and(|mark| mark.is_beyond(&head)) {
            self.bookmark = None;
            self.stuck = 0;
        }
        match (&self.bookmark, self.ever_open) {
            (Some(bookmark), _) => Start { position: bookmark.clone(), cause: SweepCause::Resumed },
            (None, true) => Start { position: head, cause: SweepCause::Gap },
            (None, false) => Start { position: head, cause: SweepCause::Start },
        }
    }

    /// How much longer than is usual the next stream may wait for an event: twice as long each time that one ended where it
    /// began, for the event there may be so large that it takes its time.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        usual.saturating_mul(1 << self.stuck.min(STUCK))
    }

    /// A stream ended at that bookmark, so long after the server had begun to send; none: it never had.
    pub(super) fn stream_ended(&mut self, bookmark: &BinlogPosition, lived: Option<Duration>, error: &StreamError) {
        let opened = lived.is_some();
        self.ever_open |= opened;
        // What can't be read ends a stream at once: this one was cut off while there was nothing to read.
        let was_idle = lived.is_some_and(|lived| lived >= HEALTHY)
            && matches!(error, StreamError::Closed(_) | StreamError::Server { .. });
        // The reader of a server that was left is gone, and with it the place that it had come to.
        if error.is_position_lost() || matches!(error, StreamError::Moved) {
            self.bookmark = None;
        } else if opened {
            let is_stuck = self.bookmark.as_ref() == Some(bookmark) && !was_idle;
            self.stuck = if is_stuck { self.stuck + 1 } else { 0 };
            self.bookmark = Some(bookmark.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> BinlogPosition {
        BinlogPosition { file: "b.000001".into(), offset }
    }

    fn closed() -> StreamError {
        StreamError::Closed("end of file".into())
    }

    fn opened_at(offset: u64) -> Resume<&'static str> {
        let mut resume = Resume::new();
        assert_eq!(resume.start("a", at(100)), Start { position: at(100), cause: SweepCause::Start });
        resume.stream_ended(&at(offset), Some(Duration::from_secs(1)), &closed());
        resume
    }

    #[test]
    fn the_next_stream_starts_at_the_bookmark() {
        assert_eq!(opened_at(150).start("a", at(900)), Start { position: at(150), cause: SweepCause::Resumed });
    }

    #[test]
    fn a_stream_that_never_opened_leaves_the_start_a_start() {
        let mut resume = Resume::new();
        resume.start("a", at(100));
        resume.stream_ended(&at(100), None, &closed());
        assert_eq!(resume.start("a", at(200)), Start { position: at(200), cause: SweepCause::Start });
    }

    #[test]
    fn a_lost_position_another_server_and_a_new_log_are_gaps() {
        let gap = Start { position: at(200), cause: SweepCause::Gap };
        let mut resume = opened_at(150);
        resume.stream_ended(&at(150), None, &StreamError::Server { code: 1236, message: "purged".into() });
        assert_eq!(resume.start("a", at(200)), gap);
        assert_eq!(opened_at(150).start("b", at(200)), gap);
        assert_eq!(opened_at(201).start("a", at(200)), gap);
    }

    #[test]
    fn streams_that_are_cut_off_in_idleness_are_taken_up_where_they_were_however_often() {
        let mut resume = opened_at(150);
        for _ in 0..2 * STUCK {
            resume.stream_ended(&at(150), Some(HEALTHY), &closed());
            assert_eq!(resume.start("a", at(150)).cause, SweepCause::Resumed);
        }
    }

    #[test]
    fn an_event_that_takes_its_time_gets_more_each_time() {
        let (mut resume, usual) = (opened_at(150), Duration::from_secs(10));
        assert_eq!(resume.patience(usual), usual);
        for times in [2, 4, 8] {
            resume.stream_ended(&at(150), Some(usual * 2), &StreamError::Silent(usual));
            assert_eq!(resume.patience(usual), usual * times);
        }
        resume.stream_ended(&at(900), Some(usual * 2), &closed());
        assert_eq!(resume.patience(usual), usual);
    }

    #[test]
    fn what_can_not_be_read_is_passed_after_some_tries() {
        let mut resume = opened_at(150);
        for _ in 0..STUCK {
            assert_eq!(resume.start("a", at(900)).cause, SweepCause::Resumed);
            resume.stream_ended(&at(150), Some(Duration::from_secs(1)), &StreamError::Malformed);
        }
        assert_eq!(resume.start("a", at(900)), Start { position: at(900), cause: SweepCause::Gap });
    }
}
