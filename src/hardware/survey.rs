//! Taking stock of a server: one look at what the kernel and the firmware show as files.
//!
//! Nothing here waits for a device. Small files of the kernel are read without blocking; what makes the kernel ask a
//! device, and the LLDP daemon, are asked on threads of their own and given up in time. What cannot be read costs itself.

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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use lldp::LldpClient;

use super::fact::Fact;
use super::inventory::{BlockDevice, Bmc, Dimm, Inventory, Nic, SCHEMA};
use super::{dmi, generation};
use crate::disk::discovery::Disk;
use crate::disk::roots::Roots;
use question::Question;

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
    questions: Arc<Mutex<Questions>>,
}

/// What is asked of devices and daemons.
#[derive(Debug, Default)]
struct Questions {
    bmcs: Question<Fact<Vec<Bmc>>>,
    nics: Question<Fact<Vec<Nic>>>,
    neighbours: Question<Vec<u8>>,
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

    /// Takes stock. Surveys that share their questions wait for each other.
    ///
    /// # Blocking
    /// Reads sysfs and procfs, and waits half a second at most for what does not answer.
    #[must_use]
    pub fn take(&self) -> Inventory {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let Questions { bmcs, nics, neighbours } = &mut *questions;
        let deadline = Instant::now() + PATIENCE;
        let tables = smbios::read(&self.roots);
        let bmcs = bmcs.ask({
            let (roots, is_named) = (self.roots.clone(), tables.has_bmc);
            move || bmc::read(&roots, is_named)
        });
        let nics = nics.ask({
            let roots = self.roots.clone();
            move || nics::read(&roots)
        });
        let neighbours = self.lldp.as_ref().map(|client| client.ask(neighbours));
        let mut inventory = self.read(tables.cpu_model, tables.dimms);
        inventory.bmcs = bmcs.wait(deadline).flatten();
        inventory.nics = nics.wait(deadline).flatten();
        if let Some(neighbours) = neighbours.map(|hearing| hearing.wait(deadline)) {
            lldp::introduce(&mut inventory.nics, &neighbours);
        }
        bound::bound(&mut inventory);
        inventory.generation = generation::of(&inventory);
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

    /// What takes no waiting.
    fn read(&self, cpu_model: Fact<String>, dimms: Fact<Vec<Dimm>>) -> Inventory {
        let dmi = dmi::Dmi::read(&self.roots);
        let mut inventory = Inventory {
            schema: SCHEMA,
            system: dmi.system,
            board: dmi.board,
            chassis: dmi.chassis,
            bios: dmi.bios,
            serials: dmi::serials(&self.roots),
            cpu: cpu::read(&self.roots, self.architecture, cpu_model),
            memory: memory::read(&self.roots, dimms),
            firmware: firmware::read(&self.roots),
            tpms: firmware::tpms(&self.roots),
            disks: disks::read(&self.roots),
            storage_controllers: pci::read(&self.roots, pci::STORAGE),
            network_controllers: pci::read(&self.roots, pci::NETWORK),
            ..Inventory::default()
        };
        names::describe(&self.pci_ids, &mut inventory);
        inventory
    }
}

#[cfg(test)]
mod tests;
