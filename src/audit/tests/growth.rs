//! The ring of files.

use std::fs;

use super::{Damage, LINE_BYTES, Log, begin, name};

#[test]
fn the_chain_goes_on_over_files_and_the_oldest_is_removed() {
    let log = Log::new();
    let audit = log.open_small(3 * LINE_BYTES, 4);
    for number in 1..=40 {
        audit.append(&begin(number)).expect("written");
        let verified = log.verify().expect("whole after every line");
        assert_eq!(verified.last_seq, number);
        assert!(verified.files <= 4);
    }
    let files: Vec<_> = log.files().iter().map(|file| name(file)).collect();
    let verified = log.verify().expect("whole");
    assert_eq!(files[0], format!("audit-{:020}.jsonl", verified.first_seq));
    assert!(verified.first_seq > 1 && verified.lines == 41 - verified.first_seq, "{verified:?}");
    assert!(log.files().iter().all(|file| fs::metadata(file).expect("there").len() <= 3 * LINE_BYTES));
    // Also for an agent that comes back, with whatever limits it has.
    drop(audit);
    let audit = log.open_small(LINE_BYTES, 2);
    audit.append(&begin(41)).expect("written");
    assert_eq!(log.files().len(), 2);
    assert_eq!(log.verify().expect("whole").last_seq, 41);
}

#[test]
fn of_a_ring_the_first_line_needs_none_before_it_and_all_others_do() {
    let log = Log::new();
    let audit = log.open_small(2 * LINE_BYTES, 3);
    (1..=20).for_each(|number| audit.append(&begin(number)).expect("written"));
    let first = log.verify().expect("whole").first_seq;
    fs::remove_file(&log.files()[1]).expect("removed");
    let (_, _, what) = log.damage();
    assert!(
        matches!(what, Damage::MissingFile { expected, found } if first < expected && expected < found),
        "{what:?}"
    );
}

#[test]
fn other_files_in_the_directory_are_left_alone() {
    let log = Log::written(2, 10);
    fs::write(log.dir().join("README"), "moved here by somebody").expect("written");
    log.open().append(&begin(3)).expect("written");
    assert_eq!(log.verify().expect("whole").lines, 3);
    assert!(log.dir().join("README").exists());
}
