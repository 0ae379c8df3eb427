//! Putting images onto disks: a pure plan, then its execution on threads of its own.
//!
//! The life of an install: [`plan`] decides; [`install`] prepares the disk, runs the workers and commits; each worker
//! verifies, writes and reads back (`worker`); the `ledger` knows what is proven of each group; the `queue` says
//! what is to be done next; the [`boot_region`] is held in memory until everything else is proven.
//!
//! The other way round, [`capture`] turns a disk into the groups of an image.
//!
//! A repository that is pulled from will feed the same [`feed`]; looking inside the image and adjusting its partition
//! table belong between read-back and commit, in [`install`].

pub mod boot_region;
pub mod capture;
pub mod error;
pub mod feed;
pub mod inspection;
pub mod install;
mod intake;
mod ledger;
pub mod plan;
pub mod progress;
mod queue;
pub mod record;
pub mod token;
pub mod verify;
mod worker;

#[cfg(test)]
mod tests;
