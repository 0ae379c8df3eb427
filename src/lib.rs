//! `bms-agent` puts an operating system onto a bare metal server, and proves that it is there.
//!
//! The library behind the daemon `bms-agent` and the command line `bmsctl`. `ARCHITECTURE.md` is the map.

pub mod byte_size;
pub mod disk;
pub mod image;
pub mod reason;
pub mod rpc;
pub mod text;
