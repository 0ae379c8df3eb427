//! Whether the kernels of an image can drive devices of the server. A driver counts for each kernel that can be booted by
//! itself: the next update of the boot menu may choose another.

use super::super::Question;
use super::super::device::{self, Device, Step};
use super::found;
use crate::image::manifest::OsFamily;
use crate::inspect::evidence::{DriverEvidence, KernelEvidence, ModuleEvidence, ModulePlace};
use crate::inspect::facts::Known;
use crate::inspect::outcome::{Outcome, known};
use crate::inspect::report::{Evidence, Status};

/// What a module is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A device that it is for.
    Driver,
    /// Another module that needs it.
    Dependency,
}

/// Asks whether one of the modules that are for a device is as it must be.
type Ask = fn(&KernelEvidence, &DriverEvidence, &str) -> Outcome;

/// The drivers of the boot disk are installed.
pub(super) fn boot(question: &Question<'_>) -> Outcome {
    of_boot_disk(question, installed)
}

/// The drivers of the boot disk are there before the root file system is.
pub(super) fn early(question: &Question<'_>) -> Outcome {
    if is_windows(question) {
        return Outcome::not_applicable("Windows has no initramfs");
    }
    of_boot_disk(question, in_initramfs)
}

fn of_boot_disk(question: &Question<'_>, ask: Ask) -> Outcome {
    let Some(disk) = question.target else { return Outcome::unknown("no disk was chosen") };
    match device::boot_disk(disk) {
        Some(device) => driven(question, &[device], ask),
        None => Outcome::unknown(format!("what the disk {} hangs on is not known", disk.name)),
    }
}

/// The drivers of some devices are installed.
pub(super) fn are_installed(question: &Question<'_>, devices: &[Device]) -> Outcome {
    driven(question, devices, installed)
}

/// Asks each kernel for each step of the way to each device.
fn driven(question: &Question<'_>, devices: &[Device], ask: Ask) -> Outcome {
    if is_windows(question) {
        return Outcome::unknown("drivers of Windows are not looked at");
    }
    known(&found(question, |evidence| &evidence.kernels), |kernels| {
        if kernels.is_empty() {
            return Outcome::fail("there is no kernel");
        }
        let each = kernels.iter().flat_map(|kernel| devices.iter().map(move |device| of_device(kernel, device, ask)));
        let all = Outcome::all(each.collect());
        match all.status {
            Status::Pass => Outcome { reason: format!("drivers are there for {}", names(devices)), ..all },
            Status::NotApplicable | Status::Warn | Status::Unknown | Status::Fail => all,
        }
    })
}

/// What is found counts before what the manifest says.
fn is_windows(question: &Question<'_>) -> bool {
    let found = question.image.and_then(|image| image.os.as_ref()).map(|os| os.family);
    found.or(question.requirements.family) == Some(OsFamily::Windows)
}

fn names(devices: &[Device]) -> String {
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    names.join(", ")
}

fn of_device(kernel: &KernelEvidence, device: &Device, ask: Ask) -> Outcome {
    if device.links.is_empty() {
        return Outcome::unknown(format!("what {} hangs on is not known", device.name));
    }
    Outcome::all(device.links.iter().map(|step| of_step(kernel, device, step, ask)).collect())
}

/// What one kernel has for one step; kernel, device and modalias are named.
fn of_step(kernel: &KernelEvidence, device: &Device, step: &Step, ask: Ask) -> Outcome {
    let Some(modalias) = &step.modalias else {
        return Outcome::unknown(format!("{} of {} has no modalias", step.place, device.name));
    };
    let outcome = known(&kernel.drivers, |drivers| match drivers.claims.get(modalias) {
        Some(Known::Is(names)) if names.is_empty() => Outcome::fail("no module is for it"),
        Some(claims) => {
            known(claims, |names| Outcome::any(names.iter().map(|name| ask(kernel, drivers, name)).collect()))
        }
        None => Outcome::unknown("it was not asked for"),
    });
    let (release, place) = (&kernel.release, &step.place);
    let reason = format!("{place} of {} ({modalias}) under {release}: {}", device.name, outcome.reason);
    let evidence = Evidence { path: format!("{release}: {place} {modalias}"), value: outcome.reason };
    Outcome { status: outcome.status, reason, evidence: vec![evidence] }
}

/// Whether a module, and all that it needs, can be loaded.
fn installed(_: &KernelEvidence, drivers: &DriverEvidence, name: &str) -> Outcome {
    with_needs(drivers, name, loadable)
}

/// Whether a module, and all that it needs, is in the initramfs, and not blocked there: what blocks it is put there, too.
fn in_initramfs(kernel: &KernelEvidence, drivers: &DriverEvidence, name: &str) -> Outcome {
    with_needs(drivers, name, |name, module, role| early_module(kernel, name, module, role))
}

fn with_needs(drivers: &DriverEvidence, name: &str, ask: impl Fn(&str, &ModuleEvidence, Role) -> Outcome) -> Outcome {
    let one = |name: &str, role| match drivers.modules.get(name) {
        Some(module) => ask(name, module, role),
        None => Outcome::unknown(format!("nothing is said of {name}")),
    };
    let needs = drivers.modules.get(name).into_iter().flat_map(|module| &module.needs);
    let all = std::iter::once(one(name, Role::Driver)).chain(needs.map(|needed| one(needed, Role::Dependency)));
    Outcome::all(all.collect())
}

fn loadable(name: &str, module: &ModuleEvidence, role: Role) -> Outcome {
    match &module.place {
        ModulePlace::Builtin => Outcome::pass(format!("{name} is built in")),
        ModulePlace::File(path) => unblocked(name, path, module, role),
        ModulePlace::Unindexed(path) => Outcome::fail(format!("modules.dep does not name {path}: depmod must be run")),
        ModulePlace::Misfit { path, built_for } => Outcome::fail(format!("{path} was made for {built_for}")),
        ModulePlace::Lost(path) => Outcome::fail(format!("{path} is missing")),
        ModulePlace::Nowhere => Outcome::fail(format!("{name} is missing")),
        ModulePlace::Unknown(reason) => Outcome::unknown(reason),
    }
}

/// Whether nothing keeps a module, which is at `path`, from being loaded.
fn unblocked(name: &str, path: &str, module: &ModuleEvidence, role: Role) -> Outcome {
    known(&module.block, |block| match block {
        Some(block) if role == Role::Driver || !block.spares_dependencies => {
            Outcome::fail(format!("{} keeps {name} from being loaded: {}", block.place, block.text))
        }
        Some(_) | None => Outcome::pass(format!("{name} is {path}")),
    })
}

fn early_module(kernel: &KernelEvidence, name: &str, module: &ModuleEvidence, role: Role) -> Outcome {
    if module.place == ModulePlace::Builtin {
        return Outcome::pass(format!("{name} is built in"));
    }
    match &kernel.initramfs {
        Known::Unknown(reason) => Outcome::unknown(reason),
        Known::Is(None) => Outcome::fail("the kernel has no initramfs"),
        Known::Is(Some(path)) if module.is_in_initramfs => unblocked(name, &format!("in {path}"), module, role),
        Known::Is(Some(path)) => Outcome::fail(format!("{name} is not in {path}")),
    }
}
