//! What a server needs of an image. Some of it no image and no server can tell: it comes from the operator, and what he
//! does not say stays unknown.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How the servers of a family get their network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Through a central gateway: the network plug-in configures it.
    Centralized,
    /// Each server is its own gateway: NetworkManager does.
    Distributed,
}

/// Where the system disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootSource {
    /// In the server.
    Local,
    /// An EVS volume, behind the SDI iNIC.
    Evs,
}

/// The SDI card of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sdi {
    /// None.
    None,
    /// The storage card SD100: needs `scsi_ep_front`.
    Sd100,
    /// SDI 2.2, network alone.
    #[serde(rename = "sdi2.2")]
    Sdi2_2,
    /// SDI 3.0, storage as virtio.
    #[serde(rename = "sdi3.0")]
    Sdi3_0,
    /// SDI 5.
    Sdi5,
}

/// Directories that plug-ins are usually installed below.
const PLUG_IN_ROOTS: [&str; 2] = ["/opt/huawei", "/opt/otc"];
/// Drivers of the disk controllers that these servers usually have.
const BOOT_DRIVERS: [&str; 6] = ["ahci", "megaraid_sas", "mpt3sas", "nvme", "virtio_blk", "virtio_scsi"];

const BUILT_IN: &str = include_str!("profiles.toml");
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];
const FIRMWARE: [&str; 2] = ["bios", "uefi"];
/// Longest file of profiles, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Most entries of a list of a profile, and the longest of them, in bytes.
const MAX_ENTRIES: usize = 32;
const MAX_ENTRY_BYTES: usize = 128;

/// Why profiles cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file has no profiles.
    #[error("{} has no profiles: line {line}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there, with the key.
        what: String,
    },
    /// A profile says something that cannot be.
    #[error("{}: {key} of profile {name:?} {what}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Name of the profile.
        name: String,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What is known of the servers that an image is for. Whatever is none is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// How they get their network.
    pub network_mode: Option<NetworkMode>,
    /// Where their system disk is.
    pub boot_source: Option<BootSource>,
    /// Their SDI card.
    pub sdi: Option<Sdi>,
    /// Their architecture: `x86_64` or `aarch64`.
    pub architecture: Option<String>,
    /// Their firmware: `bios` or `uefi`.
    pub firmware: Option<String>,
    /// Directories that plug-ins are installed below; `/opt/huawei` and `/opt/otc` if there are none.
    pub plug_in_roots: Vec<String>,
    /// Drivers one of which each disk controller of the servers needs; a usual list if there are none.
    pub boot_drivers: Vec<String>,
}

impl Profile {
    /// Directories that plug-ins may be installed below.
    pub fn plug_in_roots(&self) -> Vec<&str> {
        or_usual(&self.plug_in_roots, &PLUG_IN_ROOTS)
    }

    /// Drivers that disk controllers may need.
    pub fn boot_drivers(&self) -> Vec<&str> {
        or_usual(&self.boot_drivers, &BOOT_DRIVERS)
    }
}

/// Profiles by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// The profiles that are built in.
    ///
    /// # Errors
    /// Never, in a program that passed its own tests.
    pub fn built_in() -> Result<Self, ProfileError> {
        Self::parse(Path::new("built-in profiles"), BUILT_IN)
    }

    /// The profiles that are built in with those of a file, `[profiles.NAME]`, which take the place of others of their names.
    ///
    /// # Errors
    /// [`ProfileError`], which names what is wrong.
    pub fn load(path: &Path) -> Result<Self, ProfileError> {
        let mut all = Self::built_in()?;
        let text = read(path).map_err(|source| ProfileError::Unreadable { path: path.to_owned(), source })?;
        all.profiles.extend(Self::parse(path, &text)?.profiles);
        Ok(all)
    }

    /// Reads one file.
    ///
    /// # Errors
    /// As [`Profiles::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ProfileError> {
        let profiles: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ProfileError::Malformed { path: path.to_owned(), line, what: error.message().replace('\n', " ") }
        })?;
        for (name, profile) in &profiles.profiles {
            let invalid = |(key, what)| ProfileError::Invalid { path: path.to_owned(), name: name.clone(), key, what };
            profile.validate().map_err(invalid)?;
        }
        Ok(profiles)
    }

    /// The same with others, which take the place of those of their names.
    #[must_use]
    pub fn with(mut self, others: impl IntoIterator<Item = (String, Profile)>) -> Self {
        self.profiles.extend(others);
        self
    }

    /// The profile of a name.
    pub fn named(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }
}

impl Profile {
    /// Tells the key of what cannot be, and what is wrong with it. Whoever takes a profile from outside asks this.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        let is_one_of =
            |said: &Option<String>, known: &[&str]| said.as_deref().is_none_or(|said| known.contains(&said));
        let is_short = |list: &[String]| {
            list.len() <= MAX_ENTRIES && list.iter().all(|entry| (1..=MAX_ENTRY_BYTES).contains(&entry.len()))
        };
        if !is_one_of(&self.architecture, &ARCHITECTURES) {
            return Err(("architecture", "must be x86_64 or aarch64"));
        }
        if !is_one_of(&self.firmware, &FIRMWARE) {
            return Err(("firmware", "must be bios or uefi"));
        }
        if !is_short(&self.plug_in_roots) || !self.plug_in_roots.iter().all(|root| root.starts_with('/')) {
            return Err(("plug_in_roots", "must be a short list of absolute paths"));
        }
        if !is_short(&self.boot_drivers) {
            return Err(("boot_drivers", "must be a short list of names"));
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

fn or_usual<'a>(said: &'a [String], usual: &[&'a str]) -> Vec<&'a str> {
    if said.is_empty() { usual.to_vec() } else { said.iter().map(String::as_str).collect() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{NetworkMode, Profiles, Sdi};

    #[test]
    fn built_in_profiles_are_known_by_name() {
        let profiles = Profiles::built_in().expect("built in");
        let centralized = profiles.named("centralized-sd100").expect("known");
        assert_eq!((centralized.network_mode, centralized.sdi), (Some(NetworkMode::Centralized), Some(Sdi::Sd100)));
        assert_eq!(centralized.plug_in_roots(), ["/opt/huawei", "/opt/otc"]);
        assert_eq!(profiles.names().count(), 6);
        assert!(profiles.named("other").is_none());
    }

    #[test]
    fn operators_add_and_override_profiles() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("profiles.toml");
        let text = "[profiles.mine]\nfirmware = \"uefi\"\nplug_in_roots = [\"/opt/x\"]\n[profiles.centralized]\nsdi = \"sdi5\"\n";
        std::fs::write(&path, text).expect("write");
        let profiles = Profiles::load(&path).expect("loaded");
        assert_eq!(profiles.named("mine").expect("added").plug_in_roots(), ["/opt/x"]);
        assert_eq!(profiles.named("centralized").expect("overridden").network_mode, None);
        assert_eq!(profiles.names().count(), 7);
        Profiles::load(&directory.path().join("missing")).expect_err("not there");
    }

    #[test]
    fn what_is_wrong_in_a_profile_is_named() {
        for (line, part) in [
            ("network_mod = \"centralized\"", "line 2"),
            ("network_mode = \"central\"", "central"),
            ("architecture = \"arm\"", "architecture of profile \"x\" must be"),
            ("firmware = \"efi\"", "firmware of profile"),
            ("plug_in_roots = [\"opt\"]", "plug_in_roots of profile"),
            ("boot_drivers = [\"\"]", "boot_drivers of profile"),
        ] {
            let error =
                Profiles::parse(Path::new("/x"), &format!("[profiles.x]\n{line}\n")).expect_err("refused").to_string();
            assert!(error.starts_with("/x") && error.contains(part), "{line}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "(\\PC|[\\[\\]=\"\n.]|profiles)*") {
            drop(Profiles::parse(Path::new("/x"), &text));
        }
    }
}
