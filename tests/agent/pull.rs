//! Installs that the agent fetches by itself: from a directory, an S3 server and a web server, all of them real.

use std::path::Path;

use serde_json::Value;

use crate::support::ctl::Answer;
use crate::support::garage::Garage;
use crate::support::image::{fixture_root, fixtures};
use crate::support::nginx::Nginx;
use crate::support::repository::{Repository, s3};
use crate::support::{Daemon, GIB, Image, LoopDisk, MIB, Seed};

fn daemon(repository: &Repository) -> Daemon {
    Daemon::start_with(&format!("allow_loop_devices = true\n{}", repository.table()))
}

fn pull(daemon: &Daemon, image: &str, disk: &LoopDisk, options: &[&str]) -> Answer {
    daemon.install(Path::new(image), disk, &[&["--repository", "main"], options].concat())
}

fn moved(installed: &Value, kind: &str) -> u64 {
    installed["progress"][kind].as_u64().unwrap_or_else(|| panic!("{kind} in {installed}"))
}

/// Imports both qcow2 variants of the Debian disk, and installs what was imported.
fn debian_through(repository: &Repository, readers: &[&Repository]) {
    let root = fixture_root("disk.raw");
    let first = repository.import(&fixtures().join("disk.qcow2"), "debian", &["--version", "zlib"]);
    assert_eq!((&first["root"], &first["size_bytes"]), (&Value::from(&*root), &Value::from(4 * GIB)));
    let zstd = tempfile::tempdir().expect("directory");
    let converted = zstd.path().join("zstd.qcow2");
    let options = ["convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"];
    let files = [fixtures().join("disk.raw"), converted.clone()];
    let files = files.each_ref().map(|file| file.to_str().expect("UTF-8"));
    crate::support::run("qemu-img", &[&options[..], &files].concat());
    let second = repository.import(&converted, "debian", &["--version", "zstd"]);
    assert_eq!(second["root"], *root);
    assert_eq!(second["new_bytes"], 0, "it is the same content in another file");
    for reader in readers {
        let daemon = daemon(reader);
        let disk = LoopDisk::new(5 * GIB);
        let id = first["image_id"].as_str().expect("an id");
        let installed = pull(&daemon, id, &disk, &[]).done();
        assert_eq!(installed["result"]["root"], *root);
        assert_eq!(moved(&installed, "verified_bytes"), 4 * GIB, "every byte was read back");
        assert_eq!(disk.hash(4 * GIB), root);
        assert!(daemon.peak_resident_bytes() <= 128 * MIB, "{} bytes", daemon.peak_resident_bytes());
    }
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn debian_installs_from_a_directory_and_from_a_web_server_that_serves_it() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::directory(dir.path()).init(&[]);
    let nginx = Nginx::serve(dir.path());
    let web = Repository::of(&format!("location = {:?}", nginx.url()));
    debian_through(&repository, &[&repository, &web]);
}

#[test]
#[ignore = "needs root, loop devices and an S3 server: tests/run.sh"]
fn debian_installs_from_an_s3_server() {
    let garage = Garage::start();
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::of(&s3(&garage, &dir.path().join("keys"), "some/prefix")).init(&[]);
    debian_through(&repository, &[&repository]);
}

#[test]
#[ignore = "needs root, loop devices and nginx: tests/run.sh"]
fn in_place_only_what_differs_is_fetched() {
    let mut seed = Seed::new(31);
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::directory(dir.path()).init(&[]);
    let nginx = Nginx::serve(dir.path());
    let daemon = daemon(&Repository::of(&format!("location = {:?}", nginx.url())));
    let disk = LoopDisk::new(200 * MIB);
    let image = Image::new(160 * MIB, &mut seed);
    repository.import(&image.path(), "system", &["--version", "1"]);
    let installed = pull(&daemon, "system:1", &disk, &[]).done();
    let all = moved(&installed, "received_bytes");

    let mut bytes = image.bytes.clone();
    let at = bytes.len() / 2 + 77;
    bytes[at] ^= 1;
    let changed = dir.path().join("changed.raw");
    std::fs::write(&changed, &bytes).expect("written");
    let imported = repository.import(&changed, "system", &["--version", "2"]);
    assert!(imported["new_bytes"].as_u64().expect("bytes") <= MIB, "{imported}");
    let again = pull(&daemon, "operator/system:2", &disk, &["--in-place"]).done();
    assert_eq!(disk.hash(160 * MIB), blake3::hash(&bytes).to_string());
    // The group that differs, and what lies in the boot region, which every install writes anew.
    let fetched = moved(&again, "received_bytes");
    assert!(fetched <= 4 * MIB && fetched < all / 10, "{fetched} of {all} bytes");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn what_is_not_there_is_refused_before_the_disk_is_touched() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::directory(dir.path()).init(&[]);
    let daemon = daemon(&repository);
    let disk = LoopDisk::new(64 * MIB);
    disk.fill(&mut Seed::quiet(32));
    let before = disk.hash(64 * MIB);
    assert_eq!(pull(&daemon, "nothing", &disk, &[]).refusal(), "IMAGE_NOT_FOUND");
    assert_eq!(pull(&daemon, &"ab".repeat(32), &disk, &[]).refusal(), "IMAGE_NOT_FOUND");
    let other = daemon.install(Path::new("nothing"), &disk, &["--repository", "other"]);
    assert_eq!(other.refusal(), "REPOSITORY_UNKNOWN");
    let missing = ctl_install_missing_file(&daemon, &disk);
    assert_eq!(missing.code, 2);
    assert_eq!(disk.hash(64 * MIB), before);
}

/// A path is no name of an image: it is a file that is missing.
fn ctl_install_missing_file(daemon: &Daemon, disk: &LoopDisk) -> Answer {
    daemon.install(Path::new("./no/such/file.raw"), disk, &[])
}
