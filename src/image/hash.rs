//! The tree of a source: what `bmsctl image hash` prints the root of.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::group::{ChainingValue, Layout};
use super::scan::{Piece, scan};
use super::source::{Source, SourceError};
use super::tree::{Group, Tree};

/// Groups of zeroes that a thread hashes in one go.
const HOLE_GROUPS: usize = 16;

/// What is known of each group: nothing yet means that it is a hole.
type Values = Vec<Option<ChainingValue>>;

/// Reads all of `source`, and gives the chaining value of each of its groups.
///
/// # Errors
/// If the source cannot be read to its end.
pub fn tree_of(source: &Source, layout: Layout, workers: NonZeroUsize) -> Result<Tree, SourceError> {
    let values = data_values(source, layout, workers)?;
    let mut groups: Vec<_> = values
        .into_iter()
        .map(|value| Group { hole: value.is_none(), chaining_value: value.unwrap_or(ChainingValue([0; 32])) })
        .collect();
    hash_holes(&mut groups, layout, workers);
    let path = source.path().to_owned();
    Tree::new(layout, groups).map_err(|_wrong_count| SourceError::Truncated { path })
}

fn data_values(source: &Source, layout: Layout, workers: NonZeroUsize) -> Result<Values, SourceError> {
    let groups = usize::try_from(layout.groups()).unwrap_or(usize::MAX);
    let values: Mutex<Values> = Mutex::new(vec![None; groups]);
    let enter = |piece| {
        if let Piece::Data { first, chaining_values, .. } = piece {
            let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
            let start = usize::try_from(first).unwrap_or(usize::MAX);
            for (slot, value) in values.iter_mut().skip(start).zip(chaining_values) {
                *slot = Some(value);
            }
        }
        ControlFlow::Continue(())
    };
    scan(source, layout, workers, &enter)?;
    Ok(values.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Hashes the zeroes of all holes, on all cores: a hole's value depends on its offset.
fn hash_holes(groups: &mut [Group], layout: Layout, workers: NonZeroUsize) {
    let zeroes = vec![0; layout.group_size().as_usize()];
    let parts = Mutex::new((0_u64..).step_by(HOLE_GROUPS).zip(groups.chunks_mut(HOLE_GROUPS)));
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..workers.get() {
            scope.spawn(|| {
                while let Some((first, part)) = next() {
                    for (index, group) in (first..).zip(part).filter(|(_, group)| group.hole) {
                        group.chaining_value = layout.chaining_value(index, &zeroes[..layout.group_len(index)]);
                    }
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};
    use std::num::NonZeroUsize;

    use super::tree_of;
    use crate::image::group::{GroupSize, Layout};
    use crate::image::source::{OpenOptions, open};
    use crate::image::tree::Tree;

    fn tree(file: &tempfile::NamedTempFile) -> Tree {
        let source = open(file.path(), &OpenOptions::default()).expect("raw");
        let layout = Layout::new(source.len_bytes(), GroupSize::new(64 << 10).expect("valid"));
        tree_of(&source, layout, NonZeroUsize::new(2).expect("two")).expect("readable")
    }

    #[test]
    fn the_root_is_the_plain_hash_of_the_content_for_every_length() {
        const GROUP: usize = 64 << 10;
        let mut content = vec![0; 9 * GROUP + 77];
        for group in [0, 3, 8] {
            blake3::Hasher::new().finalize_xof().fill(&mut content[group * GROUP..][..GROUP]);
        }
        for len in [0, 1, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP, 3 * GROUP + 5, 8 * GROUP, 9 * GROUP, 9 * GROUP + 77] {
            let mut file = tempfile::NamedTempFile::new().expect("temporary file");
            file.write_all(&content[..len]).expect("written");
            assert_eq!(tree(&file).root(), blake3::hash(&content[..len]), "{len} bytes");
        }
    }

    #[test]
    fn only_zeroes_are_holes() {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.seek(SeekFrom::Start(1 << 20)).expect("sought");
        file.write_all(&[7]).expect("written");
        file.as_file().set_len((2 << 20) + 9).expect("grown");
        let tree = tree(&file);
        let data: Vec<_> = (0..).zip(tree.groups()).filter(|(_, group)| !group.hole).map(|(index, _)| index).collect();
        assert_eq!((tree.groups().len(), data), (33, vec![16]));
    }
}
