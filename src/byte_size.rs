//! Sizes in bytes as people write and read them: `40G`, `64MiB`, `40.0 GiB`.

use std::fmt;

/// Units by their power of 1024.
const UNITS: [char; 5] = ['K', 'M', 'G', 'T', 'P'];

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a size: write bytes, or a whole number with K, M, G, T or P (powers of 1024), as in 40G")]
pub struct ByteSizeInvalid {
    /// The text.
    pub text: String,
}

/// Reads a size: a whole number of bytes, or of K, M, G, T or P with or without `iB`, in either case.
///
/// All units are powers of 1024. `GB` and the like are refused: to some they are powers of 1000.
///
/// # Errors
/// If the text is anything else, or the size has more than 64 bits.
pub fn parse(text: &str) -> Result<u64, ByteSizeInvalid> {
    let invalid = || ByteSizeInvalid {
        text: crate::text::printable(text),
    };
    let trimmed = text.trim();
    let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(digits_end);
    let number: u64 = digits.parse().ok().ok_or_else(invalid)?;
    let power = power_of(unit.trim_start()).ok_or_else(invalid)?;
    number.checked_mul(1 << (10 * power)).ok_or_else(invalid)
}

/// The power of 1024 that a unit stands for.
fn power_of(unit: &str) -> Option<u32> {
    let mut characters = unit.chars();
    let Some(first) = characters.next() else { return Some(0) };
    let rest = characters.as_str();
    let power = (1..)
        .zip(UNITS)
        .find_map(|(power, name)| first.eq_ignore_ascii_case(&name).then_some(power))?;
    (rest.is_empty() || rest.eq_ignore_ascii_case("ib")).then_some(power)
}

/// Shows a number of bytes to people, with one decimal: `40.0 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = None;
        let (mut whole, mut tenths) = (self.0, 0);
        for name in UNITS {
            if whole < 1024 {
                break;
            }
            tenths = (whole % 1024) * 10 / 1024;
            whole /= 1024;
            unit = Some(name);
        }
        match unit {
            Some(unit) => f.pad(&format!("{whole}.{tenths} {unit}iB")),
            None => f.pad(&format!("{whole} B")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteSize, parse};

    #[test]
    fn reads_bytes_and_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1k", 1 << 10),
            ("40G", 40 << 30),
            (" 2T ", 2 << 40),
            ("3PiB", 3 << 50),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "G",
            "-1",
            "+1",
            "1.5G",
            "40GB",
            "1 2",
            "0x10",
            "1Gi",
            "18446744073709551616",
            "16384P",
            "1\u{661}",
        ] {
            assert_eq!(parse(text).expect_err(text).text, text);
        }
    }

    #[test]
    fn shows_one_decimal_of_the_largest_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (40 << 30, "40.0 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
