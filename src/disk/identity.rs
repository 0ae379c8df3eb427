//! What a disk is called and how it is attached: the facts that tell one disk from another.
//!
//! Serial numbers and world-wide names are text that the disk chose. They are cleaned, and placeholders - all zeroes,
//! `unknown`, what a vendor forgot to fill in - are dropped here, so that they can never pass for an identity.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::sysfs;

/// Longest serial, world-wide name or model, in characters. NVMe has 40, SCSI some more.
const MAX_NAME_CHARS: usize = 256;
/// Bytes before the serial in a SCSI unit serial number page (VPD 0x80).
const VPD_HEADER_BYTES: usize = 4;
/// Serials that no disk has; compared in lower case.
const PLACEHOLDERS: [&str; 9] =
    ["none", "null", "unknown", "default", "n/a", "na", "not specified", "to be filled by o.e.m.", "serial number"];

/// Major and minor number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device of the driver.
    pub minor: u32,
}

impl DeviceNumber {
    /// The number in `st_rdev` of a device node, or in `st_dev` of a file.
    #[expect(clippy::cast_possible_truncation, reason = "both numbers have at most 32 bits")]
    pub const fn from_raw(dev: u64) -> Self {
        Self { major: nix::sys::stat::major(dev) as u32, minor: nix::sys::stat::minor(dev) as u32 }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A text that is no device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device number is written MAJOR:MINOR")]
pub struct DeviceNumberInvalid;

impl FromStr for DeviceNumber {
    type Err = DeviceNumberInvalid;

    fn from_str(text: &str) -> Result<Self, DeviceNumberInvalid> {
        let (major, minor) = text.split_once(':').ok_or(DeviceNumberInvalid)?;
        let number = |part: &str| part.parse().ok().ok_or(DeviceNumberInvalid);
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// NVMe over PCIe or fabrics.
    Nvme,
    /// SATA or PATA.
    Ata,
    /// Serial attached SCSI.
    Sas,
    /// SCSI through a controller that names no other transport.
    Scsi,
    /// virtio-blk.
    Virtio,
    /// USB.
    Usb,
    /// iSCSI.
    Iscsi,
    /// Fibre Channel.
    Fc,
    /// SD card or eMMC.
    Mmc,
    /// A loop device.
    Loop,
    /// Nothing says how, or in a word that this version of the program does not have.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Transport {
    /// Every transport that a disk can be selected by.
    pub const KNOWN: [Self; 10] = [
        Self::Nvme,
        Self::Ata,
        Self::Sas,
        Self::Scsi,
        Self::Virtio,
        Self::Usb,
        Self::Iscsi,
        Self::Fc,
        Self::Mmc,
        Self::Loop,
    ];

    /// Its name: `nvme`, `sas`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Nvme => "nvme",
            Self::Ata => "ata",
            Self::Sas => "sas",
            Self::Scsi => "scsi",
            Self::Virtio => "virtio",
            Self::Usb => "usb",
            Self::Iscsi => "iscsi",
            Self::Fc => "fc",
            Self::Mmc => "mmc",
            Self::Loop => "loop",
        }
    }

    /// The transport with this name, in either case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::KNOWN.into_iter().find(|transport| transport.name().eq_ignore_ascii_case(name))
    }

    /// Reads it off the place of a disk in the tree of devices.
    ///
    /// `device_path` is the disk's canonical directory below `/sys`, `subsystem` that of the device under the disk.
    /// What is nearer to the cable comes first: a USB bridge shows SCSI as well, and a SATA disk behind a SAS
    /// controller is on SAS.
    pub(super) fn of(device_path: &Path, subsystem: Option<&str>) -> Self {
        let on = |prefix: &str| device_path.iter().filter_map(|part| part.to_str()).any(|part| numbered(part, prefix));
        if on("loop") {
            Self::Loop
        } else if on("usb") {
            Self::Usb
        } else if on("session") {
            Self::Iscsi
        } else if on("rport-") {
            Self::Fc
        } else if on("end_device-") {
            Self::Sas
        } else if on("ata") || on("ide") {
            Self::Ata
        } else if on("nvme") || on("nvme-subsys") {
            Self::Nvme
        } else {
            match subsystem {
                Some("scsi") => Self::Scsi,
                Some("virtio") => Self::Virtio,
                Some("mmc") => Self::Mmc,
                Some(_) | None => Self::Unknown,
            }
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether `part` is `prefix` with a number behind it: `ata3`, `rport-2:0-1`; not `attached`.
fn numbered(part: &str, prefix: &str) -> bool {
    part.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// What tells a disk from every other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Serial number.
    pub serial: Option<String>,
    /// World-wide name with its prefix: `naa.`, `eui.`, `uuid.`, `t10.`, `nvme.`.
    pub wwn: Option<String>,
    /// File behind a loop device.
    pub backing_file: Option<String>,
    /// Disk sequence number: never used twice until the next boot. Absent before Linux 5.15.
    pub diskseq: Option<u64>,
}

impl Identity {
    /// Reads the identity of the disk whose directory in sysfs is `disk`.
    pub(super) fn read(disk: &Path) -> Self {
        let serial = ["device/serial", "serial"]
            .iter()
            .find_map(|name| serial_from(&sysfs::bytes(&disk.join(name))?))
            .or_else(|| serial_from(vpd_serial(&sysfs::bytes(&disk.join("device/vpd_pg80"))?)?));
        let wwn =
            ["wwid", "device/wwid"].iter().find_map(|name| wwn_from(sysfs::text(&disk.join(name))?, serial.is_some()));
        Self {
            serial,
            wwn,
            backing_file: sysfs::text(&disk.join("loop/backing_file")),
            diskseq: sysfs::number(&disk.join("diskseq")).filter(|&diskseq| diskseq != 0),
        }
    }

    /// Whether there is anything to tell the disk by, over a change of its kernel name.
    ///
    /// A loop device is told by its file together with its sequence number, any other disk by serial or WWN.
    pub const fn is_present(&self) -> bool {
        self.serial.is_some() || self.wwn.is_some() || (self.backing_file.is_some() && self.diskseq.is_some())
    }

    /// What both identities claim to be, if they cannot be told apart.
    ///
    /// The strongest name that a disk has must be its own: the WWN, without one the serial. Namespaces of one NVMe
    /// controller share a serial and differ in the WWN; two paths to one volume share both. Two loop devices on one file are
    /// one disk.
    pub(super) fn clash(&self, other: &Self) -> Option<String> {
        let same = |mine: &Option<String>, other: &Option<String>| mine.is_some() && mine == other;
        let name = |what: &str, value: &Option<String>| Some(format!("{what} {}", value.as_deref()?));
        if same(&self.wwn, &other.wwn) {
            return name("WWN", &self.wwn);
        }
        if same(&self.backing_file, &other.backing_file) {
            return name("backing file", &self.backing_file);
        }
        let told_by_wwn = self.wwn.is_some() && other.wwn.is_some();
        if !told_by_wwn && same(&self.serial, &other.serial) {
            return name("serial", &self.serial);
        }
        None
    }
}

/// The serial in a unit serial number page. A page that is shorter than it says gives what it has.
fn vpd_serial(page: &[u8]) -> Option<&[u8]> {
    let (header, body) = page.split_at_checked(VPD_HEADER_BYTES)?;
    let [_, 0x80, high, low] = header else { return None };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    Some(&body[..len.min(body.len())])
}

fn serial_from(raw: &[u8]) -> Option<String> {
    sysfs::clean(raw).and_then(short).filter(|serial| !is_placeholder(serial))
}

/// A world-wide name, if it is one: not all zeroes, and not made by the kernel of a serial that there is not.
fn wwn_from(wwid: String, has_serial: bool) -> Option<String> {
    let made_of_serial = wwid.starts_with("nvme.") || wwid.starts_with("t10.ATA");
    let value = wwid.split_once('.').map_or(wwid.as_str(), |(_, value)| value);
    let placeholder = is_placeholder(value) || (made_of_serial && !has_serial);
    if placeholder { None } else { short(wwid) }
}

/// The model, as the disk calls itself.
pub(super) fn model(disk: &Path) -> Option<String> {
    ["device/model", "device/name"].iter().find_map(|name| sysfs::text(&disk.join(name)).and_then(short))
}

/// A name that is no longer than a name may be. A cut one could equal another's.
fn short(name: String) -> Option<String> {
    (name.chars().count() <= MAX_NAME_CHARS).then_some(name)
}

fn is_placeholder(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let digits = lower.strip_prefix("0x").unwrap_or(&lower);
    let all = |digit: u8| digits.bytes().all(|byte| byte == digit || b"-. ".contains(&byte));
    all(b'0') || all(b'f') || PLACEHOLDERS.contains(&lower.as_str())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{DeviceNumber, Identity, Transport, is_placeholder, serial_from, vpd_serial, wwn_from};

    #[test]
    fn device_numbers_are_read_and_written() {
        let number: DeviceNumber = "259:1048575".parse().expect("valid");
        assert_eq!(number, DeviceNumber { major: 259, minor: 1_048_575 });
        assert_eq!(number.to_string(), "259:1048575");
        assert_eq!(DeviceNumber::from_raw(nix::sys::stat::makedev(259, 1_048_575)), number);
        for text in ["", "8", "8:", ":0", "8:0:1", "a:b", "-1:0", "4294967296:0"] {
            assert!(text.parse::<DeviceNumber>().is_err(), "{text}");
        }
    }

    #[test]
    fn transport_is_read_off_the_device_path() {
        let pci = "devices/pci0000:00/0000:00:17.0";
        for (path, subsystem, expected) in [
            ("nvme/nvme0/nvme0n1", Some("nvme"), Transport::Nvme),
            ("../../virtual/nvme-subsystem/nvme-subsys0/nvme0n1", Some("nvme-subsystem"), Transport::Nvme),
            ("ata1/host0/target0:0:0/0:0:0:0/block/sda", Some("scsi"), Transport::Ata),
            ("host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0/block/sda", Some("scsi"), Transport::Sas),
            ("host0/target0:2:0/0:2:0:0/block/sda", Some("scsi"), Transport::Scsi),
            ("virtio0/host2/target2:0:0/2:0:0:0/block/sdb", Some("scsi"), Transport::Scsi),
            ("virtio1/block/vda", Some("virtio"), Transport::Virtio),
            ("usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdc", Some("scsi"), Transport::Usb),
            ("host3/session1/target3:0:0/3:0:0:1/block/sdd", Some("scsi"), Transport::Iscsi),
            ("host1/rport-1:0-2/target1:0:2/1:0:2:0/block/sde", Some("scsi"), Transport::Fc),
            ("mmc_host/mmc0/mmc0:0001/block/mmcblk0", Some("mmc"), Transport::Mmc),
            ("virtual/block/loop0", None, Transport::Loop),
            ("attached/usbish/block/xda", Some("weird"), Transport::Unknown),
        ] {
            assert_eq!(Transport::of(&Path::new(pci).join(path), subsystem), expected, "{path}");
        }
    }

    #[test]
    fn every_transport_is_found_by_its_name() {
        for transport in Transport::KNOWN {
            assert_eq!(Transport::from_name(&transport.name().to_uppercase()), Some(transport));
        }
        assert_eq!(Transport::from_name("unknown"), None);
    }

    #[test]
    fn a_serial_page_is_never_read_beyond_its_end() {
        assert_eq!(vpd_serial(b"\x00\x80\x00\x05 S3XXtail"), Some(&b" S3XX"[..]));
        assert_eq!(vpd_serial(b"\x00\x80\xff\xffS3"), Some(&b"S3"[..]));
        for page in [&b""[..], b"\x00\x80\x00", b"\x00\x83\x00\x02S3"] {
            assert_eq!(vpd_serial(page), None);
        }
    }

    #[test]
    fn placeholders_are_no_identity() {
        for name in ["", "0", "0000 0000", "00-00", "0x0000", "ffffffffffffffff", "UNKNOWN", "To Be Filled By O.E.M."] {
            assert!(is_placeholder(name), "{name}");
        }
        assert!(!is_placeholder("0000000000000001"));
        assert_eq!(serial_from(b"  S4GENX0N \0"), Some("S4GENX0N".to_owned()));
        assert_eq!(serial_from(&[b'S'; 257]), None);
        for wwid in ["naa.0000000000000000", "eui.0000000000000000", "uuid.00000000-0000-0000-0000-000000000000"] {
            assert_eq!(wwn_from(wwid.to_owned(), true), None, "{wwid}");
        }
    }

    #[test]
    fn a_name_that_the_kernel_made_of_no_serial_is_none() {
        let made = "nvme.1b36-00000000-51454d55-00000001";
        assert_eq!(wwn_from(made.to_owned(), false), None);
        assert_eq!(wwn_from(made.to_owned(), true).as_deref(), Some(made));
        assert_eq!(wwn_from("t10.ATA     QEMU HARDDISK".to_owned(), false), None);
    }

    #[test]
    fn disks_clash_by_the_strongest_name_they_have() {
        let disk = |serial: Option<&str>, wwn: Option<&str>| Identity {
            serial: serial.map(str::to_owned),
            wwn: wwn.map(str::to_owned),
            ..Identity::default()
        };
        assert!(disk(Some("S1"), Some("eui.1")).clash(&disk(Some("S1"), Some("eui.2"))).is_none(), "namespaces");
        assert!(disk(Some("S1"), None).clash(&disk(Some("S2"), None)).is_none());
        assert!(disk(None, None).clash(&disk(None, None)).is_none());
        assert_eq!(disk(Some("S1"), None).clash(&disk(Some("S1"), Some("eui.1"))).as_deref(), Some("serial S1"));
        assert_eq!(disk(Some("S1"), Some("eui.1")).clash(&disk(Some("S1"), None)).as_deref(), Some("serial S1"));
        assert_eq!(
            disk(Some("S1"), Some("eui.1")).clash(&disk(Some("S2"), Some("eui.1"))).as_deref(),
            Some("WWN eui.1")
        );
    }
}
