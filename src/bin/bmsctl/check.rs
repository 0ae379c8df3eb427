//! `bmsctl image check`: whether an image can live on the servers it is for. Files and images of repositories are looked
//! into by this program, in a child without rights; disks and running systems by their agent.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bms_agent::agent::Inspection;
use bms_agent::image::source::{OpenOptions, Source, open};
use bms_agent::inspect::check::Checks;
use bms_agent::inspect::child::Inspector;
use bms_agent::inspect::examine::{Examination, Request};
use bms_agent::inspect::policy::{self, Choice};
use bms_agent::inspect::profile::Profiles;
use bms_agent::inspect::reader::DiskReader;
use bms_agent::repository::{ImageReader, Repository};
use bms_agent::rpc::inspect::{profile_view, view};
use bms_agent::rpc::proto::v1;
use tokio_util::sync::CancellationToken;

use crate::cli::{CheckImageArgs, ProfileArgs, RepositoryArgs};
use crate::connect::Agent;
use crate::disk::wire_selector;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::output::Output;
use crate::settings::{profiles as profiles_of, resolve};
use crate::table::{Fields, table};
use crate::view::{FindingView, InspectionView};

/// Checks a file, or an image of a repository.
pub(crate) fn run_here(args: &CheckImageArgs, image: &str, output: &Output) -> Result<Exit, CtlError> {
    let failed = |source| CtlError::Settings { path: args.config.clone(), source };
    let profiles = Profiles::built_in().map_err(|source| CtlError::Profiles { source })?;
    let profiles = profiles.with(profiles_of(&args.config).map_err(failed)?);
    let settings = policy::Settings { profiles, ..policy::Settings::default() };
    let choice = Choice { policy: None, profile: args.profile.profile.clone(), known: args.profile.known() };
    let (_, profile) = settings.resolve(&choice)?;
    let checks = match &args.checks {
        Some(directory) => Checks::load(directory),
        None => Checks::built_in(),
    };
    let checks = Arc::new(checks.map_err(|source| CtlError::Checks { source })?);
    let request = |logical_block_size| Request {
        logical_block_size,
        profile: profile.clone(),
        checks: checks.clone(),
        devices: Vec::new(),
    };
    let examination = match &args.repository {
        Some(repository) => in_repository(args, repository, image, &request)?,
        None => in_file(args, Path::new(image), &request)?,
    };
    show(args, image.to_owned(), view(Inspection { examination, profile }), output)
}

fn in_file(
    args: &CheckImageArgs,
    path: &Path,
    request: &dyn Fn(Option<u32>) -> Request,
) -> Result<Examination, CtlError> {
    let options = OpenOptions { format: args.format, len_bytes: None };
    let source = open(path, &options).map_err(|source| CtlError::OpenImage { source })?;
    // A format that is read from its start is refused here, and not as an image of which nothing is known.
    source.read_at(0, &mut []).map_err(|source| CtlError::OpenImage { source })?;
    let block_size = source.logical_block_size();
    Ok(Inspector::default().examine(&SourceReader(source), &request(block_size), &CancellationToken::new())?)
}

/// An image file, read here and there.
#[derive(Debug)]
struct SourceReader(Source);

impl DiskReader for SourceReader {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.len_bytes()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.read_at(offset, out).map_err(io::Error::other)
    }
}

fn in_repository(
    args: &CheckImageArgs,
    repository: &str,
    image: &str,
    request: &dyn Fn(Option<u32>) -> Request,
) -> Result<Examination, CtlError> {
    let name = image.parse().map_err(|source| CtlError::ImageName { source })?;
    let settings = resolve(&RepositoryArgs { repository: repository.to_owned(), config: args.config.clone() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CtlError::Runtime { source })?;
    let repository = runtime.block_on(Repository::open(&settings))?;
    let image = runtime.block_on(repository.find(&name))?;
    let reader = ImageReader::open(&repository, &image, &runtime)?;
    let request = request(Some(image.manifest.disk.logical_block_size));
    Ok(reader.examine(&Inspector::default(), &request, &CancellationToken::new())?)
}

/// Has the agent check a disk, or the running system.
pub(crate) async fn run_there(args: &CheckImageArgs, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let profile = Some(wire_profile(&args.profile));
    let (subject, inspection) = match &args.disk {
        Some(disk) => {
            let request = v1::InspectDiskRequest { disk: Some(wire_selector(disk)), profile };
            (disk.to_string(), agent.disks().inspect_disk(request).await?.into_inner().inspection)
        }
        None => {
            let request = v1::InspectHostRequest { profile };
            ("the running system".to_owned(), agent.hosts().inspect_host(request).await?.into_inner().inspection)
        }
    };
    let inspection = inspection.ok_or(CtlError::Answer { what: "an answer without an inspection" })?;
    show(args, subject, inspection, output)
}

/// What is known of the servers, for the agent.
pub(crate) fn wire_profile(args: &ProfileArgs) -> v1::Profile {
    v1::Profile { name: args.profile.clone(), ..profile_view(&args.known()) }
}

fn show(args: &CheckImageArgs, subject: String, inspection: v1::Inspection, output: &Output) -> Result<Exit, CtlError> {
    let exit = match inspection.verdict() {
        v1::Verdict::Pass | v1::Verdict::Warn | v1::Verdict::NotApplicable => Exit::Done,
        v1::Verdict::Fail => Exit::Unfit,
        v1::Verdict::Unknown | v1::Verdict::Unspecified => Exit::Unknown,
    };
    output.result(&InspectionView::new(subject, inspection), |view| text(view, args.all))?;
    Ok(exit)
}

/// A name of the JSON, for people.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn text(view: &InspectionView, all: bool) -> String {
    let kernels: Vec<_> = view.kernels.iter().map(|kernel| kernel.release.as_str()).collect();
    let mut fields = Fields::new()
        .field("looked into", &view.subject)
        .some("system", view.system.as_deref())
        .some("architecture", view.architecture.as_deref())
        .field("kernels", &kernels.join(", "))
        .field("cloud-init", &words(view.cloud_init))
        .field("network plug-in", &words(view.network_plug_in))
        .field("SDI driver", &words(view.sdi_driver))
        .field("verdict", view.verdict)
        .field("read", &bytes(view.read_bytes));
    for note in &view.notes {
        fields = fields.field("note", note);
    }
    let told = |finding: &&FindingView| all || !["pass", "not_applicable"].contains(&finding.status);
    let rows = view.findings.iter().filter(told).map(|finding| {
        let FindingView { id, status, severity, title, reason, .. } = finding;
        [id.clone(), words(status), (*severity).to_owned(), title.clone(), reason.clone()]
    });
    let findings = table(["check", "status", "severity", "what", "why"], rows);
    let remedies = view.findings.iter().filter(told).filter_map(|finding| {
        let remedy = finding.remedy.as_deref()?;
        Some(format!("{}: {remedy}", finding.id))
    });
    let remedies: Vec<_> = remedies.collect();
    let parts = [fields.into_text(), findings, remedies.join("\n")];
    parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}
