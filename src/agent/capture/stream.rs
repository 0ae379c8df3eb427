//! A capture for a caller without a repository: the groups go to a bounded channel as they are read.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Subject;
use crate::disk::discovery::Disk;
use crate::image::group::{ChainingValue, Layout};
use crate::image::manifest::CaptureMode;
use crate::image::scan::Piece;
use crate::image::tree::{Group, OffersDigest, Tree};
use crate::operation::{Captured, Operation, Outcome};
use crate::provision::error::ProvisionError;
use crate::provision::feed::{Encoding, Offered};
use crate::provision::progress::{Counters, Stage};

/// Content of a message, unless a group is larger: reading, compressing and sending then overlap best.
const PART_BYTES: u64 = 1 << 20;
/// Level of zstd: the fastest, for the caller waits.
const ZSTD_LEVEL: i32 = 1;

/// A capture that has begun.
#[derive(Debug)]
pub struct Streamed {
    /// The operation.
    pub operation: Arc<Operation>,
    /// What is captured. Dropping it cancels the capture.
    pub events: mpsc::Receiver<CaptureEvent>,
}

/// What the caller is told, in this order.
#[derive(Debug)]
pub enum CaptureEvent {
    /// Once: what will come.
    Begun(Box<CaptureBegun>),
    /// Some groups; each comes once, in any order.
    Groups(CapturedGroups),
    /// Once: everything came, and is this.
    Finished {
        /// BLAKE3 of the content.
        root: blake3::Hash,
        /// Digest over all groups in order, as of a push.
        offers_digest: [u8; 32],
    },
}

/// What is captured.
#[derive(Debug)]
pub struct CaptureBegun {
    /// The disk.
    pub disk: Disk,
    /// How it is cut.
    pub layout: Layout,
    /// What of it.
    pub mode: CaptureMode,
    /// Bytes that no file system uses.
    pub free_bytes: u64,
    /// What was found of each file system.
    pub notes: Vec<String>,
}

/// Some contiguous groups.
#[derive(Debug)]
pub struct CapturedGroups {
    /// The first.
    pub first: u64,
    /// What they are.
    pub groups: Offered,
    /// How the payload is encoded.
    pub encoding: Encoding,
    /// Their content; empty for holes.
    pub payload: Bytes,
}

/// A channel that holds about `bytes` of content.
pub(super) fn channel(bytes: u64, layout: Layout) -> (mpsc::Sender<CaptureEvent>, mpsc::Receiver<CaptureEvent>) {
    let part = PART_BYTES.max(layout.group_size().bytes());
    mpsc::channel(usize::try_from(bytes / part).unwrap_or(usize::MAX).clamp(1, 64))
}

/// Captures the disk. Blocks until the caller has it all, or is gone.
pub(super) fn run(
    operation: &Operation,
    subject: &Subject,
    encoding: Encoding,
    events: &mpsc::Sender<CaptureEvent>,
) -> Result<Outcome, ProvisionError> {
    let layout = subject.target.layout;
    let groups = usize::try_from(layout.groups()).unwrap_or(usize::MAX);
    let disk = &subject.target.disk;
    let groups = Mutex::new(vec![Group::Hole; groups]);
    let outlet = Outlet { events, disk, layout, encoding, counters: &operation.counters, groups };
    outlet.send(CaptureEvent::Begun(Box::new(CaptureBegun {
        disk: disk.clone(),
        layout,
        mode: subject.target.mode,
        free_bytes: subject.free.bytes(),
        notes: subject.notes.clone(),
    })))?;
    subject.read(operation, &|piece| outlet.take(piece))?;
    let data_bytes = operation.counters.progress().uploaded_bytes;
    let root = outlet.finish()?;
    operation.counters.enter(Stage::Done);
    Ok(Outcome {
        disk: disk.clone(),
        root: *root.as_bytes(),
        len_bytes: layout.len_bytes(),
        warnings: subject.notes.clone(),
        captured: Some(Captured { data_bytes, new_bytes: data_bytes, ..Captured::default() }),
    })
}

/// Turns pieces into events.
struct Outlet<'a> {
    events: &'a mpsc::Sender<CaptureEvent>,
    disk: &'a Disk,
    layout: Layout,
    encoding: Encoding,
    counters: &'a Counters,
    /// What each group is, as far as it was sent.
    groups: Mutex<Vec<Group>>,
}

impl Outlet<'_> {
    fn take(&self, piece: &Piece) -> Result<(), ProvisionError> {
        match piece {
            Piece::Hole { first, count } => self.send(CaptureEvent::Groups(CapturedGroups {
                first: *first,
                groups: Offered::Holes(*count),
                encoding: Encoding::Raw,
                payload: Bytes::new(),
            })),
            Piece::Data { first, chaining_values, content } => self.data(*first, chaining_values, content),
        }
    }

    /// Sends the data of some groups, in several messages if it is much.
    fn data(&self, first: u64, values: &[ChainingValue], content: &Bytes) -> Result<(), ProvisionError> {
        self.note(first, values);
        let group_len = self.layout.group_size().as_usize();
        let part_len = usize::try_from(PART_BYTES).unwrap_or(usize::MAX).max(group_len);
        let parts = values.chunks(part_len / group_len).zip(content.chunks(part_len));
        let mut first = first;
        for (values, data) in parts {
            let (encoding, payload) = self.encode(data);
            self.counters.uploaded.add(data.len() as u64);
            self.counters.wire.add(payload.len() as u64);
            let groups = Offered::Data(values.to_vec());
            self.send(CaptureEvent::Groups(CapturedGroups { first, groups, encoding, payload }))?;
            first += values.len() as u64;
        }
        Ok(())
    }

    /// A copy of the content, compressed if that was asked for and makes it less.
    fn encode(&self, data: &[u8]) -> (Encoding, Bytes) {
        if self.encoding == Encoding::Zstd
            && let Ok(frame) = zstd::bulk::compress(data, ZSTD_LEVEL)
            && frame.len() < data.len()
        {
            return (Encoding::Zstd, frame.into());
        }
        (Encoding::Raw, Bytes::copy_from_slice(data))
    }

    fn note(&self, first: u64, values: &[ChainingValue]) {
        let start = usize::try_from(first).unwrap_or(usize::MAX);
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for (group, value) in groups.iter_mut().skip(start).zip(values) {
            *group = Group::Data(*value);
        }
    }

    /// Tells the caller what it should have by now.
    fn finish(self) -> Result<blake3::Hash, ProvisionError> {
        let groups = std::mem::take(&mut *self.groups.lock().unwrap_or_else(PoisonError::into_inner));
        let offers_digest = OffersDigest::of(&groups);
        let lost = |_| ProvisionError::Worker { disk: self.disk.name.clone() };
        let root = Tree::new(self.layout, groups).map_err(lost)?.root();
        self.send(CaptureEvent::Finished { root, offers_digest })?;
        Ok(root)
    }

    /// Waits while the caller takes its time. A caller that is gone has cancelled.
    fn send(&self, event: CaptureEvent) -> Result<(), ProvisionError> {
        let gone = |_| ProvisionError::Cancelled { disk: self.disk.name.clone() };
        self.events.blocking_send(event).map_err(gone)
    }
}
