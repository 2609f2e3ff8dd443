//! MySQL's compressed transactions: `TRANSACTION_PAYLOAD_EVENT`, events within an event.
//!
//! Body: fields of type packed, length packed, value — 1 the payload's size, 2 the algorithm (0 zstd, 255 none),
//! 3 the size before — until type 0, then the payload: events with headers and without checksums (MySQL source
//! documentation, `Transaction_payload_event`). It is read as a stream, so that a huge transaction takes no more
//! memory than its largest event.

use super::bytes::Bytes;
use super::event::EventHeader;
use std::io::{self, Read};

const END: u64 = 0;
const ALGORITHM: u64 = 2;
const ZSTD: u64 = 0;
const NONE: u64 = 255;
/// The longest event that is kept to be read; by default servers write none as long.
const LONGEST_KEPT: u64 = 256 << 20;
/// Enough of a body to tell whose rows it has.
const PEEKED: usize = 8;

/// Where the events of a payload go.
pub(super) trait PayloadSink {
    /// An event comes, with the first bytes of its body: whether to skip it.
    fn skip(&mut self, header: EventHeader, peeked: &[u8]) -> bool;
    /// Takes in an event that is not skipped.
    fn event(&mut self, header: EventHeader, body: &[u8]);
}

/// Hands out the events of a payload.
///
/// # Errors
///
/// When it is not well-formed; the events before the fault were handed out.
pub(super) fn for_each_event(body: &[u8], sink: &mut impl PayloadSink) -> io::Result<()> {
    let (algorithm, payload) = fields(body).ok_or(io::ErrorKind::InvalidData)?;
    match algorithm {
        ZSTD => read_events(zstd::Decoder::with_buffer(payload)?, sink),
        NONE => read_events(payload, sink),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn fields(body: &[u8]) -> Option<(u64, &[u8])> {
    let mut bytes = Bytes::new(body);
    let mut algorithm = NONE;
    loop {
        let field = bytes.packed()?;
        if field == END {
            return Some((algorithm, bytes.rest()));
        }
        let length = bytes.packed_length()?;
        let mut value = Bytes::new(bytes.take(length)?);
        if field == ALGORITHM {
            algorithm = value.packed()?;
        }
    }
}

fn read_events(mut payload: impl Read, sink: &mut impl PayloadSink) -> io::Result<()> {
    let mut body = Vec::new();
    while let Some(header) = read_header(&mut payload)? {
        let length =
            u64::from(header.size).checked_sub(EventHeader::LENGTH as u64).ok_or(io::ErrorKind::InvalidData)?;
        body.clear();
        let mut rest = payload.by_ref().take(length);
        rest.by_ref().take(PEEKED as u64).read_to_end(&mut body)?;
        if sink.skip(header, &body) {
            io::copy(&mut rest, &mut io::sink())?;
        } else if length > LONGEST_KEPT {
            return Err(io::ErrorKind::FileTooLarge.into());
        } else {
            rest.read_to_end(&mut body)?;
            if body.len() as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            sink.event(header, &body);
        }
    }
    Ok(())
}

/// The next header, or nothing at the end.
fn read_header(payload: &mut impl Read) -> io::Result<Option<EventHeader>> {
    let mut raw = Vec::with_capacity(EventHeader::LENGTH);
    payload.by_ref().take(EventHeader::LENGTH as u64).read_to_end(&mut raw)?;
    if raw.is_empty() {
        return Ok(None);
    }
    EventHeader::parse(&raw).map(Some).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::super::event::kind;
    use super::super::testing::{inner_event, payload_body};
    use super::*;

    #[derive(Default)]
    struct Seen {
        count: usize,
        taken: Vec<(u8, usize)>,
    }

    impl PayloadSink for Seen {
        fn skip(&mut self, header: EventHeader, _peeked: &[u8]) -> bool {
            self.count += 1;
            header.kind == kind::DELETE_ROWS
        }

        fn event(&mut self, header: EventHeader, body: &[u8]) {
            self.taken.push((header.kind, body.len()));
        }
    }

    fn events() -> Vec<Vec<u8>> {
        vec![
            inner_event(kind::QUERY, b"BEGIN"),
            inner_event(kind::DELETE_ROWS, &[1; 100_000]),
            inner_event(kind::WRITE_ROWS, &[2; 300]),
            inner_event(kind::XID, &[0; 8]),
        ]
    }

    #[test]
    fn events_come_out_and_foreign_ones_are_skipped() {
        let mut seen = Seen::default();
        for_each_event(&payload_body(&events()), &mut seen).unwrap();
        assert_eq!(seen.count, 4);
        assert_eq!(seen.taken, [(kind::QUERY, 5), (kind::WRITE_ROWS, 300), (kind::XID, 8)]);
    }

    #[test]
    fn an_uncompressed_payload_is_read_too() {
        let mut body = vec![2, 3, 252, 255, 0, 0];
        body.extend(events().concat());
        let mut seen = Seen::default();
        for_each_event(&body, &mut seen).unwrap();
        assert_eq!(seen.count, 4);
    }

    #[test]
    fn faults_are_told() {
        let whole = payload_body(&events());
        assert!(for_each_event(&whole[..whole.len() - 9], &mut Seen::default()).is_err());
        assert!(for_each_event(&[2, 1, 7, 0, 1, 2], &mut Seen::default()).is_err(), "unknown algorithm");
        assert!(for_each_event(&[], &mut Seen::default()).is_err());
        let cut = payload_body(&[inner_event(kind::QUERY, b"BEGIN")[..21].to_vec()]);
        assert!(for_each_event(&cut, &mut Seen::default()).is_err());
    }
}
