//! Overrides: a caller takes it upon himself that a finding does not count. Each names one finding; there is none for all.

use serde::{Deserialize, Serialize};

use super::rule::{self, Rule};
use super::{Fitness, fitness};
use crate::inspect::report::{Finding, Status, shorten};
use crate::reason::{DomainError, Reason};
use crate::text::printable;

/// Says that a finding does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Id of the finding, as `HW-01`.
    pub id: String,
    /// Who says so.
    pub by: String,
}

/// An override that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideInvalid {
    /// There is no finding of that id.
    #[error("there is no finding {id:?} to override")]
    NoFinding {
        /// The id.
        id: String,
    },
    /// Nothing makes up for what was found.
    #[error("{id} cannot be overridden: {reason}")]
    Final {
        /// Id of the finding.
        id: &'static str,
        /// What was found.
        reason: String,
    },
}

impl DomainError for OverrideInvalid {
    fn reason(&self) -> Reason {
        Reason::OverrideInvalid
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NoFinding { id } => vec![("findings", id.clone())],
            Self::Final { id, .. } => vec![("findings", (*id).to_owned())],
        }
    }
}

/// Whether there is something that each could override.
pub(super) fn check(overrides: &[Override]) -> Result<(), OverrideInvalid> {
    let is_known = |id: &str| rule::RULES.iter().any(|rule| rule.id == id);
    match overrides.iter().find(|one| !is_known(&one.id)) {
        Some(one) => Err(OverrideInvalid::NoFinding { id: printable(&one.id) }),
        None => Ok(()),
    }
}

/// A finding, and who overrode it. The first override of several counts.
pub(super) fn apply(
    rule: &Rule,
    finding: Finding,
    overrides: &[Override],
) -> Result<(Finding, Option<String>), OverrideInvalid> {
    let by = overrides.iter().find(|one| one.id == rule.id).map(|one| one.by.clone());
    let Some(mut by) = by.filter(|_| fitness(&finding) != Fitness::Fit) else {
        return Ok((finding, None));
    };
    if rule.is_final && finding.status == Status::Fail {
        return Err(OverrideInvalid::Final { id: rule.id, reason: finding.reason });
    }
    shorten(&mut by);
    Ok((finding, Some(by)))
}
