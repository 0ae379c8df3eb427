//! What is done about what an inspection finds, and for which servers it is made: the operator's configuration, and what
//! a request says of one install.

use serde::{Deserialize, Serialize};

use super::profile::{Profile, Profiles};
use crate::reason::{DomainError, Reason};

/// What an install does about what it finds in its image: the stricter, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Nothing is looked into.
    Off,
    /// A required check that fails, or cannot be made, becomes a warning.
    #[default]
    Warn,
    /// It ends the install before the disk can boot.
    Require,
}

impl Policy {
    /// Its name, as in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Require => "require",
        }
    }
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
    /// All profiles: those that are built in, and the operator's own.
    pub profiles: Profiles,
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
            name => self.profiles.named(name).cloned().ok_or_else(|| {
                let known: Vec<_> = self.profiles.names().collect();
                ProfileUnknown { name: crate::text::printable(name), known: known.join(", ") }
            })?,
        };
        Ok((choice.policy.unwrap_or(self.policy), overlaid(base, &choice.known)))
    }
}

/// A profile, but for what is known better.
fn overlaid(base: Profile, known: &Profile) -> Profile {
    let longer = |known: &Vec<String>, base: Vec<String>| if known.is_empty() { base } else { known.clone() };
    Profile {
        network_mode: known.network_mode.or(base.network_mode),
        boot_source: known.boot_source.or(base.boot_source),
        sdi: known.sdi.or(base.sdi),
        architecture: known.architecture.clone().or(base.architecture),
        firmware: known.firmware.clone().or(base.firmware),
        plug_in_roots: longer(&known.plug_in_roots, base.plug_in_roots),
        boot_drivers: longer(&known.boot_drivers, base.boot_drivers),
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Policy, Settings};
    use crate::inspect::profile::{NetworkMode, Profile, Profiles, Sdi};

    #[test]
    fn a_request_says_more_than_the_profile_it_names_and_that_more_than_the_configuration() {
        let own = Profile { sdi: Some(Sdi::Sdi5), firmware: Some("uefi".to_owned()), ..Profile::default() };
        let profiles = Profiles::built_in().expect("built in").with([("own".to_owned(), own.clone())]);
        let settings = Settings { policy: Policy::Require, profile: "own".to_owned(), profiles };
        let (policy, profile) = settings.resolve(&Choice::default()).expect("configured");
        assert_eq!((policy, profile), (Policy::Require, own));
        let known = Profile { firmware: Some("bios".to_owned()), sdi: Some(Sdi::Sdi5), ..Profile::default() };
        let choice = Choice { policy: Some(Policy::Off), profile: "distributed".to_owned(), known };
        let (policy, profile) = settings.resolve(&choice).expect("built in");
        assert_eq!((policy, profile.network_mode), (Policy::Off, Some(NetworkMode::Distributed)));
        assert_eq!((profile.sdi, profile.firmware.as_deref()), (Some(Sdi::Sdi5), Some("bios")));
    }

    #[test]
    fn a_profile_that_there_is_not_is_refused_with_the_names_of_those_there_are() {
        let settings = Settings { profiles: Profiles::built_in().expect("built in"), ..Settings::default() };
        let choice = Choice { profile: "no such\n".to_owned(), ..Choice::default() };
        let error = settings.resolve(&choice).expect_err("unknown").to_string();
        assert!(error.contains("centralized-sd100") && !error.contains('\n'), "{error}");
    }
}
