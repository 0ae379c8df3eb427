//! How the firmware starts the server: UEFI or BIOS, Secure Boot, and trusted platform modules.

use std::io;
use std::path::Path;

use crate::disk::roots::Roots;
use crate::disk::sysfs;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::host::{self, BootMode};
use crate::hardware::inventory::{Firmware, SecureBoot, Tpm};
use crate::hardware::read;

/// The GUID of variables that UEFI itself defines (UEFI specification, "Globally Defined Variables").
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// A variable of one byte behind its attributes (`Documentation/filesystems/efivarfs.rst`).
const VARIABLE_BYTES: u64 = 5;

/// Reads it.
pub(super) fn read(roots: &Roots) -> Firmware {
    let boot_mode = read::entries(&roots.sys.join("firmware")).map(|_| host::boot_mode(roots));
    let secure_boot = match &boot_mode {
        Fact::Known(BootMode::Uefi) => secure_boot(&roots.sys.join("firmware/efi/efivars")),
        Fact::Known(BootMode::Bios) => Fact::Known(SecureBoot::Unsupported),
        Fact::Unknown(unknown) => Fact::Unknown(unknown.clone()),
    };
    Firmware { boot_mode, secure_boot }
}

fn secure_boot(variables: &Path) -> Fact<SecureBoot> {
    if let Fact::Unknown(unknown) = read::entries(variables) {
        return Fact::Unknown(unknown);
    }
    match (variable(variables, "SecureBoot"), variable(variables, "SetupMode")) {
        (Fact::Known(None), _) => Fact::Known(SecureBoot::Unsupported),
        (Fact::Known(Some(1)), _) => Fact::Known(SecureBoot::Enabled),
        (Fact::Known(Some(_)), Fact::Known(Some(1))) => Fact::Known(SecureBoot::SetupMode),
        (Fact::Known(Some(_)), _) => Fact::Known(SecureBoot::Disabled),
        (Fact::Unknown(unknown), _) => Fact::Unknown(unknown),
    }
}

/// The byte of a variable; none if the firmware has no such variable.
fn variable(variables: &Path, name: &str) -> Fact<Option<u8>> {
    match sysfs::bounded(&variables.join(format!("{name}-{GLOBAL}")), VARIABLE_BYTES) {
        Ok(bytes) => match bytes.as_slice() {
            [_, _, _, _, value] => Fact::Known(Some(*value)),
            _ => Fact::unknown_for(UnknownReason::Malformed, &format!("{name} has {} bytes", bytes.len())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Fact::Known(None),
        Err(error) => Fact::Unknown(read::because(&error)),
    }
}

/// The modules, which a kernel shows that knows of any.
pub(super) fn tpms(roots: &Roots) -> Fact<Vec<Tpm>> {
    let directory = roots.sys.join("class/tpm");
    let tpm =
        |name: String| Tpm { version_major: read::number(&directory.join(&name).join("tpm_version_major")), name };
    read::entries(&directory).map(|names| names.into_iter().map(tpm).collect())
}
