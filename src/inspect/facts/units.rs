//! Units of systemd as they are installed: their files, what masks them, what pulls them in, and what their text says.

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
    /// Links in `.wants` and `.requires` directories, by the name of the unit they pull in.
    pulled: BTreeMap<String, Vec<String>>,
    /// Directories of drop-ins by unit, the one that counts most first.
    drop_ins: BTreeMap<String, Vec<String>>,
    generators: BTreeMap<String, String>,
}

/// Whether a unit, or a service of another kind, is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Absent,
    /// It is there, but can never be started.
    Masked(String),
    /// It is there, but nothing starts it.
    Disabled(String),
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
        for directory in distinct(root, &GENERATORS)? {
            for name in text::names(root, &directory, |_| true)? {
                let path = format!("{directory}/{name}");
                // A generator that is masked runs as little as one that is not there.
                if !is_masked(root, &path)? {
                    units.generators.entry(name).or_insert(path);
                }
            }
        }
        Ok(units)
    }

    fn add(&mut self, root: &Root<'_>, directory: &str, entry: &Entry) -> Result<(), FactError> {
        let path = format!("{directory}/{}", entry.name);
        if entry.name.ends_with(".wants") || entry.name.ends_with(".requires") {
            for name in text::names(root, &path, |_| true)? {
                let link = format!("{path}/{name}");
                self.pulled.entry(name).or_default().push(link);
            }
        } else if let Some(unit) = entry.name.strip_suffix(".d") {
            self.drop_ins.entry(unit.to_owned()).or_default().push(path);
        } else if !self.files.contains_key(&entry.name) {
            let file = unit_file(root, path, entry)?;
            self.files.extend(file.map(|file| (entry.name.clone(), file)));
        }
        Ok(())
    }

    /// Whether a unit is started. `unit` is its whole name, as `cloud-init.service`.
    pub fn state(&self, unit: &str) -> State {
        let name = self.own_name(unit);
        let path = match self.files.get(name) {
            None | Some(UnitFile::Alias(..)) => return State::Absent,
            Some(UnitFile::Masked(path)) => return State::Masked(path.clone()),
            Some(UnitFile::Text(path)) => path.clone(),
        };
        let mut names = std::iter::once(name).chain(self.files.keys().map(String::as_str).filter(|other| {
            *other != name
                && matches!(self.files.get(*other), Some(UnitFile::Alias(..)))
                && self.own_name(other) == name
        }));
        match names.find_map(|name| self.pulled.get(name)?.first()) {
            Some(by) => State::Enabled { path, by: by.clone() },
            None => State::Disabled(path),
        }
    }

    /// The file of a generator, by its name.
    pub fn generator(&self, name: &str) -> Option<&str> {
        self.generators.get(name).map(String::as_str)
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
    use super::parse;

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
