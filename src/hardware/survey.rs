//! Taking stock of a server: one look at what the kernel and the firmware show as files.
//!
//! Nothing here waits for a device. Small files of the kernel are read without blocking; what makes the kernel ask a
//! device or the firmware, and the LLDP daemon, are asked on threads of their own and given up in time. What cannot be
//! read costs itself.

mod bmc;
pub(crate) mod bound;
mod chain;
mod cpu;
mod disks;
mod firmware;
mod lldp;
mod memory;
mod names;
mod nics;
mod pci;
mod question;
mod smbios;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use lldp::LldpClient;

use super::fact::Fact;
use super::inventory::{BlockDevice, Bmc, Firmware, Inventory, SCHEMA, SecureBoot};
use super::{dmi, generation};
use crate::disk::discovery::Disk;
use crate::disk::roots::Roots;
use lldp::Neighbours;
use nics::Speeds;
use question::{Asked, Question};
use smbios::Tables;

/// How long devices and daemons may take for their answers. A BMC that is well takes some tens of milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where to look. Clones share what is still unanswered, so that a device that hangs costs one thread, not one a survey.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Where the kernel shows itself.
    pub roots: Roots,
    /// The processors' architecture, as `uname -m` calls it.
    pub architecture: &'static str,
    /// Where a table of PCI ids may be; the first that is there counts.
    pub pci_ids: Vec<PathBuf>,
    /// Who knows the neighbours of network interfaces; none asks nobody.
    pub lldp: Option<LldpClient>,
    questions: Arc<Questions>,
}

/// What is asked of the firmware, of devices and of daemons.
#[derive(Debug, Default)]
struct Questions {
    secure_boot: Question<SecureBoot>,
    bmcs: Question<Vec<Bmc>>,
    speeds: Question<Speeds>,
    neighbours: Question<Neighbours>,
}

impl Survey {
    /// A survey of this server.
    pub fn new(roots: Roots) -> Self {
        let pci_ids = ["/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids"].map(PathBuf::from);
        Self {
            roots,
            architecture: std::env::consts::ARCH,
            pci_ids: pci_ids.into(),
            lldp: Some(LldpClient::default()),
            questions: Arc::default(),
        }
    }

    /// A survey of what is below a directory, and of nothing else.
    pub fn below(root: &Path, architecture: &'static str) -> Self {
        let pci_ids = vec![root.join("usr/share/misc/pci.ids")];
        Self { roots: Roots::below(root), architecture, pci_ids, lldp: None, questions: Arc::default() }
    }

    /// Takes stock.
    ///
    /// # Blocking
    /// Reads sysfs and procfs, and waits half a second at most for what does not answer.
    #[must_use]
    pub fn take(&self) -> Inventory {
        let deadline = Instant::now() + PATIENCE;
        let tables = smbios::read(&self.roots);
        let (bmcs, speeds, neighbours) = self.ask(tables.has_bmc.clone());
        let mut inventory = self.read(tables, deadline);
        names::describe(&self.pci_ids, &mut inventory);
        inventory.bmcs = bmcs.wait(deadline);
        nics::tell_speeds(&mut inventory.nics, &speeds.wait(deadline));
        if let Some(neighbours) = neighbours {
            lldp::introduce(&mut inventory.nics, &neighbours.wait(deadline));
        }
        bound::bound(&mut inventory);
        inventory.generation = generation::of(&inventory);
        inventory
    }

    /// Takes stock of what a gate compares. It asks no device and no daemon, and the firmware for Secure Boot alone: BMCs,
    /// speeds, neighbours, names of PCI ids and the generation are not reported.
    ///
    /// # Blocking
    /// Reads sysfs and procfs. A firmware that does not answer costs the first survey half a second, and later ones nothing.
    #[must_use]
    pub fn take_for_gate(&self) -> Inventory {
        let mut inventory = self.read(smbios::read(&self.roots), Instant::now() + PATIENCE);
        bound::bound(&mut inventory);
        inventory
    }

    /// A disk that discovery found, as it stands in an inventory; loop devices, which stand in none, too.
    ///
    /// # Blocking
    /// Reads sysfs.
    #[must_use]
    pub fn disk(&self, disk: Disk) -> BlockDevice {
        disks::block_device(&self.roots, disk)
    }

    /// Begins to ask devices and daemons.
    fn ask(&self, is_bmc_named: Fact<bool>) -> (Asked<Vec<Bmc>>, Asked<Speeds>, Option<Asked<Neighbours>>) {
        let Questions { bmcs, speeds, neighbours, .. } = &*self.questions;
        let bmcs = bmcs.ask({
            let roots = self.roots.clone();
            move || bmc::read(&roots, is_bmc_named)
        });
        let speeds = speeds.ask({
            let roots = self.roots.clone();
            move || nics::speeds(&roots)
        });
        let client = self.lldp.clone();
        (bmcs, speeds, client.map(|client| neighbours.ask(move || client.ask())))
    }

    /// What takes no waiting, but for Secure Boot.
    fn read(&self, tables: Tables, deadline: Instant) -> Inventory {
        let secure_boot = self.questions.secure_boot.ask({
            let roots = self.roots.clone();
            move || firmware::secure_boot(&roots)
        });
        let dmi = dmi::Dmi::read(&self.roots);
        Inventory {
            schema: SCHEMA,
            system: dmi.system,
            board: dmi.board,
            chassis: dmi.chassis,
            bios: dmi.bios,
            serials: dmi::serials(&self.roots),
            cpu: cpu::read(&self.roots, self.architecture, tables.cpu_model),
            memory: memory::read(&self.roots, tables.dimms, tables.main_memory_bytes),
            tpms: firmware::tpms(&self.roots),
            disks: disks::read(&self.roots),
            storage_controllers: pci::read(&self.roots, pci::STORAGE),
            network_controllers: pci::read(&self.roots, pci::NETWORK),
            nics: nics::read(&self.roots),
            firmware: Firmware { boot_mode: firmware::boot_mode(&self.roots), secure_boot: secure_boot.wait(deadline) },
            ..Inventory::default()
        }
    }
}

#[cfg(test)]
mod tests;
