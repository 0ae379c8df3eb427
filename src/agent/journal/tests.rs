//! What is noted is found again, whole or not at all, and there is room for the end.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::{Entry, Found, Journal, MAX_BYTES, Pending};
use crate::agent::pull::Pulled;
use crate::disk::discovery::Disk;
use crate::disk::fixture::Fixture;
use crate::image::group::{GroupSize, Layout};
use crate::image::manifest::ImageId;
use crate::operation::{Call, Caller, Captured, Failure, Operation, OperationKind, Outcome, Request};
use crate::provision::plan::{ImageSpec, Options};
use crate::reason::Reason;

fn disk() -> Disk {
    let fixture = Fixture::new();
    fixture.nvme("nvme0n1", "259:0", "S1");
    fixture.scan().remove(0)
}

fn operation(id: u128, kind: OperationKind) -> Operation {
    let caller = Caller { name: "me".to_owned(), role: "operator".to_owned(), fingerprint: Some("ab".to_owned()) };
    let request =
        Request { id: Uuid::from_u128(id + 1000), digest: [3; 32], caller, method: "", call: Call::default() };
    let started_at = SystemTime::UNIX_EPOCH
        + Duration::from_millis(1_764_000_000_123)
        + Duration::from_secs(u64::try_from(id).expect("small"));
    Operation::new(Uuid::from_u128(id), kind, request, "nvme0n1".to_owned(), started_at)
}

fn pending() -> Pending {
    let image = ImageSpec {
        layout: Layout::new(5 << 20, GroupSize::default()),
        root: Some([7; 32]),
        logical_block_size: Some(4096),
    };
    let source = Pulled::Repository { repository: "main".to_owned(), image: ImageId(blake3::hash(b"x")) };
    let pending = Pending::new(&image, Options { in_place: false, wipe_rest: true }, source);
    assert_eq!(pending.image(), Some(image));
    assert_eq!(pending.options(), Options { in_place: true, wipe_rest: true });
    pending.on("serial=S1".to_owned(), Some("boot".to_owned()), Some(blake3::hash(b"before")))
}

fn outcome() -> Outcome {
    let captured = Captured { image: Some(ImageId(blake3::hash(b"i"))), data_bytes: 5, ..Captured::default() };
    Outcome { disk: disk(), root: [9; 32], len_bytes: 7, warnings: vec!["a".to_owned()], captured: Some(captured) }
}

fn failure() -> Failure {
    let metadata = vec![("disk".into(), "nvme0n1".to_owned())];
    Failure { reason: Reason::RootMismatch, message: "another root".to_owned(), metadata }
}

fn end(journal: &Journal, operation: &Operation, result: &Result<Outcome, Failure>) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_999);
    journal.end(operation.id, at, &operation.snapshot(), result).expect("noted");
}

fn loaded(state_dir: &Path) -> Vec<Found> {
    Journal::open(state_dir).expect("opened").load().expect("loaded")
}

fn entry(found: &Found) -> &Entry {
    found.entry().expect("an entry that can be read")
}

#[test]
fn what_ended_is_the_same_after_a_restart() {
    for result in [Ok(outcome()), Err(failure())] {
        let dir = tempfile::tempdir().expect("directory");
        let journal = Journal::open(dir.path()).expect("opened");
        let ended = operation(1, OperationKind::Capture);
        journal.begin(Entry::new(&ended, &disk(), None)).expect("noted");
        end(&journal, &ended, &result);
        let found = loaded(dir.path());
        let revived = entry(&found[0]).revive();
        assert_eq!((revived.id, revived.kind), (ended.id, ended.kind));
        let facts = |operation: &Operation| {
            let Request { id, digest, caller, method, .. } = operation.request.clone();
            (id, digest, caller, method)
        };
        assert_eq!(facts(&revived), facts(&ended));
        assert_eq!((revived.started_at, &revived.disk), (ended.started_at, &ended.disk));
        let snapshot = revived.snapshot();
        assert!(snapshot.sequence > ended.snapshot().sequence, "whoever followed it sees the end");
        let (at, kept) = snapshot.end.as_ref().expect("it has ended");
        assert_eq!(at.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs(), 1_764_000_999);
        assert_eq!(format!("{kept:?}"), format!("{result:?}"));
        assert_eq!(fs::read_dir(dir.path().join("operations")).expect("listed").count(), 1, "no room is left over");
    }
}

#[test]
fn what_had_not_ended_is_found_until_it_does_and_its_states_count_on() {
    let dir = tempfile::tempdir().expect("directory");
    let pull = operation(1, OperationKind::Install);
    Journal::open(dir.path()).expect("opened").begin(Entry::new(&pull, &disk(), Some(pending()))).expect("noted");
    let mut sequence = pull.snapshot().sequence;
    for restart in 0..3 {
        let journal = Journal::open(dir.path()).expect("opened");
        let found = journal.load().expect("loaded");
        let entry = entry(&found[0]);
        assert_eq!((entry.has_ended(), entry.pull.as_ref()), (false, Some(&pending())), "restart {restart}");
        assert!(journal.can_go_on(pull.id));
        let revived = entry.revive();
        assert!(revived.snapshot().sequence > sequence + 1_000_000, "restart {restart}");
        sequence = revived.snapshot().sequence;
        if restart == 2 {
            end(&journal, &revived, &Ok(outcome()));
        }
    }
    assert!(entry(&loaded(dir.path())[0]).has_ended());
}

#[test]
fn what_a_user_gave_up_does_not_go_on() {
    let dir = tempfile::tempdir().expect("directory");
    let journal = Journal::open(dir.path()).expect("opened");
    let pull = operation(1, OperationKind::Install);
    journal.begin(Entry::new(&pull, &disk(), Some(pending()))).expect("noted");
    journal.give_up(pull.id).expect("noted");
    journal.give_up(pull.id).expect("twice is no harm");
    assert!(!journal.can_go_on(pull.id));
    assert_eq!(entry(&loaded(dir.path())[0]).pull, None);
    end(&journal, &pull, &Err(failure()));
    journal.give_up(pull.id).expect("after the end it says nothing");
    assert!(entry(&loaded(dir.path())[0]).has_ended());
}

#[test]
fn operations_come_oldest_first_and_those_that_are_forgotten_do_not_come() {
    let dir = tempfile::tempdir().expect("directory");
    let journal = Journal::open(dir.path()).expect("opened");
    for id in [3, 1, 2, 4] {
        journal.begin(Entry::new(&operation(id, OperationKind::Verify), &disk(), None)).expect("noted");
    }
    journal.forget(&[Uuid::from_u128(2), Uuid::from_u128(99)]).expect("forgotten");
    let ids: Vec<_> = loaded(dir.path()).iter().map(|found| entry(found).operation.as_u128()).collect();
    assert_eq!(ids, [1, 3, 4]);
}

/// Row 139 of the table of bad inputs.
#[test]
fn damaged_entries_are_told_by_name_and_others_are_read() {
    let dir = tempfile::tempdir().expect("directory");
    let journal = Journal::open(dir.path()).expect("opened");
    let good = operation(1, OperationKind::Install);
    journal.begin(Entry::new(&good, &disk(), None)).expect("noted");
    let files = dir.path().join("operations");
    let content = fs::read_to_string(files.join(format!("{}.json", good.id))).expect("read");
    let write = |id: u128, content: &str| {
        let path = files.join(format!("{}.json", Uuid::from_u128(id)));
        fs::write(&path, content).expect("written");
        path
    };
    let named = |id: u128| content.replace(&good.id.to_string(), &Uuid::from_u128(id).to_string());
    write(2, &content[..content.len() / 2]);
    write(3, &named(3).replace("\"schema\":1", "\"schema\":2"));
    write(4, &content);
    fs::File::create(write(5, "")).and_then(|file| file.set_len(1 << 30)).expect("written");
    write(6, "");
    fs::write(files.join("half.tmp"), "half").expect("written");
    fs::write(files.join("no-id.json"), &content).expect("written");
    let found = loaded(dir.path());
    let mut damaged: Vec<_> = found
        .iter()
        .filter_map(|found| match found {
            Found::Damaged { operation, .. } => Some(operation.as_u128()),
            Found::Entry(_) => None,
        })
        .collect();
    damaged.sort_unstable();
    assert_eq!(damaged, [2, 3, 4, 5, 6]);
    assert_eq!(found.iter().filter_map(Found::entry).map(|entry| entry.operation).collect::<Vec<_>>(), [good.id]);
    assert!(!files.join("half.tmp").exists() && !files.join("no-id.json").exists());
}

#[test]
fn a_journal_that_cannot_be_written_is_an_error_and_notes_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let journal = Journal::open(dir.path()).expect("opened");
    fs::remove_dir_all(dir.path().join("operations")).expect("removed");
    let verify = operation(1, OperationKind::Verify);
    journal.begin(Entry::new(&verify, &disk(), None)).expect_err("nowhere to write");
    fs::create_dir(dir.path().join("operations")).expect("made");
    assert!(!journal.can_go_on(verify.id));
    assert!(loaded(dir.path()).is_empty());
}

#[test]
fn an_end_that_is_too_long_is_noted_without_what_no_program_needs() {
    let dir = tempfile::tempdir().expect("directory");
    let journal = Journal::open(dir.path()).expect("opened");
    let long = "x".repeat(usize::try_from(MAX_BYTES).expect("small"));
    for (id, result) in [
        (1, Ok(Outcome { warnings: vec![long.clone()], ..outcome() })),
        (2, Err(Failure { message: long.clone(), metadata: vec![("a".into(), long.clone())], ..failure() })),
    ] {
        let operation = operation(id, OperationKind::Install);
        journal.begin(Entry::new(&operation, &disk(), None)).expect("noted");
        end(&journal, &operation, &result);
    }
    let found = loaded(dir.path());
    let ends: Vec<_> =
        found.iter().map(|found| entry(found).revive().snapshot().end.clone().expect("ended").1).collect();
    assert_eq!(ends[0].as_ref().expect("done").root, outcome().root);
    assert_eq!(ends[1].as_ref().expect_err("failed").reason, Reason::RootMismatch);
}
