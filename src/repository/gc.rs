//! The collector: deletes what no image refers to, while others write, read and delete.
//!
//! What nothing refers to is *condemned* by one run and deleted by a later one, after the grace of the repository.
//! docs/decisions/0010 says why nothing is deleted that an image needs, or will need.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;

pub use self::plan::{Fates, GcReport};
use self::plan::{Plan, Rules};
use super::announce::Sweep;
use super::chunk::ChunkKey;
use super::condemned::Thing;
use super::key::{self, Index};
use super::store::Listed;
use super::work::Work;
use super::{Repository, RepositoryError, StoreError};
use crate::image::manifest::ImageId;

/// Objects that are deleted or read at once.
const IN_FLIGHT: usize = 16;
/// Objects that are deleted between two looks for writers.
const BATCH: usize = 256;
/// After how long an object that only showed what the store does was left behind.
const PROBE_DIES: Duration = Duration::from_secs(3600);

/// Whether the collector deletes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collect {
    /// It does.
    ForReal,
    /// It only says what it would do, and writes nothing at all.
    DryRun {
        /// Now. The store's clock cannot be had without writing, and for a report any clock will do.
        now: SystemTime,
    },
}

impl Repository {
    /// Collects what no image refers to.
    ///
    /// # Errors
    /// If the repository cannot be read or written, another collector works, or anything about an image is damaged: then
    /// nothing is deleted, for what the image refers to is not known.
    pub async fn collect(&self, mode: Collect, work: &Work) -> Result<GcReport, RepositoryError> {
        self.store.check_writable(&key::condemned())?;
        match mode {
            Collect::DryRun { now } => {
                let mut plan = Run { repository: self, now, sweep: None, work }.plan().await?;
                let doomed = std::mem::take(&mut plan.doomed);
                if self.is_rescuing(now).await? {
                    plan.report.hold(&doomed);
                } else {
                    plan.report.delete(&doomed);
                }
                plan.report.leftovers.deleted += self.tidy_directory(now, false).await;
                Ok(plan.report)
            }
            Collect::ForReal => {
                let mut collector = Collector::begin(self).await?;
                let result = collector.run(work).await;
                collector.end().await;
                self.publish_list().await;
                result
            }
        }
    }
}

/// A collector that has announced itself.
struct Collector<'r> {
    repository: &'r Repository,
    sweep: Sweep<'r>,
    /// Whether deletes may still be on their way, because their answers never came.
    unsure: bool,
}

impl<'r> Collector<'r> {
    async fn begin(repository: &'r Repository) -> Result<Self, RepositoryError> {
        Ok(Self { repository, sweep: Sweep::begin(repository).await?, unsure: false })
    }

    async fn run(&mut self, work: &Work) -> Result<GcReport, RepositoryError> {
        let plan = self.plan(work).await?;
        let mut report = self.execute(plan, work).await?;
        report.leftovers.deleted += self.repository.tidy_directory(self.sweep.began(), true).await;
        Ok(report)
    }

    async fn plan(&mut self, work: &Work) -> Result<Plan, RepositoryError> {
        let now = self.sweep.began();
        Run { repository: self.repository, now, sweep: Some(&mut self.sweep), work }.plan().await
    }

    async fn execute(&mut self, mut plan: Plan, work: &Work) -> Result<GcReport, RepositoryError> {
        self.condemn(&mut plan).await?;
        let doomed = std::mem::take(&mut plan.doomed);
        work.find(doomed.len() as u64);
        let mut batches = doomed.chunks(BATCH);
        for batch in batches.by_ref() {
            self.sweep.renew_now().await?;
            if !self.sweep.may_delete() {
                plan.report.hold(batch);
                break;
            }
            self.delete(batch, work).await?;
            plan.report.delete(batch);
        }
        batches.for_each(|batch| plan.report.hold(batch));
        Ok(plan.report)
    }

    /// Writes the list before anything is deleted. A moment is only given to what everybody has been able to see in it.
    async fn condemn(&mut self, plan: &mut Plan) -> Result<(), RepositoryError> {
        if plan.changes() {
            self.sweep.renew().await?;
            self.repository.put_condemned(&plan.list).await?;
        }
        if plan.list.is_pending() {
            plan.list.stamp(self.sweep.renew_now().await?);
            self.repository.put_condemned(&plan.list).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, batch: &[(Thing, u64)], work: &Work) -> Result<(), RepositoryError> {
        let store = &self.repository.store;
        let retries = store.retries();
        let earlier = std::mem::replace(&mut self.unsure, true);
        let delete = |thing: &Thing| {
            let path = thing.path();
            async move {
                let deleted = store.delete(&path).await;
                work.step(0);
                deleted
            }
        };
        // Not a list of futures: a batch is all that is ever on its way.
        let deletes = stream::iter(batch.iter().map(|(thing, _)| delete(thing)));
        let all = deletes.buffer_unordered(IN_FLIGHT).try_collect::<()>();
        match tokio::time::timeout_at(self.sweep.deadline(), all).await {
            Ok(deleted) => deleted?,
            Err(_elapsed) => {
                let (location, object) = (self.repository.location().to_owned(), key::condemned().to_string());
                return Err(StoreError::Unavailable { location, object, retries: 0, source: None }.into());
            }
        }
        self.unsure = earlier || store.retries() > retries;
        Ok(())
    }

    /// Takes the announcements back, unless deletes may be on their way: then they stand until they die, so that nobody
    /// writes what is deleted a moment later.
    async fn end(self) {
        if self.unsure {
            tracing::warn!("deletes went unanswered: for a while writers and collectors have to wait");
        } else if let Err(error) = self.sweep.end().await {
            tracing::warn!(error = %crate::text::chain(&error), "cannot take back an announcement");
        }
    }
}

/// One look at everything.
struct Run<'r, 's> {
    repository: &'r Repository,
    now: SystemTime,
    /// None if nothing is announced.
    sweep: Option<&'s mut Sweep<'r>>,
    work: &'s Work,
}

/// What the images refer to.
#[derive(Default)]
struct Marked {
    images: HashSet<ImageId>,
    chunks: HashSet<ChunkKey>,
    /// Images without a manifest.
    unborn: Vec<ImageId>,
}

impl Run<'_, '_> {
    async fn plan(mut self) -> Result<Plan, RepositoryError> {
        let marked = self.mark().await?;
        let repository = self.repository;
        let rules = Rules::new(self.now, repository.format());
        let mut plan = Plan::new(rules, repository.condemned().await?, marked.images.len() as u64);
        let mut dirs = Box::pin(repository.chunk_objects());
        while let Some(objects) = dirs.next().await {
            for (key, object) in objects? {
                if marked.chunks.contains(&key) {
                    plan.live(object.size_bytes);
                } else {
                    plan.judge(Thing::Chunk(key), object.modified, object.size_bytes);
                }
            }
            self.step().await?;
        }
        for object in self.leftovers(&marked).await? {
            plan.judge(Thing::Leftover(object.path), object.modified, object.size_bytes);
        }
        for object in repository.store.list(&Path::from(key::GC)).await? {
            let age = self.now.duration_since(object.modified).unwrap_or_default();
            if key::is_probe(&object.path) && age > PROBE_DIES {
                plan.abandoned(Thing::Leftover(object.path), object.size_bytes);
            }
        }
        Ok(plan)
    }

    /// A step is done; says that the collector lives.
    async fn step(&mut self) -> Result<(), RepositoryError> {
        self.work.step(0);
        match &mut self.sweep {
            Some(sweep) => sweep.renew().await,
            None => Ok(()),
        }
    }

    /// Finds what images refer to: of those that are there from now on, all. What is damaged is an error: it is not known
    /// what it refers to.
    async fn mark(&mut self) -> Result<Marked, RepositoryError> {
        let ids = self.repository.image_ids().await?;
        self.work.find(ids.len() as u64 + key::chunk_dirs().count() as u64);
        let mut marked = Marked::default();
        let mut trees = Box::pin(self.repository.trees(ids));
        while let Some((id, found)) = trees.next().await {
            match found? {
                Some((image, tree)) => {
                    marked.images.insert(id);
                    marked.chunks.extend(image.chunk_layout()?.stored(&tree).map(|chunk| chunk.key));
                }
                None => marked.unborn.push(id),
            }
            self.step().await?;
        }
        Ok(marked)
    }

    /// Objects of images that are not there.
    async fn leftovers(&mut self, marked: &Marked) -> Result<Vec<Listed>, RepositoryError> {
        let mut leftovers = Vec::new();
        for id in &marked.unborn {
            let objects = self.repository.store.list(&key::image(*id)).await?;
            // It may have been born meanwhile.
            if objects.iter().all(|object| object.path != key::manifest(*id)) {
                leftovers.extend(objects);
            }
        }
        let repository = self.repository;
        let index = repository.store.list(&Path::from(key::PROJECTS)).await?;
        let orphaned = |object: Listed| async move {
            let referred = match Index::of(&object.path) {
                None => None,
                Some(Index::Owned(id)) => Some(id),
                Some(Index::Name | Index::Slot { .. }) => match repository.referred(&object.path).await {
                    // Whatever it is, it is the affair of a check.
                    Err(StoreError::Damaged { .. }) => None,
                    other => other?,
                },
            };
            let Some(id) = referred.filter(|id| !marked.images.contains(id)) else { return Ok(None) };
            Ok::<_, RepositoryError>((!repository.has_image(id).await?).then_some(object))
        };
        let mut found = Box::pin(stream::iter(index).map(orphaned).buffer_unordered(IN_FLIGHT));
        while let Some(orphan) = found.next().await {
            leftovers.extend(orphan?);
            if let Some(sweep) = &mut self.sweep {
                sweep.renew().await?;
            }
        }
        Ok(leftovers)
    }
}
