//! Whether an image fits this server: the gate's question, put together from the manifest, the image and the server.

use tokio_util::sync::CancellationToken;

use super::error::AgentError;
use super::inspect::Inspection;
use super::{Agent, ImageSource};
use crate::compatibility::{Admission, Case, Judgement, Override, Requirements};
use crate::disk::discovery::Disk;
use crate::disk::selector::Selector;
use crate::image::manifest::Manifest;
use crate::inspect::policy::Choice;

/// What may come to this server.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// An image: one of a repository is looked into.
    Image(ImageSource),
    /// An image of which nothing is at hand but its manifest.
    Manifest(Box<Manifest>),
}

/// Asks whether an image fits this server.
#[derive(Debug, Clone)]
pub struct CompatibilityRequest {
    /// The image.
    pub candidate: Candidate,
    /// The disk that it may go to; what depends on the disk stays unknown without.
    pub disk: Option<Selector>,
    /// For which servers the image is checked.
    pub choice: Choice,
    /// Findings that shall not count.
    pub overrides: Vec<Override>,
}

/// Whether an image fits this server, and what was found in it.
#[derive(Debug, Clone)]
pub struct Compatibility {
    /// Whether it fits.
    pub judgement: Judgement,
    /// What was found in the image; none if it was not looked into.
    pub inspection: Option<Inspection>,
}

impl Agent {
    /// Says whether an image fits this server. Touches no disk.
    ///
    /// # Errors
    /// If there is no such image, disk or profile, nothing could be found out, or an override makes no sense. That an image
    /// does not fit is no error.
    ///
    /// # Blocking
    /// As [`inspect`](Self::inspect).
    pub fn check_compatibility(
        &self,
        request: &CompatibilityRequest,
        cancel: &CancellationToken,
    ) -> Result<Compatibility, AgentError> {
        let disk = request.disk.as_ref().map(|selector| self.select(selector)).transpose()?;
        let case = |requirements| {
            let admission = Admission { requirements, overrides: request.overrides.clone() };
            self.case(&admission, disk.as_ref())
        };
        let (case, inspection) = match &request.candidate {
            Candidate::Manifest(manifest) => (case(Requirements::of(manifest)), None),
            Candidate::Image(source) => {
                let found = self.find_image(source)?;
                let case = case(found.requirements());
                let look = || self.look_into(&found, &request.choice, case.devices(), cancel);
                let inspection = found.image.is_some().then(look).transpose()?;
                (case, inspection)
            }
        };
        let examination = inspection.as_ref().map(|inspection| &inspection.examination);
        let judgement = case.judge(examination)?;
        Ok(Compatibility { judgement, inspection })
    }

    fn select(&self, selector: &Selector) -> Result<Disk, AgentError> {
        let all = self.discovery.scan()?;
        Ok(selector.select(&all)?.clone())
    }

    /// An image, this server, and the disk of it that the image may go to.
    pub(super) fn case(&self, admission: &Admission, disk: Option<&Disk>) -> Case {
        Case {
            admission: admission.clone(),
            host: self.survey.take_for_gate(),
            target: disk.map(|disk| self.survey.disk(disk.clone())),
            aliases: self.aliases.clone(),
        }
    }
}
