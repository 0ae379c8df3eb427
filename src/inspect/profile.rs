//! What a server needs of an image. Some of it no image and no server can tell: it comes from the operator, and what he
//! does not say stays unknown.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

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
/// Most entries of a list of a profile, and the longest of them, in bytes.
const MAX_ENTRIES: usize = 32;
const MAX_ENTRY_BYTES: usize = 128;

/// The profiles that are built in are none.
#[derive(Debug, thiserror::Error)]
#[error("the built-in profiles cannot be read")]
pub struct ProfileError(#[from] toml::de::Error);

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    #[serde(deserialize_with = "deserialize")]
    profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// The profiles that are built in.
    ///
    /// # Errors
    /// Never, in a program that passed its own tests.
    pub fn built_in() -> Result<Self, ProfileError> {
        Ok(toml::from_str(BUILT_IN)?)
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

/// The profiles of a file, by name: a `[profiles]` table in which each says only what can be.
///
/// # Errors
/// The first thing that is wrong, with the name of the profile and the key.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Profile>, D::Error> {
    let profiles = BTreeMap::<String, Profile>::deserialize(deserializer)?;
    for (name, profile) in &profiles {
        profile.validate().map_err(|(key, what)| D::Error::custom(format!("{key} of profile {name:?} {what}")))?;
    }
    Ok(profiles)
}

impl Profile {
    /// Tells the key of what cannot be, and what is wrong with it.
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

fn or_usual<'a>(said: &'a [String], usual: &[&'a str]) -> Vec<&'a str> {
    if said.is_empty() { usual.to_vec() } else { said.iter().map(String::as_str).collect() }
}

#[cfg(test)]
mod tests {
    use super::{NetworkMode, Profiles, Sdi};

    fn parse(text: &str) -> Result<Profiles, toml::de::Error> {
        toml::from_str(text)
    }

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
        let text = "[profiles.mine]\nfirmware = \"uefi\"\nplug_in_roots = [\"/opt/x\"]\n[profiles.centralized]\nsdi = \"sdi5\"\n";
        let own = parse(text).expect("profiles");
        let profiles = Profiles::built_in().expect("built in").with(own.profiles);
        assert_eq!(profiles.named("mine").expect("added").plug_in_roots(), ["/opt/x"]);
        assert_eq!(profiles.named("centralized").expect("overridden").network_mode, None);
        assert_eq!(profiles.names().count(), 7);
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
            let error = parse(&format!("[profiles.x]\n{line}\n")).expect_err("refused").to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "(\\PC|[\\[\\]=\"\n.]|profiles)*") {
            drop(parse(&text));
        }
    }
}
