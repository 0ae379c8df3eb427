//! How an image boots: the menus of its boot loaders, with the kernels, initramfs and command lines that they name.
//!
//! Menus are read as they are written, not run: every entry counts, whatever conditions stand around it. What is on the
//! disk before the file systems, and on the EFI system partition, is in the leaves.

use std::collections::BTreeMap;

use crate::inspect::fs::{FsError, Kind};
use crate::inspect::root::Root;

pub mod bls;
pub mod efi;
pub mod grub;
pub mod grub_legacy;
pub mod mbr;

#[cfg(test)]
mod tests;

/// Most that is read of a menu, in bytes.
const MAX_MENU_BYTES: u64 = 1 << 20;
/// Most files that are read as menus, and most entries that are read of all of them.
const MAX_MENUS: usize = 512;
const MAX_ENTRIES: usize = 512;
/// Most files of one entry's initramfs.
const MAX_INITRDS: usize = 16;
/// Longest command line that is kept, in bytes; no kernel takes half of it.
const MAX_OPTIONS_BYTES: usize = 8 << 10;

/// An entry of a boot loader's menu.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootEntry {
    /// The menu, as a path in the image.
    pub source: String,
    /// What it is called in the menu.
    pub title: String,
    /// The release of the kernel, if the entry names it.
    pub version: Option<String>,
    /// The kernel, as it is written there.
    pub linux: String,
    /// Its initramfs, often more than one, as they are written there.
    pub initrds: Vec<String>,
    /// The command line.
    pub options: String,
    /// The directory that its file system is joined in at, if that is known.
    base: &'static str,
}

/// All entries of all menus of an image, those in /boot first.
///
/// # Errors
/// [`FsError`], if a menu in /boot cannot be read, or one on the EFI system partition if there is none in /boot.
pub fn entries(root: &Root<'_>) -> Result<Vec<BootEntry>, FsError> {
    let mut menus = Menus::default();
    for directory in ["/boot/grub", "/boot/grub2"] {
        menus.read_grub(root, directory)?;
    }
    menus.read_directory(root, "/boot")?;
    let on_esp = menus.read_esp(root, "/boot/efi").and_then(|()| menus.read_esp(root, "/efi"));
    if menus.entries.is_empty() {
        on_esp?;
    }
    menus.finish()
}

/// The menus of an image, as far as they are read.
#[derive(Default)]
struct Menus {
    entries: Vec<BootEntry>,
    /// What GRUB's menus set, and what its environment sets, which counts more.
    variables: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    files: usize,
}

impl Menus {
    /// Reads GRUB's own menus in a directory, old and new, and its environment.
    fn read_grub(&mut self, root: &Root<'_>, directory: &str) -> Result<(), FsError> {
        if let Some((source, text)) = self.read(root, &format!("{directory}/grub.cfg"))? {
            let menu = grub::parse(&text);
            self.variables.extend(menu.variables);
            self.add(&source, "", menu.entries)?;
        }
        for name in ["grub.conf", "menu.lst"] {
            // On many images one of these is a link to the other.
            if let Some((source, text)) = self.read(root, &format!("{directory}/{name}"))? {
                self.add(&source, "", grub_legacy::parse(&text))?;
            }
        }
        if let Some((_, text)) = self.read(root, &format!("{directory}/grubenv"))? {
            self.environment.extend(grub::parse_environment(&text));
        }
        Ok(())
    }

    /// Reads the menus on an EFI system partition: each distribution has a directory.
    fn read_esp(&mut self, root: &Root<'_>, place: &'static str) -> Result<(), FsError> {
        let listed = root.list(&format!("{place}/EFI"))?.unwrap_or_default();
        for directory in listed.into_iter().filter(|entry| entry.kind == Kind::Directory) {
            self.read_grub(root, &format!("{place}/EFI/{}", directory.name))?;
        }
        self.read_directory(root, place)
    }

    /// Reads entries that are files of their own, as the Boot Loader Specification has it.
    fn read_directory(&mut self, root: &Root<'_>, base: &'static str) -> Result<(), FsError> {
        let directory = format!("{base}/loader/entries");
        for file in root.list(&directory)?.unwrap_or_default() {
            if file.name.ends_with(".conf")
                && let Some((source, text)) = self.read(root, &format!("{directory}/{}", file.name))?
            {
                self.add(&source, base, bls::parse(&text))?;
            }
        }
        Ok(())
    }

    /// The real path and the content of a menu; none if there is none.
    fn read(&mut self, root: &Root<'_>, path: &str) -> Result<Option<(String, Vec<u8>)>, FsError> {
        let Some(found) = root.find(path)? else { return Ok(None) };
        self.files += 1;
        if self.files > MAX_MENUS {
            return Err(FsError::Limit { what: "the number of boot menus", limit: MAX_MENUS as u64 });
        }
        let content = root.read_whole(&found.path, MAX_MENU_BYTES)?;
        Ok(content.map(|content| (found.path, content)))
    }

    /// Takes in the entries of one menu, unless it was read already under another name.
    fn add(
        &mut self,
        source: &str,
        base: &'static str,
        new: impl IntoIterator<Item = BootEntry>,
    ) -> Result<(), FsError> {
        if self.entries.iter().any(|entry| entry.source == source) {
            return Ok(());
        }
        self.entries.extend(new.into_iter().map(|entry| BootEntry { source: source.to_owned(), base, ..entry }));
        if self.entries.len() > MAX_ENTRIES {
            return Err(FsError::Limit { what: "the number of boot entries", limit: MAX_ENTRIES as u64 });
        }
        Ok(())
    }

    /// The entries, with the variables in them replaced.
    fn finish(mut self) -> Result<Vec<BootEntry>, FsError> {
        self.variables.extend(self.environment);
        for entry in &mut self.entries {
            entry.options = expand(&entry.options, &self.variables);
            // As in any shell, a variable may stand for several words, or for none.
            let files = expand(&entry.initrds.join(" "), &self.variables);
            entry.initrds = files.split_whitespace().map(str::to_owned).collect();
            if entry.initrds.len() > MAX_INITRDS {
                let limit = MAX_INITRDS as u64;
                return Err(FsError::Limit { what: "the number of files of an initramfs", limit });
            }
        }
        Ok(self.entries)
    }
}

impl BootEntry {
    /// Where a file that the entry names is in the image; none if it is not there.
    ///
    /// What it names begins at the top of a file system, which may be joined in at /boot or below, or be a subvolume.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub fn locate(&self, root: &Root<'_>, path: &str) -> Result<Option<String>, FsError> {
        let path = without_device(path);
        let inner = path.trim_start_matches('/').split_once('/').map_or("", |(_, inner)| inner);
        let places = [self.base, "", "/boot", "/boot/efi"].map(|place| format!("{place}/{path}"));
        for place in places.into_iter().chain([format!("/{inner}")]) {
            if let Some(found) = root.find(&place)?.filter(|found| found.metadata.kind == Kind::File) {
                return Ok(Some(found.path));
            }
        }
        Ok(None)
    }
}

/// A path without the device that GRUB would look for it on: `(hd0,gpt2)/vmlinuz`, `$root/vmlinuz`.
fn without_device(path: &str) -> &str {
    match path.as_bytes().first() {
        Some(b'(') => path.split_once(')').map_or(path, |(_, path)| path),
        Some(b'$') => path.find('/').map_or(path, |at| &path[at..]),
        _ => path,
    }
}

/// A text with the variables in it replaced, once; cut at the longest command line. Unknown variables stay as they are: then
/// it shows that something is missing.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let (name, behind) = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            Some(braced) => braced,
            None => after.split_at(after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(after.len())),
        };
        let unknown = &rest[before.len()..rest.len() - behind.len()];
        push(&mut out, before);
        push(&mut out, variables.get(name).map_or(unknown, String::as_str));
        rest = behind;
    }
    push(&mut out, rest);
    out
}

/// Adds as much of a text as there is room for.
fn push(out: &mut String, text: &str) {
    let room = MAX_OPTIONS_BYTES.saturating_sub(out.len());
    out.push_str(&text[..text.floor_char_boundary(room)]);
}
