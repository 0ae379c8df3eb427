//! Every decision of a plan, from tables.

use uuid::Uuid;

use super::rig::disk;
use crate::disk::discovery::{Disk, Refusal};
use crate::disk::marker::Marker;
use crate::disk::mem::MemDevice;
use crate::image::group::{GroupSize, Layout};
use crate::provision::plan::{ImageSpec, InstallPlan, Options, PlanError, Seen};
use crate::reason::{DomainError as _, Reason};

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

fn disk_of(size_bytes: u64, logical_block_size: u32) -> Disk {
    Disk { size_bytes, logical_block_size, ..disk(&MemDevice::new(vec![0; 4096], 512)) }
}

fn image(len_bytes: u64) -> ImageSpec {
    ImageSpec { layout: Layout::new(len_bytes, GroupSize::default()), root: None, logical_block_size: None }
}

fn plan(disk: &Disk, image: ImageSpec, options: Options) -> Result<InstallPlan, PlanError> {
    InstallPlan::new(Seen { disk, refusals: &[], marker: None }, image, options, 1 << 20)
}

fn marker(image: &ImageSpec) -> Marker {
    Marker {
        operation: Uuid::from_u128(1),
        image_len_bytes: image.layout.len_bytes(),
        group_size_bytes: image.layout.group_size().bytes(),
        root: image.root,
        started_at: 1,
        reason: String::new(),
    }
}

#[test]
fn what_lies_behind_the_image_is_counted_without_the_boot_region() {
    // Disk, block, image; what is kept, or else wiped.
    let table = [
        (10 * MIB, 512, 5 * MIB, 5 * MIB..9 * MIB),
        (10 * MIB, 512, 5 * MIB + 1, 5 * MIB + 512..9 * MIB),
        (10 * MIB, 4096, 5 * MIB + 1, 5 * MIB + 4096..9 * MIB),
        (10 * MIB, 512, 64 * KIB, MIB..9 * MIB),
        (10 * MIB, 512, 1, MIB..9 * MIB),
        (10 * MIB, 512, 9 * MIB, 9 * MIB..9 * MIB),
        (10 * MIB, 512, 9 * MIB - 512, 9 * MIB - 512..9 * MIB),
        (10 * MIB, 512, 9 * MIB + 512, 0..0),
        (10 * MIB, 512, 10 * MIB, 0..0),
        (10 * MIB, 512, 10 * MIB - 3, 0..0),
        (2 * MIB, 512, 512, 0..0),
        (MIB, 512, 1, 0..0),
        (512, 512, 1, 0..0),
        (512, 512, 512, 0..0),
    ];
    for (disk_bytes, block, image_bytes, rest) in table {
        let disk = disk_of(disk_bytes, block);
        let kept = plan(&disk, image(image_bytes), Options::default()).expect("it fits");
        assert_eq!(kept.kept_bytes, rest.end - rest.start, "{image_bytes} on {disk_bytes}");
        assert!(kept.wipe.is_empty());
        let wiped = plan(&disk, image(image_bytes), Options { wipe_rest: true, in_place: false }).expect("it fits");
        assert_eq!(wiped.kept_bytes, 0);
        assert_eq!(wiped.wipe.end - wiped.wipe.start, rest.end - rest.start, "{image_bytes} on {disk_bytes}");
        assert!(rest.is_empty() || wiped.wipe == rest, "{:?}", wiped.wipe);
    }
}

#[test]
fn an_image_that_does_not_suit_is_refused_with_its_numbers() {
    let disk = disk_of(10 * MIB, 4096);
    let built_for = |size| ImageSpec { logical_block_size: Some(size), ..image(MIB) };
    assert!(plan(&disk, built_for(4096), Options::default()).is_ok());
    assert!(plan(&disk, image(10 * MIB), Options::default()).is_ok());
    let error = plan(&disk, built_for(512), Options::default()).expect_err("other blocks");
    assert_eq!(error.reason(), Reason::BlockSizeMismatch);
    assert_eq!(error.metadata()[1..], [("imageBlockSize", "512".to_owned()), ("diskBlockSize", "4096".to_owned())]);
    for len in [10 * MIB + 1, u64::MAX] {
        let error = plan(&disk, image(len), Options::default()).expect_err("too large");
        assert_eq!(error.reason(), Reason::ImageTooLarge);
        assert_eq!(error.metadata()[1..], [("imageBytes", len.to_string()), ("diskBytes", (10 * MIB).to_string())]);
    }
}

#[test]
fn an_image_with_more_groups_than_memory_is_refused() {
    let disk = disk_of(10 * MIB, 512);
    let seen = Seen { disk: &disk, refusals: &[], marker: None };
    let groups = |max| InstallPlan::new(seen, image(10 * MIB), Options::default(), max);
    assert!(groups(40).is_ok());
    let error = groups(39).expect_err("too many");
    assert_eq!(error.reason(), Reason::ImageTreeTooLarge);
    assert_eq!(error.metadata()[2], ("limit", "39".to_owned()));
}

#[test]
fn a_refused_disk_is_refused_for_the_worst_reason_and_all_are_told() {
    let disk = disk_of(10 * MIB, 512);
    let refusal = |reason, detail: &str| Refusal { reason, detail: detail.to_owned() };
    let refusals = [refusal(Reason::DiskProtected, "it holds /"), refusal(Reason::DiskReadOnly, "it is read-only")];
    let seen = Seen { disk: &disk, refusals: &refusals, marker: None };
    // The disk counts more than an image that does not fit.
    let error = InstallPlan::new(seen, image(u64::MAX), Options::default(), 0).expect_err("refused");
    assert_eq!(error.reason(), Reason::DiskProtected);
    let detail = ("detail", "it holds /; it is read-only".to_owned());
    assert_eq!(error.metadata(), [("disk", "mem0".to_owned()), detail]);
}

#[test]
fn only_the_marker_of_the_same_image_makes_an_install_resume() {
    let disk = disk_of(10 * MIB, 512);
    let pinned = |root| ImageSpec { root, ..image(5 * MIB) };
    let table = [
        (marker(&pinned(None)), pinned(None), true),
        (marker(&pinned(Some([1; 32]))), pinned(Some([1; 32])), true),
        (marker(&pinned(Some([1; 32]))), pinned(Some([2; 32])), false),
        (marker(&pinned(Some([1; 32]))), pinned(None), true),
        (marker(&pinned(None)), pinned(Some([1; 32])), true),
        (marker(&image(5 * MIB + 1)), image(5 * MIB), false),
        (Marker { group_size_bytes: 64 * KIB, ..marker(&image(5 * MIB)) }, image(5 * MIB), false),
    ];
    for (marker, image, resumes) in table {
        let seen = Seen { disk: &disk, refusals: &[], marker: Some(&marker) };
        let plan = |options| InstallPlan::new(seen, image, options, 1 << 20).expect("it fits");
        assert_eq!(plan(Options::default()).in_place, resumes, "{marker:?} and {image:?}");
        assert!(plan(Options { in_place: true, wipe_rest: false }).in_place);
    }
    assert!(!plan(&disk, image(MIB), Options::default()).expect("it fits").in_place, "without a marker");
}
