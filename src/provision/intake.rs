//! Turns what a source tells into jobs: offers into questions and zeroing, parts into runs.

use std::ops::Range;

use tokio::sync::mpsc;

use super::error::ProvisionError;
use super::feed::{FeedEvent, Offered, Part, Want};
use super::plan::InstallPlan;
use super::queue::Job;
use super::worker::Shared;

/// Most bytes that one job zeroes: small enough to share the work among workers.
const ZERO_JOB_BYTES: u64 = 256 << 20;

/// The one thread that listens to the source.
pub(super) struct Intake<'a> {
    shared: &'a Shared<'a>,
    plan: &'a InstallPlan,
    /// Contiguous parts that are not yet a whole run. A run is not cut short because the source is slow: large requests
    /// are what a disk likes, and the source waits for no answer to its data.
    run: Vec<Part>,
}

impl<'a> Intake<'a> {
    pub(super) const fn new(shared: &'a Shared<'a>, plan: &'a InstallPlan) -> Self {
        Self { shared, plan, run: Vec::new() }
    }

    /// Listens until the source has finished.
    pub(super) fn receive(mut self, mut events: mpsc::Receiver<FeedEvent>) -> Result<(), ProvisionError> {
        self.cut(self.plan.wipe.clone(), ZERO_JOB_BYTES, Job::Wipe)?;
        loop {
            match events.blocking_recv() {
                Some(FeedEvent::Offer { first, groups }) => self.offer(first, &groups)?,
                Some(FeedEvent::Data(part)) => self.data(part)?,
                Some(FeedEvent::Broken(error)) => return Err(error),
                Some(FeedEvent::Finish { offers_digest }) => return self.finish(offers_digest),
                None => return Err(self.interrupted()),
            }
        }
    }

    fn offer(&self, first: u64, offered: &Offered) -> Result<(), ProvisionError> {
        let per_run = self.shared.layout.groups_per_run();
        let per_zero = ZERO_JOB_BYTES / self.shared.layout.group_size().bytes();
        let news = self.shared.ledger().offer(first, offered)?;
        for groups in news {
            match offered {
                _ if self.plan.in_place => self.cut(groups, per_run, Job::Compare)?,
                Offered::Holes(_) => self.cut(groups, per_zero, Job::Zero)?,
                Offered::Data(_) => self.want_all(groups),
            }
        }
        Ok(())
    }

    fn want_all(&self, groups: Range<u64>) {
        let want = Want { first: groups.start, count: groups.end - groups.start, bitmap: None };
        // A source that has gone away needs no answer; the closed channel of events will tell.
        drop(self.shared.wants.blocking_send(want));
    }

    fn data(&mut self, part: Part) -> Result<(), ProvisionError> {
        let groups = self.shared.layout.groups();
        let end = part.first.saturating_add(part.count);
        let limit = self.shared.layout.groups_per_run();
        if part.count == 0 || part.count > limit || end > groups {
            return Err(ProvisionError::BeyondImage { first: part.first, last: end.saturating_sub(1), groups });
        }
        let (first, next) = match (self.run.first(), self.run.last()) {
            (Some(first), Some(last)) => (first.first, last.first + last.count),
            _ => (part.first, part.first),
        };
        if part.first != next || end - first > limit {
            self.flush_run()?;
        }
        let first = self.run.first().map_or(part.first, |part| part.first);
        self.run.push(part);
        if end - first == limit { self.flush_run() } else { Ok(()) }
    }

    fn finish(&mut self, offers_digest: [u8; 32]) -> Result<(), ProvisionError> {
        self.flush_run()?;
        let actual = self.shared.ledger().offers_digest()?;
        if actual == offers_digest {
            return Ok(());
        }
        let hex = |digest: [u8; 32]| blake3::Hash::from_bytes(digest).to_hex().to_string();
        Err(ProvisionError::OffersDigest { expected: hex(offers_digest), actual: hex(actual) })
    }

    fn flush_run(&mut self) -> Result<(), ProvisionError> {
        if self.run.is_empty() {
            return Ok(());
        }
        let run = std::mem::take(&mut self.run);
        self.push(Job::Write(run))
    }

    fn cut(&self, range: Range<u64>, step: u64, job: impl Fn(Range<u64>) -> Job) -> Result<(), ProvisionError> {
        let mut at = range.start;
        while at < range.end {
            let end = at.saturating_add(step).min(range.end);
            self.push(job(at..end))?;
            at = end;
        }
        Ok(())
    }

    /// A queue that takes no more has stopped for a reason of its own, which counts more than this one.
    fn push(&self, job: Job) -> Result<(), ProvisionError> {
        if self.shared.queue.push(job) { Ok(()) } else { Err(self.interrupted()) }
    }

    fn interrupted(&self) -> ProvisionError {
        ProvisionError::Interrupted {
            disk: self.shared.device.name().to_owned(),
            received_bytes: self.shared.counters.progress().received_bytes,
        }
    }
}
