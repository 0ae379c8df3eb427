//! Writers, deleters and the collector, all at once on one repository, with a grace of seconds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Collect, Work};
use crate::image::manifest::{ImageId, Kind};
use crate::reason::{DomainError as _, Reason};
use crate::repository::tests::{GROUP, import, read, repository};
use crate::repository::{Depth, Format, Repository, StoredImage};

const WRITERS: usize = 5;
/// Deletes that there must have been, of chunks.
const ENOUGH: u64 = 40;
const LONGEST: Duration = Duration::from_secs(300);

struct Stage {
    begun: Instant,
    repository: Arc<Repository>,
    images: Mutex<HashMap<ImageId, (StoredImage, Vec<u8>)>>,
    deleted_chunks: AtomicU64,
    over: AtomicBool,
}

/// Four chunks that other images have as well, now and then one that was common some time ago: by then it is condemned.
fn random_content(seconds: u64) -> Vec<u8> {
    let mut content = Vec::new();
    for place in 0..4_u8 {
        let back = if fastrand::u8(0..40) == 0 { fastrand::u64(0..20) } else { fastrand::u64(0..4) };
        let mut chunk = vec![0; 4 * GROUP];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[place]).update(&seconds.saturating_sub(back).to_le_bytes());
        hasher.finalize_xof().fill(&mut chunk[..2 * GROUP]);
        content.extend_from_slice(&chunk);
    }
    content
}

impl Stage {
    /// Imports images and deletes some of them, until enough has happened.
    async fn write(&self, writer: usize) {
        for round in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let data = random_content(self.begun.elapsed().as_secs());
            match import(&self.repository, &data, &format!("image-{writer}-{round}"), Kind::Public).await {
                Ok(imported) => {
                    let image = imported.image;
                    self.images.lock().expect("lock").insert(image.id, (image, data));
                }
                // Of a grace of seconds, half is soon over on a busy machine.
                Err(error) => assert_eq!(error.reason(), Reason::UploadTooSlow, "{error}"),
            }
            self.delete_some().await;
        }
    }

    /// Deletes images down to a few: they have as little in common with what is written next as can be.
    async fn delete_some(&self) {
        loop {
            let victim = {
                let mut images = self.images.lock().expect("lock");
                let victim = images.keys().next().copied().filter(|_| images.len() > 3);
                victim.and_then(|id| images.remove(&id))
            };
            let Some((image, _)) = victim else { return };
            self.repository.delete_image(&image).await.expect("deleted");
        }
    }

    async fn collect(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let report = self.repository.collect(Collect::ForReal, &Work::default()).await.expect("collected");
            let deleted = self.deleted_chunks.fetch_add(report.chunks.deleted.objects, Ordering::Relaxed);
            if deleted >= ENOUGH || self.begun.elapsed() > LONGEST {
                self.over.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[tokio::test]
async fn images_stay_whole_while_others_are_written_deleted_and_collected() {
    let dir = tempfile::tempdir().expect("directory");
    let format = Format { grace_seconds: 4, ..Format::default() };
    let stage = Arc::new(Stage {
        begun: Instant::now(),
        repository: repository(dir.path(), format).await,
        images: Mutex::default(),
        deleted_chunks: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let writers = (0..WRITERS).map(|writer| {
        let stage = stage.clone();
        tokio::spawn(async move { stage.write(writer).await })
    });
    let writers: Vec<_> = writers.collect();
    stage.collect().await;
    for writer in writers {
        writer.await.expect("no panic");
    }
    assert!(stage.deleted_chunks.load(Ordering::Relaxed) >= ENOUGH, "the collector had nothing to do");
    stage.repository.publish_list().await;
    let report = stage.repository.check(Depth::Content, &Work::default()).await.expect("checked");
    assert_eq!(report.problems, [], "{report:?}");
    let images = std::mem::take(&mut *stage.images.lock().expect("lock"));
    assert_eq!(report.images, images.len() as u64);
    for (image, data) in images.values() {
        assert_eq!(&read(&stage.repository, image, 4).await.expect("read"), data);
    }
}
