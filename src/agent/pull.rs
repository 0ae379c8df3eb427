//! Installs that fetch their image: finding it, beginning, and going on after a restart.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use super::begin::{Start, Waiting};
use super::error::AgentError;
use super::journal::Pending;
use super::remains::is_as_left;
use super::{Agent, InstallRequest, Intake, Planned};
use crate::clock::unix_seconds;
use crate::compatibility::{Admission, Override, Requirements};
use crate::disk::discovery::Disk;
use crate::disk::guard;
use crate::disk::selector::Selector;
use crate::hardware::host;
use crate::image::group::Layout;
use crate::image::manifest::ImageId;
use crate::image::source::Format;
use crate::image::tree::Tree;
use crate::inspect::policy::Choice;
use crate::net::http::PrivateUrl;
use crate::operation::{Failure, Operation, Request};
use crate::provision::error::{ProvisionError, SourceFailure};
use crate::provision::feed::FeedEvent;
use crate::provision::plan::{ImageSpec, Options};
use crate::pull::{self, HttpSource, Outlet, PullError};
use crate::repository::{ImageName, Repository, RepositoryError, Settings, StoredImage};

/// How long a call waits for a repository that does not answer, in seconds: a caller wants to know soon.
const CALL_RETRY_SECONDS: u64 = 15;

/// Where a caller says an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// In a repository of the configuration.
    Repository {
        /// Name of the repository; may be empty if there is only one.
        repository: String,
        /// The image.
        image: ImageName,
    },
    /// A file on a web server.
    Http {
        /// Where it is.
        url: PrivateUrl,
        /// What its content is packed into; else its first bytes tell.
        format: Option<Format>,
        /// What the caller says of its content.
        spec: ImageSpec,
    },
}

/// An image that was found, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pulled {
    /// In a repository of the configuration.
    Repository {
        /// Name of the repository.
        repository: String,
        /// Id of the image.
        #[serde(with = "image_id")]
        image: ImageId,
    },
    /// A file on a web server.
    Http {
        /// Where it is, signature and all: only the agent may read the journal.
        url: PrivateUrl,
        /// What its content is packed into; else its first bytes tell.
        format: Option<Format>,
    },
}

/// Without what is secret in it.
impl std::fmt::Display for Pulled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Repository { repository, image } => write!(f, "{repository}/{image}"),
            Self::Http { url, .. } => url.fmt(f),
        }
    }
}

/// A request to install an image that the agent fetches.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Which disk.
    pub selector: Selector,
    /// Which image.
    pub source: ImageSource,
    /// How.
    pub options: Options,
    /// How the image is looked into.
    pub inspection: Choice,
    /// Findings of the compatibility gate that shall not count.
    pub overrides: Vec<Override>,
}

/// An image that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// What a plan must know.
    pub spec: ImageSpec,
    /// Where it is.
    pub pulled: Pulled,
    /// What describes it, if it is in a repository.
    pub image: Option<StoredImage>,
}

impl Found {
    /// What the image asks of its server.
    pub(super) fn requirements(&self) -> Requirements {
        let of_content = || Requirements::of_content(self.spec.layout.len_bytes(), self.spec.logical_block_size);
        self.image.as_ref().map_or_else(of_content, |image| Requirements::of(&image.manifest))
    }
}

/// What feeds an install.
enum Fetch {
    Repository { settings: Settings, image: ImageId },
    Http { source: HttpSource, layout: Layout },
}

impl Agent {
    /// Finds an image.
    ///
    /// # Errors
    /// If the repository is unknown, does not answer soon, or does not have it, or the image has expired; if a URL is not
    /// allowed, or its server does not give a file that can be what the caller says.
    pub fn find_image(&self, source: &ImageSource) -> Result<Found, AgentError> {
        match source {
            ImageSource::Repository { repository, image } => self.find_in_repository(repository, image),
            ImageSource::Http { url, format, spec } => {
                self.http.source_for_call(url, *format)?.probe(spec.layout.len_bytes())?;
                let pulled = Pulled::Http { url: url.clone(), format: *format };
                Ok(Found { spec: *spec, pulled, image: None })
            }
        }
    }

    fn find_in_repository(&self, repository: &str, image: &ImageName) -> Result<Found, AgentError> {
        let (name, settings) = self.repository_settings(repository)?;
        let settings = Settings { retry_seconds: settings.retry_seconds.min(CALL_RETRY_SECONDS), ..settings.clone() };
        let image = runtime(&settings)?.block_on(async { Repository::open(&settings).await?.find(image).await })?;
        let now = unix_seconds(self.clock.0.now());
        if let Some(not_after) = image.manifest.not_after.filter(|&not_after| now > not_after) {
            return Err(AgentError::ImageExpired { image: image.id.to_string(), not_after });
        }
        let spec = ImageSpec {
            layout: image.manifest.layout().map_err(RepositoryError::from)?,
            root: Some(*image.manifest.content.root.0.as_bytes()),
            logical_block_size: Some(image.manifest.disk.logical_block_size),
        };
        let pulled = Pulled::Repository { repository: name.to_owned(), image: image.id };
        Ok(Found { spec, pulled, image: Some(image) })
    }

    /// Decides what an install of an image that the agent fetches would do.
    ///
    /// # Errors
    /// As [`find_image`](Self::find_image) and [`plan`](Self::plan).
    pub fn plan_pull(&self, request: &PullRequest) -> Result<(Planned, Found), AgentError> {
        let found = self.find_image(&request.source)?;
        let PullRequest { selector, options, inspection, overrides, .. } = request.clone();
        let admission = Admission { requirements: found.requirements(), overrides };
        Ok((self.plan(&InstallRequest { selector, image: found.spec, options, inspection, admission })?, found))
    }

    /// Begins an install of an image that the agent fetches, or finds the one that the same request began.
    ///
    /// # Errors
    /// As [`plan_pull`](Self::plan_pull) and [`install`](Self::install); and if the journal cannot be written. Nothing
    /// was written to a disk then.
    pub fn install_image(
        self: &Arc<Self>,
        id: &Request,
        request: &PullRequest,
        token: &[u8],
    ) -> Result<Arc<Operation>, AgentError> {
        if let Some(operation) = self.registry.known(id)? {
            return Ok(operation);
        }
        let (planned, found) = self.plan_pull(request)?;
        if !token.is_empty() {
            self.tokens.redeem(token, &planned.plan, &id.caller.identity())?;
        }
        let disk = &planned.plan.disk;
        let (runtime, fetch) = self.fetch(&found.pulled, planned.plan.image.layout)?;
        let name = found.pulled.to_string();
        let pending = Pending::new(&found.spec, request.options, found.pulled);
        let pending = pending.inspected(request.inspection.clone()).admitted(planned.case.admission.clone());
        let first_block = planned.surveyed.content.as_ref().and_then(|content| content.first_block);
        let pull = Some(pending.on(selector_of(disk).to_string(), self.boot_id(), first_block));
        let intent = planned.intent(id, Some(name), pull);
        let (work, device) = match self.begin(intent, |disk| guard::open_for_writing(&self.discovery, disk))? {
            Start::Begun(work, device) => (work, device),
            Start::Known(operation) => return Ok(operation),
        };
        let operation = work.operation().clone();
        let intake = self.start_install(work, device, &planned)?;
        spawn_fetch(runtime, fetch, intake, operation.span())?;
        Ok(operation)
    }

    /// Goes on with the installs that an agent before this one began, and gives those that go on. Each that cannot is ended
    /// with the reason: its disk has no boot region, and a marker says why.
    pub fn resume(self: &Arc<Self>, waiting: Vec<Waiting>) -> Vec<Arc<Operation>> {
        let mut resumed = Vec::new();
        for Waiting { operation, pending } in waiting {
            match self.resume_one(&operation, pending) {
                Ok(()) => {
                    tracing::info!(operation = %operation.id, disk = operation.disk, "goes on after a restart");
                    resumed.push(operation);
                }
                // The next agent tries it.
                Err(error) if self.registry.is_stopping() => {
                    let error = crate::text::chain(&error);
                    tracing::info!(operation = %operation.id, error, "waits still: the agent is stopping");
                }
                Err(error) => self.end_restored(&operation, Failure::from(&error)),
            }
        }
        resumed
    }

    fn resume_one(self: &Arc<Self>, operation: &Operation, pending: Pending) -> Result<(), AgentError> {
        let boot_id = self.boot_id();
        if boot_id.is_none() || pending.boot_id != boot_id {
            return Err(AgentError::Rebooted);
        }
        let image = pending.image().ok_or(AgentError::Rebooted)?;
        let (runtime, fetch) = self.fetch(&pending.source, image.layout)?;
        let (selector, options, name) = (pending.disk.parse()?, pending.options(), pending.source.to_string());
        let before = pending.first_block();
        let Pending { inspection, admission, .. } = pending;
        let planned = self.plan(&InstallRequest { selector, image, options, inspection, admission })?;
        let open = |disk: &Disk| {
            let device = guard::open_for_writing(&self.discovery, disk)?;
            // One that cannot be read says nothing.
            let installed = self.records.load(&disk.identity).ok().flatten().filter(|tree| is_of(tree, &image));
            let is_as_left = is_as_left(&device, operation.id, before, installed.as_ref())?;
            if is_as_left { Ok(device) } else { Err(AgentError::WrittenSince { disk: disk.name.clone() }) }
        };
        let audited = planned.audited(Some(name));
        let (work, device) = self.begin_again(operation.id, &planned.plan.disk, audited, open)?;
        let intake = self.start_install(work, device, &planned)?;
        spawn_fetch(runtime, fetch, intake, operation.span())
    }

    /// What will feed an install, and the runtime that it does so on.
    fn fetch(&self, source: &Pulled, layout: Layout) -> Result<(Runtime, Fetch), AgentError> {
        match source {
            Pulled::Repository { repository, image } => {
                let (_, settings) = self.repository_settings(repository)?;
                Ok((runtime(settings)?, Fetch::Repository { settings: settings.clone(), image: *image }))
            }
            Pulled::Http { url, format } => {
                let source = self.http.source(url, *format)?;
                let runtime = new_runtime().map_err(|source| AgentError::Thread { source })?;
                Ok((runtime, Fetch::Http { source, layout }))
            }
        }
    }

    /// The settings of a repository, and its name; no name will do where there is only one.
    pub(super) fn repository_settings(&self, name: &str) -> Result<(&str, &Settings), AgentError> {
        let found = match name {
            "" if self.repositories.len() == 1 => self.repositories.iter().next(),
            name => self.repositories.get_key_value(name),
        };
        let found = found.map(|(name, settings)| (name.as_str(), settings));
        found.ok_or_else(|| AgentError::RepositoryUnknown {
            repository: crate::text::printable(name),
            known: self.repositories.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    fn boot_id(&self) -> Option<String> {
        host::boot_id(&self.discovery.roots)
    }
}

/// Whether a record can be of an image.
fn is_of(tree: &Tree, image: &ImageSpec) -> bool {
    let root = image.root.map(blake3::Hash::from_bytes);
    tree.layout() == image.layout && root.is_none_or(|root| tree.root() == root)
}

/// What names this very disk until the next boot.
fn selector_of(disk: &Disk) -> Selector {
    let identity = &disk.identity;
    Selector {
        serial: identity.serial.clone(),
        wwn: identity.wwn.clone(),
        backing_file: identity.backing_file.clone(),
        diskseq: identity.diskseq,
        size_bytes: Some(disk.size_bytes),
        ..Selector::default()
    }
}

/// A runtime for the connections of one operation, so that calls are answered while they are busy.
pub(super) fn runtime(settings: &Settings) -> Result<Runtime, RepositoryError> {
    new_runtime().map_err(|source| RepositoryError::Process { location: settings.location.to_string(), source })
}

fn new_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(4).build()
}

/// Starts the thread that feeds an install. It ends when the install does.
fn spawn_fetch(runtime: Runtime, fetch: Fetch, intake: Intake, span: tracing::Span) -> Result<(), AgentError> {
    let Intake { events, wants, halt, budget } = intake;
    let outlet = Outlet { events, wants, budget };
    let body = move || {
        let _entered = span.entered();
        let feed = async {
            match fetch {
                Fetch::Repository { settings, image } => feed_from_repository(&settings, image, outlet).await,
                Fetch::Http { source, layout } => pull::from_http(source, layout, outlet, halt.clone()).await,
            }
        };
        runtime.block_on(halt.run_until_cancelled(feed));
        // Reads that are stuck in a file system hold nobody up.
        runtime.shutdown_timeout(Duration::ZERO);
    };
    // A thread that cannot be started drops the outlet: the install ends as interrupted.
    let thread = thread::Builder::new().name("fetch".to_owned()).spawn(body);
    thread.map(drop).map_err(|source| AgentError::Thread { source })
}

async fn feed_from_repository(settings: &Settings, image: ImageId, outlet: Outlet) {
    let events = outlet.events.clone();
    let feed = async {
        let repository = Repository::open(settings).await?;
        let image = repository.image(image).await?;
        pull::from_repository(&repository, &image, outlet).await;
        Ok::<_, RepositoryError>(())
    };
    if let Err(error) = feed.await {
        let error = ProvisionError::Source(SourceFailure::new(PullError::from(error)));
        // Workers that are gone have a reason of their own.
        drop(events.send(FeedEvent::Broken(error)).await);
    }
}

mod image_id {
    //! An image id as hex.

    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::image::manifest::ImageId;

    pub(super) fn serialize<S: Serializer>(id: &ImageId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ImageId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
