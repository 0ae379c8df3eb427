//! A capture gives what is on the disk, and nothing of what is free; what it cannot read it names.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;

use nix::errno::Errno;
use tokio_util::sync::CancellationToken;

use super::image::noise;
use crate::disk::mem::{Call, Fault, MemDevice};
use crate::image::group::{GroupSize, Layout, is_zero};
use crate::image::scan::Piece;
use crate::provision::capture::{CaptureJob, FreeMap, Sink};
use crate::provision::error::ProvisionError;
use crate::provision::progress::{Counters, Progress, Stage};
use crate::reason::{DomainError as _, Reason};

const GROUP: u64 = 64 << 10;
const RUN: u64 = 4 << 20;
/// More than two runs, the last group of which is short.
const LEN: u64 = (9 << 20) + 4096;

/// A disk full of somebody's bytes, but for two groups and a bit of zeroes.
fn device(block: u32) -> MemDevice {
    let mut content = noise(3, small(LEN));
    content[small(5 * GROUP)..small(7 * GROUP) + 9].fill(0);
    MemDevice::new(content, block)
}

fn layout() -> Layout {
    Layout::new(LEN, GroupSize::new(GROUP).expect("valid"))
}

fn small(bytes: u64) -> usize {
    usize::try_from(bytes).expect("small")
}

#[derive(Debug)]
struct Captured {
    content: Vec<u8>,
    progress: Progress,
}

/// Captures a disk, and checks that each group comes once, and is what it is said to be.
fn capture(device: &MemDevice, free: &[Range<u64>], workers: usize) -> Result<Captured, ProvisionError> {
    let (counters, layout) = (Counters::default(), layout());
    let content = Mutex::new((vec![0_u8; small(LEN)], vec![false; small(layout.groups())]));
    let sink = |piece: &Piece| {
        let mut content = content.lock().expect("no panic");
        let (first, count) = match piece {
            Piece::Hole { first, count } => (*first, *count),
            Piece::Data { first, chaining_values, .. } => (*first, chaining_values.len() as u64),
        };
        for group in first..first + count {
            assert!(!std::mem::replace(&mut content.1[small(group)], true), "group {group} came twice");
        }
        if let Piece::Data { chaining_values, content: data, .. } = piece {
            assert!(data.len() as u64 <= RUN);
            for ((group, value), data) in (first..).zip(chaining_values).zip(data.chunks(small(GROUP))) {
                assert!(!is_zero(data), "group {group} is a hole");
                assert_eq!(*value, layout.chaining_value(group, data), "group {group}");
            }
            let start = small(first * GROUP);
            content.0[start..start + data.len()].copy_from_slice(data);
        }
        Ok(())
    };
    Job { device, free, workers, counters: &counters, cancel: &CancellationToken::new() }.run(&sink)?;
    let (content, seen) = content.into_inner().expect("no panic");
    assert!(seen.into_iter().all(|seen| seen), "every group came");
    assert_eq!(counters.stage(), Stage::Read);
    assert_eq!(device.events(), [], "nothing is ever written");
    Ok(Captured { content, progress: counters.progress() })
}

struct Job<'a> {
    device: &'a MemDevice,
    free: &'a [Range<u64>],
    workers: usize,
    counters: &'a Counters,
    cancel: &'a CancellationToken,
}

impl Job<'_> {
    fn run(&self, sink: &Sink<'_, ProvisionError>) -> Result<(), ProvisionError> {
        let free = FreeMap::new(self.free.to_vec(), LEN);
        let workers = NonZeroUsize::new(self.workers).expect("some");
        let Self { device, counters, cancel, .. } = *self;
        CaptureJob { device, layout: layout(), free: &free, workers, counters, cancel }.run(sink)
    }
}

/// Captures a disk with one worker.
fn capture_to(device: &MemDevice, free: &[Range<u64>], sink: &Sink<'_, ProvisionError>) -> Result<(), ProvisionError> {
    let (counters, cancel) = (Counters::default(), CancellationToken::new());
    Job { device, free, workers: 1, counters: &counters, cancel: &cancel }.run(sink)
}

#[test]
fn without_free_space_the_image_is_the_disk() {
    for (block, workers) in [(512, 1), (512, 3), (4096, 2)] {
        let device = device(block);
        let Captured { content, progress } = capture(&device, &[], workers).expect("readable");
        assert!(content == device.content());
        assert_eq!((progress.total_bytes, progress.read_bytes, progress.hole_bytes), (LEN, LEN, 2 * GROUP));
    }
}

#[test]
fn what_is_free_is_zero_in_the_image_and_whole_groups_of_it_are_not_even_read() {
    // Parts of groups, whole groups, whole runs, up to the very end; and a range that is no multiple of anything.
    let free = [10..4096, 3 * GROUP - 5..5 * GROUP + 1, 70 * GROUP..141 * GROUP, 143 * GROUP..LEN];
    for block in [512, 4096] {
        let device = device(block);
        let Captured { content, progress } = capture(&device, &free, 2).expect("readable");
        let mut expected = device.content();
        free.iter().for_each(|range| expected[small(range.start)..small(range.end)].fill(0));
        assert!(content == expected);
        assert_eq!(progress.read_bytes, LEN);
        let holes = expected.chunks(small(GROUP)).filter(|group| is_zero(group)).map(|group| group.len() as u64);
        assert_eq!(progress.hole_bytes, holes.sum::<u64>());
        for read in device.reads() {
            for skipped in [3 * GROUP..5 * GROUP, 70 * GROUP..141 * GROUP, 143 * GROUP..LEN] {
                assert!(read.end <= skipped.start || skipped.end <= read.start, "{read:?} of {skipped:?} was read");
            }
        }
    }
}

#[test]
fn reads_are_runs_of_4_mib() {
    let device = device(512);
    capture(&device, &[], 1).expect("readable");
    assert_eq!(device.reads(), [0..RUN, RUN..2 * RUN, 2 * RUN..LEN]);
}

#[test]
fn a_disk_that_is_all_free_is_one_hole() {
    let device = device(512);
    let pieces = Mutex::new(Vec::new());
    let keep = |piece: &Piece| {
        pieces.lock().expect("no panic").push(piece.clone());
        Ok(())
    };
    capture_to(&device, &[0..LEN], &keep).expect("readable");
    assert_eq!(pieces.into_inner().expect("no panic"), [Piece::Hole { first: 0, count: 145 }]);
    assert_eq!(device.reads(), []);
}

#[test]
fn the_first_block_that_cannot_be_read_is_named() {
    for block in [512, 4096_u32] {
        let bytes = u64::from(block);
        for bad in [0, 5 * bytes, RUN - bytes, RUN, 2 * RUN + 7 * bytes, LEN - bytes] {
            let device = device(block);
            device.make_unreadable(bad..bad + bytes);
            let error = capture(&device, &[], 2).expect_err("unreadable");
            assert_eq!(error.reason(), Reason::CaptureUnreadable);
            let metadata =
                [("disk", "mem0".to_owned()), ("offset", bad.to_string()), ("lba", (bad / bytes).to_string())];
            assert_eq!(error.metadata(), metadata);
        }
    }
}

#[test]
fn of_several_bad_blocks_of_a_run_the_first_is_named() {
    let device = device(512);
    device.make_unreadable(90_000..300_000);
    let error = capture(&device, &[], 1).expect_err("unreadable");
    assert_eq!(error.metadata()[1], ("offset", (90_000 / 512 * 512).to_string()));
}

#[test]
fn a_bad_block_in_free_space_harms_nobody() {
    // One in a group that is all free, one in a group of which the rest is used.
    let free = [GROUP..3 * GROUP, 20 * GROUP + 512..20 * GROUP + 1536];
    let device = device(512);
    device.make_unreadable(2 * GROUP..2 * GROUP + 512);
    device.make_unreadable(20 * GROUP + 512..20 * GROUP + 1024);
    let mut expected = device.content();
    free.iter().for_each(|range| expected[small(range.start)..small(range.end)].fill(0));
    assert!(capture(&device, &free, 2).expect("all that is used is readable").content == expected);
}

#[test]
fn a_read_that_failed_once_and_then_works_loses_nothing() {
    let device = device(512);
    device.inject(Call::Read, 1, Fault::Errno(Errno::EIO));
    assert!(capture(&device, &[], 1).expect("readable").content == device.content());
}

#[test]
fn other_errors_of_the_disk_have_their_own_reasons() {
    for (fault, reason) in [
        (Fault::Errno(Errno::ENODEV), Reason::DiskGone),
        (Fault::Errno(Errno::ENOMEM), Reason::DiskIo),
        (Fault::Short, Reason::DiskIo),
    ] {
        for nth in 0..3 {
            let device = device(512);
            device.inject(Call::Read, nth, fault);
            assert_eq!(capture(&device, &[], 2).expect_err("failed").reason(), reason);
        }
    }
}

#[test]
fn a_disk_that_was_exchanged_meanwhile_is_no_image() {
    let device = device(512);
    let also = device.clone();
    device.before(Call::Read, 2, move || also.replace());
    assert_eq!(capture(&device, &[], 2).expect_err("another disk").reason(), Reason::DiskChanged);
}

#[test]
fn a_cancel_ends_it_between_runs() {
    let (device, cancel) = (device(512), CancellationToken::new());
    let also = cancel.clone();
    device.before(Call::Read, 0, move || also.cancel());
    let job = Job { device: &device, free: &[], workers: 1, counters: &Counters::default(), cancel: &cancel };
    let error = job.run(&|_| Ok(())).expect_err("cancelled");
    assert_eq!((error.reason(), device.calls(Call::Read)), (Reason::OperationCancelled, 1));
}

#[test]
fn what_the_sink_answers_ends_it_and_is_its_error() {
    let device = device(512);
    let full = |_: &Piece| Err(ProvisionError::Protocol { detail: "the sink is full" });
    let error = capture_to(&device, &[], &full).expect_err("full");
    assert!(matches!(error, ProvisionError::Protocol { .. }), "{error}");
    assert_eq!(device.calls(Call::Read), 1);
}

#[test]
fn a_piece_that_is_kept_stays_what_it_was() {
    let (device, pieces) = (device(512), Mutex::new(Vec::new()));
    let keep = |piece: &Piece| {
        pieces.lock().expect("no panic").push(piece.clone());
        Ok(())
    };
    capture_to(&device, &[], &keep).expect("readable");
    let content = device.content();
    for piece in pieces.into_inner().expect("no panic") {
        if let Piece::Data { first, content: data, .. } = piece {
            let start = small(first * GROUP);
            assert!(content[start..start + data.len()] == data);
        }
    }
}

#[test]
fn a_panic_is_an_error() {
    let device = device(512);
    device.before(Call::Read, 1, || panic!("a defect"));
    assert_eq!(capture(&device, &[], 2).expect_err("lost").reason(), Reason::Internal);
}
