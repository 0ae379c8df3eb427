//! Look-ups with every trick that links can play, and systems put together from made-up disks.

use std::collections::BTreeMap;
use std::io::Read;

use super::Root;
use super::view::Unreached;
use crate::inspect::fs::{Entry, FileSystem, FsError, FsKind, Identity, Kind, Metadata, Subvolume};

mod assemble;
mod links;

/// A file system in memory.
#[derive(Debug)]
struct MemFs {
    kind: FsKind,
    identity: Identity,
    nodes: BTreeMap<String, Node>,
    /// Nodes of its subvolumes, by path and number.
    subvolumes: BTreeMap<(&'static str, u64), BTreeMap<String, Node>>,
}

#[derive(Debug, Clone)]
enum Node {
    File(&'static str),
    Directory,
    Link(String),
    Fifo,
}

impl MemFs {
    fn new() -> Self {
        let nodes = BTreeMap::from([(String::new(), Node::Directory)]);
        Self { kind: FsKind::Ext, identity: Identity::default(), nodes, subvolumes: BTreeMap::new() }
    }

    /// With a name put into it, and the directories above it.
    fn with(mut self, path: &str, node: Node) -> Self {
        for (at, _) in path.match_indices('/') {
            self.nodes.entry(path[..at].to_owned()).or_insert(Node::Directory);
        }
        self.nodes.insert(path.to_owned(), node);
        self
    }

    fn file(self, path: &str, content: &'static str) -> Self {
        self.with(path, Node::File(content))
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.with(path, Node::Link(target.to_owned()))
    }

    fn dir(self, path: &str) -> Self {
        self.with(path, Node::Directory)
    }

    fn named(mut self, uuid: &str, label: &str) -> Self {
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        self.identity = Identity { uuid: name(uuid), label: name(label) };
        self
    }

    fn of_kind(mut self, kind: FsKind) -> Self {
        self.kind = kind;
        self
    }

    /// With a subvolume, which is not to be seen in what is open.
    fn subvolume(mut self, path: &'static str, number: u64, fs: Self) -> Self {
        self.subvolumes.insert((path, number), fs.nodes);
        self
    }

    fn root(self) -> Root<'static> {
        Root::new(Box::new(self))
    }

    /// The node of a path that a caller may ask for: one that keeps what the trait asks of it.
    fn node(&self, path: &str) -> Option<&Node> {
        let parts: Vec<&str> = path.split('/').collect();
        let is_plain = path.is_empty() || !parts.iter().any(|part| ["", ".", ".."].contains(part));
        assert!(is_plain, "{path:?} is no path");
        for (at, _) in path.match_indices('/') {
            assert!(!matches!(self.nodes.get(&path[..at]), Some(Node::Link(_))), "{path:?} goes through a link");
        }
        self.nodes.get(path)
    }
}

fn malformed<T>(path: &str) -> Result<T, FsError> {
    Err(FsError::Malformed { what: path.to_owned() })
}

impl FileSystem for MemFs {
    fn kind(&self) -> FsKind {
        self.kind
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError> {
        let of_node = |node: &Node| match node {
            Node::File(content) => (Kind::File, content.len()),
            Node::Directory => (Kind::Directory, 0),
            Node::Link(target) => (Kind::Symlink, target.len()),
            Node::Fifo => (Kind::Special, 0),
        };
        let found = self.node(path).map(of_node);
        Ok(found.map(|(kind, len)| Metadata { kind, size_bytes: len as u64, mode: None }))
    }

    fn read_link(&self, path: &str) -> Result<String, FsError> {
        match self.node(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            Some(Node::File(_) | Node::Directory | Node::Fifo) | None => malformed(path),
        }
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        match self.node(path) {
            Some(Node::File(content)) => Ok(Box::new(content.as_bytes())),
            Some(Node::Link(_) | Node::Directory | Node::Fifo) | None => malformed(path),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        let Some(Node::Directory) = self.node(path) else { return malformed(path) };
        let inside = |name: &String| {
            let name = if path.is_empty() { name.as_str() } else { name.strip_prefix(path)?.strip_prefix('/')? };
            (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
        };
        let names = self.nodes.keys().filter_map(|full| Some((inside(full)?, full)));
        let entries = names.map(|(name, full)| Ok(self.metadata(full)?.map(|it| Entry { name, kind: it.kind })));
        entries.filter_map(Result::transpose).collect()
    }

    fn subvolume(&self, subvolume: Subvolume<'_>) -> Result<Option<Box<dyn FileSystem>>, FsError> {
        let is_it = |(path, number): &&(&'static str, u64)| match subvolume {
            Subvolume::Path(wanted) => wanted.trim_start_matches('/') == *path,
            Subvolume::Number(wanted) => wanted == *number,
        };
        let found = self.subvolumes.iter().find(|(key, _)| is_it(key));
        Ok(found.map(|(_, nodes)| Box::new(Self { nodes: nodes.clone(), ..Self::new() }) as Box<dyn FileSystem>))
    }
}

fn found_path(root: &Root<'_>, path: &str) -> Option<String> {
    root.find(path).expect("readable").map(|found| found.path)
}

fn broken(why: &str) -> Box<dyn FileSystem> {
    Box::new(Unreached::new(why.to_owned()))
}
