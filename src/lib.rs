//! `bms-agent` puts an operating system onto a bare metal server, and proves that it is there.
//!
//! The library behind the daemon `bms-agent` and the command line `bmsctl`. `ARCHITECTURE.md` is the map.

pub mod agent;
pub mod arguments;
pub mod audit;
pub mod byte_size;
pub mod clock;
pub mod compatibility;
pub mod config;
pub mod daemon;
pub mod disk;
pub mod hardware;
pub mod image;
pub mod inspect;
pub mod metrics;
pub mod net;
pub mod operation;
pub mod provision;
pub mod pull;
pub mod reason;
pub mod repository;
pub mod rpc;
pub mod telemetry;
pub mod text;
