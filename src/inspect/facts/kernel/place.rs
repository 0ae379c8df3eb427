//! Where a kernel has a module, by the module's name.

use super::Kernel;
use crate::inspect::facts::Known;
use crate::inspect::facts::modprobe::canonical;

/// Where a kernel has a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// Compiled in.
    Builtin,
    /// In a file that a list names: its path in the image. Whether it is there is not said.
    Loadable(&'a str),
    /// The same, but no list names it, so that modprobe will not find it.
    Unindexed(&'a str),
    /// It has none of that name.
    Nowhere,
    /// That cannot be told, for this reason.
    Unknown(&'a str),
}

impl Kernel {
    /// Where it has a module. `-` and `_` are the same in names.
    pub fn place(&self, module: &str) -> Place<'_> {
        let module = canonical(module);
        if self.builtin.as_known().is_some_and(|builtin| builtin.contains(&module)) {
            return Place::Builtin;
        }
        let modules = match &self.modules {
            Known::Is(modules) => modules,
            Known::Unknown(reason) => return Place::Unknown(reason),
        };
        match (modules.get(&module), &self.builtin) {
            (Some(path), _) if self.unindexed.contains(&module) => Place::Unindexed(path),
            (Some(path), _) => Place::Loadable(path),
            (None, Known::Is(_)) => Place::Nowhere,
            (None, Known::Unknown(reason)) => Place::Unknown(reason),
        }
    }
}
