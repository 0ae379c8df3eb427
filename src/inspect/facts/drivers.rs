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
    let steps = Cell::new(MAX_STEPS);
    let of = |kernel: &Kernel| KernelEvidence {
        release: kernel.release.clone(),
        initramfs: kernel.initramfs.map(|initramfs| initramfs.as_ref().map(|initramfs| initramfs.path.clone())),
        drivers: drivers(facts, kernel, devices, &steps),
    };
    facts.boot.kernels.map(|kernels| kernel::that_count(kernels).into_iter().map(of).collect())
}

fn drivers(facts: &Facts<'_>, kernel: &Kernel, devices: &[Modalias], steps: &Cell<u64>) -> Known<DriverEvidence> {
    let Some(directory) = &kernel.directory else {
        return Known::Unknown("the kernel has no directory of modules".to_owned());
    };
    let aliases = Aliases::read(facts.root, directory, &kernel.builtin);
    let modaliases: Vec<&str> = devices.iter().map(Modalias::as_str).collect();
    let claims: BTreeMap<_, _> = devices.iter().cloned().zip(aliases.drivers_for(&modaliases, steps)).collect();
    let claimed: BTreeSet<String> = claims.values().filter_map(Known::as_known).flatten().cloned().collect();
    let needed = match modules::needed(facts.root, directory, &claimed) {
        Ok(needed) => needed,
        Err(error) => return Known::Unknown(chain(&error)),
    };
    let names: BTreeSet<&String> = claimed.iter().chain(needed.values().flatten()).collect();
    if names.len() > MAX_MODULES {
        return Known::Unknown(format!("more than {MAX_MODULES} modules are for the devices that were asked about"));
    }
    let module = |name: &String| {
        let needs = needed.get(name).cloned().unwrap_or_default();
        (name.clone(), module(facts, kernel, name, needs))
    };
    Known::Is(DriverEvidence { modules: names.into_iter().map(module).collect(), claims })
}

fn module(facts: &Facts<'_>, kernel: &Kernel, name: &str, needs: BTreeSet<String>) -> ModuleEvidence {
    let is_in = |initramfs: &Initramfs| initramfs.modules.contains_key(name);
    ModuleEvidence {
        place: place(facts, kernel, name),
        is_in_initramfs: kernel.initramfs.as_known().and_then(Option::as_ref).is_some_and(is_in),
        block: block(facts, kernel, name),
        needs,
    }
}

fn place(facts: &Facts<'_>, kernel: &Kernel, name: &str) -> ModulePlace {
    match kernel.place(name) {
        Place::Builtin => ModulePlace::Builtin,
        Place::Unindexed(path) => ModulePlace::Unindexed(path.to_owned()),
        Place::Nowhere => ModulePlace::Nowhere,
        Place::Unknown(reason) => ModulePlace::Unknown(reason.to_owned()),
        Place::Loadable(path) => match facts.root.find(path) {
            Ok(Some(found)) if found.metadata.kind == Kind::File => ModulePlace::File(path.to_owned()),
            Ok(_) => ModulePlace::Lost(path.to_owned()),
            Err(error) => ModulePlace::Unknown(chain(&error)),
        },
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
