//! Versions as dotted numbers.

use std::cmp::Ordering;

/// Most numbers of a version that count.
const MAX_PARTS: usize = 8;

/// A version: numbers, of which those that are missing count as zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u64; MAX_PARTS]);

impl Version {
    /// Reads the dotted numbers that a text begins with, after an epoch of a package; none if there are none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.split_once(':').map_or(text, |(_, version)| version);
        let dotted = text.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next()?;
        let mut parts = [0; MAX_PARTS];
        for (part, number) in parts.iter_mut().zip(dotted.trim_end_matches('.').split('.')) {
            *part = number.parse().ok()?;
        }
        Some(Self(parts))
    }

    /// Whether a version is at least as new as another; none if one of them is no version.
    pub(super) fn is_at_least(version: &str, least: &str) -> Option<bool> {
        Some(Self::parse(version)?.cmp(&Self::parse(least)?) != Ordering::Less)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, least, expected) in [
            ("1.0.13", "1.0.13", Some(true)),
            ("1.0.9", "1.0.13", Some(false)),
            ("2.2.53-rc1", "1.0.13", Some(true)),
            ("22.4.2-1+deb12u1", "23.1.1", Some(false)),
            ("1:23.1.1", "23.1.1", Some(true)),
            ("23.1", "23.1.1", Some(false)),
            ("v1", "1", None),
            ("", "1", None),
            ("99999999999999999999999", "1", None),
        ] {
            assert_eq!(Version::is_at_least(version, least), expected, "{version} {least}");
        }
    }
}
