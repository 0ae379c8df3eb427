//! The names of directories that were read, so that a path costs no walk from the top each time.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::MAX_ENTRIES;

/// Most names that are kept, of all directories together.
const MAX_KEPT: usize = MAX_ENTRIES;

/// The names of a directory, and what the parser needs to find each again.
pub(super) type Directory<E> = BTreeMap<Vec<u8>, E>;

/// Directories by path, and how many names they have in all.
#[derive(Debug)]
pub(super) struct Kept<E> {
    directories: BTreeMap<String, Rc<Directory<E>>>,
    names: usize,
}

impl<E> Default for Kept<E> {
    fn default() -> Self {
        Self { directories: BTreeMap::new(), names: 0 }
    }
}

impl<E> Kept<E> {
    pub(super) fn get(&self, path: &str) -> Option<Rc<Directory<E>>> {
        self.directories.get(path).map(Rc::clone)
    }

    /// Keeps a directory; if there are too many names then, all others are forgotten.
    pub(super) fn keep(&mut self, path: &str, directory: &Rc<Directory<E>>) {
        // An empty directory costs something as well.
        let names = directory.len() + 1;
        if self.names + names > MAX_KEPT {
            *self = Self::default();
        }
        self.names += names;
        self.directories.insert(path.to_owned(), Rc::clone(directory));
    }
}

/// The path of a name in a directory.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

/// A path in two: the directory, and the name in it; none for the top.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    if path.is_empty() { None } else { Some(path.rsplit_once('/').unwrap_or(("", path))) }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{Directory, Kept, MAX_KEPT};

    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Kept::default();
        let directory: Rc<Directory<u32>> = Rc::new((0..1000_u32).map(|at| (at.to_le_bytes().to_vec(), at)).collect());
        for number in 0..1000 {
            let path = format!("directory {number}");
            kept.keep(&path, &directory);
            assert!(kept.names <= MAX_KEPT);
            assert_eq!(kept.get(&path), Some(Rc::clone(&directory)));
        }
        assert_eq!(kept.get("directory 0"), None);
    }
}
