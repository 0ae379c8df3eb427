//! What an inspection says: findings, each with its evidence, and the verdicts that follow from them. Pure data, the same
//! in the answer of the child, in the API's views, in manifests and in `--output json`.

use serde::{Deserialize, Serialize};

/// What must be in an image for a bare metal server to work with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlugIn {
    /// Host name, keys, user data: Cloud-Init, or Cloudbase-Init on Windows.
    CloudInit,
    /// Configures and restores the server's network: bms-network-config, or what stands in for it.
    Network,
    /// The front-end driver of the SDI iNIC, `scsi_ep_front`: EVS disks.
    SdiDriver,
    /// Not a plug-in: drivers, boot loader, layout and hygiene of the image itself.
    Image,
}

/// How much a check counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to have; never changes a verdict.
    Optional,
    /// A failure is a warning.
    Recommended,
    /// A failure means that the server will not work.
    Required,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It does not apply to this image, or to the profile it is looked at for.
    NotApplicable,
    /// As it should be.
    Pass,
    /// It will work, but not as it should.
    Warn,
    /// It could not be found out; the reason says why.
    Unknown,
    /// Not as it should be.
    Fail,
}

/// One thing that was looked at for a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Where: a path within the image, often with what it is about, as `/etc/cloud/cloud.cfg: datasource_list`.
    pub path: String,
    /// What is there, printable and short; empty if nothing is.
    pub value: String,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Stable id of the check, as `CI-03`.
    pub id: String,
    /// What is checked, in a few words.
    pub title: String,
    /// What it belongs to.
    pub plug_in: PlugIn,
    /// How much it counts, for this profile.
    pub severity: Severity,
    /// What it came to.
    pub status: Status,
    /// Why, in one sentence.
    pub reason: String,
    /// What was looked at.
    pub evidence: Vec<Evidence>,
    /// What to do about it; empty if nothing need be done.
    pub remedy: String,
}

/// What the findings of a plug-in, or of an image, come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The profile does not ask for it.
    NotApplicable,
    /// All that is required is there.
    Pass,
    /// The same, but something recommended is not.
    Warn,
    /// Of something required it is not known whether it is there.
    Unknown,
    /// Something required is not there.
    Fail,
}

/// A kernel of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSummary {
    /// What `uname -r` would say.
    pub release: String,
    /// Whether it can be booted.
    pub is_bootable: bool,
    /// Path of its initramfs; none if it has none that can be read.
    pub initramfs: Option<String>,
}

/// What the findings come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// Of Cloud-Init.
    pub cloud_init: Verdict,
    /// Of the network plug-in.
    pub network: Verdict,
    /// Of the SDI iNIC driver.
    pub sdi_driver: Verdict,
    /// Of the image with all its plug-ins.
    pub image: Verdict,
}

impl Verdicts {
    /// What findings come to.
    pub fn of(findings: &[Finding]) -> Self {
        let of = |plug_in| verdict(findings.iter().filter(|finding| finding.plug_in == plug_in));
        Self {
            cloud_init: of(PlugIn::CloudInit),
            network: of(PlugIn::Network),
            sdi_driver: of(PlugIn::SdiDriver),
            image: verdict(findings.iter()),
        }
    }
}

/// The worst of what counts.
fn verdict<'a>(findings: impl Iterator<Item = &'a Finding>) -> Verdict {
    findings.map(Finding::verdict).max().unwrap_or(Verdict::NotApplicable)
}

impl Finding {
    /// What it would come to alone.
    pub const fn verdict(&self) -> Verdict {
        match (self.status, self.severity) {
            (Status::NotApplicable, _) => Verdict::NotApplicable,
            (Status::Pass, _) | (_, Severity::Optional) => Verdict::Pass,
            (Status::Fail, Severity::Required) => Verdict::Fail,
            (Status::Unknown, Severity::Required) => Verdict::Unknown,
            (Status::Warn, _) | (Status::Fail, Severity::Recommended) => Verdict::Warn,
            // What is not required and not known is no reason to warn of the image.
            (Status::Unknown, Severity::Recommended) => Verdict::Pass,
        }
    }
}

/// What an inspection says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The installed system, for people; none if it is not known.
    pub os: Option<String>,
    /// The processors it is for, as `uname -m` calls them; none if that is not known.
    pub architecture: Option<String>,
    /// Its kernels.
    pub kernels: Vec<KernelSummary>,
    /// One for each check, in the order of the table.
    pub findings: Vec<Finding>,
    /// What they come to.
    pub verdicts: Verdicts,
}

/// Longest report, as JSON, in bytes.
pub const MAX_REPORT_BYTES: usize = 256 << 10;
/// What of it evidence may take.
const EVIDENCE_BYTES: usize = MAX_REPORT_BYTES / 4;
/// Longest text that came from the image, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 300;
pub(crate) const MAX_EVIDENCE: usize = 32;
const MAX_KERNELS: usize = 16;

impl Report {
    /// The same, but for what was looked at and what to do: short enough for a manifest.
    #[must_use]
    pub fn without_evidence(mut self) -> Self {
        for finding in &mut self.findings {
            finding.evidence.clear();
            finding.remedy.clear();
        }
        self
    }

    /// The same, with every text printable and short, and no more evidence than fits. A report of as many checks as there
    /// may be is then no longer than [`MAX_REPORT_BYTES`].
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.os.iter_mut().chain(&mut self.architecture).for_each(shorten);
        self.kernels.truncate(MAX_KERNELS);
        for kernel in &mut self.kernels {
            std::iter::once(&mut kernel.release).chain(&mut kernel.initramfs).for_each(shorten);
        }
        let mut left = EVIDENCE_BYTES;
        for finding in &mut self.findings {
            shorten(&mut finding.reason);
            finding.evidence.truncate(MAX_EVIDENCE);
            finding.evidence.retain_mut(|evidence| {
                shorten(&mut evidence.path);
                shorten(&mut evidence.value);
                // Quotes and backslashes take two bytes in JSON.
                let len = 2 * (evidence.path.len() + evidence.value.len()) + 32;
                let fits = len <= left;
                left = left.saturating_sub(len);
                fits
            });
        }
        self
    }
}

/// Makes a text printable, and cuts it at its limit.
pub(crate) fn shorten(text: &mut String) {
    let mut printable = crate::text::printable(text);
    if printable.len() > MAX_TEXT_BYTES {
        printable.truncate(printable.floor_char_boundary(MAX_TEXT_BYTES));
        printable.push_str("...");
    }
    *text = printable;
}
