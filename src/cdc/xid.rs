//! The name of an XA transaction, in both forms in which the log tells it.

use super::bytes::Bytes;

/// The name of an XA transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Xid {
    format: i64,
    global: Vec<u8>,
    branch: Vec<u8>,
}

/// The longest each of a name's two parts may be, by the XA standard.
const LONGEST_PART: usize = 64;

impl Xid {
    /// Reads the body of `XA_PREPARE_LOG_EVENT`: one byte whether it is committed in one phase, the format, both
    /// lengths (4 bytes each), both parts (MySQL source, `XA_prepare_event`).
    pub(super) fn prepared(body: &[u8]) -> Option<(bool, Xid)> {
        let mut bytes = Bytes::new(body);
        let one_phase = bytes.u8()? != 0;
        let format = i64::from(u32::try_from(bytes.uint(4)?).ok()?.cast_signed());
        let (global, branch) = (bytes.length(4)?, bytes.length(4)?);
        if global > LONGEST_PART || branch > LONGEST_PART {
            return None;
        }
        let (global, branch) = (bytes.take(global)?.to_vec(), bytes.take(branch)?.to_vec());
        Some((one_phase, Xid { format, global, branch }))
    }

    /// Reads what servers log after `XA COMMIT`: `X'676c6f62616c',X'6272616e6368',1`.
    pub(super) fn written(text: &str) -> Option<Xid> {
        let mut parts = text.trim().splitn(3, ',');
        let (global, branch) = (part(parts.next()?)?, part(parts.next()?)?);
        let format = parts.next()?.trim().parse().ok()?;
        Some(Xid { format, global, branch })
    }
}

/// `X'…'`, hexadecimal.
fn part(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().strip_prefix(['X', 'x'])?.strip_prefix('\'')?.strip_suffix('\'')?;
    let nibbles: Vec<u8> = digits.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect::<Option<_>>()?;
    let whole = nibbles.len().is_multiple_of(2) && nibbles.len() <= 2 * LONGEST_PART;
    whole.then(|| nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::xa_prepare_body;
    use super::*;

    #[test]
    fn both_forms_give_the_same_name() {
        let (one_phase, prepared) = Xid::prepared(&xa_prepare_body(false, "glob", "br")).unwrap();
        assert!(!one_phase);
        assert_eq!(Xid::written("X'676c6f62',X'6272',1"), Some(prepared));
        assert!(Xid::prepared(&xa_prepare_body(true, "g", "")).unwrap().0);
        assert_eq!(Xid::written("X'67',X'',1").unwrap(), Xid::prepared(&xa_prepare_body(true, "g", "")).unwrap().1);
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in ["", "'a'", "X'6',X'',1", "X'zz',X'',1", "X'67',X''", "X'67',X'',one"] {
            assert_eq!(Xid::written(text), None, "{text}");
        }
        let long = format!("X'{}',X'',1", "ab".repeat(65));
        assert_eq!(Xid::written(&long), None);
        assert_eq!(Xid::prepared(&[0, 1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]), None);
    }
}
