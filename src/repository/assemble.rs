//! From pieces of content, in any order, to chunks and the tree: the sink of everybody who writes an image.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::RepositoryError;
use super::chunk::ChunkLayout;
use super::upload::{Chunk, Upload};
use crate::image::group::Layout;
use crate::image::scan::Piece;
use crate::image::tree::{Group, Tree};

/// Writes the pieces of one image. Several threads may give them; each compresses what it gives.
#[derive(Debug)]
pub struct ImageWriter<'a> {
    upload: &'a Upload,
    chunks: ChunkLayout,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is known of each group; grows with the pieces, for the length of a stream shows at its end.
    groups: Vec<Option<Group>>,
    /// Chunks of which some groups have come, and others have not. A piece ends where a run does, so there are about as
    /// many as there are threads.
    partial: HashMap<u64, Partial>,
}

/// A chunk of which some groups have come.
#[derive(Debug, Default)]
struct Partial {
    /// Copies of the data groups, by their place in the chunk: a piece's own memory is to be given back soon.
    data: HashMap<usize, Bytes>,
    known: u64,
}

/// Some groups of a piece that lie in one chunk.
struct Stretch<'p> {
    chunk: u64,
    first: u64,
    count: u64,
    /// Their content; none for holes.
    content: Option<&'p Bytes>,
    /// Where the content of the first begins.
    offset: usize,
}

impl<'a> ImageWriter<'a> {
    /// Writes by means of `upload`. Of a stream whose length is not known yet, `layout` has the greatest there is.
    pub fn new(upload: &'a Upload, layout: Layout) -> Self {
        let chunks = ChunkLayout::new(layout, upload.repository().format().chunk_size_bytes);
        Self { upload, chunks, state: Mutex::default() }
    }

    /// Takes a piece.
    ///
    /// # Blocking
    /// While it compresses, and while too much is on its way. Not to be called from the runtime.
    ///
    /// # Errors
    /// Whatever went wrong in the repository, now or with a piece before.
    pub fn take(&self, piece: &Piece) -> Result<(), RepositoryError> {
        self.note(piece);
        let (first, count, content) = match piece {
            Piece::Hole { first, count } => (*first, *count, None),
            Piece::Data { first, chaining_values, content } => (*first, chaining_values.len() as u64, Some(content)),
        };
        let group_len = self.chunks.layout().group_size().as_usize();
        let mut at = first;
        while at < first + count {
            let chunk = self.chunks.chunk_of(at);
            let end = self.chunks.groups(chunk).end.min(first + count);
            let offset = length(at - first) * group_len;
            self.stretch(&Stretch { chunk, first: at, count: end - at, content, offset })?;
            at = end;
        }
        Ok(())
    }

    /// Ends an image of this layout: writes what was waiting for groups that the image does not have, and gives the tree.
    ///
    /// # Errors
    /// If a piece is missing, or could not be written.
    pub fn finish(self, layout: Layout) -> Result<Tree, RepositoryError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let groups: Option<Vec<_>> = state.groups.into_iter().collect();
        let tree = Tree::new(layout, groups.unwrap_or_default())?;
        let chunks = ChunkLayout::new(layout, self.upload.repository().format().chunk_size_bytes);
        for (chunk, partial) in state.partial {
            store(self.upload, &chunks, chunk, tree.groups(), &partial)?;
        }
        Ok(tree)
    }

    fn note(&self, piece: &Piece) {
        let mut state = self.state();
        let (first, groups): (u64, Vec<_>) = match piece {
            Piece::Hole { first, count } => (*first, vec![Some(Group::Hole); length(*count)]),
            Piece::Data { first, chaining_values, .. } => {
                (*first, chaining_values.iter().map(|&value| Some(Group::Data(value))).collect())
            }
        };
        let (start, end) = (length(first), length(first) + groups.len());
        if state.groups.len() < end {
            state.groups.resize(end, None);
        }
        state.groups[start..end].copy_from_slice(&groups);
    }

    /// Writes the chunk at once if the stretch is all of it; else keeps it until the rest is there.
    fn stretch(&self, stretch: &Stretch<'_>) -> Result<(), RepositoryError> {
        let all = self.chunks.groups(stretch.chunk);
        let whole = stretch.count == all.end - all.start;
        if whole && stretch.content.is_none() {
            return Ok(());
        }
        let partial = self.data_of(stretch, !whole);
        let ready = if whole { Some(partial) } else { self.keep(stretch.chunk, all.end - all.start, partial) };
        let Some(ready) = ready else { return Ok(()) };
        let (start, end) = (length(all.start), length(all.end));
        let groups: Vec<Group> = self.state().groups[start..end].iter().copied().flatten().collect();
        store_groups(self.upload, &self.chunks, stretch.chunk, &groups, &ready)
    }

    /// The data of a stretch, as a part of its chunk.
    fn data_of(&self, stretch: &Stretch<'_>, copy: bool) -> Partial {
        let mut partial = Partial { known: stretch.count, data: HashMap::new() };
        let Some(content) = stretch.content else { return partial };
        let group_len = self.chunks.layout().group_size().as_usize();
        let first = length(stretch.first - self.chunks.groups(stretch.chunk).start);
        for index in 0..length(stretch.count) {
            let start = stretch.offset + index * group_len;
            let data = content.slice(start..(start + group_len).min(content.len()));
            partial.data.insert(first + index, if copy { Bytes::copy_from_slice(&data) } else { data });
        }
        partial
    }

    /// Puts a part of a chunk with the others; gives the chunk when nothing is missing.
    fn keep(&self, chunk: u64, groups: u64, part: Partial) -> Option<Partial> {
        let mut state = self.state();
        let partial = state.partial.entry(chunk).or_default();
        partial.known += part.known;
        partial.data.extend(part.data);
        if partial.known < groups { None } else { state.partial.remove(&chunk) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a chunk of a whole image, given all groups of it.
fn store(
    upload: &Upload,
    chunks: &ChunkLayout,
    chunk: u64,
    groups: &[Group],
    data: &Partial,
) -> Result<(), RepositoryError> {
    let range = chunks.groups(chunk);
    let groups = groups.get(length(range.start)..length(range.end)).unwrap_or_default();
    store_groups(upload, chunks, chunk, groups, data)
}

fn store_groups(
    upload: &Upload,
    chunks: &ChunkLayout,
    chunk: u64,
    groups: &[Group],
    data: &Partial,
) -> Result<(), RepositoryError> {
    let Some(key) = chunks.key(chunk, groups) else { return Ok(()) };
    let slices: Vec<_> = (0..groups.len()).map(|group| data.data.get(&group).map(Bytes::as_ref)).collect();
    upload.store(&Chunk { key, groups: &slices })
}

/// A number of groups as a length in memory. An image whose groups do not fit is refused before.
fn length(groups: u64) -> usize {
    usize::try_from(groups).unwrap_or(usize::MAX)
}
