//! An image of a repository as a disk that is read here and there: only the chunks that are touched are fetched, each is
//! proven, and the last few are kept.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;

use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use super::chunk::ChunkLayout;
use super::upload::Upload;
use super::{Repository, RepositoryError, StoredImage};
use crate::image::tree::{Group, Tree};
use crate::inspect::child::{InspectError, Inspector};
use crate::inspect::examine::{Examination, Request};
use crate::inspect::reader::{DiskReader, check_bounds};
use crate::reason::{DomainError, Reason};

/// Bytes of chunks that are kept.
const KEPT_BYTES: u64 = 16 << 20;
/// Most bytes of an image that are brought, as they are on the disk: whoever reads here and there makes each byte cost a
/// chunk.
const MAX_BROUGHT_BYTES: u64 = 2 << 30;

/// An image that cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The repository does not give what is to be looked at.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Whoever looks has failed.
    #[error(transparent)]
    Inspect(#[from] InspectError),
}

impl LookError {
    fn inner(&self) -> &dyn DomainError {
        match self {
            Self::Repository(error) => error,
            Self::Inspect(error) => error,
        }
    }
}

impl DomainError for LookError {
    fn reason(&self) -> Reason {
        self.inner().reason()
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        self.inner().metadata()
    }
}

/// Who moves the connections on while bytes are waited for.
#[derive(Debug)]
enum Driver<'a> {
    /// The thread that waits: nobody else runs this runtime.
    Here(&'a Runtime),
    /// Another thread, which runs it.
    Elsewhere(Handle),
}

impl Driver<'_> {
    fn wait<F: Future>(&self, future: F) -> F::Output {
        match self {
            Self::Here(runtime) => runtime.block_on(future),
            Self::Elsewhere(runtime) => runtime.block_on(future),
        }
    }
}

/// Reads an image at any offset. Blocks: never to be used from a task.
#[derive(Debug)]
pub struct ImageReader<'a> {
    repository: &'a Repository,
    chunks: ChunkLayout,
    tree: Tree,
    driver: Driver<'a>,
    /// The one used last comes first.
    kept: RefCell<Vec<Kept>>,
    most_kept: usize,
    brought_bytes: Cell<u64>,
    /// Why the first chunk that could not be had could not.
    failure: RefCell<Option<RepositoryError>>,
}

/// The content of a chunk.
#[derive(Debug)]
struct Kept {
    /// Its bytes on the disk.
    range: Range<u64>,
    content: Vec<u8>,
}

impl<'a> ImageReader<'a> {
    /// Fetches the tree of an image, and nothing else yet. Nobody else may be running `runtime`.
    ///
    /// # Errors
    /// If the tree cannot be fetched, or is not the image's.
    pub fn open(
        repository: &'a Repository,
        image: &StoredImage,
        runtime: &'a Runtime,
    ) -> Result<Self, RepositoryError> {
        let tree = runtime.block_on(repository.tree(image))?;
        Ok(Self::new(repository, image.chunk_layout()?, tree, Driver::Here(runtime)))
    }

    /// Of an upload of which all chunks are written, and that is no image yet. Its runtime runs on another thread.
    pub fn of_upload(upload: &'a Upload, tree: Tree) -> Self {
        let repository = upload.repository();
        let chunks = ChunkLayout::new(tree.layout(), repository.format().chunk_size_bytes);
        Self::new(repository, chunks, tree, Driver::Elsewhere(upload.runtime().clone()))
    }

    fn new(repository: &'a Repository, chunks: ChunkLayout, tree: Tree, driver: Driver<'a>) -> Self {
        let most_kept = usize::try_from(KEPT_BYTES / chunks.max_object_bytes()).unwrap_or(usize::MAX).max(1);
        let (kept, brought_bytes, failure) = Default::default();
        Self { repository, chunks, tree, driver, kept, most_kept, brought_bytes, failure }
    }

    /// Looks into the image, in a child.
    ///
    /// # Errors
    /// [`LookError`]. What the repository did not give is never taken for something that the image lacks.
    ///
    /// # Blocking
    /// As [`Inspector::examine`], and as long as the repository takes.
    pub fn examine(
        self,
        inspector: &Inspector,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Examination, LookError> {
        let examination = inspector.examine(&self, request, cancel)?;
        match self.failure.into_inner() {
            Some(error) => Err(error.into()),
            None => Ok(Examination { fetched_bytes: self.repository.fetched_bytes(), ..examination }),
        }
    }

    /// Makes the chunk that holds `offset` the first of those that are kept.
    fn bring(&self, kept: &mut Vec<Kept>, offset: u64) -> io::Result<()> {
        if let Some(at) = kept.iter().position(|one| one.range.contains(&offset)) {
            kept[..=at].rotate_right(1);
            return Ok(());
        }
        let fetched = self.fetch(offset)?;
        kept.truncate(self.most_kept - 1);
        kept.insert(0, fetched);
        Ok(())
    }

    fn fetch(&self, offset: u64) -> io::Result<Kept> {
        let (chunks, layout) = (&self.chunks, self.tree.layout());
        let chunk = chunks.chunk_of(offset / layout.group_size().bytes());
        let groups = chunks.groups(chunk);
        let range = layout.byte_range(groups.start, groups.end - groups.start);
        let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let brought_bytes = self.brought_bytes.get() + (range.end - range.start);
        if brought_bytes > MAX_BROUGHT_BYTES {
            return Err(io::Error::other("more of the image would be fetched than a look may cost"));
        }
        self.brought_bytes.set(brought_bytes);
        let mut content = vec![0; len];
        let holes = self.tree.groups().get(super::mark::positions(groups)).unwrap_or_default();
        if holes.iter().any(|group| *group != Group::Hole) {
            let proven = self.driver.wait(self.repository.content_of(chunks, &self.tree, chunk));
            for group in proven.map_err(|error| self.failed(error))? {
                let start = layout.byte_range(group.group, 1).start - range.start;
                let start = usize::try_from(start).map_err(io::Error::other)?;
                content[start..start + group.content.len()].copy_from_slice(&group.content);
            }
        }
        Ok(Kept { range, content })
    }

    fn failed(&self, error: RepositoryError) -> io::Error {
        let told = io::Error::other(error.to_string());
        self.failure.borrow_mut().get_or_insert(error);
        told
    }
}

impl DiskReader for ImageReader<'_> {
    fn len_bytes(&self) -> u64 {
        self.tree.layout().len_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes(), offset, out.len())?;
        let mut kept = self.kept.borrow_mut();
        let (mut at, mut rest) = (offset, out);
        while !rest.is_empty() {
            self.bring(&mut kept, at)?;
            let chunk = kept.first().ok_or(io::ErrorKind::UnexpectedEof)?;
            let skip = usize::try_from(at - chunk.range.start).map_err(io::Error::other)?;
            let len = rest.len().min(chunk.content.len() - skip);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&chunk.content[skip..skip + len]);
            at += len as u64;
            rest = later;
        }
        Ok(())
    }
}
