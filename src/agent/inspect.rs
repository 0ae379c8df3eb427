//! Looks into disks, images and the running system. What they are is found by a child without rights; here it is decided
//! what the child is given, and for which servers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::AgentError;
use super::pull::{Found, Pulled, runtime};
use super::{Agent, ImageSource};
use crate::compatibility::Case;
use crate::disk::guard;
use crate::disk::selector::Selector;
use crate::hardware::host::{self, BootMode};
use crate::inspect::check::Checks;
use crate::inspect::child::{InspectError, Inspector};
use crate::inspect::evidence::Modalias;
use crate::inspect::examine::{Examination, Request};
use crate::inspect::policy::{Choice, Policy, Settings};
use crate::inspect::profile::Profile;
use crate::inspect::reader::DirectReader;
use crate::provision::inspection;
use crate::provision::plan::InstallPlan;
use crate::repository::{ImageReader, Repository};

/// How disks and images are looked into.
#[derive(Debug, Clone)]
pub struct InspectionSettings {
    /// Policy and profiles.
    pub settings: Settings,
    /// What is checked.
    pub checks: Arc<Checks>,
    /// Who looks.
    pub inspector: Inspector,
}

impl InspectionSettings {
    /// Installs look into nothing, unless they are asked to.
    pub fn off() -> Self {
        let settings = Settings { policy: Policy::Off, ..Settings::default() };
        Self { settings, checks: Arc::new(Checks::default()), inspector: Inspector::default() }
    }
}

/// What is looked into.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A disk of this server.
    Disk(Selector),
    /// An image of a repository.
    Image(ImageSource),
    /// The running system.
    Host,
}

/// What was found, and for which servers.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// What was found.
    pub examination: Examination,
    /// What it was checked for.
    pub profile: Profile,
}

impl Agent {
    /// Looks into a disk, an image, or the running system.
    ///
    /// # Errors
    /// If there is no such profile, disk or image, an operation holds the disk, or nothing could be found out.
    ///
    /// # Blocking
    /// Up to a minute, and as long as a repository takes to give what is looked at.
    pub fn inspect(
        &self,
        subject: &Subject,
        choice: &Choice,
        cancel: &CancellationToken,
    ) -> Result<Inspection, AgentError> {
        match subject {
            Subject::Disk(selector) => self.inspect_disk(selector, choice, cancel),
            Subject::Image(source) => self.look_into(&self.find_image(source)?, choice, Vec::new(), cancel),
            Subject::Host => {
                let request = self.request(choice, None, Vec::new())?;
                let examination = self.inspection.inspector.examine_host(&request, cancel)?;
                Ok(Inspection { examination, profile: request.profile })
            }
        }
    }

    /// What a look is asked for.
    fn request(
        &self,
        choice: &Choice,
        logical_block_size: Option<u32>,
        devices: Vec<Modalias>,
    ) -> Result<Request, AgentError> {
        let (_, profile) = self.profile(choice)?;
        Ok(Request { logical_block_size, profile, checks: self.inspection.checks.clone(), devices })
    }

    fn inspect_disk(
        &self,
        selector: &Selector,
        choice: &Choice,
        cancel: &CancellationToken,
    ) -> Result<Inspection, AgentError> {
        let all = self.discovery.scan()?;
        let disk = selector.select(&all)?;
        self.registry.check_free(disk)?;
        let request = self.request(choice, Some(disk.logical_block_size), Vec::new())?;
        let device = guard::open_for_reading(&self.discovery, disk)?;
        let file = device.reading_file().map_err(InspectError::Hear)?;
        let reader = DirectReader::new(file, disk.size_bytes);
        let examination = self.inspection.inspector.examine(&reader, &request, cancel)?;
        Ok(Inspection { examination, profile: request.profile })
    }

    /// Looks into an image of a repository, and asks what it has for some devices.
    pub(super) fn look_into(
        &self,
        found: &Found,
        choice: &Choice,
        devices: Vec<Modalias>,
        cancel: &CancellationToken,
    ) -> Result<Inspection, AgentError> {
        let (Pulled::Repository { repository, .. }, Some(image)) = (&found.pulled, &found.image) else {
            return Err(AgentError::NotInRepository);
        };
        let request = self.request(choice, Some(image.manifest.disk.logical_block_size), devices)?;
        let (_, settings) = self.repository_settings(repository)?;
        let runtime = runtime(settings)?;
        let repository = runtime.block_on(Repository::open(settings))?;
        let reader = ImageReader::open(&repository, image, &runtime)?;
        let examination = reader.examine(&self.inspection.inspector, &request, cancel)?;
        Ok(Inspection { examination, profile: request.profile })
    }

    /// The policy and profile of a request. What it does not say of firmware and architecture, this server does.
    pub(super) fn profile(&self, choice: &Choice) -> Result<(Policy, Profile), AgentError> {
        let (policy, mut profile) = self.inspection.settings.resolve(choice)?;
        let host = host::host_facts(&self.discovery.roots);
        profile.architecture.get_or_insert_with(|| host.architecture.to_owned());
        let firmware = match host.boot_mode {
            BootMode::Uefi => "uefi",
            BootMode::Bios => "bios",
        };
        profile.firmware.get_or_insert_with(|| firmware.to_owned());
        Ok((policy, profile))
    }

    /// What is told of an install that is looked into less than is configured.
    pub(super) fn lowered(&self, policy: Policy) -> Option<String> {
        let configured = self.inspection.settings.policy;
        let (asked, usual) = (policy.name(), configured.name());
        (policy < configured)
            .then(|| format!("the request asked for the inspection {asked:?}, where {usual:?} is configured"))
    }

    /// How an install looks into its image; none if it does not.
    pub(super) fn inspection_of(
        &self,
        plan: &InstallPlan,
        case: Case,
        overridden: Vec<String>,
    ) -> Option<inspection::Inspection> {
        let request = Request {
            logical_block_size: Some(plan.disk.logical_block_size),
            profile: plan.profile.clone(),
            checks: self.inspection.checks.clone(),
            devices: case.devices(),
        };
        let (policy, inspector) = (plan.policy, self.inspection.inspector.clone());
        (policy != Policy::Off).then_some(inspection::Inspection { policy, request, inspector, case, overridden })
    }
}
