//! Where in the log we are, and where it is safe to take it up again.

use super::event::{EventHeader, kind};
use crate::followed::BinlogPosition;

/// Follows the position event by event. The bookmark moves only at the end of a transaction and with the file:
/// anywhere else the table maps of the rows to come would be missing.
#[derive(Debug)]
pub(super) struct PositionTracker {
    bookmark: BinlogPosition,
    cursor: u64,
    in_transaction: bool,
}

impl PositionTracker {
    pub(super) fn new(start: BinlogPosition) -> Self {
        PositionTracker { cursor: start.offset, bookmark: start, in_transaction: false }
    }

    /// Where to take the stream up again.
    pub(super) fn bookmark(&self) -> &BinlogPosition {
        &self.bookmark
    }

    /// An event went by.
    ///
    /// The header has only 32 bits for its end; what is missing is reckoned from where we are, since no event is
    /// as long as 2³¹ bytes. MariaDB 11.4 and later write 0 into the events of a transaction (MDEV-31273): there
    /// the sizes are added up.
    pub(super) fn pass(&mut self, header: EventHeader) {
        if header.is_artificial() || matches!(header.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2 | kind::ROTATE) {
            return;
        }
        if header.log_pos == 0 {
            // A format description without a position is a copy sent ahead of a start in mid-file.
            if self.in_transaction && header.kind != kind::FORMAT_DESCRIPTION {
                self.cursor = self.cursor.saturating_add(u64::from(header.size));
            }
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what the header has")]
        let distance = header.log_pos.wrapping_sub(self.cursor as u32).cast_signed();
        self.cursor = self.cursor.saturating_add_signed(i64::from(distance));
    }

    /// A transaction begins with the event that went by.
    pub(super) fn begin(&mut self) {
        self.in_transaction = true;
    }

    /// A transaction ended with the event that went by.
    pub(super) fn end(&mut self) {
        self.in_transaction = false;
        self.bookmark.offset = self.cursor;
    }

    /// The log goes on in another file, or the server says where it starts to send.
    ///
    /// An artificial event tells nothing new about the file that we are in. It is not believed, since its
    /// name may have a checksum at its end that the client could not know of.
    pub(super) fn rotate(&mut self, to: BinlogPosition, artificial: bool) {
        let known = to.file.starts_with(&self.bookmark.file) || self.bookmark.file.starts_with(&to.file);
        if artificial && known {
            return;
        }
        self.cursor = to.offset;
        self.bookmark = to;
        self.in_transaction = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, offset: u64) -> BinlogPosition {
        BinlogPosition { file: file.into(), offset }
    }

    fn header(kind: u8, size: u32, log_pos: u32) -> EventHeader {
        EventHeader { kind, size, log_pos, flags: 0 }
    }

    #[test]
    fn the_bookmark_moves_only_at_the_end_of_a_transaction() {
        let mut tracker = PositionTracker::new(at("b.000001", 100));
        tracker.pass(header(kind::GTID, 50, 150));
        tracker.begin();
        tracker.pass(header(kind::WRITE_ROWS, 50, 200));
        assert_eq!(tracker.bookmark(), &at("b.000001", 100));
        tracker.pass(header(kind::XID, 31, 231));
        tracker.end();
        assert_eq!(tracker.bookmark(), &at("b.000001", 231));
    }

    #[test]
    fn events_without_a_position_are_added_up() {
        let mut tracker = PositionTracker::new(at("b.000001", 100));
        tracker.pass(header(kind::FORMAT_DESCRIPTION, 250, 0));
        tracker.pass(header(kind::MARIADB_GTID, 42, 142));
        tracker.begin();
        tracker.pass(header(kind::TABLE_MAP, 50, 0));
        tracker.pass(header(kind::WRITE_ROWS_V1, 60, 0));
        tracker.pass(header(kind::XID, 31, 0));
        tracker.end();
        assert_eq!(tracker.bookmark(), &at("b.000001", 283));
    }

    #[test]
    fn positions_go_on_beyond_32_bits() {
        let mut tracker = PositionTracker::new(at("b.000001", u64::from(u32::MAX) - 9));
        tracker.begin();
        tracker.pass(header(kind::WRITE_ROWS, 110, 100));
        tracker.end();
        assert_eq!(tracker.bookmark().offset, (1 << 32) + 100);
        assert_eq!(tracker.bookmark().requestable_offset(), None);
    }

    #[test]
    fn what_stands_in_no_file_does_not_move_it() {
        let mut tracker = PositionTracker::new(at("b.000001", 100));
        tracker.pass(header(kind::HEARTBEAT, 39, 7000));
        tracker.pass(EventHeader { flags: 0x20, ..header(163, 43, 7000) });
        tracker.end();
        assert_eq!(tracker.bookmark().offset, 100);
    }

    #[test]
    fn the_file_changes_with_a_rotation() {
        let mut tracker = PositionTracker::new(at("b.000001", 100));
        tracker.rotate(at("b.000001\u{1}ab!", 4), true);
        assert_eq!(tracker.bookmark(), &at("b.000001", 100));
        tracker.rotate(at("b.000002", 4), false);
        assert_eq!(tracker.bookmark(), &at("b.000002", 4));
        tracker.rotate(at("b.000003", 4), true);
        assert_eq!(tracker.bookmark(), &at("b.000003", 4));
    }
}
