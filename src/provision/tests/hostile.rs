//! Sources that are wrong, by accident or on purpose: each is refused with its reason, and nothing of what was refused is
//! on the disk.

use super::image::{GROUP, Image, noise, part};
use super::rig::{Rig, Step, push, small};
use crate::image::group::ChainingValue;
use crate::provision::error::ProvisionError;
use crate::provision::feed::{Encoding, FeedEvent, Offered};
use crate::provision::plan::Options;
use crate::reason::Reason;

/// Groups 16 to 31 lie between the two parts of the boot region; 20 and 21 are holes.
const LEN: usize = 3 << 20;

fn rig() -> Rig {
    Rig::new(Image::new(LEN, &[20, 21]), 4 << 20, 512)
}

/// An install whose source offers everything, tells `events`, and then waits.
fn refused(events: Vec<FeedEvent>, reason: Reason) -> Rig {
    let rig = rig();
    let mut steps: Vec<_> = rig.image.offers(0..48).into_iter().map(Step::Tell).collect();
    steps.extend(events.into_iter().map(Step::Tell));
    // What is not yet a run is flushed by data that does not follow it.
    steps.push(Step::Tell(rig.image.data(0..1, Encoding::Raw)));
    steps.push(Step::Tell(rig.image.data(40..41, Encoding::Raw)));
    steps.push(Step::Wait);
    rig.check_failure(&rig.install(steps), reason);
    rig
}

/// Whether the bytes of groups are still the old ones.
fn is_untouched(rig: &Rig, groups: std::ops::Range<u64>) -> bool {
    let bytes = small(groups.start * GROUP..groups.end * GROUP);
    rig.device.content()[bytes.clone()] == rig.old[bytes]
}

#[test]
fn bytes_that_do_not_match_are_refused_and_not_written() {
    let image = rig().image;
    for (group, bit) in [(16u64, 0usize), (17, 77_777), (31, 8 * 65_536 - 1)] {
        for compressed in [false, true] {
            let mut bytes = image.bytes(group..group + 1).to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (encoding, payload) = if compressed {
                (Encoding::Zstd, zstd::bulk::compress(&bytes, 1).expect("compressed"))
            } else {
                (Encoding::Raw, bytes)
            };
            let rig = refused(vec![part(group..group + 1, encoding, payload)], Reason::GroupDigestMismatch);
            assert!(is_untouched(&rig, group..group + 1));
        }
    }
}

#[test]
fn one_wrong_group_keeps_the_whole_run_from_the_disk() {
    let image = rig().image;
    let mut bytes = image.bytes(22..30).to_vec();
    *bytes.last_mut().expect("some") ^= 1;
    let events = vec![image.data(16..20, Encoding::Raw), part(22..30, Encoding::Raw, bytes)];
    assert!(is_untouched(&refused(events, Reason::GroupDigestMismatch), 22..30));
}

#[test]
fn groups_in_each_others_place_are_refused() {
    let image = rig().image;
    let event = part(16..17, Encoding::Raw, image.bytes(17..18).to_vec());
    assert!(is_untouched(&refused(vec![event], Reason::GroupDigestMismatch), 16..18));
}

#[test]
fn payloads_that_are_not_their_groups_are_refused() {
    let image = rig().image;
    let raw = |len: usize| (Encoding::Raw, noise(9, len));
    let zstd = |bytes: &[u8]| (Encoding::Zstd, zstd::bulk::compress(bytes, 1).expect("compressed"));
    let whole = zstd::bulk::compress(image.bytes(16..18), 1).expect("compressed");
    let bomb = zstd(&vec![0; 512 << 20]);
    assert!(bomb.1.len() < 64 << 10, "half a GiB in {} bytes", bomb.1.len());
    let payloads = [
        raw(0),
        raw(131_071),
        raw(131_073),
        raw(65_536),
        zstd(&[]),
        zstd(image.bytes(16..17)),
        zstd(image.bytes(16..19)),
        bomb,
        (Encoding::Zstd, Vec::new()),
        (Encoding::Zstd, noise(9, 1000)),
        (Encoding::Zstd, whole[..whole.len() / 2].to_vec()),
        (Encoding::Zstd, whole[..whole.len() - 1].to_vec()),
        (Encoding::Zstd, [whole.as_slice(), b"garbage"].concat()),
    ];
    for (encoding, payload) in payloads {
        let rig = refused(vec![part(16..18, encoding, payload)], Reason::GroupDataMalformed);
        assert!(is_untouched(&rig, 16..18));
    }
}

#[test]
fn data_for_a_hole_is_refused() {
    let image = rig().image;
    refused(vec![image.data(20..21, Encoding::Raw)], Reason::GroupNotOffered);
    refused(vec![part(20..22, Encoding::Raw, noise(9, 2 * 65_536))], Reason::GroupNotOffered);
}

#[test]
fn data_before_its_offer_is_refused() {
    let rig = rig();
    let steps = vec![
        Step::Tell(rig.image.data(16..20, Encoding::Raw)),
        Step::Tell(rig.image.data(30..31, Encoding::Raw)),
        Step::Wait,
    ];
    rig.check_failure(&rig.install(steps), Reason::GroupNotOffered);
    assert!(is_untouched(&rig, 16..32));
}

#[test]
fn offers_that_contradict_each_other_are_refused() {
    let holes = |first, count| FeedEvent::Offer { first, groups: Offered::Holes(count) };
    let data = |first, value| FeedEvent::Offer { first, groups: Offered::Data(vec![ChainingValue([value; 32])]) };
    for event in [holes(16, 1), holes(19, 3), data(16, 1), data(20, 1)] {
        refused(vec![event], Reason::OfferConflict);
    }
}

#[test]
fn what_lies_beyond_the_image_is_refused() {
    let image = rig().image;
    let holes = |first, count| FeedEvent::Offer { first, groups: Offered::Holes(count) };
    let bytes = image.bytes(47..48).to_vec();
    let data = |first: u64, count: u64| part(first..first.saturating_add(count), Encoding::Raw, bytes.clone());
    let events = [
        holes(48, 1),
        holes(47, 2),
        holes(u64::MAX, 1),
        holes(0, u64::MAX),
        data(48, 1),
        data(47, 2),
        data(u64::MAX - 1, 1),
        data(16, 0),
        data(0, 65),
        data(0, u64::MAX),
    ];
    for event in events {
        refused(vec![event], Reason::PushProtocol);
    }
}

#[test]
fn a_message_that_makes_no_sense_ends_the_install() {
    let error = ProvisionError::Protocol { detail: "an empty message" };
    refused(vec![FeedEvent::Broken(error)], Reason::PushProtocol);
}

#[test]
fn a_finish_before_everything_was_offered_or_sent_is_refused() {
    let image = rig().image;
    let all = || image.offers(0..48).into_iter();
    let scripts: [Vec<FeedEvent>; 4] = [
        vec![image.finish()],
        image.offers(0..47).into_iter().chain([image.finish()]).collect(),
        all().chain([image.finish()]).collect(),
        all().chain([image.data(0..16, Encoding::Raw), image.data(22..48, Encoding::Zstd), image.finish()]).collect(),
    ];
    for script in scripts {
        let rig = rig();
        rig.check_failure(&rig.install(script.into_iter().map(Step::Tell).collect()), Reason::PushIncomplete);
    }
}

#[test]
fn offers_that_are_not_those_that_were_sent_are_refused() {
    let rig = rig();
    let mut steps = push(&rig.image);
    steps.pop();
    steps.push(Step::Tell(FeedEvent::Finish { offers_digest: [0; 32] }));
    rig.check_failure(&rig.install(steps), Reason::OffersDigestMismatch);
}

#[test]
fn another_image_than_the_pinned_one_is_refused() {
    for options in [Options::default(), Options { in_place: true, wipe_rest: true }] {
        let mut rig = rig();
        rig.options = options;
        let right = rig.image.clone();
        let mut steps: Vec<_> = right.offers(0..48).into_iter().map(Step::Tell).collect();
        steps.extend(right.stretches(0..48).into_iter().filter(|groups| !right.is_hole(groups.start)).flat_map(
            |groups| (groups.start..groups.end).map(|group| Step::Tell(right.data(group..group + 1, Encoding::Raw))),
        ));
        steps.push(Step::Tell(right.finish()));
        // The caller pins the root of something else of this length.
        *rig.image.content.last_mut().expect("some") ^= 1;
        let ended = rig.install(steps);
        rig.check_failure(&ended, Reason::RootMismatch);
        assert_eq!(rig.records().load(&ended.plan.disk.identity).expect("readable"), None);
    }
}

#[test]
fn a_source_that_does_not_listen_is_no_hindrance() {
    let rig = rig();
    let mut steps: Vec<_> = rig.image.offers(0..48).into_iter().map(Step::Tell).collect();
    for groups in rig.image.stretches(0..48).into_iter().filter(|groups| !rig.image.is_hole(groups.start)) {
        steps.push(Step::Tell(rig.image.data(groups, Encoding::Zstd)));
    }
    steps.push(Step::Tell(rig.image.finish()));
    rig.check_success(&rig.install(steps));
}
