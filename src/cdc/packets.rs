//! Packets of the wire: the first byte says what each is, and long ones come in pieces.

use super::bytes::Bytes;
use super::error::StreamError;
use super::follower::Follower;

/// A packet of this length is not the last of its row (MySQL internals, "Sending More Than 16Mb").
const FULL: usize = 0xff_ff_ff;
/// The longest event of our own table that is put together; longer ones ask for a sweep. By default servers
/// write none as long.
const LONGEST_KEPT: usize = 256 << 20;

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
    let mut keep = !follower.is_foreign(first);
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
    if keep {
        return follower.wire_event(event);
    }
    follower.pass_by(event);
    Ok(())
}

/// An error packet after its first byte: code 2, `#` and the state 5, the message (MySQL internals, "`ERR_Packet`").
fn server_error(rest: &[u8]) -> StreamError {
    let mut bytes = Bytes::new(rest);
    let code = bytes.uint(2).and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
    let text = bytes.rest();
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    StreamError::Server { code, message: String::from_utf8_lossy(text).into_owned() }
}
