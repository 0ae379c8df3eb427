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

/// The most that is told of the causes of an error, in bytes: an answer of a web server may be a whole page, and a gRPC
/// client takes no message much longer than this.
const MAX_CAUSES_BYTES: usize = 2048;

/// An error with everything that led to it, as one line for a log.
pub fn chain(error: &dyn std::error::Error) -> String {
    printable(&error.to_string()) + &causes(error)
}

/// What led to an error, as the rest of a line; empty if it has no causes. Many errors repeat their cause at their own
/// end: it is told once.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut line = String::new();
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !told.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
            told = text;
        }
        next = source.source();
    }
    let mut line = printable(&line);
    if line.len() > MAX_CAUSES_BYTES {
        line.truncate(line.floor_char_boundary(MAX_CAUSES_BYTES));
        line.push_str("...");
    }
    line
}

/// Whether a text has nothing in it that [`printable`] would escape.
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(is_deceptive)
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
    use super::{MAX_CAUSES_BYTES, causes, chain, is_printable, printable};

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "SAMSUNG MZ7LH480HAHQ-00005", "größe 容量 \\ \"", "a  b"] {
            assert_eq!(printable(text), text);
            assert!(is_printable(text), "{text}");
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no answer")]
    struct NoAnswer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot get it: {0}")]
    struct Repeats(#[source] NoAnswer);

    #[test]
    fn a_page_among_the_causes_does_not_make_a_page_of_an_error() {
        let error = NoAnswer(std::io::Error::other("<p>\u{1b}größe</p>\n".repeat(1000)));
        let line = chain(&error);
        assert!(line.starts_with("no answer: <p>\\u{1b}größe</p>\\u{a}<p>") && line.ends_with("..."), "{line}");
        assert_eq!(line, format!("no answer{}", causes(&error)));
        assert!((MAX_CAUSES_BYTES - 3..=MAX_CAUSES_BYTES + 3).contains(&causes(&error).len()));
        assert_eq!(causes(&std::io::Error::other("alone")), "");
        let repeated = Repeats(NoAnswer(std::io::Error::other("reset")));
        assert_eq!(chain(&repeated), "cannot get it: no answer: reset");
    }

    #[test]
    fn what_could_deceive_is_escaped() {
        assert_eq!(printable("a\u{1b}[31mb\n\0"), "a\\u{1b}[31mb\\u{a}\\u{0}");
        for text in ["\0", "\r", "\n", "\u{1b}[2J", "\u{7f}", "\u{202e}", "\u{2066}", "a\u{200b}b", "\u{feff}"] {
            assert!(!is_printable(text), "{text:?}");
        }
        assert_eq!(printable("x\u{202e}y\u{200b}\u{9b}"), "x\\u{202e}y\\u{200b}\\u{9b}");
    }
}
