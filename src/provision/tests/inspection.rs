//! The look into the image before it may boot, by children that do not do what they should.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::image::Image;
use super::rig::{Rig, push};
use crate::compatibility::Case;
use crate::inspect::check::Checks;
use crate::inspect::child::Inspector;
use crate::inspect::examine::Request;
use crate::inspect::policy::Policy;
use crate::inspect::profile::Profile;
use crate::provision::inspection::Inspection;
use crate::reason::Reason;

fn rig(policy: Policy, child: &Path) -> Rig {
    let mut rig = Rig::new(Image::new(3 << 20, &[20]), 4 << 20, 512);
    let checks = Arc::new(Checks::built_in().expect("checks"));
    let request = Request { logical_block_size: Some(512), profile: Profile::default(), checks, devices: Vec::new() };
    rig.inspection = Some(Inspection {
        policy,
        request,
        inspector: Inspector::new(child),
        case: Case::default(),
        overridden: Vec::new(),
    });
    rig
}

/// A child that opens the FIFO beside it, and says nothing more.
fn silent() -> (TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let (child, fifo) = (directory.path().join("child"), directory.path().join("fifo"));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a FIFO");
    fs::write(&child, "#!/bin/sh\necho begun >\"${0%/*}/fifo\"\nexec tail -f /dev/null\n").expect("write");
    fs::set_permissions(&child, fs::Permissions::from_mode(0o700)).expect("permissions");
    (directory, child, fifo)
}

#[test]
fn a_look_that_fails_ends_an_install_that_requires_it_and_no_other() {
    let required = rig(Policy::Require, Path::new("/bin/false"));
    let ended = required.install(push(&required.image));
    required.check_failure(&ended, Reason::ImageUninspected);

    let warned = rig(Policy::Warn, Path::new("/bin/false"));
    let ended = warned.install(push(&warned.image));
    warned.check_success(&ended);
    let warnings = ended.result.expect("installed").warnings;
    assert!(warnings.iter().any(|warning| warning.contains("nothing is known of it")), "{warnings:?}");

    let missing = rig(Policy::Require, Path::new("/nowhere/child"));
    let ended = missing.install(push(&missing.image));
    missing.check_failure(&ended, Reason::ImageUninspected);
}

#[test]
fn a_child_that_talks_nonsense_vouches_for_nothing() {
    // It says its arguments, for ever.
    let rig = rig(Policy::Require, Path::new("/usr/bin/yes"));
    let ended = rig.install(push(&rig.image));
    rig.check_failure(&ended, Reason::ImageUninspected);
}

#[test]
fn a_cancel_ends_the_look_and_the_next_install_of_the_image_completes() {
    let (_directory, child, fifo) = silent();
    let mut rig = rig(Policy::Warn, &child);
    let cancel = rig.cancel.clone();
    let canceller = std::thread::spawn(move || {
        // The child has begun when the other end of the FIFO is opened.
        File::open(fifo).expect("open").read_to_end(&mut Vec::new()).expect("read");
        cancel.cancel();
    });
    let ended = rig.install(push(&rig.image));
    canceller.join().expect("cancelled");
    rig.check_failure(&ended, Reason::OperationCancelled);

    rig.cancel = tokio_util::sync::CancellationToken::new();
    rig.inspection = None;
    let ended = rig.install(push(&rig.image));
    rig.check_success(&ended);
}
