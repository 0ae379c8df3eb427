//! An install: prepare, write, flush, read back, commit.
//!
//! From the first write on the disk has no boot region and carries a marker; the last write takes the marker away. Every
//! other way out of here, an error, a cancel or a panic of a worker, leaves the marker with the reason in it, and being
//! killed leaves it without.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::boot_region::{BootRegion, Part};
use super::error::ProvisionError;
use super::feed::{Feed, FeedEvent};
use super::inspection::Inspection;
use super::intake::Intake;
use super::ledger::{GROUP_COST_BYTES, Ledger};
use super::plan::InstallPlan;
use super::progress::{Counters, Stage};
use super::queue::{Queue, Step};
use super::record::Records;
use super::worker::{Shared, Worker};
use crate::disk::buffer::AlignedBuffer;
use crate::disk::device::BlockDevice;
use crate::disk::marker::Marker;
use crate::image::group::{Layout, MAX_RUN_BYTES};
use crate::image::tree::Tree;
use crate::reason::DomainError as _;

/// Most jobs that wait. What they hold in memory is bounded by the budget of their parts, not by this.
const WAITING_JOBS: usize = 64;

/// How much memory an operation may use, and how many threads.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// Bytes in all: a quarter each for the workers' buffers, for content on its way to them, for the ledger, and for what
    /// the transport holds.
    pub memory_bytes: u64,
    /// Most workers.
    pub workers: NonZeroUsize,
}

impl Resources {
    /// Bytes of content that may be on its way to the workers.
    pub const fn in_flight_bytes(self) -> u64 {
        self.memory_bytes / 4
    }

    /// Most groups that an image may have.
    pub const fn max_groups(self) -> u64 {
        self.memory_bytes / 4 / GROUP_COST_BYTES
    }

    /// Workers for runs of this length.
    pub fn workers(self, layout: Layout) -> usize {
        let buffers = usize::try_from(self.memory_bytes / 4 / run_bytes(layout)).unwrap_or(usize::MAX);
        self.workers.get().min(buffers).max(1)
    }
}

/// Length of a worker's buffer: one run.
pub(super) fn run_bytes(layout: Layout) -> u64 {
    MAX_RUN_BYTES.max(layout.group_size().bytes())
}

/// Everything that an install needs.
#[derive(Debug)]
pub struct InstallJob<'a> {
    /// The open disk.
    pub device: &'a dyn BlockDevice,
    /// What to do.
    pub plan: &'a InstallPlan,
    /// Where to keep what was done.
    pub records: &'a Records,
    /// How the image is looked into; none if it is not.
    pub inspection: Option<&'a Inspection>,
    /// Memory and threads.
    pub resources: Resources,
    /// Id of the operation, for the marker.
    pub operation: Uuid,
    /// Begin, in seconds since 1970, for the marker.
    pub started_at: u64,
    /// Counts what is moved.
    pub counters: &'a Counters,
    /// Set when a caller cancels.
    pub cancel: &'a CancellationToken,
    /// A child of `cancel`; also set here, on failure, so that the source stops feeding.
    pub halt: &'a CancellationToken,
}

/// What an install did.
#[derive(Debug)]
pub struct InstallReport {
    /// Tree of the image as it is on the disk.
    pub tree: Tree,
    /// What did not go as it should, but does not harm the disk.
    pub warnings: Vec<String>,
}

impl InstallJob<'_> {
    /// Installs what `feed` brings. Blocks until the disk is complete and verified, or has no boot region.
    ///
    /// # Errors
    /// Whatever went wrong first.
    pub fn run(&self, feed: Feed) -> Result<InstallReport, ProvisionError> {
        let forgotten = self.records.forget(&self.plan.disk.identity);
        let outcome = forgotten.map_err(ProvisionError::from).and_then(|()| self.write(feed));
        self.halt.cancel();
        outcome
    }

    fn write(&self, feed: Feed) -> Result<InstallReport, ProvisionError> {
        self.attempt(feed).inspect_err(|error| self.abandon(error))
    }

    fn attempt(&self, feed: Feed) -> Result<InstallReport, ProvisionError> {
        let boot = self.boot_region();
        boot.clear(self.device, &self.marker(""))?;
        self.count_total();
        let (ledger, boot) = self.write_and_read_back(boot, feed)?;
        let tree = self.settle(ledger)?;
        let mut warnings = self.inspect(&boot)?;
        // Fitting the partition table to the disk belongs here: on what is proven, with the boot region still in memory.
        self.records.save(&self.plan.disk.identity, &tree)?;
        warnings.extend(self.commit(&boot)?);
        self.counters.enter(Stage::Done);
        Ok(InstallReport { tree, warnings })
    }

    fn count_total(&self) {
        let wiped = self.plan.wipe.end - self.plan.wipe.start;
        self.counters.total.add(self.plan.image.layout.len_bytes() + wiped);
    }

    fn boot_region(&self) -> BootRegion {
        BootRegion::new(self.device.geometry(), self.plan.image.layout.len_bytes())
    }

    fn marker(&self, reason: &str) -> Marker {
        Marker {
            operation: self.operation,
            image_len_bytes: self.plan.image.layout.len_bytes(),
            group_size_bytes: self.plan.image.layout.group_size().bytes(),
            root: self.plan.image.root,
            started_at: self.started_at,
            reason: reason.to_owned(),
        }
    }

    /// Runs the workers until everything but the boot region is on the disk and proven.
    fn write_and_read_back(&self, boot: BootRegion, feed: Feed) -> Result<(Ledger, BootRegion), ProvisionError> {
        self.counters.enter(Stage::Write);
        let layout = self.plan.image.layout;
        let reader = self.device.reopen()?;
        let zeroes = AlignedBuffer::zeroed(usize::try_from(run_bytes(layout)).unwrap_or(usize::MAX));
        let step = Step { groups: layout.groups_per_run(), bytes: run_bytes(layout) };
        let overlap = !self.device.geometry().rotational;
        let shared = Shared {
            device: self.device,
            layout,
            ledger: Mutex::new(Ledger::new(layout)),
            boot: Mutex::new(boot),
            queue: Queue::new(self.halt.clone(), step, WAITING_JOBS, overlap),
            counters: self.counters,
            wants: feed.wants,
            zeroes: &zeroes,
        };
        let received = self.run_workers(&shared, &*reader, feed.events);
        let Shared { ledger, boot, queue, .. } = shared;
        if let Some(failure) = queue.into_failure() {
            return Err(failure);
        }
        self.check_cancel()?;
        received?;
        let ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((ledger, boot.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    fn run_workers(
        &self,
        shared: &Shared<'_>,
        reader: &dyn BlockDevice,
        events: tokio::sync::mpsc::Receiver<FeedEvent>,
    ) -> Result<(), ProvisionError> {
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for index in 0..self.resources.workers(shared.layout) {
                let Ok(worker) = Worker::new(shared, reader) else { break };
                let (name, span) = (format!("write-{index}"), tracing::Span::current());
                match std::thread::Builder::new().name(name).spawn_scoped(scope, move || span.in_scope(|| worker.run()))
                {
                    Ok(thread) => threads.push(thread),
                    Err(_) => break,
                }
            }
            if threads.is_empty() {
                return Err(self.worker_lost());
            }
            let received = Intake::new(shared, self.plan).receive(events);
            match received {
                Ok(()) => {
                    self.counters.enter(Stage::ReadBack);
                    shared.queue.drain();
                }
                Err(_) => shared.queue.stop(),
            }
            let panicked = threads.into_iter().map(|thread| thread.join()).filter(Result::is_err).count();
            if panicked > 0 { Err(self.worker_lost()) } else { received }
        })
    }

    /// Merges the root, which must be the pinned one.
    fn settle(&self, ledger: Ledger) -> Result<Tree, ProvisionError> {
        let tree = ledger.into_tree()?;
        let actual = tree.root();
        match self.plan.image.root.map(blake3::Hash::from_bytes) {
            Some(pinned) if pinned != actual => {
                Err(ProvisionError::Root { expected: pinned.to_hex().to_string(), actual: actual.to_hex().to_string() })
            }
            _ => Ok(tree),
        }
    }

    /// Looks into the image, if it is to; gives warnings.
    fn inspect(&self, boot: &BootRegion) -> Result<Vec<String>, ProvisionError> {
        let Some(inspection) = self.inspection else { return Ok(Vec::new()) };
        self.counters.enter(Stage::Inspect);
        let reader = self.device.reopen()?;
        inspection.run(&*reader, boot, self.plan.image.layout.len_bytes(), self.cancel)
    }

    /// Makes the disk bootable, and reads back what did it.
    fn commit(&self, boot: &BootRegion) -> Result<Vec<String>, ProvisionError> {
        self.counters.enter(Stage::Commit);
        self.device.confirm()?;
        self.check_cancel()?;
        let reader = self.device.reopen()?;
        boot.write_rest(self.device)?;
        self.check_boot_region(boot, &*reader, Part::Rest)?;
        boot.seal(self.device)?;
        self.check_boot_region(boot, &*reader, Part::FirstBlock)?;
        let reread = self.device.reread_partition_table();
        let warning =
            |error| format!("the kernel did not read the new partition table of {}: {error}", self.device.name());
        Ok(reread.err().map(warning).into_iter().collect())
    }

    fn check_boot_region(&self, boot: &BootRegion, reader: &dyn BlockDevice, part: Part) -> Result<(), ProvisionError> {
        match boot.first_difference(reader, part)? {
            None => Ok(()),
            Some(offset) => Err(ProvisionError::ReadBack { disk: self.device.name().to_owned(), offset }),
        }
    }

    /// Leaves the disk without a boot region, and the reason on it. The error that led here counts, not one in here. A
    /// disk that took the place of the one that was opened is not touched.
    fn abandon(&self, error: &ProvisionError) {
        let reason = error.reason().name();
        let cleared = self.device.confirm().and_then(|()| self.boot_region().clear(self.device, &self.marker(reason)));
        if let Err(error) = cleared {
            tracing::error!(disk = self.device.name(), reason, %error, "cannot leave a marker on the disk");
        }
    }

    fn check_cancel(&self) -> Result<(), ProvisionError> {
        if self.cancel.is_cancelled() {
            return Err(ProvisionError::Cancelled { disk: self.device.name().to_owned() });
        }
        Ok(())
    }

    fn worker_lost(&self) -> ProvisionError {
        ProvisionError::Worker { disk: self.device.name().to_owned() }
    }
}
