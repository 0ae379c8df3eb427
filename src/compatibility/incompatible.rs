//! A judgement that refuses, as an error.

use super::{Fitness, Judged, Judgement, OverrideInvalid, fitness};
use crate::reason::{DomainError, Reason};

/// Most findings that an error names.
const NAMED_FINDINGS: usize = 8;

/// Why an image does not go to a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The server is not what it asks for.
    #[error("the image does not fit this server: {detail}")]
    Unfit {
        /// What is not as it must be, for people.
        detail: String,
        /// Ids of the findings, with commas between them.
        findings: String,
    },
    /// It is not known whether the server is what it asks for.
    #[error("whether the image fits this server is not known: {detail}")]
    Unknown {
        /// What is not known, for people.
        detail: String,
        /// Ids of the findings, with commas between them.
        findings: String,
    },
    /// An override makes no sense.
    #[error(transparent)]
    Override(#[from] OverrideInvalid),
}

impl Judgement {
    /// Lets the image pass, or not. Findings that a look into the image may still settle do not count: once there was one,
    /// there are none.
    ///
    /// # Errors
    /// What refuses it, if it does not fit or that is not known.
    pub fn admit(&self) -> Result<(), Incompatible> {
        let worst = self.fitness_so_far();
        let named = || self.named(worst);
        match worst {
            Fitness::Fit => Ok(()),
            Fitness::Unknown => {
                let (detail, findings) = named();
                Err(Incompatible::Unknown { detail, findings })
            }
            Fitness::Unfit => {
                let (detail, findings) = named();
                Err(Incompatible::Unfit { detail, findings })
            }
        }
    }

    /// What comes to this: for people, and the ids with commas between them.
    fn named(&self, worst: Fitness) -> (String, String) {
        let is_named =
            |judged: &&Judged| judged.overridden_by.is_none() && !judged.is_open && fitness(&judged.finding) == worst;
        let named: Vec<_> = self.findings.iter().filter(is_named).map(|judged| &judged.finding).collect();
        let texts: Vec<_> =
            named.iter().take(NAMED_FINDINGS).map(|finding| format!("{} {}", finding.id, finding.reason)).collect();
        let ids: Vec<_> = named.iter().map(|finding| finding.id.as_str()).collect();
        (texts.join("; "), ids.join(","))
    }
}

impl DomainError for Incompatible {
    fn reason(&self) -> Reason {
        match self {
            Self::Unfit { .. } => Reason::ImageIncompatible,
            Self::Unknown { .. } => Reason::CompatibilityUnknown,
            Self::Override(error) => error.reason(),
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Unfit { findings, .. } | Self::Unknown { findings, .. } => vec![("findings", findings.clone())],
            Self::Override(error) => error.metadata(),
        }
    }
}
