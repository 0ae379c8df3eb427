//! What a check finds, and that it finds all of it.

use std::path::Path;
use std::sync::Arc;

use super::{CheckReport, Depth, ProblemKind, Severity};
use crate::image::manifest::Kind;
use crate::repository::tests::{GROUP, content, import, objects, repository};
use crate::repository::{Format, Repository, StoredImage, Work, key};

async fn check(repository: &Repository, depth: Depth) -> CheckReport {
    repository.check(depth, &Work::default()).await.expect("checked")
}

fn kinds(report: &CheckReport) -> Vec<ProblemKind> {
    report.problems.iter().map(|problem| problem.kind).collect()
}

async fn image(repository: &Arc<Repository>, seed: u8, name: &str) -> StoredImage {
    import(repository, &content(seed), name, Kind::Private).await.expect("imported").image
}

fn remove(dir: &Path, object: &object_store::path::Path) {
    std::fs::remove_file(dir.join(object.as_ref())).expect("removed");
}

/// Changes one byte in the middle, or cuts the end off.
fn spoil(path: &Path, cut: bool) {
    let mut bytes = std::fs::read(path).expect("read");
    if cut {
        bytes.truncate(20);
    } else {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    std::fs::write(path, bytes).expect("written");
}

#[tokio::test]
async fn a_whole_repository_has_no_problems_and_every_byte_of_it_is_read_once() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format::default()).await;
    let first = image(&repository, 1, "a").await;
    let mut data = content(1);
    data[9 * GROUP] ^= 1;
    import(&repository, &data, "b", Kind::Public).await.expect("imported");
    let gone = image(&repository, 3, "c").await;
    repository.delete_image(&gone).await.expect("deleted");
    let shallow = check(&repository, Depth::Objects).await;
    assert_eq!((shallow.images, shallow.chunks.objects, shallow.unreferenced.objects), (2, 5, 4));
    assert_eq!((shallow.problems.len(), shallow.proven_bytes), (0, 0), "{shallow:?}");
    let deep = check(&repository, Depth::Content).await;
    let data_bytes = first.manifest.content.data_bytes;
    assert_eq!((deep.proven_bytes, deep.worst()), (data_bytes + 2 * GROUP as u64, None));
    let one = repository.verify_image(&first, &Work::default()).await.expect("verified");
    assert_eq!((one.proven_bytes, one.problems.len()), (data_bytes, 0));
    let stats = repository.stats(&Work::default()).await.expect("counted");
    assert_eq!((stats.images, stats.live, stats.unreferenced), (2, deep.chunks, deep.unreferenced));
    assert_eq!((stats.data_bytes, stats.unique_bytes), (2 * data_bytes, deep.proven_bytes));
    assert!(stats.dedup_ratio().is_some_and(|ratio| (1.5..2.0).contains(&ratio)));
    assert!(stats.compression_ratio().is_some_and(|ratio| (0.9..1.1).contains(&ratio)));
}

#[tokio::test]
async fn damage_of_every_kind_is_found_at_once() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format::default()).await;
    let (manifest, tree) = (image(&repository, 1, "a").await, image(&repository, 2, "b").await);
    let treeless = image(&repository, 3, "c").await;
    let before = objects(&dir.path().join("chunks"));
    let whole = image(&repository, 4, "d").await;
    let chunks: Vec<_> = objects(&dir.path().join("chunks")).into_iter().filter(|c| !before.contains(c)).collect();
    spoil(&dir.path().join(key::manifest(manifest.id).as_ref()), false);
    spoil(&dir.path().join(key::tree(tree.id).as_ref()), false);
    remove(dir.path(), &key::tree(treeless.id));
    std::fs::remove_file(&chunks[0]).expect("removed");
    spoil(&chunks[1], true);
    spoil(&chunks[2], false);
    let damage = [ProblemKind::Manifest, ProblemKind::Tree, ProblemKind::Tree, ProblemKind::ChunkMissing];
    let is_damage = |kind: &ProblemKind| kind.severity() == Severity::Damage;
    let shallow = check(&repository, Depth::Objects).await;
    let found: Vec<_> = kinds(&shallow).into_iter().filter(is_damage).collect();
    assert_eq!(found, [&damage[..], &[ProblemKind::ChunkLength]].concat());
    let deep = check(&repository, Depth::Content).await;
    let found: Vec<_> = kinds(&deep).into_iter().filter(is_damage).collect();
    assert_eq!(found, [&damage[..], &[ProblemKind::ChunkDamaged; 2]].concat());
    assert_eq!(deep.worst(), Some(Severity::Damage));
    let one = repository.verify_image(&whole, &Work::default()).await.expect("verified");
    assert_eq!(kinds(&one), [ProblemKind::ChunkMissing, ProblemKind::ChunkDamaged, ProblemKind::ChunkDamaged]);
    assert!(one.problems.iter().all(|problem| problem.image == Some(whole.id)));
    let one = repository.verify_image(&tree, &Work::default()).await.expect("verified");
    assert_eq!(kinds(&one), [ProblemKind::Tree]);
}

#[tokio::test]
async fn an_index_that_does_not_fit_the_images_is_found() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path(), Format::default()).await;
    let (first, second) = (image(&repository, 1, "a").await, image(&repository, 2, "b").await);
    let third = image(&repository, 3, "c").await;
    remove(dir.path(), &key::name("tests", "a", "1"));
    std::fs::write(dir.path().join(key::name("tests", "b", "1").as_ref()), first.id.to_string()).expect("written");
    remove(dir.path(), &key::owned("tests", second.id));
    std::fs::write(dir.path().join(key::slot("tests", 2).as_ref()), "nonsense").expect("written");
    std::fs::write(dir.path().join("images.json"), "{}").expect("written");
    let ghost = "ab".repeat(32).parse().expect("an id");
    std::fs::write(dir.path().join(key::owned("tests", ghost).as_ref()), "").expect("written");
    let report = check(&repository, Depth::Objects).await;
    let expected = [
        ProblemKind::NameMissing,
        ProblemKind::NameOther,
        ProblemKind::SlotMissing,
        ProblemKind::OwnedMissing,
        ProblemKind::IndexMalformed,
        ProblemKind::ListOutdated,
        ProblemKind::Leftover,
    ];
    assert_eq!(kinds(&report), expected);
    assert_eq!(report.worst(), Some(Severity::Index));
    let images: Vec<_> = report.problems[..4].iter().filter_map(|problem| problem.image).collect();
    assert_eq!(images, [first.id, second.id, third.id, second.id]);
    repository.publish_list().await;
    assert!(!kinds(&check(&repository, Depth::Objects).await).contains(&ProblemKind::ListOutdated));
}
