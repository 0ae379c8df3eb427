//! Services that are started by the scripts of System V, or by jobs of upstart.

use std::collections::BTreeMap;

use super::text::{self, FactError, shown};
use super::units::State;
use crate::inspect::root::Root;

/// Where scripts are.
const SCRIPTS: [&str; 2] = ["etc/init.d", "etc/rc.d/init.d"];
/// Where directories of run levels are.
const LEVELS: [&str; 3] = ["etc", "etc/rc.d", "etc/init.d"];
/// Directories of links that start a service at boot.
const DIRECTORIES: [&str; 6] = ["rc2.d", "rc3.d", "rc4.d", "rc5.d", "rcS.d", "boot.d"];
const JOBS: &str = "etc/init";

/// Scripts and jobs of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scripts {
    scripts: BTreeMap<String, String>,
    /// Links that start a script, by its name.
    started: BTreeMap<String, String>,
    /// Jobs of upstart: file, and whether they start only by hand.
    jobs: BTreeMap<String, (String, bool)>,
}

impl Scripts {
    /// The scripts and jobs of an image.
    ///
    /// # Errors
    /// [`FactError`], if a directory or a job cannot be read.
    pub fn read(root: &Root<'_>) -> Result<Self, FactError> {
        let mut scripts = Self::default();
        for directory in SCRIPTS {
            for name in text::names(root, directory, |_| true)? {
                let path = shown(&format!("{directory}/{name}"));
                scripts.scripts.entry(name).or_insert(path);
            }
        }
        for level in LEVELS.iter().flat_map(|level| DIRECTORIES.map(|directory| format!("{level}/{directory}"))) {
            for link in text::names(root, &level, |_| true)? {
                if let Some(name) = started_by(&link) {
                    scripts.started.entry(name.to_owned()).or_insert_with(|| shown(&format!("{level}/{link}")));
                }
            }
        }
        scripts.read_jobs(root)?;
        Ok(scripts)
    }

    fn read_jobs(&mut self, root: &Root<'_>) -> Result<(), FactError> {
        for name in text::names(root, JOBS, |name| name.ends_with(".conf"))? {
            let job = name.trim_end_matches(".conf").to_owned();
            let path = format!("{JOBS}/{name}");
            let own = text::read(root, &path)?.unwrap_or_default();
            let over = text::read(root, &format!("{JOBS}/{job}.override"))?.unwrap_or_default();
            self.jobs.insert(job, (shown(&path), is_manual(&own, &over)));
        }
        Ok(())
    }

    /// Whether a script is started.
    pub fn script(&self, name: &str) -> State {
        match (self.scripts.get(name), self.started.get(name)) {
            (None, _) => State::Absent,
            (Some(path), None) => State::Disabled { path: path.clone(), idle: None },
            (Some(path), Some(by)) => State::Enabled { path: path.clone(), by: by.clone() },
        }
    }

    /// Whether a job is started.
    pub fn job(&self, name: &str) -> State {
        match self.jobs.get(name) {
            None => State::Absent,
            Some((path, true)) => State::Disabled { path: path.clone(), idle: None },
            Some((path, false)) => State::Enabled { path: path.clone(), by: path.clone() },
        }
    }
}

/// The script that a link of a run level starts.
pub(in crate::inspect) fn started_by(link: &str) -> Option<&str> {
    let rest = link.strip_prefix('S')?;
    let name = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
    (rest.len() == name.len() + 2 && !name.is_empty()).then_some(name)
}

/// Whether a job starts only by hand: `manual` counts until the next `start on`.
fn is_manual(own: &str, over: &str) -> bool {
    let mut manual = true;
    for line in own.lines().chain(over.lines()).map(str::trim) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("manual"), None) => manual = true,
            (Some("start"), Some("on")) => manual = false,
            _ => (),
        }
    }
    manual
}

#[cfg(test)]
mod tests {
    use super::{is_manual, started_by};

    #[test]
    fn only_start_links_start() {
        assert_eq!(started_by("S99bms-network-config"), Some("bms-network-config"));
        for link in ["K99bms", "S9bms", "S123bms", "S99", "bms", ""] {
            assert_eq!(started_by(link), None, "{link}");
        }
    }

    #[test]
    fn a_job_without_an_event_or_with_manual_after_it_is_manual() {
        assert!(!is_manual("start on runlevel [2345]\n", ""));
        assert!(is_manual("start on x\n", "manual\n"));
        assert!(is_manual("exec /bin/x\n", ""));
        assert!(!is_manual("manual\nstart on x\n", ""));
    }
}
