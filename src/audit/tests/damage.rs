//! What somebody, or a disk, does to a log is found, and where it is.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq};
use proptest::sample::Index;
use proptest::{prop_assume, proptest};

use super::{Damage, Log, damage, name};
use crate::audit::{AuditError, read_anything, verify};

/// Does something to the lines of a file.
type Change = fn(&mut Vec<Vec<u8>>);

/// The file with other content.
fn replaced(log: &Log, file: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> PathBuf {
    let path = log.files()[file].clone();
    let bytes = fs::read(&path).expect("read");
    let mut lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    change(&mut lines);
    fs::write(&path, lines.concat()).expect("written");
    path
}

#[test]
fn each_changed_byte_of_each_line_is_found() {
    let log = Log::written(4, 100);
    let whole = fs::read(&log.files()[0]).expect("read");
    let last_line = whole.len() - whole.split_inclusive(|byte| *byte == b'\n').next_back().expect("a line").len();
    for at in 0..whole.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            match read_anything(&bytes) {
                Err(AuditError::Damaged { .. }) => {}
                // Of the last line it may look as if a crash had cut it short, which is told as well.
                Ok(verified) => assert!(at >= last_line && verified.torn.is_some(), "byte {at} ^ {flip:#x}"),
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
    }
}

/// Nothing that was durable is taken for what a crash has left: it would be cut off.
#[test]
fn lines_whose_newline_was_changed_are_no_torn_line() {
    let log = Log::written(4, 100);
    let path = replaced(&log, 0, |lines| *lines[2].last_mut().expect("a newline") = b' ');
    assert_eq!(log.damage(), (name(&path), 3, Damage::Malformed));
    assert!(log.try_open().is_err());
    let last = Log::written(4, 100);
    let path = replaced(&last, 0, |lines| *lines[3].last_mut().expect("a newline") = b' ');
    assert_eq!(last.damage(), (name(&path), 4, Damage::Unfinished));
}

#[test]
fn a_changed_value_is_found_in_its_line() {
    for line in 0..5 {
        let log = Log::written(5, 100);
        let path = replaced(&log, 0, |lines| {
            let text = String::from_utf8(lines[line].clone()).expect("text");
            lines[line] = text.replace("\"sda\"", "\"sdb\"").into_bytes();
        });
        assert_eq!(log.damage(), (name(&path), line as u64 + 1, Damage::Sum));
    }
}

/// Who changes a line can make its sum anew. Then the next line tells.
#[test]
fn a_line_that_was_made_anew_is_found_by_the_next() {
    let log = Log::written(5, 100);
    let path = replaced(&log, 0, |lines| {
        let text = String::from_utf8(lines[2].clone()).expect("text").replace("\"sda\"", "\"sdb\"");
        let (content, _sum) = text.rsplit_once(",\"sum\":").expect("a sum");
        lines[2] = format!("{content},\"sum\":\"{}\"}}\n", blake3::hash(content.as_bytes()).to_hex()).into_bytes();
    });
    assert_eq!(log.damage(), (name(&path), 4, Damage::Chain));
}

#[test]
fn a_removed_doubled_or_moved_line_is_found() {
    let cases: [(&str, Change, u64, Damage); 5] = [
        ("the first", |lines| drop(lines.remove(0)), 1, Damage::Sequence { expected: 1, found: 2 }),
        ("one in the middle", |lines| drop(lines.remove(3)), 4, Damage::Sequence { expected: 4, found: 5 }),
        ("two change places", |lines| lines.swap(1, 2), 2, Damage::Sequence { expected: 2, found: 3 }),
        ("one twice", |lines| lines.insert(3, lines[2].clone()), 4, Damage::Sequence { expected: 4, found: 3 }),
        ("an empty one", |lines| lines.insert(2, b"\n".to_vec()), 3, Damage::Malformed),
    ];
    for (what, change, line, expected) in cases {
        let log = Log::written(6, 100);
        let path = replaced(&log, 0, change);
        assert_eq!(log.damage(), (name(&path), line, expected), "{what}");
        assert!(log.try_open().is_err(), "{what}: the agent goes on behind it");
    }
}

#[test]
fn a_missing_emptied_or_renamed_file_is_found() {
    let removed = Log::written(9, 2);
    let files = removed.files();
    assert_eq!(files.len(), 5);
    fs::remove_file(&files[2]).expect("removed");
    assert_eq!(removed.damage(), (name(&files[3]), 0, Damage::MissingFile { expected: 5, found: 7 }));

    let emptied = Log::written(9, 2);
    fs::write(&emptied.files()[1], "").expect("written");
    assert_eq!(emptied.damage(), (name(&emptied.files()[1]), 1, Damage::Empty));

    let cut = Log::written(9, 2);
    replaced(&cut, 1, |lines| lines[1].truncate(100));
    assert_eq!(cut.damage(), (name(&cut.files()[1]), 2, Damage::Unfinished));

    let renamed = Log::written(9, 2);
    fs::rename(&renamed.files()[4], renamed.dir().join("audit-5.jsonl")).expect("renamed");
    assert_eq!(renamed.damage(), ("audit-5.jsonl".to_owned(), 0, Damage::Name));
}

#[test]
fn files_of_another_log_do_not_fit() {
    let (log, other) = (Log::written(6, 2), Log::new());
    let audit = other.open_small(2 * super::LINE_BYTES, 1000);
    (11..=16).for_each(|number| audit.append(&super::begin(number)).expect("written"));
    fs::copy(&other.files()[1], &log.files()[1]).expect("copied");
    assert_eq!(log.damage(), (name(&log.files()[1]), 1, Damage::Chain));
}

#[test]
fn something_else_in_the_place_of_a_file_holds_nobody_up() {
    let log = Log::written(1, 2);
    let second = log.dir().join("audit-00000000000000000002.jsonl");
    nix::unistd::mkfifo(&second, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    assert_eq!(log.damage(), (name(&second), 0, Damage::NoFile));
    fs::remove_file(&second).expect("removed");
    std::os::unix::fs::symlink(&log.files()[0], &second).expect("a link");
    assert!(matches!(log.verify(), Err(AuditError::Io { path, .. }) if path == second));
}

#[test]
fn a_line_without_end_takes_no_memory() {
    let log = Log::written(1, 2);
    fs::File::options().append(true).open(&log.files()[0]).and_then(|file| file.set_len(1 << 32)).expect("sparse");
    assert_eq!(log.damage(), (name(&log.files()[0]), 2, Damage::TooLong));
}

#[test]
fn the_newest_lines_can_be_removed_unseen_which_is_why_hashes_are_noted_elsewhere() {
    let log = Log::written(6, 100);
    let before = log.verify().expect("whole");
    replaced(&log, 0, |lines| lines.truncate(4));
    let after = log.verify().expect("looks whole");
    assert_ne!((before.last_seq, before.last_hash), (after.last_seq, after.last_hash));
}

/// A change of one line: which, and what is done to it.
fn changes() -> impl Strategy<Value = (Index, Vec<u8>)> {
    (any::<Index>(), proptest::collection::vec(any::<u8>(), 0..40))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes in the place of others, anywhere but in the last line, are found wherever they are.
    #[test]
    fn overwritten_bytes_are_found((at, new) in changes()) {
        let log = Log::written(4, 100);
        let mut bytes = fs::read(&log.files()[0]).expect("read");
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::len).collect::<Vec<_>>();
        let end = lines[..3].iter().sum::<usize>();
        let at = at.index(end);
        let old = bytes.clone();
        bytes[at..end].iter_mut().zip(&new).for_each(|(byte, new)| *byte = *new);
        prop_assume!(old != bytes);
        fs::write(&log.files()[0], &bytes).expect("written");
        let (_, line, _) = damage(verify(&log.dir()).expect_err("changed"));
        let first_changed = old.iter().zip(&bytes).position(|(old, new)| old != new).expect("one");
        let within = old[..first_changed].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        // A newline more or less moves it by one.
        prop_assert!((within..=within + 1).contains(&line), "line {line} for a change in {within}");
    }

    /// Whatever is in a file, reading it ends, and believes nothing that does not chain.
    #[test]
    fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        if let Ok(verified) = read_anything(&bytes) {
            prop_assert_eq!(verified.lines, 0);
        }
    }
}
