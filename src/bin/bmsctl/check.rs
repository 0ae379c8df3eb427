//! `bmsctl image check`: whether an image can live on the servers it is for. Files and images of repositories are looked
//! into by this program, in a child without rights; disks and running systems by their agent.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bms_agent::agent::Inspection;
use bms_agent::image::manifest::Manifest;
use bms_agent::image::source::{OpenOptions, Source, open};
use bms_agent::inspect::check::Checks;
use bms_agent::inspect::child::Inspector;
use bms_agent::inspect::examine::{Examination, Request};
use bms_agent::inspect::policy::{self, Choice};
use bms_agent::inspect::profile::Profiles;
use bms_agent::inspect::reader::DiskReader;
use bms_agent::repository::{ImageName, ImageReader, Repository};
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
    let wanted = wanted(&args.config, &args.profile, args.checks.as_deref())?;
    let request = |logical_block_size| Request { logical_block_size, ..wanted.clone() };
    let examination = match &args.repository {
        Some(repository) => {
            let repository = RepositoryArgs { repository: repository.clone(), config: args.config.clone() };
            let name = image.parse().map_err(|source| CtlError::ImageName { source })?;
            in_repository(&repository, &name, |image| request(Some(image.disk.logical_block_size)))?.1
        }
        None => in_file(args, Path::new(image), &request)?,
    };
    show(args, image.to_owned(), view(Inspection { examination, profile: wanted.profile }), output)
}

/// What a look is asked for, whatever the image: the profile and the checks.
pub(crate) fn wanted(config: &Path, profile: &ProfileArgs, checks: Option<&Path>) -> Result<Request, CtlError> {
    let failed = |source| CtlError::Settings { path: config.to_owned(), source };
    let profiles = Profiles::built_in().map_err(|source| CtlError::Profiles { source })?;
    let profiles = profiles.with(profiles_of(config).map_err(failed)?);
    let settings = policy::Settings { profiles, ..policy::Settings::default() };
    let choice = Choice { policy: None, profile: profile.profile.clone(), known: profile.known() };
    let (_, profile) = settings.resolve(&choice)?;
    let checks = checks.map_or_else(Checks::built_in, Checks::load);
    let checks = Arc::new(checks.map_err(|source| CtlError::Checks { source })?);
    Ok(Request { logical_block_size: None, profile, checks, devices: Vec::new() })
}

/// Looks into an image of a repository; gives its manifest, too.
pub(crate) fn in_repository(
    repository: &RepositoryArgs,
    image: &ImageName,
    request: impl FnOnce(&Manifest) -> Request,
) -> Result<(Manifest, Examination), CtlError> {
    let settings = resolve(repository)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CtlError::Runtime { source })?;
    let repository = runtime.block_on(Repository::open(&settings))?;
    let image = runtime.block_on(repository.find(image))?;
    let reader = ImageReader::open(&repository, &image, &runtime)?;
    let request = request(&image.manifest);
    let examination = reader.examine(&Inspector::default(), &request, &CancellationToken::new())?;
    Ok((image.manifest.clone(), examination))
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
    let [findings, remedies] = findings(&view.findings, all);
    paragraphs(&[fields.into_text(), findings, remedies])
}

/// Findings as a table, and what to do about them; without `all` those alone that are not as they should be.
pub(crate) fn findings<'a>(findings: impl IntoIterator<Item = &'a FindingView>, all: bool) -> [String; 2] {
    let told = |finding: &&FindingView| all || !["pass", "not_applicable"].contains(&finding.status);
    let told: Vec<_> = findings.into_iter().filter(told).collect();
    let rows = told.iter().map(|finding| {
        let FindingView { id, status, severity, title, reason, .. } = finding;
        [id.clone(), words(status), (*severity).to_owned(), title.clone(), reason.clone()]
    });
    let remedies = told.iter().filter_map(|finding| Some(format!("{}: {}", finding.id, finding.remedy.as_deref()?)));
    [table(["check", "status", "severity", "what", "why"], rows), remedies.collect::<Vec<_>>().join("\n")]
}

/// Texts with an empty line between them.
pub(crate) fn paragraphs(parts: &[String]) -> String {
    parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}
