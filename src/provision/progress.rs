//! What an operation has moved so far, counted where it happens.

use std::ops::AddAssign as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Stage {
    /// The disk is opened and checked, the boot region zeroed.
    #[default]
    Prepare = 0,
    /// Groups are received, verified and written; what was flushed is read back behind them.
    Write = 1,
    /// The rest is flushed and read back.
    ReadBack = 2,
    /// The boot region is written, flushed and read back.
    Commit = 3,
    /// Nothing is left to do.
    Done = 4,
    /// The disk is read, hashed, and what is new of it handed on.
    Read = 5,
    /// The rest is stored, and becomes an image.
    Store = 6,
    /// What was written is looked into, before the disk can boot.
    Inspect = 7,
}

impl Stage {
    const ALL: [Self; 8] =
        [Self::Prepare, Self::Write, Self::ReadBack, Self::Commit, Self::Done, Self::Read, Self::Store, Self::Inspect];
}

/// Bytes by kind. They only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Bytes that the whole operation is about.
    pub total_bytes: u64,
    /// Content received, after decompression.
    pub received_bytes: u64,
    /// Content as it came over the wire.
    pub wire_bytes: u64,
    /// Content found on the disk already; of a capture, in the repository.
    pub present_bytes: u64,
    /// Holes zeroed or found zero; of a capture, zero or free.
    pub hole_bytes: u64,
    /// Content written.
    pub written_bytes: u64,
    /// Bytes read back and found right.
    pub verified_bytes: u64,
    /// Of a capture: bytes that were read, or are known to be free.
    pub read_bytes: u64,
    /// Of a capture: content that was new, and was handed on.
    pub uploaded_bytes: u64,
}

/// The counters behind [`Progress`], shared by all threads of an operation.
#[derive(Debug, Default)]
pub struct Counters {
    stage: AtomicU8,
    times: Mutex<Times>,
    pub(crate) total: Counter,
    pub(crate) received: Counter,
    pub(crate) wire: Counter,
    pub(crate) present: Counter,
    pub(crate) hole: Counter,
    pub(crate) written: Counter,
    pub(crate) verified: Counter,
    pub(crate) read: Counter,
    pub(crate) uploaded: Counter,
}

/// How long the operation was in each stage.
#[derive(Debug)]
struct Times {
    /// Since when it has been in the present one.
    since: Instant,
    spent: [Option<Duration>; Stage::ALL.len()],
}

impl Default for Times {
    fn default() -> Self {
        Self { since: Instant::now(), spent: [None; Stage::ALL.len()] }
    }
}

/// A number of bytes that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes over what was counted elsewhere.
    pub(crate) fn raise_to(&self, bytes: u64) {
        self.0.fetch_max(bytes, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Moves on to a stage.
    pub fn enter(&self, stage: Stage) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let spent = now - times.since;
        times.spent[self.stage() as usize].get_or_insert_default().add_assign(spent);
        times.since = now;
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// How long each stage took that was entered, the present one up to now.
    pub fn stage_times(&self) -> Vec<(Stage, Duration)> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spent = times.spent;
        spent[self.stage() as usize].get_or_insert_default().add_assign(times.since.elapsed());
        Stage::ALL.into_iter().zip(spent).filter_map(|(stage, time)| Some((stage, time?))).collect()
    }

    /// Where the operation is.
    pub fn stage(&self) -> Stage {
        let stage = usize::from(self.stage.load(Ordering::Relaxed));
        Stage::ALL.get(stage).copied().unwrap_or_default()
    }

    /// What was moved so far.
    pub fn progress(&self) -> Progress {
        Progress {
            total_bytes: self.total.value(),
            received_bytes: self.received.value(),
            wire_bytes: self.wire.value(),
            present_bytes: self.present.value(),
            hole_bytes: self.hole.value(),
            written_bytes: self.written.value(),
            verified_bytes: self.verified.value(),
            read_bytes: self.read.value(),
            uploaded_bytes: self.uploaded.value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Counters, Stage};

    #[test]
    fn time_is_kept_for_each_stage_that_was_entered() {
        let counters = Counters::default();
        for stage in [Stage::Write, Stage::ReadBack, Stage::ReadBack, Stage::Commit] {
            counters.enter(stage);
        }
        let stages: Vec<_> = counters.stage_times().into_iter().map(|(stage, _)| stage).collect();
        assert_eq!(stages, [Stage::Prepare, Stage::Write, Stage::ReadBack, Stage::Commit]);
        let sum = |counters: &Counters| counters.stage_times().into_iter().map(|(_, time)| time).sum::<Duration>();
        let before = sum(&counters);
        assert!(sum(&counters) > before, "the present stage goes on");
    }
}
