//! From the wire to the domain: every field is checked, and all violations are told at once.

mod source;
#[cfg(test)]
mod tests;

use uuid::Uuid;

pub(super) use self::source::image_source;
use super::proto::v1;
use super::role::Method;
use super::status::RequestError;
use super::{compatibility, inspect};
use crate::agent::{CaptureRequest, InstallRequest, NewImage, PullRequest, Subject, VerifyAgainst};
use crate::compatibility::{Admission, Override, Requirements};
use crate::disk::identity::Transport;
use crate::disk::selector::Selector;
use crate::image::group::{ChainingValue, GroupSize, Layout};
use crate::image::manifest::{CaptureMode, Kind, is_name};
use crate::inspect::policy::Choice;
use crate::operation::{Call, Caller, Request};
use crate::provision::error::ProvisionError;
use crate::provision::feed::{Encoding, FeedEvent, Offered, Part};
use crate::provision::plan::{ImageSpec, Options};

/// Longest text in a request, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// The id of a mutating request, the digest of its content, and who makes it.
pub(super) fn request(
    method: Method,
    id: &str,
    message: &impl prost::Message,
    caller: &Caller,
) -> Result<Request, RequestError> {
    let wrong = || RequestError::of("request_id", "must be a UUID, and not the nil UUID");
    let id = Uuid::try_parse(id).ok().filter(|id| !id.is_nil()).ok_or_else(wrong)?;
    Ok(Request {
        id,
        digest: *blake3::hash(&message.encode_to_vec()).as_bytes(),
        caller: caller.clone(),
        method: method.path(),
        call: Call::default(),
    })
}

/// What to install where. `caller` is who overrides.
pub(super) fn install_request(
    disk: Option<v1::DiskSelector>,
    image: Option<v1::ImageSpec>,
    options: Option<v1::InstallOptions>,
    caller: &Caller,
) -> Result<InstallRequest, RequestError> {
    let mut errors = RequestError::default();
    let selector = selector(disk, &mut errors);
    let image = image_spec(&image.unwrap_or_default(), &mut errors);
    let How { options, inspection, overrides } = install_options(options, caller, &mut errors);
    errors.check()?;
    match image {
        Some(image) => {
            let requirements = Requirements::of_content(image.layout.len_bytes(), image.logical_block_size);
            let admission = Admission { requirements, overrides };
            Ok(InstallRequest { selector, image, options, inspection, admission })
        }
        None => Err(RequestError::of("image", "is missing")),
    }
}

/// Which image the agent is to fetch, and where it goes. `caller` is who overrides.
pub(super) fn pull_request(
    disk: Option<v1::DiskSelector>,
    source: Option<v1::ImageSource>,
    options: Option<v1::InstallOptions>,
    caller: &Caller,
) -> Result<PullRequest, RequestError> {
    let mut errors = RequestError::default();
    let selector = selector(disk, &mut errors);
    let source = image_source(source, &mut errors);
    let How { options, inspection, overrides } = install_options(options, caller, &mut errors);
    errors.check()?;
    match source {
        Some(source) => Ok(PullRequest { selector, source, options, inspection, overrides }),
        None => Err(RequestError::of("source", "is missing")),
    }
}

/// How to install.
struct How {
    options: Options,
    inspection: Choice,
    overrides: Vec<Override>,
}

fn install_options(options: Option<v1::InstallOptions>, caller: &Caller, errors: &mut RequestError) -> How {
    let v1::InstallOptions { in_place, wipe_rest, inspection, profile, overrides } = options.unwrap_or_default();
    How {
        options: Options { in_place, wipe_rest },
        inspection: inspect::choice(inspection, profile, "options.profile", errors),
        overrides: compatibility::overrides("options.overrides", overrides, caller, errors),
    }
}

/// Which disk to look into, and for which servers.
pub(super) fn inspect_disk_request(request: v1::InspectDiskRequest) -> Result<(Subject, Choice), RequestError> {
    let mut errors = RequestError::default();
    let selector = selector(request.disk, &mut errors);
    let choice = inspect::choice(0, request.profile, "profile", &mut errors);
    errors.check()?;
    Ok((Subject::Disk(selector), choice))
}

/// Which image to look into, and for which servers.
pub(super) fn inspect_image_request(request: v1::InspectImageRequest) -> Result<(Subject, Choice), RequestError> {
    let mut errors = RequestError::default();
    let source = image_source(request.source, &mut errors);
    let choice = inspect::choice(0, request.profile, "profile", &mut errors);
    errors.check()?;
    match source {
        Some(source) => Ok((Subject::Image(source), choice)),
        None => Err(RequestError::of("source", "is missing")),
    }
}

/// Which servers the running system is for.
pub(super) fn inspect_host_request(request: v1::InspectHostRequest) -> Result<Choice, RequestError> {
    let mut errors = RequestError::default();
    let choice = inspect::choice(0, request.profile, "profile", &mut errors);
    errors.check()?;
    Ok(choice)
}

fn image_spec(image: &v1::ImageSpec, errors: &mut RequestError) -> Option<ImageSpec> {
    check_len("image.size_bytes", image.size_bytes, errors);
    let group_size = match image.group_size_bytes {
        0 => Ok(GroupSize::default()),
        bytes => GroupSize::new(bytes),
    };
    let root = optional_root("image.root", &image.root, errors);
    let logical_block_size = block_size("image.logical_block_size_bytes", image.logical_block_size_bytes, errors);
    match group_size {
        Ok(group_size) => {
            Some(ImageSpec { layout: Layout::new(image.size_bytes, group_size), root, logical_block_size })
        }
        Err(error) => {
            errors.add("image.group_size_bytes", error.to_string());
            None
        }
    }
}

fn check_len(field: &'static str, len_bytes: u64, errors: &mut RequestError) {
    if len_bytes == 0 || i64::try_from(len_bytes).is_err() {
        errors.add(field, "must be from 1 to 2^63 - 1");
    }
}

fn block_size(field: &'static str, size: u32, errors: &mut RequestError) -> Option<u32> {
    match size {
        0 => None,
        size if size.is_power_of_two() && (512..=65536).contains(&size) => Some(size),
        _ => {
            errors.add(field, "must be 0 or a power of two from 512 to 65536");
            None
        }
    }
}

fn optional_root(field: &'static str, bytes: &[u8], errors: &mut RequestError) -> Option<[u8; 32]> {
    match <[u8; 32]>::try_from(bytes) {
        Ok(root) => Some(root),
        Err(_) if bytes.is_empty() => None,
        Err(_) => {
            errors.add(field, "must be 32 bytes, or empty");
            None
        }
    }
}

/// What to capture, and what becomes of it.
pub(super) fn capture_image_request(
    request: v1::CaptureImageRequest,
) -> Result<(CaptureRequest, NewImage), RequestError> {
    let mut errors = RequestError::default();
    let kind = match v1::ImageKind::try_from(request.kind) {
        Ok(v1::ImageKind::Public) => Kind::Public,
        Ok(v1::ImageKind::Private | v1::ImageKind::Unspecified) => Kind::Private,
        Err(error) => {
            errors.add("kind", error.to_string());
            Kind::Private
        }
    };
    for (field, text) in [("name", &request.name), ("version", &request.version), ("owner", &request.owner)] {
        if !is_name(text) {
            errors.add(field, "must be 1 to 128 of letters, digits, `.`, `_` and `-`, and not only dots");
        }
    }
    let named = (!request.repository.is_empty()).then_some(request.repository.as_str());
    check_text("repository", named, MAX_TEXT_BYTES / 2, &mut errors);
    // Lines are what such a text is for; what deceives whoever reads it is not. The manifest bounds its length.
    if !request.description.split(['\n', '\t']).all(crate::text::is_printable) {
        errors.add("description", "must not have control characters but line feeds and tabs, nor invisible ones");
    }
    if !request.labels.iter().all(|(key, value)| crate::text::is_printable(key) && crate::text::is_printable(value)) {
        errors.add("labels", "must not have control characters or invisible ones");
    }
    let capture = capture_request(request.disk, request.bit_exact, request.group_size_bytes, errors)?;
    let v1::CaptureImageRequest { repository, name, version, owner, description, labels, .. } = request;
    Ok((capture, NewImage { repository, name, version, description, labels, kind, owner }))
}

/// What to capture for the caller, and how to send it.
pub(super) fn stream_capture_request(
    request: v1::StreamCaptureRequest,
) -> Result<(CaptureRequest, Encoding), RequestError> {
    let mut errors = RequestError::default();
    let encoding = match v1::Encoding::try_from(request.encoding) {
        Ok(v1::Encoding::Raw | v1::Encoding::Unspecified) => Encoding::Raw,
        Ok(v1::Encoding::Zstd) => Encoding::Zstd,
        Err(error) => {
            errors.add("encoding", error.to_string());
            Encoding::Raw
        }
    };
    Ok((capture_request(request.disk, request.bit_exact, request.group_size_bytes, errors)?, encoding))
}

fn capture_request(
    disk: Option<v1::DiskSelector>,
    bit_exact: bool,
    group_size_bytes: u64,
    mut errors: RequestError,
) -> Result<CaptureRequest, RequestError> {
    let selector = selector(disk, &mut errors);
    let group_size = match group_size_bytes {
        0 => None,
        bytes => GroupSize::new(bytes).map_err(|error| errors.add("group_size_bytes", error.to_string())).ok(),
    };
    errors.check()?;
    let mode = if bit_exact { CaptureMode::BitExact } else { CaptureMode::UsedBlocks };
    Ok(CaptureRequest { selector, mode, group_size })
}

/// What to verify.
pub(super) fn verify_request(request: &v1::VerifyDiskRequest) -> Result<(Selector, VerifyAgainst), RequestError> {
    let mut errors = RequestError::default();
    let selector = selector(request.disk.clone(), &mut errors);
    let root = optional_root("root", &request.root, &mut errors);
    let sized = request.size_bytes > 0 && i64::try_from(request.size_bytes).is_ok();
    if root.is_some() != sized {
        errors.add("size_bytes", "must be from 1 to 2^63 - 1 with a root, and 0 without");
    }
    errors.check()?;
    // Without a tree, the group size is ours to choose: so that the groups fit into memory.
    let layout = Layout::new(request.size_bytes, GroupSize::for_image(request.size_bytes));
    Ok((selector, root.map_or(VerifyAgainst::Record, |root| VerifyAgainst::Root(layout, root))))
}

pub(super) fn selector(disk: Option<v1::DiskSelector>, errors: &mut RequestError) -> Selector {
    let disk = disk.unwrap_or_default();
    let transport = transport(&disk, errors);
    let texts = [
        ("disk.serial", &disk.serial),
        ("disk.wwn", &disk.wwn),
        ("disk.by_path", &disk.by_path),
        ("disk.name", &disk.name),
        ("disk.model", &disk.model),
    ];
    for (field, text) in texts {
        check_text(field, text.as_deref(), MAX_TEXT_BYTES, errors);
    }
    check_text("disk.backing_file", disk.backing_file.as_deref(), 4096, errors);
    let selector = Selector {
        serial: disk.serial,
        wwn: disk.wwn,
        by_path: disk.by_path,
        name: disk.name,
        model: disk.model,
        transport,
        rotational: disk.rotational,
        size_bytes: disk.size_bytes,
        min_size_bytes: disk.min_size_bytes,
        logical_block_size: disk.logical_block_size_bytes,
        diskseq: disk.diskseq,
        backing_file: disk.backing_file,
    };
    if let Err(error) = selector.check() {
        errors.add("disk", error.to_string());
    }
    selector
}

/// The name of an operation, as far as one can be told from anything else by its form alone.
pub(super) fn operation_name(name: &str) -> Result<&str, RequestError> {
    let mut errors = RequestError::default();
    check_text("name", Some(name), MAX_TEXT_BYTES, &mut errors);
    errors.check()?;
    Ok(name)
}

pub(super) fn check_text(field: &'static str, text: Option<&str>, limit: usize, errors: &mut RequestError) {
    let Some(text) = text else { return };
    if text.is_empty() || text.len() > limit || !crate::text::is_printable(text) {
        errors.add(field, format!("must be 1 to {limit} bytes without control characters and invisible ones"));
    }
}

fn transport(disk: &v1::DiskSelector, errors: &mut RequestError) -> Option<Transport> {
    match v1::Transport::try_from(disk.transport) {
        Ok(v1::Transport::Unspecified) => None,
        Ok(transport) => Some(transport.into()),
        Err(error) => {
            errors.add("disk.transport", error.to_string());
            None
        }
    }
}

/// What a message of a push tells the workers. A message that makes no sense becomes the end of the operation.
pub(super) fn feed_event(message: v1::PushImageRequest) -> FeedEvent {
    use v1::push_image_request::Message;
    let protocol = |detail| FeedEvent::Broken(ProvisionError::Protocol { detail });
    match message.message {
        None => protocol("an empty message"),
        Some(Message::Begin(_)) => protocol("a second begin"),
        Some(Message::Offer(offer)) => offer_event(&offer).unwrap_or_else(protocol),
        Some(Message::Data(data)) => data_event(data).unwrap_or_else(protocol),
        Some(Message::Finish(finish)) => match finish.offers_digest.try_into() {
            Ok(offers_digest) => FeedEvent::Finish { offers_digest },
            Err(_) => protocol("a finish whose digest is not 32 bytes"),
        },
    }
}

fn offer_event(offer: &v1::GroupOffer) -> Result<FeedEvent, &'static str> {
    let (values, rest) = offer.chaining_values.as_chunks::<32>();
    let groups = match values {
        _ if offer.group_count == 0 => return Err("an offer of no groups"),
        [] if rest.is_empty() => Offered::Holes(offer.group_count),
        values if rest.is_empty() && values.len() as u64 == offer.group_count => {
            Offered::Data(values.iter().copied().map(ChainingValue).collect())
        }
        _ => return Err("an offer without 32 bytes for each group"),
    };
    Ok(FeedEvent::Offer { first: offer.first_group, groups })
}

fn data_event(data: v1::GroupData) -> Result<FeedEvent, &'static str> {
    let encoding = match v1::Encoding::try_from(data.encoding) {
        Ok(v1::Encoding::Raw) => Encoding::Raw,
        Ok(v1::Encoding::Zstd) => Encoding::Zstd,
        Ok(v1::Encoding::Unspecified) | Err(_) => return Err("data in an unknown encoding"),
    };
    let (first, count) = (data.first_group, u64::from(data.group_count));
    Ok(FeedEvent::Data(Part { first, count, encoding, payload: data.payload, budget: None }))
}
