//! Whatever the source's order, cuts and repetitions, the image, the disk and what was on it: the same bytes end up on
//! the disk, and the counters say truly how.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use proptest::strategy::Union;

use super::image::{GROUP, Image};
use super::rig::{Rig, Step, push, stretches};
use crate::provision::feed::Encoding;
use crate::provision::plan::Options;
use crate::reason::Reason;

/// Most groups of an image here: more than a run, which has 64.
const MAX_GROUPS: u64 = 80;

/// An order in which any two groups may come: by a permutation that the seed gives.
fn order<T>(mut items: Vec<T>, seed: u64) -> Vec<T> {
    let mut state = seed | 1;
    for last in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, usize::try_from(state >> 33).expect("small") % (last + 1));
    }
    items
}

/// How a source speaks that hears no answers.
#[derive(Debug, Clone)]
struct Manner {
    offer_chunk: u64,
    offer_seed: Option<u64>,
    data_chunk: u64,
    data_seed: Option<u64>,
    compressed: bool,
    /// Everything is told this often.
    times: usize,
    /// Data follows its offers closely, instead of after all of them.
    mixed: bool,
}

fn manner() -> impl Strategy<Value = Manner> {
    let seed = || prop::option::of(any::<u64>());
    (1..=70u64, seed(), 1..=64u64, seed(), any::<bool>(), 1..=2usize, any::<bool>()).prop_map(
        |(offer_chunk, offer_seed, data_chunk, data_seed, compressed, times, mixed)| Manner {
            offer_chunk,
            offer_seed,
            data_chunk,
            data_seed,
            compressed,
            times,
            mixed,
        },
    )
}

/// The steps of such a source.
fn script(image: &Image, manner: &Manner) -> Vec<Step> {
    let encoding = if manner.compressed { Encoding::Zstd } else { Encoding::Raw };
    let shuffled =
        |items: Vec<_>, seed: Option<u64>| seed.map_or_else(|| items.clone(), |seed| order(items.clone(), seed));
    let offers = shuffled(stretches(0..image.layout.groups(), manner.offer_chunk), manner.offer_seed);
    let mut steps = Vec::new();
    for _ in 0..manner.times {
        let mut waiting = Vec::new();
        for groups in &offers {
            steps.extend(image.offers(groups.clone()).into_iter().map(Step::Tell));
            let data = groups.clone().filter(|&group| !image.is_hole(group));
            let parts = shuffled(stretches(data, manner.data_chunk), manner.data_seed);
            let parts = parts.into_iter().map(|groups| Step::Tell(image.data(groups, encoding)));
            if manner.mixed { steps.extend(parts) } else { waiting.extend(parts) }
        }
        steps.extend(match manner.data_seed {
            Some(seed) => order(waiting, seed),
            None => waiting,
        });
    }
    steps.push(Step::Tell(image.finish()));
    steps
}

/// An image of any length, and any groups of it zero.
fn image() -> impl Strategy<Value = Image> {
    let groups = prop_oneof![1..4u64, 1..MAX_GROUPS];
    let last = prop_oneof![Just(GROUP), 1..GROUP, (1..128u64).prop_map(|blocks| blocks * 512)];
    (groups, last, prop::collection::vec(any::<bool>(), 0..4), any::<u64>()).prop_map(|(groups, last, mask, holes)| {
        let len = usize::try_from((groups - 1) * GROUP + last).expect("small");
        let is_hole = |group: &u64| holes >> (group % 64) & 1 == 1 && !mask.is_empty();
        let holes: Vec<_> = (0..groups).filter(is_hole).collect();
        Image::new(len, &holes)
    })
}

/// A disk for the image: just as large, a little larger or much larger; and what to do with it.
fn rig() -> impl Strategy<Value = Rig> {
    let block = prop_oneof![Just(512u32), Just(4096u32)];
    let more = Union::new([Just(0usize).boxed(), (1..300usize).boxed(), (300..1000usize).boxed()]);
    (image(), block, more, any::<[bool; 5]>(), 1..=3usize).prop_map(|(image, block, more, flags, workers)| {
        let block_len = usize::try_from(block).expect("small");
        let len = image.content.len().next_multiple_of(block_len) + more * 4096;
        let [fast_zeroes, rotational, in_place, wipe_rest, pinned] = flags;
        let mut rig = Rig::new(image, len, block);
        if !fast_zeroes {
            rig.device = rig.device.without_fast_zeroes();
        }
        if rotational {
            rig.device = rig.device.rotational();
        }
        rig.options = Options { in_place, wipe_rest };
        rig.pinned = pinned;
        rig.workers = workers;
        rig
    })
}

/// Puts a good part of the image onto the disk beforehand.
fn lay_some_of_the_image(rig: &mut Rig, mask: u64) {
    for group in (0..rig.image.layout.groups()).filter(|group| mask >> (group % 64) & 1 == 1) {
        let bytes = rig.image.bytes(group..group + 1);
        let start = usize::try_from(group * GROUP).expect("small");
        rig.old[start..start + bytes.len()].copy_from_slice(bytes);
    }
    let old = rig.old.clone();
    rig.device.edit(|content| *content = old);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_order_and_repetition_gives_the_image(rig in rig(), manner in manner()) {
        let ended = rig.install(script(&rig.image, &manner));
        rig.check_success(&ended);
    }

    #[test]
    fn what_is_on_the_disk_already_is_not_asked_for(mut rig in rig(), mask in any::<u64>(), chunk in 1..64u64) {
        lay_some_of_the_image(&mut rig, mask);
        rig.options.in_place = true;
        let mut steps: Vec<_> = rig.image.offers(0..rig.image.layout.groups()).into_iter().map(Step::Tell).collect();
        steps.push(Step::Serve { chunk, encoding: Encoding::Zstd });
        steps.push(Step::Tell(rig.image.finish()));
        let ended = rig.install(steps);
        rig.check_success(&ended);
        assert_eq!(ended.progress.received_bytes, ended.progress.written_bytes, "nothing comes twice");
    }

    #[test]
    fn an_interrupted_push_is_completed_by_the_next(rig in rig(), manner in manner(), cut in any::<prop::sample::Index>()) {
        let mut steps = script(&rig.image, &manner);
        steps.truncate(cut.index(steps.len()));
        let first = rig.install(steps);
        rig.check_failure(&first, Reason::PushInterrupted);
        let second = rig.install(push(&rig.image));
        assert!(second.plan.in_place, "the marker is of this image");
        rig.check_success(&second);
        assert_eq!(second.progress.received_bytes, second.progress.written_bytes, "nothing comes twice");
    }
}

#[test]
fn a_push_after_a_broken_one_sends_the_boot_region_and_what_was_missing() {
    let rig = Rig::new(Image::new(6 << 20, &[20, 21]), 8 << 20, 512);
    let all = rig.image.layout.groups();
    let mut steps: Vec<_> = rig.image.offers(0..all).into_iter().map(Step::Tell).collect();
    let sent = (0..64).filter(|&group| !rig.image.is_hole(group));
    steps.extend(stretches(sent, 16).into_iter().map(|groups| Step::Tell(rig.image.data(groups, Encoding::Raw))));
    // A finish that is too early: unlike after an interruption, all that was sent is on the disk.
    steps.push(Step::Tell(rig.image.finish()));
    rig.check_failure(&rig.install(steps), Reason::PushIncomplete);
    let ended = rig.install(push(&rig.image));
    rig.check_success(&ended);
    // The boot region is groups 0 to 15 and 80 to 95; 64 to 79 were never sent.
    assert_eq!(ended.progress.received_bytes, (16 + 32) * GROUP);
    assert_eq!(ended.progress.present_bytes, (all - 2 - 48) * GROUP);
}

#[test]
fn every_group_size_and_a_single_group_work() {
    for (len, group_bytes) in [(1, GROUP), (300_001, 1 << 20), ((5 << 20) + 77, 1 << 20), ((17 << 20) + 5, 16 << 20)] {
        let rig = Rig::new(Image::with_groups(len, &[], group_bytes), 20 << 20, 4096);
        let mut steps: Vec<_> = rig.image.offers(0..rig.image.layout.groups()).into_iter().map(Step::Tell).collect();
        steps.push(Step::Serve { chunk: rig.image.layout.groups_per_run(), encoding: Encoding::Raw });
        steps.push(Step::Tell(rig.image.finish()));
        rig.check_success(&rig.install(steps));
    }
}
