//! The log as it should be, as disks and crashes leave it, and as somebody else would like to have it.

mod damage;
mod faults;
mod growth;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use uuid::Uuid;

use super::ring::Limits;
use super::{
    Audit, AuditError, AuditedDisk, AuditedImage, Bytes, Damage, Ending, Event, GENESIS, Kind, Record, Verified, read,
    verify,
};
use crate::clock::Clock;
use crate::reason::{DomainError as _, Reason};

/// A day in 2026.
const NOW: Duration = Duration::from_micros(1_796_040_000_123_456);

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + NOW
    }
}

/// A log in a directory of its own.
#[derive(Debug)]
struct Log {
    state: TempDir,
}

impl Log {
    fn new() -> Self {
        Self { state: tempfile::tempdir().expect("directory") }
    }

    fn dir(&self) -> PathBuf {
        self.state.path().join("audit")
    }

    fn try_open(&self) -> Result<Audit, AuditError> {
        Audit::open(&self.dir(), Arc::new(Still), "boot-1")
    }

    fn open(&self) -> Audit {
        self.try_open().expect("opened")
    }

    /// The same whose files get no longer, and no more.
    fn open_small(&self, file_bytes: u64, files: usize) -> Audit {
        let audit = Audit::unopened(&self.dir(), Arc::new(Still), "boot-1");
        Audit { limits: Limits { file_bytes, files }, ..audit }
    }

    /// With so many lines in files of `lines_each`.
    fn written(lines: u64, lines_each: u64) -> Self {
        let log = Self::new();
        let audit = log.open_small(lines_each * LINE_BYTES, 1000);
        (1..=lines).for_each(|number| audit.append(&begin(number)).expect("written"));
        log
    }

    fn verify(&self) -> Result<Verified, AuditError> {
        verify(&self.dir())
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir()).expect("directory");
        let mut files: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
        files.sort();
        files
    }

    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        read(&self.dir(), |entry| records.push(entry.record().expect("a record"))).expect("whole");
        records
    }

    /// What is wrong with it, in which file, and in which line.
    fn damage(&self) -> (String, u64, Damage) {
        damage(self.verify().expect_err("damaged"))
    }
}

/// More than any line of [`begin`], and less than two of them.
const LINE_BYTES: u64 = 400;

fn begin(number: u64) -> Event {
    Event {
        operation: Some(Uuid::from_u128(number.into())),
        disk: Some(AuditedDisk { name: "sda".to_owned(), size_bytes: 1 << 40, ..AuditedDisk::default() }),
        ..Event::new(Kind::Begin)
    }
}

fn damage(error: AuditError) -> (String, u64, Damage) {
    let told = error.to_string();
    let AuditError::Damaged { path, line, what } = error else { panic!("no damage: {told}") };
    (name(&path), line, what)
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn a_line_says_who_did_what_to_which_disk_and_refers_to_the_line_before() {
    let log = Log::new();
    let audit = log.open();
    let event = Event {
        caller: Some("controller-1".to_owned()),
        fingerprint: Some("ab".repeat(32)),
        role: Some("operator".to_owned()),
        method: Some("/bms.agent.v1.ProvisioningService/PushImage".to_owned()),
        request_id: Some(Uuid::from_u128(1)),
        operation: Some(Uuid::from_u128(2)),
        disk: Some(AuditedDisk {
            name: "nvme0n1".to_owned(),
            serial: Some("S64GNE0R900001".to_owned()),
            wwn: Some("eui.0025385b31b0a7c1".to_owned()),
            size_bytes: 480_103_981_056,
            diskseq: Some(9),
        }),
        image: Some(AuditedImage { root: Some("cd".repeat(32)), size_bytes: Some(4 << 30), name: None }),
        result: Some(Ending::Failed),
        reason: Some("DISK_IO".to_owned()),
        bytes: Some(Bytes { written: Some(u64::MAX), verified: Some(0), ..Bytes::default() }),
        ..Event::new(Kind::End)
    };
    audit.append(&Event::new(Kind::Start)).expect("written");
    audit.append(&event).expect("written");
    let mut seen = Vec::new();
    let verified = read(&log.dir(), |entry| seen.push((entry.hash, entry.record().expect("a record")))).expect("whole");
    let [(start_hash, start), (end_hash, end)] = &seen[..] else { panic!("two lines: {seen:?}") };
    assert_eq!((start.seq, &start.prev, &start.event), (1, &GENESIS.to_hex().to_string(), &Event::new(Kind::Start)));
    assert_eq!((end.seq, &end.prev, &end.event), (2, &start_hash.to_hex().to_string(), &event));
    assert_eq!((end.time.as_str(), end.boot_id.as_str()), ("2026-11-30T12:00:00.123456Z", "boot-1"));
    assert_eq!((verified.files, verified.lines, verified.first_seq, verified.last_seq), (1, 2, 1, 2));
    assert_eq!((verified.last_hash, verified.torn), (*end_hash, None));
}

#[test]
fn the_hash_of_a_line_is_what_b3sum_says_of_it() {
    let log = Log::written(2, 10);
    let text = std::fs::read_to_string(&log.files()[0]).expect("read");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(log.records()[1].prev, blake3::hash(lines[0].as_bytes()).to_hex().to_string());
    assert_eq!(log.verify().expect("whole").last_hash, blake3::hash(lines[1].as_bytes()));
}

#[test]
fn texts_are_escaped_and_cut_so_that_no_event_makes_two_lines_or_a_long_one() {
    let log = Log::new();
    let audit = log.open();
    let nasty = ["\n{\"seq\":9}\n", "\u{1b}[2J", "\u{202e}", "\"\\", "ü"].map(|text| text.repeat(100_000));
    for text in &nasty {
        let some = || Some(text.clone());
        let disk = AuditedDisk { name: text.clone(), serial: some(), wwn: some(), ..AuditedDisk::default() };
        let image = AuditedImage { root: some(), name: some(), size_bytes: None };
        let event = Event {
            caller: some(),
            fingerprint: some(),
            role: some(),
            method: some(),
            reason: some(),
            disk: Some(disk),
            image: Some(image),
            ..Event::new(Kind::Delete)
        };
        audit.append(&event).expect("written");
    }
    let verified = log.verify().expect("whole");
    assert_eq!(verified.lines, nasty.len() as u64);
    let bytes = std::fs::read(&log.files()[0]).expect("read");
    assert!(bytes.split(|byte| *byte == b'\n').all(|line| line.len() < 8192));
    assert!(!bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'));
    let reason = log.records()[0].event.reason.clone().expect("a reason");
    assert!(reason.starts_with("\\u{a}{\"seq\":9}\\u{a}\\u{a}") && (250..=256).contains(&reason.len()), "{reason}");
}

#[test]
fn nobody_but_the_agent_reads_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let log = Log::written(3, 1);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&log.dir()), 0o700);
    assert_eq!(log.files().iter().map(|file| mode(file)).collect::<Vec<_>>(), [0o600; 3]);
}

#[test]
fn an_empty_log_is_whole_and_a_missing_one_is_an_error() {
    let log = Log::new();
    let error = log.verify().expect_err("no directory");
    assert!(matches!(&error, AuditError::Io { path, .. } if *path == log.dir()), "{error:?}");
    drop(log.open());
    let empty = log.verify().expect("whole");
    assert_eq!((empty.files, empty.lines, empty.first_seq, empty.last_seq), (0, 0, 1, 0));
    assert_eq!(empty.last_hash, GENESIS);
}

#[test]
fn every_error_has_the_same_reason_and_says_where() {
    let log = Log::written(2, 10);
    let file = &log.files()[0];
    std::fs::write(file, "nonsense\nmore\n").expect("written");
    let error = log.try_open().expect_err("damaged");
    assert_eq!(error.reason(), Reason::AuditUnavailable);
    let told = error.metadata();
    assert_eq!(told[0], ("path", file.display().to_string()));
    assert_eq!((told[1].0, told[1].1.as_str()), ("line", "1"));
}

/// Everything that threads append at the same time.
#[test]
fn many_threads_make_one_chain() {
    const THREADS: u64 = 8;
    const EACH: u64 = 40;
    let log = Log::new();
    let audit = log.open_small(16 << 10, 1000);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (audit, failed) = (&audit, &failed);
            scope.spawn(move || {
                for number in 0..EACH {
                    let appended = audit.append(&begin(thread * EACH + number));
                    failed.lock().expect("lock").extend(appended.err());
                }
            });
        }
    });
    assert!(failed.into_inner().expect("lock").is_empty());
    let verified = log.verify().expect("whole");
    assert_eq!((verified.lines, verified.last_seq), (THREADS * EACH, THREADS * EACH));
    let mut operations: Vec<_> = log.records().iter().map(|record| record.event.operation.expect("one")).collect();
    operations.sort();
    assert_eq!(operations, (0..THREADS * EACH).map(|number| Uuid::from_u128(number.into())).collect::<Vec<_>>());
}
