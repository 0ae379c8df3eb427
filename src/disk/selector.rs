//! Naming one disk: a selector matches exactly one disk, or is an error that shows all of them.
//!
//! A selector says what must hold; it never looks at whether the disk may be written. A disk that matches and is in use is
//! selected, so that the caller hears why it is refused instead of getting another one.

use super::discovery::Disk;
use super::identity::Transport;
use crate::byte_size::ByteSize;
use crate::reason::{DomainError, Reason};

mod parse;
mod report;

#[cfg(test)]
mod tests;

/// Longest value of a text field, in bytes: a path.
const MAX_VALUE_BYTES: usize = 4096;
/// Longest selector that an error repeats, in characters.
const MAX_SHOWN_CHARS: usize = 512;
/// Said to whoever gives a device path.
const PATH_EXAMPLE: &str = "device paths name another disk at every boot; give serial=S64GNE0R900001, wwn=eui.0025385b31b0a7c1 or name=nvme0n1";

/// Which disk. Every field that is set must hold.
///
/// As text: `serial=S64GNE0R900001,min-size=40G`. Values with a comma or a backslash have a backslash before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Serial number, exact.
    pub serial: Option<String>,
    /// World-wide name, exact.
    pub wwn: Option<String>,
    /// A name under `/dev/disk/by-path`, exact.
    pub by_path: Option<String>,
    /// Kernel name without `/dev`, exact.
    pub name: Option<String>,
    /// Model, exact.
    pub model: Option<String>,
    /// How it is attached.
    pub transport: Option<Transport>,
    /// Spinning or not.
    pub rotational: Option<bool>,
    /// Exact capacity, in bytes.
    pub size_bytes: Option<u64>,
    /// Least capacity, in bytes.
    pub min_size_bytes: Option<u64>,
    /// Logical block size, in bytes.
    pub logical_block_size: Option<u32>,
    /// Disk sequence number.
    pub diskseq: Option<u64>,
    /// File behind a loop device, exact.
    pub backing_file: Option<String>,
}

/// A selector that is none, or that does not name one disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// No field that could name a single disk is set.
    #[error("the selector names no single disk: set serial, wwn, by-path, name, model, size or backing-file")]
    Unspecific,
    /// A device path.
    #[error("`{value}` is a path: {PATH_EXAMPLE}")]
    DevicePath {
        /// What was given.
        value: String,
    },
    /// Not `key=value`.
    #[error("`{part}` is not key=value, as in serial=S64GNE0R900001 or name=nvme0n1")]
    NotKeyValue {
        /// What was given.
        part: String,
    },
    /// No such key.
    #[error("a selector has no key `{key}`: it has {}", parse::key_names())]
    UnknownKey {
        /// What was given.
        key: String,
    },
    /// A key twice.
    #[error("the key `{key}` stands twice")]
    RepeatedKey {
        /// The key.
        key: &'static str,
    },
    /// A value that no disk can have.
    #[error("`{key}={value}` is impossible: {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// No disk matches.
    #[error("no disk matches {selector}\n{table}")]
    NotFound {
        /// The selector.
        selector: String,
        /// Names of all disks.
        candidates: Vec<String>,
        /// The disks, and why each does not match. It is part of the message alone: it would not fit a header twice.
        table: String,
    },
    /// Several disks match.
    #[error("{} disks match {selector}\n{table}", .matches.len())]
    Ambiguous {
        /// The selector.
        selector: String,
        /// Names of the disks that match.
        matches: Vec<String>,
        /// The disks that match.
        table: String,
    },
}

impl DomainError for SelectorError {
    fn reason(&self) -> Reason {
        match self {
            Self::Unspecific
            | Self::DevicePath { .. }
            | Self::NotKeyValue { .. }
            | Self::UnknownKey { .. }
            | Self::RepeatedKey { .. }
            | Self::Value { .. } => Reason::RequestMalformed,
            Self::NotFound { .. } => Reason::DiskNotFound,
            Self::Ambiguous { .. } => Reason::DiskAmbiguous,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Unspecific => Vec::new(),
            Self::DevicePath { value } => vec![("value", value.clone())],
            Self::NotKeyValue { part } => vec![("part", part.clone())],
            Self::UnknownKey { key } => vec![("key", key.clone())],
            Self::RepeatedKey { key } => vec![("key", (*key).to_owned())],
            Self::Value { key, value, expected } => {
                vec![("key", (*key).to_owned()), ("value", value.clone()), ("expected", expected.clone())]
            }
            Self::NotFound { selector, candidates, .. } => {
                vec![("selector", selector.clone()), ("candidates", candidates.join(","))]
            }
            Self::Ambiguous { selector, matches, .. } => {
                vec![("selector", selector.clone()), ("matches", matches.join(","))]
            }
        }
    }
}

impl Selector {
    /// Whether the selector could name a single disk.
    ///
    /// # Errors
    /// [`Unspecific`](SelectorError::Unspecific), [`DevicePath`](SelectorError::DevicePath) or
    /// [`Value`](SelectorError::Value).
    pub fn check(&self) -> Result<(), SelectorError> {
        for (key, value) in self.texts() {
            let Some(value) = value else { continue };
            check_text(key, value)?;
        }
        if let Some(bytes) = self.logical_block_size.filter(|bytes| !bytes.is_power_of_two()) {
            let expected = "a block size is a power of two, 512 or 4096".to_owned();
            return Err(SelectorError::Value { key: "block-size", value: bytes.to_string(), expected });
        }
        let specific = self.texts().iter().any(|(_, value)| value.is_some()) || self.size_bytes.is_some();
        if specific { Ok(()) } else { Err(SelectorError::Unspecific) }
    }

    /// The one disk that matches.
    ///
    /// # Errors
    /// As [`check`](Self::check); and [`NotFound`](SelectorError::NotFound) or [`Ambiguous`](SelectorError::Ambiguous), with a
    /// table of the candidates.
    pub fn select<'a>(&self, disks: &'a [Disk]) -> Result<&'a Disk, SelectorError> {
        self.check()?;
        let matches: Vec<&Disk> = disks.iter().filter(|disk| self.mismatches(disk).is_empty()).collect();
        match matches.as_slice() {
            [disk] => Ok(disk),
            [] => Err(self.not_found(disks)),
            several => Err(SelectorError::Ambiguous {
                selector: self.brief(),
                matches: report::names(several),
                table: report::table(several.iter().map(|disk| (*disk, String::new()))),
            }),
        }
    }

    /// Shows every disk and why it does not match, the nearest first.
    fn not_found(&self, disks: &[Disk]) -> SelectorError {
        let mut candidates: Vec<_> = disks.iter().map(|disk| (disk, self.mismatches(disk))).collect();
        candidates.sort_by_key(|(_, mismatches)| mismatches.len());
        SelectorError::NotFound {
            selector: self.brief(),
            candidates: report::names(&disks.iter().collect::<Vec<_>>()),
            table: report::table(candidates.into_iter().map(|(disk, mismatches)| (disk, mismatches.join(", ")))),
        }
    }

    /// The selector in an error.
    fn brief(&self) -> String {
        crate::text::printable(&self.to_string().chars().take(MAX_SHOWN_CHARS).collect::<String>())
    }

    /// The fields that are text, by key.
    fn texts(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("serial", self.serial.as_deref()),
            ("wwn", self.wwn.as_deref()),
            ("by-path", self.by_path.as_deref()),
            ("name", self.name.as_deref()),
            ("model", self.model.as_deref()),
            ("backing-file", self.backing_file.as_deref()),
        ]
    }

    /// Every field that does not hold for a disk, for people. Empty: the disk matches.
    fn mismatches(&self, disk: &Disk) -> Vec<String> {
        let mut found = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                found.push(what.to_owned());
            }
        };
        let equal = |wanted: &Option<String>, actual: &Option<String>| wanted.is_none() || wanted == actual;
        must(equal(&self.serial, &disk.identity.serial), "other serial");
        must(equal(&self.wwn, &disk.identity.wwn), "other wwn");
        must(self.by_path.as_ref().is_none_or(|wanted| disk.by_path.contains(wanted)), "other by-path");
        must(self.name.as_ref().is_none_or(|wanted| *wanted == disk.name), "other name");
        must(equal(&self.model, &disk.model), "other model");
        must(equal(&self.backing_file, &disk.identity.backing_file), "other backing-file");
        must(self.transport.is_none_or(|wanted| wanted == disk.transport), "other transport");
        must(self.rotational.is_none_or(|wanted| wanted == disk.rotational), spinning(disk));
        must(self.size_bytes.is_none_or(|wanted| wanted == disk.size_bytes), "other size");
        let least = self.min_size_bytes.map_or(0, |least| least);
        must(disk.size_bytes >= least, &format!("smaller than {}", ByteSize(least)));
        let block = format!("block-size {}", disk.logical_block_size);
        must(self.logical_block_size.is_none_or(|wanted| wanted == disk.logical_block_size), &block);
        must(self.diskseq.is_none_or(|wanted| Some(wanted) == disk.identity.diskseq), "other diskseq");
        found
    }
}

const fn spinning(disk: &Disk) -> &'static str {
    if disk.rotational { "rotational" } else { "not rotational" }
}

/// A text that a disk could have.
fn check_text(key: &'static str, value: &str) -> Result<(), SelectorError> {
    let shown = || crate::text::printable(&value.chars().take(64).collect::<String>());
    let impossible = |expected: &str| SelectorError::Value { key, value: shown(), expected: expected.to_owned() };
    if matches!(key, "name" | "by-path") && value.contains('/') {
        return Err(SelectorError::DevicePath { value: shown() });
    }
    if value.trim().is_empty() {
        return Err(impossible("the value is empty"));
    }
    if value.len() > MAX_VALUE_BYTES {
        return Err(impossible("the value is too long"));
    }
    // What a disk says is shown with such characters escaped, and is matched as it is shown.
    if !crate::text::is_printable(value) {
        return Err(impossible("the value has control characters, or invisible ones"));
    }
    Ok(())
}
