//! Whether a repository is whole: every image, every chunk, every index object. Changes nothing, and goes on after
//! whatever it finds; only a repository that does not answer ends it.

mod index;
mod problem;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};

pub use self::problem::{Problem, ProblemKind, Severity};
use super::catalog::ImageSummary;
use super::chunk::{ChunkKey, ChunkLayout, table_bytes};
use super::content::chunks_at_once;
use super::mark::StoredChunk;
use super::work::Work;
use super::{Amount, Repository, RepositoryError, StoreError, StoredImage, key};
use crate::image::manifest::ImageId;
use crate::image::tree::{Group, Tree};

/// Most problems that are told one by one.
const MAX_PROBLEMS: usize = 10_000;
/// The shortest zstd frame, in bytes.
const SHORTEST_FRAME: u64 = 9;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Manifests, trees and index objects; of chunks, whether they are there and of a possible length.
    Objects,
    /// Every byte: each chunk is read once, decompressed, and compared with the chaining values of its groups.
    Content,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Images that there are.
    pub images: u64,
    /// Chunks that they refer to and that are there. Of a check of one image, the chunks of that one.
    pub chunks: Amount,
    /// Chunks that no image refers to.
    pub unreferenced: Amount,
    /// Content that was read and proven, in bytes.
    pub proven_bytes: u64,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// How many problems are not among them, because there are too many.
    pub more_problems: u64,
}

impl CheckReport {
    /// How bad the worst problem is; none if there is none.
    pub fn worst(&self) -> Option<Severity> {
        self.problems.iter().map(|problem| problem.kind.severity()).max()
    }

    fn add(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    fn sorted(mut self) -> Self {
        self.problems.sort_by_cached_key(|problem| {
            (std::cmp::Reverse(problem.kind.severity()), problem.kind, problem.object.clone())
        });
        self
    }
}

impl Repository {
    /// Checks everything.
    ///
    /// # Errors
    /// If the repository cannot be reached, read or listed. What is damaged is in the report.
    pub async fn check(&self, depth: Depth, work: &Work) -> Result<CheckReport, RepositoryError> {
        self.store.check_writable(&key::condemned())?;
        let mut check = Check::new(self, depth, work);
        check.images().await?;
        check.chunks().await?;
        check.index().await?;
        Ok(check.report.sorted())
    }

    /// Reads every chunk of an image, and compares every group with its chaining value.
    ///
    /// # Errors
    /// If the repository cannot be reached or read. What is damaged is in the report.
    pub async fn verify_image(&self, image: &StoredImage, work: &Work) -> Result<CheckReport, RepositoryError> {
        let mut check = Check::new(self, Depth::Content, work);
        match self.tree(image).await {
            Ok(tree) => check.image(image, &tree).await?,
            Err(error) => check.damaged_tree(image.id, error)?,
        }
        let sizes = check.chunks.values().filter(|chunk| !chunk.told);
        for expected in sizes {
            check.report.chunks += expected.len_bytes.unwrap_or_default();
        }
        check.report.images = 1;
        Ok(check.report.sorted())
    }
}

/// A check on its way.
struct Check<'r> {
    repository: &'r Repository,
    depth: Depth,
    work: &'r Work,
    images: HashMap<ImageId, ImageSummary>,
    chunks: HashMap<ChunkKey, Expected>,
    report: CheckReport,
}

/// What the object of a chunk must be like.
#[derive(Debug)]
struct Expected {
    /// An image that refers to it.
    image: ImageId,
    shortest: u64,
    longest: u64,
    /// Length of the object, once it is known.
    len_bytes: Option<u64>,
    /// Whether something is wrong with it and was told.
    told: bool,
}

impl Expected {
    fn new(image: ImageId, chunks: &ChunkLayout, stored: &StoredChunk<'_>) -> Self {
        let data = stored.groups.iter().filter(|group| **group != Group::Hole).count() as u64;
        let shortest = table_bytes(stored.groups.len() as u64) + data * SHORTEST_FRAME;
        Self { image, shortest, longest: chunks.max_object_bytes(), len_bytes: None, told: false }
    }
}

impl<'r> Check<'r> {
    fn new(repository: &'r Repository, depth: Depth, work: &'r Work) -> Self {
        let (images, chunks) = (HashMap::new(), HashMap::new());
        Self { repository, depth, work, images, chunks, report: CheckReport::default() }
    }

    async fn images(&mut self) -> Result<(), RepositoryError> {
        let ids = self.repository.image_ids().await?;
        self.work.find(ids.len() as u64);
        let mut trees = Box::pin(self.repository.trees(ids));
        while let Some((id, found)) = trees.next().await {
            self.work.step(0);
            match found {
                Ok(Some((image, tree))) => self.image(&image, &tree).await?,
                Ok(None) => {}
                Err(error) => self.damaged_image(id, error).await?,
            }
        }
        self.report.images = self.images.len() as u64;
        Ok(())
    }

    /// Notes the chunks of an image, and reads those that are new if content is to be read.
    async fn image(&mut self, image: &StoredImage, tree: &Tree) -> Result<(), RepositoryError> {
        self.images.insert(image.id, ImageSummary::from(&image.manifest));
        let chunks = image.chunk_layout()?;
        let mut new = Vec::new();
        for stored in chunks.stored(tree) {
            self.chunks.entry(stored.key).or_insert_with(|| {
                new.push(stored.clone());
                Expected::new(image.id, &chunks, &stored)
            });
        }
        match self.depth {
            Depth::Objects => Ok(()),
            Depth::Content => self.content(&chunks, &new).await,
        }
    }

    async fn content(&mut self, chunks: &ChunkLayout, new: &[StoredChunk<'_>]) -> Result<(), RepositoryError> {
        self.work.find(new.len() as u64);
        let repository = self.repository;
        let reads = new.iter().map(|stored| async move {
            let proven = repository.proven(chunks, stored).await;
            (stored.key, proven.map(|groups| groups.iter().map(|group| group.content.len() as u64).sum::<u64>()))
        });
        let mut reads = stream::iter(reads).buffer_unordered(chunks_at_once(chunks));
        while let Some((key, proven)) = reads.next().await {
            self.work.step(*proven.as_ref().unwrap_or(&0));
            match proven {
                Ok(bytes) => self.report.proven_bytes += bytes,
                Err(error) => {
                    let missing = error.is_not_found();
                    let kind = if missing { ProblemKind::ChunkMissing } else { ProblemKind::ChunkDamaged };
                    self.bad_chunk(key, kind, problem_of(error)?).await?;
                }
            }
        }
        Ok(())
    }

    /// Compares the objects that there are with those that there must be.
    async fn chunks(&mut self) -> Result<(), RepositoryError> {
        let mut dirs = Box::pin(self.repository.chunk_objects());
        while let Some(objects) = dirs.next().await {
            for (key, object) in objects? {
                match self.chunks.get_mut(&key) {
                    Some(expected) => expected.len_bytes = Some(object.size_bytes),
                    None => self.report.unreferenced += object.size_bytes,
                }
            }
        }
        let mut wrong = Vec::new();
        for (key, expected) in &self.chunks {
            match expected.len_bytes {
                Some(len) if (expected.shortest..=expected.longest).contains(&len) => self.report.chunks += len,
                Some(len) => {
                    let detail = format!("it has {len} bytes, not {} to {}", expected.shortest, expected.longest);
                    wrong.push((*key, ProblemKind::ChunkLength, detail));
                }
                None => wrong.push((*key, ProblemKind::ChunkMissing, "there is no such object".to_owned())),
            }
        }
        for (key, kind, detail) in wrong {
            self.bad_chunk(key, kind, detail).await?;
        }
        Ok(())
    }

    /// Tells what is wrong with a chunk, once, and if it still matters.
    async fn bad_chunk(&mut self, key: ChunkKey, kind: ProblemKind, detail: String) -> Result<(), RepositoryError> {
        let Some(expected) = self.chunks.get_mut(&key).filter(|expected| !expected.told) else { return Ok(()) };
        expected.told = true;
        let image = expected.image;
        // The image may be deleted by now, and even its chunks collected.
        if self.repository.has_image(image).await? {
            self.report.add(Problem { kind, object: key.path().to_string(), image: Some(image), detail });
        }
        Ok(())
    }

    async fn damaged_image(&mut self, id: ImageId, error: RepositoryError) -> Result<(), RepositoryError> {
        if self.repository.image(id).await.is_ok() {
            return self.damaged_tree(id, error);
        }
        let detail = problem_of(error)?;
        let object = key::manifest(id).to_string();
        self.report.add(Problem { kind: ProblemKind::Manifest, object, image: Some(id), detail });
        Ok(())
    }

    fn damaged_tree(&mut self, id: ImageId, error: RepositoryError) -> Result<(), RepositoryError> {
        let (object, detail) = (key::tree(id).to_string(), problem_of(error)?);
        self.report.add(Problem { kind: ProblemKind::Tree, object, image: Some(id), detail });
        Ok(())
    }
}

/// What is wrong with an object; an error if it is the repository that cannot be used.
fn problem_of(error: RepositoryError) -> Result<String, RepositoryError> {
    match error {
        RepositoryError::Store(StoreError::Damaged { problem, .. }) => Ok(problem),
        RepositoryError::Store(StoreError::NotFound { .. }) => Ok("there is no such object".to_owned()),
        RepositoryError::Manifest(error) => Ok(crate::text::chain(&error)),
        RepositoryError::Store(_)
        | RepositoryError::Settings { .. }
        | RepositoryError::NotARepository { .. }
        | RepositoryError::Exists { .. }
        | RepositoryError::NoImage { .. }
        | RepositoryError::Ambiguous { .. }
        | RepositoryError::NameTaken { .. }
        | RepositoryError::Quota { .. }
        | RepositoryError::NotWhole(_)
        | RepositoryError::TooSlow { .. }
        | RepositoryError::Sweeping { .. }
        | RepositoryError::Collecting { .. }
        | RepositoryError::CollectorStalled { .. }
        | RepositoryError::Process { .. } => Err(error),
    }
}
