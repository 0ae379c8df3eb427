//! What is to be done next, for workers that are all alike.
//!
//! Incoming jobs come first. Writes become durable in batches: when enough was written, one worker flushes while the
//! others go on, and only what a flush has covered is read back. Read-back fills the time in which nothing comes in, and
//! the end; a disk that spins is read back only at the end, because every change between reading and writing is a seek.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::error::ProvisionError;
use super::feed::Part;

/// Written bytes after which the device is flushed, so that read-back may begin. Small in tests, so that small images are
/// read back while they are written.
const FLUSH_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 512 << 20 };

/// What came in.
#[derive(Debug)]
pub(super) enum Job {
    /// Look whether groups are on the disk already.
    Compare(Range<u64>),
    /// Verify and write contiguous parts, at most a run.
    Write(Vec<Part>),
    /// Zero groups.
    Zero(Range<u64>),
    /// Zero bytes behind the image.
    Wipe(Range<u64>),
}

/// What is on the disk and must be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// These groups.
    Groups(Range<u64>),
    /// Zeroes behind the image, in bytes.
    Zeroes(Range<u64>),
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Work {
    /// A job.
    Run(Job),
    /// Flush, then hand these claims to read-back.
    Flush(Vec<Claim>),
    /// Read a claim back.
    Prove(Claim),
}

/// How far read-back steps, in each unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) groups: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    incoming: VecDeque<Job>,
    /// Workers that have a job, and so may write.
    writing: usize,
    flushing: bool,
    unflushed: Vec<Claim>,
    unflushed_bytes: u64,
    unproven: VecDeque<Claim>,
    proving: usize,
    /// Nothing more comes in.
    draining: bool,
    stopped: bool,
    failure: Option<ProvisionError>,
}

/// The queue of one operation.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    cancel: CancellationToken,
    step: Step,
    /// Most jobs that wait.
    limit: usize,
    /// Whether read-back may run before everything is written.
    overlap: bool,
}

impl Queue {
    pub(super) fn new(cancel: CancellationToken, step: Step, limit: usize, overlap: bool) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), cancel, step, limit, overlap }
    }

    /// Adds a job; waits while the queue is full. Says whether it was taken: not after a failure or a cancel.
    pub(super) fn push(&self, job: Job) -> bool {
        let mut state = self.state();
        while state.incoming.len() >= self.limit && !self.is_over(&state) {
            state = self.wait(state);
        }
        if self.is_over(&state) {
            return false;
        }
        state.incoming.push_back(job);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Nothing more will come: what is there is finished.
    pub(super) fn drain(&self) {
        self.state().draining = true;
        self.changed.notify_all();
    }

    /// Stops all workers after what they have in hand, and the source: the intake may be waiting for it.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.cancel.cancel();
        self.changed.notify_all();
    }

    /// Stops everything because of `error`. The first failure is the one that counts.
    pub(super) fn fail(&self, error: ProvisionError) {
        self.state().failure.get_or_insert(error);
        self.stop();
    }

    /// Whether workers were stopped before everything was done.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_over(&self.state())
    }

    /// The failure, if there was one.
    pub(super) fn into_failure(self) -> Option<ProvisionError> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).failure
    }

    /// The next piece of work; waits for it. `None`: there will be none.
    pub(super) fn next(&self) -> Option<Work> {
        let mut state = self.state();
        loop {
            if self.is_over(&state) {
                // A cancel wakes nobody by itself: the intake may be waiting for room.
                self.changed.notify_all();
                return None;
            }
            if let Some(work) = self.take(&mut state) {
                return Some(work);
            }
            if state.is_finished() {
                drop(state);
                self.changed.notify_all();
                return None;
            }
            state = self.wait(state);
        }
    }

    /// A job is done; `claims` of `len_bytes` bytes in all are on the disk and not flushed.
    pub(super) fn finish_job(&self, claims: Vec<Claim>, len_bytes: u64) {
        let mut state = self.state();
        state.writing -= 1;
        state.unflushed.extend(claims);
        state.unflushed_bytes += len_bytes;
        drop(state);
        self.changed.notify_all();
    }

    /// A flush is done: what it covered can be read back.
    pub(super) fn finish_flush(&self, claims: Vec<Claim>) {
        let mut state = self.state();
        state.flushing = false;
        state.unproven.extend(claims);
        drop(state);
        self.changed.notify_all();
    }

    /// A claim is proven.
    pub(super) fn finish_proof(&self) {
        self.state().proving -= 1;
        self.changed.notify_all();
    }

    fn take(&self, state: &mut State) -> Option<Work> {
        let written = state.draining && state.incoming.is_empty() && state.writing == 0;
        let flush_due = state.unflushed_bytes >= FLUSH_BYTES || (written && !state.unflushed.is_empty());
        if flush_due && !state.flushing && (self.overlap || written) {
            state.flushing = true;
            state.unflushed_bytes = 0;
            return Some(Work::Flush(std::mem::take(&mut state.unflushed)));
        }
        if let Some(job) = state.incoming.pop_front() {
            state.writing += 1;
            self.changed.notify_all();
            return Some(Work::Run(job));
        }
        if self.overlap || written {
            let claim = state.unproven.pop_front()?;
            let (now, later) = self.cut(claim);
            // In front: a disk is read back in long runs.
            later.into_iter().for_each(|later| state.unproven.push_front(later));
            state.proving += 1;
            return Some(Work::Prove(now));
        }
        None
    }

    /// Cuts one step off a claim.
    fn cut(&self, claim: Claim) -> (Claim, Option<Claim>) {
        let halves = |range: Range<u64>, step: u64| {
            let middle = range.start.saturating_add(step).min(range.end);
            (range.start..middle, (middle < range.end).then_some(middle..range.end))
        };
        match claim {
            Claim::Groups(range) => {
                let (now, later) = halves(range, self.step.groups);
                (Claim::Groups(now), later.map(Claim::Groups))
            }
            Claim::Zeroes(range) => {
                let (now, later) = halves(range, self.step.bytes);
                (Claim::Zeroes(now), later.map(Claim::Zeroes))
            }
        }
    }

    fn is_over(&self, state: &State) -> bool {
        state.stopped || self.cancel.is_cancelled()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_finished(&self) -> bool {
        let idle = self.writing == 0 && !self.flushing && self.proving == 0;
        let empty = self.incoming.is_empty() && self.unflushed.is_empty() && self.unproven.is_empty();
        self.draining && idle && empty
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::{Claim, FLUSH_BYTES, Job, Queue, Step, Work};

    fn queue(overlap: bool) -> Queue {
        Queue::new(CancellationToken::new(), Step { groups: 16, bytes: 4 << 20 }, 100, overlap)
    }

    fn written(queue: &Queue, groups: std::ops::Range<u64>, len_bytes: u64) {
        assert!(queue.push(Job::Zero(groups.clone())));
        assert!(matches!(queue.next(), Some(Work::Run(Job::Zero(_)))));
        queue.finish_job(vec![Claim::Groups(groups)], len_bytes);
    }

    #[test]
    fn nothing_is_read_back_before_a_flush_covers_it() {
        let queue = queue(true);
        written(&queue, 0..40, FLUSH_BYTES);
        let Some(Work::Flush(claims)) = queue.next() else { panic!("a flush is due") };
        assert_eq!(claims, [Claim::Groups(0..40)]);
        queue.finish_flush(claims);
        assert!(matches!(queue.next(), Some(Work::Prove(Claim::Groups(range))) if range == (0..16)));
    }

    #[test]
    fn the_end_flushes_and_proves_everything_once() {
        for overlap in [false, true] {
            let queue = queue(overlap);
            written(&queue, 0..40, 1);
            queue.drain();
            let mut proven = Vec::new();
            while let Some(work) = queue.next() {
                match work {
                    Work::Flush(claims) => queue.finish_flush(claims),
                    Work::Prove(Claim::Groups(range)) => {
                        proven.extend(range);
                        queue.finish_proof();
                    }
                    other @ (Work::Run(_) | Work::Prove(Claim::Zeroes(_))) => panic!("{other:?}"),
                }
            }
            proven.sort_unstable();
            assert_eq!(proven, (0..40).collect::<Vec<_>>(), "overlap {overlap}");
        }
    }

    #[test]
    fn a_spinning_disk_is_not_read_between_writes() {
        let queue = queue(false);
        written(&queue, 0..40, FLUSH_BYTES);
        assert!(queue.push(Job::Wipe(0..1)));
        assert!(matches!(queue.next(), Some(Work::Run(Job::Wipe(_)))));
    }

    #[test]
    fn a_cancel_ends_work_and_refuses_more() {
        let queue = queue(true);
        written(&queue, 0..40, FLUSH_BYTES);
        queue.cancel.cancel();
        assert!(queue.next().is_none());
        assert!(!queue.push(Job::Wipe(0..1)));
    }
}
