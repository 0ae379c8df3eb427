//! Repositories and their images, as programs see them.

use std::collections::BTreeMap;

use bms_agent::repository::{Amount, CheckReport, Fates, Format, GcReport, ImageSummary, Problem, Stats};
use serde::Serialize;

/// `repository init`
#[derive(Debug, Serialize)]
pub(crate) struct FormatView {
    pub(crate) location: String,
    pub(crate) chunk_size_bytes: u64,
    pub(crate) grace_seconds: u64,
    pub(crate) max_private_images: u32,
    /// Whether of two writers of one name only one wins.
    pub(crate) conditional_puts: bool,
}

impl FormatView {
    pub(crate) fn new(location: &str, format: &Format) -> Self {
        Self {
            location: location.to_owned(),
            chunk_size_bytes: format.chunk_size_bytes,
            grace_seconds: format.grace_seconds,
            max_private_images: format.max_private_images,
            conditional_puts: format.conditional_puts,
        }
    }
}

/// Objects, and their length together.
#[derive(Debug, Serialize)]
pub(crate) struct AmountView {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

impl From<Amount> for AmountView {
    fn from(Amount { objects, bytes }: Amount) -> Self {
        Self { objects, bytes }
    }
}

/// `repository check` and `image verify`
#[derive(Debug, Serialize)]
pub(crate) struct CheckView {
    pub(crate) images: u64,
    /// Chunks that images refer to and that are there.
    pub(crate) chunks: AmountView,
    pub(crate) unreferenced: AmountView,
    /// Content that was read and compared.
    pub(crate) proven_bytes: u64,
    /// The worst first.
    pub(crate) problems: Vec<ProblemView>,
    /// How many more there are.
    pub(crate) more_problems: u64,
}

/// What is wrong with an object.
#[derive(Debug, Serialize)]
pub(crate) struct ProblemView {
    /// A name that never changes.
    pub(crate) kind: &'static str,
    pub(crate) object: String,
    pub(crate) image_id: Option<String>,
    pub(crate) detail: String,
    /// What to do about it.
    pub(crate) advice: &'static str,
}

impl From<&CheckReport> for CheckView {
    fn from(report: &CheckReport) -> Self {
        let problem = |problem: &Problem| ProblemView {
            kind: problem.kind.name(),
            object: problem.object.clone(),
            image_id: problem.image.map(|image| image.to_string()),
            detail: problem.detail.clone(),
            advice: problem.kind.advice(),
        };
        Self {
            images: report.images,
            chunks: report.chunks.into(),
            unreferenced: report.unreferenced.into(),
            proven_bytes: report.proven_bytes,
            problems: report.problems.iter().map(problem).collect(),
            more_problems: report.more_problems,
        }
    }
}

/// `repository stats`
#[derive(Debug, Serialize)]
pub(crate) struct StatsView {
    images: u64,
    /// Length of the raw content of all images.
    logical_bytes: u64,
    /// Bytes of it that are not in holes.
    data_bytes: u64,
    /// Bytes of it that are kept once.
    unique_bytes: u64,
    live: AmountView,
    unreferenced: AmountView,
    condemned: AmountView,
}

impl From<&Stats> for StatsView {
    fn from(stats: &Stats) -> Self {
        Self {
            images: stats.images,
            logical_bytes: stats.logical_bytes,
            data_bytes: stats.data_bytes,
            unique_bytes: stats.unique_bytes,
            live: stats.live.into(),
            unreferenced: stats.unreferenced.into(),
            condemned: stats.condemned.into(),
        }
    }
}

/// `repository gc`
#[derive(Debug, Serialize)]
pub(crate) struct GcView {
    dry_run: bool,
    images: u64,
    live: AmountView,
    chunks: FatesView,
    leftovers: FatesView,
}

/// What became of things that nothing refers to.
#[derive(Debug, Serialize)]
struct FatesView {
    young: AmountView,
    condemned: AmountView,
    waiting: AmountView,
    held: AmountView,
    deleted: AmountView,
}

impl GcView {
    pub(crate) fn new(report: &GcReport, dry_run: bool) -> Self {
        Self {
            dry_run,
            images: report.images,
            live: report.live.into(),
            chunks: report.chunks.into(),
            leftovers: report.leftovers.into(),
        }
    }
}

impl From<Fates> for FatesView {
    fn from(Fates { young, condemned, waiting, held, deleted }: Fates) -> Self {
        Self {
            young: young.into(),
            condemned: condemned.into(),
            waiting: waiting.into(),
            held: held.into(),
            deleted: deleted.into(),
        }
    }
}

/// `image list`
#[derive(Debug, Serialize)]
pub(crate) struct ImagesView {
    pub(crate) images: Vec<ImageView>,
}

/// An image of a list.
#[derive(Debug, Serialize)]
pub(crate) struct ImageView {
    pub(crate) image_id: String,
    #[serde(flatten)]
    pub(crate) summary: ImageSummary,
}

impl From<BTreeMap<String, ImageSummary>> for ImagesView {
    /// By owner, name and age.
    fn from(images: BTreeMap<String, ImageSummary>) -> Self {
        let mut images: Vec<_> =
            images.into_iter().map(|(image_id, summary)| ImageView { image_id, summary }).collect();
        images.sort_by(|a, b| {
            let key = |image: &ImageView| (image.summary.owner.clone(), image.summary.name.clone());
            key(a).cmp(&key(b)).then(a.summary.created_at.cmp(&b.summary.created_at))
        });
        Self { images }
    }
}

/// `image show`: the manifest, and the id that it makes.
#[derive(Debug, Serialize)]
pub(crate) struct ManifestView {
    pub(crate) image_id: String,
    #[serde(flatten)]
    pub(crate) manifest: serde_json::Value,
}

/// `image delete`
#[derive(Debug, Serialize)]
pub(crate) struct DeletedView {
    pub(crate) deleted: Vec<String>,
}

/// `image export`
#[derive(Debug, Serialize)]
pub(crate) struct ExportView {
    pub(crate) image_id: String,
    pub(crate) file: String,
    pub(crate) format: &'static str,
    pub(crate) size_bytes: u64,
    pub(crate) root: String,
}
