//! The answer of a child as bytes: two parts, each after its length. First what was found, as JSON; then the free ranges,
//! 16 bytes each. Written by the child, checked by the parent.

use std::io::{self, Write};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::disk::table::MAX_PARTITIONS;
use crate::inspect::free::ranges::MAX_RANGES;
use crate::inspect::free::{BOOT_REGION_BYTES, FreeSpace, VolumeNote};
use crate::inspect::sandbox::Landlock;

/// Most bytes of the first part.
const MAX_FOUND_BYTES: usize = 256 << 10;
/// Bytes of a range: first byte and the one after the last, little-endian.
const RANGE_BYTES: usize = 16;
/// Most bytes of the second part.
const MAX_RANGES_BYTES: usize = MAX_RANGES * RANGE_BYTES;
const LENGTH_BYTES: usize = 4;
/// Most bytes of an answer.
pub(super) const MAX_BYTES: usize = 2 * LENGTH_BYTES + MAX_FOUND_BYTES + MAX_RANGES_BYTES;

/// An answer that is none.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is longer than any answer.
    #[error("the answer is too long")]
    TooLong,
    /// It ends early, or goes on after its end.
    #[error("the answer is not as long as it says")]
    Length,
    /// Its first part cannot be read.
    #[error("the answer is malformed")]
    Malformed(#[from] serde_json::Error),
    /// It has more volumes than a disk.
    #[error("the answer has {count} volumes")]
    Volumes {
        /// How many.
        count: usize,
    },
    /// Its ranges are not sorted and apart, or not on the disk, or in the boot region.
    #[error("the answer has a free range from byte {start} to byte {end}, which cannot be")]
    Range {
        /// First byte.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
}

/// The first part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    landlock: Landlock,
    volumes: Vec<VolumeNote>,
}

/// Writes an answer.
pub(super) fn write(out: &mut impl Write, landlock: Landlock, space: FreeSpace) -> io::Result<()> {
    let FreeSpace { ranges, notes: volumes } = space;
    let found = serde_json::to_vec(&Found { landlock, volumes })?;
    write_length(out, found.len())?;
    out.write_all(&found)?;
    write_length(out, ranges.len() * RANGE_BYTES)?;
    for range in ranges {
        out.write_all(&range.start.to_le_bytes())?;
        out.write_all(&range.end.to_le_bytes())?;
    }
    out.flush()
}

fn write_length(out: &mut impl Write, len: usize) -> io::Result<()> {
    out.write_all(&u32::try_from(len).map_err(io::Error::other)?.to_le_bytes())
}

/// Reads an answer about a disk of `len_bytes`, and believes no number in it.
pub(super) fn parse(answer: &[u8], len_bytes: u64) -> Result<(Landlock, FreeSpace), AnswerError> {
    if answer.len() > MAX_BYTES {
        return Err(AnswerError::TooLong);
    }
    let (found, rest) = part(answer, MAX_FOUND_BYTES)?;
    let (ranges, rest) = part(rest, MAX_RANGES_BYTES)?;
    if !rest.is_empty() || !ranges.len().is_multiple_of(RANGE_BYTES) {
        return Err(AnswerError::Length);
    }
    let Found { landlock, volumes: notes } = serde_json::from_slice(found)?;
    if notes.len() > MAX_PARTITIONS {
        return Err(AnswerError::Volumes { count: notes.len() });
    }
    let ranges: Vec<Range<u64>> = ranges.chunks_exact(RANGE_BYTES).filter_map(range).collect();
    check(&ranges, len_bytes)?;
    Ok((landlock, FreeSpace { ranges, notes }))
}

/// A part of at most `limit` bytes, and what follows it.
fn part(answer: &[u8], limit: usize) -> Result<(&[u8], &[u8]), AnswerError> {
    let (len, rest) = answer.split_first_chunk::<LENGTH_BYTES>().ok_or(AnswerError::Length)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_too_large| AnswerError::TooLong)?;
    if len > limit {
        return Err(AnswerError::TooLong);
    }
    rest.split_at_checked(len).ok_or(AnswerError::Length)
}

fn range(bytes: &[u8]) -> Option<Range<u64>> {
    let (start, rest) = bytes.split_first_chunk()?;
    Some(u64::from_le_bytes(*start)..u64::from_le_bytes(*rest.first_chunk()?))
}

fn check(ranges: &[Range<u64>], len_bytes: u64) -> Result<(), AnswerError> {
    let mut least = BOOT_REGION_BYTES;
    let limit = len_bytes.saturating_sub(BOOT_REGION_BYTES);
    for &Range { start, end } in ranges {
        if start < least || start >= end || end > limit {
            return Err(AnswerError::Range { start, end });
        }
        least = end;
    }
    Ok(())
}
