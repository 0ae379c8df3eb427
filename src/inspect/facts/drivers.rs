//! What the kernels of an image have for the devices of a server: which modules are for them, and what there is of these
//! and of all that they need.
//!
//! Facts only: whether a server boots with that is for the compatibility gate to say.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::Known;
use super::boot::efi;
use super::cmdline::CommandLine;
use super::gather::Facts;
use super::kernel::alias::Aliases;
use super::kernel::{self, Initramfs, Kernel, Place, modules};
use crate::inspect::evidence::{
    BlockEvidence, BootEvidence, DriverEvidence, KernelEvidence, Modalias, ModuleEvidence, ModulePlace,
};
use crate::inspect::fs::Kind;
use crate::text::chain;

#[cfg(test)]
mod tests;

/// Most bytes that are compared to find the modules of all devices in all kernels: some seconds.
const MAX_STEPS: u64 = 1 << 30;
/// Most modules of a kernel that are said something of.
const MAX_MODULES: usize = 256;

/// Directories of modules that came from elsewhere than the kernel's package, and may be of another kernel. Those of
/// `weak-updates` are, and were found to fit.
const ADDED: [&str; 2] = ["/extra/", "/updates/"];
/// Most of them that are read, which takes time.
const MAX_READ: u32 = 32;

/// What an image has that its servers must match, with what its kernels have for these devices. What its disk is for is not
/// among the facts of its files.
pub fn evidence(facts: &Facts<'_>, devices: &[Modalias]) -> BootEvidence {
    let architecture = facts.architecture.as_known().and_then(Option::as_ref).map(|(name, _)| name.as_str());
    let fallback = |loaders: &Vec<_>| efi::fallback(loaders, architecture).map(|loader| loader.path.clone());
    BootEvidence {
        disk: Known::Unknown("the disk was not looked at".to_owned()),
        bios: facts.boot.layout.map(|layout| layout.boot_code),
        uefi: facts.boot.loaders.map(fallback),
        kernels: kernels(facts, devices),
    }
}

fn kernels(facts: &Facts<'_>, devices: &[Modalias]) -> Known<Vec<KernelEvidence>> {
    if devices.is_empty() {
        return Known::Unknown("no device was asked about".to_owned());
    }
    let search = Search { facts, devices, steps: Cell::new(MAX_STEPS), reads: Cell::new(MAX_READ) };
    facts
        .boot
        .kernels
        .map(|kernels| kernel::that_count(kernels).into_iter().map(|kernel| search.kernel(kernel)).collect())
}

/// A search for the drivers of devices, and what may still be spent on it.
struct Search<'a> {
    facts: &'a Facts<'a>,
    devices: &'a [Modalias],
    /// Bytes that may still be compared.
    steps: Cell<u64>,
    /// Modules that may still be read.
    reads: Cell<u32>,
}

impl Search<'_> {
    fn kernel(&self, kernel: &Kernel) -> KernelEvidence {
        KernelEvidence {
            release: kernel.release.clone(),
            initramfs: kernel.initramfs.map(|initramfs| initramfs.as_ref().map(|initramfs| initramfs.path.clone())),
            drivers: self.drivers(kernel),
        }
    }

    fn drivers(&self, kernel: &Kernel) -> Known<DriverEvidence> {
        let Some(directory) = &kernel.directory else {
            // Whatever is built comes with that directory: such a kernel has no modules of any kind.
            let none = |device: &Modalias| (device.clone(), Known::Is(BTreeSet::new()));
            let claims = self.devices.iter().map(none).collect();
            return Known::Is(DriverEvidence { claims, ..DriverEvidence::default() });
        };
        let aliases = Aliases::read(self.facts.root, directory, &kernel.builtin);
        let modaliases: Vec<&str> = self.devices.iter().map(Modalias::as_str).collect();
        let drivers = aliases.drivers_for(&modaliases, &self.steps);
        let claims: BTreeMap<_, _> = self.devices.iter().cloned().zip(drivers).collect();
        let claimed: BTreeSet<String> = claims.values().filter_map(Known::as_known).flatten().cloned().collect();
        let needed = match modules::needed(self.facts.root, directory, &claimed) {
            Ok(needed) => needed,
            Err(error) => return Known::Unknown(chain(&error)),
        };
        let names: BTreeSet<&String> = claimed.iter().chain(needed.values().flatten()).collect();
        if names.len() > MAX_MODULES {
            return Known::Unknown(format!(
                "more than {MAX_MODULES} modules are for the devices that were asked about"
            ));
        }
        let module = |name: &String| {
            let needs = needed.get(name).cloned().unwrap_or_default();
            (name.clone(), self.module(kernel, name, needs))
        };
        Known::Is(DriverEvidence { modules: names.into_iter().map(module).collect(), claims })
    }

    fn module(&self, kernel: &Kernel, name: &str, needs: BTreeSet<String>) -> ModuleEvidence {
        let is_in = |initramfs: &Initramfs| initramfs.modules.contains_key(name);
        ModuleEvidence {
            place: self.place(kernel, name),
            is_in_initramfs: kernel.initramfs.as_known().and_then(Option::as_ref).is_some_and(is_in),
            block: block(self.facts, kernel, name),
            needs,
        }
    }

    fn place(&self, kernel: &Kernel, name: &str) -> ModulePlace {
        match kernel.place(name) {
            Place::Builtin => ModulePlace::Builtin,
            Place::Unindexed(path) => ModulePlace::Unindexed(path.to_owned()),
            Place::Nowhere => ModulePlace::Nowhere,
            Place::Unknown(reason) => ModulePlace::Unknown(reason.to_owned()),
            Place::Loadable(path) => match self.facts.root.find(path) {
                Ok(Some(found)) if found.metadata.kind == Kind::File => self.file(kernel, path),
                Ok(_) => ModulePlace::Lost(path.to_owned()),
                Err(error) => ModulePlace::Unknown(chain(&error)),
            },
        }
    }

    /// A file of a module, which is there. One of the kernel's package is for this kernel.
    fn file(&self, kernel: &Kernel, path: &str) -> ModulePlace {
        if !ADDED.iter().any(|directory| path.contains(directory)) {
            return ModulePlace::File(path.to_owned());
        }
        let Some(left) = self.reads.get().checked_sub(1) else {
            return ModulePlace::Unknown(format!("more than {MAX_READ} modules are not of the kernel's package"));
        };
        self.reads.set(left);
        match (self.facts.boot.module_info)(self.facts.root, path) {
            Known::Unknown(why) => ModulePlace::Unknown(format!("{path}: {why}")),
            Known::Is(info) => match info.release() {
                Some(release) if release == kernel.release => ModulePlace::File(path.to_owned()),
                Some(release) => ModulePlace::Misfit { path: path.to_owned(), built_for: release.to_owned() },
                None => ModulePlace::Unknown(format!("{path} does not say which kernel it is for")),
            },
        }
    }
}

/// What keeps a module from being loaded by this kernel: what does so always, before what spares dependencies.
fn block(facts: &Facts<'_>, kernel: &Kernel, name: &str) -> Known<Option<BlockEvidence>> {
    let lines = kernel.command_lines.iter().filter(|line| !line.is_for_repair());
    let by_kernel = lines.filter_map(|line| block_of_line(line, name));
    facts.blocks.map(|blocks| {
        let by_files = blocks.iter().filter(|block| block.module == name).map(|block| BlockEvidence {
            place: format!("{}:{}", block.path, block.line),
            text: block.text.clone(),
            spares_dependencies: block.spares_dependencies,
        });
        by_kernel.chain(by_files).min_by_key(|block| block.spares_dependencies)
    })
}

fn block_of_line(line: &CommandLine, name: &str) -> Option<BlockEvidence> {
    line.blacklisted_modules().any(|module| module == name).then(|| BlockEvidence {
        place: line.source.clone(),
        text: line.text.clone(),
        spares_dependencies: !line.refused_modules().any(|module| module == name),
    })
}
