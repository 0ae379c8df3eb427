//! Disks: finding them, telling them apart, guarding them, and moving bytes to and from them around the page cache.

pub mod discovery;
pub mod identity;
mod mounts;
pub mod roots;
pub mod selector;
mod stack;
pub mod sysfs;
mod usage;

pub use usage::DiskUse;

#[cfg(test)]
pub(crate) mod fixture;
