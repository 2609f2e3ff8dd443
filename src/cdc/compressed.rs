//! MariaDB's compressed events (`log_bin_compress`): a header, then zlib.
//!
//! The header is one byte — bit 7 set, the algorithm in bits 4 to 6 (0 is zlib), the number of length bytes in
//! bits 0 to 2 — and the length of the text, most significant byte first (MariaDB source, `log_event.cc`,
//! `binlog_buf_compress`).

use super::bytes::Bytes;
use flate2::read::ZlibDecoder;
use std::io::Read;

/// The longest text that we uncompress: beyond what a server lets into one event by default.
const LONGEST: usize = 256 << 20;

/// Uncompresses. `None`: it is not well-formed, or too long.
pub(super) fn inflate(compressed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Bytes::new(compressed);
    let header = bytes.u8()?;
    if header & 0xf0 != 0x80 {
        return None;
    }
    let length = bytes.take(usize::from(header & 7))?;
    let length = length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
    if length > LONGEST {
        return None;
    }
    // The length is the sender's word: what is kept grows with what really comes. One byte more is asked for, so that
    // a text that goes on is noticed, and one that ends is held to its checksum.
    let mut text = Vec::new();
    ZlibDecoder::new(bytes.rest()).take(length as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() == length).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::testing::deflate;
    use super::*;

    #[test]
    fn what_was_compressed_comes_back() {
        let text = b"INSERT INTO queued_job ".repeat(20_000);
        assert_eq!(inflate(&deflate(&text)), Some(text));
        assert_eq!(inflate(&deflate(b"")), Some(Vec::new()));
    }

    #[test]
    fn lies_are_refused() {
        let mut lie = deflate(b"abc");
        lie[4] = 200;
        assert_eq!(inflate(&lie), None, "shorter than it says");
        lie[4] = 2;
        assert_eq!(inflate(&lie), None, "longer than it says");
        lie[4] = 3;
        *lie.last_mut().unwrap() ^= 1;
        assert_eq!(inflate(&lie), None, "not what its checksum says");
        assert_eq!(inflate(&[0x84, 0xff, 0xff, 0xff, 0xff]), None, "too long");
        assert_eq!(inflate(&[0x94, 0, 0, 0, 1, 1]), None, "another algorithm");
        assert_eq!(inflate(&[0x81]), None);
        assert_eq!(inflate(&[]), None);
    }
}
