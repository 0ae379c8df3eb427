//! Evaluates a table of checks: a finding for each, and the verdicts that follow.

use super::condition::{self, Holds};
use super::context::Context;
use super::load::Checks;
use super::outcome::Outcome;
use super::rule;
use super::table::Check;
use crate::inspect::facts::Known;
use crate::inspect::facts::gather::Facts;
use crate::inspect::facts::kernel::Kernel;
use crate::inspect::profile::Profile;
use crate::inspect::report::{Finding, KernelSummary, Report, Severity, Status, Verdicts};

/// What an image comes to for the servers of a profile.
pub fn evaluate(checks: &Checks, facts: &Facts<'_>, profile: &Profile) -> Report {
    let context = Context { facts, profile };
    let findings: Vec<Finding> = checks.iter().map(|check| finding(check, &context)).collect();
    let os = facts.os.as_known().and_then(Option::as_ref);
    let verdicts = Verdicts::of(&findings);
    let report = Report {
        os: os.map(|os| os.name.clone()),
        architecture: facts.architecture.as_known().and_then(Option::as_ref).map(|(name, _)| name.clone()),
        kernels: kernels(facts),
        findings,
        verdicts,
    };
    report.bounded()
}

fn finding(check: &Check, context: &Context<'_>) -> Finding {
    let (severity, outcome) = weigh(check, context);
    let needs_nothing = matches!(outcome.status, Status::NotApplicable | Status::Pass);
    Finding {
        id: check.id.clone(),
        title: check.title.clone(),
        plug_in: check.plug_in,
        severity,
        status: outcome.status,
        reason: outcome.reason,
        evidence: outcome.evidence,
        remedy: if needs_nothing { String::new() } else { check.remedy.clone() },
    }
}

/// What a check comes to, and how much that counts.
fn weigh(check: &Check, context: &Context<'_>) -> (Severity, Outcome) {
    let outcome = match applies(check, context) {
        Holds::No => return (check.severity, Outcome::not_applicable("it does not apply to this image and profile")),
        Holds::Yes => rule::evaluate(&check.rule, context),
        Holds::Unknown(why) => rule::evaluate(&check.rule, context).doubted(&why),
    };
    if check.severity == Severity::Required {
        return (Severity::Required, outcome);
    }
    match condition::any(&check.required_when, context) {
        Holds::Yes => (Severity::Required, outcome),
        Holds::Unknown(why) if matches!(outcome.status, Status::Fail | Status::Unknown) => {
            (Severity::Required, outcome.doubted(&why))
        }
        Holds::No | Holds::Unknown(_) => (check.severity, lenient(outcome)),
    }
}

/// What is not required does not fail.
fn lenient(outcome: Outcome) -> Outcome {
    match outcome.status {
        Status::Fail => Outcome { status: Status::Warn, ..outcome },
        Status::NotApplicable | Status::Pass | Status::Warn | Status::Unknown => outcome,
    }
}

fn applies(check: &Check, context: &Context<'_>) -> Holds {
    let applies = if check.applies.is_empty() { Holds::Yes } else { condition::any(&check.applies, context) };
    match (applies, condition::any(&check.except, context)) {
        (Holds::No, _) | (_, Holds::Yes) => Holds::No,
        (Holds::Yes, except @ Holds::Unknown(_)) => except,
        (applies, _) => applies,
    }
}

fn kernels(facts: &Facts<'_>) -> Vec<KernelSummary> {
    let kernels = facts.boot.kernels.as_known().map_or(&[] as &[_], Vec::as_slice);
    let summary = |kernel: &Kernel| KernelSummary {
        release: kernel.release.clone(),
        is_bootable: kernel.is_bootable,
        initramfs: match &kernel.initramfs {
            Known::Is(initramfs) => initramfs.as_ref().map(|initramfs| initramfs.path.clone()),
            Known::Unknown(_) => None,
        },
    };
    kernels.iter().map(summary).collect()
}
