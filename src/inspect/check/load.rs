//! Loading checks: the table that is built in, and the files of a directory, in which operators add or override by id.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::table::{Check, Rule};
use super::version::Version;

const BUILT_IN: &str = include_str!("table.toml");
/// Most checks, those that are built in included.
pub const MAX_CHECKS: usize = 80;
/// Longest id, title and other text of a check, in bytes.
const MAX_ID_BYTES: usize = 32;
const MAX_TITLE_BYTES: usize = 120;
const MAX_REMEDY_BYTES: usize = 500;
const MAX_DOC_BYTES: usize = 1000;
/// Longest file of checks, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// Deepest rule within a rule.
const MAX_DEPTH: usize = 6;
/// Most rules of one check.
const MAX_RULES: usize = 64;

/// Why checks cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ChecksError {
    /// A directory or a file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no table of checks.
    #[error("{} is no table of checks: line {line}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there, with the key.
        what: String,
    },
    /// A check says something that cannot be.
    #[error("{}: check {id:?}: {key} {what}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Its id.
        id: String,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// A table of checks, by which findings are ordered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    #[serde(rename = "check", default)]
    checks: Vec<Check>,
}

impl Checks {
    /// The checks that are built in.
    ///
    /// # Errors
    /// Never, in a program that passed its own tests.
    pub fn built_in() -> Result<Self, ChecksError> {
        Self::parse(Path::new("built-in checks"), BUILT_IN)
    }

    /// The checks that are built in, with those of the `.toml` files of a directory, in order of their names: one with an
    /// id that is known already takes its place. A directory that is not there adds nothing.
    ///
    /// # Errors
    /// [`ChecksError`], which names the file and what is wrong in it.
    pub fn load(directory: &Path) -> Result<Self, ChecksError> {
        let mut all = Self::built_in()?;
        for path in files(directory)? {
            let text = read(&path).map_err(|source| ChecksError::Unreadable { path: path.clone(), source })?;
            for check in Self::parse(&path, &text)?.checks {
                all.put(check, &path)?;
            }
        }
        Ok(all)
    }

    /// Reads one file.
    ///
    /// # Errors
    /// As [`Checks::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ChecksError> {
        let checks: Self = toml::from_str(text).map_err(|error| malformed(path, text, &error))?;
        for (at, check) in checks.checks.iter().enumerate() {
            validate(check, path)?;
            if checks.checks[..at].iter().any(|other| other.id == check.id) {
                return Err(invalid(path, check, "id", "is there twice"));
            }
        }
        Ok(checks)
    }

    /// The checks, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter()
    }

    fn put(&mut self, check: Check, path: &Path) -> Result<(), ChecksError> {
        if let Some(known) = self.checks.iter_mut().find(|known| known.id == check.id) {
            *known = check;
        } else if self.checks.len() < MAX_CHECKS {
            self.checks.push(check);
        } else {
            let what = format!("is one more than the {MAX_CHECKS} checks that there may be");
            return Err(invalid(path, &check, "id", &what));
        }
        Ok(())
    }
}

/// The `.toml` files of a directory, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>, ChecksError> {
    let unreadable = |source| ChecksError::Unreadable { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> ChecksError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    ChecksError::Malformed { path: path.to_owned(), line, what: error.message().replace('\n', " ") }
}

fn invalid(path: &Path, check: &Check, key: &'static str, what: &str) -> ChecksError {
    ChecksError::Invalid { path: path.to_owned(), id: check.id.clone(), key, what: what.to_owned() }
}

fn validate(check: &Check, path: &Path) -> Result<(), ChecksError> {
    let plain = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '-';
    if check.id.is_empty() || !check.id.chars().all(plain) {
        return Err(invalid(path, check, "id", "must be of capital letters, digits and hyphens"));
    }
    let texts = [
        ("id", &check.id, MAX_ID_BYTES),
        ("title", &check.title, MAX_TITLE_BYTES),
        ("remedy", &check.remedy, MAX_REMEDY_BYTES),
        ("doc", &check.doc, MAX_DOC_BYTES),
    ];
    for (key, text, limit) in texts {
        if text.len() > limit || text.is_empty() {
            return Err(invalid(path, check, key, &format!("must have 1 to {limit} bytes")));
        }
    }
    let mut rules = 0;
    validate_rule(&check.rule, MAX_DEPTH, &mut rules).map_err(|what| invalid(path, check, "rule", what))
}

fn validate_rule(rule: &Rule, depth: usize, rules: &mut usize) -> Result<(), &'static str> {
    *rules += 1;
    if *rules > MAX_RULES {
        return Err("has too many rules within it");
    }
    let Some(below) = depth.checked_sub(1) else { return Err("is nested too deep") };
    if asks_nothing(rule) {
        return Err("asks for nothing");
    }
    rule.inner().into_iter().try_for_each(|rule| validate_rule(rule, below, rules))
}

/// Whether a rule would hold, or fail, whatever an image is.
fn asks_nothing(rule: &Rule) -> bool {
    match rule {
        Rule::All(rules) | Rule::Any(rules) => rules.is_empty(),
        Rule::Cases(cases) => cases.is_empty(),
        Rule::File(file) => file.any_of.is_empty(),
        Rule::Link(link) => link.any_of.is_empty() || link.to.is_empty(),
        Rule::Absent(absent) => absent.paths.is_empty(),
        Rule::Package(package) | Rule::NoPackage(package) => package.any_of.is_empty(),
        Rule::Enabled(enabled) => enabled.services.is_empty() || enabled.services.iter().any(Vec::is_empty),
        Rule::NotEnabled(services) => services.services.is_empty(),
        Rule::UnitOrder(order) => order.not_after.is_empty(),
        Rule::Ini(ini) => ini.files.is_empty() || (ini.not.is_empty() && ini.has.is_empty()),
        Rule::InfVersion(inf) => inf.files.is_empty() || !is_version(&inf.at_least),
        Rule::CloudConfig(config) => config.values.is_empty(),
        Rule::Interpreter(interpreter) => interpreter.scripts.is_empty(),
        Rule::Permissions(permissions) => permissions.paths.is_empty(),
        Rule::Module(module) => module.all_of.is_empty(),
        Rule::ModuleVersion(version) => version.module.is_empty() || !is_version(&version.at_least),
        Rule::Initramfs(initramfs) => initramfs.module.is_empty(),
        Rule::ModuleNotBlocked(module) => module.module.is_empty(),
        Rule::KernelArgument(argument) => argument.any_of.is_empty(),
        Rule::DeviceNames(names) => names.not.is_empty(),
        Rule::AnyBootDriver(drivers) => drivers.not.iter().any(|pattern| pattern == "*"),
        Rule::When(_)
        | Rule::CloudInitDatasource(_)
        | Rule::CloudInitDetection(_)
        | Rule::CloudInitNotDisabled(_)
        | Rule::CloudInitDistro(_)
        | Rule::BootDrivers(_)
        | Rule::KernelImages(_)
        | Rule::Architecture(_)
        | Rule::Firmware(_)
        | Rule::Partitions(_) => false,
    }
}

fn is_version(text: &str) -> bool {
    Version::parse(text).is_some()
}
