//! What the server is: its model, how it was started, and how much of it there is.

pub mod dmi;
pub mod host;
