//! Installs that fetch their image: finding it, beginning, and going on after a restart.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use super::error::AgentError;
use super::journal::Pending;
use super::{Agent, InstallRequest, Intake, Planned};
use crate::clock::unix_seconds;
use crate::compatibility::{Admission, Override, Requirements};
use crate::disk::discovery::Disk;
use crate::disk::selector::Selector;
use crate::hardware::host;
use crate::image::group::Layout;
use crate::image::manifest::ImageId;
use crate::image::source::Format;
use crate::inspect::policy::Choice;
use crate::net::http::PrivateUrl;
use crate::operation::registry::{Begun, Request};
use crate::operation::{Failure, Operation, OperationKind};
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
            self.tokens.redeem(token, &planned.plan)?;
        }
        let operation = Uuid::new_v4();
        let pending = Pending::new(operation, id, &found.spec, request.options, found.pulled);
        let pending = pending.inspected(request.inspection.clone()).admitted(planned.case.admission.clone());
        self.begin_pull(pending, &planned)
    }

    /// Goes on with the installs that an agent before this one began. Each that cannot go on is told and forgotten: its
    /// disk has no boot region, and a marker says why.
    pub fn resume(self: &Arc<Self>) {
        let pending = match self.journal.pending() {
            Ok(pending) => pending,
            Err(error) => return tracing::error!(error = %crate::text::chain(&error), "cannot read the journal"),
        };
        for pending in pending {
            let operation = pending.operation;
            match self.resume_one(pending) {
                Ok(operation) => {
                    tracing::info!(operation = %operation.id, disk = operation.disk, "goes on after a restart");
                }
                Err(error) => {
                    let error = crate::text::chain(&error);
                    tracing::error!(operation = %operation, error, "an install that was interrupted cannot go on");
                    self.forget(operation);
                }
            }
        }
    }

    fn resume_one(self: &Arc<Self>, pending: Pending) -> Result<Arc<Operation>, AgentError> {
        let boot_id = self.boot_id();
        if boot_id.is_none() || pending.boot_id != boot_id {
            return Err(AgentError::Rebooted);
        }
        let image = pending.image().ok_or(AgentError::Rebooted)?;
        let selector = pending.disk.parse()?;
        let (options, inspection) = (pending.options(), pending.inspection.clone());
        let admission = pending.admission.clone();
        let planned = self.plan(&InstallRequest { selector, image, options, inspection, admission })?;
        self.begin_pull(pending, &planned)
    }

    fn begin_pull(self: &Arc<Self>, pending: Pending, planned: &Planned) -> Result<Arc<Operation>, AgentError> {
        let (runtime, fetch) = self.fetch(&pending.source, planned.plan.image.layout)?;
        let disk = &planned.plan.disk;
        let running =
            match self.registry.begin_as(pending.operation, &pending.request(), OperationKind::Install, disk)? {
                Begun::New(running) => running,
                Begun::Known(operation) => return Ok(operation),
            };
        let operation = running.operation().clone();
        let pending = pending.on(selector_of(disk).to_string(), self.boot_id());
        if let Err(error) = self.journal.begin(&pending) {
            running.withdraw(Failure::from(&error));
            return Err(error.into());
        }
        let begun = self.start_install(running, planned);
        let intake = begun.inspect_err(|_| self.forget(operation.id))?;
        spawn_fetch(runtime, fetch, intake, operation.span())?;
        Ok(operation)
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

    /// Cancels an operation for good: an install that is cancelled does not go on after a restart, even one that comes
    /// before it has ended.
    pub fn cancel(&self, operation: &Operation) {
        self.forget(operation.id);
        operation.cancel.cancel();
        // Whoever asks next sees that it is to end.
        operation.publish();
    }

    /// Takes an install out of the journal.
    pub(super) fn forget(&self, operation: Uuid) {
        if let Err(error) = self.journal.end(operation) {
            tracing::error!(error = %crate::text::chain(&error), "an install that has ended stays in the journal");
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
