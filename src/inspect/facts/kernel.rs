//! The kernels of an image: which can be booted, with what modules, and what is in their initramfs.
//!
//! Facts only: whether a module fits its kernel, or a driver is missing, is for checks to say.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::Known;
use super::boot::{self, BootEntry};
use super::cmdline::CommandLine;
use super::initramfs;
use crate::inspect::fs::{FsError, Kind};
use crate::inspect::root::Root;
use crate::text;

pub mod alias;
pub mod modinfo;
pub mod modules;
mod place;
mod release;
mod usual;

#[cfg(test)]
mod tests;

pub use self::modinfo::{ModuleError, ModuleInfo, module_info};
pub(super) use self::modules::module_name;
pub use self::place::Place;

/// Most kernels of an image.
pub const MAX_KERNELS: usize = 16;
/// Most that is read and unpacked of all initramfs of an image, in bytes.
const MAX_INITRAMFS_BYTES: u64 = 2 << 30;
/// Names of an initramfs in /boot, around the release.
const INITRAMFS_NAMES: [(&str, &str); 5] =
    [("initramfs-", ".img"), ("initrd.img-", ""), ("initrd-", ""), ("initrd-", ".img"), ("initramfs-", "")];

/// A kernel of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` would say.
    pub release: String,
    /// Whether the boot loader offers it; whether it is in /boot, if no boot loader's menu names any kernel.
    pub is_bootable: bool,
    /// The kernel itself, as a path in the image; none if there are modules alone, or it is not where the menu says.
    pub image: Option<String>,
    /// The directory of its modules, as a path in the image; none if it has none.
    pub directory: Option<String>,
    /// The command lines that the boot loader's menu has for it.
    pub command_lines: Vec<CommandLine>,
    /// Modules that are compiled in, by name (with `_` for `-`).
    pub builtin: Known<BTreeSet<String>>,
    /// Modules that can be loaded, by name (with `_` for `-`): paths in the image, which may be links.
    pub modules: Known<BTreeMap<String, String>>,
    /// Those of them that modules.dep does not name: modprobe will not find them.
    pub unindexed: BTreeSet<String>,
    /// What is in its initramfs; none if it has none.
    pub initramfs: Known<Option<Initramfs>>,
}

/// An initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initramfs {
    /// Its path in the image; that of the last if the boot loader joins several.
    pub path: String,
    /// Modules in it for its kernel, by name (with `_` for `-`): names of its entries.
    pub modules: BTreeMap<String, String>,
    /// Releases of other kernels that it has modules for, which are of no use to this one.
    pub other_releases: BTreeSet<String>,
}

/// The kernels of an image, by release.
pub fn kernels(root: &Root<'_>) -> Known<Vec<Kernel>> {
    match find_kernels(root) {
        Ok(kernels) => kernels,
        Err(error) => Known::Unknown(text::chain(&error)),
    }
}

/// The kernels that count: those that can be booted, or all if none is known to be.
pub fn that_count(kernels: &[Kernel]) -> Vec<&Kernel> {
    let bootable: Vec<&Kernel> = kernels.iter().filter(|kernel| kernel.is_bootable).collect();
    if bootable.is_empty() { kernels.iter().collect() } else { bootable }
}

/// What is known of a kernel before its files are read.
#[derive(Debug, Default)]
struct Draft {
    is_bootable: bool,
    image: Option<String>,
    /// Entries of menus that boot it.
    entries: Vec<BootEntry>,
}

fn find_kernels(root: &Root<'_>) -> Result<Known<Vec<Kernel>>, FsError> {
    let mut drafts = BTreeMap::new();
    let unclear = add_offered(root, &mut drafts)?;
    let is_offered = !drafts.is_empty();
    if let Some(reason) = unclear.filter(|_| !is_offered) {
        return Ok(Known::Unknown(reason));
    }
    for (release, path) in release::in_boot(root)? {
        let draft: &mut Draft = drafts.entry(release).or_default();
        // Where a menu offers it, only what the menu names counts.
        if draft.entries.is_empty() {
            draft.image = Some(path);
        }
        draft.is_bootable |= !is_offered;
    }
    let directories = modules::directories(root)?;
    for release in directories.keys() {
        drafts.entry(release.clone()).or_default();
    }
    if drafts.len() > MAX_KERNELS {
        return Err(FsError::Limit { what: "the number of kernels", limit: MAX_KERNELS as u64 });
    }
    let budget = Cell::new(MAX_INITRAMFS_BYTES);
    let kernel = |(release, draft): (String, Draft)| describe(root, &directories, &budget, release, draft);
    Ok(Known::Is(drafts.into_iter().map(kernel).collect()))
}

/// Adds the kernels that menus offer. Gives a reason if an entry does not tell of which release its kernel is; that of
/// other things, such as memory tests, is none.
fn add_offered(root: &Root<'_>, drafts: &mut BTreeMap<String, Draft>) -> Result<Option<String>, FsError> {
    let mut unclear = None;
    let mut searched = BTreeMap::new();
    for entry in offered(root)? {
        let image = entry.locate(root, &entry.linux)?;
        let release = match (release::of_entry(&entry), &image) {
            (Some(named), _) => Some(named.to_owned()),
            (None, Some(image)) => search_once(root, image, &mut searched)?,
            (None, None) => None,
        };
        let Some(release) = release else {
            let what = format!("the release of the kernel {} in {} cannot be told", entry.linux, entry.source);
            unclear = Some(text::printable(&what));
            continue;
        };
        let draft = drafts.entry(release).or_default();
        draft.is_bootable = true;
        draft.image = draft.image.take().or(image);
        draft.entries.push(entry);
    }
    Ok(unclear)
}

/// The entries that count: a rescue kernel stands for no other, but if it is all that there is, it is what boots.
fn offered(root: &Root<'_>) -> Result<Vec<BootEntry>, FsError> {
    let (rescue, usual): (Vec<_>, Vec<_>) = boot::entries(root)?.into_iter().partition(release::is_rescue);
    Ok(if usual.is_empty() { rescue } else { usual })
}

/// The release that a kernel says itself. Each is searched once, since that takes time.
fn search_once(
    root: &Root<'_>,
    image: &str,
    searched: &mut BTreeMap<String, Option<String>>,
) -> Result<Option<String>, FsError> {
    if let Some(release) = searched.get(image) {
        return Ok(release.clone());
    }
    if searched.len() == MAX_KERNELS {
        return Err(FsError::Limit { what: "the number of kernels without a release", limit: MAX_KERNELS as u64 });
    }
    let release = release::by_content(root, image)?;
    searched.insert(image.to_owned(), release.clone());
    Ok(release)
}

fn describe(
    root: &Root<'_>,
    directories: &BTreeMap<String, String>,
    budget: &Cell<u64>,
    release: String,
    draft: Draft,
) -> Kernel {
    let found = match directories.get(&release) {
        Some(directory) => Known::from_result(modules::read(root, directory)),
        None => Known::Is(modules::Modules::default()),
    };
    let (modules, unindexed) = match found {
        Known::Is(found) => (Known::Is(found.paths), found.unindexed),
        Known::Unknown(why) => (Known::Unknown(why), BTreeSet::new()),
    };
    let command_line = |entry: &BootEntry| CommandLine { source: entry.source.clone(), text: entry.options.clone() };
    Kernel {
        is_bootable: draft.is_bootable,
        directory: directories.get(&release).cloned(),
        command_lines: draft.entries.iter().map(command_line).collect(),
        builtin: modules::builtin(root, directories.get(&release).map(String::as_str)),
        modules,
        unindexed,
        initramfs: find_initramfs(root, &release, &draft.entries, budget),
        image: draft.image,
        release,
    }
}

/// The initramfs that the first menu entry with one names; else the one in /boot, if no menu names the kernel.
fn find_initramfs(
    root: &Root<'_>,
    release: &str,
    entries: &[BootEntry],
    budget: &Cell<u64>,
) -> Known<Option<Initramfs>> {
    let paths = match entries.iter().find(|entry| !entry.initrds.is_empty()) {
        Some(entry) => located(root, entry),
        None if entries.is_empty() => beside_kernel(root, release).map(|path| path.into_iter().collect()),
        None => Ok(Vec::new()),
    };
    match paths {
        Ok(paths) => read_initramfs(root, release, &paths, budget),
        Err(error) => Known::Unknown(text::chain(&error)),
    }
}

/// The files of an entry's initramfs; none if one of them is missing, with which nothing boots.
fn located(root: &Root<'_>, entry: &BootEntry) -> Result<Vec<String>, FsError> {
    // Variables that nothing sets stand for no file.
    let named = entry.initrds.iter().filter(|path| !path.starts_with('$') || path.contains('/'));
    let paths: Result<Option<Vec<String>>, FsError> = named.map(|path| entry.locate(root, path)).collect();
    Ok(paths?.unwrap_or_default())
}

fn beside_kernel(root: &Root<'_>, release: &str) -> Result<Option<String>, FsError> {
    for (before, after) in INITRAMFS_NAMES {
        let found = root.find(&format!("/boot/{before}{release}{after}"))?;
        if let Some(found) = found.filter(|found| found.metadata.kind == Kind::File) {
            return Ok(Some(found.path));
        }
    }
    Ok(None)
}

fn read_initramfs(root: &Root<'_>, release: &str, paths: &[String], budget: &Cell<u64>) -> Known<Option<Initramfs>> {
    let Some(last) = paths.last() else { return Known::Is(None) };
    let mut modules = BTreeMap::new();
    for path in paths {
        match read_one(root, path, budget) {
            Ok(found) => modules.extend(found),
            Err(why) => return Known::Unknown(format!("{}: {why}", text::printable(path))),
        }
    }
    let mut other_releases = BTreeSet::new();
    modules.retain(|_, entry| match release_of_entry(entry).filter(|other| *other != release) {
        Some(other) => {
            other_releases.insert(other.to_owned());
            false
        }
        None => true,
    });
    Known::Is(Some(Initramfs { path: last.clone(), modules, other_releases }))
}

fn read_one(root: &Root<'_>, path: &str, budget: &Cell<u64>) -> Result<BTreeMap<String, String>, String> {
    let file = root.open(path).map_err(|error| text::chain(&error))?.ok_or("it is no file")?;
    initramfs::modules(file, budget).map_err(|error| text::chain(&error))
}

/// The release whose modules an entry of an initramfs is among; none if it does not lie in such a directory.
fn release_of_entry(entry: &str) -> Option<&str> {
    let (_, behind) = entry.split_once("lib/modules/")?;
    behind.split_once('/').map(|(release, _)| release)
}
