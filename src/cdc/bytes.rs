//! A reader over untrusted bytes: every read is checked, none panics.

/// What is left to read. Every method returns `None` once the bytes do not suffice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bytes(bytes)
    }

    /// All that was not read yet.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, back) = self.0.split_at_checked(count)?;
        self.0 = back;
        Some(front)
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An unsigned little-endian integer of `width` bytes, at most eight.
    pub(super) fn uint(&mut self, width: usize) -> Option<u64> {
        if width > 8 {
            return None;
        }
        let bytes = self.take(width)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// The same as an index or a length.
    pub(super) fn length(&mut self, width: usize) -> Option<usize> {
        usize::try_from(self.uint(width)?).ok()
    }

    /// A packed integer: one byte up to 250, else 2, 3 or 8 bytes after 252, 253, 254
    /// (MySQL internals, "`Protocol::LengthEncodedInteger`").
    pub(super) fn packed(&mut self) -> Option<u64> {
        match self.u8()? {
            value @ 0..=250 => Some(u64::from(value)),
            252 => self.uint(2),
            253 => self.uint(3),
            254 => self.uint(8),
            _ => None,
        }
    }

    /// A packed integer as a length.
    pub(super) fn packed_length(&mut self) -> Option<usize> {
        usize::try_from(self.packed()?).ok()
    }
}

/// Whether bit `index` is set, counted from the lowest bit of the first byte.
pub(super) fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// How many of the first `count` bits are set.
pub(super) fn ones(bitmap: &[u8], count: usize) -> usize {
    (0..count).filter(|index| bit(bitmap, *index)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_little_endian_and_checked() {
        let mut bytes = Bytes::new(&[1, 2, 3, 252, 0, 1, 251]);
        assert_eq!(bytes.uint(3), Some(0x03_02_01));
        assert_eq!(bytes.packed(), Some(256));
        assert_eq!(bytes.packed(), None);
        assert!(bytes.is_empty());
        assert_eq!(bytes.u8(), None);
        assert_eq!(bytes.uint(1), None);
        assert_eq!(Bytes::new(&[0; 16]).uint(9), None);
    }

    #[test]
    fn bits_count_from_the_lowest_of_the_first_byte() {
        let bitmap = [0b0000_0101, 0b1000_0000];
        assert!(bit(&bitmap, 0) && !bit(&bitmap, 1) && bit(&bitmap, 15));
        assert!(!bit(&bitmap, 99));
        assert_eq!(ones(&bitmap, 16), 3);
        assert_eq!(ones(&bitmap, 2), 1);
    }
}
