//! Bytes changed on their way: what a server sends that we can't make it send.

use super::Way;

/// Bytes that are put in the place of others, as long as they.
pub(super) struct Replacement {
    way: Way,
    pattern: Vec<u8>,
    bytes: Vec<u8>,
}

impl Replacement {
    pub(super) fn new(way: Way, pattern: &[u8], bytes: &[u8]) -> Replacement {
        assert!(!pattern.is_empty() && pattern.len() == bytes.len(), "as many bytes as are replaced");
        Replacement { way, pattern: pattern.to_owned(), bytes: bytes.to_owned() }
    }

    pub(super) fn apply(&self, way: Way, chunk: &mut [u8]) {
        if way != self.way || chunk.len() < self.pattern.len() {
            return;
        }
        for start in 0..=chunk.len() - self.pattern.len() {
            let place = &mut chunk[start..start + self.pattern.len()];
            if *place == self.pattern[..] {
                place.copy_from_slice(&self.bytes);
            }
        }
    }
}
