//! Inspections on the wire: requests in, what was found out. A caller who goes away ends the child that looks.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::proto::v1;
use super::status::RequestError;
use super::{CallError, convert, refuse};
use crate::agent::{Agent, AgentError, Inspection, Subject};
use crate::inspect::policy::{Choice, Policy};
use crate::inspect::profile::{BootSource, NetworkMode, Profile, Sdi};
use crate::inspect::report::{Evidence, Finding, KernelSummary, PlugIn, Severity, Status as FindingStatus, Verdict};

/// Inspections that run at once: each may take 256 MiB.
static RUNNING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(2)));
/// How long an inspection may take, with the wait for its turn and what a repository takes.
const TIMEOUT: Duration = Duration::from_secs(180);
/// Longest text of a profile, in bytes.
const MAX_TEXT_BYTES: usize = 64;

/// Looks into something, as long as somebody waits for it.
pub(super) async fn inspect(agent: Arc<Agent>, subject: Subject, choice: Choice) -> Result<v1::Inspection, Status> {
    in_turn(move |cancel| agent.inspect(&subject, &choice, cancel)).await.map(view)
}

/// Makes a look when its turn has come, and ends it when nobody waits for it any more.
pub(super) async fn in_turn<T, F>(look: F) -> Result<T, Status>
where
    T: Send + 'static,
    F: FnOnce(&CancellationToken) -> Result<T, AgentError> + Send + 'static,
{
    let cancel = CancellationToken::new();
    let guard = cancel.clone().drop_guard();
    let work = async {
        // The semaphore is never closed. A turn ends with the work, which outlives a caller who went away.
        let turn = RUNNING.clone().acquire_owned().await;
        let look = move || {
            let found = look(&cancel);
            drop(turn);
            found
        };
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || span.in_scope(look)).await
    };
    let found = match tokio::time::timeout(TIMEOUT, work).await {
        Ok(Ok(found)) => found.map_err(|error| refuse(&error)),
        Ok(Err(_panicked)) => Err(refuse(&CallError::Lost)),
        Err(_elapsed) => Err(refuse(&CallError::InspectionTimedOut { limit: TIMEOUT })),
    };
    drop(guard);
    found
}

/// What a request says of an inspection.
pub(super) fn choice(
    policy: i32,
    profile: Option<v1::Profile>,
    field: &'static str,
    errors: &mut RequestError,
) -> Choice {
    let policy = match v1::InspectionPolicy::try_from(policy) {
        Ok(v1::InspectionPolicy::Unspecified) => None,
        Ok(v1::InspectionPolicy::Require) => Some(Policy::Require),
        Ok(v1::InspectionPolicy::Warn) => Some(Policy::Warn),
        Ok(v1::InspectionPolicy::Off) => Some(Policy::Off),
        Err(error) => {
            errors.add("options.inspection", error.to_string());
            None
        }
    };
    let profile = profile.unwrap_or_default();
    let known = known(&profile, field, errors);
    let name = (!profile.name.is_empty()).then_some(profile.name.as_str());
    convert::check_text(field, name, MAX_TEXT_BYTES, errors);
    Choice { policy, profile: profile.name, known }
}

fn known(profile: &v1::Profile, field: &'static str, errors: &mut RequestError) -> Profile {
    let network_mode = match v1::NetworkMode::try_from(profile.network_mode) {
        Ok(v1::NetworkMode::Unspecified) => Ok(None),
        Ok(v1::NetworkMode::Centralized) => Ok(Some(NetworkMode::Centralized)),
        Ok(v1::NetworkMode::Distributed) => Ok(Some(NetworkMode::Distributed)),
        Err(error) => Err(error),
    };
    let boot_source = match v1::BootSource::try_from(profile.boot_source) {
        Ok(v1::BootSource::Unspecified) => Ok(None),
        Ok(v1::BootSource::Local) => Ok(Some(BootSource::Local)),
        Ok(v1::BootSource::Evs) => Ok(Some(BootSource::Evs)),
        Err(error) => Err(error),
    };
    let sdi = match v1::SdiCard::try_from(profile.sdi) {
        Ok(v1::SdiCard::Unspecified) => Ok(None),
        Ok(v1::SdiCard::None) => Ok(Some(Sdi::None)),
        Ok(v1::SdiCard::Sd100) => Ok(Some(Sdi::Sd100)),
        Ok(v1::SdiCard::Sdi22) => Ok(Some(Sdi::Sdi2_2)),
        Ok(v1::SdiCard::Sdi30) => Ok(Some(Sdi::Sdi3_0)),
        Ok(v1::SdiCard::Sdi5) => Ok(Some(Sdi::Sdi5)),
        Err(error) => Err(error),
    };
    for (text, allowed) in
        [(&profile.architecture, ["x86_64", "aarch64"].as_slice()), (&profile.firmware, ["bios", "uefi"].as_slice())]
    {
        if text.as_deref().is_some_and(|text| !allowed.contains(&text)) {
            errors.add(field, format!("must be one of {}", allowed.join(" and ")));
        }
    }
    let mut or_none = |problem: prost::UnknownEnumValue| errors.add(field, problem.to_string());
    Profile {
        network_mode: network_mode.map_err(&mut or_none).ok().flatten(),
        boot_source: boot_source.map_err(&mut or_none).ok().flatten(),
        sdi: sdi.map_err(&mut or_none).ok().flatten(),
        architecture: profile.architecture.clone(),
        firmware: profile.firmware.clone(),
        ..Profile::default()
    }
}

/// What was found, as the wire has it.
pub fn view(inspection: Inspection) -> v1::Inspection {
    let Inspection { examination, profile } = inspection;
    let report = examination.report;
    let verdicts = report.verdicts;
    let plug_ins = [
        (PlugIn::CloudInit, verdicts.cloud_init),
        (PlugIn::Network, verdicts.network),
        (PlugIn::SdiDriver, verdicts.sdi_driver),
    ];
    let plug_in_verdict = |(of, is)| v1::PlugInVerdict { plug_in: plug_in(of).into(), verdict: verdict(is).into() };
    v1::Inspection {
        verdict: verdict(verdicts.image).into(),
        plug_ins: plug_ins.map(plug_in_verdict).into(),
        findings: report.findings.into_iter().map(finding).collect(),
        system: report.os.unwrap_or_default(),
        architecture: report.architecture.unwrap_or_default(),
        kernels: report.kernels.into_iter().map(kernel).collect(),
        read_bytes: examination.read_bytes,
        notes: examination.notes,
        fetched_bytes: examination.fetched_bytes,
        profile: Some(profile_view(&profile)),
    }
}

fn kernel(kernel: KernelSummary) -> v1::Kernel {
    let KernelSummary { release, is_bootable, initramfs } = kernel;
    v1::Kernel { release, bootable: is_bootable, initramfs: initramfs.unwrap_or_default() }
}

pub(super) fn finding(finding: Finding) -> v1::Finding {
    let evidence = |Evidence { path, value }| v1::Evidence { path, value };
    v1::Finding {
        id: finding.id,
        title: finding.title,
        plug_in: plug_in(finding.plug_in).into(),
        severity: severity(finding.severity).into(),
        status: status(finding.status).into(),
        reason: finding.reason,
        evidence: finding.evidence.into_iter().map(evidence).collect(),
        remedy: finding.remedy,
    }
}

const fn plug_in(plug_in: PlugIn) -> v1::PlugIn {
    match plug_in {
        PlugIn::CloudInit => v1::PlugIn::CloudInit,
        PlugIn::Network => v1::PlugIn::Network,
        PlugIn::SdiDriver => v1::PlugIn::SdiDriver,
        PlugIn::Image => v1::PlugIn::Image,
    }
}

const fn severity(severity: Severity) -> v1::Severity {
    match severity {
        Severity::Optional => v1::Severity::Optional,
        Severity::Recommended => v1::Severity::Recommended,
        Severity::Required => v1::Severity::Required,
    }
}

const fn status(status: FindingStatus) -> v1::FindingStatus {
    match status {
        FindingStatus::NotApplicable => v1::FindingStatus::NotApplicable,
        FindingStatus::Pass => v1::FindingStatus::Pass,
        FindingStatus::Warn => v1::FindingStatus::Warn,
        FindingStatus::Unknown => v1::FindingStatus::Unknown,
        FindingStatus::Fail => v1::FindingStatus::Fail,
    }
}

const fn verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::NotApplicable => v1::Verdict::NotApplicable,
        Verdict::Pass => v1::Verdict::Pass,
        Verdict::Warn => v1::Verdict::Warn,
        Verdict::Unknown => v1::Verdict::Unknown,
        Verdict::Fail => v1::Verdict::Fail,
    }
}

/// What is known of servers, as the wire has it; without a name.
pub fn profile_view(profile: &Profile) -> v1::Profile {
    let network_mode = profile.network_mode.map_or(v1::NetworkMode::Unspecified, |mode| match mode {
        NetworkMode::Centralized => v1::NetworkMode::Centralized,
        NetworkMode::Distributed => v1::NetworkMode::Distributed,
    });
    let boot_source = profile.boot_source.map_or(v1::BootSource::Unspecified, |source| match source {
        BootSource::Local => v1::BootSource::Local,
        BootSource::Evs => v1::BootSource::Evs,
    });
    let sdi = profile.sdi.map_or(v1::SdiCard::Unspecified, |sdi| match sdi {
        Sdi::None => v1::SdiCard::None,
        Sdi::Sd100 => v1::SdiCard::Sd100,
        Sdi::Sdi2_2 => v1::SdiCard::Sdi22,
        Sdi::Sdi3_0 => v1::SdiCard::Sdi30,
        Sdi::Sdi5 => v1::SdiCard::Sdi5,
    });
    v1::Profile {
        name: String::new(),
        network_mode: network_mode.into(),
        boot_source: boot_source.into(),
        sdi: sdi.into(),
        architecture: profile.architecture.clone(),
        firmware: profile.firmware.clone(),
    }
}
