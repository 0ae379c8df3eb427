//! Cancels, panics and exchanged disks, at every stage.

use super::image::{Image, is_bootable};
use super::rig::{Rig, Step, push};
use crate::disk::marker::Marker;
use crate::disk::mem::{Call, Event};
use crate::provision::plan::Options;
use crate::reason::Reason;

fn rig() -> Rig {
    let mut rig = Rig::new(Image::new(3 << 20, &[20]), 4 << 20, 512);
    rig.options = Options { in_place: false, wipe_rest: true };
    rig.workers = 1;
    rig
}

/// Every call of a good install but the last flush and what comes after it.
fn calls() -> Vec<(Call, usize)> {
    let rig = rig();
    rig.install(push(&rig.image)).result.expect("installed");
    let all = |call, but| (0..rig.device.calls(call) - but).map(move |nth| (call, nth));
    [all(Call::Write, 0), all(Call::Zero, 0), all(Call::Flush, 0), all(Call::Read, 0)].into_iter().flatten().collect()
}

#[test]
fn a_cancel_at_any_moment_ends_in_a_defined_state() {
    let mut cancelled = 0;
    for (call, nth) in calls() {
        let rig = rig();
        let cancel = rig.cancel.clone();
        rig.device.before(call, nth, move || cancel.cancel());
        let ended = rig.install(push(&rig.image));
        // Once the boot region is being written, the install is completed.
        if ended.result.is_ok() {
            rig.check_success(&ended);
        } else {
            rig.check_failure(&ended, Reason::OperationCancelled);
            cancelled += 1;
        }
    }
    assert!(cancelled >= 10, "most moments are before the boot region is written: {cancelled}");
}

#[test]
fn a_cancel_ends_a_wait_for_a_source_that_says_nothing() {
    for told in 0..2 {
        let rig = rig();
        let mut steps = push(&rig.image);
        steps.truncate(told);
        steps.push(Step::Wait);
        let cancel = rig.cancel.clone();
        let canceller = std::thread::spawn(move || cancel.cancel());
        let ended = rig.install(steps);
        canceller.join().expect("cancelled");
        rig.check_failure(&ended, Reason::OperationCancelled);
    }
}

#[test]
fn a_cancel_before_the_first_write_leaves_the_reason_too() {
    let rig = rig();
    rig.cancel.cancel();
    let ended = rig.install(push(&rig.image));
    rig.check_failure(&ended, Reason::OperationCancelled);
}

#[test]
fn an_exchanged_disk_is_not_committed_and_not_touched_again() {
    let rig = rig();
    // The third flush covers the content; what follows is read-back and commit.
    let device = rig.device.clone();
    rig.device.before(Call::Flush, 2, move || device.replace());
    let ended = rig.install(push(&rig.image));
    assert_eq!(ended.reason(), Reason::DiskChanged);
    let content = rig.device.content();
    assert!(!is_bootable(&content));
    assert_eq!(Marker::decode(&content).expect("the first marker").reason, "", "nothing was written after it was seen");
    assert_eq!(rig.device.events().last(), Some(&Event::Flush));
}

#[test]
fn a_panic_of_a_worker_is_an_error_and_holds_nobody_up() {
    for workers in [1, 3] {
        let rig = Rig { workers, ..rig() };
        rig.device.before(Call::Zero, 0, || panic!("a defect"));
        let mut steps = push(&rig.image);
        steps.push(Step::Wait);
        rig.check_failure(&rig.install(steps), Reason::Internal);
    }
}
