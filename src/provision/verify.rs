//! A verification: reads a disk and compares it, group by group where a tree is known, else by its root.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::error::ProvisionError;
use super::install::run_bytes;
use super::progress::{Counters, Stage};
use crate::disk::buffer::AlignedBuffer;
use crate::disk::device::{BlockDevice, DeviceError};
use crate::image::group::{ChainingValue, Layout, is_zero};
use crate::image::tree::{Group, Tree};

/// Most offsets that an error names.
const NAMED_OFFSETS: usize = 256;

/// What a disk should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// These groups.
    Tree(Tree),
    /// Content of this layout with this root.
    Root(Layout, [u8; 32]),
}

impl Expectation {
    /// How the content is cut.
    pub const fn layout(&self) -> Layout {
        match self {
            Self::Tree(tree) => tree.layout(),
            Self::Root(layout, _) => *layout,
        }
    }
}

/// Everything that a verification needs.
#[derive(Debug)]
pub struct VerifyJob<'a> {
    /// The disk, open for reading.
    pub device: &'a dyn BlockDevice,
    /// What it should hold.
    pub expectation: &'a Expectation,
    /// Threads.
    pub workers: NonZeroUsize,
    /// Counts what is read.
    pub counters: &'a Counters,
    /// Set when a caller cancels.
    pub cancel: &'a CancellationToken,
}

/// What the workers found.
#[derive(Debug, Default)]
struct Findings {
    /// Groups that are not what they should be.
    wrong: Vec<u64>,
    failure: Option<DeviceError>,
    /// Chaining values by group, where only the root is known.
    values: Vec<ChainingValue>,
}

impl VerifyJob<'_> {
    /// Reads everything. Gives the root of what was read, which is the expected one.
    ///
    /// # Errors
    /// [`ProvisionError::Mismatch`] with the groups that differ, after all was read; or what the device answered.
    pub fn run(&self) -> Result<blake3::Hash, ProvisionError> {
        let layout = self.expectation.layout();
        self.counters.enter(Stage::ReadBack);
        self.counters.total.add(layout.len_bytes());
        self.check_size(layout)?;
        let findings = Mutex::new(self.empty_findings(layout));
        let next_run = AtomicU64::new(0);
        let panicked = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.workers.get()).map(|_| scope.spawn(|| self.work(layout, &next_run, &findings))).collect();
            threads.into_iter().map(|thread| thread.join()).filter(Result::is_err).count()
        });
        if panicked > 0 {
            return Err(ProvisionError::Worker { disk: self.device.name().to_owned() });
        }
        self.judge(findings.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn empty_findings(&self, layout: Layout) -> Findings {
        let unread = match self.expectation {
            Expectation::Tree(_) => 0,
            Expectation::Root(..) => usize::try_from(layout.groups()).unwrap_or(usize::MAX),
        };
        Findings { values: vec![ChainingValue([0; 32]); unread], ..Findings::default() }
    }

    fn check_size(&self, layout: Layout) -> Result<(), ProvisionError> {
        let len = self.device.geometry().len_bytes;
        if layout.len_bytes() <= len {
            return Ok(());
        }
        let detail = format!("it has {len} bytes, and the image {}", layout.len_bytes());
        Err(ProvisionError::Mismatch { disk: self.device.name().to_owned(), offsets: Vec::new(), groups: 0, detail })
    }

    fn work(&self, layout: Layout, next_run: &AtomicU64, findings: &Mutex<Findings>) {
        let per_run = layout.groups_per_run();
        let mut buffer = AlignedBuffer::zeroed(usize::try_from(run_bytes(layout)).unwrap_or_default());
        let lock = || findings.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.cancel.is_cancelled() && lock().failure.is_none() {
            let first = next_run.fetch_add(1, Ordering::Relaxed).saturating_mul(per_run);
            let end = first.saturating_add(per_run).min(layout.groups());
            if first >= end {
                return;
            }
            match self.read_run(layout, first..end, &mut buffer) {
                Ok(found) => self.note(first, found, &mut lock()),
                Err(error) => {
                    lock().failure.get_or_insert(error);
                }
            }
        }
    }

    /// What each group of a run is; `None` for one that is proven right.
    fn read_run(
        &self,
        layout: Layout,
        groups: Range<u64>,
        buffer: &mut AlignedBuffer,
    ) -> Result<Vec<Option<ChainingValue>>, DeviceError> {
        let bytes = layout.byte_range(groups.start, groups.end - groups.start);
        let len = usize::try_from(self.device.geometry().round_up(bytes.end) - bytes.start).unwrap_or(usize::MAX);
        self.device.read(bytes.start, &mut buffer[..len])?;
        let mut rest = &buffer[..len];
        let found = groups.map(|group| {
            let (data, tail) = rest.split_at(layout.group_len(group));
            rest = tail;
            self.look_at(layout, group, data)
        });
        let found = found.collect();
        self.counters.verified.add(bytes.end - bytes.start);
        Ok(found)
    }

    fn look_at(&self, layout: Layout, group: u64, data: &[u8]) -> Option<ChainingValue> {
        let expected = match self.expectation {
            Expectation::Root(..) => None,
            Expectation::Tree(tree) => usize::try_from(group).ok().and_then(|at| tree.groups().get(at)),
        };
        match expected {
            // The digest of the record vouches for the flag: a hole need not be hashed.
            Some(expected) if expected.hole && is_zero(data) => None,
            Some(expected) => {
                Some(layout.chaining_value(group, data)).filter(|found| *found != expected.chaining_value)
            }
            None => Some(layout.chaining_value(group, data)),
        }
    }

    fn note(&self, first: u64, found: Vec<Option<ChainingValue>>, findings: &mut Findings) {
        for (group, value) in (first..).zip(found) {
            let (Some(value), at) = (value, usize::try_from(group).unwrap_or(usize::MAX)) else { continue };
            match (self.expectation, findings.values.get_mut(at)) {
                (Expectation::Root(..), Some(slot)) => *slot = value,
                _ => findings.wrong.push(group),
            }
        }
    }

    fn judge(&self, mut findings: Findings) -> Result<blake3::Hash, ProvisionError> {
        if let Some(failure) = findings.failure {
            return Err(failure.into());
        }
        let disk = self.device.name().to_owned();
        if self.cancel.is_cancelled() {
            return Err(ProvisionError::Cancelled { disk });
        }
        self.counters.enter(Stage::Done);
        match self.expectation {
            Expectation::Tree(tree) if findings.wrong.is_empty() => Ok(tree.root()),
            Expectation::Tree(tree) => {
                findings.wrong.sort_unstable();
                Err(wrong_groups(disk, tree.layout(), &findings.wrong))
            }
            Expectation::Root(layout, expected) => wrong_root(disk, *layout, *expected, &findings.values),
        }
    }
}

fn wrong_groups(disk: String, layout: Layout, wrong: &[u64]) -> ProvisionError {
    let start = |group: &u64| layout.byte_range(*group, 1).start;
    let offsets: Vec<_> = wrong.iter().take(NAMED_OFFSETS).map(start).collect();
    let first = offsets.first().copied().unwrap_or_default();
    let size = layout.group_size().bytes();
    let detail = format!("{} groups of {size} bytes differ, the first at byte {first}", wrong.len());
    ProvisionError::Mismatch { disk, offsets, groups: wrong.len() as u64, detail }
}

fn wrong_root(
    disk: String,
    layout: Layout,
    expected: [u8; 32],
    values: &[ChainingValue],
) -> Result<blake3::Hash, ProvisionError> {
    let groups = values.iter().map(|&chaining_value| Group { chaining_value, hole: false }).collect();
    let root = Tree::new(layout, groups).map(|tree| tree.root());
    let expected = blake3::Hash::from_bytes(expected);
    match root {
        Ok(root) if root == expected => Ok(root),
        Ok(root) => {
            let detail = format!("its first {} bytes have the root {root}, not {expected}", layout.len_bytes());
            Err(ProvisionError::Mismatch { disk, offsets: Vec::new(), groups: 0, detail })
        }
        Err(_) => Err(ProvisionError::Worker { disk }),
    }
}
