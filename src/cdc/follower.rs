//! Takes the events in, one by one, rings for what they give to do, and keeps the position.
//!
//! Both clients push into this on their own thread or task, so that nothing stands between an event and the bell.

use super::decoder::{Change, Decoder};
use super::error::StreamError;
use super::event::{EventHeader, kind};
use super::layout::LayoutSlot;
use super::payload::{self, PayloadSink};
use super::position::{BinlogPosition, PositionTracker};
use super::table_map::TableName;
use super::transaction::{Step, Transactions};
use crate::metrics::{Counter, Metrics};
use crate::wakeup::{SweepCause, Wakeup};
use std::sync::Arc;
use tokio::sync::Notify;

/// What a follower rings, counts and shares.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) wakeup: Arc<Wakeup>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) layout: Arc<LayoutSlot>,
    /// Notified once the server has begun to send.
    pub(super) established: Arc<Notify>,
}

/// The reader of one stream.
#[derive(Debug)]
pub(super) struct Follower {
    decoder: Decoder,
    transactions: Transactions,
    tracker: PositionTracker,
    around: Surroundings,
    established: bool,
    transactions_read: u64,
}

impl Follower {
    pub(super) fn new(name: TableName, start: BinlogPosition, around: Surroundings) -> Self {
        Follower {
            decoder: Decoder::new(name, Arc::clone(&around.layout)),
            transactions: Transactions::default(),
            tracker: PositionTracker::new(start),
            around,
            established: false,
            transactions_read: 0,
        }
    }

    /// Where to take the stream up again.
    pub(super) fn bookmark(&self) -> &BinlogPosition {
        self.tracker.bookmark()
    }

    /// How many transactions went by.
    pub(super) fn transactions_read(&self) -> u64 {
        self.transactions_read
    }

    /// Takes in an event as it comes from the wire: header, body, and checksum if there is one.
    ///
    /// # Errors
    ///
    /// When it is shorter than an event can be.
    pub(super) fn wire_event(&mut self, event: &[u8]) -> Result<(), StreamError> {
        let header = EventHeader::parse(event).ok_or(StreamError::Malformed)?;
        let body = self.decoder.body(header, event).ok_or(StreamError::Malformed)?;
        self.event(header, body);
        Ok(())
    }

    /// Takes in an event without its checksum. Returns how many events it had within it.
    pub(super) fn event(&mut self, header: EventHeader, body: &[u8]) -> usize {
        self.around.metrics.increment(Counter::EventsRead);
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.format(header, body);
            return 0;
        }
        // The artificial rotation before it only repeats the position that we asked for, and not being told yet
        // whether there are checksums, one can't know where its name ends.
        if !self.established {
            return 0;
        }
        self.tracker.pass(header);
        if header.kind == kind::TRANSACTION_PAYLOAD {
            return self.payload(body);
        }
        match self.decoder.read(header, body, &mut self.transactions.work) {
            Change::Nothing => {}
            Change::Rotate(to) => self.tracker.rotate(to, header.is_artificial()),
            change => self.apply(change),
        }
        0
    }

    /// Whether an event that begins so has rows of other tables only, and may go by unread.
    pub(super) fn is_foreign(&self, event: &[u8]) -> bool {
        EventHeader::parse(event)
            .is_some_and(|header| self.decoder.is_foreign(header, event.get(EventHeader::LENGTH..).unwrap_or_default()))
    }

    /// An event that [`is_foreign`](Self::is_foreign) went by unread.
    pub(super) fn pass_by(&mut self, event: &[u8]) {
        self.around.metrics.increment(Counter::EventsRead);
        if let Some(header) = EventHeader::parse(event) {
            self.tracker.pass(header);
        }
    }

    fn format(&mut self, header: EventHeader, body: &[u8]) {
        self.decoder.format(body);
        self.transactions.abandon();
        self.tracker.pass(header);
        if !self.established {
            self.established = true;
            self.around.established.notify_one();
        }
    }

    fn apply(&mut self, change: Change) {
        match self.transactions.apply(change, &self.around.wakeup) {
            Step::Goes => {}
            Step::Began => self.tracker.begin(),
            Step::Ended => {
                self.tracker.end();
                self.transactions_read += 1;
            }
        }
    }

    /// A transaction in one event: it ends with it, wherever its inner end is.
    fn payload(&mut self, body: &[u8]) -> usize {
        let (decoder, transactions) = (&mut self.decoder, &mut self.transactions);
        let mut inside = Inside { decoder, transactions, count: 0, end: Change::End };
        if let Err(error) = payload::for_each_event(body, &mut inside) {
            tracing::warn!(%error, "a compressed transaction could not be read; sweeping instead");
            inside.transactions.work.sweep(SweepCause::Unreadable);
        }
        let Inside { count, end, .. } = inside;
        self.apply(end);
        count
    }
}

/// Takes in the events of a payload. They have no positions, and the transaction ends with the payload.
struct Inside<'a> {
    decoder: &'a mut Decoder,
    transactions: &'a mut Transactions,
    count: usize,
    /// How it ends: by a commit unless it was prepared.
    end: Change,
}

impl PayloadSink for Inside<'_> {
    fn skip(&mut self, header: EventHeader, peeked: &[u8]) -> bool {
        self.count += 1;
        self.decoder.is_foreign(header, peeked)
    }

    fn event(&mut self, header: EventHeader, body: &[u8]) {
        if let prepared @ Change::Prepare { .. } = self.decoder.read(header, body, &mut self.transactions.work) {
            self.end = prepared;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Layout;
    use super::super::testing::{
        self, Row, event, insert_transaction, payload_event, query_body, rotate_body, rows_body, table_map,
    };
    use super::*;
    use crate::job::JobId;
    use crate::wakeup::Hints;

    fn feed(follower: &mut Follower, events: &[Vec<u8>]) {
        for event in events {
            follower.wire_event(event).unwrap();
        }
    }

    fn hints_after(events: &[Vec<u8>]) -> Hints {
        let (mut follower, around) = testing::follower();
        feed(&mut follower, events);
        around.wakeup.take()
    }

    #[test]
    fn a_transaction_is_rung_for_at_its_end_and_moves_the_bookmark() {
        let (mut follower, around) = testing::follower();
        let events = insert_transaction(&[Row::available(3), Row::available(4)], 500);
        let (last, before) = events.split_last().unwrap();
        feed(&mut follower, before);
        assert!(around.wakeup.take().is_empty());
        assert_eq!((follower.bookmark().offset, follower.transactions_read()), (4, 0));
        follower.wire_event(last).unwrap();
        assert_eq!(around.wakeup.take().jobs, [JobId(3), JobId(4)]);
        assert_eq!((follower.bookmark().offset, follower.transactions_read()), (500, 1));
    }

    #[test]
    fn nothing_is_believed_before_the_format_is_known() {
        let (mut follower, around) = testing::follower();
        follower.established = false;
        feed(&mut follower, &[event(kind::ROTATE, 0, &rotate_body("other.000009", 4))]);
        feed(&mut follower, &insert_transaction(&[Row::available(3)], 500));
        assert!(around.wakeup.take().is_empty());
        assert_eq!(follower.bookmark().to_string(), "b.000001:4");
    }

    #[test]
    fn a_compressed_transaction_is_one_event() {
        let (mut follower, around) = testing::follower();
        let payload = payload_event(&[Row::available(3)], 700);
        let header = EventHeader::parse(&payload).unwrap();
        assert_eq!(follower.event(header, &payload[EventHeader::LENGTH..payload.len() - 4]), 6);
        assert_eq!(around.wakeup.take().jobs, [JobId(3)]);
        assert_eq!(follower.bookmark().offset, 700);
    }

    #[test]
    fn a_compressed_transaction_that_is_broken_asks_for_a_sweep() {
        let mut payload = payload_event(&[Row::available(3)], 700);
        payload.truncate(payload.len() - 20);
        assert_eq!(hints_after(&[payload]).sweep, Some(SweepCause::Unreadable));
    }

    #[test]
    fn rows_that_can_not_be_read_ask_for_a_sweep() {
        let mut events = insert_transaction(&[Row::available(3)], 500);
        let rows = rows_body(kind::WRITE_ROWS, &[Row::available(3)]);
        events[3] = event(kind::WRITE_ROWS, 440, &rows[..rows.len() - 1]);
        let hints = hints_after(&events);
        assert_eq!((hints.jobs, hints.sweep), (vec![], Some(SweepCause::Unreadable)));
    }

    #[test]
    fn a_table_that_does_not_fit_is_asked_for_anew() {
        let (mut follower, around) = testing::follower();
        let other = Layout { column_count: 9, ..testing::layout() };
        around.layout.answer(0, Some(other));
        feed(&mut follower, &insert_transaction(&[Row::available(3)], 500));
        assert_eq!(around.wakeup.take().sweep, Some(SweepCause::Unreadable));
        assert_eq!(around.layout.get(), None);
        feed(&mut follower, &insert_transaction(&[Row::available(4)], 900));
        assert_eq!(around.wakeup.take().sweep, Some(SweepCause::Statement));
        around.layout.answer(around.layout.question(), Some(testing::layout()));
        feed(&mut follower, &insert_transaction(&[Row::available(5)], 1300));
        assert_eq!(around.wakeup.take().jobs, [JobId(5)]);
    }

    #[test]
    fn a_change_of_the_table_forgets_its_columns() {
        let (mut follower, around) = testing::follower();
        feed(&mut follower, &[event(kind::QUERY, 400, &query_body("shop", "ALTER TABLE queued_job ADD x INT"))]);
        assert_eq!(around.layout.get(), None);
        assert_eq!(around.wakeup.take().sweep, Some(SweepCause::Statement));
        assert_eq!(follower.bookmark().offset, 400);
    }

    #[test]
    fn a_load_logged_as_a_statement_asks_for_a_sweep() {
        let mut body = query_body("shop", "LOAD DATA INFILE 'x' INTO TABLE `queued_job`");
        for _ in 0..13 {
            body.insert(13, 9);
        }
        assert_eq!(hints_after(&[event(kind::EXECUTE_LOAD_QUERY, 400, &body)]).sweep, Some(SweepCause::Statement));
    }

    #[test]
    fn an_incident_is_a_gap() {
        assert_eq!(hints_after(&[event(kind::INCIDENT, 400, &[1, 0, 0])]).sweep, Some(SweepCause::Gap));
    }

    #[test]
    fn table_numbers_begin_anew_with_a_file() {
        let (mut follower, around) = testing::follower();
        feed(&mut follower, &insert_transaction(&[Row::available(3)], 500));
        feed(&mut follower, &[event(kind::ROTATE, 540, &rotate_body("b.000002", 4)), testing::format_description()]);
        around.wakeup.take();
        let rows = rows_body(kind::WRITE_ROWS, &[Row::available(4)]);
        feed(&mut follower, &[event(kind::WRITE_ROWS, 300, &rows), event(kind::XID, 331, &[0; 8])]);
        assert!(around.wakeup.take().is_empty(), "the number may be another table's now");
        assert_eq!(follower.bookmark().to_string(), "b.000002:331");
    }

    #[test]
    fn mariadb_events_without_a_position_are_reckoned() {
        let (mut follower, around) = testing::follower();
        let map = event(kind::TABLE_MAP, 0, &table_map(7, "shop", "queued_job"));
        let rows = event(kind::WRITE_ROWS_V1, 0, &rows_body(kind::WRITE_ROWS_V1, &[Row::available(3)]));
        let gtid = event(kind::MARIADB_GTID, 46, &[0; 19]);
        let end = event(kind::XID, 0, &[0; 8]);
        let length = 46 + map.len() + rows.len() + end.len();
        feed(&mut follower, &[gtid, map, rows, end]);
        assert_eq!(around.wakeup.take().jobs, [JobId(3)]);
        assert_eq!(follower.bookmark().offset, length as u64);
    }
}
