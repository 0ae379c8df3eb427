//! Disks that the unit does not allow: the agent sees them, says why it cannot have them, and plans nothing with them.

use crate::disk::LoopDisk;
use crate::machine::{Machine, Network};
use crate::package::Package;

#[test]
#[ignore = "needs root, loop devices, systemd-nspawn and its tree: tests/run.sh"]
fn a_disk_that_the_unit_does_not_allow_is_listed_with_the_reason_and_refused() {
    let disk = LoopDisk::new(24 << 20);
    let machine = Machine::boot(Network::Own, &[&disk]);
    machine.install(&Package::first());
    machine.write("/etc/bms-agent/config.toml", "allow_loop_devices = true\n");
    machine.run(&["systemctl", "start", "bms-agent"]);
    let list = machine.bmsctl(&["disk", "list"]).to_string();
    assert!(list.contains("DISK_FORBIDDEN"), "{list}");
    machine.write("/root/image.raw", vec![7; 1 << 20]);
    let install = ["install", "--image", "/root/image.raw", "--disk", &disk.selector(), "--yes"];
    let refused = machine.command(&[&["bmsctl", "--output", "json"], &install[..]].concat());
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stdout) + String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("DISK_FORBIDDEN") && said.contains("DeviceAllow="), "{said}");

    machine.drop_in("loop", "[Service]\nDeviceAllow=block-loop rw\n");
    machine.run(&["systemctl", "restart", "bms-agent"]);
    machine.bmsctl(&install);
}
