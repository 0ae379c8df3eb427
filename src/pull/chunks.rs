//! From what the workers want to what is asked of the repository: chunks, and the groups wanted of each.

use std::ops::Range;

use crate::image::group::extend;
use crate::image::tree::{Group, Tree};
use crate::provision::feed::Want;
use crate::repository::chunk::{ChunkKey, ChunkLayout};

/// One request: some groups of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) chunk: u64,
    pub(super) key: ChunkKey,
    /// Never empty; in order, apart from each other.
    pub(super) groups: Vec<Range<u64>>,
}

/// The data groups that an answer of the workers is about: how many there are, and the requests for those it wants.
pub(super) fn requests(want: &Want, tree: &Tree, chunks: &ChunkLayout) -> (u64, Vec<Request>) {
    let mut answered = 0;
    let mut requests: Vec<Request> = Vec::new();
    for group in want.first..want.first.saturating_add(want.count).min(tree.layout().groups()) {
        if group_of(tree, group) == Group::Hole {
            continue;
        }
        answered += 1;
        if !want.includes(group) {
            continue;
        }
        let chunk = chunks.chunk_of(group);
        match requests.last_mut() {
            Some(last) if last.chunk == chunk => extend(&mut last.groups, group),
            _ => {
                let all = chunks.groups(chunk);
                let groups: Vec<_> = all.map(|group| group_of(tree, group)).collect();
                if let Some(key) = chunks.key(chunk, &groups) {
                    requests.push(Request { chunk, key, groups: std::iter::once(group..group + 1).collect() });
                }
            }
        }
    }
    (answered, requests)
}

fn group_of(tree: &Tree, group: u64) -> Group {
    usize::try_from(group).ok().and_then(|at| tree.groups().get(at)).copied().unwrap_or(Group::Hole)
}

#[cfg(test)]
mod tests {
    use super::requests;
    use crate::image::group::{ChainingValue, GroupSize, Layout};
    use crate::image::tree::{Group, Tree};
    use crate::provision::feed::Want;
    use crate::repository::chunk::ChunkLayout;

    /// Ten groups, of which 2 and 3 are holes, in chunks of four.
    fn image() -> (Tree, ChunkLayout) {
        let size = GroupSize::default();
        let layout = Layout::new(10 * size.bytes(), size);
        let group = |index: u8| match index {
            2 | 3 => Group::Hole,
            _ => Group::Data(ChainingValue([index; 32])),
        };
        (Tree::new(layout, (0..10).map(group).collect()).expect("ten"), ChunkLayout::new(layout, 4 * size.bytes()))
    }

    /// A chunk, and the groups that are asked for of it.
    type Asked = (u64, Vec<std::ops::Range<u64>>);

    fn asked(want: &Want) -> (u64, Vec<Asked>) {
        let (tree, chunks) = image();
        let (answered, requests) = requests(want, &tree, &chunks);
        (answered, requests.into_iter().map(|request| (request.chunk, request.groups)).collect())
    }

    #[test]
    fn everything_is_asked_for_chunk_by_chunk_without_the_holes() {
        let want = Want { first: 0, count: 10, bitmap: None };
        assert_eq!(asked(&want), (8, vec![(0, vec![0..2]), (1, vec![4..8]), (2, vec![8..10])]));
    }

    #[test]
    fn only_what_is_wanted_is_asked_for_but_all_that_was_looked_at_is_answered() {
        let want = Want { first: 1, count: 8, bitmap: Some(vec![0b0101_0001]) };
        // Bits 0, 4 and 6 are groups 1, 5 and 7.
        assert_eq!(asked(&want), (6, vec![(0, vec![1..2]), (1, vec![5..6, 7..8])]));
        assert_eq!(asked(&Want { first: 2, count: 2, bitmap: Some(vec![0b11]) }), (0, vec![]));
        assert_eq!(asked(&Want { first: 8, count: u64::MAX, bitmap: Some(vec![]) }), (2, vec![]));
    }
}
