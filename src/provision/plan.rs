//! The plan of an install: every decision, made without touching anything.

use std::ops::Range;

use super::boot_region;
use crate::compatibility::Admission;
use crate::disk::device::Geometry;
use crate::disk::discovery::{Disk, Refusal};
use crate::disk::marker::Marker;
use crate::image::group::Layout;
use crate::inspect::policy::Policy;
use crate::inspect::profile::Profile;
use crate::reason::{DomainError, Reason};

/// The image, as far as the agent must know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSpec {
    /// Length and groups.
    pub layout: Layout,
    /// Root of the content, if the caller pins it.
    pub root: Option<[u8; 32]>,
    /// Logical block size that the image was built for, in bytes, if known.
    pub logical_block_size: Option<u32>,
}

/// How to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Compare the disk with the image first.
    pub in_place: bool,
    /// Zero everything behind the image.
    pub wipe_rest: bool,
}

/// What an install will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallPlan {
    /// The disk, as it was when the plan was made.
    pub disk: Disk,
    /// The image.
    pub image: ImageSpec,
    /// Whether the disk is compared first: asked for, or because it carries the marker of this image.
    pub in_place: bool,
    /// Bytes behind the image that will be zeroed; empty without `wipe_rest`.
    pub wipe: Range<u64>,
    /// Number of bytes behind the image that keep their old content.
    pub kept_bytes: u64,
    /// What is done about what is found in the image.
    pub policy: Policy,
    /// What the image is for.
    pub profile: Profile,
    /// What the image asks of the server, and what of that shall not count.
    pub admission: Admission,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The disk may not be written.
    #[error("disk {disk} may not be written: {detail}")]
    Refused {
        /// Kernel name of the disk.
        disk: String,
        /// The worst of the reasons.
        reason: Reason,
        /// What was seen, all of it.
        detail: String,
    },
    /// The image does not fit.
    #[error("the image has {image_bytes} bytes, and disk {disk} only {disk_bytes}")]
    ImageTooLarge {
        /// Kernel name of the disk.
        disk: String,
        /// Length of the image.
        image_bytes: u64,
        /// Capacity of the disk.
        disk_bytes: u64,
    },
    /// The image was built for other blocks.
    #[error("the image was built for logical blocks of {image} bytes, and disk {disk} has {actual}")]
    BlockSize {
        /// Kernel name of the disk.
        disk: String,
        /// Block size of the image.
        image: u32,
        /// Block size of the disk.
        actual: u32,
    },
    /// The image has too many groups.
    #[error("the image has {groups} groups of {group_bytes} bytes, and the agent has memory for {limit}")]
    TreeTooLarge {
        /// Number of groups.
        groups: u64,
        /// Size of a group.
        group_bytes: u64,
        /// Most groups.
        limit: u64,
    },
}

impl DomainError for PlanError {
    fn reason(&self) -> Reason {
        match self {
            Self::Refused { reason, .. } => *reason,
            Self::ImageTooLarge { .. } => Reason::ImageTooLarge,
            Self::BlockSize { .. } => Reason::BlockSizeMismatch,
            Self::TreeTooLarge { .. } => Reason::ImageTreeTooLarge,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Refused { disk, detail, .. } => vec![("disk", disk.clone()), ("detail", detail.clone())],
            Self::ImageTooLarge { disk, image_bytes, disk_bytes } => vec![
                ("disk", disk.clone()),
                ("imageBytes", image_bytes.to_string()),
                ("diskBytes", disk_bytes.to_string()),
            ],
            Self::BlockSize { disk, image, actual } => vec![
                ("disk", disk.clone()),
                ("imageBlockSize", image.to_string()),
                ("diskBlockSize", actual.to_string()),
            ],
            Self::TreeTooLarge { groups, group_bytes, limit } => vec![
                ("groups", groups.to_string()),
                ("groupBytes", group_bytes.to_string()),
                ("limit", limit.to_string()),
            ],
        }
    }
}

/// What was seen of the disk.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The disk.
    pub disk: &'a Disk,
    /// What keeps it from being written.
    pub refusals: &'a [Refusal],
    /// The marker on it.
    pub marker: Option<&'a Marker>,
}

impl InstallPlan {
    /// Decides.
    ///
    /// # Errors
    /// If the disk may not be written, or the image does not suit it. `max_groups` is what the memory budget allows.
    pub fn new(seen: Seen<'_>, image: ImageSpec, options: Options, max_groups: u64) -> Result<Self, PlanError> {
        check_disk(seen)?;
        check_fit(seen.disk, &image, max_groups)?;
        let rest = rest(geometry(seen.disk), image.layout.len_bytes());
        let (wipe, kept) = if options.wipe_rest { (rest, 0..0) } else { (0..0, rest) };
        let resumes = seen.marker.is_some_and(|marker| is_same_image(marker, &image));
        Ok(Self {
            disk: seen.disk.clone(),
            image,
            in_place: options.in_place || resumes,
            wipe,
            kept_bytes: kept.end - kept.start,
            policy: Policy::Off,
            profile: Profile::default(),
            admission: Admission::default(),
        })
    }

    /// The same with a look into the image.
    #[must_use]
    pub fn inspected(self, policy: Policy, profile: Profile) -> Self {
        Self { policy, profile, ..self }
    }

    /// The same for an image that asks something of the server.
    #[must_use]
    pub fn admitted(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }
}

/// What a device needs to know of a disk.
pub const fn geometry(disk: &Disk) -> Geometry {
    Geometry { len_bytes: disk.size_bytes, logical_block_size: disk.logical_block_size, rotational: disk.rotational }
}

fn check_disk(seen: Seen<'_>) -> Result<(), PlanError> {
    let Some(worst) = seen.refusals.first() else { return Ok(()) };
    let details: Vec<_> = seen.refusals.iter().map(|refusal| refusal.detail.as_str()).collect();
    Err(PlanError::Refused { disk: seen.disk.name.clone(), reason: worst.reason, detail: details.join("; ") })
}

fn check_fit(disk: &Disk, image: &ImageSpec, max_groups: u64) -> Result<(), PlanError> {
    let layout = image.layout;
    let actual = disk.logical_block_size;
    if let Some(built_for) = image.logical_block_size.filter(|&size| size != actual) {
        return Err(PlanError::BlockSize { disk: disk.name.clone(), image: built_for, actual });
    }
    if layout.len_bytes() > disk.size_bytes {
        let (image_bytes, disk_bytes) = (layout.len_bytes(), disk.size_bytes);
        return Err(PlanError::ImageTooLarge { disk: disk.name.clone(), image_bytes, disk_bytes });
    }
    if layout.groups() > max_groups {
        let (groups, group_bytes) = (layout.groups(), layout.group_size().bytes());
        return Err(PlanError::TreeTooLarge { groups, group_bytes, limit: max_groups });
    }
    Ok(())
}

/// The bytes behind the image that are not part of the boot region.
fn rest(geometry: Geometry, image_len_bytes: u64) -> Range<u64> {
    let boot = boot_region::ranges(geometry, image_len_bytes);
    let head_end = boot.first().map_or(0, |range| range.end);
    let start = geometry.round_up(image_len_bytes).max(head_end);
    let end = boot.last().map_or(start, |range| range.start);
    start..end.max(start)
}

/// Whether the marker is of an install of this image. It only decides whether to compare: what is kept is proven.
fn is_same_image(marker: &Marker, image: &ImageSpec) -> bool {
    let same_root = match (marker.root, image.root) {
        (Some(marked), Some(pinned)) => marked == pinned,
        _ => true,
    };
    let layout = image.layout;
    same_root && marker.image_len_bytes == layout.len_bytes() && marker.group_size_bytes == layout.group_size().bytes()
}
