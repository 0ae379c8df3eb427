//! From the file systems of a disk to the systems that are installed on it: which of them are roots, and what their fstab
//! joins into them.
//!
//! What should be joined in and cannot be is joined in as a file system that answers every question with the reason: so what
//! is not seen there is unknown, never absent.

use super::source;
use super::view::{Below, Unreached};
use super::{Root, components};
use crate::inspect::facts::fstab::{self, FstabEntry};
use crate::inspect::fs::{FileSystem, FsError, FsKind, Kind, Subvolume};
use crate::text;

/// Files one of which tells that a file system is the root of a Linux system.
const RELEASE_FILES: [&str; 6] = [
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/euleros-release",
    "/etc/redhat-release",
    "/etc/SuSE-release",
    "/etc/debian_version",
];
/// The file that tells that a file system is the root of a Windows system.
const REGISTRY: [&str; 4] = ["Windows", "System32", "config", "SYSTEM"];
/// Subvolumes of btrfs that installers put the root into.
const SUBVOLUMES: [&str; 3] = ["@", "root", "@rootfs"];
/// Directories that are looked into: what is joined in elsewhere does not matter.
const PLACES: [&str; 5] = ["/boot", "/efi", "/usr", "/var", "/opt"];
/// File systems of the kernel's own, and what is none.
const WITHOUT_DISK: [&str; 12] = [
    "swap",
    "tmpfs",
    "ramfs",
    "proc",
    "sysfs",
    "devpts",
    "devtmpfs",
    "debugfs",
    "mqueue",
    "hugetlbfs",
    "efivarfs",
    "autofs",
];
/// Types of a partition with boot loaders: the EFI system partition, in a GPT and in an MBR.
const ESP_TYPES: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];
/// Directories that an EFI system partition is joined in at.
const ESP_PLACES: [&str; 3] = ["/boot/efi", "/efi", "/boot"];
/// Type of a partition with kernels, which systemd joins in at /boot.
const EXTENDED_BOOT_TYPES: [&str; 1] = ["bc13c2ff-59e6-4262-a352-b275fd6f7172"];

/// A part of a disk that may hold a file system.
#[derive(Debug)]
pub struct Part<'a> {
    /// Number of the partition, from 1; 0 for a disk without partitions. A logical volume has that of its first piece.
    pub partition: u32,
    /// What it is called, if it is a logical volume.
    pub logical: Option<LogicalName>,
    /// Type of the partition, as in [`crate::disk::table::Partition`].
    pub type_id: String,
    /// `PARTUUID=`; empty if there is none.
    pub part_uuid: String,
    /// `PARTLABEL=`; empty if there is none.
    pub part_label: String,
    /// What it holds, or why that cannot be read.
    pub fs: Result<Box<dyn FileSystem + 'a>, String>,
}

/// The name of a logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalName {
    /// Its volume group.
    pub group: String,
    /// Its own name.
    pub volume: String,
}

impl LogicalName {
    /// What it is called below /dev/mapper: there, dashes of the names are doubled.
    pub fn mapped_name(&self) -> String {
        [&self.group, &self.volume].map(|name| name.replace('-', "--")).join("-")
    }
}

impl Part<'_> {
    /// What people call it.
    pub fn name(&self) -> String {
        match (&self.logical, self.partition) {
            (Some(LogicalName { group, volume }), _) => text::printable(&format!("volume {group}/{volume}")),
            (None, 0) => "the whole disk".to_owned(),
            (None, number) => format!("partition {number}"),
        }
    }
}

/// A kind of operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Any Linux.
    Linux,
    /// Windows.
    Windows,
}

/// A system that is installed on a disk.
#[derive(Debug)]
pub struct Installed<'a> {
    /// Where its root is, for people: `partition 2`.
    pub name: String,
    /// Number of the partition that its root is on, as in [`Part`].
    pub partition: u32,
    /// Its kind.
    pub system: System,
    /// Its files.
    pub root: Root<'a>,
    /// What belongs to them besides the root file system.
    pub joins: Vec<Join>,
}

/// A file system that belongs to a system besides its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The directory that it is joined in at.
    pub at: String,
    /// What names it, as in fstab.
    pub source: String,
    /// What people call it; or why it cannot be joined in.
    pub outcome: Result<String, String>,
}

/// What was found on a disk.
#[derive(Debug)]
pub struct Assembled<'a> {
    /// All systems; if there are several, nothing here says which one would start.
    pub systems: Vec<Installed<'a>>,
    /// Parts that cannot be read, with the reason: there may be systems on them.
    pub unread: Vec<String>,
}

/// Finds the systems on a disk.
pub fn assemble<'a>(parts: &'a [Part<'a>]) -> Assembled<'a> {
    let mut assembled = Assembled { systems: Vec::new(), unread: Vec::new() };
    for part in parts {
        match part.fs.as_deref().map_err(Clone::clone).and_then(|fs| find_root(fs).map_err(|error| text::chain(&error)))
        {
            Ok(Some((system, top))) => assembled.systems.push(install(parts, part, system, top)),
            Ok(None) => {}
            Err(why) => assembled.unread.push(format!("{}: {why}", part.name())),
        }
    }
    assembled
}

/// What firmware looks for boot loaders on, by name: the partitions of the type that is for that, and what else of FAT the
/// system joins in where such a one belongs. Nothing but FAT counts, which is all that firmware reads.
///
/// # Errors
/// Why that is not known: one of them cannot be read, or there is none but what is not on the disk.
pub fn boot_partitions<'a>(parts: &'a [Part<'a>], system: &Installed<'_>) -> Result<Vec<(String, Root<'a>)>, String> {
    let joined = || system.joins.iter().filter(|join| ESP_PLACES.contains(&join.at.as_str()));
    let mut found = Vec::new();
    for part in parts {
        let is_typed = is_of_type(part, &ESP_TYPES);
        let is_joined = || joined().any(|join| join.outcome.as_ref() == Ok(&part.name()));
        match &part.fs {
            Ok(fs) if fs.kind() == FsKind::Fat && (is_typed || is_joined()) => {
                found.push((part.name(), Root::new(view(part, ""))));
            }
            Err(why) if is_typed => return Err(format!("{}: {why}", part.name())),
            Ok(_) | Err(_) => {}
        }
    }
    let failed = joined().filter(|join| join.at != "/boot").find_map(|join| join.outcome.as_ref().err());
    match failed {
        Some(why) if found.is_empty() => Err(why.clone()),
        Some(_) | None => Ok(found),
    }
}

/// The kind of system that a file system is the root of, and the directory where it begins.
fn find_root(fs: &dyn FileSystem) -> Result<Option<(System, &'static str)>, FsError> {
    if fs.kind() == FsKind::Ntfs {
        return Ok(is_windows(fs)?.then_some((System::Windows, "")));
    }
    let subvolumes = SUBVOLUMES.into_iter().filter(|_| fs.kind() == FsKind::Btrfs);
    for top in [""].into_iter().chain(subvolumes) {
        let is_directory = fs.metadata(top)?.is_some_and(|metadata| metadata.kind == Kind::Directory);
        if is_directory && is_linux(&Root::new(Box::new(Below { fs, top: top.to_owned() })))? {
            return Ok(Some((System::Linux, top)));
        }
    }
    Ok(None)
}

/// Whether a root has a release file. It may be a link to /usr, which is not joined in yet, so it need not lead anywhere.
fn is_linux(root: &Root<'_>) -> Result<bool, FsError> {
    let has = |path: &str| Ok::<_, FsError>(root.find_link(path)?.is_some());
    if !has("/etc")? || !(has("/usr")? || has("/bin")?) {
        return Ok(false);
    }
    for file in RELEASE_FILES {
        if has(file)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there is a registry, whatever the size of the letters in its path is.
fn is_windows(fs: &dyn FileSystem) -> Result<bool, FsError> {
    let mut path = String::new();
    for name in REGISTRY {
        let is_directory = fs.metadata(&path)?.is_some_and(|metadata| metadata.kind == Kind::Directory);
        let entries = if is_directory { fs.list(&path)? } else { Vec::new() };
        let Some(entry) = entries.into_iter().find(|entry| entry.name.eq_ignore_ascii_case(name)) else {
            return Ok(false);
        };
        path = if path.is_empty() { entry.name } else { format!("{path}/{}", entry.name) };
    }
    Ok(true)
}

/// Joins what belongs to a root into it.
fn install<'a>(parts: &'a [Part<'a>], part: &'a Part<'a>, system: System, top: &str) -> Installed<'a> {
    let fs = view(part, top);
    let mut installed =
        Installed { name: part.name(), partition: part.partition, system, root: Root::new(fs), joins: Vec::new() };
    if system == System::Windows {
        return installed;
    }
    match fstab::read(&installed.root) {
        Ok(entries) => {
            let entries = entries.unwrap_or_default();
            installed.join_all(parts, &entries, source::this_disk(&entries, part));
        }
        // Anything may be joined in anywhere.
        Err(error) => PLACES.into_iter().for_each(|at| installed.join(at, fstab::PATH, Err(text::chain(&error)))),
    }
    installed
}

/// A directory of what a part holds.
fn view<'a>(part: &'a Part<'a>, top: &str) -> Box<dyn FileSystem + 'a> {
    match &part.fs {
        Ok(fs) => Box::new(Below { fs: fs.as_ref(), top: components(top).collect::<Vec<_>>().join("/") }),
        Err(why) => Box::new(Unreached::new(format!("{}: {why}", part.name()))),
    }
}

/// What is joined in: a part by its name and its view, or the reason why not.
type Joined<'a> = Result<(String, Box<dyn FileSystem + 'a>), String>;

impl<'a> Installed<'a> {
    fn join_all(&mut self, parts: &'a [Part<'a>], entries: &[FstabEntry], this_disk: Option<&str>) {
        let mut wanted: Vec<&FstabEntry> = entries.iter().filter(|entry| is_wanted(entry)).collect();
        wanted.sort_by_key(|entry| components(&entry.target).count());
        for entry in &wanted {
            let joined = source::resolve(&entry.source, parts, this_disk).and_then(|at| open(&parts[at], entry));
            self.join(&entry.target, &entry.source, joined);
        }
        let is_boot = |entry: &&FstabEntry| matches!(components(&entry.target).next(), Some("boot" | "efi"));
        if !wanted.iter().any(is_boot) {
            self.join_boot(parts);
        }
    }

    /// Joins in what systemd finds without fstab: the partitions whose types say that they are for booting.
    fn join_boot(&mut self, parts: &'a [Part<'a>]) {
        self.join_typed(parts, &EXTENDED_BOOT_TYPES, &["/boot"]);
        self.join_typed(parts, &ESP_TYPES, &["/boot/efi", "/efi"]);
    }

    /// Joins in the part of a type, if there is one, at the first of these directories that there is.
    fn join_typed(&mut self, parts: &'a [Part<'a>], types: &[&str], places: &[&str]) {
        let mut typed = parts.iter().filter(|part| is_of_type(part, types));
        let (Some(first), second) = (typed.next(), typed.next()) else { return };
        let is_directory = |at: &&&str| {
            let found = self.root.find(at).ok().flatten();
            found.is_some_and(|found| found.metadata.kind == Kind::Directory)
        };
        let Some(at) = places.iter().find(is_directory) else { return };
        let source = format!("type {}", first.type_id);
        let joined = match (second, &first.fs) {
            (Some(_), _) => Err(format!("there are several partitions of {source}")),
            (None, Err(why)) => Err(format!("{}: {why}", first.name())),
            (None, Ok(_)) => Ok((first.name(), view(first, ""))),
        };
        self.join(at, &source, joined);
    }

    fn join(&mut self, at: &str, source: &str, joined: Joined<'a>) {
        // A directory that is a link would hide nothing: what counts is where it leads.
        let at = self.root.find(at).ok().flatten().map_or_else(|| at.to_owned(), |found| found.path);
        let (outcome, fs) = match joined {
            Ok((name, fs)) => (Ok(name), fs),
            Err(why) => (
                Err(why.clone()),
                Box::new(Unreached::new(format!("what is joined in at {at}: {why}"))) as Box<dyn FileSystem>,
            ),
        };
        self.root.join(&at, fs);
        self.joins.push(Join { at, source: source.to_owned(), outcome });
    }
}

fn is_of_type(part: &Part<'_>, types: &[&str]) -> bool {
    part.logical.is_none() && types.contains(&part.type_id.as_str())
}

/// Whether an entry joins in what is looked into, and what is on a disk.
fn is_wanted(entry: &FstabEntry) -> bool {
    let is_below = |place: &str| {
        let mut target = components(&entry.target);
        components(place).all(|part| target.next() == Some(part))
    };
    let is_on_disk = !WITHOUT_DISK.contains(&entry.fs_type.as_str());
    entry.target.starts_with('/') && is_on_disk && PLACES.into_iter().any(is_below)
}

/// What an entry joins in of a part: what a mount shows by default, or a subvolume that it names.
fn open<'a>(part: &'a Part<'a>, entry: &FstabEntry) -> Joined<'a> {
    let fs = part.fs.as_ref().map_err(|why| format!("{}: {why}", part.name()))?;
    let Some(subvolume) = subvolume(entry)? else { return Ok((part.name(), view(part, ""))) };
    match fs.subvolume(subvolume) {
        Ok(Some(fs)) => Ok((part.name(), fs)),
        Ok(None) => Err(format!("{} has no subvolume {subvolume}", part.name())),
        Err(error) => Err(format!("{}: {}", part.name(), text::chain(&error))),
    }
}

/// The subvolume that an entry names. Linux mounts nothing if path and number disagree, so the path is enough.
fn subvolume(entry: &FstabEntry) -> Result<Option<Subvolume<'_>>, String> {
    match (entry.option("subvol"), entry.option("subvolid")) {
        (Some(path), _) => Ok(Some(Subvolume::Path(path))),
        (None, Some(number)) => match number.parse() {
            Ok(number) => Ok(Some(Subvolume::Number(number))),
            Err(_) => Err(format!("subvolid={number} is no number")),
        },
        (None, None) => Ok(None),
    }
}
