//! Rules of how an image boots: its firmware, its command lines, its disks by name, its partitions.

use super::super::context::Context;
use super::super::outcome::{Outcome, known};
use super::super::table::{DeviceNames, KernelArgument};
use super::{agreed, for_each};
use crate::disk::table::TableKind;
use crate::inspect::facts::Known;
use crate::inspect::facts::boot::efi::{self, EfiLoader, FALLBACK_DIRECTORY};
use crate::inspect::facts::glob;
use crate::inspect::facts::kernel::Kernel;
use crate::inspect::facts::layout::Layout;

const BIOS: &str = "bios";
const UEFI: &str = "uefi";
const AARCH64: &str = "aarch64";
/// Loaders that systems install.
const INSTALLED: [&str; 4] = ["GRUB*.EFI", "SHIM*.EFI", "SYSTEMD-BOOT*.EFI", "BOOTMGFW.EFI"];
/// Primary partitions that leave room for the config drive in an MBR.
const MAX_PRIMARIES: usize = 3;

pub(super) fn kernel_argument(rule: &KernelArgument, context: &Context<'_>) -> Outcome {
    let Some(architecture) = context.architecture() else {
        return Outcome::unknown("neither the image nor the profile says the architecture");
    };
    let Some(patterns) = rule.any_of.get(architecture) else {
        return Outcome::not_applicable(format!("nothing is asked of {architecture}"));
    };
    known(&context.command_lines(), |lines| {
        for_each(lines, "there is no command line of a kernel", |line| {
            let has = |word: &str| patterns.iter().any(|pattern| glob::matches(pattern, word));
            let holds = line.text.split_whitespace().any(has);
            let reason = format!("{} {} {}", line.source, if holds { "has" } else { "lacks" }, patterns.join(" or "));
            Outcome::of(holds, reason).with(&line.source, &line.text)
        })
    })
}

pub(super) fn kernel_images(context: &Context<'_>) -> Outcome {
    known(&context.facts.boot.kernels, |kernels| {
        let offered: Vec<_> = kernels.iter().filter(|kernel| kernel.is_bootable).collect();
        if offered.is_empty() {
            return Outcome::unknown("no boot menu offers a kernel, and none is in /boot");
        }
        for_each(&offered, "", |Kernel { release, image, command_lines, .. }| match image {
            Some(path) => Outcome::pass(format!("{path} is there")).with(path, release),
            None => {
                let menu = command_lines.first().map_or("a boot menu", |line| &line.source);
                Outcome::fail(format!("{menu} offers {release}, which is not there")).with(menu, release)
            }
        })
    })
}

pub(super) fn architecture(context: &Context<'_>) -> Outcome {
    let Some(wanted) = context.profile.architecture.as_deref() else {
        return Outcome::not_applicable("the profile does not say architecture");
    };
    known(&context.facts.architecture, |told| match told {
        Some((architecture, path)) => {
            let reason = format!("the image is for {architecture}, and the servers are {wanted}");
            Outcome::of(architecture == wanted, reason).with(path, architecture)
        }
        None => Outcome::unknown("nothing in the image says which processors it is for"),
    })
}

pub(super) fn device_names(rule: &DeviceNames, context: &Context<'_>) -> Outcome {
    let changes = |name: &str| rule.not.iter().any(|pattern| glob::matches(pattern, name));
    let fstab = known(&context.facts.boot.fstab, |lines| {
        let bad: Vec<_> = lines.iter().filter(|line| changes(&line.source)).collect();
        if bad.is_empty() {
            return Outcome::pass("no disk is named by its order");
        }
        for_each(&bad, "", |line| {
            let reason = format!("/etc/fstab mounts {} at {}", line.source, line.target);
            Outcome::fail(reason).with(format!("/etc/fstab:{}", line.line), &line.source)
        })
    });
    let roots =
        known(&context.command_lines(), |lines| match lines.iter().find(|line| line.root().is_some_and(changes)) {
            Some(line) => Outcome::fail("the command line names the root by its order").with(&line.source, &line.text),
            None => Outcome::pass("no disk is named by its order"),
        });
    Outcome::all(vec![fstab, roots])
}

pub(super) fn firmware(context: &Context<'_>) -> Outcome {
    // Servers of this architecture have no other.
    let is_arm = context.architecture() == Some(AARCH64);
    match context.profile.firmware.as_deref() {
        Some(UEFI) => uefi(context),
        Some(BIOS) if !is_arm => bios(context),
        Some(BIOS) => Outcome::fail("the profile says bios, but the image is for aarch64"),
        Some(other) => Outcome::unknown(format!("{other} is no firmware")),
        None if is_arm => uefi(context),
        None => agreed(vec![bios(context), uefi(context)], "the profile does not say firmware"),
    }
}

fn bios(context: &Context<'_>) -> Outcome {
    known(&context.facts.boot.layout, |layout| {
        let reason =
            if layout.boot_code { "the first block has boot code" } else { "the first block has no boot code" };
        Outcome::of(layout.boot_code, reason).with("first block", layout.table.name())
    })
}

fn uefi(context: &Context<'_>) -> Outcome {
    known(&context.facts.boot.loaders, |loaders| match efi::fallback(loaders, context.architecture()) {
        Some(found) => same_as_installed(found, loaders),
        None => {
            let names = efi::fallback_names(context.architecture()).join(" or ");
            Outcome::fail(format!("there is no EFI/{FALLBACK_DIRECTORY}/{names}"))
        }
    })
}

/// Whether what firmware starts is what the distribution installed.
fn same_as_installed(fallback: &EfiLoader, loaders: &[EfiLoader]) -> Outcome {
    let digest = match &fallback.digest {
        Known::Is(digest) => digest,
        Known::Unknown(reason) => return Outcome::unknown(reason.clone()),
    };
    let is_installed = |loader: &&EfiLoader| {
        loader.directory != FALLBACK_DIRECTORY && INSTALLED.iter().any(|pattern| glob::matches(pattern, &loader.name))
    };
    let mut installed = loaders.iter().filter(is_installed);
    let outcome = match installed.find(|loader| loader.digest.as_known() == Some(digest)) {
        Some(same) => Outcome::pass(format!("{} is {}", fallback.path, same.path)).with(&same.path, digest.to_string()),
        None => Outcome::warn(format!("{} is not the loader of the installed system", fallback.path)),
    };
    outcome.with(&fallback.path, digest.to_string())
}

pub(super) fn partitions(context: &Context<'_>) -> Outcome {
    known(&context.facts.boot.layout, |layout| match layout.table {
        TableKind::None => Outcome::fail("there is no partition table"),
        TableKind::Gpt => Outcome::warn("there is a GPT, where servers with a BIOS expect an MBR"),
        TableKind::Mbr => Outcome::all(vec![room(layout), root_last(layout)]),
    })
}

fn room(layout: &Layout) -> Outcome {
    let primaries = layout.partitions.iter().filter(|part| part.is_primary).count();
    let holds = primaries <= MAX_PRIMARIES;
    let reason = format!(
        "{primaries} primary partitions are used{}",
        if holds { "" } else { ", which leaves none for the config drive" }
    );
    Outcome::of(holds, reason).with("partition table", format!("{primaries} primary partitions"))
}

fn root_last(layout: &Layout) -> Outcome {
    let last = layout.partitions.iter().max_by_key(|part| part.offset_bytes);
    let root = layout.partitions.iter().find(|part| Some(part.number) == layout.root);
    let (Some(last), Some(root)) = (last, root) else {
        return Outcome::unknown("it is not known which partition the root is on");
    };
    let reason = match (root.number == last.number, root.is_primary) {
        (true, true) => "the root is the last partition, and a primary one",
        (false, _) => "the root is not the last partition, so that it cannot grow",
        (true, false) => "the root is a logical partition",
    };
    Outcome::of(root.number == last.number && root.is_primary, reason)
        .with("partition table", format!("root on {}", root.number))
}
