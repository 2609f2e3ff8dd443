//! How many bytes a column's value takes in a row image, from the type and metadata in the table map.
//!
//! Types and metadata: MySQL source documentation, `Table_map_event`, "Column types: numerical
//! identifier and metadata"; MariaDB's compressed columns: `Field_blob_compressed`, `Field_varstring_compressed`.

use super::bytes::Bytes;

/// How to step over a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// Always so many bytes.
    Fixed(usize),
    /// A length of so many bytes, then the value.
    Prefixed(usize),
    /// The log does not say.
    Unknown,
}

/// One column of a table as the log describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    kind: u8,
    /// How to step over its values.
    pub(super) width: Width,
}

const JSON: u8 = 245;
const NEW_DECIMAL: u8 = 246;
const ENUM: u8 = 247;
const SET: u8 = 248;
const STRING: u8 = 254;
/// Bytes that hold a group of fewer than nine decimal digits.
const DECIMAL_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

impl Column {
    /// Reads the metadata of a column of this type. `None`: the type is unknown, and with it where the next
    /// column's metadata begins.
    pub(super) fn read(kind: u8, metadata: &mut Bytes<'_>) -> Option<Column> {
        let width = match kind {
            0 => Width::Unknown,                                                      // DECIMAL before MySQL 5.0
            6 => Width::Fixed(0),                                                     // NULL
            1 | 13 => Width::Fixed(1),                                                // TINYINT, YEAR
            2 => Width::Fixed(2),                                                     // SMALLINT
            9..=11 | 14 => Width::Fixed(3),                                           // MEDIUMINT, DATE, TIME, NEWDATE
            3 | 7 => Width::Fixed(4),                                                 // INT, TIMESTAMP
            8 | 12 => Width::Fixed(8),                                                // BIGINT, DATETIME
            4 | 5 => Width::Fixed(metadata.length(1)?),                               // FLOAT, DOUBLE
            17 => Width::Fixed(4 + fraction(metadata)?),                              // TIMESTAMP(n)
            18 => Width::Fixed(5 + fraction(metadata)?),                              // DATETIME(n)
            19 => Width::Fixed(3 + fraction(metadata)?),                              // TIME(n)
            15 | 141 => Width::Prefixed(if metadata.uint(2)? > 255 { 2 } else { 1 }), // VARCHAR, MariaDB's compressed
            16 => bits(metadata)?,
            NEW_DECIMAL => decimal(metadata)?,
            ENUM | SET | STRING => return string(metadata),
            // VECTOR, JSON, BLOB and TEXT of all sizes, GEOMETRY, MariaDB's compressed BLOB
            140 | 242 | JSON | 249..=252 | 255 => blob(metadata)?,
            _ => return None,
        };
        Some(Column { kind, width })
    }

    /// Whether its values are integers.
    pub(super) fn is_integer(self) -> bool {
        matches!(self.kind, 1 | 2 | 3 | 8 | 9)
    }

    /// Whether its values are documents, which an update may have in parts.
    pub(super) fn is_document(self) -> bool {
        self.kind == JSON
    }

    /// Whether its values are an ENUM's numbers.
    pub(super) fn is_enum(self) -> bool {
        self.kind == ENUM
    }

    /// Steps over the column's value and returns its bytes, without a length before them.
    pub(super) fn value<'a>(self, row: &mut Bytes<'a>) -> Option<&'a [u8]> {
        let length = match self.width {
            Width::Fixed(width) => width,
            Width::Prefixed(prefix) => row.length(prefix)?,
            Width::Unknown => return None,
        };
        row.take(length)
    }
}

/// Bytes of a fraction of a second with so many digits.
fn fraction(metadata: &mut Bytes<'_>) -> Option<usize> {
    Some(metadata.length(1)?.div_ceil(2))
}

/// BIT: the odd bits, then the whole bytes.
fn bits(metadata: &mut Bytes<'_>) -> Option<Width> {
    let odd_bits = metadata.u8()?;
    Some(Width::Fixed(metadata.length(1)? + usize::from(odd_bits > 0)))
}

/// DECIMAL: precision and scale, nine digits to four bytes on both sides of the point.
fn decimal(metadata: &mut Bytes<'_>) -> Option<Width> {
    let precision = metadata.length(1)?;
    let scale = metadata.length(1)?;
    let whole = precision.checked_sub(scale)?;
    let bytes = |digits: usize| digits / 9 * 4 + DECIMAL_BYTES[digits % 9];
    Some(Width::Fixed(bytes(whole) + bytes(scale)))
}

/// CHAR, BINARY, and what is logged as CHAR: ENUM, SET. A CHAR longer than 255 bytes keeps the upper two bits
/// of its length, inverted, in bits 4 and 5 of the type.
fn string(metadata: &mut Bytes<'_>) -> Option<Column> {
    let (real, low) = (metadata.u8()?, metadata.u8()?);
    if real == ENUM || real == SET {
        return Some(Column { kind: real, width: Width::Fixed(usize::from(low)) });
    }
    let length = usize::from((real & 0x30) ^ 0x30) << 4 | usize::from(low);
    Some(Column { kind: STRING, width: Width::Prefixed(if length > 255 { 2 } else { 1 }) })
}

fn blob(metadata: &mut Bytes<'_>) -> Option<Width> {
    match metadata.u8()? {
        prefix @ 1..=4 => Some(Width::Prefixed(usize::from(prefix))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(kind: u8, metadata: &[u8]) -> Width {
        Column::read(kind, &mut Bytes::new(metadata)).unwrap().width
    }

    #[test]
    fn numbers_and_times_have_fixed_widths() {
        for (kind, metadata, bytes) in [
            (8, &[][..], 8),
            (3, &[], 4),
            (9, &[], 3),
            (5, &[8], 8),
            (17, &[6], 7),
            (17, &[0], 4),
            (18, &[3], 7),
            (19, &[1], 4),
            (16, &[1, 1], 2),
            (16, &[0, 8], 8),
            (NEW_DECIMAL, &[10, 2], 5),
            (NEW_DECIMAL, &[65, 30], 30),
            (STRING, &[ENUM, 1], 1),
            (STRING, &[SET, 8], 8),
        ] {
            assert_eq!(width(kind, metadata), Width::Fixed(bytes), "type {kind} {metadata:?}");
        }
    }

    #[test]
    fn texts_have_a_length_before_them() {
        for (kind, metadata, prefix) in [
            (15, &[255, 0][..], 1),
            (15, &[0, 1], 2),
            (141, &[0, 4], 2),
            (252, &[4], 4),
            (245, &[4], 4),
            (242, &[4], 4),
            (255, &[4], 4),
            (140, &[2], 2),
            (STRING, &[0xfe, 40], 1),
            (STRING, &[0xee, 252], 2),
        ] {
            assert_eq!(width(kind, metadata), Width::Prefixed(prefix), "type {kind} {metadata:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert_eq!(Column::read(20, &mut Bytes::new(&[0; 8])), None);
        assert_eq!(Column::read(252, &mut Bytes::new(&[9])), None);
        assert_eq!(Column::read(NEW_DECIMAL, &mut Bytes::new(&[2, 10])), None);
        assert_eq!(Column::read(8, &mut Bytes::new(&[])).unwrap().value(&mut Bytes::new(&[1])), None);
    }
}
