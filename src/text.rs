//! Text that came from outside - a disk, a firmware, a path - made fit for terminals, logs and answers.
//!
//! Nothing here decides what a text means.

/// `text` with everything escaped that could hide, move or recolour what stands around it: control characters,
/// invisible ones and those that turn the direction of writing.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// An error with everything that led to it, as one line for a log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        line.push_str(": ");
        line.push_str(&source.to_string());
        next = source.source();
    }
    printable(&line)
}

fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "SAMSUNG MZ7LH480HAHQ-00005", "größe 容量 \\ \"", "a  b"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn what_could_deceive_is_escaped() {
        assert_eq!(printable("a\u{1b}[31mb\n\0"), "a\\u{1b}[31mb\\u{a}\\u{0}");
        assert_eq!(printable("x\u{202e}y\u{200b}\u{9b}"), "x\\u{202e}y\\u{200b}\\u{9b}");
    }
}
