//! From the domain to the wire.

use prost::Message;
use prost_types::{Any, Timestamp};

use super::proto::{longrunning, v1};
use super::{compatibility, status};
use crate::agent::{Found, Planned, Surveyed};
use crate::disk::discovery::Disk;
use crate::disk::marker::Marker;
use crate::operation::{Operation, OperationKind, Outcome, Snapshot};
use crate::provision::feed::Want;
use crate::provision::progress::{Progress, Stage};
use crate::repository::StoredImage;

pub(super) fn surveyed(surveyed: &Surveyed) -> v1::Disk {
    let mut view = disk(&surveyed.disk);
    let refusal = |refusal: &crate::disk::discovery::Refusal| v1::DiskRefusal {
        reason: refusal.reason.name().to_owned(),
        detail: refusal.detail.clone(),
    };
    view.refusals = surveyed.refusals.iter().map(refusal).collect();
    if let Some(content) = &surveyed.content {
        view.partition_table = content.table.kind.name().to_owned();
        view.interrupted_install = content.marker.as_ref().map(interrupted);
        let partition = |partition: &crate::disk::table::Partition| v1::Partition {
            number: partition.number,
            offset_bytes: partition.offset_bytes,
            size_bytes: partition.size_bytes,
            label: partition.label.clone(),
            r#type: partition.type_id.clone(),
        };
        view.partitions = content.table.partitions.iter().map(partition).collect();
    }
    view
}

pub(super) fn disk(disk: &Disk) -> v1::Disk {
    v1::Disk {
        name: disk.name.clone(),
        size_bytes: disk.size_bytes,
        logical_block_size_bytes: disk.logical_block_size,
        physical_block_size_bytes: disk.physical_block_size,
        serial: disk.identity.serial.clone(),
        wwn: disk.identity.wwn.clone(),
        model: disk.model.clone(),
        transport: v1::Transport::from(disk.transport).into(),
        rotational: disk.rotational,
        read_only: disk.read_only,
        removable: disk.removable,
        diskseq: disk.identity.diskseq.unwrap_or_default(),
        by_path: disk.by_path.clone(),
        backing_file: disk.identity.backing_file.clone(),
        ..v1::Disk::default()
    }
}

fn interrupted(marker: &Marker) -> v1::InterruptedInstall {
    v1::InterruptedInstall {
        operation: format!("operations/{}", marker.operation),
        image_size_bytes: marker.image_len_bytes,
        group_size_bytes: marker.group_size_bytes,
        root: marker.root.map(Vec::from).unwrap_or_default(),
        reason: marker.reason.clone(),
        started_at: i64::try_from(marker.started_at).ok().map(|seconds| Timestamp { seconds, nanos: 0 }),
    }
}

/// `found` is the image, if the agent is to fetch it.
pub(super) fn plan(planned: &Planned, found: Option<&Found>) -> v1::InstallPlan {
    let image = found.and_then(|found| found.image.as_ref());
    let name = |image: &StoredImage| {
        let manifest = &image.manifest;
        format!("{}/{}:{}", manifest.owner, manifest.name, manifest.version)
    };
    v1::InstallPlan {
        image_id: image.map(|image| image.id.to_string()).unwrap_or_default(),
        image_name: image.map(name).unwrap_or_default(),
        disk: Some(surveyed(&planned.surveyed)),
        image_bytes: planned.plan.image.layout.len_bytes(),
        kept_bytes: planned.plan.kept_bytes,
        wiped_bytes: planned.plan.wipe.end - planned.plan.wipe.start,
        in_place: planned.plan.in_place,
        compatibility: Some(compatibility::view(planned.judgement.clone())),
    }
}

pub(super) fn want(want: Want) -> v1::GroupWant {
    v1::GroupWant { first_group: want.first, group_count: want.count, bitmap: want.bitmap.unwrap_or_default() }
}

pub(super) fn operation(operation: &Operation, snapshot: &Snapshot) -> longrunning::Operation {
    use longrunning::operation::Result as End;
    let result = snapshot.end.as_ref().map(|(_, end)| match end {
        Ok(outcome) => End::Response(response(operation.kind, outcome, &snapshot.progress)),
        Err(failure) => End::Error(status::operation_error(failure)),
    });
    longrunning::Operation {
        name: operation.name(),
        metadata: Some(any("bms.agent.v1.OperationMetadata", &metadata(operation, snapshot))),
        done: snapshot.is_done(),
        result,
    }
}

fn metadata(operation: &Operation, snapshot: &Snapshot) -> v1::OperationMetadata {
    let kind = match operation.kind {
        OperationKind::Unknown => v1::OperationKind::Unspecified,
        OperationKind::Install => v1::OperationKind::Install,
        OperationKind::Verify => v1::OperationKind::Verify,
        OperationKind::Capture => v1::OperationKind::Capture,
    };
    v1::OperationMetadata {
        kind: kind.into(),
        request_id: operation.request.id.to_string(),
        disk: operation.disk.clone(),
        stage: stage(snapshot.stage).into(),
        progress: Some(progress(&snapshot.progress)),
        rate_bytes_per_second: snapshot.rate,
        eta: snapshot.eta.and_then(|eta| eta.try_into().ok()),
        started_at: Some(operation.started_at.into()),
        ended_at: snapshot.end.as_ref().map(|(at, _)| (*at).into()),
        cancel_requested: snapshot.cancel_requested,
    }
}

const fn stage(stage: Stage) -> v1::Stage {
    match stage {
        Stage::Prepare => v1::Stage::Prepare,
        Stage::Write => v1::Stage::Write,
        Stage::ReadBack => v1::Stage::ReadBack,
        Stage::Commit => v1::Stage::Commit,
        Stage::Done => v1::Stage::Done,
        Stage::Read => v1::Stage::Read,
        Stage::Store => v1::Stage::Store,
        Stage::Inspect => v1::Stage::Inspect,
    }
}

const fn progress(progress: &Progress) -> v1::Progress {
    v1::Progress {
        total_bytes: progress.total_bytes,
        received_bytes: progress.received_bytes,
        wire_bytes: progress.wire_bytes,
        present_bytes: progress.present_bytes,
        hole_bytes: progress.hole_bytes,
        written_bytes: progress.written_bytes,
        verified_bytes: progress.verified_bytes,
        read_bytes: progress.read_bytes,
        uploaded_bytes: progress.uploaded_bytes,
    }
}

fn response(kind: OperationKind, outcome: &Outcome, moved: &Progress) -> Any {
    let (root, size_bytes) = (outcome.root.to_vec(), outcome.len_bytes);
    let disk = Some(disk(&outcome.disk));
    match kind {
        OperationKind::Verify | OperationKind::Unknown => {
            any("bms.agent.v1.VerifyDiskResult", &v1::VerifyDiskResult { disk, root, size_bytes })
        }
        OperationKind::Install => {
            let (progress, warnings) = (Some(progress(moved)), outcome.warnings.clone());
            any("bms.agent.v1.InstallResult", &v1::InstallResult { disk, root, size_bytes, progress, warnings })
        }
        OperationKind::Capture => {
            let captured = outcome.captured.unwrap_or_default();
            let result = v1::CaptureImageResult {
                disk,
                root,
                size_bytes,
                image_id: captured.image.map(|id| id.to_string()).unwrap_or_default(),
                data_bytes: captured.data_bytes,
                new_bytes: captured.new_bytes,
                present_bytes: captured.present_bytes,
                stored_bytes: captured.stored_bytes,
                progress: Some(progress(moved)),
                warnings: outcome.warnings.clone(),
            };
            any("bms.agent.v1.CaptureImageResult", &result)
        }
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}
