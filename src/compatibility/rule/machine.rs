//! What an image asks of the server as a whole: its model, its processors, its firmware, its memory.

use super::super::Question;
use super::{found, of_host};
use crate::hardware::alias::Likeness;
use crate::hardware::host::BootMode;
use crate::hardware::inventory::SecureBoot;
use crate::hardware::model::HardwareModel;
use crate::image::manifest::{Firmware, Kind};
use crate::inspect::facts::Known;
use crate::inspect::outcome::{Outcome, known};

const AARCH64: &str = "aarch64";

/// Private images, and with them shared ones, which are private images of someone else.
pub(super) fn model(question: &Question<'_>) -> Outcome {
    match question.requirements.kind {
        None => Outcome::not_applicable("an image without a manifest is not bound to a model"),
        Some(Kind::Public) => Outcome::not_applicable("a public image is not bound to a model"),
        Some(Kind::Private) => same_model(question),
    }
}

fn same_model(question: &Question<'_>) -> Outcome {
    let (image, host) = (&question.requirements.model, HardwareModel::of(question.host));
    let outcome = match question.aliases.compare(image, &host) {
        Likeness::Same => Outcome::pass("it came from the same model"),
        Likeness::Different(_) => Outcome::fail(format!("it came from {image}, and this server is {host}")),
        Likeness::Unknown(_) => {
            Outcome::unknown(format!("it came from {image}, and this server is {host}: that may be the same or not"))
        }
    };
    outcome.with("manifest: source_hardware_model", image.to_string()).with("server: model", host.to_string())
}

pub(super) fn architecture(question: &Question<'_>) -> Outcome {
    let said = question.requirements.architecture.as_deref();
    let found = question.image.and_then(|image| image.report.architecture.as_deref());
    known(&of_host(&question.host.cpu.architecture, "the architecture"), |host| {
        let both = [("manifest: os.architecture", said), ("image: architecture", found)];
        let wrong = both.iter().find_map(|(_, of)| of.filter(|of| of != host));
        let outcome = match (wrong, found.or(said)) {
            (Some(wrong), _) => Outcome::fail(format!("the image is for {wrong}, and this server is {host}")),
            (None, Some(same)) => Outcome::pass(format!("both are {same}")),
            (None, None) => Outcome::unknown("nothing says which processors the image is for"),
        };
        let seen = both.iter().filter_map(|(place, of)| Some((*place, of.as_deref()?)));
        seen.fold(outcome, |outcome, (place, of)| outcome.with(place, of)).with("server: cpu.architecture", host)
    })
}

/// What the manifest says excludes a firmware. It does not show that the image starts: that its disk must.
pub(super) fn firmware(question: &Question<'_>) -> Outcome {
    known(&boot_mode(question), |mode| {
        let said = question.requirements.firmware;
        let outcome = match (mode, said) {
            (BootMode::Uefi, Some(Firmware::Bios)) => {
                Outcome::fail("the image is for a BIOS, and this server has UEFI")
            }
            (BootMode::Bios, Some(Firmware::Uefi)) => {
                Outcome::fail("the image is for UEFI, and this server has a BIOS")
            }
            (BootMode::Uefi, _) => uefi(question),
            (BootMode::Bios, _) => bios(question),
        };
        match said {
            Some(firmware) => outcome.with("manifest: disk.firmware", firmware.name()),
            None => outcome,
        }
    })
}

/// How the server will start the image. Those with Arm processors have nothing but UEFI, whatever started them now.
fn boot_mode(question: &Question<'_>) -> Known<BootMode> {
    if question.host.cpu.architecture.value().is_some_and(|name| name == AARCH64) {
        return Known::Is(BootMode::Uefi);
    }
    of_host(&question.host.firmware.boot_mode, "the firmware")
}

/// With Secure Boot, UEFI starts only what is signed by someone it trusts, which nobody looks at here.
fn uefi(question: &Question<'_>) -> Outcome {
    let is_secure = question.host.firmware.secure_boot.value() == Some(&SecureBoot::Enabled);
    known(&found(question, |evidence| &evidence.uefi), |loader| match loader {
        Some(path) if is_secure => Outcome::warn(
            "UEFI finds a boot loader at the usual place; Secure Boot is enabled, and signatures are not checked",
        )
        .with(path, ""),
        Some(path) => Outcome::pass("UEFI finds a boot loader at the usual place").with(path, ""),
        None => Outcome::fail("UEFI finds no boot loader at the usual place").with("EFI/BOOT", ""),
    })
}

fn bios(question: &Question<'_>) -> Outcome {
    known(&found(question, |evidence| &evidence.bios), |has_code| {
        let what = if *has_code { "boot code" } else { "no boot code" };
        Outcome::of(*has_code, format!("a BIOS finds {what} in the first block")).with("first block", what)
    })
}

/// What is installed counts. If it is not known, what the kernel has to give out suffices to pass, and never to fail: it
/// is less.
pub(super) fn memory(question: &Question<'_>) -> Outcome {
    let least = question.requirements.min_memory_bytes;
    if least == 0 {
        return Outcome::not_applicable("the image says nothing of memory");
    }
    let memory = &question.host.memory;
    let (installed, usable) = (memory.installed_bytes.value(), memory.usable_bytes.value());
    let is_enough = [installed, usable].into_iter().flatten().any(|bytes| *bytes >= least);
    let outcome = match (is_enough, installed, usable) {
        (true, ..) => Outcome::pass("there is enough memory"),
        (false, Some(bytes), _) => {
            Outcome::fail(format!("the image asks for {least} bytes of memory, and this server has {bytes}"))
        }
        (false, None, Some(bytes)) => Outcome::unknown(format!(
            "the image asks for {least} bytes of memory; the kernel has {bytes}, and what is installed is not known"
        )),
        (false, None, None) => Outcome::unknown("how much memory this server has is not known"),
    };
    outcome.with("manifest: disk.min_memory_bytes", least.to_string())
}
