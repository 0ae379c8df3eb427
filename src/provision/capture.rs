//! A capture: reads a disk, and hands all of it on as hashed groups.
//!
//! Workers are alike, as those of a scan: each takes the next run, reads it around the page cache, hashes it and hands it
//! on by itself. What no file system uses is zero in the image, whatever is on the disk: what was deleted does not travel.
//! A block that cannot be read ends it, for zeroes in its place would be believed. Writes nothing, and knows no
//! repository.

mod free;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use nix::errno::Errno;
use tokio_util::sync::CancellationToken;

pub use self::free::FreeMap;
use super::error::ProvisionError;
use super::install::run_bytes;
use super::progress::{Counters, Stage};
use crate::disk::buffer::AlignedBuffer;
use crate::disk::device::{BlockDevice, DeviceError};
use crate::image::group::{ChainingValue, Layout, is_zero};
use crate::image::scan::Piece;

/// Takes pieces, from several threads and in any order. The content of a piece is the worker's own memory: whoever keeps
/// it beyond the call costs the capture a copy of it.
pub type Sink<'a, E> = dyn Fn(&Piece) -> Result<(), E> + Sync + 'a;

/// Everything that a capture needs.
#[derive(Debug)]
pub struct CaptureJob<'a> {
    /// The disk, open for reading.
    pub device: &'a dyn BlockDevice,
    /// How it is cut. Its length is at most that of the disk.
    pub layout: Layout,
    /// What is zero in the image, whatever is on the disk.
    pub free: &'a FreeMap,
    /// Threads.
    pub workers: NonZeroUsize,
    /// Counts what is read.
    pub counters: &'a Counters,
    /// Set when a caller cancels.
    pub cancel: &'a CancellationToken,
}

/// What the workers share.
#[derive(Debug)]
struct Shared<E> {
    /// The first group that nobody has taken.
    next: Mutex<u64>,
    failure: Mutex<Option<E>>,
}

/// What a worker takes: groups that are free, then a run to read. Either may be empty.
#[derive(Debug)]
struct Turn {
    free: Range<u64>,
    used: Range<u64>,
}

impl CaptureJob<'_> {
    /// Reads everything that is used, and hands every group to `sink`, in exactly one piece. Blocks until all is done.
    ///
    /// # Errors
    /// [`ProvisionError::Unreadable`] for a block that the disk does not give, or what else it answered;
    /// [`ProvisionError::Cancelled`]; what `sink` answered; the first of them. What was handed on is worth nothing then.
    pub fn run<E: From<ProvisionError> + Send>(&self, sink: &Sink<'_, E>) -> Result<(), E> {
        self.counters.enter(Stage::Read);
        self.counters.total.add(self.layout.len_bytes());
        let shared = Shared { next: Mutex::new(0), failure: Mutex::new(None) };
        let lost = thread::scope(|scope| {
            let spawn = |_| {
                let (thread, span) = (thread::Builder::new().name("capture".to_owned()), tracing::Span::current());
                let shared = &shared;
                thread.spawn_scoped(scope, move || span.in_scope(|| self.work(shared, sink))).ok()
            };
            // Fewer threads than there should be do it as well, but for none.
            let threads: Vec<_> = (0..self.workers.get()).filter_map(spawn).collect();
            threads.is_empty() || threads.into_iter().map(|thread| thread.join()).filter(Result::is_err).count() > 0
        });
        let disk = || self.device.name().to_owned();
        if lost {
            return Err(ProvisionError::Worker { disk: disk() }.into());
        }
        if let Some(failure) = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        if self.cancel.is_cancelled() {
            return Err(ProvisionError::Cancelled { disk: disk() }.into());
        }
        self.device.confirm().map_err(|error| ProvisionError::from(error).into())
    }

    fn work<E: From<ProvisionError>>(&self, shared: &Shared<E>, sink: &Sink<'_, E>) {
        let len = usize::try_from(run_bytes(self.layout)).unwrap_or_default();
        let mut memory = Arc::new(AlignedBuffer::zeroed(len));
        while !self.cancel.is_cancelled() && lock(&shared.failure).is_none() {
            let Some(turn) = self.take(&mut lock(&shared.next)) else { return };
            if let Err(error) = self.turn(turn, &mut memory, sink) {
                lock(&shared.failure).get_or_insert(error);
            }
        }
    }

    /// The next turn; none if everything was taken.
    fn take(&self, next: &mut u64) -> Option<Turn> {
        let (first, groups) = (*next, self.layout.groups());
        let is_free = |group: u64| self.free.covers(&self.layout.byte_range(group, 1));
        let start = (first..groups).find(|&group| !is_free(group)).unwrap_or(groups);
        let limit = start.saturating_add(self.layout.groups_per_run()).min(groups);
        let end = (start..limit).find(|&group| is_free(group)).unwrap_or(limit);
        *next = end;
        (first < end).then_some(Turn { free: first..start, used: start..end })
    }

    fn turn<E: From<ProvisionError>>(
        &self,
        turn: Turn,
        memory: &mut Arc<AlignedBuffer>,
        sink: &Sink<'_, E>,
    ) -> Result<(), E> {
        let Turn { free, used } = turn;
        if !free.is_empty() {
            let piece = Piece::Hole { first: free.start, count: free.end - free.start };
            sink(&piece)?;
            self.count(&free, std::slice::from_ref(&piece));
        }
        if used.is_empty() {
            return Ok(());
        }
        let pieces = self.read(&used, memory)?;
        pieces.iter().try_for_each(sink)?;
        self.count(&used, &pieces);
        Ok(())
    }

    /// Reads a run into `memory`, blanks what is free of it, and hashes the rest.
    fn read(&self, groups: &Range<u64>, memory: &mut Arc<AlignedBuffer>) -> Result<Vec<Piece>, ProvisionError> {
        let bytes = self.layout.byte_range(groups.start, groups.end - groups.start);
        // Copies it if somebody kept what was in it.
        let buffer = Arc::make_mut(memory);
        self.fill(bytes.start, &mut buffer[..length(bytes.start..self.device.geometry().round_up(bytes.end))])?;
        let data = &mut buffer[..length(bytes.clone())];
        self.free.blank(bytes.start, data);
        let values = self.hash(groups, data);
        let content = Bytes::from_owner(Lent(memory.clone())).slice(..length(bytes));
        Ok(Piece::cut(self.layout, groups.start, &values, &content).collect())
    }

    /// The chaining value of each group; none for zeroes.
    fn hash(&self, groups: &Range<u64>, data: &[u8]) -> Vec<Option<ChainingValue>> {
        let groups = groups.clone().zip(data.chunks(self.layout.group_size().as_usize()));
        let hash = |(group, data): (u64, &[u8])| (!is_zero(data)).then(|| self.layout.chaining_value(group, data));
        groups.map(hash).collect()
    }

    /// Fills `data` from the disk at once; where that fails, block by block, which tells the block, and spares those that
    /// are free.
    fn fill(&self, offset: u64, data: &mut [u8]) -> Result<(), ProvisionError> {
        match self.device.read(offset, data) {
            Err(error) if is_unreadable(&error) => {}
            result => return Ok(result?),
        }
        let block_bytes = u64::from(self.device.geometry().logical_block_size);
        for (lba, block) in (offset / block_bytes..).zip(data.chunks_mut(length(0..block_bytes))) {
            let at = lba * block_bytes;
            if self.free.covers(&(at..at + block_bytes)) {
                continue;
            }
            match self.device.read(at, block) {
                Err(DeviceError::Io { disk, source, .. }) if is_medium(&source) => {
                    return Err(ProvisionError::Unreadable { disk, offset: at, lba, source });
                }
                result => result?,
            }
        }
        tracing::warn!(disk = self.device.name(), offset, len = data.len(), "what did not read at once read by block");
        Ok(())
    }

    /// Counts what was handed on.
    fn count(&self, groups: &Range<u64>, pieces: &[Piece]) {
        let bytes = |first, count| {
            let range = self.layout.byte_range(first, count);
            range.end - range.start
        };
        let hole = |piece: &Piece| match piece {
            Piece::Hole { first, count } => bytes(*first, *count),
            Piece::Data { .. } => 0,
        };
        self.counters.hole.add(pieces.iter().map(hole).sum());
        self.counters.read.add(bytes(groups.start, groups.end - groups.start));
    }
}

/// A worker's memory, while pieces of it are handed on.
struct Lent(Arc<AlignedBuffer>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn is_unreadable(error: &DeviceError) -> bool {
    matches!(error, DeviceError::Io { source, .. } if is_medium(source))
}

/// Whether a read failed for what is on the medium, and not because the disk is gone. The kernel knows several such
/// answers (block/blk-core.c, `blk_errors`): medium, target, protection information, and all that has no name.
fn is_medium(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EIO | Errno::ENODATA | Errno::EREMOTEIO | Errno::EILSEQ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Length of a range within a buffer.
#[expect(clippy::cast_possible_truncation, reason = "a buffer is at most 16 MiB")]
fn length(range: Range<u64>) -> usize {
    (range.end - range.start) as usize
}
