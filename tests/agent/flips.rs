//! Flipped bits: on the way, none reaches the disk; on the disk, each is found.

use bms_agent::image::group::is_zero;
use bms_agent::rpc::proto::v1::push_image_request::Message;
use tonic::Code;

use crate::support::client::{Client, begin, data, outcome};
use crate::support::{Daemon, Image, KIB, LoopDisk, MIB, Seed};

const GROUP: u64 = 64 * KIB;

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn none_of_200_bits_flipped_in_transit_reaches_the_disk() {
    let mut seed = Seed::new(4);
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let image = Image::dense(4 * MIB, &mut seed);
    let disk = LoopDisk::new(6 * MIB);
    let groups = image.layout.groups();
    for flip in 0..200 {
        disk.fill(&mut seed);
        let old = disk.read_all();
        let bad = seed.below(groups);
        let right: Vec<_> = (0..groups).filter(|&group| group != bad && seed.below(2) == 0).collect();

        let push = client.push(begin(&image, &disk)).await.expect("accepted");
        push.offer_all(&image).await;
        push.send_groups(&image, right.iter().copied()).await;
        push.send(Message::Data(flipped(&image, bad, &mut seed))).await;
        push.send_groups(&image, (0..groups).filter(|group| !right.contains(group))).await;
        let fault = outcome(push.end().await).expect_err("a flipped bit");

        assert_eq!((fault.code, fault.reason.as_str()), (Code::DataLoss, "GROUP_DIGEST_MISMATCH"), "flip {flip}");
        assert_eq!(fault.metadata["offset"], (bad * GROUP).to_string(), "flip {flip}");
        check_unchanged(&disk, &image, &old, bad);
        let marker = client.disk(&disk).await.interrupted_install.expect("a marker");
        assert_eq!(marker.reason, "GROUP_DIGEST_MISMATCH");
    }
}

/// The data of a group, with one bit flipped.
fn flipped(image: &Image, group: u64, seed: &mut Seed) -> bms_agent::rpc::proto::v1::GroupData {
    let mut data = data(image, group);
    let mut payload = data.payload.to_vec();
    let byte = usize::try_from(seed.below(GROUP)).expect("small");
    payload[byte] ^= 1 << seed.below(8);
    data.payload = payload.into();
    data
}

/// Outside the boot region, the flipped group and everything beyond the image are as they were; any other group is, too,
/// or is right.
fn check_unchanged(disk: &LoopDisk, image: &Image, old: &[u8], bad: u64) {
    let now = disk.read_all();
    let mib = usize::try_from(MIB).expect("fits");
    for group in 0..image.layout.groups() {
        let range = image.group_range(group);
        if range.start < mib || range.start >= 3 * mib {
            assert!(range.start == 0 || is_zero(&now[range]), "group {group} is of the boot region");
            continue;
        }
        let unchanged = now[range.clone()] == old[range.clone()];
        assert!(
            unchanged || (group != bad && now[range] == *image.group(group)),
            "group {group} of a push with bad {bad}"
        );
    }
    assert!(now[4 * mib..5 * mib] == old[4 * mib..5 * mib], "beyond the image");
    assert!(!disk.is_bootable());
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn each_of_200_bits_flipped_on_the_disk_is_found_with_its_group() {
    let mut seed = Seed::new(5);
    let daemon = Daemon::start();
    let image = Image::new(32 * MIB, &mut seed);
    let disk = LoopDisk::new(40 * MIB);
    daemon.install(&image.path(), &disk, &["--group-size", "64K"]).done();
    let mut found = 0;
    for _ in 0..10 {
        let mut offsets: Vec<u64> = Vec::new();
        while offsets.len() < 20 {
            let offset = seed.below(image.len());
            if !offsets.iter().any(|other| other / GROUP == offset / GROUP) {
                offsets.push(offset);
            }
        }
        let bits: Vec<_> = offsets.iter().map(|&offset| (offset, 1 << seed.below(8))).collect();
        flip(&disk, &bits);
        let answer = daemon.verify(&disk, &[]);
        flip(&disk, &bits);

        let mut groups: Vec<_> = offsets.iter().map(|offset| offset / GROUP * GROUP).collect();
        groups.sort_unstable();
        let named: Vec<_> = groups.iter().map(u64::to_string).collect();
        assert_eq!(answer.error()["reason"], "DISK_MISMATCH");
        assert_eq!(answer.error()["metadata"]["offsets"], named.join(","));
        assert_eq!(answer.code, 4);
        found += groups.len();
    }
    assert_eq!(found, 200);
    daemon.verify(&disk, &[]).done();
}

fn flip(disk: &LoopDisk, bits: &[(u64, u8)]) {
    for &(offset, bit) in bits {
        let byte = disk.read(offset..offset + 1)[0];
        disk.write(offset, &[byte ^ bit]);
    }
}
