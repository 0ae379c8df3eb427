//! Changes of the file of contexts. What the user wrote in it stays: other contexts, comments, order. The file is replaced
//! as a whole or not at all, and two who change it at once do so one after the other.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, TableLike, Value, value};

use super::ContextName;
use super::choice::Place;
use super::file::{self, Contexts, ContextsError};
use crate::cli::Address;

/// The keys of a context.
const KEYS: [&str; 5] = ["host", "cert", "key", "ca", "socket"];

/// A file that is changed.
#[derive(Debug)]
pub(super) struct Editor {
    /// Where it is; not a symbolic link to there, which stays.
    path: PathBuf,
    document: DocumentMut,
    /// What it has, before the change.
    contexts: Contexts,
    /// Its directory, whose lock is held.
    directory: File,
}

impl Editor {
    /// Begins to change a file, which may not be there yet.
    pub(super) fn open(place: &Place) -> Result<Self, ContextsError> {
        let path = place.path();
        let failed = |source| ContextsError::Write { path: path.to_owned(), source };
        let path = match fs::canonicalize(path) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(failed(error)),
        };
        let directory = lock(&path).map_err(failed)?;
        let text = file::text(&Place::Usual(path.clone()))?.unwrap_or_default();
        let contexts = Contexts::parse(&path, &text)?;
        let unclear = |source| ContextsError::Edit { path: path.clone(), source: Box::new(source) };
        let document = text.parse::<DocumentMut>().map_err(unclear)?;
        Ok(Self { path, document, contexts, directory })
    }

    /// Makes a context the current one.
    pub(super) fn make_current(&mut self, name: &ContextName) -> Result<(), ContextsError> {
        self.contexts.of(&self.path, name)?;
        put(self.document.as_table_mut(), "current", name.as_str());
        Ok(())
    }

    /// Writes a context down, in place of the one of the name.
    pub(super) fn set(&mut self, name: &ContextName, address: &Address) -> Result<(), ContextsError> {
        let entries = entries(address)?;
        let mut implicit = Table::new();
        implicit.set_implicit(true);
        let contexts = self.document.entry("contexts").or_insert(Item::Table(implicit));
        // It was read as tables, so it is one.
        let Some(contexts) = contexts.as_table_like_mut() else { return Ok(()) };
        let context = contexts.entry(name.as_str()).or_insert(Item::Table(Table::new()));
        let Some(context) = context.as_table_like_mut() else { return Ok(()) };
        for key in KEYS {
            match entries.iter().find(|(known, _)| *known == key) {
                Some((_, text)) => put(context, key, text),
                None => drop(context.remove(key)),
            }
        }
        Ok(())
    }

    /// Removes a context, and says whether it was the current one.
    pub(super) fn remove(&mut self, name: &ContextName) -> Result<bool, ContextsError> {
        self.contexts.of(&self.path, name)?;
        if let Some(contexts) = self.document.get_mut("contexts").and_then(Item::as_table_like_mut) {
            contexts.remove(name.as_str());
        }
        let current = self.contexts.current.as_ref() == Some(name);
        if current {
            self.document.remove("current");
        }
        Ok(current)
    }

    /// Replaces the file, for its owner alone, and gives what it has now.
    pub(super) fn save(self) -> Result<Contexts, ContextsError> {
        let text = self.document.to_string();
        // What cannot be read again is not written.
        let contexts = Contexts::parse(&self.path, &text)?;
        let replace = || -> io::Result<()> {
            let mut beside = tempfile::Builder::new().prefix(".bmsctl-").tempfile_in(directory(&self.path))?;
            beside.write_all(text.as_bytes())?;
            beside.as_file().sync_all()?;
            beside.persist(&self.path)?;
            self.directory.sync_all()
        };
        replace().map_err(|source| ContextsError::Write { path: self.path.clone(), source })?;
        Ok(contexts)
    }
}

/// Locks the directory of a file until what is given is dropped. Makes it if it is not there.
fn lock(path: &Path) -> io::Result<File> {
    let dir = directory(path);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let dir = File::open(dir)?;
    dir.lock()?;
    Ok(dir)
}

/// Where a file is.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What stands in the file for an agent.
fn entries(address: &Address) -> Result<Vec<(&'static str, String)>, ContextsError> {
    // Paths were typed where the shell was, and are read where the file is.
    let text = |path: &Path| {
        let absolute = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
        absolute.ok_or_else(|| ContextsError::NotText { path: path.to_owned() })
    };
    Ok(match address {
        Address::Socket(socket) => vec![("socket", text(socket)?)],
        Address::Host(host, files) => vec![
            ("host", host.to_string()),
            ("cert", text(&files.cert)?),
            ("key", text(&files.key)?),
            ("ca", text(&files.ca)?),
        ],
    })
}

/// Gives a key a value, and leaves the comments beside it.
fn put(table: &mut dyn TableLike, key: &str, text: &str) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let mut new = Value::from(text);
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => drop(table.insert(key, value(text))),
    }
}

#[cfg(test)]
mod tests;
