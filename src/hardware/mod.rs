//! What the server is: its parts, its model, how it was started.
//!
//! [`survey`] reads, [`inventory`] is what was read, [`facts_file`] reads what another server said of itself,
//! [`generation`] tells whether the hardware changed, [`model`] and [`alias`] whether two servers are alike.

pub mod alias;
pub mod dmi;
pub mod fact;
pub mod facts_file;
pub mod generation;
pub mod host;
pub mod inventory;
pub mod model;
pub mod pci;
mod read;
pub mod survey;

#[cfg(test)]
pub(crate) mod machines;
