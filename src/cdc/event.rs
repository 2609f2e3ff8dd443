//! The header that stands before every event of the log, and the kinds of events we know.

use super::bytes::Bytes;

/// Set on events that the server made up for the stream and that stand in no file (`LOG_EVENT_ARTIFICIAL_F`).
const ARTIFICIAL: u16 = 0x20;

/// What we use of the 19-byte header of binlog version 4 (MySQL internals, "Binlog Event Header").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventHeader {
    /// One of [`kind`], or one we do not know.
    pub(super) kind: u8,
    /// Bytes of the whole event: header, body, checksum.
    pub(super) size: u32,
    /// Where the event ends in its file, modulo 2³²; 0 where the server does not say.
    pub(super) log_pos: u32,
    /// Bits.
    pub(super) flags: u16,
}

impl EventHeader {
    /// Bytes of a header.
    pub(super) const LENGTH: usize = 19;

    /// Reads the header at the start of an event.
    pub(super) fn parse(event: &[u8]) -> Option<EventHeader> {
        let mut bytes = Bytes::new(event.get(..Self::LENGTH)?);
        bytes.skip(4)?; // when it was written
        let kind = bytes.u8()?;
        bytes.skip(4)?; // the server that wrote it
        let size = u32::try_from(bytes.uint(4)?).ok()?;
        let log_pos = u32::try_from(bytes.uint(4)?).ok()?;
        let flags = u16::try_from(bytes.uint(2)?).ok()?;
        Some(EventHeader { kind, size, log_pos, flags })
    }

    /// Whether the server made the event up for the stream.
    pub(super) fn is_artificial(self) -> bool {
        self.flags & ARTIFICIAL != 0
    }
}

/// Kinds of events: `mysql/binlog/event/binlog_event.h` of MySQL 9.7, `log_event.h` of MariaDB 11.8.
pub(super) mod kind {
    /// Whether the kind is one of those that servers wrote when this was written: MySQL up to 9 (`Log_event_type` in
    /// its source documentation), MariaDB up to 11 (its manual, "Replication Protocol").
    pub(in crate::cdc) fn is_known(kind: u8) -> bool {
        matches!(kind, 0..=42 | 160..=171)
    }

    pub(in crate::cdc) const QUERY: u8 = 2;
    pub(in crate::cdc) const ROTATE: u8 = 4;
    pub(in crate::cdc) const FORMAT_DESCRIPTION: u8 = 15;
    pub(in crate::cdc) const XID: u8 = 16;
    pub(in crate::cdc) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(in crate::cdc) const TABLE_MAP: u8 = 19;
    pub(in crate::cdc) const WRITE_ROWS_V1: u8 = 23;
    pub(in crate::cdc) const UPDATE_ROWS_V1: u8 = 24;
    pub(in crate::cdc) const DELETE_ROWS_V1: u8 = 25;
    pub(in crate::cdc) const INCIDENT: u8 = 26;
    pub(in crate::cdc) const HEARTBEAT: u8 = 27;
    pub(in crate::cdc) const WRITE_ROWS: u8 = 30;
    pub(in crate::cdc) const UPDATE_ROWS: u8 = 31;
    pub(in crate::cdc) const DELETE_ROWS: u8 = 32;
    pub(in crate::cdc) const GTID: u8 = 33;
    pub(in crate::cdc) const ANONYMOUS_GTID: u8 = 34;
    pub(in crate::cdc) const XA_PREPARE: u8 = 38;
    pub(in crate::cdc) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(in crate::cdc) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(in crate::cdc) const HEARTBEAT_V2: u8 = 41;
    pub(in crate::cdc) const TAGGED_GTID: u8 = 42;
    pub(in crate::cdc) const MARIADB_GTID: u8 = 162;
    pub(in crate::cdc) const QUERY_COMPRESSED: u8 = 165;
    pub(in crate::cdc) const WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub(in crate::cdc) const UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    pub(in crate::cdc) const DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub(in crate::cdc) const WRITE_ROWS_COMPRESSED: u8 = 169;
    pub(in crate::cdc) const UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub(in crate::cdc) const DELETE_ROWS_COMPRESSED: u8 = 171;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_by_its_places() {
        let mut raw = vec![9, 9, 9, 9, kind::XID, 7, 7, 7, 7, 31, 0, 0, 0, 0xff, 0, 0, 0, 0x20, 0];
        let header = EventHeader::parse(&raw).unwrap();
        assert_eq!(header, EventHeader { kind: kind::XID, size: 31, log_pos: 255, flags: 0x20 });
        assert!(header.is_artificial());
        raw.pop();
        assert_eq!(EventHeader::parse(&raw), None);
    }
}
