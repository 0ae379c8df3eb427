//! Where an image is that the agent is to fetch: the fields of a request that say so.

use url::Url;

use super::super::proto::v1;
use super::super::status::RequestError;
use super::{MAX_TEXT_BYTES, block_size, check_len, check_text};
use crate::agent::ImageSource;
use crate::image::group::{GroupSize, Layout};
use crate::image::source::Format;
use crate::net::http::PrivateUrl;
use crate::provision::plan::ImageSpec;

/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// None if there is no source. What is wrong with it is added to `errors`; it is worth nothing then.
pub(in crate::rpc) fn image_source(source: Option<v1::ImageSource>, errors: &mut RequestError) -> Option<ImageSource> {
    match source?.source? {
        v1::image_source::Source::Repository(image) => repository_image(image, errors),
        v1::image_source::Source::Http(image) => http_image(&image, errors),
    }
}

fn repository_image(image: v1::RepositoryImage, errors: &mut RequestError) -> Option<ImageSource> {
    let v1::RepositoryImage { repository, image } = image;
    let named = (!repository.is_empty()).then_some(repository.as_str());
    check_text("source.repository.repository", named, MAX_TEXT_BYTES / 2, errors);
    match image.parse() {
        Ok(image) => Some(ImageSource::Repository { repository, image }),
        Err(error) => {
            errors.add("source.repository.image", error.to_string());
            None
        }
    }
}

/// All fields are looked at, whatever is wrong with one of them.
fn http_image(image: &v1::HttpImage, errors: &mut RequestError) -> Option<ImageSource> {
    let url = web_url("source.http.url", &image.url, errors);
    let format = compression(image, errors);
    check_len("source.http.size_bytes", image.size_bytes, errors);
    let root = <[u8; 32]>::try_from(image.root.as_slice()).ok();
    if root.is_none() {
        errors.add("source.http.root", "must be 32 bytes");
    }
    let logical_block_size = block_size("source.http.logical_block_size_bytes", image.logical_block_size_bytes, errors);
    // Nobody sees the groups, so that their size is ours to choose.
    let layout = Layout::new(image.size_bytes, GroupSize::for_image(image.size_bytes));
    let spec = ImageSpec { layout, root, logical_block_size };
    Some(ImageSource::Http { url: url?, format: format?, spec })
}

fn compression(image: &v1::HttpImage, errors: &mut RequestError) -> Option<Option<Format>> {
    match v1::Compression::try_from(image.compression) {
        Ok(v1::Compression::Unspecified) => Some(None),
        Ok(v1::Compression::None) => Some(Some(Format::Raw)),
        Ok(v1::Compression::Gzip) => Some(Some(Format::Gzip)),
        Ok(v1::Compression::Xz) => Some(Some(Format::Xz)),
        Ok(v1::Compression::Zstd) => Some(Some(Format::Zstd)),
        Err(error) => {
            errors.add("source.http.compression", error.to_string());
            None
        }
    }
}

/// A URL of the web. Nothing of what was given is repeated: it may hold a secret.
fn web_url(field: &'static str, text: &str, errors: &mut RequestError) -> Option<PrivateUrl> {
    check_text(field, Some(text), MAX_URL_BYTES, errors);
    let Ok(url) = Url::parse(text) else {
        errors.add(field, "must be a URL");
        return None;
    };
    if !["http", "https"].contains(&url.scheme()) {
        errors.add(field, "must be http or https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        errors.add(field, "must not have a user or password");
    }
    if url.fragment().is_some() {
        errors.add(field, "must not have a fragment");
    }
    Some(PrivateUrl(url))
}
