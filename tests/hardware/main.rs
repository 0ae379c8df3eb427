//! The inventory of a server that is known to the last cable: what the agent says of it, beside what it was made of and
//! what the usual tools say. The server is a guest of QEMU, which boots once for all tests.
#![cfg(target_arch = "x86_64")] // The guest runs the programs under test, and this one is a PC.
#![expect(clippy::expect_used, clippy::panic, reason = "all of this is tests: they fail by panicking")]

mod disks;
mod gate;
mod guest;
mod network;
mod pci;
mod product;
mod tools;

use bms_agent::hardware::fact::Fact;

/// A fact as a tool would put it: nothing if it is not known.
fn known(fact: &Fact<String>) -> Option<&str> {
    fact.value().map(String::as_str)
}
