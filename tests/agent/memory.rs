//! Memory: bounded by the configuration, and the page cache left as it was.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use crate::support::image::fixtures;
use crate::support::{Daemon, GIB, LoopDisk, MIB};

/// Others use the machine, too, and their pages only add: one install that stays below the limit is proof.
const TRIES: usize = 3;
const MOST_GROWTH: u64 = 64 * MIB;

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn installing_4_gib_takes_128_mib_at_most_and_no_page_cache() {
    let daemon = Daemon::start_alone();
    let image = fixtures().join("disk.raw");
    warm(&image);
    let mut growths = (0..TRIES).map(|_| install_and_watch(&daemon, &image));
    let modest = growths.find(|growth| *growth <= MOST_GROWTH);
    eprintln!("peak resident {} MiB", daemon.peak_resident_bytes() / MIB);
    assert!(modest.is_some(), "the page cache grew each time");
    assert!(daemon.peak_resident_bytes() <= 128 * MIB);
}

/// By how much the page cache grows at most while an image is installed. Pages of a disk go when it is closed, so that a
/// look in the end would see none.
fn install_and_watch(daemon: &Daemon, image: &Path) -> u64 {
    // In memory, so that the file behind the disk has no pages of its own: they count as Shmem.
    let disk = LoopDisk::below(Path::new("/dev/shm"), 5 * GIB);
    let before = page_cache();
    let mut most = before;
    let mut running = daemon.begin_install(image, &disk, &[]);
    while !running.is_finished() {
        most = most.max(page_cache());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    running.finish().done();
    eprintln!("the page cache grew by {} MiB", (most - before) / MIB);
    most - before
}

/// Reads the image, as the client will: what that caches is not the install's.
fn warm(image: &Path) {
    std::io::copy(&mut File::open(image).expect("image"), &mut std::io::sink()).expect("read");
}

/// Bytes of files and devices in the page cache.
fn page_cache() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let kib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a known line");
        line.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB")
    };
    (kib("Cached:") + kib("Buffers:") - kib("Shmem:")) << 10
}
