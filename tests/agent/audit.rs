//! The audit log: on disks that are full or read-only, and of installs, none of which writes a disk without its line.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bms_agent::audit::{Audit, AuditError, Ending, Event, Kind, verify};
use bms_agent::clock::SystemClock;
use bms_agent::reason::{DomainError as _, Reason};
use tempfile::TempDir;

use crate::support::ctl::ctl;
use crate::support::trail::Trail;
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, run, try_run};

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

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_install_has_a_line_before_its_disk_is_written_and_one_for_its_end() {
    let mut seed = Seed::new(61);
    let image = Image::new(8 * MIB, &mut seed);
    let disk = LoopDisk::new(10 * MIB);
    let daemon = Daemon::start();
    let trail = Trail::of(&daemon, &disk);
    let done = daemon.install(&image.path(), &disk, &[]).done();
    trail.assert_kept(&daemon, &disk);
    let operation = done["name"].as_str().expect("a name").trim_start_matches("operations/").parse().ok();
    let lines = daemon.audited();
    let of_it: Vec<_> = lines.iter().filter(|line| line.event.operation == operation).collect();
    let [begin, end] = &of_it[..] else { panic!("two lines: {of_it:?}") };
    assert_eq!((begin.event.kind, end.event.kind), (Kind::Begin, Kind::End));
    assert_eq!(end.event.result, Some(Ending::Done));
    assert_eq!(begin.event.disk.as_ref().map(|disk| disk.name.as_str()), Some(disk.name.as_str()));
    assert_eq!(begin.event.caller, end.event.caller);
    assert!(
        begin.event.role.is_some() && begin.event.method.is_some() && begin.event.request_id.is_some(),
        "{begin:?}"
    );
    assert_eq!(end.event.image.as_ref().and_then(|image| image.root.clone()), Some(image.root()));
    ctl(&["audit", "verify", daemon.audit_dir().to_str().expect("UTF-8")]).done();
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_install_that_cannot_be_written_down_is_refused_before_its_disk_is_touched() {
    let mut seed = Seed::new(62);
    let image = Image::new(8 * MIB, &mut seed);
    let disk = LoopDisk::new(10 * MIB);
    let daemon = Daemon::start();
    let log = daemon.audit_dir();
    let elsewhere = log.with_extension("elsewhere");
    fs::rename(&log, &elsewhere).expect("moved away");
    let writes = disk.writes();
    for _ in 0..2 {
        assert_eq!(daemon.install(&image.path(), &disk, &[]).refusal(), "AUDIT_UNAVAILABLE");
        assert_eq!(disk.writes(), writes);
    }
    daemon.ctl(&["disk", "list"]).done();
    fs::rename(&elsewhere, &log).expect("moved back");
    daemon.install(&image.path(), &disk, &[]).done();
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_agent_whose_log_was_changed_serves_readers_and_writes_nothing() {
    let mut seed = Seed::new(63);
    let image = Image::new(8 * MIB, &mut seed);
    let disk = LoopDisk::new(10 * MIB);
    let mut daemon = Daemon::start();
    daemon.install(&image.path(), &disk, &[]).done();
    daemon.kill();
    let file = fs::read_dir(daemon.audit_dir()).expect("a log").next().expect("a file").expect("entry").path();
    let text = fs::read_to_string(&file).expect("text");
    fs::write(&file, text.replacen("begin", "bogus", 1)).expect("written");
    daemon.restart();
    let writes = disk.writes();
    assert_eq!(daemon.install(&image.path(), &disk, &[]).refusal(), "AUDIT_UNAVAILABLE");
    assert_eq!(disk.writes(), writes);
    daemon.ctl(&["disk", "list"]).done();
    let verified = ctl(&["audit", "verify", daemon.audit_dir().to_str().expect("UTF-8")]);
    assert_eq!(verified.code, 4, "{verified:?}");
}
