//! What the server is: its model, its parts, how it was started.

pub mod alias;
pub mod dmi;
pub mod fact;
pub mod host;
pub mod inventory;
pub mod model;
pub mod pci;
