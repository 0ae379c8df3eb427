//! Checks of an image: a table of data, evaluated against what an image is and what a server needs.
//!
//! Nothing here opens a disk or knows a file system, and nothing in [`table`] is code: an operator adds or overrides checks
//! in files of his own ([`Checks::load`]).

mod condition;
mod context;
mod evaluate;
mod load;
mod rule;
pub mod table;
mod version;

use super::outcome;

pub use evaluate::evaluate;
pub use load::{Checks, ChecksError, MAX_CHECKS};

#[cfg(test)]
mod tests;
