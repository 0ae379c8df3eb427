//! A look into a disk or image, from its volumes to what its files come to. To be called only in the sandboxed child, and
//! in tests.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::profile::Profile;
use super::reader::DiskReader;
use super::report::Report;
use crate::image::manifest::{Manifest, Os};

/// What to look into, and for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Logical block size that the partition table was made for, in bytes; if none, both are tried.
    pub logical_block_size: Option<u32>,
    /// Which servers it is for.
    pub profile: Profile,
    /// What is checked.
    pub checks: Arc<Checks>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examination {
    /// What the checks came to.
    pub report: Report,
    /// The installed system; none if it is not known.
    pub os: Option<Os>,
    /// What could not be looked into, and why.
    pub notes: Vec<String>,
    /// Bytes of the disk or image that were read.
    #[serde(default)]
    pub read_bytes: u64,
    /// Bytes that were fetched for that from a repository.
    #[serde(default)]
    pub fetched_bytes: u64,
}

impl Examination {
    /// Says in a manifest what was found.
    pub fn describe(self, manifest: &mut Manifest) {
        manifest.os = self.os;
        manifest.plugin_report = serde_json::to_value(self.report.without_evidence()).ok();
    }
}

/// Looks into a disk or image.
pub fn examine(disk: &Rc<dyn DiskReader>, request: &Request) -> Examination {
    let _ = (disk, request);
    todo!()
}

/// Looks at the running system.
pub fn examine_host(request: &Request) -> Examination {
    let _ = request;
    todo!()
}
