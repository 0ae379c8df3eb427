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

impl Unknown {
    /// For a reason of this kind; `detail` is made printable.
    pub fn new(reason: UnknownReason, detail: &str) -> Self {
        Self { reason, detail: Some(crate::text::printable(detail)) }
    }
}

impl<T> Fact<T> {
    /// Not known, with nothing to add to the reason.
    pub const fn unknown(reason: UnknownReason) -> Self {
        Self::Unknown(Unknown { reason, detail: None })
    }

    /// Not known; `detail` is what stands in the way, made printable.
    pub fn unknown_for(reason: UnknownReason, detail: &str) -> Self {
        Self::Unknown(Unknown::new(reason, detail))
    }

    /// What it is, if it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// What it is, to be changed, if it is known.
    pub const fn value_mut(&mut self) -> Option<&mut T> {
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

    /// The same, or none if it is not known.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// A fact about what is borrowed.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Known(value) => Fact::Known(value),
            Self::Unknown(unknown) => Fact::Unknown(unknown.clone()),
        }
    }

    /// The fact that follows from it.
    pub fn and_then<U>(self, next: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Self::Known(value) => next(value),
            Self::Unknown(unknown) => Fact::Unknown(unknown),
        }
    }

    /// Another fact in the place of one that is not known.
    #[must_use]
    pub fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Known(_) => self,
            Self::Unknown(_) => other(),
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

impl<T> Fact<Fact<T>> {
    /// One fact.
    pub fn flatten(self) -> Fact<T> {
        self.and_then(|fact| fact)
    }
}

impl<T> Fact<Vec<T>> {
    /// All that are there, without those that are missing. One that is not known for any other reason makes it unknown
    /// what there is.
    pub fn gather(facts: impl IntoIterator<Item = Fact<T>>) -> Self {
        let mut items = Vec::new();
        for fact in facts {
            match fact {
                Fact::Known(item) => items.push(item),
                Fact::Unknown(Unknown { reason: UnknownReason::Missing, .. }) => (),
                Fact::Unknown(unknown) => return Self::Unknown(unknown),
            }
        }
        Self::Known(items)
    }

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
