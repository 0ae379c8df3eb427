//! Names of contexts.

use std::fmt;
use std::str::FromStr;

/// Longest name, in characters: what a table shows of it without a break.
const LONGEST: usize = 64;

/// What an operator calls an agent: often the name of its server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContextName(String);

/// The text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no name of a context: up to {LONGEST} letters, digits, `.`, `:`, `_` and `-`")]
pub(crate) struct ContextNameInvalid;

impl ContextName {
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContextName {
    type Err = ContextNameInvalid;

    fn from_str(text: &str) -> Result<Self, ContextNameInvalid> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".:_-".contains(&byte);
        // An option that was meant is no name.
        let good = (1..=LONGEST).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-');
        if good { Ok(Self(text.to_owned())) } else { Err(ContextNameInvalid) }
    }
}

impl fmt::Display for ContextName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{ContextName, ContextNameInvalid, LONGEST};

    #[test]
    fn names_and_addresses_of_servers_are_names() {
        for text in ["web-7", "server.example", "10.0.0.1", "2001:db8::1", "_", &"a".repeat(LONGEST)] {
            assert_eq!(text.parse::<ContextName>().expect(text).as_str(), text);
        }
        for text in ["", "a b", "-a", "a/b", "a\n", "ä", "a\u{1b}[2J", &"a".repeat(LONGEST + 1)] {
            assert_eq!(text.parse::<ContextName>(), Err(ContextNameInvalid), "{text}");
        }
    }
}
