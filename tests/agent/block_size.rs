//! Logical blocks of 512 and 4096 bytes, and images that are no whole number of them.

use bms_agent::disk::table::TableKind;

use crate::support::image::{fixture_root, fixtures};
use crate::support::{Daemon, GIB, Image, LoopDisk, MIB, Seed};

/// A whole number of neither blocks nor groups.
const ODD_BYTES: u64 = 4 * MIB + 777;
const DISK_BYTES: u64 = 9 * MIB;

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_debian_disk_with_blocks_of_4096_installs_onto_one() {
    let daemon = Daemon::start();
    let disk = LoopDisk::with_block_size(5 * GIB, 4096);
    let installed = daemon.install(&fixtures().join("disk-4k.raw"), &disk, &[]).done();
    assert_eq!(installed["result"]["root"], fixture_root("disk-4k.raw"));
    assert_eq!(disk.hash(4 * GIB), fixture_root("disk-4k.raw"));
    assert_eq!(disk.table(), TableKind::Gpt);
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_image_for_other_blocks_is_refused() {
    let daemon = Daemon::start();
    for (image_blocks, disk_blocks) in [(512, 4096), (4096, 512)] {
        let mut seed = Seed::quiet(1);
        let image = Image::with_block_size(8 * MIB, image_blocks, &mut seed);
        let disk = LoopDisk::with_block_size(16 * MIB, disk_blocks);
        disk.fill(&mut seed);
        let before = disk.hash_all();
        let answer = daemon.install(&image.path(), &disk, &[]);
        assert_eq!(answer.refusal(), "BLOCK_SIZE_MISMATCH");
        assert_eq!(answer.error()["metadata"]["imageBlockSize"], image_blocks.to_string());
        assert_eq!(answer.error()["metadata"]["diskBlockSize"], disk_blocks.to_string());
        assert_eq!(disk.hash_all(), before);
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_odd_image_is_padded_with_zeroes_and_old_bytes_beyond_it_stay() {
    let daemon = Daemon::start();
    for block_size in [512, 4096] {
        let (image, disk, old) = odd(block_size);
        let plan = daemon.install(&image.path(), &disk, &["--plan"]).done();
        daemon.install(&image.path(), &disk, &[]).done();

        let [padded, kept] = borders(block_size);
        assert_eq!(plan["kept_bytes"], kept - padded);
        let now = disk.read_all();
        assert!(now[..at(ODD_BYTES)] == image.bytes, "{block_size}: the image");
        assert!(now[at(ODD_BYTES)..at(padded)].iter().all(|&byte| byte == 0), "{block_size}: the padding");
        assert!(now[at(padded)..at(kept)] == old[at(padded)..at(kept)], "{block_size}: what is beyond");
        assert!(now[at(kept)..].iter().all(|&byte| byte == 0), "{block_size}: no backup table of a former system");
        daemon.verify(&disk, &[]).done();
        daemon.verify(&disk, &["--image", &image.path_text()]).done();
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn wipe_rest_zeroes_everything_beyond_the_image() {
    let daemon = Daemon::start();
    for block_size in [512, 4096] {
        let (image, disk, _) = odd(block_size);
        let done = daemon.install(&image.path(), &disk, &["--wipe-rest"]).done();
        let [padded, kept] = borders(block_size);
        assert_eq!(done["progress"]["verified_bytes"], ODD_BYTES + kept - padded, "what was zeroed is read back");
        let now = disk.read_all();
        assert!(now[..at(ODD_BYTES)] == image.bytes, "{block_size}: the image");
        assert!(now[at(ODD_BYTES)..].iter().all(|&byte| byte == 0), "{block_size}: the rest");
    }
}

fn odd(block_size: u32) -> (Image, LoopDisk, Vec<u8>) {
    let mut seed = Seed::quiet(2);
    let image = Image::with_block_size(ODD_BYTES, block_size, &mut seed);
    let disk = LoopDisk::with_block_size(DISK_BYTES, block_size);
    disk.fill(&mut seed);
    let old = disk.read_all();
    (image, disk, old)
}

/// Where the padding ends, and where the last MiB of the disk begins.
fn borders(block_size: u32) -> [u64; 2] {
    [ODD_BYTES.next_multiple_of(block_size.into()), DISK_BYTES - MIB]
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("fits memory")
}
