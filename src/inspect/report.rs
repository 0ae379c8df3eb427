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
