//! The files of the log: their names, how long they get, and how many there are.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::{AuditError, Damage};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes after which another file begins.
    pub(super) file_bytes: u64,
    /// Files after which the oldest is removed.
    pub(super) files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 8 << 20, files: 32 }
    }
}

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
const DIGITS: usize = 20;

/// The file whose first line has this number.
pub(super) fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{first_seq:0DIGITS$}{SUFFIX}"))
}

/// The numbers of the first lines of all files, the oldest first. What is not named like one is no part of the log.
pub(super) fn list(dir: &Path) -> Result<VecDeque<u64>, AuditError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(AuditError::io(dir))? {
        let path = entry.map_err(AuditError::io(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(number) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) else { continue };
        let is_number = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
        match number.parse::<u64>() {
            Ok(seq) if is_number && seq > 0 => found.push(seq),
            _ => return Err(AuditError::Damaged { path, line: 0, what: Damage::Name }),
        }
    }
    found.sort_unstable();
    Ok(found.into())
}
