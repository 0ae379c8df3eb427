//! Services by name, whatever starts them: systemd, upstart or System V.

use serde::{Deserialize, Serialize};

use super::sysv::Scripts;
use super::text::{FactError, unreadable};
use super::units::{State, Units};
use crate::inspect::root::Root;

/// What starts services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// systemd, which starts scripts of System V as well.
    Systemd,
    /// upstart, which starts scripts of System V as well.
    Upstart,
    /// Scripts of System V alone.
    Sysv,
}

/// The services of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// What starts them.
    pub init: Init,
    /// Units of systemd.
    pub units: Units,
    /// Scripts and jobs.
    pub scripts: Scripts,
}

const SYSTEMD: [&str; 2] = ["usr/lib/systemd/systemd", "lib/systemd/systemd"];
const UPSTART: [&str; 2] = ["etc/init/rc-sysinit.conf", "etc/init/rcS.conf"];

impl Services {
    /// The services of an image.
    ///
    /// # Errors
    /// [`FactError`], if what says so cannot be read.
    pub fn read(root: &Root<'_>) -> Result<Self, FactError> {
        Ok(Self { init: init(root)?, units: Units::read(root)?, scripts: Scripts::read(root)? })
    }

    /// Whether a service is started, by its name without a suffix.
    pub fn state(&self, name: &str) -> State {
        match self.init {
            Init::Systemd => first_present(self.units.state(&format!("{name}.service")), || self.scripts.script(name)),
            Init::Upstart => first_present(self.scripts.job(name), || self.scripts.script(name)),
            Init::Sysv => self.scripts.script(name),
        }
    }
}

/// A unit or a job hides the script of the same name.
fn first_present(first: State, second: impl FnOnce() -> State) -> State {
    if first == State::Absent { second() } else { first }
}

fn init(root: &Root<'_>) -> Result<Init, FactError> {
    let any = |paths: &[&str]| -> Result<bool, FactError> {
        for path in paths {
            if root.find(path).map_err(unreadable(path))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    // Ubuntu 14.04 has parts of systemd, but starts with upstart.
    let real = root.find("sbin/init").map_err(unreadable("sbin/init"))?.map(|found| found.path);
    if real.is_some_and(|path| path.ends_with("/systemd")) {
        return Ok(Init::Systemd);
    }
    Ok(match (any(&UPSTART)?, any(&SYSTEMD)?) {
        (true, _) => Init::Upstart,
        (false, true) => Init::Systemd,
        (false, false) => Init::Sysv,
    })
}
