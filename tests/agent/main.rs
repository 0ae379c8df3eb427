//! The agent as it is shipped: the real daemon and the real `bmsctl`, against real loop devices.
//!
//! Every test makes the disks that it writes, and removes them. They need root; `tests/run.sh` runs them.
//! `BMS_TEST_SEED` repeats the random ones; `KEEP_TEST_DEVICES=1` leaves disks and logs behind to be looked at.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "all of this is tests: they fail by panicking, and say figures"
)]

mod support;

mod api;
mod audit;
mod block_size;
mod capture;
mod collector;
mod compat;
mod concurrency;
mod crash;
mod debian;
mod flips;
mod floods;
mod foreign;
mod host;
mod hostile;
mod http;
mod images;
mod input;
mod inspect;
mod listen;
mod memory;
mod metrics;
mod network;
mod pages;
mod pull;
mod pull_faults;
mod pull_kills;
mod refusals;
mod remote;
mod restart;
mod roles;
mod rows;
mod service;
mod shipped;
mod terminate;
