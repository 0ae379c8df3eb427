//! Numbers and hashes as people read and type them.

use std::time::Duration;

use bms_agent::byte_size::{self, ByteSize, ByteSizeInvalid};

/// A size: `1.2 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// A rate: `512.0 MiB/s`.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", ByteSize(bytes_per_second))
}

/// A time to the second, or to the tenth below ten seconds: `1 h 02 min`, `3 min 05 s`, `12 s`, `4.2 s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Time left, which is a guess and has no tenths: `1 h 02 min`, `12 s`, `4 s`.
pub(crate) fn time_left(seconds: u64) -> String {
    if seconds < 10 { format!("{seconds} s") } else { duration(Duration::from_secs(seconds)) }
}

/// A time of the day as the agent gives it, to the second: `2026-01-31T12:00:00Z`.
pub(crate) fn to_the_second(rfc3339: &str) -> String {
    rfc3339.split_once('.').map_or_else(|| rfc3339.to_owned(), |(seconds, _fraction)| format!("{seconds}Z"))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a size as it is typed: `4294967296`, `4G`, `4GiB`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, ByteSizeInvalid> {
    byte_size::parse(text)
}

/// Reads a BLAKE3 hash: 64 hex digits.
pub(crate) fn parse_root(text: &str) -> Result<blake3::Hash, &'static str> {
    blake3::Hash::from_hex(text).map_err(|_not_hex| "a root is 64 hex digits, as `bmsctl image hash` prints")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, hex, parse_root, rate, time_left, to_the_second};

    #[test]
    fn rates_are_sizes_a_second() {
        assert_eq!(rate(512 << 20), "512.0 MiB/s");
        assert_eq!(rate(0), "0 B/s");
    }

    #[test]
    fn times_name_their_two_largest_units() {
        let cases =
            [(0, "0.0 s"), (4_250, "4.2 s"), (12_900, "12 s"), (185_000, "3 min 05 s"), (3_725_000, "1 h 02 min")];
        for (millis, text) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!((time_left(4), time_left(12)), ("4 s".to_owned(), "12 s".to_owned()));
    }

    #[test]
    fn times_of_the_day_lose_their_fractions() {
        for time in ["2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00Z"] {
            assert_eq!(to_the_second(time), "2026-01-31T12:00:00Z");
        }
    }

    #[test]
    fn a_root_is_64_hex_digits() {
        let root = blake3::hash(b"image");
        assert_eq!(parse_root(&hex(root.as_bytes())), Ok(root));
        assert!(parse_root("abcd").is_err());
    }
}
