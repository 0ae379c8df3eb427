//! Which block device stands on which: disks, their partitions, and what LVM, md, dm and loop build on them.
//!
//! One look at `/sys/block`, kept while a scan lasts.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::identity::DeviceNumber;
use super::roots::Roots;
use super::sysfs;

/// A block device: a whole one, or a partition.
#[derive(Debug)]
struct Node {
    /// None if the kernel does not say: the device is just going away.
    number: Option<DeviceNumber>,
    /// The whole device that this is a partition of; itself if it is no partition.
    whole: String,
    /// Whole devices that were built on this one: LVM, md, dm, loop.
    holders: Vec<String>,
    /// Devices that this one is built on.
    slaves: Vec<String>,
    /// Name that the device mapper gave it.
    mapper_name: Option<String>,
    /// File, or device, behind a loop device.
    backing_file: Option<PathBuf>,
}

/// All block devices, by kernel name.
#[derive(Debug)]
pub(super) struct Stack {
    nodes: BTreeMap<String, Node>,
    dev: PathBuf,
}

impl Stack {
    /// Looks at every block device there is.
    ///
    /// # Errors
    /// If the directory that lists them cannot be read. A device that goes away meanwhile is left out.
    pub(super) fn read(roots: &Roots) -> io::Result<Self> {
        let block = roots.sys.join("block");
        let mut nodes = BTreeMap::new();
        for whole in sysfs::entries(&block)? {
            let directory = block.join(&whole);
            for partition in sysfs::entries(&directory).unwrap_or_default() {
                let inner = directory.join(&partition);
                if inner.join("partition").exists() {
                    nodes.insert(partition, Node::read(&inner, &whole));
                }
            }
            let node = Node::read(&directory, &whole);
            nodes.insert(whole, node);
        }
        let dev = roots.dev.canonicalize().unwrap_or_else(|_| roots.dev.clone());
        let mut stack = Self { nodes, dev };
        stack.add_loops();
        Ok(stack)
    }

    /// A loop device on another block device holds it, though the kernel does not list it as a holder.
    fn add_loops(&mut self) {
        let backed = |(name, node): (&String, &Node)| {
            let device = self.by_path(node.backing_file.as_deref()?)?;
            Some((device.to_owned(), name.clone()))
        };
        let pairs: Vec<_> = self.nodes.iter().filter_map(backed).collect();
        for (device, name) in pairs {
            if let Some(node) = self.nodes.get_mut(&device) {
                node.holders.push(name);
            }
        }
    }

    /// Names of the whole devices, sorted.
    pub(super) fn whole_devices(&self) -> impl Iterator<Item = &str> {
        self.nodes
            .iter()
            .filter(|(name, node)| **name == node.whole)
            .map(|(name, _)| name.as_str())
    }

    /// A whole device and its partitions, sorted.
    pub(super) fn with_partitions<'a>(&'a self, whole: &'a str) -> impl Iterator<Item = &'a str> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.whole == whole)
            .map(|(name, _)| name.as_str())
    }

    /// The device with this number.
    pub(super) fn by_number(&self, number: DeviceNumber) -> Option<&str> {
        self.nodes
            .iter()
            .find(|(_, node)| node.number == Some(number))
            .map(|(name, _)| name.as_str())
    }

    /// The device that a path below `/dev` names: by its node, through symbolic links, or by its mapper name.
    pub(super) fn by_path(&self, path: &Path) -> Option<&str> {
        let named = path.strip_prefix("/dev").ok()?;
        let resolved = self.dev.join(named).canonicalize().ok();
        let node = resolved
            .as_deref()
            .and_then(|node| node.strip_prefix(&self.dev).ok())
            .unwrap_or(named);
        // The kernel writes the slash of a name like `cciss/c0d0` as an exclamation mark.
        let name = node.to_str()?.replace('/', "!");
        let found = self.nodes.get_key_value(&name).map(|(name, _)| name.as_str());
        found.or_else(|| self.by_mapper_name(named.strip_prefix("mapper").ok()?.to_str()?))
    }

    fn by_mapper_name(&self, wanted: &str) -> Option<&str> {
        let named = |node: &Node| node.mapper_name.as_deref() == Some(wanted);
        self.nodes
            .iter()
            .find(|(_, node)| named(node))
            .map(|(name, _)| name.as_str())
    }

    /// Whole devices that were built directly on `name`.
    pub(super) fn directly_above(&self, name: &str) -> impl Iterator<Item = &str> {
        self.nodes
            .get(name)
            .into_iter()
            .flat_map(|node| node.holders.iter().map(String::as_str))
    }

    /// Everything that stands on a whole device: its partitions, what was built on them, and so on; itself too.
    pub(super) fn above<'a>(&'a self, whole: &'a str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut next: Vec<&str> = self.with_partitions(whole).collect();
        while let Some(name) = next.pop() {
            if found.insert(name) {
                next.extend(
                    self.directly_above(name)
                        .flat_map(|holder| self.with_partitions(holder)),
                );
            }
        }
        found
    }

    /// The devices that `name` is directly built on, without the file system under a loop device's file.
    pub(super) fn directly_below(&self, name: &str) -> impl Iterator<Item = &str> {
        let whole = self.nodes.get(name).and_then(|node| self.nodes.get(&node.whole));
        whole
            .into_iter()
            .flat_map(|node| node.slaves.iter().map(String::as_str))
    }

    /// The whole device that `name` is, or is a partition of.
    pub(super) fn whole<'a>(&'a self, name: &'a str) -> &'a str {
        self.nodes.get(name).map_or(name, |node| &node.whole)
    }

    /// The file or device behind a loop device, or behind the loop device that `name` is a partition of.
    pub(super) fn backing_file(&self, name: &str) -> Option<&Path> {
        self.nodes.get(self.whole(name))?.backing_file.as_deref()
    }

    /// A device as people know it: `dm-0 (vg-root)`.
    pub(super) fn label(&self, name: &str) -> String {
        match self.nodes.get(name).and_then(|node| node.mapper_name.as_deref()) {
            Some(mapper_name) => format!("{name} ({mapper_name})"),
            None => name.to_owned(),
        }
    }
}

impl Node {
    fn read(directory: &Path, whole: &str) -> Self {
        Self {
            number: sysfs::text(&directory.join("dev")).and_then(|text| text.parse().ok()),
            whole: whole.to_owned(),
            holders: sysfs::entries(&directory.join("holders")).unwrap_or_default(),
            slaves: sysfs::entries(&directory.join("slaves")).unwrap_or_default(),
            mapper_name: sysfs::text(&directory.join("dm/name")),
            backing_file: backing_file(directory),
        }
    }
}

/// The path as it is, not made printable: it is looked up, not shown.
fn backing_file(directory: &Path) -> Option<PathBuf> {
    let mut raw = sysfs::bytes(&directory.join("loop/backing_file"))?;
    if raw.last() == Some(&b'\n') {
        raw.pop();
    }
    Some(OsString::from_vec(raw).into())
}
