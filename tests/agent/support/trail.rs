//! What the audit log must have of a disk that was written.

use std::path::PathBuf;

use bms_agent::audit::{self, Kind, Record};

use super::{Daemon, LoopDisk};

/// A disk and its lines in the log at some moment.
#[derive(Debug)]
pub(crate) struct Trail {
    begun: usize,
    writes: u64,
}

impl Trail {
    pub(crate) fn of(daemon: &Daemon, disk: &LoopDisk) -> Self {
        Self { begun: begun(daemon, disk), writes: disk.writes() }
    }

    /// The chain is whole, and if the disk was written since, a line says that something began.
    pub(crate) fn assert_kept(&self, daemon: &Daemon, disk: &LoopDisk) {
        let (begun, writes) = (begun(daemon, disk), disk.writes());
        assert!(writes == self.writes || begun > self.begun, "{} writes without a line", writes - self.writes);
    }
}

fn begun(daemon: &Daemon, disk: &LoopDisk) -> usize {
    let is_of_disk = |record: &Record| record.event.disk.as_ref().is_some_and(|audited| audited.name == disk.name);
    let all = daemon.audited();
    all.iter().filter(|record| record.event.kind == Kind::Begin && is_of_disk(record)).count()
}

impl Daemon {
    /// The directory of its audit log.
    pub(crate) fn audit_dir(&self) -> PathBuf {
        self.socket().with_file_name("state").join("audit")
    }

    /// All lines of its audit log, which is whole but for an end that may be torn.
    pub(crate) fn audited(&self) -> Vec<Record> {
        let mut records = Vec::new();
        audit::read(&self.audit_dir(), |entry| records.push(entry.record().expect("a record"))).expect("a whole log");
        records
    }
}
