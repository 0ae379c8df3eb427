//! Memory: bounded by the configuration, and the page cache left as it was.

use std::fs::{self, File};
use std::path::Path;

use crate::support::image::fixtures;
use crate::support::{Daemon, GIB, LoopDisk, MIB};

/// Others use the machine, too, and their pages only add: the least of some installs is this one's.
const INSTALLS: usize = 3;

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn installing_4_gib_takes_128_mib_at_most_and_no_page_cache() {
    let daemon = Daemon::start_alone();
    let image = fixtures().join("disk.raw");
    warm(&image);
    let mut growths = Vec::new();
    for _ in 0..INSTALLS {
        // In memory, so that the file behind the disk has no pages of its own: they count as Shmem.
        let disk = LoopDisk::below(Path::new("/dev/shm"), 5 * GIB);
        let before = page_cache();
        daemon.install(&image, &disk, &[]).done();
        growths.push(page_cache().saturating_sub(before));
    }
    let growth = *growths.iter().min().expect("some");
    eprintln!("peak resident {} MiB; page cache {:?} MiB", daemon.peak_resident_bytes() / MIB, in_mib(&growths));
    assert!(daemon.peak_resident_bytes() <= 128 * MIB);
    assert!(growth <= 64 * MIB);
}

fn in_mib(all: &[u64]) -> Vec<u64> {
    all.iter().map(|bytes| bytes / MIB).collect()
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
