//! What the running system uses each disk for: mounts, swap, holders, and what the agent itself needs.
//!
//! Knows the state of one moment. Only an exclusive open proves that a disk is free; this says why it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::discovery::DiscoveryError;
use super::mounts::{self, Mount};
use super::roots::Roots;
use super::stack::Stack;
use super::sysfs;
use crate::reason::Reason;

/// Longest table of mounts or swaps that is read.
const MAX_TABLE_BYTES: u64 = 16 << 20;
/// Most uses of a kind that are named for one disk: a container host may bind one mount a thousand times.
const MAX_NAMED: usize = 32;
/// Directories of the running system whose disks are never written.
const SYSTEM_PATHS: [&str; 4] = ["/", "/boot", "/boot/efi", "/usr"];

/// What a disk is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskUse {
    /// The agent, or the system it runs in, lives on it.
    Protected {
        /// What lives there: a path.
        what: String,
    },
    /// A file system on it is mounted.
    Mounted {
        /// Device of the file system: the disk, a partition, or what was built on one.
        device: String,
        /// Where it is mounted.
        target: String,
    },
    /// It is swapped to.
    Swap {
        /// The swap device.
        device: String,
    },
    /// Another block device was built on it.
    Held {
        /// The disk or its partition.
        device: String,
        /// What was built on it: `dm-0 (vg-root)`.
        holder: String,
    },
}

impl DiskUse {
    /// Why a disk with this use is not written.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Protected { .. } => Reason::DiskProtected,
            Self::Mounted { .. } => Reason::DiskMounted,
            Self::Swap { .. } => Reason::DiskSwap,
            Self::Held { .. } => Reason::DiskHeld,
        }
    }
}

impl fmt::Display for DiskUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected { what } => write!(f, "the running system has {what} on it"),
            Self::Mounted { device, target } => write!(f, "{device} is mounted at {target}"),
            Self::Swap { device } => write!(f, "{device} is swap"),
            Self::Held { device, holder } => write!(f, "{device} is held by {holder}"),
        }
    }
}

/// How the running system uses its block devices.
#[derive(Debug)]
pub(super) struct Usage {
    stack: Stack,
    /// Where each device is mounted.
    mounted: BTreeMap<String, BTreeSet<String>>,
    /// Devices that are swapped to.
    swaps: BTreeSet<String>,
    /// What of the running system is on each whole device.
    protected: BTreeMap<String, BTreeSet<String>>,
}

impl Usage {
    /// Takes stock. `protected_paths` are absolute and free of symbolic links.
    ///
    /// # Errors
    /// If what is mounted or swapped to cannot be known.
    pub(super) fn read(roots: &Roots, stack: Stack, protected_paths: &[PathBuf]) -> Result<Self, DiscoveryError> {
        let mounts = table(&roots.proc.join("self/mountinfo"), mounts::parse_mountinfo)?;
        let swaps = swaps(&roots.proc.join("swaps"))?;
        let btrfs = btrfs_members(&roots.sys.join("fs/btrfs"));
        let below = Below {
            stack: &stack,
            mounts: &mounts,
            btrfs: &btrfs,
        };

        let mut mounted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for mount in &mounts {
            for device in below.mount(mount) {
                mounted
                    .entry(device.to_owned())
                    .or_default()
                    .insert(mounts::show(&mount.target));
            }
        }
        let (swap_devices, swap_files): (Vec<_>, Vec<_>) = swaps.iter().partition(|path| path.starts_with("/dev"));
        let system = SYSTEM_PATHS.iter().map(Path::new);
        let needed = system
            .chain(protected_paths.iter().map(PathBuf::as_path))
            .chain(swap_files.into_iter().map(|p| &**p));
        let protected = below.needed_for(needed);
        let swaps = swap_devices
            .into_iter()
            .filter_map(|path| stack.by_path(path))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            stack,
            mounted,
            swaps,
            protected,
        })
    }

    /// The block devices that this is about.
    pub(super) const fn stack(&self) -> &Stack {
        &self.stack
    }

    /// What a whole disk is used for, worst first.
    pub(super) fn of(&self, disk: &str) -> Vec<DiskUse> {
        let above = self.stack.above(disk);
        let protected = self.protected.get(disk).into_iter().flatten();
        let mounted = above
            .iter()
            .filter_map(|&device| Some((device, self.mounted.get(device)?)));
        let mounted = mounted.flat_map(|(device, targets)| targets.iter().map(move |target| (device, target)));
        let swaps = above.iter().filter(|&&device| self.swaps.contains(device));

        let protected = protected.map(|what| DiskUse::Protected { what: what.clone() });
        let mounted = mounted.map(|(device, target)| DiskUse::Mounted {
            device: device.to_owned(),
            target: target.clone(),
        });
        let swaps = swaps.map(|&device| DiskUse::Swap {
            device: device.to_owned(),
        });
        let mut uses: Vec<_> = protected.take(MAX_NAMED).collect();
        uses.extend(mounted.take(MAX_NAMED));
        uses.extend(swaps.take(MAX_NAMED));
        uses.extend(self.holders(disk).take(MAX_NAMED));
        uses
    }

    fn holders<'a>(&'a self, disk: &'a str) -> impl Iterator<Item = DiskUse> {
        self.stack.with_partitions(disk).flat_map(|device| {
            let holders = self.stack.directly_above(device);
            holders.map(|holder| DiskUse::Held {
                device: device.to_owned(),
                holder: self.stack.label(holder),
            })
        })
    }
}

/// Follows paths and mounts down to the disks they lie on.
struct Below<'a> {
    stack: &'a Stack,
    mounts: &'a [Mount],
    btrfs: &'a [BTreeSet<String>],
}

impl<'a> Below<'a> {
    /// The devices that a mounted file system lies on.
    ///
    /// The number in the table names the device, but btrfs shows an anonymous one; then the source does. A btrfs on several
    /// devices names one of them, and sysfs knows the others.
    fn mount(&self, mount: &Mount) -> BTreeSet<&'a str> {
        let named = self
            .stack
            .by_number(mount.number)
            .or_else(|| self.stack.by_path(&mount.source));
        let mut devices: BTreeSet<&str> = named.into_iter().collect();
        if let Some(members) = named.and_then(|name| self.btrfs.iter().find(|members| members.contains(name))) {
            devices.extend(members.iter().map(String::as_str));
        }
        devices
    }

    /// Of each whole device, what of `paths` lies on it. Paths in one mount are named once, by the first of them.
    fn needed_for<'p>(&self, paths: impl Iterator<Item = &'p Path>) -> BTreeMap<String, BTreeSet<String>> {
        let mut named = BTreeSet::new();
        let mut needed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in paths {
            let Some(mount) = mounts::mount_of(self.mounts, path) else {
                continue;
            };
            if !named.insert(&mount.target) {
                continue;
            }
            for disk in self.whole_devices(mount) {
                needed.entry(disk.to_owned()).or_default().insert(mounts::show(path));
            }
        }
        needed
    }

    /// Every whole device below a mount, all the way down: through dm and md, and through the files of loop devices.
    fn whole_devices(&self, mount: &Mount) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = self.mount(mount).into_iter().collect();
        while let Some(name) = next.pop() {
            if seen.insert(name) {
                next.extend(self.stack.directly_below(name));
                next.extend(
                    self.stack
                        .backing_file(name)
                        .into_iter()
                        .flat_map(|file| self.file(file)),
                );
            }
        }
        seen.into_iter().map(|name| self.stack.whole(name)).collect()
    }

    /// The devices that a loop device's backing file lies on, or is.
    fn file(&self, file: &Path) -> BTreeSet<&'a str> {
        match self.stack.by_path(file) {
            Some(device) => BTreeSet::from([device]),
            None => mounts::mount_of(self.mounts, file)
                .map(|mount| self.mount(mount))
                .unwrap_or_default(),
        }
    }
}

/// Reads and parses a table of the kernel.
fn table<T>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, usize>) -> Result<T, DiscoveryError> {
    let content = sysfs::bounded(path, MAX_TABLE_BYTES).map_err(|source| DiscoveryError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&content).map_err(|line| DiscoveryError::Malformed {
        path: path.to_owned(),
        line,
    })
}

/// What is swapped to. A kernel without swap has no such table.
fn swaps(path: &Path) -> Result<Vec<PathBuf>, DiscoveryError> {
    match table(path, mounts::parse_swaps) {
        Err(DiscoveryError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// The devices of each btrfs that is in use, as a set of kernel names.
fn btrfs_members(directory: &Path) -> Vec<BTreeSet<String>> {
    let file_systems = sysfs::entries(directory).unwrap_or_default();
    let members = file_systems
        .iter()
        .map(|id| sysfs::entries(&directory.join(id).join("devices")).unwrap_or_default());
    members
        .filter(|names| !names.is_empty())
        .map(|names| names.into_iter().collect())
        .collect()
}
