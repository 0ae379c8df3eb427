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
use crate::image::group::{Layout, is_zero};
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
    /// What each group is, where only the root is known.
    groups: Vec<Group>,
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
        Findings { groups: vec![Group::Hole; unread], ..Findings::default() }
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
                Ok(found) => self.note(first, &found, &mut lock()),
                Err(error) => {
                    lock().failure.get_or_insert(error);
                }
            }
        }
    }

    /// What each group of a run is.
    fn read_run(
        &self,
        layout: Layout,
        groups: Range<u64>,
        buffer: &mut AlignedBuffer,
    ) -> Result<Vec<Group>, DeviceError> {
        let bytes = layout.byte_range(groups.start, groups.end - groups.start);
        let len = usize::try_from(self.device.geometry().round_up(bytes.end) - bytes.start).unwrap_or(usize::MAX);
        self.device.read(bytes.start, &mut buffer[..len])?;
        let mut rest = &buffer[..len];
        let look_at = |group| {
            let (data, tail) = rest.split_at(layout.group_len(group));
            rest = tail;
            // An image may name zeroes as data; then they are hashed like any other.
            let named_data = matches!(self.expected(group), Some(Group::Data(_)));
            if !named_data && is_zero(data) { Group::Hole } else { Group::Data(layout.chaining_value(group, data)) }
        };
        let found = groups.map(look_at).collect();
        self.counters.verified.add(bytes.end - bytes.start);
        Ok(found)
    }

    fn expected(&self, group: u64) -> Option<Group> {
        match self.expectation {
            Expectation::Root(..) => None,
            Expectation::Tree(tree) => tree.groups().get(usize::try_from(group).ok()?).copied(),
        }
    }

    fn note(&self, first: u64, found: &[Group], findings: &mut Findings) {
        let start = usize::try_from(first).unwrap_or(usize::MAX);
        match self.expectation {
            Expectation::Root(..) => findings.groups[start..start + found.len()].copy_from_slice(found),
            Expectation::Tree(tree) => {
                let expected = &tree.groups()[start..start + found.len()];
                let wrong =
                    (first..).zip(found.iter().zip(expected)).filter(|(_, (found, expected))| found != expected);
                findings.wrong.extend(wrong.map(|(group, _)| group));
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
            Expectation::Root(layout, expected) => wrong_root(disk, *layout, *expected, findings.groups),
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
    groups: Vec<Group>,
) -> Result<blake3::Hash, ProvisionError> {
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
