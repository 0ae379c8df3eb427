//! An image that is to go to a server: everything that the gate compares, in one place, to be judged before and after
//! somebody looks into the image.

use serde::{Deserialize, Serialize};

use super::{Judgement, Override, OverrideInvalid, Question, Requirements, judge, modaliases};
use crate::hardware::alias::Aliases;
use crate::hardware::inventory::{BlockDevice, Inventory};
use crate::inspect::evidence::Modalias;
use crate::inspect::examine::Examination;

/// What an image asks for, and what somebody takes upon himself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// What the image asks of its server.
    pub requirements: Requirements,
    /// Findings that shall not count.
    pub overrides: Vec<Override>,
}

/// An image that is to go to a disk of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Case {
    /// What the image asks for, and what was overridden.
    pub admission: Admission,
    /// The server.
    pub host: Inventory,
    /// Its disk; none if none was chosen.
    pub target: Option<BlockDevice>,
    /// Other names for the same hardware.
    pub aliases: Aliases,
}

impl Case {
    /// What whoever looks into the image must ask for.
    pub fn devices(&self) -> Vec<Modalias> {
        modaliases(&self.host, self.target.as_ref())
    }

    /// Judges. `image` is what was found in the image, with [`devices`](Self::devices) as what was asked for; none before.
    ///
    /// # Errors
    /// As [`judge`].
    pub fn judge(&self, image: Option<&Examination>) -> Result<Judgement, OverrideInvalid> {
        let Self { admission, host, target, aliases } = self;
        let question =
            Question { requirements: &admission.requirements, image, host, target: target.as_ref(), aliases };
        judge(&question, &admission.overrides)
    }
}
