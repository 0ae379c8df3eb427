//! The database of rpm. None of its three forms is read yet: where there is one, that is said.

use super::packages::Package;
use super::text::{FactError, unreadable};
use crate::inspect::root::Root;

const DATABASES: [&str; 7] = [
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "var/lib/rpm/rpmdb.sqlite",
    "usr/share/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "var/lib/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
    "var/lib/rpm/Packages",
];

/// The database and the packages in it; none if there is no database.
///
/// # Errors
/// [`FactError`], if there is one that cannot be read.
pub(super) fn packages(root: &Root<'_>) -> Result<Option<(&'static str, Vec<Package>)>, FactError> {
    for path in DATABASES {
        if root.find(path).map_err(unreadable(path))?.is_some() {
            let what = "this form of rpm's database is not read".to_owned();
            return Err(FactError::Malformed { path: format!("/{path}"), what });
        }
    }
    Ok(None)
}
