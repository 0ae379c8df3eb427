//! The tree of a source: what `bmsctl image hash` prints the root of.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use super::group::GroupSize;
use super::scan::{Piece, scan_once};
use super::source::{Input, SourceError};
use super::tree::{Group, Tree};

/// Reads all of `input`, and gives the chaining value of each of its groups.
///
/// # Errors
/// If the input cannot be read to its end.
pub fn tree_of(input: Input, group_size: GroupSize, workers: NonZeroUsize) -> Result<Tree, SourceError> {
    let path = input.path().to_owned();
    let groups = Mutex::new(Vec::new());
    let enter = |piece| {
        if let Piece::Data { first, chaining_values, .. } = piece {
            let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
            let start = usize::try_from(first).unwrap_or(usize::MAX);
            let end = start.saturating_add(chaining_values.len());
            if groups.len() < end {
                groups.resize(end, Group::Hole);
            }
            for (group, value) in groups[start..end].iter_mut().zip(chaining_values) {
                *group = Group::Data(value);
            }
        }
        ControlFlow::Continue(())
    };
    let layout = scan_once(input, group_size, workers, &enter)?;
    let mut groups = groups.into_inner().unwrap_or_else(PoisonError::into_inner);
    groups.resize(usize::try_from(layout.groups()).unwrap_or(usize::MAX), Group::Hole);
    Tree::new(layout, groups).map_err(|_wrong_count| SourceError::Truncated { path })
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};
    use std::num::NonZeroUsize;

    use super::tree_of;
    use crate::image::group::GroupSize;
    use crate::image::source::{Input, OpenOptions};
    use crate::image::tree::{Group, Tree};

    fn tree(file: &tempfile::NamedTempFile) -> Tree {
        let input = Input::open(file.path(), &OpenOptions::default()).expect("raw");
        tree_of(input, GroupSize::new(64 << 10).expect("valid"), NonZeroUsize::new(2).expect("two")).expect("readable")
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
        let data: Vec<_> =
            (0..).zip(tree.groups()).filter(|(_, group)| **group != Group::Hole).map(|(index, _)| index).collect();
        assert_eq!((tree.groups().len(), data), (33, vec![16]));
    }
}
