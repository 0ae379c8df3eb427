//! The audit log, as programs see it.

use std::path::Path;

use bms_agent::audit::{Record, Verified};
use serde::Serialize;

/// `audit verify`
#[derive(Debug, Serialize)]
pub(crate) struct AuditView {
    /// The directory, as it was named.
    pub(crate) dir: String,
    pub(crate) files: u64,
    pub(crate) lines: u64,
    /// Number of the oldest line that is kept.
    pub(crate) first_seq: u64,
    /// Number of the newest line; 0 if there is none.
    pub(crate) last_seq: u64,
    /// BLAKE3 of the newest line: to be noted elsewhere.
    pub(crate) last_hash: String,
    /// Bytes behind the newest line that are no whole line.
    pub(crate) torn_bytes: Option<u64>,
}

impl AuditView {
    pub(crate) fn new(dir: &Path, log: &Verified) -> Self {
        Self {
            dir: dir.display().to_string(),
            files: log.files,
            lines: log.lines,
            first_seq: log.first_seq,
            last_seq: log.last_seq,
            last_hash: log.last_hash.to_hex().to_string(),
            torn_bytes: log.torn.as_ref().map(|torn| torn.bytes),
        }
    }
}

/// `audit show`: the keys of the line, of which `docs/audit.md` tells, and its hash.
#[derive(Debug, Serialize)]
pub(crate) struct AuditLineView {
    #[serde(flatten)]
    pub(crate) record: Record,
    /// BLAKE3 of the line.
    pub(crate) hash: String,
}
