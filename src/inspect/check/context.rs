//! What rules are evaluated with: the facts of an image and what a server needs of it.

use crate::inspect::facts::Known;
use crate::inspect::facts::cmdline::CommandLine;
use crate::inspect::facts::gather::Facts;
use crate::inspect::facts::kernel::{self, Kernel};
use crate::inspect::facts::text::shown;
use crate::inspect::profile::Profile;

/// What stands for the profile's plug-in roots in paths.
const PLUG_IN_ROOT: &str = "{root}";

/// The facts of an image, and a profile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) profile: &'a Profile,
}

impl<'a> Context<'a> {
    /// The architecture of the image; that of the profile if the image does not tell.
    pub(super) fn architecture(&self) -> Option<&'a str> {
        let told = self.facts.architecture.as_known().and_then(Option::as_ref);
        told.map(|(architecture, _)| architecture.as_str()).or(self.profile.architecture.as_deref())
    }

    /// Paths from the root of the image, with each plug-in root where one of them is meant.
    pub(super) fn paths(&self, patterns: &[String]) -> Vec<String> {
        let roots = self.profile.plug_in_roots();
        let each = |pattern: &String| -> Vec<String> {
            if pattern.starts_with(PLUG_IN_ROOT) {
                roots.iter().map(|root| shown(&pattern.replacen(PLUG_IN_ROOT, root, 1))).collect()
            } else {
                vec![shown(pattern)]
            }
        };
        patterns.iter().flat_map(each).collect()
    }

    /// The kernels that count: those that can be booted, or all if none is known to be.
    pub(super) fn kernels(&self) -> Known<Vec<&'a Kernel>> {
        match &self.facts.boot.kernels {
            Known::Unknown(reason) => Known::Unknown(reason.clone()),
            Known::Is(kernels) => Known::Is(kernel::that_count(kernels)),
        }
    }

    /// The command lines that these kernels are started with; none of those for repair.
    pub(super) fn command_lines(&self) -> Known<Vec<&'a CommandLine>> {
        match self.kernels() {
            Known::Unknown(reason) => Known::Unknown(reason),
            Known::Is(kernels) => {
                let lines = kernels.into_iter().flat_map(|kernel| &kernel.command_lines);
                Known::Is(lines.filter(|line| !line.is_for_repair()).collect())
            }
        }
    }
}
