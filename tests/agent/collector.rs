//! A repository that many use at once: images come and go while the collector works, through `bmsctl` as it is shipped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::garage::Garage;
use crate::support::repository::{Repository, s3};
use crate::support::{MIB, Seed};

/// Writers at once; every second one deletes what it wrote.
const WRITERS: u64 = 20;
/// Images that each writes, one after the other.
const IMAGES: u64 = 2;
/// Each MiB of an image is so many chunks of 256 KiB.
const CHUNKS_PER_PART: u64 = 4;

/// A file that has half of its MiBs in common with all others.
fn file(dir: &Path, writer: u64, image: u64) -> PathBuf {
    let mut bytes = Vec::new();
    for part in 0..8 {
        let noise =
            if part % 2 == 0 { Seed::quiet(part) } else { Seed::quiet(1000 + writer * 100 + image * 10 + part) };
        bytes.extend({ noise }.bytes(MIB));
    }
    let path = dir.join(format!("{writer}-{image}.raw"));
    std::fs::write(&path, bytes).expect("written");
    path
}

fn write_images(repository: &Repository, dir: &Path, writer: u64) {
    for image in 0..IMAGES {
        let path = file(dir, writer, image);
        let name = format!("image-{writer}");
        let version = image.to_string();
        repository.import(&path, &name, &["--version", &version]);
        if writer % 2 == 1 {
            let full = format!("{name}:{version}");
            repository.ctl(&["image", "delete", &full, "--yes"], &[]).done();
        }
    }
}

/// Collects again and again until the writers are done; how many chunks were deleted.
fn collect_until(done: &AtomicBool, repository: &Repository) -> u64 {
    let mut deleted = 0;
    while !done.load(Ordering::Relaxed) {
        let report = repository.ctl(&["repository", "gc"], &[]).done();
        deleted += report["chunks"]["deleted"]["objects"].as_u64().expect("a number");
    }
    deleted
}

fn many_at_once(repository: &Repository) {
    let dir = tempfile::tempdir().expect("directory");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let collector = scope.spawn(|| collect_until(&done, repository));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let dir = dir.path();
                scope.spawn(move || write_images(repository, dir, writer))
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        let deleted = collector.join().expect("the collector came to its end each time");
        assert!(ended.iter().all(Result::is_ok), "every import and every delete went well");
        eprintln!("{deleted} chunks were deleted meanwhile");
    });
    let report = repository.ctl(&["repository", "check", "--deep"], &[]).done();
    assert_eq!(
        (&report["images"], &report["problems"]),
        (&(WRITERS / 2 * IMAGES).into(), &serde_json::json!([])),
        "{report}"
    );
    // Half of what all images have in common, and the other half of each that is left.
    let chunks = (4 + WRITERS / 2 * IMAGES * 4) * CHUNKS_PER_PART;
    assert_eq!(report["chunks"]["objects"], chunks, "{report}");
}

#[test]
#[ignore = "needs a machine to itself for a while: tests/run.sh"]
fn twenty_writers_and_a_collector_leave_a_directory_whole() {
    let dir = tempfile::tempdir().expect("directory");
    many_at_once(&Repository::directory(dir.path()).init(&["--grace", "60s"]));
}

#[test]
#[ignore = "needs an S3 server: tests/run.sh"]
fn twenty_writers_and_a_collector_leave_a_bucket_whole() {
    let garage = Garage::start();
    let dir = tempfile::tempdir().expect("directory");
    many_at_once(&Repository::of(&s3(&garage, &dir.path().join("keys"), "many")).init(&["--grace", "60s"]));
}
