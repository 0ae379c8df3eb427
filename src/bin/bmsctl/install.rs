//! `bmsctl install`: plan, show what will be lost, ask; then push a file, or have the agent fetch an image from a
//! repository or a web server.

use std::path::{Path, PathBuf};

use bms_agent::image::group::Layout;
use bms_agent::image::source::{Format, Source};
use bms_agent::repository::ImageName;
use bms_agent::rpc::proto::v1::{
    Compression as FileCompression, HttpImage, ImageSource, ImageSpec, InspectionPolicy, InstallImageRequest,
    InstallOptions, PlanInstallRequest, PlanInstallResponse, PushBegin, RepositoryImage, image_source,
};
use uuid::Uuid;

use crate::check::wire_profile;
use crate::cli::{InspectionArg, InstallArgs};
use crate::confirm::confirm;
use crate::connect::Agent;
use crate::disk::wire_selector;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::image::open_image;
use crate::operation::describe;
use crate::output::Output;
use crate::push::{Compression, Push, push};
use crate::table::{Fields, or_dash, table};
use crate::view::{DiskView, FindingView, PlanView};
use crate::watch::{outcome, wait};

/// Installs an image: one of the agent's repository or of a web server, which it fetches, or a file of this machine, which
/// is pushed.
pub(crate) async fn run(args: &InstallArgs, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    match image_of(args) {
        Image::InRepository(image) => pull(args, image_source::Source::Repository(image), agent, output).await,
        Image::AtUrl(url) => pull(args, image_source::Source::Http(http_image(args, url)?), agent, output).await,
        Image::File(path) => push_file(args, &path, agent, output).await,
    }
}

/// What `--image` means.
enum Image {
    File(PathBuf),
    InRepository(RepositoryImage),
    AtUrl(String),
}

/// What begins like a URL is one, and a file that exists is a file, unless a repository is named. What is neither a file
/// nor a name is a file that is missing.
fn image_of(args: &InstallArgs) -> Image {
    let path = PathBuf::from(&args.image);
    let named = args.repository.is_some() || (!path.exists() && args.image.parse::<ImageName>().is_ok());
    if named {
        let repository = args.repository.clone().unwrap_or_default();
        return Image::InRepository(RepositoryImage { repository, image: args.image.clone() });
    }
    if args.image.starts_with("http://") || args.image.starts_with("https://") {
        return Image::AtUrl(args.image.clone());
    }
    Image::File(path)
}

/// The agent reads the file only once, so that it must know beforehand what will come.
fn http_image(args: &InstallArgs, url: String) -> Result<HttpImage, CtlError> {
    let compression = match args.source.format {
        None => FileCompression::Unspecified,
        Some(Format::Raw) => FileCompression::None,
        Some(Format::Gzip) => FileCompression::Gzip,
        Some(Format::Xz) => FileCompression::Xz,
        Some(Format::Zstd) => FileCompression::Zstd,
        Some(Format::Qcow2) => {
            return Err(CtlError::UrlOption { problem: "cannot be qcow2: import it into a repository" });
        }
    };
    let root = args.root.ok_or(CtlError::UrlOption { problem: "needs --root, the BLAKE3 of its raw content" })?;
    let size =
        args.source.size.ok_or(CtlError::UrlOption { problem: "needs --size, the length of its raw content" })?;
    Ok(HttpImage {
        url,
        compression: compression.into(),
        size_bytes: size,
        root: root.as_bytes().to_vec(),
        logical_block_size_bytes: 0,
    })
}

async fn pull(
    args: &InstallArgs,
    source: image_source::Source,
    agent: &Agent,
    output: &Output,
) -> Result<Exit, CtlError> {
    let request = PlanInstallRequest {
        disk: Some(wire_selector(&args.disk)),
        image: None,
        options: Some(options(args)),
        source: Some(ImageSource { source: Some(source) }),
    };
    let Some(plan_token) = agree(args, request.clone(), agent, output).await? else { return Ok(Exit::Done) };
    let begin = InstallImageRequest {
        request_id: request_id(args),
        disk: request.disk,
        source: request.source,
        options: request.options,
        plan_token,
    };
    let operation = agent.provisioning().install_image(begin).await?.into_inner();
    let operation = wait(agent, &operation.name, output).await?;
    output.result(&outcome(operation)?, describe)?;
    Ok(Exit::Done)
}

async fn push_file(args: &InstallArgs, path: &Path, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let source = open_image(path, args.source.format, args.source.size)?;
    let layout = args.source.layout(&source);
    let request = plan_request(args, &source, layout);
    let Some(plan_token) = agree(args, request.clone(), agent, output).await? else { return Ok(Exit::Done) };
    let begin = PushBegin {
        request_id: request_id(args),
        disk: request.disk,
        image: request.image,
        options: request.options,
        plan_token,
    };
    let compression = if args.compress { Compression::Zstd } else { Compression::None };
    let operation = push(agent, Push { source, layout, compression, begin }, output).await?;
    output.result(&outcome(operation)?, describe)?;
    Ok(Exit::Done)
}

/// Plans, and has the user agree to it; gives the plan's token, or nothing if only the plan was asked for.
async fn agree(
    args: &InstallArgs,
    request: PlanInstallRequest,
    agent: &Agent,
    output: &Output,
) -> Result<Option<Vec<u8>>, CtlError> {
    let answer = agent.provisioning().plan_install(request).await?.into_inner();
    let (plan, token) = plan(answer)?;
    if args.plan {
        output.result(&plan, describe_plan)?;
        return Ok(None);
    }
    output.note(&describe_plan(&plan));
    confirm(&plan.disk, args.yes, output).await?;
    Ok(Some(token))
}

fn request_id(args: &InstallArgs) -> String {
    args.request_id.unwrap_or_else(Uuid::new_v4).to_string()
}

fn options(args: &InstallArgs) -> InstallOptions {
    let inspection = args.inspection.map_or(InspectionPolicy::Unspecified, |policy| match policy {
        InspectionArg::Require => InspectionPolicy::Require,
        InspectionArg::Warn => InspectionPolicy::Warn,
        InspectionArg::Off => InspectionPolicy::Off,
    });
    let profile = Some(wire_profile(&args.profile));
    InstallOptions {
        in_place: args.in_place,
        wipe_rest: args.wipe_rest,
        inspection: inspection.into(),
        profile,
        overrides: args.overrides.clone(),
    }
}

fn plan_request(args: &InstallArgs, source: &Source, layout: Layout) -> PlanInstallRequest {
    PlanInstallRequest {
        disk: Some(wire_selector(&args.disk)),
        image: Some(ImageSpec {
            size_bytes: layout.len_bytes(),
            group_size_bytes: layout.group_size().bytes(),
            root: args.root.map(|root| root.as_bytes().to_vec()).unwrap_or_default(),
            logical_block_size_bytes: source.logical_block_size().unwrap_or_default(),
        }),
        options: Some(options(args)),
        source: None,
    }
}

fn plan(answer: PlanInstallResponse) -> Result<(PlanView, Vec<u8>), CtlError> {
    let plan = answer.plan.ok_or(CtlError::Answer { what: "an answer without a plan" })?;
    Ok((plan.into(), answer.token))
}

/// What will be done, and what will be lost.
fn describe_plan(plan: &PlanView) -> String {
    let disk = &plan.disk;
    let how = if plan.in_place { "in place: only what differs is moved" } else { "in full: every group is moved" };
    let mut fields = Fields::new()
        .field("disk", &disk.name)
        .maybe("serial", disk.serial.as_deref().or(disk.wwn.as_deref()))
        .maybe("model", disk.model.as_deref())
        .maybe("backing file", disk.backing_file.as_deref())
        .field("size", &format!("{} ({} bytes)", bytes(disk.size_bytes), disk.size_bytes))
        .maybe("image", plan.image_name.as_deref())
        .maybe("image id", plan.image_id.as_deref())
        .field("content", &format!("{} ({} bytes)", bytes(plan.image_bytes), plan.image_bytes))
        .field("method", how);
    if plan.wiped_bytes > 0 {
        fields = fields.field("beyond it", &format!("{} will be zeroed", bytes(plan.wiped_bytes)));
    }
    if plan.kept_bytes > 0 {
        let kept = format!("{} keep their old content; --wipe-rest zeroes it", bytes(plan.kept_bytes));
        fields = fields.field("beyond it", &kept);
    }
    if let Some(install) = &disk.interrupted_install {
        let why = install.reason.as_deref().unwrap_or("killed, or running still");
        fields = fields.field("interrupted", &format!("{} ({why}) left it without a boot region", install.operation));
    }
    for judged in &plan.compatibility {
        if let Some(by) = &judged.overridden_by {
            let FindingView { id, reason, .. } = &judged.finding;
            fields = fields.field("overridden", &format!("{id} by {by}: {reason}"));
        }
    }
    for refusal in &disk.refusals {
        fields = fields.field("refused", &format!("{}: {}", refusal.reason, refusal.detail));
    }
    format!("The content of this disk will be LOST:\n\n{}\n\n{}", fields.into_text(), partitions(disk))
}

fn partitions(disk: &DiskView) -> String {
    let Some(kind) = &disk.partition_table else {
        return "It has no partition table.\n".to_owned();
    };
    if disk.partitions.is_empty() {
        return format!("Its partition table ({kind}) is empty.\n");
    }
    let rows = disk.partitions.iter().map(|partition| {
        let (number, offset) = (partition.number.to_string(), bytes(partition.offset_bytes));
        let label = or_dash(partition.label.as_deref());
        [number, offset, bytes(partition.size_bytes), label, partition.r#type.clone()]
    });
    format!("{}\n", table(["partition", "at", "size", "label", "type"], rows))
}

#[cfg(test)]
mod tests {
    use bms_agent::rpc::proto::v1;

    use super::{describe_plan, partitions};
    use crate::view::{DiskView, PlanView, disk_tests};

    #[test]
    fn a_plan_names_the_disk_and_all_that_will_be_lost() {
        let plan = v1::InstallPlan {
            disk: Some(disk_tests::disk()),
            image_bytes: 4 << 30,
            kept_bytes: 1 << 30,
            in_place: true,
            ..v1::InstallPlan::default()
        };
        let text = describe_plan(&PlanView::from(plan));
        for part in [
            "LOST",
            "nvme0n1",
            "S4EV",
            "Vendor 970",
            "5.0 GiB (5368709120 bytes)",
            "4.0 GiB (4294967296 bytes)",
            "only what differs is moved",
            "1.0 GiB keep their old content; --wipe-rest zeroes it",
            "operations/3 (killed, or running still) left it without a boot region",
            "DISK_MOUNTED: nvme0n1p1 on /srv",
            "data",
            "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn an_empty_disk_says_so() {
        let empty = DiskView::from(v1::Disk::default());
        assert_eq!(partitions(&empty), "It has no partition table.\n");
        let table = v1::Disk { partition_table: "mbr".to_owned(), ..v1::Disk::default() };
        assert_eq!(partitions(&DiskView::from(table)), "Its partition table (mbr) is empty.\n");
    }
}
