//! Disks: finding them, telling them apart, guarding them, and moving bytes to and from them around the page cache.

pub mod buffer;
pub mod device;
pub mod direct;
pub mod discovery;
pub mod guard;
pub mod identity;
mod ioctl;
pub mod marker;
mod mounts;
pub mod probe;
pub mod roots;
pub mod selector;
mod stack;
pub mod sysfs;
pub mod table;
mod usage;

pub use usage::DiskUse;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod mem;
