//! The repository in a directory: what goes in comes out, and what is wrong is refused.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::chunk::ChunkLayout;
use super::upload::Upload;
use super::{Format, ImageWriter, Location, Repository, RepositoryError, Settings, StoreError, StoredImage};
use crate::image::group::{GroupSize, Layout};
use crate::image::manifest::{Content, DiskShape, Firmware, Kind, Manifest, PartitionTable, SCHEMA};
use crate::image::scan::scan;
use crate::image::source::{OpenOptions, open};
use crate::image::tree::{Group, Tree};
use crate::reason::{DomainError as _, Reason};

pub(super) const GROUP: usize = 64 << 10;

pub(super) fn settings(dir: &Path) -> Settings {
    Settings::new(Location::Directory(dir.to_owned()))
}

pub(super) async fn repository(dir: &Path, format: Format) -> Arc<Repository> {
    let format = Format { chunk_size_bytes: 4 * GROUP as u64, ..format };
    Arc::new(Repository::init(&settings(dir), format).await.expect("made"))
}

/// Content with data and holes of all kinds: whole chunks of either, mixed ones, and a short end.
pub(super) fn content(seed: u8) -> Vec<u8> {
    let mut content = vec![0; 23 * GROUP + 777];
    for group in [0, 1, 2, 3, 5, 9, 10, 20, 21, 23] {
        let end = (group + 1) * GROUP;
        let end = end.min(content.len());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[seed, u8::try_from(group).expect("small")]);
        hasher.finalize_xof().fill(&mut content[group * GROUP..end]);
    }
    content
}

pub(super) fn manifest(name: &str, kind: Kind, tree: &Tree) -> Manifest {
    let len = tree.layout().len_bytes();
    Manifest {
        schema: SCHEMA,
        name: name.to_owned(),
        version: "1".to_owned(),
        description: String::new(),
        labels: std::collections::BTreeMap::new(),
        kind,
        owner: "tests".to_owned(),
        os: None,
        disk: DiskShape {
            size_bytes: len,
            logical_block_size: 512,
            partition_table: PartitionTable::None,
            firmware: Firmware::Both,
            min_disk_bytes: len,
            min_memory_bytes: 0,
        },
        content: Content::of(tree),
        source_hardware_model: None,
        capture: None,
        plugin_report: None,
        parent: None,
        created_at: 1,
        not_after: None,
    }
}

/// Imports content as it is done from a file: several threads give pieces.
pub(super) async fn import(
    repository: &Arc<Repository>,
    data: &[u8],
    name: &str,
    kind: Kind,
) -> Result<Imported, RepositoryError> {
    let upload = Arc::new(Upload::begin(repository.clone(), 1).await?);
    let tree = write(&upload, data).await?;
    let image = upload.commit(manifest(name, kind, &tree), &tree).await?;
    let written = upload.counters().stored_bytes.load(std::sync::atomic::Ordering::Relaxed);
    Ok(Imported { image, written })
}

/// Writes the chunks of an image.
pub(super) async fn write(upload: &Arc<Upload>, data: &[u8]) -> Result<Tree, RepositoryError> {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), data).expect("written");
    let writing = upload.clone();
    let tree = tokio::task::spawn_blocking(move || {
        let source = open(file.path(), &OpenOptions::default()).expect("raw");
        let layout = Layout::new(source.len_bytes(), GroupSize::new(GROUP as u64).expect("valid"));
        let writer = ImageWriter::new(&writing, layout);
        let failure = Mutex::new(None);
        let sink = |piece| match writer.take(&piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure.lock().expect("lock").replace(error);
                ControlFlow::Break(())
            }
        };
        scan(&source, layout, NonZeroUsize::new(3).expect("three"), &sink).expect("readable");
        match failure.into_inner().expect("lock") {
            Some(error) => Err(error),
            None => writer.finish(layout),
        }
    });
    let tree = tree.await.expect("no panic")?;
    upload.flush().await?;
    Ok(tree)
}

#[derive(Debug)]
pub(super) struct Imported {
    pub(super) image: StoredImage,
    pub(super) written: u64,
}

/// The content of an image, fetched group by group as `step` groups at a time.
pub(super) async fn read(repository: &Repository, image: &StoredImage, step: u64) -> Result<Vec<u8>, RepositoryError> {
    let tree = repository.tree(image).await?;
    let layout = tree.layout();
    let chunks = ChunkLayout::new(layout, image.manifest.content.chunk_size_bytes);
    let mut out = vec![0; usize::try_from(layout.len_bytes()).expect("small")];
    for chunk in 0..chunks.chunks() {
        let range = chunks.groups(chunk);
        let groups: Vec<Group> =
            range.clone().map(|group| tree.groups()[usize::try_from(group).expect("small")]).collect();
        let Some(key) = chunks.key(chunk, &groups) else { continue };
        let data = range.clone().zip(&groups).filter(|(_, group)| **group != Group::Hole).map(|(group, _)| group);
        let data: Vec<u64> = data.collect();
        for some in data.chunks(usize::try_from(step).expect("small")) {
            let wanted: Vec<_> = some.iter().map(|&group| group..group + 1).collect();
            for frame in repository.frames(&chunks, chunk, key, &wanted).await? {
                let at = usize::try_from(layout.byte_range(frame.group, 1).start).expect("small");
                let bytes = zstd::bulk::decompress(&frame.bytes, GROUP).expect("zstd");
                out[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
    }
    Ok(out)
}

pub(super) fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("directory") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() { dirs.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

#[tokio::test]
async fn what_is_imported_comes_back_whole_and_group_by_group() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format::default()).await;
    assert!(repository.format().conditional_puts, "a file system creates a file only once");
    let data = content(1);
    let Imported { image, .. } = import(&repository, &data, "debian", Kind::Public).await.expect("imported");
    assert_eq!(image.manifest.content.root.0, blake3::hash(&data));
    let reopened = Repository::open(&settings(dir.path())).await.expect("opened");
    let id = image.id.to_string();
    for name in ["debian", "debian:1", "tests/debian", "tests/debian:1", &id, &id[..12], &id[..8]] {
        assert_eq!(reopened.find(&name.parse().expect("a name")).await.expect(name), image);
    }
    let error = reopened.find(&id[..7].parse().expect("a name")).await.expect_err("too short");
    assert_eq!(error.reason(), Reason::ImageNotFound);
    for step in [1, 4] {
        assert_eq!(read(&reopened, &image, step).await.expect("read"), data, "{step} groups at a time");
    }
}

#[tokio::test]
async fn what_is_there_is_not_written_again() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format::default()).await;
    let mut data = content(1);
    let first = import(&repository, &data, "a", Kind::Public).await.expect("imported");
    data[9 * GROUP + 5] ^= 1;
    let second = import(&repository, &data, "b", Kind::Public).await.expect("imported");
    // One chunk with two groups of random bytes differs.
    let bytes = 2 * GROUP as u64;
    assert!((bytes..bytes + 1000).contains(&second.written), "{} bytes", second.written);
    let stored = |imported: &Imported| imported.image.manifest.content.stored_bytes;
    assert_eq!((stored(&first), first.written), (stored(&second), stored(&first)));
    assert_eq!(read(&repository, &second.image, 4).await.expect("read"), data);
}

#[tokio::test]
async fn a_name_is_given_once_and_private_images_are_counted() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format { max_private_images: 2, ..Format::default() }).await;
    let data = content(1);
    let first = import(&repository, &data, "a", Kind::Private).await.expect("imported");
    let error = import(&repository, &data, "a", Kind::Public).await.expect_err("the name is taken");
    assert_eq!(error.reason(), Reason::ImageExists);
    import(&repository, &data, "b", Kind::Private).await.expect("imported");
    let error = import(&repository, &data, "c", Kind::Private).await.expect_err("no place is left");
    assert_eq!(error.reason(), Reason::ImageQuotaExceeded);
    import(&repository, &data, "c", Kind::Public)
        .await
        .expect("the name was given back, and public images do not count");
    repository.delete_image(&first.image).await.expect("deleted");
    let error = repository.find(&"a".parse().expect("a name")).await.expect_err("deleted");
    assert_eq!(error.reason(), Reason::ImageNotFound);
    import(&repository, &data, "a", Kind::Private).await.expect("name and place are free again");
    let names: Vec<_> = repository.images().await.expect("listed").into_values().map(|image| image.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test]
async fn of_many_private_images_at_once_only_as_many_as_allowed_are_made() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format { max_private_images: 3, ..Format::default() }).await;
    let data = content(1);
    let names: Vec<_> = (0..8).map(|index| format!("image-{index}")).collect();
    let imports = names.iter().map(|name| import(&repository, &data, name, Kind::Private));
    let results = futures_util::future::join_all(imports).await;
    let (made, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (3, 5));
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!(error.reason(), Reason::ImageQuotaExceeded);
    }
    assert_eq!(repository.images().await.expect("listed").len(), 3);
}

#[tokio::test]
async fn any_damaged_object_is_found() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format::default()).await;
    let image = import(&repository, &content(1), "a", Kind::Public).await.expect("imported").image;
    let touched = |path: &Path| !path.to_string_lossy().contains("projects") && !path.ends_with("images.json");
    let mut damaged = 0;
    for path in objects(dir.path()).into_iter().filter(|path| touched(path)) {
        let good = std::fs::read(&path).expect("read");
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 4;
        for bytes in [&bad[..], &good[..good.len() - 1], b"<html>not what you think</html>"] {
            std::fs::write(&path, bytes).expect("written");
            let opened = Repository::open(&settings(dir.path())).await;
            let result = match opened {
                Ok(opened) => match opened.image(image.id).await {
                    Ok(image) => read(&opened, &image, 4).await.map(drop),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            let expected =
                if path.ends_with("repository.json") { Reason::RepositoryInvalid } else { Reason::ImageDamaged };
            match result {
                Err(error) => assert_eq!(error.reason(), expected, "{}", path.display()),
                // A flipped bit may be in a digit or a space of this one; it is no proof of anything.
                Ok(()) => assert!(path.ends_with("repository.json"), "{}", path.display()),
            }
            damaged += 1;
        }
        std::fs::write(&path, good).expect("written");
    }
    assert!(damaged > 15, "{damaged}");
}

#[tokio::test]
async fn what_is_no_repository_is_told_and_one_is_not_made_twice() {
    let dir = tempfile::tempdir().expect("directory");
    let error = Repository::open(&settings(dir.path())).await.expect_err("empty");
    assert!(matches!(error, RepositoryError::NotARepository { .. }), "{error}");
    repository(dir.path(), Format::default()).await;
    let error = Repository::init(&settings(dir.path()), Format::default()).await.expect_err("made already");
    assert!(matches!(error, RepositoryError::Exists { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_chunk_is_damage_and_not_a_missing_image() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format::default()).await;
    let image = import(&repository, &content(1), "a", Kind::Public).await.expect("imported").image;
    std::fs::remove_dir_all(dir.path().join("chunks")).expect("removed");
    let error = read(&repository, &image, 4).await.expect_err("no chunks");
    assert!(matches!(error, RepositoryError::Store(StoreError::NotFound { .. })), "{error}");
    assert_eq!(error.reason(), Reason::ImageDamaged);
}
