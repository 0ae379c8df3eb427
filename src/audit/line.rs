//! One line: the event, its place in the chain, and a sum of its own bytes.
//!
//! The hash of the next line proves a line; nothing proves the last one but its own sum. The sum is against accidents: who
//! can write the file can make another.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::error::{AuditError, Damage};
use super::event::Event;

/// Longest line with its newline, in bytes. What [`Event`] allows is far shorter.
pub(super) const MAX_LINE_BYTES: usize = 64 << 10;

/// What the first line of all has in the place of a hash: zeroes.
pub const GENESIS: blake3::Hash = blake3::Hash::from_bytes([0; 32]);

/// What every line begins with, and no line has anywhere else: quotes in texts are escaped.
pub(super) const BEGIN: &[u8] = b"{\"seq\":";

/// What stands before the sum, and behind it.
const BEFORE_SUM: &[u8] = b",\"sum\":\"";
const BEHIND_SUM: &[u8] = b"\"}";
const SUM_DIGITS: usize = 64;

/// A line, as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts up from 1, for ever.
    pub seq: u64,
    /// BLAKE3 of the line before without its newline, in hex.
    pub prev: String,
    /// When, by the agent's clock: RFC 3339 in UTC.
    pub time: String,
    /// Of the kernel that ran.
    pub boot_id: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A line's place in the chain: what the next line refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) hash: blake3::Hash,
}

/// What the chain is made of, of a line that is read.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Head<'a> {
    pub(super) seq: u64,
    #[serde(borrow)]
    pub(super) prev: Cow<'a, str>,
}

impl Record {
    /// The line, with its sum and without its newline.
    pub(super) fn encode(&self) -> Result<Vec<u8>, AuditError> {
        let mut line = serde_json::to_vec(self).map_err(|source| AuditError::Encode { source })?;
        line.truncate(line.len().saturating_sub(1));
        let sum = blake3::hash(&line).to_hex();
        for part in [BEFORE_SUM, sum.as_bytes(), BEHIND_SUM] {
            line.extend_from_slice(part);
        }
        Ok(line)
    }
}

/// Takes a line apart, of which nothing is known yet.
pub(super) fn decode(line: &[u8]) -> Result<Head<'_>, Damage> {
    let head = serde_json::from_slice(line).map_err(|error| match error.classify() {
        Category::Io | Category::Syntax | Category::Eof => Damage::Malformed,
        Category::Data => Damage::Shapeless,
    })?;
    let (content, sum) = split_sum(line).ok_or(Damage::Unsummed)?;
    if sum != blake3::hash(content).to_hex().as_bytes() {
        return Err(Damage::Sum);
    }
    Ok(head)
}

/// What the sum is of, and the sum.
fn split_sum(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_suffix(BEHIND_SUM)?;
    let (rest, sum) = rest.split_at_checked(rest.len().checked_sub(SUM_DIGITS)?)?;
    Some((rest.strip_suffix(BEFORE_SUM)?, sum))
}
