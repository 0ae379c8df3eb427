//! The service when it is told to stop in the middle of an install.

use std::time::{Duration, Instant};

use crate::disk::LoopDisk;
use crate::life::{ends_well, half_installed};

/// TimeoutStopSec= of the unit.
const STOPPED_WITHIN: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs root, loop devices, systemd-nspawn and its tree: tests/run.sh"]
fn a_stop_in_an_install_leaves_a_disk_that_says_so_and_an_install_that_goes_on() {
    let disk = LoopDisk::new(40 << 20);
    let (machine, gate, root) = half_installed(&disk, "drain_seconds = 1", "");
    let begin = Instant::now();
    machine.run(&["systemctl", "stop", "bms-agent"]);
    assert!(begin.elapsed() < STOPPED_WITHIN, "{:?}", begin.elapsed());
    // Killed by systemd, it would be "timeout".
    assert_eq!((machine.show("Result"), machine.show("ExecMainStatus")), ("success".into(), "0".into()));
    assert!(machine.journal().contains("stopping; waiting for operations to end"), "{}", machine.journal());
    assert!(disk.is_marked(), "the disk does not say that its install was interrupted");
    assert_ne!(disk.root(32 << 20), root);

    machine.run(&["systemctl", "start", "bms-agent"]);
    gate.open();
    ends_well(&machine, &disk, &root);
}
