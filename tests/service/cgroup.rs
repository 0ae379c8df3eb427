//! A control group for each machine. Two that share one would share those of their services, and stop each other's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::eventually;

/// A group below that of the tests. Dropping it removes it with all that its machine made in it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Where systemd-nspawn makes the same group in the older hierarchy, where there are both.
    older: Option<PathBuf>,
}

impl Cgroup {
    pub(crate) fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let mount =
            |kind: &str| mounts.lines().find(|line| line.contains(kind)).and_then(|line| line.split(' ').nth(4));
        let own = fs::read_to_string("/proc/self/cgroup").expect("groups");
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("a group of version 2");
        let own = Path::new(own).join(format!("bms-agent-test-{}", uuid::Uuid::new_v4()));
        let path = Path::new(mount(" - cgroup2 ").expect("control groups of version 2")).join(&own);
        fs::create_dir(&path).expect("a group");
        Self { path, older: mount("name=systemd").map(|mount| Path::new(mount).join(&own)) }
    }

    /// The file that takes a process into it.
    pub(crate) fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel lets go of the last process in its own time.
        eventually("the control group is empty", || remove(&self.path) && self.older.as_deref().is_none_or(remove));
    }
}

fn remove(group: &Path) -> bool {
    let Ok(entries) = fs::read_dir(group) else { return !group.exists() };
    let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    // Counted, so that one that stays does not keep the others.
    let kept = below.filter(|entry| !remove(&entry.path())).count();
    kept == 0 && fs::remove_dir(group).is_ok()
}
