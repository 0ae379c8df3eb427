//! `disk list`, and `install --plan`

use bms_agent::rpc::proto::v1;
use serde::Serialize;

use super::compatibility::{JudgedView, judged};
use super::{enum_name, non_empty};
use crate::format::hex;

/// A disk.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DiskView {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) logical_block_size_bytes: u32,
    pub(crate) physical_block_size_bytes: u32,
    pub(crate) serial: Option<String>,
    pub(crate) wwn: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) transport: Option<String>,
    pub(crate) rotational: bool,
    pub(crate) read_only: bool,
    pub(crate) removable: bool,
    pub(crate) diskseq: u64,
    pub(crate) by_path: Vec<String>,
    pub(crate) backing_file: Option<String>,
    /// `gpt`, `mbr`, or null.
    pub(crate) partition_table: Option<String>,
    pub(crate) partitions: Vec<PartitionView>,
    /// Everything that keeps an install from the disk.
    pub(crate) refusals: Vec<RefusalView>,
    pub(crate) interrupted_install: Option<InterruptedInstallView>,
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PartitionView {
    pub(crate) number: u32,
    pub(crate) offset_bytes: u64,
    pub(crate) size_bytes: u64,
    pub(crate) label: Option<String>,
    pub(crate) r#type: String,
}

/// Why a disk may not be written.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RefusalView {
    pub(crate) reason: String,
    pub(crate) detail: String,
}

/// An install that has not ended well.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InterruptedInstallView {
    pub(crate) operation: String,
    pub(crate) image_size_bytes: u64,
    pub(crate) group_size_bytes: u64,
    pub(crate) root: Option<String>,
    /// Null if it was killed, or is running.
    pub(crate) reason: Option<String>,
    pub(crate) started_at: Option<String>,
}

/// What an install would do.
#[derive(Debug, Serialize)]
pub(crate) struct PlanView {
    pub(crate) disk: DiskView,
    pub(crate) image_bytes: u64,
    /// Bytes beyond the image that keep their old content.
    pub(crate) kept_bytes: u64,
    /// Bytes beyond the image that will be zeroed.
    pub(crate) wiped_bytes: u64,
    pub(crate) in_place: bool,
    /// Null if the image is pushed.
    pub(crate) image_id: Option<String>,
    pub(crate) image_name: Option<String>,
    /// What the compatibility gate says before it is looked into the image.
    pub(crate) compatibility: Vec<JudgedView>,
}

impl From<v1::Disk> for DiskView {
    fn from(disk: v1::Disk) -> Self {
        Self {
            transport: enum_name(disk.transport().as_str_name(), "TRANSPORT_"),
            name: disk.name,
            size_bytes: disk.size_bytes,
            logical_block_size_bytes: disk.logical_block_size_bytes,
            physical_block_size_bytes: disk.physical_block_size_bytes,
            serial: disk.serial,
            wwn: disk.wwn,
            model: disk.model,
            rotational: disk.rotational,
            read_only: disk.read_only,
            removable: disk.removable,
            diskseq: disk.diskseq,
            by_path: disk.by_path,
            backing_file: disk.backing_file,
            partition_table: non_empty(&disk.partition_table),
            partitions: disk.partitions.into_iter().map(PartitionView::from).collect(),
            refusals: disk.refusals.into_iter().map(RefusalView::from).collect(),
            interrupted_install: disk.interrupted_install.map(InterruptedInstallView::from),
        }
    }
}

impl From<v1::Partition> for PartitionView {
    fn from(partition: v1::Partition) -> Self {
        Self {
            number: partition.number,
            offset_bytes: partition.offset_bytes,
            size_bytes: partition.size_bytes,
            label: non_empty(&partition.label),
            r#type: partition.r#type,
        }
    }
}

impl From<v1::DiskRefusal> for RefusalView {
    fn from(refusal: v1::DiskRefusal) -> Self {
        Self { reason: refusal.reason, detail: refusal.detail }
    }
}

impl From<v1::InterruptedInstall> for InterruptedInstallView {
    fn from(install: v1::InterruptedInstall) -> Self {
        Self {
            operation: install.operation,
            image_size_bytes: install.image_size_bytes,
            group_size_bytes: install.group_size_bytes,
            root: non_empty(&hex(&install.root)),
            reason: non_empty(&install.reason),
            started_at: install.started_at.map(|time| time.to_string()),
        }
    }
}

impl From<v1::InstallPlan> for PlanView {
    fn from(plan: v1::InstallPlan) -> Self {
        Self {
            disk: plan.disk.unwrap_or_default().into(),
            image_bytes: plan.image_bytes,
            kept_bytes: plan.kept_bytes,
            wiped_bytes: plan.wiped_bytes,
            in_place: plan.in_place,
            image_id: non_empty(&plan.image_id),
            image_name: non_empty(&plan.image_name),
            compatibility: judged(plan.compatibility.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bms_agent::rpc::proto::v1;
    use serde_json::json;

    use super::PlanView;

    /// A disk with everything that a disk can have.
    pub(crate) fn disk() -> v1::Disk {
        v1::Disk {
            name: "nvme0n1".to_owned(),
            size_bytes: 5 << 30,
            logical_block_size_bytes: 512,
            physical_block_size_bytes: 4096,
            serial: Some("S4EV".to_owned()),
            model: Some("Vendor 970".to_owned()),
            transport: v1::Transport::Nvme.into(),
            diskseq: 9,
            partition_table: "gpt".to_owned(),
            partitions: vec![v1::Partition {
                number: 1,
                offset_bytes: 1 << 20,
                size_bytes: 1 << 30,
                label: "data".to_owned(),
                r#type: "0FC63DAF-8483-4772-8E79-3D69D8477DE4".to_owned(),
            }],
            refusals: vec![v1::DiskRefusal {
                reason: "DISK_MOUNTED".to_owned(),
                detail: "nvme0n1p1 on /srv".to_owned(),
            }],
            interrupted_install: Some(v1::InterruptedInstall {
                operation: "operations/3".to_owned(),
                image_size_bytes: 4 << 30,
                group_size_bytes: 256 << 10,
                started_at: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
                ..v1::InterruptedInstall::default()
            }),
            ..v1::Disk::default()
        }
    }

    #[test]
    fn json_of_a_plan_has_all_keys() {
        let plan =
            v1::InstallPlan { disk: Some(disk()), image_bytes: 4 << 30, kept_bytes: 1 << 30, ..Default::default() };
        let expected = json!({
            "disk": {
                "name": "nvme0n1",
                "size_bytes": 5_368_709_120_u64,
                "logical_block_size_bytes": 512,
                "physical_block_size_bytes": 4096,
                "serial": "S4EV",
                "wwn": null,
                "model": "Vendor 970",
                "transport": "nvme",
                "rotational": false,
                "read_only": false,
                "removable": false,
                "diskseq": 9,
                "by_path": [],
                "backing_file": null,
                "partition_table": "gpt",
                "partitions": [{
                    "number": 1,
                    "offset_bytes": 1_048_576,
                    "size_bytes": 1_073_741_824,
                    "label": "data",
                    "type": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
                }],
                "refusals": [{"reason": "DISK_MOUNTED", "detail": "nvme0n1p1 on /srv"}],
                "interrupted_install": {
                    "operation": "operations/3",
                    "image_size_bytes": 4_294_967_296_u64,
                    "group_size_bytes": 262_144,
                    "root": null,
                    "reason": null,
                    "started_at": "1970-01-01T00:00:00Z",
                },
            },
            "image_bytes": 4_294_967_296_u64,
            "kept_bytes": 1_073_741_824,
            "wiped_bytes": 0,
            "in_place": false,
            "image_id": null,
            "image_name": null,
            "compatibility": [],
        });
        assert_eq!(serde_json::to_value(PlanView::from(plan)).expect("serializable"), expected);
    }
}
