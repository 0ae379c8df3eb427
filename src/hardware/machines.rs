//! Servers as trees of sysfs and procfs in temporary directories, laid out as kernels lay them out. Tests only.
//!
//! [`catalogue`] has the servers that tests are about, [`Machine`] is what they are built with.

pub(crate) mod catalogue;
pub(crate) mod smbios;

use std::fmt::Write as _;
use std::path::Path;

use super::inventory::Inventory;
use super::survey::Survey;
use crate::disk::fixture::Fixture;

/// A few lines of a table of PCI ids.
const PCI_IDS: &str = "\
# A comment\n\n\
1000  Broadcom / LSI\n\
\t0016  MegaRAID Tri-Mode SAS3508\n\
\t\t19e5 d215  SR450C-M 4G\n\
\t005d  MegaRAID SAS-3 3108 [Invader]\n\
19e5  Huawei Technologies Co., Ltd.\n\
\t3714  ES3000 V5 NVMe PCIe SSD\n\
\t1822  Hi1822 Family (4*25GE)\n\
8086  Intel Corporation\n\
\t37d0  Ethernet Connection X722 for 10GbE SFP+\n\
C 01  Mass storage controller\n\
\t04  RAID bus controller\n\
\t08  Non-Volatile memory controller\n\
\t\t02  NVM Express\n\
C 02  Network controller\n\
\t00  Ethernet controller\n";

/// A server.
pub(crate) struct Machine {
    /// What tests call it.
    pub(crate) name: &'static str,
    /// Its files.
    pub(crate) fixture: Fixture,
    architecture: &'static str,
}

/// What a PCI device is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Card {
    /// Vendor and device, of the chip and of the card.
    pub(crate) ids: [u16; 4],
    /// Class, subclass and interface.
    pub(crate) class: u32,
    /// Its driver; none if none serves it.
    pub(crate) driver: Option<&'static str>,
}

/// The processors of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors {
    /// The first lines that `cpuinfo` has for each.
    pub(crate) info: &'static str,
    pub(crate) sockets: u32,
    pub(crate) cores_per_socket: u32,
    pub(crate) threads_per_core: u32,
}

impl Machine {
    /// A server of which nothing is known yet, but that its kernel knows PCI, the network and TPMs.
    pub(crate) fn new(name: &'static str, architecture: &'static str) -> Self {
        let machine = Self { name, fixture: Fixture::new(), architecture };
        for directory in ["bus/pci/devices", "bus/platform/devices", "class/net", "class/tpm", "firmware"] {
            std::fs::create_dir_all(machine.fixture.path("sys").join(directory)).expect("directory");
        }
        machine.fixture.write("usr/share/misc/pci.ids", PCI_IDS);
        machine
    }

    pub(crate) fn survey(&self) -> Survey {
        Survey::below(&self.fixture.path(""), self.architecture)
    }

    pub(crate) fn inventory(&self) -> Inventory {
        self.survey().take()
    }

    /// A file below `/sys`, with a line feed behind its content.
    pub(crate) fn attribute(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let mut content = value.as_ref().to_vec();
        content.push(b'\n');
        self.fixture.write(&format!("sys/{name}"), content);
        self
    }

    /// Puts a FIFO in the place of a file.
    pub(crate) fn fifo(self, name: &str) -> Self {
        let path = self.fixture.path(name);
        if path.exists() {
            std::fs::remove_file(&path).expect("file");
        }
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("mkfifo");
        self
    }

    /// Files of `class/dmi/id`.
    pub(crate) fn dmi(self, values: &[(&str, &str)]) -> Self {
        values.iter().fold(self, |machine, (name, value)| machine.attribute(&format!("class/dmi/id/{name}"), value))
    }

    /// The usual strings of a server: what every one has of its own follows from its serial number.
    pub(crate) fn product(self, vendor: &str, product: &str, board: &str, serial: &str) -> Self {
        self.dmi(&[
            ("sys_vendor", vendor),
            ("product_name", product),
            ("board_vendor", vendor),
            ("board_name", board),
            ("chassis_vendor", vendor),
            ("chassis_type", "23"),
            ("product_serial", serial),
            ("product_uuid", &format!("8a1f2c00-5d2e-11e9-8647-{serial:0>12}")),
            ("board_serial", &format!("B{serial}")),
            ("chassis_serial", "To be filled by O.E.M."),
            ("chassis_asset_tag", "Default string"),
        ])
    }

    pub(crate) fn processors(self, processors: Processors) -> Self {
        let Processors { info, sockets, cores_per_socket, threads_per_core } = processors;
        let cores = sockets * cores_per_socket;
        let mut cpuinfo = String::new();
        for cpu in 0..cores * threads_per_core {
            write!(cpuinfo, "processor\t: {cpu}\n{info}\n\n").expect("text");
            let core = cpu % cores;
            let siblings: Vec<_> = (0..threads_per_core).map(|thread| (core + thread * cores).to_string()).collect();
            let topology = |name: &str| format!("sys/devices/system/cpu/cpu{cpu}/topology/{name}");
            self.fixture.write(&topology("physical_package_id"), format!("{}\n", core / cores_per_socket));
            self.fixture.write(&topology("thread_siblings_list"), siblings.join(",") + "\n");
        }
        self.fixture.write("proc/cpuinfo", cpuinfo);
        // What is not a processor has a name like one.
        self.attribute("devices/system/cpu/cpufreq/boost", "1")
    }

    /// Memory: what the kernel may use, in KiB, and as many blocks of 128 MiB as are installed.
    pub(crate) fn memory(self, usable_kib: u64, blocks: u32) -> Self {
        self.fixture.write("proc/meminfo", format!("MemTotal:       {usable_kib} kB\nMemFree:        1024 kB\n"));
        let machine = self.attribute("devices/system/memory/block_size_bytes", "8000000");
        (0..blocks).fold(machine, |machine, block| {
            machine.attribute(&format!("devices/system/memory/memory{block}/state"), "online")
        })
    }

    /// The tables of the firmware.
    pub(crate) fn tables(self, structures: &[smbios::Structure]) -> Self {
        self.fixture.write("sys/firmware/dmi/tables/DMI", smbios::tables(structures));
        self
    }

    /// Started through UEFI, with the variables of Secure Boot.
    pub(crate) fn uefi(self, secure_boot: bool) -> Self {
        let variable = |name: &str| format!("sys/firmware/efi/efivars/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        self.fixture.write(&variable("SecureBoot"), [6, 0, 0, 0, u8::from(secure_boot)]);
        self.fixture.write(&variable("SetupMode"), [6, 0, 0, 0, 0]);
        self
    }

    /// A PCI device at the end of a path of bridges: `pci0000:3a/0000:3a:00.0/0000:3b:00.0`.
    pub(crate) fn card(self, path: &str, card: Card) -> Self {
        let bridges = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        let is_bus = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with("pci"));
        let bridges = bridges.filter(|path| !path.is_empty() && !is_bus(path));
        let bridge = Card { ids: [0x8086, 0x2030, 0, 0], class: 0x06_0400, driver: Some("pcieport") };
        let machine = bridges.fold(self, |machine, path| machine.pci_device(path, bridge));
        machine.pci_device(path, card)
    }

    fn pci_device(self, path: &str, card: Card) -> Self {
        let [vendor, device, subvendor, subdevice] = card.ids;
        let class = card.class.to_be_bytes();
        let modalias = format!(
            "pci:v{vendor:08X}d{device:08X}sv{subvendor:08X}sd{subdevice:08X}bc{:02X}sc{:02X}i{:02X}",
            class[1], class[2], class[3]
        );
        let directory = format!("devices/{path}");
        let address = path.rsplit('/').next().expect("address");
        let link = self.fixture.path(&format!("sys/bus/pci/devices/{address}"));
        if std::fs::symlink_metadata(&link).is_ok() {
            return self;
        }
        self.fixture.link(&format!("sys/bus/pci/devices/{address}"), &format!("../../../{directory}"));
        let machine =
            [("vendor", vendor), ("device", device), ("subsystem_vendor", subvendor), ("subsystem_device", subdevice)]
                .iter()
                .fold(self, |machine, (name, id)| {
                    machine.attribute(&format!("{directory}/{name}"), format!("0x{id:04x}"))
                });
        let machine = machine
            .attribute(&format!("{directory}/class"), format!("{:#08x}", card.class))
            .attribute(&format!("{directory}/modalias"), modalias)
            .attribute(&format!("{directory}/numa_node"), "0");
        machine.served(&directory, "pci", card.driver)
    }

    /// A device that hangs on another: its modalias, and who serves it.
    pub(crate) fn device(self, directory: &str, bus: &str, modalias: &str, driver: Option<&str>) -> Self {
        let directory = format!("devices/{directory}");
        self.attribute(&format!("{directory}/modalias"), modalias).served(&directory, bus, driver)
    }

    fn served(self, directory: &str, bus: &str, driver: Option<&str>) -> Self {
        let up = "../".repeat(directory.split('/').count());
        self.fixture.link(&format!("sys/{directory}/subsystem"), &format!("{up}bus/{bus}"));
        if let Some(driver) = driver {
            self.fixture.link(&format!("sys/{directory}/driver"), &format!("{up}bus/{bus}/drivers/{driver}"));
        }
        self
    }

    /// A SCSI disk: `host` is the directory of its host, with whatever is between it and the target.
    pub(crate) fn scsi_disk(self, host: &str, name: &str, model: &str, serial: &str) -> Self {
        let device = format!("{host}/0:0:0:0");
        let number = format!("8:{}", 16 * (name.bytes().last().expect("letter") - b'a'));
        let mut page = vec![0x00, 0x80, 0x00, u8::try_from(serial.len()).expect("short")];
        page.extend_from_slice(serial.as_bytes());
        self.fixture.device(&format!("{device}/block/{name}"), &number);
        self.fixture.link(&format!("sys/devices/{device}/block/{name}/device"), "../../../0:0:0:0");
        self.fixture.write(&format!("sys/devices/{device}/vpd_pg80"), page);
        self.attribute(&format!("devices/{device}/model"), model).device(&device, "scsi", "scsi:t-0x00", Some("sd"))
    }

    /// An NVMe disk, which is its controller's only one.
    pub(crate) fn nvme_disk(self, controller: &str, number: u32, serial: &str) -> Self {
        let device = format!("{controller}/nvme/nvme{number}");
        self.fixture.device(&format!("{device}/nvme{number}n1"), &format!("259:{number}"));
        self.fixture.link(&format!("sys/devices/{device}/nvme{number}n1/device"), &format!("../../nvme{number}"));
        self.fixture.link(&format!("sys/devices/{device}/subsystem"), "../../../../../../class/nvme");
        self.attribute(&format!("devices/{device}/serial"), serial)
            .attribute(&format!("devices/{device}/model"), "HWE52P431T6M002N")
            .attribute(&format!("devices/{device}/nvme{number}n1/wwid"), format!("eui.{serial:0>16}"))
    }

    /// A disk of virtio-blk.
    pub(crate) fn virtio_disk(self, card: &str, virtio: &str, name: &str, serial: &str) -> Self {
        let device = format!("{card}/{virtio}");
        self.fixture.device(&format!("{device}/block/{name}"), "254:0");
        self.fixture.link(&format!("sys/devices/{device}/block/{name}/device"), &format!("../../../{virtio}"));
        self.fixture.write(&format!("sys/devices/{device}/block/{name}/serial"), serial);
        self.device(&device, "virtio", "virtio:d00000002v00001AF4", Some("virtio_blk"))
    }

    /// A network interface with a link.
    pub(crate) fn nic(self, device: &str, name: &str, mac: &str) -> Self {
        let directory = format!("devices/{device}/net/{name}");
        self.fixture.link(&format!("sys/class/net/{name}"), &format!("../../{directory}"));
        let up = device.rsplit('/').next().expect("device");
        self.fixture.link(&format!("sys/{directory}/device"), &format!("../../../{up}"));
        [("address", mac), ("addr_assign_type", "0"), ("flags", "0x1003"), ("operstate", "up"), ("speed", "25000")]
            .iter()
            .fold(self, |machine, (attribute, value)| machine.attribute(&format!("{directory}/{attribute}"), value))
    }

    /// A BMC that the kernel talks to.
    pub(crate) fn bmc(self, firmware: &str) -> Self {
        self.fixture.link("sys/bus/platform/devices/ipmi_bmc.0", "../../../devices/platform/ipmi_bmc.0");
        self.attribute("devices/platform/ipmi_bmc.0/firmware_revision", firmware)
            .attribute("devices/platform/ipmi_bmc.0/ipmi_version", "2.0")
    }
}
