//! Packets of the wire: the first byte says what each is, and long ones come in pieces.

use super::bytes::Bytes;
use super::error::StreamError;
use super::follower::Follower;

/// A packet of this length is not the last of its row (MySQL internals, "Sending More Than 16Mb").
const FULL: usize = 0xff_ff_ff;
/// The longest event of our own table that is put together; longer ones ask for a sweep. By default servers
/// write none as long.
const LONGEST_KEPT: usize = if cfg!(test) { 4 * FULL } else { 256 << 20 };

const EVENT: u8 = 0x00;
const ERROR: u8 = 0xff;
const END: u8 = 0xfe;

/// Takes in one event of the stream. `read` gets the next packet of the connection.
pub(super) fn take_event(
    follower: &mut Follower,
    mut read: impl FnMut() -> Result<Vec<u8>, StreamError>,
) -> Result<(), StreamError> {
    let mut packet = read()?;
    let (status, first) = packet.split_first().ok_or(StreamError::Malformed)?;
    match *status {
        EVENT => {}
        ERROR => return Err(server_error(first)),
        END => return Err(StreamError::Closed("the server has no more to send".into())),
        _ => return Err(StreamError::Malformed),
    }
    if packet.len() < FULL {
        return follower.wire_event(first);
    }
    // Huge rows of other tables go by piece by piece, unkept.
    let foreign = follower.is_foreign(first);
    let mut keep = !foreign;
    let mut last = packet.len();
    while last == FULL {
        let piece = read()?;
        last = piece.len();
        keep = keep && packet.len() + piece.len() <= LONGEST_KEPT;
        if keep {
            packet.extend(piece);
        }
    }
    let event = packet.get(1..).ok_or(StreamError::Malformed)?;
    if foreign {
        follower.pass_by(event);
        return Ok(());
    }
    // One that was cut off is read as far as it goes: it is shorter than it says, which asks for a sweep.
    follower.wire_event(event)
}

/// An error packet after its first byte: code 2, `#` and the state 5, the message (MySQL internals, "`ERR_Packet`").
fn server_error(rest: &[u8]) -> StreamError {
    let mut bytes = Bytes::new(rest);
    let code = bytes.uint(2).and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
    let text = bytes.rest();
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    StreamError::Server { code, message: String::from_utf8_lossy(text).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::event::kind;
    use super::super::testing::{self, Row, event, insert_transaction, rows_body};
    use super::*;
    use crate::job::JobId;
    use crate::wakeup::SweepCause;

    /// Cuts an event into packets as a server does.
    fn packets(event: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = vec![EVENT];
        whole.extend(event);
        let mut packets: Vec<Vec<u8>> = whole.chunks(FULL).map(<[u8]>::to_vec).collect();
        if whole.len() % FULL == 0 {
            packets.push(Vec::new());
        }
        packets
    }

    fn take(follower: &mut Follower, packets: Vec<Vec<u8>>) -> Result<(), StreamError> {
        let mut packets = packets.into_iter();
        take_event(follower, || packets.next().ok_or(StreamError::Malformed))?;
        assert!(packets.next().is_none(), "packets were left");
        Ok(())
    }

    /// Rows of the table with this number, so many that the event, status byte included, is as long as said.
    fn rows_event(table: u8, length: usize) -> Vec<u8> {
        let mut rows = rows_body(kind::WRITE_ROWS, &[Row::available(3)]);
        rows[0] = table;
        // Another row, whose text is what is missing, minus what such a row takes beside its text.
        rows.resize(length - 1 - 19 - 4, 0);
        event(kind::WRITE_ROWS, 0, &rows)
    }

    #[test]
    fn long_events_come_in_pieces() {
        for length in [FULL - 1, FULL, FULL + 1, 2 * FULL, 2 * FULL + 5] {
            let (mut follower, around) = testing::follower();
            let events = insert_transaction(&[], 500);
            for event in &events[..3] {
                take(&mut follower, packets(event)).unwrap();
            }
            take(&mut follower, packets(&rows_event(7, length))).unwrap();
            take(&mut follower, packets(&events[4])).unwrap();
            assert_eq!(around.wakeup.take().jobs.first(), Some(&JobId(3)), "{length}");
        }
    }

    #[test]
    fn long_events_of_other_tables_go_by() {
        let (mut follower, around) = testing::follower();
        take(&mut follower, packets(&rows_event(9, 3 * FULL))).unwrap();
        for event in insert_transaction(&[Row::available(4)], 500) {
            take(&mut follower, packets(&event)).unwrap();
        }
        assert_eq!(around.wakeup.take().jobs, [JobId(4)]);
    }

    #[test]
    fn an_event_of_ours_that_is_too_long_to_be_kept_is_read_as_far_as_it_goes_and_asks_for_a_sweep() {
        let (mut follower, around) = testing::follower();
        let events = insert_transaction(&[], 500);
        for event in &events[..3] {
            take(&mut follower, packets(event)).unwrap();
        }
        take(&mut follower, packets(&rows_event(7, LONGEST_KEPT + FULL))).unwrap();
        take(&mut follower, packets(&events[4])).unwrap();
        let hints = around.wakeup.take();
        assert_eq!((hints.jobs.first(), hints.sweep), (Some(&JobId(3)), Some(SweepCause::Unreadable)));
    }

    #[test]
    fn errors_and_ends_are_told() {
        let (mut follower, _) = testing::follower();
        let mut error = vec![ERROR, 0xd4, 0x04];
        error.extend(b"#HY000Could not find first log file name");
        let told = take(&mut follower, vec![error]).unwrap_err();
        assert!(told.is_position_lost(), "{told}");
        assert!(told.to_string().contains("Could not find first log"));
        assert!(take(&mut follower, vec![vec![END, 0, 0]]).unwrap_err().is_closed());
        for malformed in [vec![], vec![EVENT], vec![EVENT, 1, 2], vec![7]] {
            assert!(matches!(take(&mut follower, vec![malformed]), Err(StreamError::Malformed)));
        }
    }
}
