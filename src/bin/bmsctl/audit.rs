//! `bmsctl audit`: the agent's audit log, proven and printed. Reads files, and needs no agent.

use std::collections::VecDeque;

use bms_agent::audit::{self, AuditError, Entry, Record, Torn};

use crate::cli::{Anchor, AuditCommand, AuditShowArgs, AuditVerifyArgs, OutputFormat};
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::{bytes, to_the_second};
use crate::output::Output;
use crate::table::{Fields, or_dash, table};
use crate::view::{AuditLineView, AuditView};

/// Why a log is not proven.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditProblem {
    /// It is damaged, or cannot be read.
    #[error(transparent)]
    Log { source: AuditError },
    /// The newest line is another one.
    #[error(
        "the newest line, {seq}, has the hash {found}, not {expected}: lines came after the one that was noted, or are missing"
    )]
    LastHash { seq: u64, expected: blake3::Hash, found: blake3::Hash },
    /// The log ends before a line that was noted.
    #[error("line {seq} is missing: the log ends with line {last_seq}")]
    Missing { seq: u64, last_seq: u64 },
    /// A line that was noted is another one.
    #[error("line {seq} has the hash {found}, not {expected}: the log was made anew")]
    Anchor { seq: u64, expected: blake3::Hash, found: String },
    /// A line that was noted is older than what is kept.
    #[error("line {seq} is not kept any more: the oldest is {first_seq}")]
    NotKept { seq: u64, first_seq: u64 },
}

impl AuditProblem {
    /// What the shell is told.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::LastHash { .. } | Self::Missing { .. } | Self::Anchor { .. } => Exit::Mismatch,
            Self::NotKept { .. } => Exit::Unknown,
            Self::Log { source } => match source {
                AuditError::Damaged { .. } | AuditError::Changed { .. } => Exit::Mismatch,
                AuditError::Io { .. }
                | AuditError::InUse { .. }
                | AuditError::EventTooLong { .. }
                | AuditError::Encode { .. } => Exit::Refused,
            },
        }
    }
}

/// Runs a command on a log.
pub(crate) fn run(command: &AuditCommand, output: &Output) -> Result<Exit, CtlError> {
    match command {
        AuditCommand::Verify(args) => verify(args, output),
        AuditCommand::Show(args) => show(args, output),
    }
}

fn verify(args: &AuditVerifyArgs, output: &Output) -> Result<Exit, CtlError> {
    let view = prove(args)?;
    output.result(&view, verified)?;
    Ok(Exit::Done)
}

/// What is known of a line that was noted.
#[derive(Debug)]
struct Sought {
    anchor: Anchor,
    /// The hash that it has now.
    found: Option<String>,
}

/// Holds the log against itself, and against what was noted.
fn prove(args: &AuditVerifyArgs) -> Result<AuditView, AuditProblem> {
    let mut sought: Vec<_> = args.anchors.iter().map(|anchor| Sought { anchor: *anchor, found: None }).collect();
    let log = audit::read(&args.dir, |entry| sought.iter_mut().for_each(|sought| sought.see(&entry)))
        .map_err(|source| AuditProblem::Log { source })?;
    for sought in sought {
        sought.settle(log.first_seq, log.last_seq)?;
    }
    match args.last_hash {
        Some(expected) if expected != log.last_hash => {
            Err(AuditProblem::LastHash { seq: log.last_seq, expected, found: log.last_hash })
        }
        _ => Ok(AuditView::new(&args.dir, &log)),
    }
}

impl Sought {
    fn see(&mut self, entry: &Entry<'_>) {
        if entry.seq == self.anchor.seq {
            self.found = Some(entry.hash.to_hex().to_string());
        } else if self.found.is_none() && entry.seq.checked_sub(1) == Some(self.anchor.seq) {
            // The line itself is gone with the ring's oldest file; the next one knows its hash.
            self.found = entry.record().ok().map(|record| record.prev);
        }
    }

    fn settle(self, first_seq: u64, last_seq: u64) -> Result<(), AuditProblem> {
        let Anchor { seq, hash: expected } = self.anchor;
        match self.found {
            Some(found) if found == expected.to_hex().as_str() => Ok(()),
            Some(found) => Err(AuditProblem::Anchor { seq, expected, found }),
            None if seq > last_seq => Err(AuditProblem::Missing { seq, last_seq }),
            None => Err(AuditProblem::NotKept { seq, first_seq }),
        }
    }
}

fn verified(view: &AuditView) -> String {
    let lines = match view.lines {
        0 => "none".to_owned(),
        lines => format!("{lines}, from {} to {}", view.first_seq, view.last_seq),
    };
    let torn = view.torn_bytes.map(|bytes| format!("{bytes} bytes of a line that is not whole: {TORN}"));
    Fields::new()
        .field("audit log", &view.dir)
        .field("lines", &lines)
        .field("files", &view.files.to_string())
        .field("last hash", &view.last_hash)
        .maybe("behind it", torn.as_deref())
        .into_text()
}

/// What is behind the newest line.
const TORN: &str = "a crash cut it short, or it is being written";

fn show(args: &AuditShowArgs, output: &Output) -> Result<Exit, CtlError> {
    let mut newest = VecDeque::new();
    let mut unknown = 0_u64;
    let result = audit::read(&args.dir, |entry| match entry.record() {
        Ok(record) => {
            newest.push_back(AuditLineView { record, hash: entry.hash.to_hex().to_string() });
            if newest.len() > args.last {
                newest.pop_front();
            }
        }
        // Proven as all are; an agent of another version may know more events.
        Err(_of_another_version) => unknown += 1,
    });
    // Also of a damaged log: what is before the damage is as it was.
    print(&newest, output)?;
    if unknown > 0 {
        output.note(&format!("{unknown} lines are of kinds that this version does not know"));
    }
    let log = result.map_err(|source| AuditProblem::Log { source })?;
    if let Some(Torn { bytes, .. }) = log.torn {
        output.note(&format!("{bytes} bytes behind line {} are no whole line: {TORN}", log.last_seq));
    }
    Ok(Exit::Done)
}

fn print(lines: &VecDeque<AuditLineView>, output: &Output) -> Result<(), CtlError> {
    match output.format() {
        OutputFormat::Json => lines.iter().try_for_each(|line| output.json_line(line)),
        OutputFormat::Table => output.result(lines, |lines| events(lines.iter().map(|line| &line.record))),
    }
}

/// Events for people.
fn events<'a>(records: impl Iterator<Item = &'a Record>) -> String {
    let rows = records.map(|Record { seq, time, event, .. }| {
        let disk = event.disk.as_ref().map(|disk| match &disk.serial {
            Some(serial) => format!("{} {serial}", disk.name),
            None => disk.name.clone(),
        });
        let caller = event.caller.as_ref().map(|caller| match &event.role {
            Some(role) => format!("{caller} ({role})"),
            None => caller.clone(),
        });
        [
            seq.to_string(),
            to_the_second(time),
            event.kind.name().to_owned(),
            or_dash(caller.as_deref()),
            or_dash(event.method.as_deref().map(|method| method.rsplit('/').next().unwrap_or(method))),
            or_dash(event.operation.map(|operation| operation.to_string()).as_deref()),
            or_dash(disk.as_deref()),
            or_dash(event.result.map(|result| result.name())),
            or_dash(event.reason.as_deref()),
            or_dash(event.bytes.and_then(|counted| counted.written).map(bytes).as_deref()),
        ]
    });
    table(["seq", "time", "event", "caller", "method", "operation", "disk", "result", "reason", "written"], rows)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use bms_agent::audit::{Audit, AuditedDisk, Bytes, Ending, Event, GENESIS, Kind, Record};
    use bms_agent::clock::SystemClock;
    use tempfile::TempDir;

    use super::{AuditProblem, Exit, events, prove, verified};
    use crate::cli::{Anchor, AuditVerifyArgs};

    /// A log of so many events.
    fn log(count: u64) -> (TempDir, PathBuf) {
        let state = tempfile::tempdir().expect("directory");
        let dir = state.path().join("audit");
        let audit = Audit::open(&dir, Arc::new(SystemClock), "boot").expect("opened");
        (0..count).for_each(|_| audit.append(&Event::new(Kind::Begin)).expect("written"));
        (state, dir)
    }

    fn args(dir: &Path) -> AuditVerifyArgs {
        AuditVerifyArgs { dir: dir.to_owned(), anchors: Vec::new(), last_hash: None }
    }

    fn anchored(dir: &Path, seq: u64, hash: blake3::Hash) -> Result<(), AuditProblem> {
        prove(&AuditVerifyArgs { anchors: vec![Anchor { seq, hash }], ..args(dir) }).map(drop)
    }

    fn hash(dir: &Path) -> blake3::Hash {
        prove(&args(dir)).expect("whole").last_hash.parse().expect("a hash")
    }

    fn file(dir: &Path) -> PathBuf {
        fs::read_dir(dir).expect("directory").next().expect("a file").expect("entry").path()
    }

    #[test]
    fn a_whole_log_is_told_in_a_few_lines() {
        let (_state, dir) = log(3);
        let view = prove(&args(&dir)).expect("whole");
        let text = verified(&view);
        assert!(text.contains("3, from 1 to 3") && text.contains(&view.last_hash), "{text}");
        assert!(!text.contains("behind it"), "{text}");
        let (_state, empty) = log(0);
        assert_eq!(hash(&empty), GENESIS);
    }

    #[test]
    fn lines_that_are_missing_at_the_end_are_seen_by_what_was_noted() {
        let (_state, dir) = log(5);
        let noted = hash(&dir);
        assert!(anchored(&dir, 5, noted).is_ok());
        assert!(prove(&AuditVerifyArgs { last_hash: Some(noted), ..args(&dir) }).is_ok());
        let text = fs::read_to_string(file(&dir)).expect("read");
        let kept: Vec<_> = text.split_inclusive('\n').take(4).collect();
        fs::write(file(&dir), kept.concat()).expect("written");
        assert!(prove(&args(&dir)).is_ok(), "it looks whole");
        let missing = anchored(&dir, 5, noted).expect_err("missing");
        assert!(matches!(missing, AuditProblem::Missing { seq: 5, last_seq: 4 }), "{missing}");
        let other = prove(&AuditVerifyArgs { last_hash: Some(noted), ..args(&dir) }).expect_err("another");
        assert!(matches!(other, AuditProblem::LastHash { seq: 4, .. }), "{other}");
        assert_eq!((missing.exit(), other.exit()), (Exit::Mismatch, Exit::Mismatch));
    }

    #[test]
    fn a_log_that_was_made_anew_has_other_hashes() {
        let ((_state, dir), (_other_state, other)) = (log(3), log(3));
        let problem = anchored(&other, 3, hash(&dir)).expect_err("another log");
        assert!(matches!(problem, AuditProblem::Anchor { seq: 3, .. }), "{problem}");
        assert_eq!(problem.exit(), Exit::Mismatch);
    }

    #[test]
    fn damage_is_a_mismatch_and_a_missing_log_a_refusal() {
        let (state, dir) = log(3);
        let text = fs::read_to_string(file(&dir)).expect("read");
        fs::write(file(&dir), text.replacen("begin", "bogus", 1)).expect("written");
        let problem = prove(&args(&dir)).expect_err("damaged");
        assert_eq!(problem.exit(), Exit::Mismatch);
        assert!(problem.to_string().contains("line 1: "), "{problem}");
        let problem = prove(&args(&state.path().join("none"))).expect_err("no log");
        assert_eq!(problem.exit(), Exit::Refused);
    }

    #[test]
    fn an_anchor_that_the_ring_has_dropped_is_not_known() {
        // Renamed, the second half of a log is what a ring has left of it.
        let (_state, dir) = log(4);
        let text = fs::read_to_string(file(&dir)).expect("read");
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        fs::remove_file(file(&dir)).expect("removed");
        fs::write(dir.join("audit-00000000000000000003.jsonl"), lines[2..].concat()).expect("written");
        let of = |line: usize| blake3::hash(lines[line].trim_end().as_bytes());
        assert!(anchored(&dir, 3, of(2)).is_ok());
        assert!(anchored(&dir, 2, of(1)).is_ok(), "the next line has it");
        let problem = anchored(&dir, 1, of(0)).expect_err("gone");
        assert!(matches!(problem, AuditProblem::NotKept { seq: 1, first_seq: 3 }), "{problem}");
        assert_eq!(problem.exit(), Exit::Unknown);
    }

    #[test]
    fn an_event_is_one_row() {
        let disk = AuditedDisk { name: "sda".to_owned(), serial: Some("S1".to_owned()), ..AuditedDisk::default() };
        let event = Event {
            caller: Some("controller".to_owned()),
            role: Some("operator".to_owned()),
            method: Some("/bms.agent.v1.ProvisioningService/PushImage".to_owned()),
            disk: Some(disk),
            result: Some(Ending::Failed),
            reason: Some("DISK_IO".to_owned()),
            bytes: Some(Bytes { written: Some(1 << 30), ..Bytes::default() }),
            ..Event::new(Kind::End)
        };
        let record = Record {
            seq: 12,
            prev: String::new(),
            time: "2026-11-30T12:00:00.123456Z".to_owned(),
            boot_id: String::new(),
            event,
        };
        let text = events([&record].into_iter());
        let row = text.lines().nth(1).expect("a row");
        let words: Vec<_> = row.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        let expected = [
            "12",
            "2026-11-30T12:00:00Z",
            "end",
            "controller (operator)",
            "PushImage",
            "-",
            "sda S1",
            "failed",
            "DISK_IO",
            "1.0 GiB",
        ];
        assert_eq!(words, expected);
    }
}
