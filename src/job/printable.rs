//! Which characters of other people's texts may stand in a line of a log.

/// Whether the character could break the line, drive a terminal, or make a line look like another: control
/// characters, Unicode's own line ends, and the marks that turn the direction of what follows (Unicode Technical
/// Report 36, "Bidirectional Text Spoofing").
#[must_use]
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// The text as one line: what is unprintable in it is escaped.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unprintable(character) { line.extend(character.escape_default()) } else { line.push(character) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_deceive_is_escaped() {
        assert_eq!(one_line("a\nb\u{1b}[31m\u{9b}m é"), "a\\nb\\u{1b}[31m\\u{9b}m é");
        assert_eq!(one_line("\u{202e}gnp.exe\u{2028}"), "\\u{202e}gnp.exe\\u{2028}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_becomes_one_line_that_no_terminal_obeys(text in "\\PC*|.*|(?s).*") {
            let line = one_line(&text);
            prop_assert!(!line.chars().any(is_unprintable), "{line:?}");
            prop_assert_eq!(line.lines().count(), usize::from(!text.is_empty()));
            prop_assert_eq!(one_line(&line), line);
        }
    }
}
