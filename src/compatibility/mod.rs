//! The compatibility gate: whether an image fits a server, before or after it is there.
//!
//! Pure. In go what the image asks for (its manifest), what was found in it (an examination), and what the server has
//! (its inventory, which may come from a file); out come findings as those of an inspection, and what they come to. Nothing
//! here reads a disk, a file or the clock, and nothing decides who may override: the caller has asked that, and audits it.
//!
//! It stands above `image`, `inspect` and `hardware`, none of which knows it: a rule compares what two of them say.

use serde::{Deserialize, Serialize};

use crate::hardware::alias::Aliases;
use crate::hardware::inventory::{BlockDevice, Inventory};
use crate::inspect::examine::Examination;
use crate::inspect::report::{Finding, Verdict};

mod device;
pub mod overrides;
pub mod requirements;
mod rule;

#[cfg(test)]
mod tests;

pub use self::device::modaliases;
pub use self::overrides::{Override, OverrideInvalid};
pub use self::requirements::Requirements;

/// An image, and the server it may be for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What the image asks for.
    pub requirements: &'a Requirements,
    /// What was found in the image, with [`modaliases`] as the devices that were asked about; none if it was not looked into.
    pub image: Option<&'a Examination>,
    /// The server.
    pub host: &'a Inventory,
    /// The disk of the server that the image goes to; none if none was chosen.
    pub target: Option<&'a BlockDevice>,
    /// Other names for the same hardware.
    pub aliases: &'a Aliases,
}

/// Whether an image fits a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// All that is required is as it must be, or overridden.
    Fit,
    /// Of something required it is not known. To be refused.
    Unknown,
    /// Something required is not as it must be. To be refused.
    Unfit,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// What the findings come to that are not overridden.
    pub fitness: Fitness,
    /// One for each rule, in their order.
    pub findings: Vec<Judged>,
}

/// A finding, and whether it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// What was found, whether it is overridden or not.
    pub finding: Finding,
    /// Who overrode it; none if it counts. What would not refuse is not overridden, whatever was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden_by: Option<String>,
}

impl Judgement {
    /// The overrides that made a difference: ids of findings, and by whom.
    pub fn used_overrides(&self) -> impl Iterator<Item = (&str, &str)> {
        self.findings.iter().filter_map(|judged| Some((judged.finding.id.as_str(), judged.overridden_by.as_deref()?)))
    }
}

/// Judges whether an image fits a server.
///
/// # Errors
/// [`OverrideInvalid`], if an override is for no rule, or for a finding that none can override. Then nothing is judged: who
/// overrides should know what.
pub fn judge(question: &Question<'_>, overrides: &[Override]) -> Result<Judgement, OverrideInvalid> {
    overrides::check(overrides)?;
    let judge = |rule: &rule::Rule| overrides::apply(rule, rule.finding(question), overrides);
    let findings = rule::RULES.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
    let counting = findings.iter().filter(|judged| judged.overridden_by.is_none());
    let fitness = counting.map(|judged| fitness(&judged.finding)).max().unwrap_or(Fitness::Unknown);
    Ok(Judgement { fitness, findings })
}

/// What a finding comes to alone.
const fn fitness(finding: &Finding) -> Fitness {
    match finding.verdict() {
        Verdict::NotApplicable | Verdict::Pass | Verdict::Warn => Fitness::Fit,
        Verdict::Unknown => Fitness::Unknown,
        Verdict::Fail => Fitness::Unfit,
    }
}
