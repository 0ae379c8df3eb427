//! Crashes within an append, and disks that do not take a line.

use std::fs::{self, File};
use std::io::Write as _;

use super::{Log, begin, name};
use crate::audit::tail::fault::{CUTS, Fault, NEXT_WRITE};
use crate::audit::{AuditError, Damage, Kind};

#[test]
fn a_line_that_was_cut_short_at_any_byte_is_removed_and_told_of() {
    let log = Log::written(3, 100);
    let path = log.files()[0].clone();
    let whole = fs::read(&path).expect("read");
    let last = whole.split_inclusive(|byte| *byte == b'\n').next_back().expect("a line").len();
    for left in 0..last {
        fs::write(&path, &whole[..whole.len() - last + left]).expect("written");
        let torn = log.verify().expect("no damage").torn;
        assert_eq!(torn.map(|torn| torn.bytes), (left > 0).then_some(left as u64));
        let audit = log.open();
        audit.append(&begin(9)).expect("written");
        let records = log.records();
        let [_, _, recovered @ .., new] = &records[..] else { panic!("three lines at least") };
        let told: Vec<_> = recovered.iter().map(|record| (record.event.kind, record.event.bytes)).collect();
        assert_eq!(told.len(), usize::from(left > 0));
        for (kind, bytes) in told {
            assert_eq!((kind, bytes.expect("bytes").cut), (Kind::Recovered, Some(left as u64)));
        }
        assert_eq!((new.event.kind, new.seq), (Kind::Begin, records.len() as u64));
    }
}

/// Where pages reach the disk in any order, the begin of a line may be zeroes and its end there.
#[test]
fn a_last_line_of_zeroes_with_and_without_its_end_is_removed() {
    for tail in [&b"\0\0\0\0"[..], b"\0\0\0\0\",\"sum\":\"00\"}\n", b"\n"] {
        let log = Log::written(2, 100);
        File::options().append(true).open(&log.files()[0]).and_then(|mut file| file.write_all(tail)).expect("written");
        drop(log.open());
        let records = log.records();
        assert_eq!(records.len(), 3);
        assert_eq!(records[2].event.bytes.expect("bytes").cut, Some(tail.len() as u64));
    }
}

#[test]
fn a_file_in_which_a_crash_left_nothing_or_half_a_line_is_gone_on_with() {
    for left in ["", "{\"seq\":3,"] {
        let log = Log::written(2, 2);
        let second = log.dir().join("audit-00000000000000000003.jsonl");
        fs::write(&second, left).expect("written");
        log.open().append(&begin(3)).expect("written");
        assert_eq!(log.files()[1], second);
        assert_eq!(log.verify().expect("whole").lines, 3 + u64::from(!left.is_empty()));
    }
    // But a file that goes on from nothing has lost what was before it.
    let log = Log::new();
    fs::create_dir(log.dir()).expect("directory");
    fs::write(log.dir().join("audit-00000000000000000003.jsonl"), "").expect("written");
    assert_eq!(log.damage().2, Damage::MissingFile { expected: 1, found: 3 });
}

#[test]
fn damage_that_no_crash_makes_is_not_repaired() {
    let log = Log::written(3, 100);
    let path = &log.files()[0];
    let text = fs::read_to_string(path).expect("read");
    fs::write(path, text.replace("\"sda\"", "\"sdb\"")).expect("written");
    let changed = fs::read(path).expect("read");
    let error = log.try_open().expect_err("damaged");
    assert!(matches!(error, AuditError::Damaged { line: 1, what: Damage::Sum, .. }), "{error:?}");
    assert_eq!(fs::read(path).expect("read"), changed);
}

#[test]
fn what_was_written_of_a_line_that_failed_is_taken_back_before_the_next() {
    for fault in [Fault::Short(0), Fault::Short(1), Fault::Short(100), Fault::Flush] {
        let log = Log::new();
        let audit = log.open();
        audit.append(&begin(1)).expect("written");
        NEXT_WRITE.set(Some(fault));
        let error = audit.append(&begin(2)).expect_err("the disk failed");
        assert!(matches!(error, AuditError::Io { .. }), "{error:?}");
        assert_eq!(
            log.verify().map(|verified| (verified.lines, verified.torn)).expect("whole"),
            (1, None),
            "{fault:?}"
        );
        audit.append(&begin(3)).expect("written");
        let operations: Vec<_> = log.records().iter().map(|record| record.event.operation).collect();
        assert_eq!(operations, [begin(1).operation, begin(3).operation]);
    }
}

#[test]
fn as_long_as_half_a_line_cannot_be_taken_back_nothing_is_written_behind_it() {
    let log = Log::new();
    let audit = log.open();
    audit.append(&begin(1)).expect("written");
    NEXT_WRITE.set(Some(Fault::Short(50)));
    CUTS.set(3);
    audit.append(&begin(2)).expect_err("the disk failed, and so did the cut");
    let torn = fs::read(&log.files()[0]).expect("read");
    for number in [3, 4] {
        audit.append(&begin(number)).expect_err("the cut fails");
        assert_eq!(fs::read(&log.files()[0]).expect("read"), torn);
    }
    audit.append(&begin(5)).expect("it does not any more");
    assert_eq!(log.records().len(), 2);
    assert_eq!(log.records()[1].event.operation, begin(5).operation);
}

#[test]
fn a_file_whose_first_line_fails_is_gone_on_with() {
    let log = Log::new();
    let audit = log.open_small(super::LINE_BYTES, 10);
    audit.append(&begin(1)).expect("written");
    NEXT_WRITE.set(Some(Fault::Short(20)));
    audit.append(&begin(2)).expect_err("the disk failed");
    audit.append(&begin(3)).expect("written");
    assert_eq!(log.files().iter().map(|file| name(file)).collect::<Vec<_>>()[1], "audit-00000000000000000002.jsonl");
    assert_eq!(log.verify().expect("whole").lines, 2);
}

#[test]
fn a_log_that_somebody_else_writes_replaces_or_removes_takes_no_more_lines() {
    let log = Log::new();
    let audit = log.open();
    audit.append(&begin(1)).expect("written");
    let path = &log.files()[0];
    let whole = fs::read(path).expect("read");
    File::options().append(true).open(path).and_then(|mut file| file.write_all(b"x")).expect("written");
    assert!(matches!(audit.append(&begin(2)), Err(AuditError::Changed { .. })));
    File::options().write(true).open(path).and_then(|file| file.set_len(whole.len() as u64)).expect("put right");
    audit.append(&begin(2)).expect("it is as it was");
    let whole = fs::read(path).expect("read");
    fs::remove_file(path).expect("removed");
    fs::write(path, &whole).expect("written");
    assert!(matches!(audit.append(&begin(3)), Err(AuditError::Changed { .. })), "it looks the same, and is another");
    fs::remove_dir_all(log.dir()).expect("removed");
    assert!(matches!(audit.append(&begin(4)), Err(AuditError::Io { .. })));
}

#[test]
fn a_file_that_somebody_else_shortened_is_not_filled_up_by_taking_a_line_back() {
    let log = Log::new();
    let audit = log.open();
    audit.append(&begin(1)).expect("written");
    NEXT_WRITE.set(Some(Fault::Short(50)));
    CUTS.set(1);
    audit.append(&begin(2)).expect_err("the disk failed, and so did the cut");
    File::options().write(true).open(&log.files()[0]).and_then(|file| file.set_len(100)).expect("shortened");
    assert!(matches!(audit.append(&begin(3)), Err(AuditError::Changed { .. })));
    assert_eq!(fs::metadata(&log.files()[0]).expect("there").len(), 100);
}

#[test]
fn one_process_writes_a_log_and_others_may_read_it() {
    let log = Log::new();
    let audit = log.open();
    audit.append(&begin(1)).expect("written");
    assert!(matches!(log.try_open(), Err(AuditError::InUse { .. })));
    assert_eq!(log.verify().expect("whole").lines, 1);
    drop(audit);
    log.open().append(&begin(2)).expect("written");
}

#[test]
fn a_log_that_cannot_be_opened_refuses_every_line_until_it_can() {
    let log = Log::new();
    fs::write(log.dir(), "no directory").expect("written");
    assert!(log.try_open().is_err());
    let audit = log.open_small(1 << 20, 10);
    for number in [1, 2] {
        audit.append(&begin(number)).expect_err("nowhere to write");
    }
    fs::remove_file(log.dir()).expect("removed");
    audit.append(&begin(3)).expect("written");
    assert_eq!(log.records()[0].seq, 1);
}
