//! The main job on real input: a Debian system disk of 4 GiB, in every format that is read.

use crate::support::ctl::ctl;
use crate::support::image::{fixture_root, fixtures};
use crate::support::{Daemon, GIB, LoopDisk};

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_debian_disk_of_4_gib_installs_from_every_format() {
    let daemon = Daemon::start();
    let root = fixture_root("disk.raw");
    for file in ["disk.raw", "disk.raw.zst", "disk.raw.xz", "disk.raw.gz", "disk.qcow2"] {
        let disk = LoopDisk::new(5 * GIB);
        let image = fixtures().join(file);
        let hashed = ctl(&["image", "hash", image.to_str().expect("UTF-8")]).done();
        assert_eq!((hashed["root"].as_str(), hashed["size_bytes"].as_u64()), (Some(&*root), Some(4 * GIB)), "{file}");

        let installed = daemon.install(&image, &disk, &[]).done();
        assert_eq!(installed["result"]["root"], *root, "{file}");
        let moved = |kind: &str| installed["progress"][kind].as_u64().expect("bytes");
        assert_eq!(moved("verified_bytes"), 4 * GIB, "{file}: every byte was read back");
        assert_eq!(moved("hole_bytes") + moved("written_bytes"), 4 * GIB, "{file}");
        assert_eq!(disk.hash(4 * GIB), root, "{file}");
        eprintln!("{file}: {} ms, {} MiB sent", installed["duration_milliseconds"], moved("wire_bytes") >> 20);
    }
}
