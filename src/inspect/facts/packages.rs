//! Packages that a package manager knows to be installed. Supporting evidence only: what was installed by hand has none.

use super::glob;
use super::rpm;
use super::text::{self, FactError, MAX_DATABASE_BYTES, shown, unreadable};
use crate::inspect::fs::FsError;
use crate::inspect::root::Root;

const DPKG_STATUS: &str = "var/lib/dpkg/status";
/// Images without a package manager, made from packages, have a file for each.
const DPKG_STATUS_D: &str = "var/lib/dpkg/status.d";
/// Most packages of an image.
const MAX_PACKAGES: usize = 50_000;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, and its release where it has one.
    pub version: String,
}

/// The installed packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packages {
    /// The database, as a path in the image; empty if there is none.
    pub source: String,
    list: Vec<Package>,
}

impl Packages {
    /// The packages that the image's own package manager knows.
    ///
    /// # Errors
    /// [`FactError`], if its database cannot be read.
    pub fn read(root: &Root<'_>) -> Result<Self, FactError> {
        let mut list = Vec::new();
        if let Some(status) = text::read_bytes(root, DPKG_STATUS, MAX_DATABASE_BYTES)? {
            list.extend(parse_status(&String::from_utf8_lossy(&status)));
        }
        for name in text::names(root, DPKG_STATUS_D, |name| !name.ends_with(".md5sums"))? {
            let text = text::read(root, &format!("{DPKG_STATUS_D}/{name}"))?.unwrap_or_default();
            list.extend(parse_status(&text));
        }
        let mut source = DPKG_STATUS;
        if list.is_empty()
            && let Some((path, found)) = rpm::packages(root)?
        {
            (source, list) = (path, found);
        }
        if list.len() > MAX_PACKAGES {
            return Err(unreadable(source)(FsError::Limit {
                what: "the number of packages",
                limit: MAX_PACKAGES as u64,
            }));
        }
        let source = if list.is_empty() { String::new() } else { shown(source) };
        Ok(Self { source, list })
    }

    /// The first package with a name that matches a pattern.
    pub fn matching(&self, pattern: &str) -> Option<&Package> {
        self.list.iter().find(|package| glob::matches(pattern, &package.name))
    }
}

/// Packages that are wholly installed, of a file in the form of dpkg's status.
fn parse_status(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let (mut name, mut version, mut installed) = (None, "", true);
    // An empty line at the end ends the last paragraph, too.
    for line in text.lines().chain([""]) {
        match line.split_once(':') {
            Some(("Package", value)) => name = Some(value.trim()),
            Some(("Version", value)) => version = value.trim(),
            Some(("Status", value)) => installed = value.split_whitespace().last() == Some("installed"),
            _ if line.is_empty() => {
                let package = name.take().filter(|_| installed);
                packages.extend(package.map(|name| Package { name: name.to_owned(), version: version.to_owned() }));
                (version, installed) = ("", true);
            }
            _ => (),
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::{MAX_PACKAGES, Packages, parse_status};
    use crate::inspect::facts::test_tree::Tree;

    #[test]
    fn more_packages_than_are_kept_are_no_shorter_list() {
        let tree = Tree::new();
        let packages = |count: usize| -> String { (0..count).map(|at| format!("Package: p{at}\n\n")).collect() };
        tree.file("var/lib/dpkg/status", packages(MAX_PACKAGES));
        let last = format!("p{}", MAX_PACKAGES - 1);
        assert!(Packages::read(&tree.root()).expect("readable").matching(&last).is_some());
        tree.file("var/lib/dpkg/status", packages(MAX_PACKAGES + 1));
        let error = Packages::read(&tree.root()).expect_err("too many");
        assert_eq!(
            crate::text::chain(&error),
            "cannot read /var/lib/dpkg/status: the number of packages is beyond the limit of 50000"
        );
    }

    #[test]
    fn only_what_is_installed_counts() {
        let text = "Package: a\nStatus: install ok installed\nVersion: 1-2\nDescription: x\n Package: no\n\n\
                    Package: b\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: c\nVersion: 2:3";
        let seen: Vec<_> = parse_status(text).into_iter().map(|package| (package.name, package.version)).collect();
        assert_eq!(seen, [("a".to_owned(), "1-2".to_owned()), ("c".to_owned(), "2:3".to_owned())]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|[: \n]|Package|Status|Version)*") {
            parse_status(&text);
        }
    }
}
