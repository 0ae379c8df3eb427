//! Facts from small files of the kernel, each with the reason if there is none.

use std::io;
use std::path::Path;
use std::str::FromStr;

use super::fact::{Fact, Unknown, UnknownReason};
use crate::disk::sysfs;

/// Longest attribute: a page, which is also what the kernel allows.
const MAX_ATTRIBUTE_BYTES: u64 = 4096;
/// Longest text that is a value, in characters.
const MAX_VALUE_CHARS: usize = 256;

/// A text: trimmed, printable, never empty, and not longer than a name may be.
pub(super) fn text(path: &Path) -> Fact<String> {
    match sysfs::bounded(path, MAX_ATTRIBUTE_BYTES) {
        Ok(bytes) => value(&bytes),
        Err(error) => Fact::Unknown(because(&error)),
    }
}

/// Makes a value of what a device, a firmware or a daemon says.
pub(super) fn value(raw: &[u8]) -> Fact<String> {
    match sysfs::clean(raw) {
        None => Fact::unknown(UnknownReason::Missing),
        Some(text) if text.chars().count() > MAX_VALUE_CHARS => {
            Fact::unknown_for(UnknownReason::Malformed, &format!("longer than {MAX_VALUE_CHARS} characters"))
        }
        Some(text) => Fact::Known(text),
    }
}

/// A decimal number.
pub(super) fn number<T: FromStr>(path: &Path) -> Fact<T> {
    text(path).and_then(|text| match text.parse() {
        Ok(number) => Fact::Known(number),
        Err(_) => Fact::unknown_for(UnknownReason::Malformed, &format!("{text:?} is no such number")),
    })
}

/// A number in hex, with `0x` before it or without.
pub(super) fn hex(path: &Path) -> Fact<u64> {
    text(path).and_then(|text| match u64::from_str_radix(text.strip_prefix("0x").unwrap_or(&text), 16) {
        Ok(number) => Fact::Known(number),
        Err(_) => Fact::unknown_for(UnknownReason::Malformed, &format!("{text:?} is no hex number")),
    })
}

/// The names in a directory, sorted.
pub(super) fn entries(directory: &Path) -> Fact<Vec<String>> {
    match sysfs::entries(directory) {
        Ok(names) => Fact::Known(names),
        Err(error) => Fact::Unknown(because(&error)),
    }
}

/// What a link points to: its last component.
pub(super) fn link(path: &Path) -> Fact<String> {
    match sysfs::link_name(path) {
        Some(name) => Fact::Known(crate::text::printable(&name)),
        None => Fact::unknown(UnknownReason::Missing),
    }
}

/// Why what a file says is not known.
pub(super) fn because(error: &io::Error) -> Unknown {
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        Unknown { reason: UnknownReason::Missing, detail: None }
    } else if kind == io::ErrorKind::FileTooLarge {
        Unknown::new(UnknownReason::Malformed, &error.to_string())
    } else {
        Unknown::new(UnknownReason::Unreadable, &error.to_string())
    }
}
