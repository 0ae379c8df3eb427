//! Looking into a disk that a stranger wrote: where its volumes are, and which of its bytes no file system uses.
//!
//! The daemon never parses a tenant's file system itself. It asks [`child::Inspector`], which runs the parsers in a process
//! that has no rights at all ([`sandbox`]) and checks what that process answers. Everything here reads through
//! [`reader::DiskReader`], which can do nothing but give bytes; nothing is ever mounted, executed or written.
//! Why it is built so: `docs/decisions/0009-a-child-without-rights-parses.md`.

pub mod check;
pub mod child;
mod crc;
pub mod evidence;
pub mod examine;
pub mod facts;
pub mod free;
pub mod fs;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod lvm;
pub(crate) mod outcome;
pub mod policy;
pub mod profile;
pub mod reader;
mod record;
pub mod report;
pub mod root;
pub mod sandbox;
pub mod volumes;
