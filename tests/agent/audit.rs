//! The audit log on disks that are full or read-only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bms_agent::audit::{Audit, AuditError, Event, Kind, verify};
use bms_agent::clock::SystemClock;
use bms_agent::reason::{DomainError as _, Reason};
use tempfile::TempDir;

use crate::support::{run, try_run};

/// A file system in memory. Dropping it unmounts it.
struct Mount {
    dir: TempDir,
}

impl Mount {
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        run("mount", &["-t", "tmpfs", "-o", options, "none", dir.path().to_str().expect("UTF-8")]);
        Self { dir }
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.dir.path().to_str().expect("UTF-8")]);
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("audit")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let dir = self.dir.path().to_str().expect("UTF-8");
        try_run("umount", &["--lazy", dir]).map_or_else(|error| eprintln!("{error}"), drop);
    }
}

fn open(dir: &Path) -> Result<Audit, AuditError> {
    Audit::open(dir, Arc::new(SystemClock), "boot")
}

#[test]
#[ignore = "needs root: tests/run.sh"]
fn a_full_disk_refuses_lines_whole_until_there_is_room() {
    let mount = Mount::new("size=64k");
    let audit = open(&mount.log()).expect("opened");
    let mut lines = 0;
    let error = loop {
        match audit.append(&Event::new(Kind::Begin)) {
            Ok(()) => lines += 1,
            Err(error) => break error,
        }
        assert!(lines < 1000, "64 KiB have no room for so many");
    };
    assert_eq!(error.reason(), Reason::AuditUnavailable);
    assert!(matches!(error, AuditError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull));
    for _ in 0..3 {
        audit.append(&Event::new(Kind::Begin)).expect_err("still full");
        let log = verify(&mount.log()).expect("whole");
        assert_eq!((log.lines, log.torn), (lines, None));
    }
    mount.remount("size=1m");
    audit.append(&Event::new(Kind::Begin)).expect("there is room");
    assert_eq!(verify(&mount.log()).expect("whole").lines, lines + 1);
}

#[test]
#[ignore = "needs root: tests/run.sh"]
fn a_log_on_a_read_only_file_system_is_read_and_not_opened() {
    let mount = Mount::new("size=1m");
    open(&mount.log()).and_then(|audit| audit.append(&Event::new(Kind::Start))).expect("written");
    mount.remount("ro");
    assert_eq!(verify(&mount.log()).expect("whole").lines, 1);
    let error = open(&mount.log()).expect_err("read-only");
    assert!(matches!(error, AuditError::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem));
    // An agent that began so refuses lines, and takes them when it can.
    let audit = Audit::unopened(&mount.log(), Arc::new(SystemClock), "boot");
    audit.append(&Event::new(Kind::Begin)).expect_err("read-only");
    mount.remount("rw");
    audit.append(&Event::new(Kind::Begin)).expect("writable");
    assert_eq!(verify(&mount.log()).expect("whole").lines, 2);
}
