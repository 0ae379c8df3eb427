//! What PCI ids mean, from the table of the PCI ID Project that distributions install.
//!
//! The table has 1.5 MB, of which a server needs a dozen lines: one pass picks them out, in a tenth of the time and with
//! none of the memory that it takes to build it up as a whole. Without a table names are missing, and nothing else is.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::disk::sysfs;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::Inventory;
use crate::hardware::pci::{PciDevice, PciNames};
use crate::hardware::read;

/// Longest table, in bytes.
const MAX_TABLE_BYTES: u64 = 8 << 20;

/// Something that the table has a name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Vendor(u16),
    Device(u16, u16),
    Subsystem(u16, u16, u16, u16),
    Class(u8),
    Subclass(u8, u8),
}

type Names = HashMap<Key, Fact<String>>;

/// Gives the controllers of an inventory their names, by the first table that can be read.
pub(super) fn describe(tables: &[PathBuf], inventory: &mut Inventory) {
    let lists = [&mut inventory.storage_controllers, &mut inventory.network_controllers];
    let mut devices: Vec<_> = lists.into_iter().filter_map(Fact::value_mut).flatten().collect();
    if devices.is_empty() {
        return;
    }
    let wanted = devices.iter().flat_map(|device| keys(device)).collect();
    let names = tables.iter().find_map(|path| look_up(path, &wanted).ok());
    for device in &mut devices {
        device.names = of(device, names.as_ref());
    }
}

fn keys(device: &PciDevice) -> [Key; 5] {
    let ids = device.ids;
    let (vendor, chip) = (ids.vendor.0, ids.device.0);
    let (class, subclass) = (device.class.base(), device.class.subclass());
    [
        Key::Vendor(vendor),
        Key::Device(vendor, chip),
        Key::Subsystem(vendor, chip, ids.subsystem_vendor.0, ids.subsystem_device.0),
        Key::Class(class),
        Key::Subclass(class, subclass),
    ]
}

fn of(device: &PciDevice, names: Option<&Names>) -> PciNames {
    let name = |key: &Key| match names {
        Some(names) => names.get(key).cloned().unwrap_or(Fact::unknown(UnknownReason::Missing)),
        None => Fact::unknown_for(UnknownReason::Missing, "no table of PCI ids can be read"),
    };
    let [vendor, chip, subsystem, class, subclass] = keys(device);
    PciNames {
        vendor: name(&vendor),
        device: name(&chip),
        subsystem: name(&subsystem),
        class: name(&subclass).or_else(|| name(&class)),
    }
}

/// The names of what is wanted.
fn look_up(table: &Path, wanted: &HashSet<Key>) -> io::Result<Names> {
    let mut table = BufReader::with_capacity(64 << 10, sysfs::open_regular(table)?.take(MAX_TABLE_BYTES));
    let mut names = Names::new();
    let mut place = Place::default();
    let mut line = Vec::new();
    while table.read_until(b'\n', &mut line)? != 0 {
        if let Some((key, name)) = place.next(&line, wanted) {
            names.insert(key, read::value(name));
        }
        line.clear();
    }
    Ok(names)
}

/// Where in the table a line stands: under the last ones that are indented less. Devices are under their vendor, cards under
/// their device; behind all vendors subclasses are under their class, which begins with `C`. What is not wanted has nothing
/// wanted under it, so that most lines are passed over at their first byte.
#[derive(Debug, Default)]
struct Place {
    top: Option<Key>,
    device: Option<Key>,
}

impl Place {
    /// What the next line names, if it is wanted.
    fn next<'a>(&mut self, line: &'a [u8], wanted: &HashSet<Key>) -> Option<(Key, &'a [u8])> {
        let key = match (line, self.top, self.device) {
            ([b'#' | b'\n', ..], _, _) | ([b'\t', ..], None, _) | ([b'\t', b'\t', ..], _, None) => return None,
            ([b'\t', b'\t', ids @ ..], _, Some(Key::Device(vendor, device))) => {
                let (subvendor, subdevice) = (hex(ids.get(..4)?)?, hex(ids.get(5..9)?)?);
                Key::Subsystem(vendor, device, subvendor, subdevice)
            }
            ([b'\t', ids @ ..], Some(Key::Vendor(vendor)), _) => Key::Device(vendor, hex(ids.get(..4)?)?),
            ([b'\t', ids @ ..], Some(Key::Class(class)), _) => Key::Subclass(class, hex_u8(ids.get(..2)?)?),
            ([b'C', b' ', ids @ ..], _, _) => Key::Class(hex_u8(ids.get(..2)?)?),
            (ids, _, _) => Key::Vendor(hex(ids.get(..4)?)?),
        };
        let found = wanted.contains(&key).then_some(key);
        match key {
            Key::Vendor(_) | Key::Class(_) => (self.top, self.device) = (found, None),
            Key::Device(..) | Key::Subclass(..) => self.device = found,
            Key::Subsystem(..) => (),
        }
        let name = line.windows(2).position(|pair| pair == b"  ")?;
        found.map(|key| (key, line.get(name..).unwrap_or_default()))
    }
}

fn hex(digits: &[u8]) -> Option<u16> {
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn hex_u8(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::{Key, look_up};

    fn names(table: &str, wanted: &[Key]) -> Vec<(Key, String)> {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), table).expect("write");
        let found = look_up(file.path(), &HashSet::from_iter(wanted.iter().copied())).expect("table");
        let name = |key: &Key| Some((*key, found.get(key)?.value()?.clone()));
        wanted.iter().filter_map(name).collect()
    }

    const TABLE: &str = "#\tcomment\n\n\
        1000  Broadcom\n\t0016  Tri-Mode\n\t\t19e5 d215  SR450C\n\t005d  Invader\n\t\t19e5 d215  Another\n\
        8086  Intel\n\t0016  Not LSI's\n\
        C 01  Mass storage\n\t04  RAID\n\t\t00  Interface\nC 02  Network\n\t04  ISDN";

    #[test]
    fn a_line_is_about_what_it_stands_under() {
        let wanted = [
            Key::Vendor(0x1000),
            Key::Device(0x1000, 0x16),
            Key::Subsystem(0x1000, 0x16, 0x19e5, 0xd215),
            Key::Class(2),
            Key::Subclass(2, 4),
        ];
        let expected = ["Broadcom", "Tri-Mode", "SR450C", "Network", "ISDN"].map(str::to_owned);
        assert_eq!(names(TABLE, &wanted), wanted.into_iter().zip(expected).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_in_the_table_has_no_name() {
        let wanted = [Key::Vendor(0x1000), Key::Device(0x1000, 0x17), Key::Subsystem(0x1000, 0x17, 0x19e5, 0xd215)];
        assert_eq!(names(TABLE, &wanted), [(Key::Vendor(0x1000), "Broadcom".to_owned())]);
        assert_eq!(names("\t\t\n1000\nzzzz  x\n\t\u{fffd}\n", &wanted), []);
        assert!(look_up(Path::new("/nowhere"), &HashSet::new()).is_err());
    }
}
