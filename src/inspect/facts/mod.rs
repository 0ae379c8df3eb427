//! What an image is, as far as its files tell: gathered once, so that checks need no parser of their own.

pub mod boot;
pub mod cloud_init;
pub mod cmdline;
mod compressed;
pub mod drivers;
pub mod fstab;
pub mod gather;
pub mod glob;
pub mod ini;
pub mod initramfs;
pub mod kernel;
pub mod layout;
pub mod modprobe;
pub mod os;
pub mod packages;
mod rpm;
pub mod services;
pub mod sysv;
pub mod text;
pub mod units;

#[cfg(test)]
pub(crate) mod test_tree;

use serde::{Deserialize, Serialize};

/// Something that was looked for, or why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known<T> {
    /// It is known.
    Is(T),
    /// It is not, for this reason.
    Unknown(String),
}

impl<T> Known<T> {
    /// Knows what was read, and keeps the reason of what was not.
    pub fn from_result<E: std::error::Error>(result: Result<T, E>) -> Self {
        match result {
            Ok(is) => Self::Is(is),
            Err(error) => Self::Unknown(crate::text::chain(&error)),
        }
    }

    /// What follows from it, if it is known.
    pub fn map<U>(&self, then: impl FnOnce(&T) -> U) -> Known<U> {
        match self {
            Self::Is(is) => Known::Is(then(is)),
            Self::Unknown(reason) => Known::Unknown(reason.clone()),
        }
    }

    /// It, if it is known.
    pub const fn as_known(&self) -> Option<&T> {
        match self {
            Self::Is(is) => Some(is),
            Self::Unknown(_) => None,
        }
    }
}
