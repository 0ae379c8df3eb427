//! A device that fails, lies or is cut short, at every single call of an install.

use nix::errno::Errno;

use super::image::{Image, is_bootable};
use super::rig::{Ended, Rig, push};
use crate::disk::mem::{Call, Event, Fault};
use crate::provision::plan::Options;
use crate::reason::Reason;

const CALLS: [Call; 4] = [Call::Read, Call::Write, Call::Zero, Call::Flush];

/// How the installs differ in which the faults strike.
const SHAPES: [(bool, bool); 3] = [(true, false), (false, false), (true, true)];

fn rig((fast_zeroes, in_place): (bool, bool)) -> Rig {
    let mut rig = Rig::new(Image::new((3 << 20) + 700, &[17, 18, 30]), 5 << 20, 512);
    if !fast_zeroes {
        rig.device = rig.device.without_fast_zeroes();
    }
    rig.options = Options { in_place, wipe_rest: true };
    rig.workers = 1;
    rig
}

fn install(rig: &Rig) -> Ended {
    rig.install(push(&rig.image))
}

/// For every call of a good install.
fn every_call(mut each: impl FnMut((bool, bool), Call, usize)) {
    for shape in SHAPES {
        let good = rig(shape);
        good.check_success(&install(&good));
        for call in CALLS {
            (0..good.device.calls(call)).for_each(|nth| each(shape, call, nth));
        }
    }
}

fn errno_reason(call: Call, errno: Errno) -> Reason {
    match (call, errno) {
        (_, Errno::ENODEV) => Reason::DiskGone,
        (_, Errno::EROFS) => Reason::DiskReadOnly,
        (Call::Flush, _) => Reason::DiskFlush,
        (_, Errno::ENOSPC) => Reason::DiskNoSpace,
        _ => Reason::DiskIo,
    }
}

#[test]
fn every_call_that_fails_once_is_an_error_with_its_reason() {
    every_call(|shape, call, nth| {
        for errno in [Errno::EIO, Errno::ENOSPC, Errno::ENODEV, Errno::EROFS] {
            let rig = rig(shape);
            rig.device.inject(call, nth, Fault::Errno(errno));
            let ended = install(&rig);
            rig.check_failure(&ended, errno_reason(call, errno));
        }
    });
}

#[test]
fn every_short_call_is_an_error() {
    every_call(|shape, call, nth| {
        if matches!(call, Call::Read | Call::Write) {
            let rig = rig(shape);
            rig.device.inject(call, nth, Fault::Short);
            rig.check_failure(&install(&rig), Reason::DiskIo);
        }
    });
}

#[test]
fn a_device_that_lies_is_found_out() {
    let (mut found, mut harmless) = (0, 0);
    every_call(|shape, call, nth| {
        let rig = rig(shape);
        rig.device.inject(call, nth, Fault::Corrupt);
        let ended = install(&rig);
        // A bit that is overwritten later, or was only read to compare, does no harm.
        if ended.result.is_ok() {
            rig.check_success(&ended);
            harmless += 1;
        } else {
            rig.check_failure(&ended, Reason::ReadBackMismatch);
            found += 1;
        }
    });
    assert!(found >= 20 && harmless >= 5, "{found} found, {harmless} harmless");
}

#[test]
fn a_device_that_fails_for_good_never_boots_half_a_system() {
    every_call(|shape, call, nth| {
        for errno in [Errno::EIO, Errno::EROFS] {
            let rig = rig(shape);
            rig.device.inject_from(call, nth, Fault::Errno(errno));
            let ended = install(&rig);
            assert_eq!(ended.reason(), errno_reason(call, errno));
            let content = rig.device.content();
            let whole = content == rig.old || content == rig.expected();
            assert!(whole || !is_bootable(&content), "{call:?} {nth}");
        }
    });
}

#[test]
fn after_a_failed_flush_nothing_counts_as_flushed() {
    let good = rig(SHAPES[0]);
    install(&good).result.expect("installed");
    for nth in 0..good.device.calls(Call::Flush) {
        let rig = rig(SHAPES[0]);
        rig.device.inject(Call::Flush, nth, Fault::Errno(Errno::EIO));
        rig.check_failure(&install(&rig), Reason::DiskFlush);
        // What comes after it is the clearing of the boot region, and its flushes, which change nothing of the result.
        let before = rig.device.events().iter().filter(|event| **event == Event::Flush).count();
        assert!(before <= nth + 2, "{before} flushes succeeded, though flush {nth} failed");
    }
}

#[test]
fn a_failed_read_of_the_disk_that_is_compared_does_not_hang_its_source() {
    let rig = rig((true, true));
    rig.device.inject_from(Call::Read, 0, Fault::Errno(Errno::EIO));
    rig.check_failure(&install(&rig), Reason::DiskIo);
}
