//! The facts of one image, together. What its disk says is given; the rest is read.

use super::Known;
use super::boot::efi::EfiLoader;
use super::cloud_init::CloudInit;
use super::fstab::{self, FstabEntry};
use super::kernel::{self, Kernel, ModuleInfo};
use super::layout::Layout;
use super::modprobe::{self, Block};
use super::os::{self, Os};
use super::packages::Packages;
use super::services::Services;
use crate::inspect::root::Root;

/// Reads what the `.modinfo` section of a module says, by its path in the image.
pub type ReadModuleInfo = fn(&Root<'_>, &str) -> Known<ModuleInfo>;

/// What is known of how the image boots.
#[derive(Debug, Clone)]
pub struct BootFacts {
    /// Its kernels.
    pub kernels: Known<Vec<Kernel>>,
    /// Reads a module.
    pub module_info: ReadModuleInfo,
    /// The entries of its fstab.
    pub fstab: Known<Vec<FstabEntry>>,
    /// Boot loaders where firmware for UEFI looks for them; empty if there are none.
    pub loaders: Known<Vec<EfiLoader>>,
    /// How its disk is laid out; not known of a running system.
    pub layout: Known<Layout>,
}

impl BootFacts {
    /// Reads what the files of an image say of how it boots. What its disk says is given.
    pub fn read(root: &Root<'_>, loaders: Known<Vec<EfiLoader>>, layout: Known<Layout>) -> Self {
        Self {
            kernels: kernel::kernels(root),
            module_info: |root, path| Known::from_result(kernel::module_info(root, path)),
            fstab: Known::from_result(fstab::read(root).map(Option::unwrap_or_default)),
            loaders,
            layout,
        }
    }
}

/// What an image is.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Its files.
    pub root: &'a Root<'a>,
    /// The installed system; none if nothing says that there is one.
    pub os: Known<Option<Os>>,
    /// The processors it is for, as `uname -m` calls them, and the file that says so; none if none does.
    pub architecture: Known<Option<(String, String)>>,
    /// Its packages.
    pub packages: Known<Packages>,
    /// Its services.
    pub services: Known<Services>,
    /// Its cloud-init.
    pub cloud_init: CloudInit,
    /// What keeps modules from being loaded.
    pub blocks: Known<Vec<Block>>,
    /// How it boots.
    pub boot: BootFacts,
}

impl<'a> Facts<'a> {
    /// Reads what the files of an image say of its userland.
    pub fn gather(root: &'a Root<'a>, boot: BootFacts) -> Self {
        Self {
            root,
            os: Known::from_result(os::read(root)),
            architecture: Known::from_result(os::architecture(root)),
            packages: Known::from_result(Packages::read(root)),
            services: Known::from_result(Services::read(root)),
            cloud_init: CloudInit::read(root),
            blocks: Known::from_result(modprobe::blocks(root)),
            boot,
        }
    }
}
