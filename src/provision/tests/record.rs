//! Records come back as they were kept, or say that they are damaged.

use std::fs;
use std::os::unix::fs::symlink;

use super::image::Image;
use crate::disk::identity::Identity;
use crate::provision::record::Records;
use crate::reason::{DomainError as _, Reason};

fn identity(serial: &str) -> Identity {
    Identity { serial: Some(serial.to_owned()), wwn: None, backing_file: None, diskseq: Some(7) }
}

/// The one file of the records.
fn file(state: &tempfile::TempDir) -> std::path::PathBuf {
    let entries: Vec<_> = fs::read_dir(state.path().join("installed")).expect("listed").collect();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    entry.as_ref().expect("an entry").path()
}

#[test]
fn a_record_comes_back_for_its_disk_alone() {
    let state = tempfile::tempdir().expect("a directory");
    let records = Records::open(state.path()).expect("opened");
    let tree = Image::new(300_000, &[1]).tree();
    assert_eq!(records.load(&identity("A")).expect("readable"), None);
    records.save(&identity("A"), &tree).expect("kept");
    assert_eq!(records.load(&identity("A")).expect("readable"), Some(tree.clone()));
    assert_eq!(records.load(&identity("B")).expect("readable"), None);
    let swapped = Identity { serial: None, wwn: Some("A".to_owned()), ..identity("") };
    assert_eq!(records.load(&swapped).expect("readable"), None, "a WWN is no serial");
    let after_boot = Identity { diskseq: Some(9), ..identity("A") };
    assert_eq!(Records::open(state.path()).expect("opened").load(&after_boot).expect("readable"), Some(tree));
}

#[test]
fn a_new_record_takes_the_place_of_the_old_one() {
    let state = tempfile::tempdir().expect("a directory");
    let records = Records::open(state.path()).expect("opened");
    let (old, new) = (Image::new(300_000, &[]).tree(), Image::new(99, &[]).tree());
    records.save(&identity("A"), &old).expect("kept");
    records.save(&identity("A"), &new).expect("kept");
    assert_eq!(records.load(&identity("A")).expect("readable"), Some(new));
    file(&state);
}

#[test]
fn what_is_forgotten_is_gone_and_leaves_nothing() {
    let state = tempfile::tempdir().expect("a directory");
    let records = Records::open(state.path()).expect("opened");
    records.forget(&identity("A")).expect("nothing to forget");
    records.save(&identity("A"), &Image::new(9, &[]).tree()).expect("kept");
    records.forget(&identity("A")).expect("forgotten");
    assert_eq!(records.load(&identity("A")).expect("readable"), None);
    assert_eq!(fs::read_dir(state.path().join("installed")).expect("listed").count(), 0);
}

#[test]
fn any_damage_is_noticed() {
    let state = tempfile::tempdir().expect("a directory");
    let records = Records::open(state.path()).expect("opened");
    records.save(&identity("A"), &Image::new(200_000, &[1]).tree()).expect("kept");
    let (path, good) = (file(&state), fs::read(file(&state)).expect("read"));
    let flipped = (0..good.len()).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        bytes
    });
    let cut = [0, 1, 31, 32, 33, good.len() - 1].map(|len| good[..len].to_vec());
    // A digest that is right proves no tree.
    let no_tree = [b"no tree".as_slice(), blake3::hash(b"no tree").as_bytes()].concat();
    for bytes in flipped.chain(cut).chain([[good.as_slice(), &[0]].concat(), no_tree]) {
        fs::write(&path, &bytes).expect("damaged");
        let error = records.load(&identity("A")).expect_err("damaged");
        assert_eq!(error.reason(), Reason::VerifyNoRecord);
        assert_eq!(error.metadata(), [("path", path.display().to_string())]);
    }
}

#[test]
fn a_state_directory_that_cannot_be_used_is_told() {
    let state = tempfile::tempdir().expect("a directory");
    assert_eq!(
        Records::open(&state.path().join("installed/\0")).expect_err("no name").reason(),
        Reason::StateUnavailable
    );
    let records = Records::open(state.path()).expect("opened");
    // A link to nowhere in the place of the directory: not even root can write there.
    fs::remove_dir(state.path().join("installed")).expect("removed");
    symlink("nowhere", state.path().join("installed")).expect("linked");
    let tree = Image::new(9, &[]).tree();
    assert_eq!(records.forget(&identity("A")).expect_err("no directory").reason(), Reason::StateUnavailable);
    assert_eq!(records.save(&identity("A"), &tree).expect_err("no directory").reason(), Reason::StateUnavailable);
    assert_eq!(Records::open(state.path()).expect_err("no directory").reason(), Reason::StateUnavailable);
}
