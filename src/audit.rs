//! The audit log: a line for everything that was done to a disk, each of which holds the hash of the line before it.
//!
//! This module owns the files below its directory: their form, their ring, and that a line is durable before
//! [`Audit::append`] returns. It knows no requests and no disks: an [`Event`] is plain data. Everything blocks.
//!
//! What the chain shows: a line that was changed, removed, added or moved. What it cannot show by itself: that the newest
//! lines, or all of them, were removed, or that somebody who may write the directory made the whole chain anew. For that
//! a sequence number and its hash have to be noted elsewhere; each is logged when its line is written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::clock::Clock;

mod error;
mod event;
mod line;
mod ring;
mod tail;
#[cfg(test)]
mod tests;
mod walk;

pub use error::{AuditError, Damage};
pub use event::{AuditedDisk, AuditedImage, Bytes, Ending, Event, Kind};
pub use line::{GENESIS, Record};
pub use walk::{Entry, Torn, Verified, read, verify};

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use walk::read_anything;

use event::bounded;
use ring::Limits;
use tail::Tail;

/// The log, open for appending. One process has it at a time.
pub struct Audit {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    boot_id: String,
    limits: Limits,
    /// None until the log was opened without an error.
    tail: Mutex<Option<Tail>>,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Audit {
    /// Opens the log in `dir`, which is made if its parent is there, and reads all of it to find the end of the chain. A
    /// line that a crash cut short is removed, and an event says so.
    ///
    /// # Errors
    /// If the log is damaged in any other way, another process writes it, or it cannot be read and written.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>, boot_id: &str) -> Result<Self, AuditError> {
        let audit = Self::unopened(dir, clock, boot_id);
        audit.with_tail(|_tail| Ok(()))?;
        Ok(audit)
    }

    /// The log in `dir`, which the first [`append`](Self::append) opens: for an agent that serves its readers even if no
    /// line can be written. As long as the log cannot be opened, each append tries it again and fails.
    pub fn unopened(dir: &Path, clock: Arc<dyn Clock>, boot_id: &str) -> Self {
        let boot_id = bounded(boot_id);
        Self { dir: dir.to_owned(), clock, boot_id, limits: Limits::default(), tail: Mutex::new(None) }
    }

    /// Writes an event. When this returns without an error the line is durable.
    ///
    /// # Errors
    /// If it is not: what the event is about must not begin then. What was written of the line is taken back, now or
    /// before the next one is written; until that is possible every append fails.
    pub fn append(&self, event: &Event) -> Result<(), AuditError> {
        self.with_tail(|tail| self.write(tail, event))
    }

    fn with_tail<T>(&self, work: impl FnOnce(&mut Tail) -> Result<T, AuditError>) -> Result<T, AuditError> {
        // A thread that panicked has left a tail that says itself whether its last line is whole.
        let mut held = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = held.as_mut() {
            return work(tail);
        }
        let (mut tail, torn) = Tail::open(&self.dir, self.limits)?;
        if let Some(torn) = torn {
            tracing::warn!(path = %torn.path.display(), bytes = torn.bytes, "a line of the audit log was cut short: removed");
            let bytes = Bytes { cut: Some(torn.bytes), ..Bytes::default() };
            self.write(&mut tail, &Event { bytes: Some(bytes), ..Event::new(Kind::Recovered) })?;
        }
        work(held.insert(tail))
    }

    fn write(&self, tail: &mut Tail, event: &Event) -> Result<(), AuditError> {
        let written = tail.append(|last| {
            Record {
                seq: last.seq + 1,
                prev: last.hash.to_hex().to_string(),
                time: rfc3339(self.clock.now()),
                boot_id: self.boot_id.clone(),
                event: event.bounded(),
            }
            .encode()
        })?;
        // Whoever collects the logs elsewhere has something to hold the chain against.
        tracing::info!(seq = written.seq, hash = %written.hash, event = event.kind.name(), "audited");
        Ok(())
    }
}

fn rfc3339(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Micros, true)
}
