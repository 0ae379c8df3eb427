//! The collector beside writers: each case of docs/decisions/0010, step by step, and then all at once.

mod stress;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::{Collect, Collector, Fates, GcReport};
use crate::image::manifest::Kind;
use crate::reason::{DomainError as _, Reason};
use crate::repository::condemned::Standing;
use crate::repository::tests::{GROUP, Imported, content, import, manifest, objects, read, repository, write};
use crate::repository::upload::Upload;
use crate::repository::{Amount, Depth, Format, Repository, RepositoryError, StoredImage, Work, key};

/// A little more than a grace.
const DAY: Duration = Duration::from_secs(24 * 3600 + 60);
const HOUR: Duration = Duration::from_secs(3600);
/// Chunks and bytes of `content`.
const CHUNKS: u64 = 4;

/// A repository in which a day passes when a test says so.
struct Rig {
    dir: TempDir,
    repository: Arc<Repository>,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let repository = repository(dir.path(), Format::default()).await;
        Self { dir, repository }
    }

    async fn import(&self, seed: u8, name: &str) -> StoredImage {
        import(&self.repository, &content(seed), name, Kind::Private).await.expect("imported").image
    }

    /// Chunks of content `seed` that no image refers to, older than any upload.
    async fn orphans(&self, seed: u8) {
        let image = self.import(seed, "orphan").await;
        self.repository.delete_image(&image).await.expect("deleted");
        self.pass(DAY).await;
    }

    async fn begin(&self) -> Upload {
        Upload::begin(self.repository.clone(), 1).await.expect("begun")
    }

    async fn collect(&self) -> GcReport {
        self.repository.collect(Collect::ForReal, &Work::default()).await.expect("collected")
    }

    async fn dry_run(&self) -> GcReport {
        let now = self.repository.now().await.expect("a time");
        self.repository.collect(Collect::DryRun { now }, &Work::default()).await.expect("looked")
    }

    /// Lets time pass for all that is stored, but not for writers and collectors.
    async fn pass(&self, time: Duration) {
        let dirs = [key::CHUNKS, key::IMAGES, key::PROJECTS].map(|dir| self.dir.path().join(dir));
        for path in dirs.iter().filter(|dir| dir.exists()).flat_map(|dir| objects(dir)) {
            set_back(&path, time);
        }
        let mut list = self.repository.condemned().await.expect("a list");
        list.age(time);
        self.repository.put_condemned(&list).await.expect("written");
    }

    /// Everything below the directory, and what it holds.
    fn snapshot(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let read = |path: PathBuf| {
            let modified = path.metadata().and_then(|meta| meta.modified()).expect("a time");
            (path.clone(), (std::fs::read(&path).expect("read"), modified))
        };
        objects(self.dir.path()).into_iter().map(read).collect()
    }

    fn count(&self, below: &str) -> usize {
        let dir = self.dir.path().join(below);
        if dir.exists() { objects(&dir).len() } else { 0 }
    }

    async fn assert_whole(&self) {
        let report = self.repository.check(Depth::Content, &Work::default()).await.expect("checked");
        assert_eq!(report.problems, [], "{report:?}");
        assert_eq!(self.count("gc/rescues") + self.count("gc/sweeps") + self.count("gc/collectors"), 0);
    }
}

fn set_back(path: &Path, by: Duration) {
    let file = File::open(path).expect("opened");
    let modified = file.metadata().and_then(|meta| meta.modified()).expect("a time");
    file.set_modified(modified - by).expect("set");
}

fn objects_of(fates: Fates) -> [u64; 5] {
    [fates.young, fates.condemned, fates.waiting, fates.held, fates.deleted].map(|amount| amount.objects)
}

#[tokio::test]
async fn what_nothing_refers_to_is_condemned_and_a_grace_later_deleted() {
    let rig = Rig::new().await;
    let image = rig.import(1, "orphan").await;
    let kept = rig.import(2, "kept").await;
    rig.repository.delete_image(&image).await.expect("deleted");
    assert_eq!(objects_of(rig.collect().await.chunks), [CHUNKS, 0, 0, 0, 0], "an upload may be about to need them");
    rig.pass(DAY).await;
    let report = rig.collect().await;
    assert_eq!((objects_of(report.chunks), report.images, report.live.objects), ([0, CHUNKS, 0, 0, 0], 1, CHUNKS));
    rig.pass(DAY - HOUR).await;
    assert_eq!(objects_of(rig.collect().await.chunks), [0, 0, CHUNKS, 0, 0]);
    rig.pass(HOUR).await;
    let report = rig.collect().await;
    assert_eq!(objects_of(report.chunks), [0, 0, 0, 0, CHUNKS]);
    assert_eq!(report.chunks.deleted.bytes, report.live.bytes, "both images compress alike");
    assert_eq!(rig.count("chunks") as u64, CHUNKS);
    assert_eq!(objects_of(rig.collect().await.chunks), [0; 5]);
    assert_eq!(rig.repository.condemned().await.expect("a list"), crate::repository::condemned::Condemned::default());
    assert_eq!(read(&rig.repository, &kept, 4).await.expect("read"), content(2));
    rig.assert_whole().await;
}

#[tokio::test]
async fn chunks_that_another_image_has_stay() {
    let rig = Rig::new().await;
    let mut data = content(1);
    let image = rig.import(1, "a").await;
    data[9 * GROUP] ^= 1;
    import(&rig.repository, &data, "b", Kind::Public).await.expect("imported");
    rig.repository.delete_image(&image).await.expect("deleted");
    rig.pass(DAY).await;
    let report = rig.collect().await;
    assert_eq!((report.chunks.condemned.objects, report.live.objects), (1, CHUNKS));
    rig.pass(DAY).await;
    assert_eq!(rig.collect().await.chunks.deleted.objects, 1);
    rig.assert_whole().await;
}

#[tokio::test]
async fn a_dry_run_tells_what_a_run_does_and_changes_nothing() {
    let rig = Rig::new().await;
    rig.import(2, "kept").await;
    rig.orphans(1).await;
    for _ in 0..2 {
        let before = rig.snapshot();
        let dry = rig.dry_run().await;
        // Not even by a clock: the probe that asks for it is gone.
        assert_eq!(rig.snapshot(), before);
        assert_eq!(dry, rig.collect().await);
        rig.pass(DAY).await;
    }
    assert_eq!(rig.count("chunks") as u64, CHUNKS);
}

// What the decision calls case 1: the writer began before the chunk was condemned, and found it there.

#[tokio::test]
async fn a_chunk_that_a_writer_found_stays_until_its_image_is_there() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    let upload = Arc::new(rig.begin().await);
    let tree = write(&upload, &content(1)).await.expect("found");
    assert_eq!(upload.counters().stored_bytes.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing is written");
    assert_eq!(rig.collect().await.chunks.condemned.objects, CHUNKS);
    upload.commit(manifest("image", Kind::Public, &tree), &tree).await.expect("in time");
    rig.pass(DAY).await;
    assert_eq!(objects_of(rig.collect().await.chunks), [0; 5]);
    rig.assert_whole().await;
}

#[tokio::test]
async fn a_writer_that_is_too_slow_makes_no_image() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    let mut upload = Arc::new(rig.begin().await);
    let tree = write(&upload, &content(1)).await.expect("found");
    rig.collect().await;
    rig.pass(DAY).await;
    Arc::get_mut(&mut upload).expect("ours").age(DAY);
    assert_eq!(rig.collect().await.chunks.deleted.objects, CHUNKS);
    let error = upload.commit(manifest("image", Kind::Public, &tree), &tree).await.expect_err("its chunks are gone");
    assert_eq!(error.reason(), Reason::UploadTooSlow);
    assert_eq!(rig.repository.images().await.expect("listed").len(), 0);
    rig.assert_whole().await;
}

/// The collector died after it wrote the list and before it set the moment: nobody knows since when writers have seen it.
#[tokio::test]
async fn a_list_without_a_moment_condemns_from_the_next_run_on() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    let mut collector = Collector::begin(&rig.repository).await.expect("alone");
    let plan = collector.plan(&Work::default()).await.expect("planned");
    assert!(plan.list.is_pending());
    rig.repository.put_condemned(&plan.list).await.expect("written");
    collector.end().await;
    rig.pass(DAY).await;
    assert_eq!(objects_of(rig.collect().await.chunks), [0, CHUNKS, 0, 0, 0]);
    assert!(!rig.repository.condemned().await.expect("a list").is_pending());
    rig.pass(DAY).await;
    assert_eq!(rig.collect().await.chunks.deleted.objects, CHUNKS);
}

// Case 2: the writer finds the chunk condemned, and writes it again.

#[tokio::test]
async fn a_condemned_chunk_is_written_again_and_no_longer_condemned() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    rig.collect().await;
    rig.pass(DAY).await;
    let Imported { written, .. } = import(&rig.repository, &content(1), "image", Kind::Public).await.expect("imported");
    assert!(written > 0);
    assert_eq!(objects_of(rig.collect().await.chunks), [0; 5]);
    rig.assert_whole().await;
}

#[tokio::test]
async fn while_a_writer_needs_condemned_chunks_none_is_deleted() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    rig.orphans(2).await;
    rig.collect().await;
    rig.pass(DAY).await;
    let upload = Arc::new(rig.begin().await);
    let tree = write(&upload, &content(1)).await.expect("written");
    let (dry, report) = (rig.dry_run().await, rig.collect().await);
    assert_eq!(objects_of(report.chunks), [CHUNKS, 0, 0, CHUNKS, 0]);
    assert_eq!(dry, report);
    upload.commit(manifest("image", Kind::Public, &tree), &tree).await.expect("in time");
    assert_eq!(objects_of(rig.collect().await.chunks), [0, 0, 0, 0, CHUNKS]);
    rig.assert_whole().await;
}

/// The collector has seen the chunk as it was, and then the writer comes.
#[tokio::test]
async fn a_writer_that_comes_while_the_collector_works_stops_it() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    rig.collect().await;
    rig.pass(DAY).await;
    let mut collector = Collector::begin(&rig.repository).await.expect("alone");
    let plan = collector.plan(&Work::default()).await.expect("planned");
    assert_eq!(plan.doomed.len() as u64, CHUNKS);
    let upload = Arc::new(rig.begin().await);
    let data = content(1);
    let (tree, report) = tokio::join!(write(&upload, &data), async {
        // It has announced itself, and waits for the sweep to end: it has written nothing yet.
        while rig.count("gc/rescues") == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(upload.counters().stored_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
        collector.execute(plan, &Work::default()).await
    });
    let (tree, report) = (tree.expect("written"), report.expect("collected"));
    assert_eq!(objects_of(report.chunks), [0, 0, 0, CHUNKS, 0]);
    upload.commit(manifest("image", Kind::Public, &tree), &tree).await.expect("in time");
    collector.end().await;
    rig.assert_whole().await;
}

/// The writer was seen at the beginning, and is gone when it comes to deleting; its image is not known.
#[tokio::test]
async fn a_writer_that_ends_while_the_collector_works_keeps_its_chunks() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    rig.collect().await;
    rig.pass(DAY).await;
    let upload = Arc::new(rig.begin().await);
    // Its announcement is there, most of its chunks are not yet.
    let first = write(&upload, &content(1)[..4 * GROUP]).await.expect("one chunk is written");
    assert_eq!(first.groups().len(), 4);
    let mut collector = Collector::begin(&rig.repository).await.expect("alone");
    let plan = collector.plan(&Work::default()).await.expect("planned");
    assert_eq!(plan.doomed.len() as u64, CHUNKS - 1, "the others look as if nobody wanted them");
    let tree = write(&upload, &content(1)).await.expect("written");
    upload.commit(manifest("image", Kind::Public, &tree), &tree).await.expect("in time");
    assert_eq!(rig.count("gc/rescues"), 0);
    let report = collector.execute(plan, &Work::default()).await.expect("collected");
    assert_eq!((report.chunks.held.objects, report.chunks.deleted.objects), (CHUNKS - 1, 0));
    collector.end().await;
    rig.assert_whole().await;
}

#[tokio::test]
async fn a_dead_collector_keeps_nobody_waiting_and_a_dead_writer_nothing_alive() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    rig.orphans(2).await;
    rig.collect().await;
    rig.pass(DAY).await;
    // Both are killed: they take nothing back.
    Collector::begin(&rig.repository).await.expect("alone");
    for dir in ["gc/sweeps", "gc/collectors"] {
        let announcements = objects(&rig.dir.path().join(dir));
        assert_eq!(announcements.len(), 1);
        set_back(&announcements[0], HOUR);
    }
    let upload = Arc::new(rig.begin().await);
    write(&upload, &content(1)).await.expect("it does not wait");
    std::mem::forget(upload);
    assert_eq!(rig.collect().await.chunks.deleted.objects, 0, "the writer may live");
    for rescue in objects(&rig.dir.path().join("gc/rescues")) {
        set_back(&rescue, DAY);
    }
    assert_eq!(rig.collect().await.chunks.deleted.objects, CHUNKS);
    rig.assert_whole().await;
}

#[tokio::test]
async fn a_writer_that_gives_up_takes_its_announcement_back() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    rig.collect().await;
    let upload = Arc::new(rig.begin().await);
    write(&upload, &content(1)).await.expect("written");
    assert_eq!(rig.count("gc/rescues"), 1);
    drop(upload);
    while rig.count("gc/rescues") > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_second_collector_is_refused_until_the_first_has_ended() {
    let rig = Rig::new().await;
    let collector = Collector::begin(&rig.repository).await.expect("alone");
    let error = rig.repository.collect(Collect::ForReal, &Work::default()).await.expect_err("not alone");
    assert!(matches!(error, RepositoryError::Collecting { .. }), "{error}");
    assert_eq!((error.reason(), rig.count("gc/collectors")), (Reason::RepositoryBusy, 1));
    collector.end().await;
    rig.collect().await;
}

#[tokio::test]
async fn nothing_is_deleted_if_anything_about_an_image_is_damaged() {
    let rig = Rig::new().await;
    let image = rig.import(2, "kept").await;
    rig.orphans(1).await;
    rig.collect().await;
    rig.pass(DAY).await;
    for object in [key::tree(image.id), key::manifest(image.id)] {
        let path = rig.dir.path().join(object.as_ref());
        let good = std::fs::read(&path).expect("read");
        std::fs::write(&path, &good[1..]).expect("written");
        let error = rig.repository.collect(Collect::ForReal, &Work::default()).await.expect_err("damaged");
        assert_eq!(error.reason(), Reason::ImageDamaged, "{error}");
        assert_eq!(rig.count("chunks") as u64, 2 * CHUNKS);
        std::fs::write(&path, good).expect("written");
    }
    let tree = rig.dir.path().join(key::tree(image.id).as_ref());
    std::fs::rename(&tree, rig.dir.path().join("tree")).expect("moved");
    let error = rig.repository.collect(Collect::ForReal, &Work::default()).await.expect_err("no tree");
    assert_eq!(error.reason(), Reason::ImageDamaged, "{error}");
    std::fs::rename(rig.dir.path().join("tree"), &tree).expect("moved");
    assert_eq!(rig.collect().await.chunks.deleted.objects, CHUNKS);
    rig.assert_whole().await;
}

/// Everything but its chunks that a writer leaves behind which is killed before the last step.
#[tokio::test]
async fn what_is_left_of_images_that_never_were_is_collected_and_their_names_are_free() {
    let rig = Rig::new().await;
    rig.import(2, "kept").await;
    let before = rig.snapshot();
    let killed = rig.import(1, "killed").await;
    std::fs::remove_file(rig.dir.path().join(key::manifest(killed.id).as_ref())).expect("removed");
    rig.repository.publish_list().await;
    let error = import(&rig.repository, &content(1), "killed", Kind::Private).await.expect_err("the name is taken");
    assert_eq!(error.reason(), Reason::ImageExists);
    assert_eq!(objects_of(rig.collect().await.leftovers), [4, 0, 0, 0, 0]);
    rig.pass(DAY).await;
    assert_eq!(objects_of(rig.collect().await.leftovers), [0, 4, 0, 0, 0]);
    rig.pass(DAY).await;
    let report = rig.collect().await;
    assert_eq!((objects_of(report.leftovers), report.chunks.deleted.objects), ([0, 0, 0, 0, 4], CHUNKS));
    rig.collect().await;
    let names = |snapshot: BTreeMap<PathBuf, _>| {
        let kept = snapshot.into_keys().filter(|path: &PathBuf| !path.ends_with("condemned.json"));
        kept.collect::<Vec<_>>()
    };
    assert_eq!(names(rig.snapshot()), names(before));
    rig.import(1, "killed").await;
    rig.assert_whole().await;
}

/// The same image is written again while what is left of the first attempt is about to be deleted.
#[tokio::test]
async fn leftovers_that_become_an_image_after_all_are_kept() {
    let rig = Rig::new().await;
    let image = rig.import(1, "image").await;
    rig.import(1, "other").await;
    for object in [key::manifest(image.id), key::name("tests", "image", "1"), key::slot("tests", 0)] {
        std::fs::remove_file(rig.dir.path().join(object.as_ref())).expect("removed");
    }
    rig.pass(DAY).await;
    assert_eq!(rig.collect().await.leftovers.condemned.objects, 2);
    rig.pass(DAY).await;
    let upload = Arc::new(rig.begin().await);
    let tree = write(&upload, &content(1)).await.expect("found");
    assert_eq!(rig.count("gc/rescues"), 0, "nothing of its content is condemned");
    let mut collector = Collector::begin(&rig.repository).await.expect("alone");
    let plan = collector.plan(&Work::default()).await.expect("planned");
    let (again, report) = tokio::join!(upload.commit(image.manifest.clone(), &tree), async {
        while rig.count("gc/rescues") == 0 {
            tokio::task::yield_now().await;
        }
        collector.execute(plan, &Work::default()).await
    });
    assert_eq!(objects_of(report.expect("collected").leftovers), [0, 0, 0, 2, 0]);
    assert_eq!(again.expect("committed").id, image.id);
    collector.end().await;
    rig.assert_whole().await;
}

#[tokio::test]
async fn probes_that_were_left_behind_are_collected() {
    let rig = Rig::new().await;
    for (name, back) in [("probe-old", 2 * HOUR), ("probe-new", Duration::ZERO)] {
        let path = rig.dir.path().join("gc").join(name);
        std::fs::create_dir_all(path.parent().expect("gc")).expect("made");
        std::fs::write(&path, "").expect("written");
        set_back(&path, back);
    }
    assert_eq!(rig.collect().await.leftovers.deleted.objects, 1);
    assert!(rig.dir.path().join("gc/probe-new").exists());
}

/// Writers that were killed leave files that no object store shows.
#[tokio::test]
async fn a_directory_is_rid_of_unfinished_files_and_of_the_directories_of_images_that_are_gone() {
    let rig = Rig::new().await;
    let kept = rig.import(2, "kept").await;
    let gone = rig.import(1, "gone").await;
    rig.repository.delete_image(&gone).await.expect("deleted");
    let [old, new] = ["old#1", "new#2"].map(|name| rig.dir.path().join(key::CHUNKS).join(name));
    let directories = [gone.id, kept.id].map(|id| rig.dir.path().join(key::image(id).as_ref()));
    for path in [&old, &new] {
        std::fs::write(path, "half").expect("written");
    }
    for path in directories.iter().chain([&old]) {
        set_back(path, DAY);
    }
    assert_eq!(rig.dry_run().await.leftovers.deleted, Amount { objects: 1, bytes: 4 });
    assert!(old.exists() && directories[0].exists());
    assert_eq!(rig.collect().await.leftovers.deleted, Amount { objects: 1, bytes: 4 });
    assert!(!old.exists() && new.exists());
    assert_eq!(directories.map(|path| path.exists()), [false, true]);
    std::fs::remove_file(new).expect("removed");
    rig.assert_whole().await;
}

#[tokio::test]
async fn what_is_condemned_has_a_moment_not_before_the_list_was_written() {
    let rig = Rig::new().await;
    rig.orphans(1).await;
    let before = rig.repository.now().await.expect("a time");
    rig.collect().await;
    let list = rig.repository.condemned().await.expect("a list");
    let chunks = objects(&rig.dir.path().join("chunks"));
    assert_eq!(chunks.len() as u64, CHUNKS);
    for path in chunks {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let key = crate::repository::chunk::ChunkKey::parse(name).expect("a key");
        let Standing::Since(since) = list.standing(&crate::repository::condemned::Thing::Chunk(key)) else {
            panic!("it is condemned")
        };
        assert!(since > before);
    }
}
