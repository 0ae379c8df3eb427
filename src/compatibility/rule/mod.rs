//! The rules of the gate, as a table: each compares the image with the server, and gives a finding.

mod disk;
mod drivers;
mod machine;
mod network;

use super::Question;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::{Attachment, BlockDevice};
use crate::inspect::evidence::BootEvidence;
use crate::inspect::facts::Known;
use crate::inspect::outcome::Outcome;
use crate::inspect::report::{Evidence, Finding, MAX_EVIDENCE, PlugIn, Severity, Status, shorten};

/// Why nothing is known of an image.
const NOT_INSPECTED: &str = "the image was not looked into";

/// A rule of the gate.
#[derive(Debug)]
pub(super) struct Rule {
    /// Stable id of its finding.
    pub(super) id: &'static str,
    title: &'static str,
    severity: Severity,
    /// Whether nothing makes up for a failure, so that it cannot be overridden.
    pub(super) is_final: bool,
    /// Whether it asks what was found in the image.
    pub(super) looks_inside: bool,
    /// Whether it asks for what is needed to boot from the disk. No server boots from one that is no hardware.
    is_about_booting: bool,
    remedy: &'static str,
    judge: fn(&Question<'_>) -> Outcome,
}

/// All rules. Ids are never used again for anything else.
pub(super) const RULES: [Rule; 10] = [
    Rule {
        id: "HW-01",
        title: "a private image is on the hardware model it came from",
        severity: Severity::Required,
        is_final: false,
        looks_inside: false,
        is_about_booting: false,
        remedy: "Take an image of this model; if both names mean the same hardware, add them to the aliases.",
        judge: machine::model,
    },
    Rule {
        id: "HW-02",
        title: "the image is for this server's processors",
        severity: Severity::Required,
        is_final: false,
        looks_inside: true,
        is_about_booting: false,
        remedy: "Take an image for these processors.",
        judge: machine::architecture,
    },
    Rule {
        id: "HW-03",
        title: "this server's firmware can start the image",
        severity: Severity::Required,
        is_final: false,
        looks_inside: true,
        is_about_booting: true,
        remedy: "Take an image for this firmware, or set the server to the other boot mode; with Secure Boot, take one that is signed.",
        judge: machine::firmware,
    },
    Rule {
        id: "HW-04",
        title: "there is enough memory",
        severity: Severity::Required,
        is_final: false,
        looks_inside: false,
        is_about_booting: false,
        remedy: "Take a server with more memory.",
        judge: machine::memory,
    },
    Rule {
        id: "HW-05",
        title: "the image fits on the disk",
        severity: Severity::Required,
        is_final: true,
        looks_inside: false,
        is_about_booting: false,
        remedy: "Take a larger disk, or an image of a smaller one.",
        judge: disk::size,
    },
    Rule {
        id: "HW-06",
        title: "the partition table is for the disk's logical block size",
        severity: Severity::Required,
        is_final: true,
        looks_inside: true,
        is_about_booting: false,
        remedy: "Take an image of a disk with this logical block size, or format the disk with the image's.",
        judge: disk::block_size,
    },
    Rule {
        id: "HW-07",
        title: "each kernel has the drivers of the boot disk",
        severity: Severity::Required,
        is_final: false,
        looks_inside: true,
        is_about_booting: true,
        remedy: "Install the drivers for each kernel that the boot menu offers, run depmod, and take away what blocks them.",
        judge: drivers::boot,
    },
    Rule {
        id: "HW-08",
        title: "each initramfs has the drivers of the boot disk",
        severity: Severity::Required,
        is_final: false,
        looks_inside: true,
        is_about_booting: true,
        remedy: "Add the drivers to add_drivers of dracut.conf (or to /etc/initramfs-tools/modules), and make every initramfs anew.",
        judge: drivers::early,
    },
    Rule {
        id: "HW-09",
        title: "each kernel has the drivers of the network cards in use",
        severity: Severity::Required,
        is_final: false,
        looks_inside: true,
        is_about_booting: true,
        remedy: "Install the drivers for each kernel that the boot menu offers, run depmod, and take away what blocks them.",
        judge: network::needed,
    },
    Rule {
        id: "HW-10",
        title: "each kernel has the drivers of the other network cards",
        severity: Severity::Recommended,
        is_final: false,
        looks_inside: true,
        is_about_booting: true,
        remedy: "Install the drivers, if these cards are to be used.",
        judge: network::others,
    },
];

impl Rule {
    /// What the rule comes to.
    pub(super) fn finding(&self, question: &Question<'_>) -> Finding {
        let is_of_no_use = |disk: &&BlockDevice| self.is_about_booting && disk.attachment == Attachment::Virtual;
        let outcome = match question.target.filter(is_of_no_use) {
            Some(disk) => Outcome::not_applicable(format!("no server boots from {}: it is no hardware", disk.name)),
            None => (self.judge)(question),
        };
        let Outcome { status, reason, evidence } = outcome;
        let status = match (status, self.severity) {
            // What is not required does not fail.
            (Status::Fail, Severity::Optional | Severity::Recommended) => Status::Warn,
            (status, _) => status,
        };
        let needs_nothing = matches!(status, Status::NotApplicable | Status::Pass);
        let mut finding = Finding {
            id: self.id.to_owned(),
            title: self.title.to_owned(),
            plug_in: PlugIn::Image,
            severity: self.severity,
            status,
            reason,
            evidence,
            remedy: if needs_nothing { String::new() } else { self.remedy.to_owned() },
        };
        bound(&mut finding);
        finding
    }
}

/// Makes every text printable and short.
fn bound(finding: &mut Finding) {
    shorten(&mut finding.reason);
    finding.evidence.truncate(MAX_EVIDENCE);
    for Evidence { path, value } in &mut finding.evidence {
        shorten(path);
        shorten(value);
    }
}

/// What was found in the image, or why it is not known.
fn found<T: Clone>(question: &Question<'_>, which: impl FnOnce(&BootEvidence) -> &Known<T>) -> Known<T> {
    match question.image {
        Some(image) => which(&image.evidence).clone(),
        None => Known::Unknown(NOT_INSPECTED.to_owned()),
    }
}

/// A fact of the server, or why it is not known.
fn of_host<T: Clone>(fact: &Fact<T>, what: &str) -> Known<T> {
    match fact {
        Fact::Known(value) => Known::Is(value.clone()),
        Fact::Unknown(unknown) => {
            let why = match unknown.reason {
                UnknownReason::NotReported => "was not looked for",
                UnknownReason::Missing => "is not shown",
                UnknownReason::Unreadable => "cannot be read",
                UnknownReason::Placeholder => "is a placeholder",
                UnknownReason::Malformed => "is malformed",
                UnknownReason::TimedOut => "was not told in time",
                UnknownReason::Withheld => "is withheld",
                UnknownReason::Other => "is not known",
            };
            let detail = unknown.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            Known::Unknown(format!("{what} of this server {why}{detail}"))
        }
    }
}
