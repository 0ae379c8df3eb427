//! Other names for the same hardware: a vendor that was renamed, a product line that was. A table that is built in, and
//! the operator's, which adds to it.
//!
//! Names that are said to be the same are one set, whichever file says so; nothing can be taken back.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::model::{HardwareModel, spelled};
use crate::disk::sysfs;

const BUILT_IN: &str = include_str!("aliases.toml");
/// Longest file of aliases, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Why aliases cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no table of aliases.
    #[error("{} is no table of aliases: line {line}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there, with the key.
        what: String,
    },
    /// A name cannot be one.
    #[error("{}: {name:?} is no name: it must have 1 to {MAX_NAME_BYTES} bytes that are not all spaces", path.display())]
    NameInvalid {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

/// What two models are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Likeness {
    /// They are the same, by this name or another.
    Same,
    /// They are not.
    Different(Part),
    /// It cannot be said: on at least one side this is not known.
    Unknown(Part),
}

/// A part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The architecture.
    Architecture,
    /// The vendor.
    Vendor,
    /// The product.
    Product,
}

/// Which names are the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    vendors: Sets<String>,
    /// First name of the vendor, and name of the product.
    products: Sets<(String, String)>,
}

/// A file of aliases.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    vendor: Vec<VendorNames>,
    product: Vec<ProductNames>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorNames {
    name: String,
    also: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductNames {
    vendor: String,
    name: String,
    also: Vec<String>,
}

impl Aliases {
    /// The aliases that are built in.
    ///
    /// # Errors
    /// Never, in a program that passed its own tests.
    pub fn built_in() -> Result<Self, AliasError> {
        Self::parse(&[(Path::new("built-in aliases"), BUILT_IN)])
    }

    /// The aliases that are built in, and those of a file, which may be missing.
    ///
    /// # Errors
    /// [`AliasError`], which names the file and what is wrong in it.
    ///
    /// # Blocking
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, AliasError> {
        let unreadable = |source| AliasError::Unreadable { path: path.to_owned(), source };
        let bytes = match sysfs::bounded(path, MAX_FILE_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::built_in(),
            read => read.map_err(unreadable)?,
        };
        let text = String::from_utf8(bytes).map_err(|error| unreadable(io::Error::other(error)))?;
        Self::parse(&[(Path::new("built-in aliases"), BUILT_IN), (path, &text)])
    }

    /// The aliases of some files, given with where they are from.
    ///
    /// # Errors
    /// [`AliasError::Malformed`] and [`AliasError::NameInvalid`].
    pub fn parse(files: &[(&Path, &str)]) -> Result<Self, AliasError> {
        let read = |(path, text): &(&Path, &str)| table(path, text);
        let tables = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut aliases = Self::default();
        for vendor in tables.iter().flat_map(|table| &table.vendor) {
            aliases.vendors.unite(names(&vendor.name, &vendor.also).collect());
        }
        // What is one product depends on what is one vendor, so that all vendors come before.
        for product in tables.iter().flat_map(|table| &table.product) {
            let vendor = aliases.vendors.first(spell(&product.vendor));
            aliases.products.unite(names(&product.name, &product.also).map(|name| (vendor.clone(), name)).collect());
        }
        Ok(aliases)
    }

    /// A model under its first names.
    #[must_use]
    pub fn resolve(&self, model: &HardwareModel) -> HardwareModel {
        self.resolve_within(model, model.vendor.as_ref())
    }

    /// What two models are to each other. What is known to differ decides, whatever else is not known.
    #[must_use]
    pub fn compare(&self, one: &HardwareModel, other: &HardwareModel) -> Likeness {
        // A product without a vendor may have any name that it has with the vendor of the other.
        let resolve = |model: &HardwareModel, other: &HardwareModel| {
            self.resolve_within(model, model.vendor.as_ref().or(other.vendor.as_ref()))
        };
        let (one, other) = (resolve(one, other), resolve(other, one));
        let parts = [
            (Part::Architecture, one.architecture, other.architecture),
            (Part::Vendor, one.vendor, other.vendor),
            (Part::Product, one.product, other.product),
        ];
        let differs = |(_, one, other): &&(Part, Option<String>, Option<String>)| {
            one.is_some() && other.is_some() && one != other
        };
        let lacks = |(_, one, other): &&(Part, Option<String>, Option<String>)| one.is_none() || other.is_none();
        match (parts.iter().find(differs), parts.iter().find(lacks)) {
            (Some((part, ..)), _) => Likeness::Different(*part),
            (None, Some((part, ..))) => Likeness::Unknown(*part),
            (None, None) => Likeness::Same,
        }
    }

    fn resolve_within(&self, model: &HardwareModel, vendor: Option<&String>) -> HardwareModel {
        let product = |name: &String| match vendor {
            Some(vendor) => self.products.first((self.vendors.first(vendor.clone()), name.clone())).1,
            None => name.clone(),
        };
        HardwareModel {
            vendor: model.vendor.clone().map(|vendor| self.vendors.first(vendor)),
            product: model.product.as_ref().map(product),
            architecture: model.architecture.clone(),
        }
    }
}

/// Names in sets: those of one set mean the same, and the first of them is the one to use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sets<T>(Vec<Vec<T>>);

impl<T> Default for Sets<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone + PartialEq> Sets<T> {
    /// Makes one set of some names, and of all sets that have one of them.
    fn unite(&mut self, names: Vec<T>) {
        let is_met = |set: &mut Vec<T>| set.iter().any(|name| names.contains(name));
        let mut united: Vec<T> = self.0.extract_if(.., is_met).flatten().collect();
        for name in names {
            if !united.contains(&name) {
                united.push(name);
            }
        }
        self.0.push(united);
    }

    /// The first name for what has this one.
    fn first(&self, name: T) -> T {
        let set = self.0.iter().find(|set| set.contains(&name));
        set.and_then(|set| set.first()).cloned().unwrap_or(name)
    }
}

fn table(path: &Path, text: &str) -> Result<Table, AliasError> {
    let table: Table = toml::from_str(text).map_err(|error| malformed(path, text, &error))?;
    let vendors = table.vendor.iter().flat_map(|vendor| vendor.also.iter().chain([&vendor.name]));
    let products = table.product.iter().flat_map(|product| product.also.iter().chain([&product.vendor, &product.name]));
    let invalid = vendors.chain(products).find(|name| name.len() > MAX_NAME_BYTES || spelled(name).is_none()).cloned();
    match invalid {
        Some(name) => Err(AliasError::NameInvalid { path: path.to_owned(), name }),
        None => Ok(table),
    }
}

/// Names in the one way to spell them; none of them is nothing, for that was checked.
fn names<'a>(name: &'a str, also: &'a [String]) -> impl Iterator<Item = String> + 'a {
    std::iter::once(name).chain(also.iter().map(String::as_str)).map(spell)
}

fn spell(name: &str) -> String {
    spelled(name).unwrap_or_default()
}

fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> AliasError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    AliasError::Malformed { path: path.to_owned(), line, what: error.message().replace('\n', " ") }
}

#[cfg(test)]
mod tests;
