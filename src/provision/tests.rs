//! The write path as a whole, on a device in memory: what ends up on it, in which order, and what is left after every
//! kind of failure.

mod any_source;
mod cancel;
mod capture;
mod crash;
mod faults;
mod hostile;
mod image;
mod inspection;
mod plan;
mod record;
mod rig;
mod verify;
