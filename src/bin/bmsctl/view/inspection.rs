//! What was found in a disk, an image or the running system.

use bms_agent::rpc::proto::v1;
use serde::Serialize;

/// `image check`
#[derive(Debug, Serialize)]
pub(crate) struct InspectionView {
    /// What was looked into, as it was named.
    pub(crate) subject: String,
    pub(crate) verdict: &'static str,
    pub(crate) cloud_init: &'static str,
    pub(crate) network_plug_in: &'static str,
    pub(crate) sdi_driver: &'static str,
    /// The system, as it calls itself.
    pub(crate) system: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) kernels: Vec<KernelView>,
    /// What it was looked at for; what is null is not known.
    pub(crate) profile: ProfileView,
    pub(crate) findings: Vec<FindingView>,
    /// What could not be looked into.
    pub(crate) notes: Vec<String>,
    /// Bytes of the disk or image that were read.
    pub(crate) read_bytes: u64,
    /// Bytes that were fetched from the repository.
    pub(crate) fetched_bytes: u64,
}

/// A kernel of a system.
#[derive(Debug, Serialize)]
pub(crate) struct KernelView {
    pub(crate) release: String,
    pub(crate) bootable: bool,
    pub(crate) initramfs: Option<String>,
}

/// The servers that it was looked at for.
#[derive(Debug, Serialize)]
pub(crate) struct ProfileView {
    pub(crate) network_mode: Option<&'static str>,
    pub(crate) boot_source: Option<&'static str>,
    pub(crate) sdi: Option<&'static str>,
    pub(crate) architecture: Option<String>,
    pub(crate) firmware: Option<String>,
}

/// The outcome of one check.
#[derive(Debug, Serialize)]
pub(crate) struct FindingView {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) plug_in: &'static str,
    pub(crate) severity: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: String,
    pub(crate) evidence: Vec<EvidenceView>,
    pub(crate) remedy: Option<String>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct EvidenceView {
    pub(crate) path: String,
    pub(crate) value: String,
}

impl InspectionView {
    /// What was found in a subject.
    pub(crate) fn new(subject: String, inspection: v1::Inspection) -> Self {
        let of = |plug_in: v1::PlugIn| {
            let found = inspection.plug_ins.iter().find(|verdict| verdict.plug_in() == plug_in);
            found.map_or("unknown", |found| verdict(found.verdict()))
        };
        let (cloud_init, network_plug_in, sdi_driver) =
            (of(v1::PlugIn::CloudInit), of(v1::PlugIn::Network), of(v1::PlugIn::SdiDriver));
        Self {
            subject,
            verdict: verdict(inspection.verdict()),
            cloud_init,
            network_plug_in,
            sdi_driver,
            system: some(inspection.system),
            architecture: some(inspection.architecture),
            kernels: inspection.kernels.into_iter().map(KernelView::from).collect(),
            profile: inspection.profile.unwrap_or_default().into(),
            findings: inspection.findings.into_iter().map(FindingView::from).collect(),
            notes: inspection.notes,
            read_bytes: inspection.read_bytes,
            fetched_bytes: inspection.fetched_bytes,
        }
    }
}

impl From<v1::Kernel> for KernelView {
    fn from(kernel: v1::Kernel) -> Self {
        Self { release: kernel.release, bootable: kernel.bootable, initramfs: some(kernel.initramfs) }
    }
}

impl From<v1::Profile> for ProfileView {
    fn from(profile: v1::Profile) -> Self {
        let network_mode = match profile.network_mode() {
            v1::NetworkMode::Unspecified => None,
            v1::NetworkMode::Centralized => Some("centralized"),
            v1::NetworkMode::Distributed => Some("distributed"),
        };
        let boot_source = match profile.boot_source() {
            v1::BootSource::Unspecified => None,
            v1::BootSource::Local => Some("local"),
            v1::BootSource::Evs => Some("evs"),
        };
        let sdi = match profile.sdi() {
            v1::SdiCard::Unspecified => None,
            v1::SdiCard::None => Some("none"),
            v1::SdiCard::Sd100 => Some("sd100"),
            v1::SdiCard::Sdi22 => Some("sdi2.2"),
            v1::SdiCard::Sdi30 => Some("sdi3.0"),
            v1::SdiCard::Sdi5 => Some("sdi5"),
        };
        Self { network_mode, boot_source, sdi, architecture: profile.architecture, firmware: profile.firmware }
    }
}

impl From<v1::Finding> for FindingView {
    fn from(finding: v1::Finding) -> Self {
        let (plug_in, severity, status) =
            (plug_in(finding.plug_in()), severity(finding.severity()), status(finding.status()));
        let evidence = |v1::Evidence { path, value }| EvidenceView { path, value };
        Self {
            id: finding.id,
            title: finding.title,
            plug_in,
            severity,
            status,
            reason: finding.reason,
            evidence: finding.evidence.into_iter().map(evidence).collect(),
            remedy: some(finding.remedy),
        }
    }
}

const fn verdict(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::NotApplicable => "not_applicable",
        v1::Verdict::Pass => "pass",
        v1::Verdict::Warn => "warn",
        v1::Verdict::Fail => "fail",
        v1::Verdict::Unknown | v1::Verdict::Unspecified => "unknown",
    }
}

const fn plug_in(plug_in: v1::PlugIn) -> &'static str {
    match plug_in {
        v1::PlugIn::CloudInit => "cloud_init",
        v1::PlugIn::Network => "network",
        v1::PlugIn::SdiDriver => "sdi_driver",
        v1::PlugIn::Image => "image",
        v1::PlugIn::Unspecified => "unknown",
    }
}

const fn severity(severity: v1::Severity) -> &'static str {
    match severity {
        v1::Severity::Optional => "optional",
        v1::Severity::Recommended => "recommended",
        v1::Severity::Required => "required",
        v1::Severity::Unspecified => "unknown",
    }
}

const fn status(status: v1::FindingStatus) -> &'static str {
    match status {
        v1::FindingStatus::NotApplicable => "not_applicable",
        v1::FindingStatus::Pass => "pass",
        v1::FindingStatus::Warn => "warn",
        v1::FindingStatus::Fail => "fail",
        v1::FindingStatus::Unknown | v1::FindingStatus::Unspecified => "unknown",
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
