//! The kernels of an image: which can be booted, with what modules, and what is in their initramfs.

use std::collections::{BTreeMap, BTreeSet};

use super::Known;

/// A kernel of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` would say.
    pub release: String,
    /// Whether the boot loader offers it; whether it is in /boot, if the boot loader's menu cannot be read.
    pub is_bootable: bool,
    /// The kernel itself, as a path in the image; none if there are modules alone.
    pub image: Option<String>,
    /// Modules that are compiled in, by name (with `_` for `-`).
    pub builtin: Known<BTreeSet<String>>,
    /// Modules that can be loaded, by name (with `_` for `-`): paths in the image.
    pub modules: Known<BTreeMap<String, String>>,
    /// What is in its initramfs; none if it has none.
    pub initramfs: Known<Option<Initramfs>>,
}

/// An initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initramfs {
    /// Its path in the image.
    pub path: String,
    /// Modules in it, by name (with `_` for `-`): names of its entries.
    pub modules: BTreeMap<String, String>,
}

/// What the `.modinfo` section of a module says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// `version=`.
    pub version: Option<String>,
    /// `vermagic=`: the release of the kernel it is for comes first.
    pub vermagic: Option<String>,
    /// `alias=`, in order: patterns of modaliases.
    pub aliases: Vec<String>,
}
