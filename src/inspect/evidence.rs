//! What an image has that its servers must match: what starts it, what disks its partition table is for, and what its
//! kernels have for the devices that were asked about. Facts alone, which the compatibility gate judges; pure data, that
//! crosses from the child to its parent. Every length in it is bounded ([`BootEvidence::bounded`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;

use serde::{Deserialize, Serialize};

use super::facts::Known;
use super::facts::kernel::MAX_KERNELS;
use super::report;

/// Most devices that may be asked about.
pub const MAX_DEVICES: usize = 64;
/// Longest modalias, in bytes; those of PCI have 54.
pub const MAX_MODALIAS_BYTES: usize = 256;
/// Most of what is said of kernels, as JSON, in bytes.
pub const MAX_KERNELS_BYTES: usize = 128 << 10;

/// What the kernel calls a device, so that modules for it can be found: `pci:v00008086d...`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Modalias(String);

/// A text that is no modalias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a modalias is 1 to {MAX_MODALIAS_BYTES} printable characters of ASCII without spaces")]
pub struct ModaliasInvalid;

impl Modalias {
    /// A modalias as the kernel shows it.
    ///
    /// # Errors
    /// If it cannot be one.
    pub fn new(text: &str) -> Result<Self, ModaliasInvalid> {
        let fits = (1..=MAX_MODALIAS_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(ModaliasInvalid) }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Modalias {
    type Error = ModaliasInvalid;

    fn try_from(text: String) -> Result<Self, ModaliasInvalid> {
        Self::new(&text)
    }
}

impl From<Modalias> for String {
    fn from(modalias: Modalias) -> Self {
        modalias.0
    }
}

impl fmt::Display for Modalias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What an image has that its servers must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootEvidence {
    /// What its partition table is for.
    pub disk: Known<DiskEvidence>,
    /// Whether a BIOS finds code in the first block.
    pub bios: Known<bool>,
    /// The loader that UEFI starts if it was told nothing: its path, of a disk behind the name of the partition; none if
    /// there is none.
    pub uefi: Known<Option<String>>,
    /// The kernels that count, and what they have for the devices.
    pub kernels: Known<Vec<KernelEvidence>>,
}

/// What a partition table is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskEvidence {
    /// Logical block sizes at which the disk shows a GPT, in bytes; none if it has no GPT.
    pub gpt_block_sizes: BTreeSet<u32>,
    /// Where the last partition ends, in bytes; none if there are no partitions.
    pub end_bytes: Option<u64>,
}

/// What a kernel of the image has for some devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelEvidence {
    /// What `uname -r` would say.
    pub release: String,
    /// Path of its initramfs; none if it has none.
    pub initramfs: Known<Option<String>>,
    /// Its drivers.
    pub drivers: Known<DriverEvidence>,
}

/// What a kernel has for some devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverEvidence {
    /// Names of the modules that are for a device, by its modalias. They have `_` for `-`, as all names here.
    pub claims: BTreeMap<Modalias, Known<BTreeSet<String>>>,
    /// What there is of these modules, and of all that they need, by name.
    pub modules: BTreeMap<String, ModuleEvidence>,
}

/// What there is of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleEvidence {
    /// Where it is.
    pub place: ModulePlace,
    /// Whether it is in the initramfs; not, if that is not known.
    pub is_in_initramfs: bool,
    /// What keeps it from being loaded; none if nothing does.
    pub block: Known<Option<BlockEvidence>>,
    /// Names of the modules that must be loaded before it.
    pub needs: BTreeSet<String>,
}

/// Where a module is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModulePlace {
    /// In the kernel itself.
    Builtin,
    /// In this file.
    File(String),
    /// In this file, but modules.dep does not name it, so that it is not found.
    Unindexed(String),
    /// In a file that was made for another kernel, which this one does not load.
    Misfit {
        /// The file.
        path: String,
        /// The release of that kernel.
        built_for: String,
    },
    /// Nowhere: modules.dep names this file, which is not there.
    Lost(String),
    /// Nowhere.
    Nowhere,
    /// That is not known, for this reason.
    Unknown(String),
}

/// What keeps a module from being loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockEvidence {
    /// Where that is written: a file, often with a line.
    pub place: String,
    /// What is written there.
    pub text: String,
    /// Whether it is loaded all the same when another module needs it.
    pub spares_dependencies: bool,
}

impl BootEvidence {
    /// That nothing is known, for this reason.
    pub fn unknown(why: &str) -> Self {
        let why = || why.to_owned();
        Self {
            disk: Known::Unknown(why()),
            bios: Known::Unknown(why()),
            uefi: Known::Unknown(why()),
            kernels: Known::Unknown(why()),
        }
    }

    /// The same, with every text printable and short, and of kernels nothing if that is more than [`MAX_KERNELS_BYTES`],
    /// or there are more than any image has.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        shorten_reason(&mut self.disk);
        shorten_reason(&mut self.bios);
        shorten_reason(&mut self.uefi);
        if let Known::Is(Some(path)) = &mut self.uefi {
            report::shorten(path);
        }
        shorten_reason(&mut self.kernels);
        if let Known::Is(kernels) = &mut self.kernels {
            kernels.iter_mut().for_each(KernelEvidence::shorten);
            let is_short = |kernels: &[KernelEvidence]| {
                serde_json::to_vec(kernels).is_ok_and(|json| json.len() <= MAX_KERNELS_BYTES)
            };
            if kernels.len() > MAX_KERNELS || !is_short(kernels) {
                self.kernels = Known::Unknown("there is too much to say of its kernels".to_owned());
            }
        }
        self
    }
}

impl KernelEvidence {
    fn shorten(&mut self) {
        report::shorten(&mut self.release);
        shorten_reason(&mut self.initramfs);
        if let Known::Is(Some(path)) = &mut self.initramfs {
            report::shorten(path);
        }
        shorten_reason(&mut self.drivers);
        if let Known::Is(drivers) = &mut self.drivers {
            drivers.shorten();
        }
    }
}

impl DriverEvidence {
    /// A name becomes the same wherever it stands.
    fn shorten(&mut self) {
        for claim in self.claims.values_mut() {
            shorten_reason(claim);
            if let Known::Is(names) = claim {
                shorten_names(names);
            }
        }
        let modules = mem::take(&mut self.modules).into_iter();
        self.modules = modules.map(|(name, module)| (shortened(name), module.shortened())).collect();
    }
}

impl ModuleEvidence {
    fn shortened(mut self) -> Self {
        match &mut self.place {
            ModulePlace::Builtin | ModulePlace::Nowhere => {}
            ModulePlace::Misfit { path, built_for } => {
                report::shorten(path);
                report::shorten(built_for);
            }
            ModulePlace::File(text)
            | ModulePlace::Unindexed(text)
            | ModulePlace::Lost(text)
            | ModulePlace::Unknown(text) => report::shorten(text),
        }
        shorten_reason(&mut self.block);
        if let Known::Is(Some(block)) = &mut self.block {
            report::shorten(&mut block.place);
            report::shorten(&mut block.text);
        }
        shorten_names(&mut self.needs);
        self
    }
}

fn shorten_names(names: &mut BTreeSet<String>) {
    *names = mem::take(names).into_iter().map(shortened).collect();
}

fn shortened(mut name: String) -> String {
    report::shorten(&mut name);
    name
}

fn shorten_reason<T>(known: &mut Known<T>) {
    if let Known::Unknown(reason) = known {
        report::shorten(reason);
    }
}
