//! The look into the image before it may boot, by children that do not do what they should.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::image::Image;
use super::rig::{Rig, push};
use crate::compatibility::{Case, Override, Requirements};
use crate::hardware::fact::Fact;
use crate::hardware::inventory::{Attachment, BlockDevice};
use crate::inspect::check::Checks;
use crate::inspect::child::Inspector;
use crate::inspect::examine::Request;
use crate::inspect::policy::Policy;
use crate::inspect::profile::Profile;
use crate::inspect::report::Verdicts;
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

/// Writes a program that can be run at once. A process of its own writes it: what another test starts meanwhile would inherit a
/// descriptor of this one, and a program that anybody has open for writing does not start.
fn write_program(path: &Path, text: &str) {
    let script = "printf %s \"$1\" >\"$0\" && chmod 700 \"$0\"";
    let status = Command::new("sh").args(["-c", script]).arg(path).arg(text).status().expect("sh");
    assert!(status.success(), "{status}");
}

/// A child that opens the FIFO beside it, and says nothing more.
fn silent() -> (TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let (child, fifo) = (directory.path().join("child"), directory.path().join("fifo"));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a FIFO");
    write_program(&child, "#!/bin/sh\necho begun >\"${0%/*}/fifo\"\nexec tail -f /dev/null\n");
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

/// A child that has found a system for these processors, whatever it is given.
fn knowing(architecture: Option<&str>) -> (TempDir, PathBuf) {
    let unknown = || json!({"unknown": "this child does not look"});
    let examination = json!({
        "report": {
            "os": null,
            "architecture": architecture,
            "kernels": [],
            "findings": [],
            "verdicts": Verdicts::of(&[]),
        },
        "evidence": {"disk": unknown(), "bios": unknown(), "uefi": unknown(), "kernels": unknown()},
        "os": null,
        "notes": [],
    });
    let answer = json!({"landlock": "full", "examination": examination}).to_string();
    let framed = [b"=", &u32::try_from(answer.len()).expect("short").to_le_bytes()[..], answer.as_bytes()].concat();
    let directory = tempfile::tempdir().expect("directory");
    fs::write(directory.path().join("answer"), framed).expect("write");
    let child = directory.path().join("child");
    write_program(&child, "#!/bin/sh\ncat \"${0%/*}/answer\"\nexec cat >/dev/null\n");
    (directory, child)
}

/// An image for a disk of an x86 server that no server boots from; with an override of what depends on processors, or not.
fn case(is_overridden: bool) -> Case {
    let mut case = Case::default();
    case.host.cpu.architecture = Fact::Known("x86_64".to_owned());
    let blocks = Some(512);
    case.admission.requirements = Requirements { logical_block_size: blocks, ..Requirements::default() };
    case.target = Some(BlockDevice {
        name: "loop0".to_owned(),
        size_bytes: 4 << 20,
        logical_block_size: 512,
        attachment: Attachment::Virtual,
        ..BlockDevice::default()
    });
    if is_overridden {
        case.admission.overrides = vec![Override { id: "HW-02".to_owned(), by: "user 0".to_owned() }];
    }
    case
}

#[test]
fn an_image_that_is_found_not_to_fit_never_boots_and_one_that_may_fit_warns() {
    use Reason::{CompatibilityUnknown, ImageIncompatible};
    let says = |warning: &'static str| Ok::<_, Reason>(warning);
    for (found, policy, is_overridden, expected) in [
        (Some("x86_64"), Policy::Require, false, says("")),
        (Some("x86_64"), Policy::Require, true, says("")),
        (None, Policy::Require, false, Err(CompatibilityUnknown)),
        (None, Policy::Warn, false, says("whether the image fits this server is not known: HW-02")),
        (None, Policy::Require, true, says("HW-02 was overridden by user 0")),
        (Some("aarch64"), Policy::Require, false, Err(ImageIncompatible)),
        (Some("aarch64"), Policy::Warn, false, Err(ImageIncompatible)),
        (Some("aarch64"), Policy::Warn, true, says("HW-02 was overridden by user 0: the image is for aarch64")),
    ] {
        let (_directory, child) = knowing(found);
        let mut rig = rig(policy, &child);
        let inspection = rig.inspection.as_mut().expect("it looks");
        (inspection.request.checks, inspection.case) = (Arc::new(Checks::default()), case(is_overridden));
        let ended = rig.install(push(&rig.image));
        let what = format!("{found:?} {policy:?} {is_overridden}");
        match expected {
            Err(reason) => rig.check_failure(&ended, reason),
            Ok(warning) => {
                rig.check_success(&ended);
                let mut warnings = ended.result.expect("installed").warnings;
                // No kernel reads the partition table of memory.
                warnings.retain(|told| !told.contains("partition table"));
                assert_eq!(warnings.is_empty(), warning.is_empty(), "{what}: {warnings:?}");
                assert!(warnings.iter().all(|told| told.contains(warning)), "{what}: {warnings:?}");
            }
        }
    }
}
