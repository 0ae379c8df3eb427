//! Whether the log of XFS ends with an unmount.
//!
//! The log is a ring of 512-byte units. The first word of each is the number of the round in which it was written, or the
//! magic of a record's header, followed by that number. Where the number falls, the log ends; the record before must be
//! the one that an unmount writes. Nothing of the log is replayed.

use super::superblock::Superblock;
use crate::inspect::free::reason::{Sign, Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

const UNIT_BYTES: u64 = 512;
/// First bytes of a record's header.
const MAGIC: u32 = 0xfeed_babe;
/// Bytes of a record that one unit of header can describe.
const HEADER_COVERS_BYTES: u32 = 32 << 10;
/// Longest record, in bytes, without its header.
const MAX_RECORD_BYTES: u32 = 256 << 10;
/// Units before the end in which the last record must begin: its header may have 8.
const MAX_RECORD_UNITS: u64 = 512 + 8;
/// Units on either side of the end that must be of one round: what may have been in flight when a server died.
const SETTLED_UNITS: u64 = 4096;
/// Second version of headers, which may have several units.
const VERSION_2: u32 = 2;
/// Flag of the operation that an unmount logs.
const UNMOUNT: u8 = 0x20;

/// The log of a volume.
struct Log<'a> {
    volume: &'a dyn DiskReader,
    offset: u64,
    units: u64,
}

/// Fails unless the log ends with an unmount.
pub(super) fn check_unmounted(volume: &dyn DiskReader, superblock: &Superblock) -> Result<(), WholeReason> {
    let log = Log { volume, offset: superblock.log_offset, units: superblock.log_units };
    let end = log.end()?;
    let clean = match log.last_record(end)? {
        Some((start, header)) => log.is_unmount(start, &header, end, &superblock.uuid)?,
        None => false,
    };
    if clean { Ok(()) } else { Err(WholeReason::NotClean { sign: Sign::Log }) }
}

impl Log<'_> {
    fn unit(&self, number: u64) -> Result<Record, WholeReason> {
        Record::load(self.volume, Structure::Log, self.offset + number % self.units * UNIT_BYTES, UNIT_BYTES)
    }

    /// The round in which a unit was written.
    fn round(&self, number: u64) -> Result<u32, WholeReason> {
        let unit = self.unit(number)?;
        if unit.be32(0)? == MAGIC { unit.be32(4) } else { unit.be32(0) }
    }

    /// The unit after the last that was written.
    fn end(&self) -> Result<u64, WholeReason> {
        let (newest, last) = (self.round(0)?, self.round(self.units - 1)?);
        // The least unit that is not of the newest round, by halving; if there is none, the round is just complete.
        let (mut low, mut high) = if newest == last { (self.units, self.units) } else { (0, self.units - 1) };
        while low < high {
            let middle = low.midpoint(high);
            if self.round(middle)? == newest { low = middle + 1 } else { high = middle }
        }
        let older = newest.checked_sub(1).ok_or(WholeReason::NotClean { sign: Sign::Log })?;
        self.require_round(low.saturating_sub(SETTLED_UNITS)..low, newest)?;
        self.require_round(low..self.units.min(low + SETTLED_UNITS), older)?;
        Ok(low)
    }

    fn require_round(&self, mut units: std::ops::Range<u64>, round: u32) -> Result<(), WholeReason> {
        units.try_for_each(|unit| match self.round(unit)? == round {
            true => Ok(()),
            false => Err(WholeReason::NotClean { sign: Sign::Log }),
        })
    }

    /// The header of the last record before `end`, and its unit.
    fn last_record(&self, end: u64) -> Result<Option<(u64, Record)>, WholeReason> {
        for back in 1..=MAX_RECORD_UNITS.min(self.units) {
            let start = (end + self.units - back) % self.units;
            let header = self.unit(start)?;
            if header.be32(0)? == MAGIC {
                return Ok(Some((start, header)));
            }
        }
        Ok(None)
    }

    /// Whether a record ends at `end`, is of this file system, and holds the one operation of an unmount.
    fn is_unmount(&self, start: u64, header: &Record, end: u64, uuid: &[u8; 16]) -> Result<bool, WholeReason> {
        let (version, len, size) = (header.be32(8)?, header.be32(12)?, header.be32(320)?);
        if len == 0 || len > MAX_RECORD_BYTES || size > MAX_RECORD_BYTES {
            return Ok(false);
        }
        let long = version & VERSION_2 != 0 && size > HEADER_COVERS_BYTES;
        let header_units = if long { u64::from(size.div_ceil(HEADER_COVERS_BYTES)) } else { 1 };
        let after = start + header_units + u64::from(len).div_ceil(UNIT_BYTES);
        let whole = after % self.units == end % self.units && header.be32(40)? == 1;
        let operation = self.unit(start + header_units)?;
        let own = header.array::<16>(304)? == *uuid;
        Ok(whole && own && operation.u8_at(9)? & UNMOUNT != 0)
    }
}
