//! A fact about the server, or why it is not known: absence is always said, never an empty string.
//!
//! Whoever reads a fact that another version of this program wrote meets reasons and fields that it does not know. They
//! cost only themselves.

use serde::{Deserialize, Serialize};

/// Something that was found out, or why it was not.
///
/// As JSON: `{"value": "2288H V5"}`, or `{"unknown": {"reason": "placeholder", "detail": "Default string"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fact<T> {
    /// It is this.
    #[serde(rename = "value")]
    Known(T),
    /// It is not known.
    #[serde(rename = "unknown")]
    Unknown(Unknown),
}

/// Why something is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Unknown {
    /// The kind of reason.
    pub reason: UnknownReason,
    /// What stands in the way, or stood in the place of a value; printable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The kinds of reasons for which something is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownReason {
    /// Whoever took stock did not look for it.
    #[default]
    NotReported,
    /// Nothing shows it: the device, the firmware or the kernel has no such thing to say.
    Missing,
    /// It is there, and cannot be read.
    Unreadable,
    /// The vendor left a placeholder in its place.
    Placeholder,
    /// What is there is not of its form, or too long.
    Malformed,
    /// It was asked for, and there was no answer in time.
    TimedOut,
    /// The caller may not see it.
    Withheld,
    /// A reason that this version of the program has no word for.
    #[serde(other)]
    Other,
}

impl<T> Fact<T> {
    /// Not known, with nothing to add to the reason.
    pub const fn unknown(reason: UnknownReason) -> Self {
        Self::Unknown(Unknown { reason, detail: None })
    }

    /// Not known; `detail` is what stands in the way, made printable.
    pub fn unknown_for(reason: UnknownReason, detail: &str) -> Self {
        Self::Unknown(Unknown { reason, detail: Some(crate::text::printable(detail)) })
    }

    /// What it is, if it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Why it is not known, if it is not.
    pub const fn why_unknown(&self) -> Option<&Unknown> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(unknown) => Some(unknown),
        }
    }

    /// The same fact about something made of it.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(value) => Fact::Known(make(value)),
            Self::Unknown(unknown) => Fact::Unknown(unknown),
        }
    }
}

impl<T> Fact<Vec<T>> {
    /// What is there; nothing if that is not known.
    pub fn items(&self) -> &[T] {
        self.value().map_or(&[], Vec::as_slice)
    }
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self::unknown(UnknownReason::NotReported)
    }
}
