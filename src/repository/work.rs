//! How far a long piece of work in a repository is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts for whoever shows them, while somebody else works. The total may grow as more work is found.
#[derive(Debug, Default)]
pub struct Work {
    total: AtomicU64,
    done: AtomicU64,
    bytes: AtomicU64,
}

impl Work {
    /// Steps that there are, as far as is known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Steps that are done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes of content that were proven.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// More is to be done.
    pub fn find(&self, steps: u64) {
        self.total.fetch_add(steps, Ordering::Relaxed);
    }

    /// A step is done, with so many bytes of content.
    pub fn step(&self, bytes: u64) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
