//! What is done about what an inspection finds, and for which servers it is made: the operator's configuration, and what
//! a request says of one install.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::profile::Profile;
use crate::reason::{DomainError, Reason};

/// What an install does about what it finds in its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// A required check that fails, or cannot be made, ends the install before the disk can boot.
    Require,
    /// It becomes a warning.
    #[default]
    Warn,
    /// Nothing is looked into.
    Off,
}

/// What a request says of the inspection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Choice {
    /// What is done; as configured if none.
    pub policy: Option<Policy>,
    /// Name of a profile; the configured default if empty.
    pub profile: String,
    /// What is known beyond that profile, or better.
    pub known: Profile,
}

/// The operator's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What is done where a request does not say it.
    pub policy: Policy,
    /// Name of the profile where a request names none; nothing is known if empty.
    pub profile: String,
    /// The operator's own profiles. They come before the built-in ones of the same name.
    pub profiles: BTreeMap<String, Profile>,
}

/// A request names a profile that there is not.
#[derive(Debug, thiserror::Error)]
#[error("there is no profile {name:?}; there are {known}")]
pub struct ProfileUnknown {
    /// The name.
    pub name: String,
    /// Those there are.
    pub known: String,
}

impl DomainError for ProfileUnknown {
    fn reason(&self) -> Reason {
        Reason::ProfileUnknown
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        vec![("profile", self.name.clone()), ("known", self.known.clone())]
    }
}

impl Settings {
    /// The policy and the profile of one request.
    ///
    /// # Errors
    /// If a profile is named that there is not.
    pub fn resolve(&self, choice: &Choice) -> Result<(Policy, Profile), ProfileUnknown> {
        let name = if choice.profile.is_empty() { &self.profile } else { &choice.profile };
        let base = match name.as_str() {
            "" => Profile::default(),
            name => self.profiles.get(name).cloned().or_else(|| Profile::built_in(name)).ok_or_else(|| {
                let own = self.profiles.keys().map(String::as_str);
                let known: Vec<_> = own.chain(Profile::BUILT_IN).collect();
                ProfileUnknown { name: crate::text::printable(name), known: known.join(", ") }
            })?,
        };
        Ok((choice.policy.unwrap_or(self.policy), base.overlaid(&choice.known)))
    }
}
