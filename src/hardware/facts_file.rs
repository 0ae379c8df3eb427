//! Inventories in files: what one server says of itself, to be judged elsewhere.
//!
//! A file has what `bmsctl host show --output json` prints, or the inventory out of it. It may be from another version:
//! what is not known is passed over, as long as the form is not a newer one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

use super::inventory::{Inventory, SCHEMA};

/// Longest file, in bytes: more than the longest inventory takes with all its white space.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why there is no inventory to be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is too long to be one.
    #[error("{} has more than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no JSON document.
    #[error("{} is no JSON document", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where it is none.
        source: serde_json::Error,
    },
    /// There is no inventory in the document.
    #[error("{} has no inventory, as `bmsctl host show --output json` prints it", path.display())]
    NoInventory {
        /// The file.
        path: PathBuf,
    },
    /// The inventory has a form that this version of the program does not know.
    #[error("{} has an inventory of form {schema}, and this program knows those up to {SCHEMA}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        schema: u64,
    },
    /// The inventory is not of the form that it says.
    #[error("{} has an inventory that makes no sense", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What makes none.
        source: serde_json::Error,
    },
}

/// Reads an inventory.
///
/// # Errors
/// [`FactsError`].
///
/// # Blocking
/// Reads the file, which may be a pipe.
pub fn read(path: &Path) -> Result<Inventory, FactsError> {
    let path = || path.to_owned();
    let mut content = Vec::new();
    File::open(path())
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content))
        .map_err(|source| FactsError::Unreadable { path: path(), source })?;
    if u64::try_from(content.len()).is_ok_and(|len| len > MAX_FILE_BYTES) {
        return Err(FactsError::TooLarge { path: path() });
    }
    let document: Value =
        serde_json::from_slice(&content).map_err(|source| FactsError::NotJson { path: path(), source })?;
    let inventory = document.get("inventory").unwrap_or(&document);
    match inventory.get("schema").and_then(Value::as_u64) {
        None | Some(0) => return Err(FactsError::NoInventory { path: path() }),
        Some(schema) if schema > u64::from(SCHEMA) => return Err(FactsError::Newer { path: path(), schema }),
        Some(_) => {}
    }
    Inventory::deserialize(inventory).map_err(|source| FactsError::Malformed { path: path(), source })
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::path::Path;

    use serde_json::json;

    use super::{FactsError, MAX_FILE_BYTES, read};
    use crate::hardware::inventory::Inventory;
    use crate::hardware::machines::catalogue;

    fn read_back(content: impl AsRef<[u8]>) -> Result<Inventory, FactsError> {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), content).expect("write");
        read(file.path())
    }

    #[test]
    fn an_inventory_is_read_alone_or_with_its_host_around_it() {
        for (name, inventory) in catalogue::inventories() {
            let host = json!({"agent_version": "0.1.0", "inventory": inventory, "model": "m"});
            assert_eq!(read_back(host.to_string()).expect(name), *inventory);
            let bare = serde_json::to_string_pretty(inventory).expect("JSON");
            assert_eq!(read_back(bare).expect(name), *inventory);
        }
    }

    #[test]
    fn what_is_no_inventory_is_said_to_be_none() {
        assert!(matches!(read(Path::new("/nowhere/facts")), Err(FactsError::Unreadable { .. })));
        assert!(matches!(read_back("{\"inventory\": "), Err(FactsError::NotJson { .. })));
        let documents =
            ["[]", "7", "{}", r#"{"inventory": null}"#, r#"{"schema": 0}"#, r#"{"schema": "1"}"#, r#"{"disks": []}"#];
        for document in documents {
            assert!(matches!(read_back(document), Err(FactsError::NoInventory { .. })), "{document}");
        }
        let newer = read_back(r#"{"inventory": {"schema": 2, "disks": 7}}"#);
        assert!(matches!(newer, Err(FactsError::Newer { schema: 2, .. })), "{newer:?}");
        let malformed = read_back(r#"{"schema": 1, "disks": {"value": 7}}"#).expect_err("disks are a list");
        assert!(malformed.source().is_some_and(|source| source.to_string().contains("invalid type")), "{malformed}");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_it() {
        let file = tempfile::NamedTempFile::new().expect("file");
        file.as_file().set_len(MAX_FILE_BYTES + 1).expect("sparse");
        assert!(matches!(read(file.path()), Err(FactsError::TooLarge { .. })));
    }
}
