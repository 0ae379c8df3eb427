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
use crate::inspect::report::{Finding, Status, Verdict};

pub mod case;
mod device;
mod incompatible;
pub mod overrides;
pub mod requirements;
mod rule;

#[cfg(test)]
mod tests;

pub use self::case::{Admission, Case};
pub use self::device::modaliases;
pub use self::incompatible::Incompatible;
pub use self::overrides::{Override, OverrideInvalid};
pub use self::requirements::{Requirements, source_model};

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
    /// Whether it is unknown as long as nobody looks into the image, and known perhaps when somebody does.
    #[serde(default)]
    pub is_open: bool,
}

impl Judgement {
    /// What the findings come to that no look into the image can change: all of them once there was one.
    pub fn fitness_so_far(&self) -> Fitness {
        worst(self.findings.iter().filter(|judged| !judged.is_open))
    }

    /// The overrides that made a difference, for people.
    pub fn overridden(&self) -> Vec<String> {
        let text = |judged: &Judged| {
            let Finding { id, reason, .. } = &judged.finding;
            judged.overridden_by.as_ref().map(|by| format!("{id} was overridden by {by}: {reason}"))
        };
        self.findings.iter().filter_map(text).collect()
    }
}

/// Judges whether an image fits a server.
///
/// # Errors
/// [`OverrideInvalid`], if an override is for no rule, or for a finding that none can override. Then nothing is judged: who
/// overrides should know what.
pub fn judge(question: &Question<'_>, overrides: &[Override]) -> Result<Judgement, OverrideInvalid> {
    overrides::check(overrides)?;
    let judge = |rule: &rule::Rule| {
        let finding = rule.finding(question);
        if rule.looks_inside && question.image.is_none() && finding.status == Status::Unknown {
            // Whether there is anything to override, a look will tell.
            return Ok(Judged { finding, overridden_by: None, is_open: true });
        }
        let (finding, overridden_by) = overrides::apply(rule, finding, overrides)?;
        Ok(Judged { finding, overridden_by, is_open: false })
    };
    let findings = rule::RULES.iter().map(judge).collect::<Result<Vec<_>, _>>()?;
    Ok(Judgement { fitness: worst(findings.iter()), findings })
}

/// What findings come to that are not overridden.
fn worst<'a>(findings: impl Iterator<Item = &'a Judged>) -> Fitness {
    let counting = findings.filter(|judged| judged.overridden_by.is_none());
    counting.map(|judged| fitness(&judged.finding)).max().unwrap_or(Fitness::Fit)
}

/// What a finding comes to alone.
const fn fitness(finding: &Finding) -> Fitness {
    match finding.verdict() {
        Verdict::NotApplicable | Verdict::Pass | Verdict::Warn => Fitness::Fit,
        Verdict::Unknown => Fitness::Unknown,
        Verdict::Fail => Fitness::Unfit,
    }
}
