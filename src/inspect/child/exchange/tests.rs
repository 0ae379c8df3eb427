//! The parent against children that do not keep to what was agreed. The real child is tested in `tests/inspect`.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::inspect::check::Checks;
use crate::inspect::child::tests::write_program;
use crate::inspect::child::wire::{Line, WireError};
use crate::inspect::child::{Found, InspectError, Inspector};
use crate::inspect::evidence::BootEvidence;
use crate::inspect::examine::{Examination, Request};
use crate::inspect::facts::Known;
use crate::inspect::profile::Profile;
use crate::inspect::report::{Report, Verdicts};
use crate::inspect::sandbox::Landlock;

/// An inspector whose child is a shell script. `want N` asks for N bytes at offset 0.
fn script(body: &str) -> (TempDir, Inspector) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("child");
    let want = "want() { printf '?\\0\\0\\0\\0\\0\\0\\0\\0'; printf \"\\\\x$(printf %02x $(($1 & 255)))\\\\x$(printf %02x \
                $((($1 >> 8) & 255)))\\\\x$(printf %02x $((($1 >> 16) & 255)))\\\\0\"; }";
    write_program(&path, &format!("#!/bin/bash\n{want}\n{body}\n"));
    let inspector = Inspector { executable: path, time_limit: Duration::from_secs(20) };
    (directory, inspector)
}

fn request() -> Request {
    Request {
        logical_block_size: None,
        profile: Profile::default(),
        checks: Arc::new(Checks::default()),
        devices: Vec::new(),
    }
}

fn ask(inspector: &Inspector) -> Result<Examination, InspectError> {
    inspector.examine(&vec![7; 4 << 20], &request(), &CancellationToken::new())
}

#[test]
fn a_child_gets_its_request_and_the_bytes_that_it_wants_and_no_others() {
    let expected = [&serde_json::to_vec(&request()).expect("JSON"), &b"+\x07\x07\x07\x07\x07"[..]].concat();
    let body = format!("head -c 4 > /dev/null; want 5; head -c {} > \"${{0%/*}}/heard\"; exit 3", expected.len());
    let (directory, inspector) = script(&body);
    let error = ask(&inspector).expect_err("no answer");
    assert!(matches!(&error, InspectError::Died { status, .. } if status.code() == Some(3)), "{error:?}");
    let heard = fs::read(directory.path().join("heard")).expect("heard");
    assert_eq!(heard, expected);
}

#[test]
fn bytes_beyond_the_disk_are_refused() {
    let beyond = "printf '?\\0\\0\\0\\0\\1\\0\\0\\0\\5\\0\\0\\0'";
    let request_bytes = 4 + serde_json::to_vec(&request()).expect("JSON").len();
    let body = format!("head -c {request_bytes} > /dev/null; {beyond}; head -c 1 > \"${{0%/*}}/heard\"; exit 3");
    let (directory, inspector) = script(&body);
    ask(&inspector).expect_err("no answer");
    assert_eq!(fs::read(directory.path().join("heard")).expect("heard"), b"-");
}

#[test]
fn what_is_no_message_or_too_long_ends_a_child() {
    for (body, expected) in [
        ("echo hello", WireError::Form),
        ("printf '=\\1\\0\\0\\0x='; sleep 9", WireError::Form),
        ("printf '=\\0\\0\\0\\1'; sleep 9", WireError::TooLong { len: 1 << 24 }),
        ("printf '?\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1'; sleep 9", WireError::TooLong { len: 1 << 24 }),
    ] {
        let (_directory, inspector) = script(body);
        let error = ask(&inspector).expect_err(body);
        assert!(matches!(error, InspectError::Wire(wire) if wire == expected), "{body}: {error:?}");
    }
}

#[test]
fn an_answer_that_is_no_examination_is_refused() {
    for answer in ["{}", "nonsense", "{\"landlock\":\"full\"}"] {
        let len = answer.len();
        let (_directory, inspector) = script(&format!("printf '=\\x{len:02x}\\0\\0\\0%s' '{answer}'"));
        assert!(matches!(ask(&inspector), Err(InspectError::Examination(_))), "{answer}");
    }
}

#[test]
fn what_a_child_says_of_an_image_is_made_printable_and_short() {
    let said = "\u{1b}[31m".repeat(1000);
    let evidence = BootEvidence { uefi: Known::Is(Some(said.clone())), ..BootEvidence::unknown(&said) };
    let report =
        Report { os: Some(said), architecture: None, kernels: vec![], findings: vec![], verdicts: Verdicts::of(&[]) };
    let examination = Examination { report, evidence, os: None, notes: vec![], read_bytes: 0, fetched_bytes: 0 };
    let found = serde_json::to_vec(&Found { landlock: Landlock::Full, examination }).expect("JSON");
    let mut answer = Vec::new();
    Line::new(io::empty(), &mut answer).answer(&found).expect("memory");
    let (directory, inspector) = script("cat \"${0%/*}/answer\"");
    fs::write(directory.path().join("answer"), answer).expect("write");
    let Examination { report, evidence, .. } = ask(&inspector).expect("an answer");
    let BootEvidence {
        disk: Known::Unknown(disk),
        bios: Known::Unknown(bios),
        uefi: Known::Is(Some(uefi)),
        kernels: Known::Unknown(kernels),
    } = evidence
    else {
        panic!("it is what was said")
    };
    for text in [disk, bios, uefi, kernels, report.os.expect("said")] {
        assert!(text.starts_with("\\u{1b}[31m") && text.len() < 400, "{text:?}");
    }
}

#[test]
fn a_child_that_hangs_or_does_not_listen_is_killed() {
    for body in ["exec sleep 1000", "want 1000000; exec sleep 1000", "exec 3>&1; exec yes >&2"] {
        let (_directory, inspector) = script(body);
        let inspector = Inspector { time_limit: Duration::from_millis(500), ..inspector };
        assert!(matches!(ask(&inspector), Err(InspectError::TimedOut { .. })), "{body}");
    }
}

#[test]
fn a_cancel_ends_a_child_at_once_and_a_missing_program_is_an_error() {
    let (_directory, inspector) = script("exec sleep 1000");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let start = Instant::now();
    let answer = inspector.examine(&vec![0; 512], &request(), &cancel);
    assert!(matches!(answer, Err(InspectError::Cancelled)));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(matches!(ask(&Inspector::new(Path::new("/nonexistent"))), Err(InspectError::Start { .. })));
}
