//! Rules of how an image boots: its firmware, its command lines, its disks by name, its partitions.

use super::super::context::Context;
use super::super::outcome::{Outcome, known};
use super::super::table::{DeviceNames, KernelArgument};
use super::{agreed, for_each};
use crate::inspect::facts::Known;
use crate::inspect::facts::gather::{CommandLine, Loader};
use crate::inspect::facts::glob;
use crate::inspect::facts::layout::{Layout, Table};

const BIOS: &str = "bios";
const UEFI: &str = "uefi";
const AARCH64: &str = "aarch64";
/// Loaders that firmware starts if it was told nothing, by architecture.
const FALLBACKS: [(&str, &str); 2] = [("x86_64", "/EFI/BOOT/BOOTX64.EFI"), (AARCH64, "/EFI/BOOT/BOOTAA64.EFI")];
/// Loaders that a distribution installs.
const INSTALLED: [&str; 2] = ["/EFI/*/grub*.efi", "/EFI/*/shim*.efi"];
/// Words of command lines that are only for repair.
const REPAIR: [&str; 5] = ["single", "recovery", "rescue", "emergency", "systemd.unit=rescue.target"];
/// Primary partitions that leave room for the config drive in an MBR.
const MAX_PRIMARIES: usize = 3;

pub(super) fn kernel_argument(rule: &KernelArgument, context: &Context<'_>) -> Outcome {
    let Some(architecture) = context.architecture() else {
        return Outcome::unknown("neither the image nor the profile says the architecture");
    };
    let Some(patterns) = rule.any_of.get(architecture) else {
        return Outcome::not_applicable(format!("nothing is asked of {architecture}"));
    };
    known(&context.facts.boot.command_lines, |lines| {
        let is_repair = |line: &&CommandLine| line.text.split_whitespace().any(|word| REPAIR.contains(&word));
        let lines: Vec<&CommandLine> = lines.iter().filter(|line| !is_repair(line)).collect();
        for_each(&lines, "there is no command line of a kernel", |line| {
            let has = |word: &str| patterns.iter().any(|pattern| glob::matches(pattern, word));
            let holds = line.text.split_whitespace().any(has);
            let reason = format!("{} {} {}", line.path, if holds { "has" } else { "lacks" }, patterns.join(" or "));
            Outcome::of(holds, reason).with(&line.path, &line.text)
        })
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
            let reason = format!("/etc/fstab mounts {} at {}", line.source, line.at);
            Outcome::fail(reason).with(format!("/etc/fstab:{}", line.line), &line.source)
        })
    });
    let roots = known(&context.facts.boot.command_lines, |lines| {
        let bad = |line: &&CommandLine| {
            line.text.split_whitespace().filter_map(|word| word.strip_prefix("root=")).any(&changes)
        };
        match lines.iter().find(bad) {
            Some(line) => Outcome::fail("the command line names the root by its order").with(&line.path, &line.text),
            None => Outcome::pass("no disk is named by its order"),
        }
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
        Outcome::of(layout.boot_code, reason).with("first block", table_name(layout.table))
    })
}

fn uefi(context: &Context<'_>) -> Outcome {
    known(&context.facts.boot.loaders, |loaders| {
        let Some(loaders) = loaders else { return Outcome::fail("there is no EFI system partition") };
        let wanted = |(architecture, _): &&(&str, &str)| context.architecture().is_none_or(|of| of == *architecture);
        let fallback = |loader: &&Loader| {
            FALLBACKS.iter().filter(wanted).any(|(_, path)| glob::matches_ignoring_case(path, &loader.path))
        };
        match loaders.iter().find(fallback) {
            Some(found) => same_as_installed(found, loaders),
            None => {
                let paths: Vec<&str> = FALLBACKS.iter().filter(wanted).map(|(_, path)| *path).collect();
                Outcome::fail(format!("{} is not on the EFI system partition", paths.join(" or ")))
            }
        }
    })
}

/// Whether what firmware starts is what the distribution installed.
fn same_as_installed(fallback: &Loader, loaders: &[Loader]) -> Outcome {
    let digest = match &fallback.digest {
        Known::Is(digest) => digest,
        Known::Unknown(reason) => return Outcome::unknown(reason.clone()),
    };
    let is_installed = |loader: &&Loader| {
        loader.path != fallback.path
            && INSTALLED.iter().any(|pattern| glob::matches_ignoring_case(pattern, &loader.path))
    };
    let mut installed = loaders.iter().filter(is_installed);
    let outcome = match installed.find(|loader| loader.digest.as_known() == Some(digest)) {
        Some(same) => Outcome::pass(format!("{} is {}", fallback.path, same.path)).with(&same.path, digest),
        None => Outcome::warn(format!("{} is not the loader of the distribution", fallback.path)),
    };
    outcome.with(&fallback.path, digest)
}

pub(super) fn partitions(context: &Context<'_>) -> Outcome {
    known(&context.facts.boot.layout, |layout| match layout.table {
        Table::None => Outcome::fail("there is no partition table"),
        Table::Gpt => Outcome::warn("there is a GPT, where servers with a BIOS expect an MBR"),
        Table::Mbr => Outcome::all(vec![room(layout), root_last(layout)]),
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

/// What a partition table is called.
const fn table_name(table: Table) -> &'static str {
    match table {
        Table::None => "no partition table",
        Table::Mbr => "MBR",
        Table::Gpt => "GPT",
    }
}
