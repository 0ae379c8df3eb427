//! Whether an image fits a server.

use bms_agent::rpc::proto::v1;
use serde::Serialize;

use super::{FindingView, InspectionView};

/// `image compat`
#[derive(Debug, Serialize)]
pub(crate) struct CompatibilityView {
    /// The image, as it was named.
    pub(crate) image: String,
    pub(crate) fitness: &'static str,
    pub(crate) findings: Vec<JudgedView>,
    /// What was found in the image; null if it was not looked into.
    pub(crate) inspection: Option<InspectionView>,
}

/// A finding of the gate.
#[derive(Debug, Serialize)]
pub(crate) struct JudgedView {
    #[serde(flatten)]
    pub(crate) finding: FindingView,
    /// Who overrode it; null if it counts.
    pub(crate) overridden_by: Option<String>,
    /// Whether it is unknown because nobody has looked into the image.
    pub(crate) open: bool,
}

impl CompatibilityView {
    /// What the gate says of an image.
    pub(crate) fn new(image: String, compatibility: v1::Compatibility, inspection: Option<v1::Inspection>) -> Self {
        let inspection = inspection.map(|inspection| InspectionView::new(image.clone(), inspection));
        Self { fitness: fitness(compatibility.fitness()), findings: judged(compatibility), image, inspection }
    }
}

/// The findings of the gate.
pub(crate) fn judged(compatibility: v1::Compatibility) -> Vec<JudgedView> {
    let judged = |judged: v1::CompatibilityFinding| JudgedView {
        finding: judged.finding.unwrap_or_default().into(),
        overridden_by: (!judged.overridden_by.is_empty()).then_some(judged.overridden_by),
        open: judged.open,
    };
    compatibility.findings.into_iter().map(judged).collect()
}

/// What they come to.
pub(crate) const fn fitness(fitness: v1::Fitness) -> &'static str {
    match fitness {
        v1::Fitness::Fit => "fit",
        v1::Fitness::Unfit => "unfit",
        v1::Fitness::Unknown | v1::Fitness::Unspecified => "unknown",
    }
}
