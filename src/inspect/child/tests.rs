//! The parent against children that are not what they should be. The real child is tested in `tests/inspect`.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::answer::{AnswerError, parse, write};
use super::{InspectError, Inspector};
use crate::inspect::free::reason::WholeReason;
use crate::inspect::free::{FileSystem, FreeSpace, Outcome, VolumeNote};
use crate::inspect::sandbox::Landlock;

const DISK_BYTES: u64 = 100 << 20;
const MIB: u64 = 1 << 20;

/// An inspector whose child is a shell script.
fn script(body: &str) -> (TempDir, Inspector) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("child");
    write_program(&path, &format!("#!/bin/sh\n{body}\n"));
    let inspector = Inspector { executable: path, time_limit: Duration::from_secs(20) };
    (directory, inspector)
}

/// Writes a program that can be run at once. A process of its own writes it: what another test starts meanwhile would inherit a
/// descriptor of this one, and a program that anybody has open for writing does not start.
pub(super) fn write_program(path: &Path, text: &str) {
    let script = "printf %s \"$1\" >\"$0\" && chmod 700 \"$0\"";
    let status = Command::new("sh").args(["-c", script]).arg(path).arg(text).status().expect("sh");
    assert!(status.success(), "{status}");
}

fn ask(inspector: &Inspector) -> Result<FreeSpace, InspectError> {
    let disk = File::open("/dev/null").expect("open");
    inspector.free_space(disk, DISK_BYTES, 512, &CancellationToken::new())
}

fn space() -> FreeSpace {
    let outcomes =
        [Outcome::Read { free_bytes: 7 * MIB }, Outcome::Whole { reason: WholeReason::Unknown }].into_iter().zip(1..);
    let notes = outcomes.map(|(outcome, partition)| VolumeNote {
        partition,
        offset_bytes: u64::from(partition) * MIB,
        size_bytes: 10 * MIB,
        file_system: Some(FileSystem::Btrfs),
        outcome,
    });
    FreeSpace { ranges: vec![MIB..2 * MIB, 3 * MIB..9 * MIB], notes: notes.collect() }
}

fn encoded(space: FreeSpace) -> Vec<u8> {
    let mut answer = Vec::new();
    write(&mut answer, Landlock::Partial, space).expect("write");
    answer
}

#[test]
fn an_answer_comes_through_as_it_was_given() {
    let (directory, inspector) = script("cat \"$(dirname \"$0\")/answer\"");
    fs::write(directory.path().join("answer"), encoded(space())).expect("write");
    assert_eq!(ask(&inspector).expect("an answer"), space());
}

#[test]
fn the_child_gets_its_request_and_nothing_else() {
    let (directory, inspector) = script(r#"{ echo "$@"; pwd; /usr/bin/env; } > "${0%/*}/seen""#);
    ask(&inspector).expect_err("no answer");
    let seen = fs::read_to_string(directory.path().join("seen")).expect("read");
    let (request, rest) = seen.split_once('\n').expect("lines");
    assert_eq!(request, "inspect-child free-space 104857600 512");
    // The shell itself sets PWD and the like.
    assert!(rest.starts_with("/\n") && !rest.contains("PATH=") && !rest.contains("HOME="), "{rest}");
}

#[test]
fn a_child_that_dies_is_told_with_what_it_said() {
    let (_directory, inspector) = script("printf 'alas \\033[31m' >&2; exit 3");
    let error = ask(&inspector).expect_err("died");
    let InspectError::Died { status, said } = &error else { panic!("{error:?}") };
    assert_eq!((status.code(), said.as_str()), (Some(3), "alas \\u{1b}[31m"));
}

#[test]
fn a_child_that_says_much_is_heard_to_its_end_and_cut() {
    let (_directory, inspector) = script("yes 'x' | head -c 3000000 >&2; exit 1");
    let error = ask(&inspector).expect_err("died");
    let InspectError::Died { said, .. } = &error else { panic!("{error:?}") };
    assert!(said.len() > 1000 && said.len() < 64 << 10, "{}", said.len());
}

#[test]
fn a_child_that_hangs_is_killed() {
    let (directory, inspector) = script("echo $$ > \"${0%/*}/pid\"; exec sleep 1000");
    let inspector = Inspector { time_limit: Duration::from_secs(3), ..inspector };
    assert!(matches!(ask(&inspector), Err(InspectError::TimedOut { .. })));
    let pid = fs::read_to_string(directory.path().join("pid")).expect("it ran");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it is still there");
}

#[test]
fn a_child_that_never_stops_talking_is_killed() {
    for body in ["exec yes", "exec yes >&2"] {
        let (_directory, inspector) = script(body);
        let inspector = Inspector { time_limit: Duration::from_secs(2), ..inspector };
        let error = ask(&inspector).expect_err("nonsense");
        assert!(
            matches!(error, InspectError::TimedOut { .. } | InspectError::Answer(AnswerError::TooLong)),
            "{body}: {error:?}"
        );
    }
}

#[test]
fn a_cancel_ends_a_child_at_once() {
    let (_directory, inspector) = script("exec sleep 1000");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let start = Instant::now();
    let disk = File::open("/dev/null").expect("open");
    assert!(matches!(inspector.free_space(disk, DISK_BYTES, 512, &cancel), Err(InspectError::Cancelled)));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_child_that_lingers_after_its_answer_is_not_waited_for() {
    let (directory, inspector) = script("cat \"${0%/*}/answer\"; exec >&- 2>&-; exec sleep 1000");
    fs::write(directory.path().join("answer"), encoded(space())).expect("write");
    assert_eq!(ask(&inspector).expect("an answer"), space());
}

#[test]
fn a_disk_that_could_be_written_is_not_handed_out() {
    let (directory, inspector) = script("touch \"${0%/*}/ran\"");
    let disk = OpenOptions::new().read(true).write(true).open("/dev/null").expect("open");
    let error = inspector.free_space(disk, DISK_BYTES, 512, &CancellationToken::new()).expect_err("writable");
    assert!(matches!(error, InspectError::Writable));
    assert!(!directory.path().join("ran").exists());
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    assert!(matches!(ask(&Inspector::new(Path::new("/nonexistent"))), Err(InspectError::Start { .. })));
}

#[test]
fn ranges_that_cannot_be_are_refused() {
    let with = |ranges: &[std::ops::Range<u64>]| {
        let answer = encoded(FreeSpace { ranges: ranges.to_vec(), ..space() });
        parse(&answer, DISK_BYTES).map(|(_, space)| space.ranges)
    };
    let end = DISK_BYTES - MIB;
    assert_eq!(with(&[MIB..end]).expect("just fits"), [MIB..end]);
    for ranges in [
        &[MIB - 1..2 * MIB][..],
        &[MIB..end + 1],
        &[MIB..u64::MAX],
        &[2 * MIB..2 * MIB],
        &[std::ops::Range { start: 3 * MIB, end: 2 * MIB }],
        &[4 * MIB..5 * MIB, 2 * MIB..3 * MIB],
        &[2 * MIB..4 * MIB, 3 * MIB..5 * MIB],
    ] {
        assert!(matches!(with(ranges), Err(AnswerError::Range { .. })), "{ranges:?}");
    }
}

#[test]
fn an_answer_that_is_cut_or_goes_on_is_refused() {
    let answer = encoded(space());
    for len in 0..answer.len() {
        parse(&answer[..len], DISK_BYTES).expect_err("cut");
    }
    parse(&[&answer[..], b"x"].concat(), DISK_BYTES).expect_err("longer");
    parse(&u32::MAX.to_le_bytes(), DISK_BYTES).expect_err("a length of 4 GiB");
    let note = space().notes[0].clone();
    let many = FreeSpace { ranges: Vec::new(), notes: vec![note; 129] };
    assert!(matches!(parse(&encoded(many), DISK_BYTES), Err(AnswerError::Volumes { count: 129 })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_child_answers_ranges_lie_on_the_disk(damage in vec((any::<usize>(), any::<u8>()), 1..20)) {
        let mut answer = encoded(space());
        for (at, byte) in damage {
            let at = at % answer.len();
            answer[at] = byte;
        }
        if let Ok((_, space)) = parse(&answer, DISK_BYTES) {
            prop_assert!(space.ranges.iter().all(|range| range.start < range.end && range.end <= DISK_BYTES - MIB));
            prop_assert!(space.ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
