//! The database of rpm in its three forms, as far as names and versions of packages go. Each form is a leaf that finds the
//! headers of packages; a header is read here.

mod bdb;
mod ndb;
mod sqlite;

use super::packages::Package;
use super::text::{self, FactError, MAX_DATABASE_BYTES, shown};
use crate::inspect::root::Root;

#[cfg(test)]
mod tests;

/// Shows the begin of every header in a database of one form; none if it is no such database, or has too many. Headers are
/// not kept: a file can name the same bytes many times over.
type Headers = fn(&[u8], &mut dyn FnMut(&[u8])) -> Option<()>;

const DATABASES: [(&str, Headers); 7] = [
    ("usr/lib/sysimage/rpm/rpmdb.sqlite", sqlite::headers),
    ("var/lib/rpm/rpmdb.sqlite", sqlite::headers),
    ("usr/share/rpm/rpmdb.sqlite", sqlite::headers),
    ("usr/lib/sysimage/rpm/Packages.db", ndb::headers),
    ("var/lib/rpm/Packages.db", ndb::headers),
    ("usr/lib/sysimage/rpm/Packages", bdb::headers),
    ("var/lib/rpm/Packages", bdb::headers),
];
/// Most bytes that are kept of a header: name and version come first in it.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Longest name and version that is kept, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Most headers of a database.
const MAX_HEADERS: usize = 20_000;
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
/// Bytes of an entry in the index of a header.
const ENTRY_BYTES: usize = 16;

/// The database and the packages in it; none if there is no database.
///
/// # Errors
/// [`FactError`], if there is one that cannot be read.
pub(super) fn packages(root: &Root<'_>) -> Result<Option<(&'static str, Vec<Package>)>, FactError> {
    for (path, headers) in DATABASES {
        let Some(database) = text::read_bytes(root, path, MAX_DATABASE_BYTES)? else { continue };
        let what = format!("it is no database of rpm with at most {MAX_HEADERS} packages");
        let malformed = || FactError::Malformed { path: shown(path), what };
        let mut packages = Vec::new();
        headers(&database, &mut |header| packages.extend(package(header))).ok_or_else(malformed)?;
        return Ok(Some((path, packages)));
    }
    Ok(None)
}

/// Name and version of a package, of the begin of its header.
fn package(header: &[u8]) -> Option<Package> {
    let entries = usize::try_from(u32_be(header, 0)?).ok()?;
    let data = entries.checked_mul(ENTRY_BYTES)?.checked_add(8)?;
    let index = header.get(8..data)?;
    let value = |tag: u32| {
        let entry = index.chunks_exact(ENTRY_BYTES).find(|entry| u32_be(entry, 0) == Some(tag))?;
        let offset = usize::try_from(u32_be(entry, 8)?).ok()?;
        let text = header.get(data.checked_add(offset)?..)?.split(|byte| *byte == 0).next()?;
        let text = &text[..text.len().min(MAX_NAME_BYTES)];
        Some(String::from_utf8_lossy(text).into_owned())
    };
    Some(Package { name: value(NAME)?, version: format!("{}-{}", value(VERSION)?, value(RELEASE)?) })
}

fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
