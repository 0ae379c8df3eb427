//! How the firmware starts the server: UEFI or BIOS, Secure Boot, and trusted platform modules.

use std::io;
use std::path::Path;

use crate::disk::roots::Roots;
use crate::disk::sysfs;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::host::{self, BootMode};
use crate::hardware::inventory::{SecureBoot, Tpm};
use crate::hardware::read;

/// The GUID of variables that UEFI itself defines (UEFI specification, "Globally Defined Variables").
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// A variable of one byte behind its attributes (`Documentation/filesystems/efivarfs.rst`).
const VARIABLE_BYTES: u64 = 5;

/// How the firmware started the running system.
pub(super) fn boot_mode(roots: &Roots) -> Fact<BootMode> {
    read::entries(&roots.sys.join("firmware")).map(|_| host::boot_mode(roots))
}

/// Whether it checks what it starts. The kernel asks it for each variable, and waits for the answer.
pub(super) fn secure_boot(roots: &Roots) -> Fact<SecureBoot> {
    boot_mode(roots).and_then(|mode| match mode {
        BootMode::Uefi => by_variables(&roots.sys.join("firmware/efi/efivars")),
        BootMode::Bios => Fact::Known(SecureBoot::Unsupported),
    })
}

fn by_variables(variables: &Path) -> Fact<SecureBoot> {
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

#[cfg(test)]
mod tests {
    use super::{GLOBAL, tpms};
    use crate::hardware::fact::{Fact, UnknownReason};
    use crate::hardware::inventory::SecureBoot;
    use crate::hardware::machines::Machine;

    fn secure_boot(variables: &[(&str, &[u8])]) -> Fact<SecureBoot> {
        let machine = Machine::new("firmware", "x86_64");
        let directory = "sys/firmware/efi/efivars";
        std::fs::create_dir_all(machine.fixture.path(directory)).expect("directory");
        for (name, content) in variables {
            machine.fixture.write(&format!("{directory}/{name}-{GLOBAL}"), content);
        }
        super::secure_boot(&machine.fixture.roots())
    }

    #[test]
    fn secure_boot_is_what_its_variables_say() {
        let (on, off) = (&[6, 0, 0, 0, 1][..], &[6, 0, 0, 0, 0][..]);
        for (variables, expected) in [
            (&[("SecureBoot", on), ("SetupMode", off)][..], SecureBoot::Enabled),
            (&[("SecureBoot", off), ("SetupMode", off)], SecureBoot::Disabled),
            (&[("SecureBoot", off), ("SetupMode", on)], SecureBoot::SetupMode),
            (&[("SecureBoot", off)], SecureBoot::Disabled),
            (&[], SecureBoot::Unsupported),
        ] {
            assert_eq!(secure_boot(variables), Fact::Known(expected), "{variables:?}");
        }
        let reason = |fact: Fact<SecureBoot>| fact.why_unknown().map(|unknown| unknown.reason);
        assert_eq!(reason(secure_boot(&[("SecureBoot", &on[..4])])), Some(UnknownReason::Malformed));
        assert_eq!(reason(secure_boot(&[("SecureBoot", &[0; 6])])), Some(UnknownReason::Malformed));
    }

    #[test]
    fn variables_that_are_not_mounted_say_nothing() {
        let machine = Machine::new("firmware", "x86_64");
        std::fs::create_dir_all(machine.fixture.path("sys/firmware/efi")).expect("directory");
        assert_eq!(super::secure_boot(&machine.fixture.roots()), Fact::unknown(UnknownReason::Missing));
    }

    #[test]
    fn modules_say_their_version_if_the_kernel_does() {
        let machine = Machine::new("firmware", "x86_64").attribute("class/tpm/tpm0/tpm_version_major", "2");
        let machine = machine.attribute("class/tpm/tpm1/dev", "10:225");
        let seen: Vec<_> = tpms(&machine.fixture.roots()).items().iter().map(|tpm| tpm.version_major.clone()).collect();
        assert_eq!(seen, [Fact::Known(2), Fact::unknown(UnknownReason::Missing)]);
    }
}
