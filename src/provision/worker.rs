//! What a worker does with a piece of work: compare, verify and write, zero, flush, read back.
//!
//! All workers are alike, one thread each, and each takes a run through all steps by itself, so that its bytes stay in
//! one core's cache and are never handed over. This is the only code that writes an image's bytes to a disk outside the
//! boot region.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use zstd::bulk::Decompressor;

use super::boot_region::BootRegion;
use super::error::ProvisionError;
use super::feed::{Encoding, Part, Want};
use super::ledger::Ledger;
use super::progress::Counters;
use super::queue::{Claim, Job, Queue, Work};
use crate::disk::buffer::AlignedBuffer;
use crate::disk::device::BlockDevice;
use crate::image::group::{Layout, extend, is_zero};
use crate::image::tree::Group;

/// Most bytes that one request to zero covers: a cancel waits for one.
const ZERO_STEP_BYTES: u64 = 64 << 20;

/// What all workers of an install share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) device: &'a dyn BlockDevice,
    pub(super) layout: Layout,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) boot: Mutex<BootRegion>,
    pub(super) queue: Queue,
    pub(super) counters: &'a Counters,
    pub(super) wants: mpsc::Sender<Want>,
    /// As long as a worker's buffer.
    pub(super) zeroes: &'a AlignedBuffer,
}

impl Shared<'_> {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn boot(&self) -> MutexGuard<'_, BootRegion> {
        self.boot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker: a buffer for one run, a decoder, and a reading descriptor of its own.
pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    reader: &'a dyn BlockDevice,
    buffer: AlignedBuffer,
    decoder: Decompressor<'static>,
}

impl<'a> Worker<'a> {
    /// A worker that reads back through `reader`.
    pub(super) fn new(shared: &'a Shared<'a>, reader: &'a dyn BlockDevice) -> std::io::Result<Self> {
        let buffer = AlignedBuffer::zeroed(shared.zeroes.len());
        Ok(Self { shared, reader, buffer, decoder: Decompressor::new()? })
    }

    /// Works until there is nothing left to do. A failure stops all workers.
    pub(super) fn run(mut self) {
        let _stop = StopOnPanic(&self.shared.queue);
        while let Some(work) = self.shared.queue.next() {
            if let Err(error) = self.perform(work) {
                self.shared.queue.fail(error);
            }
        }
    }

    fn perform(&mut self, work: Work) -> Result<(), ProvisionError> {
        match work {
            Work::Run(job) => {
                let claims = match job {
                    Job::Compare(groups) => self.compare(groups)?,
                    Job::Write(parts) => self.write(&parts)?,
                    Job::Zero(groups) => self.zero_groups(groups)?,
                    Job::Wipe(range) => self.wipe(range)?,
                };
                let len_bytes = claims.iter().map(|claim| self.claim_bytes(claim)).sum();
                self.shared.queue.finish_job(claims, len_bytes);
            }
            Work::Flush(claims) => {
                self.shared.device.sync()?;
                self.shared.queue.finish_flush(claims);
            }
            Work::Prove(claim) => {
                match claim {
                    Claim::Groups(groups) => self.prove_groups(groups)?,
                    Claim::Zeroes(range) => self.prove_zeroes(range)?,
                }
                self.shared.queue.finish_proof();
            }
        }
        Ok(())
    }

    fn claim_bytes(&self, claim: &Claim) -> u64 {
        let range = match claim {
            Claim::Groups(groups) => self.shared.layout.byte_range(groups.start, groups.end - groups.start),
            Claim::Zeroes(range) => range.clone(),
        };
        range.end - range.start
    }

    /// Reads groups, keeps those that are right already, asks for the others, and zeroes what should be a hole.
    fn compare(&mut self, groups: Range<u64>) -> Result<Vec<Claim>, ProvisionError> {
        let (first, count) = (groups.start, groups.end - groups.start);
        self.read(first, count)?;
        let mut bitmap = vec![0; usize::try_from(count.div_ceil(8)).unwrap_or_default()];
        let mut claims = Vec::new();
        let mut asked = false;
        for (index, group) in (0usize..).zip(groups) {
            let expected = self.shared.ledger().expected(group);
            asked |= matches!(expected, Some(Group::Data(_)));
            if self.is_right(first, group, expected) {
                self.keep(group, expected)?;
            } else if expected == Some(Group::Hole) {
                claims.extend(self.zero_groups(group..group + 1)?);
            } else {
                bitmap[index / 8] |= 1 << (index % 8);
            }
        }
        if asked {
            self.want(Want { first, count, bitmap: Some(bitmap) });
        }
        Ok(claims)
    }

    /// Notes that a group was found on the disk, unless its bytes came before it was looked for.
    fn keep(&self, group: u64, expected: Option<Group>) -> Result<(), ProvisionError> {
        let len = self.shared.layout.group_len(group) as u64;
        let mut ledger = self.shared.ledger();
        if expected == Some(Group::Hole) {
            self.shared.counters.hole.add(len);
        } else if ledger.is_waiting(group) {
            self.shared.counters.present.add(len);
        } else {
            return Ok(());
        }
        self.shared.counters.verified.add(len);
        ledger.proven(group, 1)
    }

    fn want(&self, want: Want) {
        // A source that has gone away needs no answer; that it went away is noticed where it should tell.
        drop(self.shared.wants.blocking_send(want));
    }

    /// Verifies every group before any is written, then writes those that nobody else has written.
    fn write(&mut self, parts: &[Part]) -> Result<Vec<Claim>, ProvisionError> {
        let Some(first) = parts.first().map(|part| part.first) else { return Ok(Vec::new()) };
        let mut claimed: Vec<Range<u64>> = Vec::new();
        for part in parts {
            self.check_len(part)?;
            self.decode(first, part)?;
            for group in part.first..part.first + part.count {
                if self.take(first, group, part)? {
                    extend(&mut claimed, group);
                }
            }
            self.count_received(part);
        }
        for groups in &claimed {
            self.write_groups(first, groups)?;
        }
        Ok(claimed.into_iter().map(Claim::Groups).collect())
    }

    fn part_bytes(&self, part: &Part) -> u64 {
        let range = self.shared.layout.byte_range(part.first, part.count);
        range.end - range.start
    }

    fn count_received(&self, part: &Part) {
        self.shared.counters.received.add(self.part_bytes(part));
        self.shared.counters.wire.add(part.payload.len() as u64);
    }

    fn check_len(&self, part: &Part) -> Result<(), ProvisionError> {
        match part.encoding {
            Encoding::Raw if part.payload.len() as u64 != self.part_bytes(part) => Err(self.payload_error(part)),
            Encoding::Raw | Encoding::Zstd => Ok(()),
        }
    }

    fn payload_error(&self, part: &Part) -> ProvisionError {
        ProvisionError::Payload { first: part.first, count: part.count, expected: self.part_bytes(part) }
    }

    /// Puts the bytes of a compressed part where they belong in the buffer, which begins with group `first`.
    fn decode(&mut self, first: u64, part: &Part) -> Result<(), ProvisionError> {
        if part.encoding == Encoding::Raw {
            return Ok(());
        }
        let at = self.place(first, part.first, part.count);
        // The target is exactly as long as the groups: a bomb ends here, and needs no window.
        match self.decoder.decompress_to_buffer(&part.payload, &mut self.buffer[at]) {
            Ok(len) if len as u64 == self.part_bytes(part) => Ok(()),
            Ok(_) | Err(_) => Err(self.payload_error(part)),
        }
    }

    /// Takes a group of a part into the buffer, if nobody else has it; it must be what was offered.
    fn take(&mut self, first: u64, group: u64, part: &Part) -> Result<bool, ProvisionError> {
        let claimed = self.shared.ledger().claim(group)?;
        let Some(expected) = claimed else { return Ok(false) };
        let at = self.place(first, group, 1);
        if part.encoding == Encoding::Raw {
            // Group by group, so that what is copied is still in the cache when it is hashed.
            let from = self.place(part.first, group, 1);
            self.buffer[at.clone()].copy_from_slice(&part.payload[from]);
        }
        if self.shared.layout.chaining_value(group, &self.buffer[at]) == expected {
            return Ok(true);
        }
        let disk = self.shared.device.name().to_owned();
        Err(ProvisionError::GroupDigest { disk, group, offset: self.shared.layout.byte_range(group, 1).start })
    }

    /// Writes groups from the buffer, but for the boot region, which is held.
    fn write_groups(&mut self, first: u64, groups: &Range<u64>) -> Result<(), ProvisionError> {
        let count = groups.end - groups.start;
        let bytes = self.shared.layout.byte_range(groups.start, count);
        let at = self.place(first, groups.start, count);
        // The last block of an image that is no multiple of it is filled up with zeroes.
        let end = self.shared.device.geometry().round_up(bytes.end);
        let padded = at.start..at.end + length(bytes.end..end);
        self.buffer[at.end..padded.end].fill(0);
        let data = &self.buffer[padded];
        let outside = {
            let mut boot = self.shared.boot();
            boot.hold(bytes.start, data);
            boot.outside(bytes.start..end)
        };
        for part in outside {
            let from = length(bytes.start..part.start);
            self.shared.device.write(part.start, &data[from..from + length(part)])?;
        }
        self.shared.counters.written.add(bytes.end - bytes.start);
        self.shared.ledger().on_disk(groups.start, count)
    }

    /// Zeroes groups on the disk, but for the boot region, which is zero already and is held as zeroes.
    fn zero_groups(&self, groups: Range<u64>) -> Result<Vec<Claim>, ProvisionError> {
        let (first, count) = (groups.start, groups.end - groups.start);
        let bytes = self.shared.layout.byte_range(first, count);
        let end = self.shared.device.geometry().round_up(bytes.end);
        let outside = self.shared.boot().outside(bytes.start..end);
        for part in outside {
            self.zero(part)?;
        }
        self.shared.counters.hole.add(bytes.end - bytes.start);
        self.shared.ledger().on_disk(first, count)?;
        Ok(vec![Claim::Groups(groups)])
    }

    fn wipe(&self, range: Range<u64>) -> Result<Vec<Claim>, ProvisionError> {
        self.zero(range.clone())?;
        self.shared.counters.hole.add(range.end - range.start);
        Ok(vec![Claim::Zeroes(range)])
    }

    /// Zeroes bytes, step by step; a stop ends it early, and nothing after it happens.
    fn zero(&self, range: Range<u64>) -> Result<(), ProvisionError> {
        let mut at = range.start;
        while at < range.end && !self.shared.queue.is_stopped() {
            let end = at.saturating_add(ZERO_STEP_BYTES).min(range.end);
            self.shared.device.zero(at..end, self.shared.zeroes)?;
            at = end;
        }
        Ok(())
    }

    /// Reads groups back; each must be what it was offered as.
    fn prove_groups(&mut self, groups: Range<u64>) -> Result<(), ProvisionError> {
        let count = groups.end - groups.start;
        self.read(groups.start, count)?;
        let bytes = self.shared.layout.byte_range(groups.start, count);
        let len = length(bytes.clone());
        let padding = length(bytes.end..self.shared.device.geometry().round_up(bytes.end));
        if !is_zero(&self.buffer[len..len + padding]) {
            return Err(self.read_back_error(bytes.end));
        }
        for group in groups.clone() {
            let expected = self.shared.ledger().expected(group);
            if !self.is_right(groups.start, group, expected) {
                return Err(self.read_back_error(self.shared.layout.byte_range(group, 1).start));
            }
        }
        self.shared.ledger().proven(groups.start, count)?;
        self.shared.counters.verified.add(bytes.end - bytes.start);
        Ok(())
    }

    fn prove_zeroes(&mut self, range: Range<u64>) -> Result<(), ProvisionError> {
        let data = &mut self.buffer[..length(range.clone())];
        self.reader.read(range.start, data)?;
        if !is_zero(data) {
            return Err(self.read_back_error(range.start));
        }
        self.shared.counters.verified.add(range.end - range.start);
        Ok(())
    }

    /// Fills the buffer with groups as they will be once the boot region is written.
    fn read(&mut self, first: u64, count: u64) -> Result<(), ProvisionError> {
        let bytes = self.shared.layout.byte_range(first, count);
        let end = self.shared.device.geometry().round_up(bytes.end);
        let data = &mut self.buffer[..length(bytes.start..end)];
        self.reader.read(bytes.start, data)?;
        self.shared.boot().overlay(bytes.start, data);
        Ok(())
    }

    /// Whether a group in the buffer, which begins with group `first`, is what is expected.
    fn is_right(&self, first: u64, group: u64, expected: Option<Group>) -> bool {
        let data = &self.buffer[self.place(first, group, 1)];
        match expected {
            None => false,
            Some(Group::Hole) => is_zero(data),
            Some(Group::Data(value)) => self.shared.layout.chaining_value(group, data) == value,
        }
    }

    /// Where groups lie in the buffer, which begins with group `first`.
    fn place(&self, first: u64, group: u64, count: u64) -> Range<usize> {
        let base = self.shared.layout.byte_range(first, 0).start;
        let bytes = self.shared.layout.byte_range(group, count);
        length(base..bytes.start)..length(base..bytes.end)
    }

    fn read_back_error(&self, offset: u64) -> ProvisionError {
        ProvisionError::ReadBack { disk: self.shared.device.name().to_owned(), offset }
    }
}

/// Stops everything if a worker panics: the others would wait for what it had in hand.
struct StopOnPanic<'a>(&'a Queue);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Length of a range within a buffer.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a buffer is at most 16 MiB; what does not fit it is refused before"
)]
fn length(range: Range<u64>) -> usize {
    (range.end - range.start) as usize
}
