//! The compatibility gate on the wire: requests in, what it says.

use super::convert;
use super::inspect;
use super::proto::v1;
use super::status::RequestError;
use crate::agent::{Candidate, Compatibility, CompatibilityRequest};
use crate::compatibility::{Fitness, Judged, Judgement, Override};
use crate::image::manifest::Manifest;
use crate::operation::Caller;

/// Most overrides of a request.
const MAX_OVERRIDES: usize = 16;
/// Longest id of a finding, in bytes.
const MAX_ID_BYTES: usize = 16;

/// What to compare with this server. `caller` is who overrides.
pub(super) fn request(
    request: v1::CheckCompatibilityRequest,
    caller: &Caller,
) -> Result<CompatibilityRequest, RequestError> {
    let v1::CheckCompatibilityRequest { image, disk, profile, overrides: ids } = request;
    let mut errors = RequestError::default();
    let candidate = candidate(image, &mut errors);
    let disk = disk.map(|disk| convert::selector(Some(disk), &mut errors));
    let choice = inspect::choice(0, profile, "profile", &mut errors);
    let overrides = overrides("overrides", ids, caller, &mut errors);
    errors.check()?;
    match candidate {
        Some(candidate) => Ok(CompatibilityRequest { candidate, disk, choice, overrides }),
        None => Err(RequestError::of("image", "is missing")),
    }
}

fn candidate(image: Option<v1::check_compatibility_request::Image>, errors: &mut RequestError) -> Option<Candidate> {
    use v1::check_compatibility_request::Image;
    match image? {
        Image::Source(source) => convert::image_source(Some(source), errors).map(Candidate::Image),
        Image::Manifest(bytes) => match Manifest::decode(&bytes) {
            Ok((manifest, _)) => Some(Candidate::Manifest(Box::new(manifest))),
            Err(error) => {
                errors.add("manifest", crate::text::chain(&error));
                None
            }
        },
    }
}

/// Findings that shall not count. Whether there are such, the gate says.
pub(super) fn overrides(
    field: &'static str,
    ids: Vec<String>,
    caller: &Caller,
    errors: &mut RequestError,
) -> Vec<Override> {
    if ids.len() > MAX_OVERRIDES {
        errors.add(field, format!("must be at most {MAX_OVERRIDES}"));
        return Vec::new();
    }
    for id in &ids {
        convert::check_text(field, Some(id), MAX_ID_BYTES, errors);
    }
    ids.into_iter().map(|id| Override { id, by: caller.to_string() }).collect()
}

pub(super) fn answer(compatibility: Compatibility) -> v1::CheckCompatibilityResponse {
    let Compatibility { judgement, inspection } = compatibility;
    v1::CheckCompatibilityResponse { compatibility: Some(view(judgement)), inspection: inspection.map(inspect::view) }
}

/// What the gate says, as the wire has it.
pub fn view(judgement: Judgement) -> v1::Compatibility {
    let fitness = match judgement.fitness {
        Fitness::Fit => v1::Fitness::Fit,
        Fitness::Unknown => v1::Fitness::Unknown,
        Fitness::Unfit => v1::Fitness::Unfit,
    };
    let finding = |judged: Judged| v1::CompatibilityFinding {
        finding: Some(inspect::finding(judged.finding)),
        overridden_by: judged.overridden_by.unwrap_or_default(),
        open: judged.is_open,
    };
    v1::Compatibility { fitness: fitness.into(), findings: judgement.findings.into_iter().map(finding).collect() }
}
