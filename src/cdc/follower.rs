//! Takes the events in, one by one, rings for what they give to do, and keeps the position.
//!
//! Both clients push into this on their own thread or task, so that nothing stands between an event and the bell.

use super::decoder::{Change, Decoder};
use super::error::StreamError;
use super::event::{EventHeader, kind};
use super::layout::LayoutSlot;
use super::payload::{self, PayloadSink};
use super::position::PositionTracker;
use super::table_map::TableName;
use super::transaction::{Step, Transactions};
use crate::followed::{BinlogPosition, Reading};
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
    /// How far this stream has come.
    pub(super) reading: Arc<Reading>,
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
        if usize::try_from(header.size) != Ok(event.len()) {
            // It may have had more rows.
            self.transactions.work.sweep(SweepCause::Unreadable);
        }
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
        if !kind::is_known(header.kind) {
            self.around.metrics.increment(Counter::EventsUnknown);
        }
        if header.kind == kind::TRANSACTION_PAYLOAD {
            return self.payload(body);
        }
        match self.decoder.read(header, body, &mut self.transactions.work) {
            Change::Nothing => {}
            Change::Rotate(to) => {
                self.tracker.rotate(to, header.is_artificial());
                self.around.reading.reach(self.tracker.bookmark());
            }
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
                self.around.reading.reach(self.tracker.bookmark());
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
