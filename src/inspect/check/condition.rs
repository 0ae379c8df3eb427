//! Whether a condition holds for an image and a profile, or why that is not known.

use super::context::Context;
use super::table::Condition;
use crate::inspect::facts::Known;
use crate::inspect::facts::glob;

/// Whether a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    No,
    /// It depends on what is not known, for this reason.
    Unknown(String),
}

impl Holds {
    const fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// Whether one of several conditions holds.
pub(super) fn any(conditions: &[Condition], context: &Context<'_>) -> Holds {
    let mut outcome = Holds::No;
    for condition in conditions {
        match holds(condition, context) {
            Holds::Yes => return Holds::Yes,
            Holds::No => (),
            unknown @ Holds::Unknown(_) => outcome = unknown,
        }
    }
    outcome
}

/// Whether all that a condition says holds.
pub(super) fn holds(condition: &Condition, context: &Context<'_>) -> Holds {
    let profile = context.profile;
    let parts = [
        family(condition, context),
        os(condition, context),
        init(condition, context),
        architecture(condition, context),
        said(&condition.network_mode, profile.network_mode.as_ref(), "network_mode"),
        said(&condition.boot_source, profile.boot_source.as_ref(), "boot_source"),
        said(&condition.sdi, profile.sdi.as_ref(), "sdi"),
        said(&condition.firmware, profile.firmware.as_ref(), "firmware"),
    ];
    if parts.contains(&Holds::No) {
        return Holds::No;
    }
    let unknown = |part| match part {
        Holds::Yes | Holds::No => None,
        Holds::Unknown(reason) => Some(reason),
    };
    let reasons: Vec<String> = parts.into_iter().filter_map(unknown).collect();
    if reasons.is_empty() { Holds::Yes } else { Holds::Unknown(reasons.join(", ")) }
}

/// Whether what the profile says is among what is wanted; nothing wanted is always there.
fn said<T: PartialEq>(wanted: &[T], said: Option<&T>, key: &str) -> Holds {
    match said {
        _ if wanted.is_empty() => Holds::Yes,
        Some(said) => Holds::from(wanted.contains(said)),
        None => Holds::Unknown(format!("the profile does not say {key}")),
    }
}

fn family(condition: &Condition, context: &Context<'_>) -> Holds {
    let Some(wanted) = condition.family else { return Holds::Yes };
    match &context.facts.os {
        Known::Is(Some(os)) => Holds::from(os.family == wanted),
        Known::Is(None) => Holds::Unknown("nothing in the image says which system it is".to_owned()),
        Known::Unknown(reason) => Holds::Unknown(reason.clone()),
    }
}

fn os(condition: &Condition, context: &Context<'_>) -> Holds {
    if condition.os.is_empty() {
        return Holds::Yes;
    }
    match &context.facts.os {
        Known::Is(Some(os)) => {
            let name = format!("{}-{}", os.id, os.version.as_deref().unwrap_or_default());
            Holds::from(condition.os.iter().any(|pattern| glob::matches(pattern, &name)))
        }
        Known::Is(None) => Holds::No,
        Known::Unknown(reason) => Holds::Unknown(reason.clone()),
    }
}

fn init(condition: &Condition, context: &Context<'_>) -> Holds {
    match &context.facts.services {
        _ if condition.init.is_empty() => Holds::Yes,
        Known::Is(services) => Holds::from(condition.init.contains(&services.init)),
        Known::Unknown(reason) => Holds::Unknown(reason.clone()),
    }
}

fn architecture(condition: &Condition, context: &Context<'_>) -> Holds {
    match context.architecture() {
        _ if condition.architecture.is_empty() => Holds::Yes,
        Some(architecture) => Holds::from(condition.architecture.iter().any(|wanted| wanted == architecture)),
        None => Holds::Unknown("neither the image nor the profile says the architecture".to_owned()),
    }
}
