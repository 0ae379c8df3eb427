//! Looks into disks, images and the running system. What they are is found by a child without rights; here it is decided
//! what the child is given, and for which servers.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::AgentError;
use super::pull::{Pulled, runtime};
use super::{Agent, ImageSource};
use crate::disk::guard;
use crate::disk::selector::Selector;
use crate::hardware::host::{self, BootMode};
use crate::inspect::check::Checks;
use crate::inspect::child::{InspectError, Inspector};
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
        let (_, profile) = self.profile(choice)?;
        let request = |logical_block_size| Request {
            logical_block_size,
            profile: profile.clone(),
            checks: self.inspection.checks.clone(),
            devices: Vec::new(),
        };
        let examination = match subject {
            Subject::Disk(selector) => self.inspect_disk(selector, &request, cancel)?,
            Subject::Image(source) => self.inspect_image(source, &request, cancel)?,
            Subject::Host => self.inspection.inspector.examine_host(&request(None), cancel)?,
        };
        Ok(Inspection { examination, profile })
    }

    fn inspect_disk(
        &self,
        selector: &Selector,
        request: &dyn Fn(Option<u32>) -> Request,
        cancel: &CancellationToken,
    ) -> Result<Examination, AgentError> {
        let all = self.discovery.scan()?;
        let disk = selector.select(&all)?;
        self.registry.check_free(disk)?;
        let device = guard::open_for_reading(&self.discovery, disk)?;
        let file = device.reading_file().map_err(InspectError::Hear)?;
        let reader = DirectReader::new(file, disk.size_bytes);
        Ok(self.inspection.inspector.examine(&reader, &request(Some(disk.logical_block_size)), cancel)?)
    }

    fn inspect_image(
        &self,
        source: &ImageSource,
        request: &dyn Fn(Option<u32>) -> Request,
        cancel: &CancellationToken,
    ) -> Result<Examination, AgentError> {
        let found = self.find_image(source)?;
        let (Pulled::Repository { repository, .. }, Some(image)) = (&found.pulled, &found.image) else {
            return Err(AgentError::NotInRepository);
        };
        let (_, settings) = self.repository_settings(repository)?;
        let runtime = runtime(settings)?;
        let repository = runtime.block_on(Repository::open(settings))?;
        let reader = ImageReader::open(&repository, image, &runtime)?;
        let request = request(Some(image.manifest.disk.logical_block_size));
        Ok(reader.examine(&self.inspection.inspector, &request, cancel)?)
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
    pub(super) fn inspection_of(&self, plan: &InstallPlan) -> Option<inspection::Inspection> {
        let request = || Request {
            logical_block_size: Some(plan.disk.logical_block_size),
            profile: plan.profile.clone(),
            checks: self.inspection.checks.clone(),
            devices: Vec::new(),
        };
        (plan.policy != Policy::Off).then(|| inspection::Inspection {
            policy: plan.policy,
            request: request(),
            inspector: self.inspection.inspector.clone(),
        })
    }
}
