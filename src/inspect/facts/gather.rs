//! The facts of one image, together. What its userland says is read here; what its disk and kernels say is given.

use super::Known;
use super::cloud_init::CloudInit;
use super::kernel::{Kernel, ModuleInfo};
use super::layout::Layout;
use super::modprobe::{self, Block};
use super::os::{self, Os};
use super::packages::Packages;
use super::services::Services;
use crate::inspect::root::Root;

/// A command line that a kernel is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The file, and the line in it where that helps.
    pub path: String,
    /// Its words.
    pub text: String,
}

/// A line of fstab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FstabLine {
    /// The line, from 1.
    pub line: usize,
    /// Its first field: a device, or what it is found by.
    pub source: String,
    /// Its second field: where that is mounted.
    pub at: String,
}

/// A boot loader on the ESP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// Its path there, as `/EFI/BOOT/BOOTX64.EFI`.
    pub path: String,
    /// The BLAKE3 digest of its content, as hexadecimal digits.
    pub digest: Known<String>,
}

/// Reads what the `.modinfo` section of a module says, by its path in the image.
pub type ReadModuleInfo = fn(&Root<'_>, &str) -> Known<ModuleInfo>;

/// What is known of how the image boots.
#[derive(Debug, Clone)]
pub struct BootFacts {
    /// Its kernels.
    pub kernels: Known<Vec<Kernel>>,
    /// Reads a module.
    pub module_info: ReadModuleInfo,
    /// The command lines of its boot menu.
    pub command_lines: Known<Vec<CommandLine>>,
    /// The lines of its fstab.
    pub fstab: Known<Vec<FstabLine>>,
    /// Boot loaders on its ESP; none if it has no ESP.
    pub loaders: Known<Option<Vec<Loader>>>,
    /// How its disk is laid out; not known of a running system.
    pub layout: Known<Layout>,
}

impl BootFacts {
    /// Knows nothing, for a reason.
    pub fn unknown(reason: &str) -> Self {
        Self {
            kernels: Known::Unknown(reason.to_owned()),
            module_info: |_, path| Known::Unknown(format!("{path} was not read")),
            command_lines: Known::Unknown(reason.to_owned()),
            fstab: Known::Unknown(reason.to_owned()),
            loaders: Known::Unknown(reason.to_owned()),
            layout: Known::Unknown(reason.to_owned()),
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
