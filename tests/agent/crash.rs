//! Killed at any moment: a disk that has a partition table is right in full.

use std::time::{Duration, Instant};

use crate::support::{Daemon, Image, LoopDisk, MIB, Seed};

const KILLS: u64 = 50;

/// What a kill left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The former image, whole: the install had not begun.
    Former,
    /// No boot region.
    Unbootable,
    /// The new image, whole.
    Complete,
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_kill_at_any_moment_leaves_no_table_or_a_whole_image_and_the_next_install_sends_what_is_missing() {
    let mut seed = Seed::new(3);
    // The disk carries a whole system before each kill: its table must never be seen over the other's content.
    let images = [Image::new(256 * MIB, &mut seed), Image::new(256 * MIB, &mut seed)];
    let disk = LoopDisk::new(272 * MIB);
    let mut daemon = Daemon::start();
    let length = measure(&daemon, &images, &disk);
    eprintln!("an install of {} MiB takes {length:.0?}", images[1].data_bytes() >> 20);
    let (mut resent, mut all, mut unbootable) = (0, 0, 0);
    for kill in 0..KILLS {
        let (former, new) = if kill % 2 == 0 { (&images[1], &images[0]) } else { (&images[0], &images[1]) };
        let running = daemon.begin_install(&new.path(), &disk, &[]);
        let moment = length.mul_f64(seed.below(1000) as f64 / 1000.0);
        // The moment is the experiment: nothing is waited for.
        std::thread::park_timeout(moment);
        daemon.kill();
        drop(running);

        let left = look(&disk, former, new);
        daemon.restart();
        let marker = &daemon.disk(&disk)["interrupted_install"];
        assert_eq!(!marker.is_null(), left == Left::Unbootable, "after {moment:?}: {left:?}, {marker}");
        let missing = new.missing_bytes_on(&disk);
        let done = daemon.install(&new.path(), &disk, &["--in-place"]).done();
        let sent = done["progress"]["received_bytes"].as_u64().expect("bytes");
        assert_eq!(sent, missing, "only what is missing is sent");
        assert_eq!(disk.hash(new.len()), new.root());
        eprintln!("kill {kill} after {moment:.0?}: {left:?}, resent {} of {} MiB", sent >> 20, new.data_bytes() >> 20);
        resent += sent;
        all += new.data_bytes();
        unbootable += u64::from(left == Left::Unbootable);
    }
    daemon.verify(&disk, &[]).done();
    eprintln!("{unbootable} of {KILLS} kills hit; resent {} of {} MiB in all", resent >> 20, all >> 20);
    assert!(unbootable >= KILLS / 3, "most of the moments must lie within an install");
    assert!(resent < all);
}

/// How long an install takes at least, from begin to end. Leaves the second image on the disk.
fn measure(daemon: &Daemon, images: &[Image; 2], disk: &LoopDisk) -> Duration {
    let install = |image: &Image| {
        let begin = Instant::now();
        daemon.install(&image.path(), disk, &[]).done();
        begin.elapsed()
    };
    let [first, second] = images;
    [first, second, first, second].map(install).into_iter().min().expect("four")
}

fn look(disk: &LoopDisk, former: &Image, new: &Image) -> Left {
    if !disk.is_bootable() {
        return Left::Unbootable;
    }
    match disk.hash(new.len()) {
        root if root == new.root() => Left::Complete,
        root if root == former.root() => Left::Former,
        root => panic!("a partition table over content that is neither image: {root}"),
    }
}
