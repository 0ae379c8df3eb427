//! Baseboard management controllers, as the IPMI driver shows them.
//!
//! Their address on the management network takes IPMI commands, which this program does not send.

use std::path::Path;

use crate::disk::roots::Roots;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::Bmc;
use crate::hardware::read;

/// Reads them; `is_named` says whether the tables of the firmware name one. The kernel may ask the controller for each
/// value, and waits for the answer.
pub(super) fn read(roots: &Roots, is_named: Fact<bool>) -> Fact<Vec<Bmc>> {
    let devices = roots.sys.join("bus/platform/devices");
    let found = read::entries(&devices).map(|names| {
        // The name that `drivers/char/ipmi/ipmi_msghandler.c` gives the device of each controller.
        let controllers = names.into_iter().filter(|name| name.starts_with("ipmi_bmc."));
        controllers.map(|name| bmc(&devices, name)).collect::<Vec<_>>()
    });
    match (found, is_named) {
        (Fact::Known(found), Fact::Known(false)) => Fact::Known(found),
        (Fact::Known(found), Fact::Known(true)) if found.is_empty() => {
            Fact::unknown_for(UnknownReason::Missing, "the firmware names a BMC, and no driver of the kernel serves it")
        }
        (Fact::Known(found), Fact::Unknown(_)) if found.is_empty() => {
            Fact::unknown_for(UnknownReason::Missing, "no driver shows one, and the firmware cannot be asked")
        }
        (found, _) => found,
    }
}

fn bmc(devices: &Path, name: String) -> Bmc {
    let directory = devices.join(&name);
    Bmc {
        firmware_version: read::text(&directory.join("firmware_revision")),
        ipmi_version: read::text(&directory.join("ipmi_version")),
        address: Fact::unknown_for(UnknownReason::NotReported, "only the BMC itself knows it"),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::hardware::fact::{Fact, UnknownReason};
    use crate::hardware::machines::Machine;

    #[test]
    fn that_there_is_none_is_known_only_if_the_firmware_names_none() {
        let without = Machine::new("without", "x86_64").fixture;
        let with = Machine::new("with", "x86_64").bmc("6.54").fixture;
        let unknown = || Fact::unknown(UnknownReason::Unreadable);
        for (server, is_named, expected) in [
            (&without, Fact::Known(false), Ok(0)),
            (&without, Fact::Known(true), Err(UnknownReason::Missing)),
            (&without, unknown(), Err(UnknownReason::Missing)),
            (&with, Fact::Known(false), Ok(1)),
            (&with, Fact::Known(true), Ok(1)),
            (&with, unknown(), Ok(1)),
        ] {
            let found = read(&server.roots(), is_named);
            let seen = found.why_unknown().map_or(Ok(found.items().len()), |unknown| Err(unknown.reason));
            assert_eq!(seen, expected);
        }
    }
}
