//! A verification finds what is wrong on a disk, and where.

use std::num::NonZeroUsize;

use nix::errno::Errno;
use tokio_util::sync::CancellationToken;

use super::image::{GROUP, Image};
use crate::disk::mem::{Call, Fault, MemDevice};
use crate::image::group::{GroupSize, Layout};
use crate::provision::error::ProvisionError;
use crate::provision::progress::{Counters, Stage};
use crate::provision::verify::{Expectation, VerifyJob};
use crate::reason::{DomainError as _, Reason};

/// More than two runs, of which the last is not whole, with a last group that is not whole either.
const LEN: usize = (9 << 20) + 77;

fn image() -> Image {
    Image::new(LEN, &[5, 70, 71])
}

/// A disk that holds the image, with something behind it.
fn device(image: &Image) -> MemDevice {
    let mut content = image.content.clone();
    content.resize(10 << 20, 0xee);
    MemDevice::new(content, 512)
}

fn verify(device: &MemDevice, expectation: &Expectation) -> (Result<blake3::Hash, ProvisionError>, Counters) {
    let counters = Counters::default();
    let cancel = CancellationToken::new();
    let workers = NonZeroUsize::new(2).expect("two");
    let result = VerifyJob { device, expectation, workers, counters: &counters, cancel: &cancel }.run();
    (result, counters)
}

fn root(image: &Image) -> Expectation {
    Expectation::Root(image.layout, *blake3::hash(&image.content).as_bytes())
}

#[test]
fn a_right_disk_is_right_by_tree_and_by_root() {
    let image = image();
    let other_groups = Layout::new(LEN as u64, GroupSize::default());
    let by_other_groups = Expectation::Root(other_groups, *blake3::hash(&image.content).as_bytes());
    for expectation in [Expectation::Tree(image.tree()), root(&image), by_other_groups] {
        let (result, counters) = verify(&device(&image), &expectation);
        assert_eq!(result.expect("right"), blake3::hash(&image.content));
        let progress = counters.progress();
        assert_eq!((progress.verified_bytes, progress.total_bytes), (LEN as u64, LEN as u64));
        assert_eq!(counters.stage(), Stage::Done);
    }
}

#[test]
fn every_flip_is_found_with_the_offset_of_its_group() {
    let image = image();
    let device = device(&image);
    // Both ends of the disk and of groups, a hole, the last group; two in one group.
    let at = [0, 65_535, 65_536, 5 << 16, (71 << 16) + 9, 4 << 20, (64 << 16) - 1, LEN - 1, LEN - 2, 3 << 20];
    device.edit(|content| at.iter().for_each(|&at| content[at] ^= 0x10));
    let mut groups: Vec<_> = at.iter().map(|&at| at as u64 / GROUP).collect();
    groups.sort_unstable();
    groups.dedup();
    let (result, counters) = verify(&device, &Expectation::Tree(image.tree()));
    let error = result.expect_err("wrong");
    assert_eq!(error.reason(), Reason::DiskMismatch);
    let offsets: Vec<_> = groups.iter().map(|group| (group * GROUP).to_string()).collect();
    assert_eq!(error.metadata()[1..], [("groups", groups.len().to_string()), ("offsets", offsets.join(","))]);
    assert_eq!(counters.progress().verified_bytes, LEN as u64, "all was read");
}

#[test]
fn a_single_flip_anywhere_is_found_by_the_root() {
    let image = image();
    for at in [0, 1 << 20, 5 << 16, LEN - 1] {
        let device = device(&image);
        device.edit(|content| content[at] ^= 1);
        let error = verify(&device, &root(&image)).0.expect_err("wrong");
        assert_eq!(error.reason(), Reason::DiskMismatch);
        assert!(matches!(error, ProvisionError::Mismatch { groups: 0, .. }), "nobody knows which");
    }
}

#[test]
fn what_lies_behind_the_image_does_not_matter() {
    let image = image();
    let device = device(&image);
    device.edit(|content| content[LEN] ^= 1);
    assert!(verify(&device, &Expectation::Tree(image.tree())).0.is_ok());
}

#[test]
fn more_wrong_groups_than_are_named_are_counted() {
    let image = Image::new(20 << 20, &[]);
    let device = MemDevice::new(vec![0; 20 << 20], 512);
    let error = verify(&device, &Expectation::Tree(image.tree())).0.expect_err("wrong");
    let ProvisionError::Mismatch { offsets, groups, .. } = error else { panic!("{error:?}") };
    assert_eq!((offsets.len(), groups), (256, 320));
    assert_eq!(offsets.first().zip(offsets.last()), Some((&0, &(255 * GROUP))));
}

#[test]
fn a_disk_that_is_too_short_is_not_read() {
    let image = image();
    let device = MemDevice::new(image.content[..9 << 20].to_vec(), 512);
    for expectation in [Expectation::Tree(image.tree()), root(&image)] {
        let error = verify(&device, &expectation).0.expect_err("short");
        assert_eq!(error.reason(), Reason::DiskMismatch);
    }
    assert_eq!(device.calls(Call::Read), 0);
}

#[test]
fn a_read_error_is_told_as_such() {
    let image = image();
    for (errno, reason) in [(Errno::EIO, Reason::DiskIo), (Errno::ENODEV, Reason::DiskGone)] {
        for nth in 0..3 {
            let device = device(&image);
            device.inject(Call::Read, nth, Fault::Errno(errno));
            let error = verify(&device, &Expectation::Tree(image.tree())).0.expect_err("unreadable");
            assert_eq!(error.reason(), reason);
        }
    }
}

#[test]
fn a_cancel_ends_it() {
    let image = image();
    let device = device(&image);
    let (cancel, counters) = (CancellationToken::new(), Counters::default());
    let also = cancel.clone();
    device.before(Call::Read, 0, move || also.cancel());
    let expectation = root(&image);
    let job = VerifyJob {
        device: &device,
        expectation: &expectation,
        workers: NonZeroUsize::MIN,
        counters: &counters,
        cancel: &cancel,
    };
    assert_eq!(job.run().expect_err("cancelled").reason(), Reason::OperationCancelled);
    assert_eq!(device.calls(Call::Read), 1);
    assert_eq!(device.events(), [], "nothing is ever written");
}

#[test]
fn a_panic_is_an_error() {
    let image = image();
    let device = device(&image);
    device.before(Call::Read, 1, || panic!("a defect"));
    let error = verify(&device, &Expectation::Tree(image.tree())).0.expect_err("lost");
    assert_eq!(error.reason(), Reason::Internal);
}
