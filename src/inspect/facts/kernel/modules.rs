//! The directory of modules that belongs to a kernel, and the lists that depmod and the kernel's build leave in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::inspect::facts::Known;
use crate::inspect::fs::{Entry, FsError, Kind};
use crate::inspect::root::Root;
use crate::text;

/// Where modules are, by release. On most systems both are the same directory.
const PLACES: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];
/// A directory with one of these belongs to a kernel; others are what removed kernels leave.
const LISTS: [&str; 3] = ["modules.dep", "modules.builtin", "modules.order"];
/// Directories of modules that came from elsewhere than the kernel's package.
const ADDED: [&str; 3] = ["extra", "updates", "weak-updates"];
/// Most that is read of a list, in bytes.
pub(super) const MAX_LIST_BYTES: u64 = 8 << 20;
/// Most modules of a kernel.
const MAX_MODULES: usize = 20_000;
/// Most names that are looked at for modules of a kernel, and how deep.
const MAX_NAMES: usize = 100_000;
const MAX_DEPTH: usize = 64;

/// The name of the module that a path leads to, with `_` for `-`; none if it is no module.
pub(in super::super) fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    let plain = [".gz", ".xz", ".zst"].into_iter().find_map(|suffix| file.strip_suffix(suffix)).unwrap_or(file);
    let name = plain.strip_suffix(".ko")?;
    (!name.is_empty()).then(|| name.replace('-', "_"))
}

/// Directories of modules, by release.
pub(super) fn directories(root: &Root<'_>) -> Result<BTreeMap<String, String>, FsError> {
    let mut directories = BTreeMap::new();
    for place in PLACES {
        for entry in root.list(place)?.unwrap_or_default() {
            let path = format!("{place}/{}", entry.name);
            if !directories.contains_key(&entry.name) && is_of_kernel(root, &path, &entry)? {
                directories.insert(entry.name, path);
            }
        }
    }
    Ok(directories)
}

fn is_of_kernel(root: &Root<'_>, path: &str, entry: &Entry) -> Result<bool, FsError> {
    if !matches!(entry.kind, Kind::Directory | Kind::Symlink) {
        return Ok(false);
    }
    for list in LISTS {
        if root.find(&format!("{path}/{list}"))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Modules of a kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Modules {
    /// Paths in the image, by name.
    pub(super) paths: BTreeMap<String, String>,
    /// Names of those that modules.dep does not have.
    pub(super) unindexed: BTreeSet<String>,
}

/// The modules in a directory: those of modules.dep, and those that came from elsewhere; all there are if there is no
/// modules.dep.
pub(super) fn read(root: &Root<'_>, directory: &str) -> Result<Modules, FsError> {
    let list = root.read_whole(&format!("{directory}/modules.dep"), MAX_LIST_BYTES)?;
    let mut modules =
        Modules { paths: parse_dep(list.as_deref().unwrap_or_default(), directory)?, ..Modules::default() };
    let kernel = list.is_none().then_some("kernel");
    for place in ADDED.into_iter().chain(kernel) {
        walk(root, &format!("{directory}/{place}"), &mut modules)?;
    }
    Ok(modules)
}

/// Reads modules.dep: a path in each line, then a colon and what it needs. Paths are relative to `directory`, but for those
/// of old depmods. Gives paths in the image, by name.
///
/// # Errors
/// [`FsError::Limit`], if there are more modules than any kernel has.
pub fn parse_dep(list: &[u8], directory: &str) -> Result<BTreeMap<String, String>, FsError> {
    let mut paths = BTreeMap::new();
    for line in String::from_utf8_lossy(list).lines() {
        let Some((path, _)) = line.split_once(':') else { continue };
        let Some(name) = module_name(path) else { continue };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
        // Of modules with one name, depmod names the one that counts alone.
        paths.entry(name).or_insert(path);
        check_count(&paths)?;
    }
    Ok(paths)
}

/// What modules need, by modules.dep: names, by those of `modules`. Nothing is said of modules that it does not have.
///
/// # Errors
/// [`FsError`], if it cannot be read.
pub(in super::super) fn needed(
    root: &Root<'_>,
    directory: &str,
    modules: &BTreeSet<String>,
) -> Result<BTreeMap<String, BTreeSet<String>>, FsError> {
    let list = root.read_whole(&format!("{directory}/modules.dep"), MAX_LIST_BYTES)?;
    Ok(parse_needed(list.as_deref().unwrap_or_default(), modules))
}

/// Reads modules.dep: what comes behind the colons, which is all that a module needs, directly or not.
pub fn parse_needed(list: &[u8], modules: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut needed = BTreeMap::new();
    for line in String::from_utf8_lossy(list).lines() {
        let Some((path, needs)) = line.split_once(':') else { continue };
        let Some(name) = module_name(path).filter(|name| modules.contains(name)) else { continue };
        needed.entry(name).or_insert_with(|| needs.split_whitespace().filter_map(module_name).collect());
    }
    needed
}

fn check_count(paths: &BTreeMap<String, String>) -> Result<(), FsError> {
    match paths.len() {
        0..=MAX_MODULES => Ok(()),
        _ => Err(FsError::Limit { what: "the number of modules", limit: MAX_MODULES as u64 }),
    }
}

/// Adds the modules below a directory that are not known yet. Links to modules count, links to directories do not.
fn walk(root: &Root<'_>, top: &str, modules: &mut Modules) -> Result<(), FsError> {
    let mut todo = vec![(top.to_owned(), 0)];
    let mut seen = 0;
    while let Some((directory, depth)) = todo.pop() {
        let entries = root.list(&directory)?.unwrap_or_default();
        seen += entries.len();
        if seen > MAX_NAMES || depth > MAX_DEPTH {
            return Err(FsError::Limit { what: "the tree of modules", limit: MAX_NAMES as u64 });
        }
        for entry in entries {
            let path = format!("{directory}/{}", entry.name);
            match (entry.kind, module_name(&entry.name)) {
                (Kind::Directory, _) => todo.push((path, depth + 1)),
                (Kind::File | Kind::Symlink, Some(name)) => modules.add_unindexed(name, path)?,
                (Kind::File | Kind::Symlink | Kind::Special, _) => {}
            }
        }
    }
    Ok(())
}

impl Modules {
    fn add_unindexed(&mut self, name: String, path: String) -> Result<(), FsError> {
        if !self.paths.contains_key(&name) {
            self.paths.insert(name.clone(), path);
            self.unindexed.insert(name);
        }
        check_count(&self.paths)
    }
}

/// Names of the modules that are compiled into a kernel, by the list in its directory. A kernel without a directory has no
/// modules of any kind: whatever is built comes with that list.
pub(super) fn builtin(root: &Root<'_>, directory: Option<&str>) -> Known<BTreeSet<String>> {
    let Some(directory) = directory else { return Known::Is(BTreeSet::new()) };
    let path = format!("{directory}/modules.builtin");
    match root.read_whole(&path, MAX_LIST_BYTES) {
        Ok(Some(list)) => Known::Is(parse_builtin(&list)),
        Ok(None) => Known::Unknown(format!("{} is missing", text::printable(&path))),
        Err(error) => Known::Unknown(text::chain(&error)),
    }
}

/// Reads modules.builtin: a path in each line.
pub fn parse_builtin(list: &[u8]) -> BTreeSet<String> {
    String::from_utf8_lossy(list).lines().filter_map(module_name).collect()
}
