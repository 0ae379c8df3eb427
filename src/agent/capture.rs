//! Captures: what is asked for, and how they begin. Where the image goes is the work of [`store`] and [`stream`].

mod store;
mod stream;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::store::Store;
pub use self::stream::{CaptureBegun, CaptureEvent, CapturedGroups, Streamed};
use super::Agent;
use super::begin::{Intent, Start, spawn};
use super::error::AgentError;
use super::pull::runtime;
use crate::audit::AuditedImage;
use crate::byte_size::ByteSize;
use crate::clock::unix_seconds;
use crate::compatibility::source_model;
use crate::disk::device::{BlockDevice as _, Geometry};
use crate::disk::direct::DirectDevice;
use crate::disk::discovery::Disk;
use crate::disk::guard;
use crate::disk::selector::Selector;
use crate::hardware::host::BootMode;
use crate::image::group::{GroupSize, Layout};
use crate::image::manifest::{
    CaptureMode, Content, Digest, DiskShape, Firmware, Kind, Manifest, PartitionTable, SCHEMA,
};
use crate::inspect::child::{InspectError, Inspector};
use crate::inspect::examine::Request as LookRequest;
use crate::inspect::free::{FreeSpace, Outcome as VolumeOutcome, VolumeNote};
use crate::inspect::policy::Choice;
use crate::operation::registry::RegistryError;
use crate::operation::{Operation, OperationKind, Request};
use crate::provision::capture::{CaptureJob, FreeMap, Sink};
use crate::provision::error::ProvisionError;
use crate::provision::feed::Encoding;
use crate::provision::plan::PlanError;
use crate::repository::RepositoryError;

/// A request to capture a disk.
#[derive(Debug, Clone)]
pub struct CaptureRequest {
    /// Which disk.
    pub selector: Selector,
    /// What of it.
    pub mode: CaptureMode,
    /// How it is cut; by its size if absent.
    pub group_size: Option<GroupSize>,
}

/// An image that is to be.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Name of the repository in the configuration; may be empty if there is only one.
    pub repository: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Free text.
    pub description: String,
    /// What the caller says of it.
    pub labels: BTreeMap<String, String>,
    /// Who may use it.
    pub kind: Kind,
    /// Project that owns it.
    pub owner: String,
}

/// A disk that is to be captured.
#[derive(Debug)]
struct Target {
    disk: Disk,
    layout: Layout,
    mode: CaptureMode,
    workers: NonZeroUsize,
}

/// A disk that is captured: open, and held by nobody else.
#[derive(Debug)]
struct Subject {
    device: DirectDevice,
    target: Target,
    free: FreeMap,
    /// What was found of each file system.
    notes: Vec<String>,
}

impl Agent {
    /// Begins to capture a disk into a repository, or finds the operation that the same request began.
    ///
    /// # Errors
    /// If the repository is unknown, the image cannot be described, or the disk cannot be had. Whether the repository
    /// can be used, the operation finds out.
    pub fn capture_image(
        self: &Arc<Self>,
        id: &Request,
        request: &CaptureRequest,
        image: &NewImage,
    ) -> Result<Arc<Operation>, AgentError> {
        if let Some(operation) = self.registry.known(id)? {
            return Ok(operation);
        }
        let (_, settings) = self.repository_settings(&image.repository)?;
        let settings = settings.clone();
        let target = self.target(request)?;
        let manifest = self.draft(image, &target)?;
        let runtime = runtime(&settings)?;
        let (work, device) = match self.open(id, &target.disk, Some(format!("{}/{}", image.owner, image.name)))? {
            Start::Begun(work, device) => (work, device),
            Start::Known(operation) => return Ok(operation),
        };
        let operation = work.operation().clone();
        let (_, profile) = self.profile(&Choice::default())?;
        let logical_block_size = Some(target.disk.logical_block_size);
        let request =
            LookRequest { logical_block_size, profile, checks: self.inspection.checks.clone(), devices: Vec::new() };
        let store = Store { settings, manifest, inspector: self.inspection.inspector.clone(), request };
        spawn("capture", work, {
            let operation = operation.clone();
            move |_| store.run(runtime, operation.clone(), Subject::new(device, target, &operation)?)
        })?;
        Ok(operation)
    }

    /// Begins to capture a disk for a caller who takes the image as it is read. A caller that goes away cancels it.
    ///
    /// # Errors
    /// If the disk cannot be had.
    pub fn stream_capture(
        self: &Arc<Self>,
        id: &Request,
        request: &CaptureRequest,
        encoding: Encoding,
    ) -> Result<Streamed, AgentError> {
        let target = self.target(request)?;
        let (work, device) = match self.open(id, &target.disk, None)? {
            Start::Begun(work, device) => (work, device),
            Start::Known(_) => return Err(RegistryError::RequestIdReused { id: id.id }.into()),
        };
        let operation = work.operation().clone();
        let (events, received) = stream::channel(self.resources.in_flight_bytes(), target.layout);
        spawn("capture", work, move |operation| {
            stream::run(operation, &Subject::new(device, target, operation)?, encoding, &events)
        })?;
        Ok(Streamed { operation, events: received })
    }

    fn target(&self, request: &CaptureRequest) -> Result<Target, AgentError> {
        let all = self.discovery.scan()?;
        let disk = request.selector.select(&all)?.clone();
        let group_size = request.group_size.unwrap_or_else(|| GroupSize::for_image(disk.size_bytes));
        let layout = Layout::new(disk.size_bytes, group_size);
        let (groups, limit) = (layout.groups(), self.resources.max_groups());
        if groups > limit {
            return Err(PlanError::TreeTooLarge { groups, group_bytes: group_size.bytes(), limit }.into());
        }
        let workers = NonZeroUsize::new(self.resources.workers(layout)).unwrap_or(NonZeroUsize::MIN);
        Ok(Target { disk, layout, mode: request.mode, workers })
    }

    /// Begins a capture of a disk, and opens it.
    fn open(
        self: &Arc<Self>,
        request: &Request,
        disk: &Disk,
        name: Option<String>,
    ) -> Result<Start<DirectDevice>, AgentError> {
        let image = AuditedImage { name, ..AuditedImage::default() };
        let kind = OperationKind::Capture;
        let intent = Intent { request, kind, disk, image, overridden: Vec::new(), pull: None };
        self.begin(intent, |disk| guard::open_for_capture(&self.discovery, disk))
    }

    /// The manifest, as far as it is known before the disk was read. What the caller says is checked here.
    fn draft(&self, image: &NewImage, target: &Target) -> Result<Manifest, RepositoryError> {
        let host = self.survey.take_for_gate();
        let size_bytes = target.layout.len_bytes();
        let NewImage { repository: _, name, version, description, labels, kind, owner } = image.clone();
        let manifest = Manifest {
            schema: SCHEMA,
            name,
            version,
            description,
            labels,
            kind,
            owner,
            os: None,
            disk: DiskShape {
                size_bytes,
                logical_block_size: target.disk.logical_block_size,
                partition_table: PartitionTable::None,
                firmware: match host.firmware.boot_mode.value() {
                    Some(BootMode::Uefi) => Firmware::Uefi,
                    Some(BootMode::Bios) => Firmware::Bios,
                    None => Firmware::Both,
                },
                min_disk_bytes: size_bytes,
                min_memory_bytes: 0,
            },
            content: unknown_content(target.layout),
            source_hardware_model: source_model(&host),
            capture: None,
            plugin_report: None,
            parent: None,
            created_at: unix_seconds(self.clock.0.now()),
            not_after: None,
        };
        manifest.encode()?;
        Ok(manifest)
    }
}

/// What of a disk is free: a child without rights is asked, which is not believed further than that.
fn free_space(device: &DirectDevice, cancel: &CancellationToken) -> Result<FreeSpace, InspectError> {
    let Geometry { len_bytes, logical_block_size, .. } = device.geometry();
    let disk = device.reading_file().map_err(InspectError::Hear)?;
    Inspector::default().free_space(disk, len_bytes, logical_block_size, cancel)
}

/// What was found of a file system, for people.
fn describe(note: &VolumeNote) -> String {
    let volume = match note.partition {
        0 => "the disk".to_owned(),
        number => format!("partition {number}"),
    };
    let kind = note.file_system.map(|kind| format!(" ({kind})")).unwrap_or_default();
    match note.outcome {
        VolumeOutcome::Read { free_bytes } => {
            format!("{volume}{kind}: {} of {} are free", ByteSize(free_bytes), ByteSize(note.size_bytes))
        }
        VolumeOutcome::Whole { reason } => format!("{volume}{kind}: all of it counts as used: {reason}"),
    }
}

/// The content of a disk that was not read.
fn unknown_content(layout: Layout) -> Content {
    let (nothing, group_size_bytes) = (Digest(blake3::hash(&[])), layout.group_size().bytes());
    Content {
        root: nothing,
        group_size_bytes,
        chunk_size_bytes: group_size_bytes,
        tree: nothing,
        data_bytes: 0,
        stored_bytes: 0,
    }
}

impl Subject {
    /// Finds out what is free, as far as that is wanted.
    fn new(device: DirectDevice, target: Target, operation: &Operation) -> Result<Self, ProvisionError> {
        let found = match target.mode {
            CaptureMode::BitExact => FreeSpace::default(),
            CaptureMode::UsedBlocks => match free_space(&device, &operation.cancel) {
                Ok(space) => space,
                Err(InspectError::Cancelled) => return Err(ProvisionError::Cancelled { disk: target.disk.name }),
                Err(error) => {
                    let note = format!("everything counts as used: {}", crate::text::chain(&error));
                    tracing::warn!(note, "no free space was found");
                    return Ok(Self { device, target, free: FreeMap::default(), notes: vec![note] });
                }
            },
        };
        let notes = found.notes.iter().map(describe).collect();
        let free = FreeMap::new(found.ranges, target.layout.len_bytes());
        Ok(Self { device, target, free, notes })
    }

    /// Reads the disk, and hands all of it to `sink`.
    fn read(&self, operation: &Operation, sink: &Sink<'_, ProvisionError>) -> Result<(), ProvisionError> {
        let job = CaptureJob {
            device: &self.device,
            layout: self.target.layout,
            free: &self.free,
            workers: self.target.workers,
            counters: &operation.counters,
            cancel: &operation.cancel,
        };
        job.run(sink)
    }
}
