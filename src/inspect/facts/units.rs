//! Units of systemd as they are installed: their files, what masks them, what their text says, and which are started.
//!
//! A unit is started if a chain of units leads to it from the default target. Its links are those in `.wants`, `.requires`
//! and `.upholds` directories, and what the texts of targets ask for. The texts of services, which ask for little else than
//! other targets, are not read for that.

use std::collections::BTreeMap;

use super::text::{self, FactError, unreadable};
use crate::inspect::fs::{Entry, Kind};
use crate::inspect::root::Root;

/// Directories of units; a file of an earlier one hides those of the same name in later ones.
const DIRECTORIES: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
const GENERATORS: [&str; 5] = [
    "etc/systemd/system-generators",
    "run/systemd/system-generators",
    "usr/local/lib/systemd/system-generators",
    "usr/lib/systemd/system-generators",
    "lib/systemd/system-generators",
];
/// Ends of the names of directories that pull units in.
const PULLING: [&str; 3] = [".wants", ".requires", ".upholds"];
/// Directives of a target that do the same.
const STARTING: [&str; 4] = ["Wants", "Requires", "BindsTo", "Upholds"];
/// The target that a system starts, and what it is if nothing says.
const DEFAULT: &str = "default.target";
const MULTI_USER: &str = "multi-user.target";
/// A target that services ask for in their texts.
const NETWORK_ONLINE: &str = "network-online.target";
/// Generators, and the targets that they have the multi-user target pull in.
const GENERATED: [(&str, &str); 1] = [("cloud-init-generator", "cloud-init.target")];
/// Most links of aliases that are followed from one unit to another.
const MAX_ALIASES: usize = 8;

/// What stands for the name of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum UnitFile {
    /// A text.
    Text(String),
    /// It is masked.
    Masked(String),
    /// It is another name of this unit.
    Alias(String, String),
}

/// The units of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    /// What counts for each name.
    files: BTreeMap<String, UnitFile>,
    /// What each unit pulls in, by name, with the link that does it; none if the link is masked.
    pulled: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// Directories of drop-ins by unit, the one that counts most first.
    drop_ins: BTreeMap<String, Vec<String>>,
    /// What is started, with what starts it.
    started: BTreeMap<String, String>,
}

/// Whether a unit, or a service of another kind, is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Absent,
    /// It is there, but can never be started.
    Masked(String),
    /// It is there, but nothing starts it.
    Disabled {
        /// Its file.
        path: String,
        /// What would start it if it were started itself.
        idle: Option<String>,
    },
    /// It is there, and this starts it.
    Enabled {
        /// Its file.
        path: String,
        /// What starts it.
        by: String,
    },
}

/// One line of a unit's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The file it is in.
    pub path: String,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Units {
    /// The units of an image.
    ///
    /// # Errors
    /// [`FactError`], if a directory cannot be read.
    pub fn read(root: &Root<'_>) -> Result<Self, FactError> {
        let mut units = Self::default();
        for directory in distinct(root, &DIRECTORIES)? {
            for entry in root.list(&directory).map_err(unreadable(&directory))?.unwrap_or_default() {
                units.add(root, &directory, &entry)?;
            }
        }
        units.add_generated(root)?;
        units.start(root)?;
        Ok(units)
    }

    fn add(&mut self, root: &Root<'_>, directory: &str, entry: &Entry) -> Result<(), FactError> {
        let path = format!("{directory}/{}", entry.name);
        if let Some(unit) = PULLING.iter().find_map(|end| entry.name.strip_suffix(end)) {
            for name in text::names(root, &path, |_| true)? {
                let link = format!("{path}/{name}");
                let link = (!is_masked(root, &link)?).then_some(link);
                self.pulled.entry(unit.to_owned()).or_default().entry(name).or_insert(link);
            }
        } else if let Some(unit) = entry.name.strip_suffix(".d") {
            self.drop_ins.entry(unit.to_owned()).or_default().push(path);
        } else if !self.files.contains_key(&entry.name) {
            let file = unit_file(root, path, entry)?;
            self.files.extend(file.map(|file| (entry.name.clone(), file)));
        }
        Ok(())
    }

    /// What is pulled in, though no link in the image says so.
    fn add_generated(&mut self, root: &Root<'_>) -> Result<(), FactError> {
        let by_multi_user = self.pulled.entry(MULTI_USER.to_owned()).or_default();
        by_multi_user.entry(NETWORK_ONLINE.to_owned()).or_insert_with(|| Some(MULTI_USER.to_owned()));
        for (generator, target) in GENERATED {
            // Of several of one name the first counts; one that is masked runs as little as one that is not there.
            for path in GENERATORS.map(|directory| format!("{directory}/{generator}")) {
                if root.find_link(&path).map_err(unreadable(&path))?.is_some() {
                    let path = (!is_masked(root, &path)?).then_some(path);
                    by_multi_user.entry(target.to_owned()).or_insert(path);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Finds what is started, from the default target on.
    fn start(&mut self, root: &Root<'_>) -> Result<(), FactError> {
        let default = if self.files.contains_key(DEFAULT) { self.own_name(DEFAULT) } else { MULTI_USER };
        let mut waiting = vec![(default.to_owned(), DEFAULT.to_owned())];
        let mut links = self.links();
        while let Some((name, by)) = waiting.pop() {
            let is_there = match self.files.get(&name) {
                Some(UnitFile::Text(_)) => true,
                Some(UnitFile::Masked(_) | UnitFile::Alias(..)) => false,
                // An image that does not say what it starts may well have no file for that either.
                None => name == MULTI_USER,
            };
            if is_there && !self.started.contains_key(&name) {
                waiting.extend(links.remove(&name).unwrap_or_default());
                waiting.extend(self.asked_for(root, &name)?);
                self.started.insert(name, by);
            }
        }
        Ok(())
    }

    /// What the links of each unit pull in, by the names that the units have themselves.
    fn links(&self) -> BTreeMap<String, Vec<(String, String)>> {
        let mut by_unit: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (unit, links) in &self.pulled {
            let counted = links.iter().filter_map(|(name, link)| Some((self.own_name(name).to_owned(), link.clone()?)));
            by_unit.entry(self.own_name(unit).to_owned()).or_default().extend(counted);
        }
        by_unit
    }

    /// What the text of a target asks for, with the file that does.
    fn asked_for(&self, root: &Root<'_>, unit: &str) -> Result<Vec<(String, String)>, FactError> {
        if !unit.ends_with(".target") {
            return Ok(Vec::new());
        }
        let directives = self.directives(root, unit)?.unwrap_or_default();
        let asking = directives.iter().filter(|one| STARTING.contains(&one.key.as_str()));
        let names = asking.flat_map(|one| one.value.split_whitespace().map(|name| (name, one.path.clone())));
        Ok(names.map(|(name, path)| (self.own_name(name).to_owned(), path)).collect())
    }

    /// Whether a unit is started. `unit` is its whole name, as `cloud-init.service`.
    pub fn state(&self, unit: &str) -> State {
        let name = self.own_name(unit);
        let path = match self.files.get(name) {
            None | Some(UnitFile::Alias(..)) => return State::Absent,
            Some(UnitFile::Masked(path)) => return State::Masked(path.clone()),
            Some(UnitFile::Text(path)) => path.clone(),
        };
        match self.started.get(name) {
            Some(by) => State::Enabled { path, by: by.clone() },
            None => State::Disabled { path, idle: self.idle(name) },
        }
    }

    /// A link that pulls a unit in, whether or not that is of any effect.
    fn idle(&self, unit: &str) -> Option<String> {
        let mut links = self.pulled.values().flatten().filter(|(name, _)| self.own_name(name) == unit);
        links.find_map(|(_, link)| link.clone())
    }

    /// What the text of a unit says, its drop-ins last; none if it has no text.
    ///
    /// # Errors
    /// [`FactError`], if one of its files cannot be read.
    pub fn directives(&self, root: &Root<'_>, unit: &str) -> Result<Option<Vec<Directive>>, FactError> {
        let name = self.own_name(unit);
        let Some(UnitFile::Text(path)) = self.files.get(name) else { return Ok(None) };
        let Some(content) = text::read(root, path)? else { return Ok(None) };
        let mut directives = parse(&content, path);
        for drop_in in self.drop_ins_of(root, name)? {
            let content = text::read(root, &drop_in)?.unwrap_or_default();
            directives.extend(parse(&content, &drop_in));
        }
        Ok(Some(directives))
    }

    /// Drop-ins by name, each from the directory that counts most.
    fn drop_ins_of(&self, root: &Root<'_>, unit: &str) -> Result<Vec<String>, FactError> {
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        for directory in self.drop_ins.get(unit).into_iter().flatten() {
            for name in text::names(root, directory, |name| name.ends_with(".conf"))? {
                let path = format!("{directory}/{name}");
                paths.entry(name).or_insert(path);
            }
        }
        let mut counted = Vec::new();
        for path in paths.into_values() {
            if !is_masked(root, &path)? {
                counted.push(path);
            }
        }
        Ok(counted)
    }

    /// The name that a unit has itself, if `unit` is another of its names.
    fn own_name<'a>(&'a self, unit: &'a str) -> &'a str {
        let mut name = unit;
        for _ in 0..MAX_ALIASES {
            match self.files.get(name) {
                Some(UnitFile::Alias(_, target)) => name = target,
                Some(UnitFile::Text(_) | UnitFile::Masked(_)) | None => break,
            }
        }
        name
    }
}

/// Directories that are there, without those that are others by a link, as `lib` is `usr/lib`.
fn distinct(root: &Root<'_>, directories: &[&str]) -> Result<Vec<String>, FactError> {
    let mut found: Vec<String> = Vec::new();
    for directory in directories {
        let real = root.find(directory).map_err(unreadable(directory))?.map(|found| found.path);
        found.extend(real.filter(|path| !found.contains(path)));
    }
    Ok(found)
}

fn unit_file(root: &Root<'_>, path: String, entry: &Entry) -> Result<Option<UnitFile>, FactError> {
    if is_masked(root, &path)? {
        return Ok(Some(UnitFile::Masked(path)));
    }
    Ok(match entry.kind {
        Kind::File => Some(UnitFile::Text(path)),
        Kind::Directory | Kind::Special => None,
        Kind::Symlink => {
            let target = root.read_link(&path).map_err(unreadable(&path))?.unwrap_or_default();
            let name = target.rsplit('/').next().unwrap_or_default();
            match root.find(&path).map_err(unreadable(&path))? {
                None => None,
                Some(_) if name == entry.name => Some(UnitFile::Text(path)),
                Some(_) => Some(UnitFile::Alias(path, name.to_owned())),
            }
        }
    })
}

/// Whether a file says that what it names shall not be: it is empty, or a link to `/dev/null`.
fn is_masked(root: &Root<'_>, path: &str) -> Result<bool, FactError> {
    let link = root.read_link(path).map_err(unreadable(path))?;
    if let Some(target) = link {
        return Ok(target == "/dev/null" || target.ends_with("../dev/null"));
    }
    let found = root.find(path).map_err(unreadable(path))?;
    Ok(found.is_some_and(|found| found.metadata.kind == Kind::File && found.metadata.size_bytes == 0))
}

/// The lines of a unit's text that say something; lines that end with a backslash go on.
fn parse(text: &str, path: &str) -> Vec<Directive> {
    let mut directives = Vec::new();
    let mut whole = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(begin) = line.strip_suffix('\\') {
            whole.push_str(begin);
            whole.push(' ');
            continue;
        }
        whole.push_str(line);
        if let Some((key, value)) = whole.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            directives.push(Directive { path: path.to_owned(), key, value });
        }
        whole.clear();
    }
    directives
}

#[cfg(test)]
mod tests {
    use super::{State, Units, parse};
    use crate::inspect::facts::test_tree::Tree;

    const SYSTEM: &str = "usr/lib/systemd/system";

    /// An image with these units, of which each has a text.
    fn tree(units: &[(&str, &str)]) -> Tree {
        let tree = Tree::new();
        units.iter().for_each(|(name, text)| tree.file(&format!("{SYSTEM}/{name}"), text));
        tree
    }

    fn pull(tree: &Tree, by: &str, name: &str) {
        tree.link(&format!("etc/systemd/system/{by}/{name}"), &format!("/{SYSTEM}/{name}"));
    }

    fn is_started(tree: &Tree, unit: &str) -> bool {
        matches!(Units::read(&tree.root()).expect("readable").state(unit), State::Enabled { .. })
    }

    #[test]
    fn a_unit_is_started_if_a_chain_from_the_default_target_leads_to_it() {
        let texts = [
            ("graphical.target", "[Unit]\nRequires=multi-user.target\n"),
            ("multi-user.target", "[Unit]\nRequires=basic.target\n"),
            ("basic.target", "[Unit]\nRequires=sysinit.target\nWants=timers.target \\\n sockets.target\n"),
            ("sockets.target", "[Unit]\n"),
            ("rescue.target", "[Unit]\n"),
            ("network-online.target", "[Unit]\n"),
            ("a.service", "[Unit]\nWants=c.service\n"),
            ("b.service", "[Unit]\n"),
            ("c.service", "[Unit]\n"),
        ];
        for (default, by, expected) in [
            ("graphical.target", "graphical.target.wants", true),
            ("graphical.target", "multi-user.target.requires", true),
            ("graphical.target", "sockets.target.upholds", true),
            ("graphical.target", "default.target.wants", true),
            ("graphical.target", "network-online.target.wants", true),
            ("graphical.target", "rescue.target.wants", false),
            ("graphical.target", "timers.target.wants", false),
            ("multi-user.target", "graphical.target.wants", false),
            ("multi-user.target", "sockets.target.wants", true),
            ("rescue.target", "multi-user.target.wants", false),
            ("rescue.target", "rescue.target.wants", true),
        ] {
            let tree = tree(&texts);
            tree.link(&format!("{SYSTEM}/default.target"), default);
            pull(&tree, by, "a.service");
            pull(&tree, "a.service.wants", "b.service");
            for (unit, expected) in [("a.service", expected), ("b.service", expected), ("c.service", false)] {
                assert_eq!(is_started(&tree, unit), expected, "{unit} of {by} below {default}");
            }
        }
    }

    #[test]
    fn what_is_masked_on_the_way_starts_nothing() {
        let texts = [("multi-user.target", "[Unit]\n"), ("my.target", "[Unit]\n"), ("a.service", "[Unit]\n")];
        let made = || {
            let tree = tree(&texts);
            pull(&tree, "multi-user.target.wants", "my.target");
            tree.link(&format!("{SYSTEM}/my.target.wants/a.service"), "../a.service");
            tree
        };
        assert!(is_started(&made(), "a.service"));
        for masked in ["my.target", "my.target.wants/a.service", "multi-user.target", "default.target"] {
            let tree = made();
            tree.link(&format!("etc/systemd/system/{masked}"), "/dev/null");
            assert!(!is_started(&tree, "a.service"), "{masked}");
        }
    }

    #[test]
    fn units_that_pull_each_other_in_are_started_once() {
        let tree = tree(&[("a.target", "Wants=b.target\n"), ("b.target", "Wants=a.target multi-user.target\n")]);
        pull(&tree, "multi-user.target.wants", "a.target");
        assert!(is_started(&tree, "b.target"));
    }

    #[test]
    fn lines_that_go_on_are_one_directive() {
        let text = "[Unit]\n# After=no\nAfter=a.service \\\n; comment\n  b.service\nExecStart = /bin/x a=b\n";
        let seen: Vec<_> = parse(text, "/u").into_iter().map(|one| (one.key, one.value)).collect();
        let expected = [("After", "a.service  b.service"), ("ExecStart", "/bin/x a=b")];
        assert_eq!(seen, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|[=#;\\\\ \t\n\\[\\]])*") {
            parse(&text, "/u");
        }
    }
}
