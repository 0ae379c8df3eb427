//! The hardware model: what private images are bound to. Two servers are of one model if vendor, product and architecture
//! are the same once spelling and other names for the same thing are out of the way.

use serde::{Deserialize, Serialize};

use super::fact::Fact;

/// A hardware model, spelled in one way: trimmed, single spaces, in lower case. Not yet under its first name: that is what
/// [`Aliases`](super::alias::Aliases) are for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct HardwareModel {
    /// The vendor: `huawei`.
    pub vendor: Fact<String>,
    /// The product: `2288h v5`.
    pub product: Fact<String>,
    /// As `uname -m` calls it: `x86_64`, `aarch64`.
    pub architecture: Fact<String>,
}
