//! The order in which things reach the disk: what is on it if the power fails at any moment.
//!
//! A crash keeps everything that the last completed flush covers, and of what came after it any part of any write.

use super::image::{Image, is_bootable, noise};
use super::rig::{Rig, Step, push};
use crate::disk::device::BlockDevice as _;
use crate::disk::marker::Marker;
use crate::disk::mem::{Call, Event, Fault};
use crate::provision::plan::Options;
use crate::reason::Reason;

/// Ways to lose a part of what was not flushed, tried for each flush.
const LOSSES: u64 = 12;

/// Does to `content` what the device did, but for the blocks that `keeps` says are lost.
fn replay(content: &mut [u8], event: &Event, block: usize, keeps: &mut impl FnMut() -> bool) {
    let (offset, data) = match event {
        Event::Flush => return,
        Event::Write { offset, data } => (*offset, data.clone()),
        Event::Zero { range } => (range.start, vec![0; usize::try_from(range.end - range.start).expect("small")]),
    };
    let offset = usize::try_from(offset).expect("small");
    for (at, blocks) in (offset..).step_by(block * 16).zip(data.chunks(block * 16)) {
        if keeps() {
            content[at..at + blocks.len()].copy_from_slice(blocks);
        }
    }
}

/// The contents that a crash may leave, with a name for each.
fn after_crashes(rig: &Rig, mut see: impl FnMut(&str, &[u8])) {
    let block = usize::try_from(rig.device.geometry().logical_block_size).expect("small");
    let events = rig.device.events();
    let (mut now, mut durable) = (rig.old.clone(), rig.old.clone());
    let mut epoch: Vec<&Event> = Vec::new();
    see("before the first write", &now);
    for (at, event) in events.iter().enumerate() {
        replay(&mut now, event, block, &mut || true);
        see(&format!("after event {at} of {}", events.len()), &now);
        epoch.push(event);
        if *event != Event::Flush && at + 1 < events.len() {
            continue;
        }
        for loss in 0..LOSSES {
            let mut coins = noise(loss ^ (at as u64) << 32, 4096).into_iter().cycle();
            let mut content = durable.clone();
            // The most that survives rises from loss to loss, so that both ends are seen.
            let mut keeps = || coins.next().is_some_and(|coin| u64::from(coin) * LOSSES / 256 <= loss);
            epoch.iter().for_each(|event| replay(&mut content, event, block, &mut keeps));
            see(&format!("loss {loss} before event {at} of {}", events.len()), &content);
        }
        durable.clone_from(&now);
        epoch.clear();
    }
}

/// What must hold after any crash: the old content untouched, or all of the new, or nothing that boots.
fn check_crashes(rig: &Rig) {
    let expected = rig.expected();
    after_crashes(rig, |when, content| {
        let whole = *content == expected[..] || *content == rig.old[..];
        assert!(whole || !is_bootable(content), "half a system boots {when}");
    });
}

fn rigs() -> Vec<Rig> {
    let mut rigs = Vec::new();
    for (block, len, in_place) in [(512, 6 << 20, false), (4096, 7 << 20, true), (512, (4 << 20) + 100 * 512, false)] {
        let mut rig = Rig::new(Image::new((4 << 20) + 1000, &[3, 40, 41, 42, 60]), len, block);
        rig.options = Options { in_place, wipe_rest: in_place };
        rigs.push(rig);
    }
    let slow = Rig::new(Image::new(300_000, &[]), 2 << 20, 512);
    rigs.push(Rig { device: slow.device.clone().without_fast_zeroes().rotational(), ..slow });
    rigs
}

#[test]
fn a_crash_leaves_the_old_disk_or_the_new_one_or_none_that_boots() {
    for rig in rigs() {
        rig.check_success(&rig.install(push(&rig.image)));
        check_crashes(&rig);
    }
}

#[test]
fn a_crash_after_a_failure_leaves_none_that_boots() {
    for (call, fault) in [(Call::Write, Fault::Short), (Call::Read, Fault::Corrupt), (Call::Flush, Fault::Corrupt)] {
        for nth in 1..8 {
            let rig = Rig::new(Image::new(3 << 20, &[20]), 4 << 20, 512);
            rig.device.inject(call, nth, fault);
            // Then what was done is undone: with everything on the disk, the last read-back fails.
            rig.device.inject(Call::Read, 2, Fault::Corrupt);
            rig.install(push(&rig.image));
            check_crashes(&rig);
        }
    }
}

#[test]
fn a_crash_while_a_finished_install_is_undone_leaves_none_that_boots() {
    let rig = Rig { workers: 1, ..Rig::new(Image::new(3 << 20, &[20]), 4 << 20, 512) };
    rig.install(push(&rig.image)).result.expect("installed");
    let reads = rig.device.calls(Call::Read);
    let rig = Rig { workers: 1, ..Rig::new(Image::new(3 << 20, &[20]), 4 << 20, 512) };
    rig.device.inject(Call::Read, reads - 1, Fault::Corrupt);
    rig.check_failure(&rig.install(push(&rig.image)), Reason::ReadBackMismatch);
    check_crashes(&rig);
}

#[test]
fn the_marker_stands_from_the_first_write_to_the_last() {
    for rig in rigs() {
        rig.install(push(&rig.image)).result.expect("installed");
        let block = usize::try_from(rig.device.geometry().logical_block_size).expect("small");
        let events = rig.device.events();
        let mut content = rig.old.clone();
        let writes = events.iter().enumerate().filter(|(_, event)| **event != Event::Flush);
        let last = writes.map(|(at, _)| at).next_back().expect("writes");
        for (at, event) in events.iter().enumerate() {
            replay(&mut content, event, block, &mut || true);
            assert_eq!(Marker::decode(&content).is_some(), at < last, "event {at} of {}", events.len());
        }
    }
}

#[test]
fn the_first_block_is_written_alone_between_two_flushes() {
    for rig in rigs() {
        rig.install(push(&rig.image)).result.expect("installed");
        let events = rig.device.events();
        let block = usize::try_from(rig.device.geometry().logical_block_size).expect("small");
        let [.., Event::Flush, Event::Write { offset: 0, data }, Event::Flush] = events.as_slice() else {
            panic!("{:?}", events.len());
        };
        assert_eq!(data.len(), block);
        let [Event::Write { offset: 0, data }, Event::Flush, ..] = events.as_slice() else { panic!("no marker first") };
        assert!(Marker::decode(data).is_some(), "the marker is durable before anything else is touched");
    }
}

#[test]
fn nothing_is_written_that_the_plan_leaves_alone() {
    let rig = Rig::new(Image::new(2 << 20, &[]), 8 << 20, 512);
    let ended = rig.install(push(&rig.image));
    assert_eq!(ended.plan.kept_bytes, 5 << 20);
    let kept = 2 << 20..7 << 20;
    for event in rig.device.events() {
        let range = match event {
            Event::Flush => continue,
            Event::Write { offset, data } => offset..offset + data.len() as u64,
            Event::Zero { range } => range,
        };
        assert!(range.end <= kept.start || range.start >= kept.end, "{range:?}");
    }
}

#[test]
fn nothing_is_written_before_the_records_can_be_kept() {
    let rig = Rig::new(Image::new(2 << 20, &[]), 4 << 20, 512);
    let records = rig.records();
    std::fs::remove_dir(rig.state_dir.path().join("installed")).expect("removed");
    let ended = rig.install_with(&records, vec![Step::Wait]);
    assert_eq!(ended.reason(), Reason::StateUnavailable);
    assert_eq!(rig.device.events(), []);
}
