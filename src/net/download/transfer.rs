//! The transfer of one file: request after request, until all bytes were passed on.

use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
    TRANSFER_ENCODING,
};
use reqwest::{Client, Response, StatusCode, Version};
use tokio::time::Instant;
use url::Url;

use super::{DownloadError, Part, Parts, Retry};

/// A transfer that may break and go on.
pub(super) struct Transfer {
    client: Client,
    url: Url,
    retry: Retry,
    /// Bytes that were passed on.
    at_bytes: u64,
    /// What the first answer said; none before it.
    file: Option<RemoteFile>,
}

/// The file as the first answer described it.
struct RemoteFile {
    len_bytes: Option<u64>,
    /// What changes whenever the file does.
    validator: Option<Validator>,
}

/// A header by which a server tells that a file is still the same.
#[derive(PartialEq, Eq)]
struct Validator {
    header: HeaderName,
    value: HeaderValue,
}

/// What an answer brings.
struct Body {
    response: Response,
    /// The offset of its first byte in the file.
    from_bytes: u64,
}

impl Transfer {
    pub(super) fn new(client: Client, url: Url, retry: Retry) -> Self {
        Self { client, url, retry, at_bytes: 0, file: None }
    }

    /// Passes on the whole file.
    pub(super) async fn run(mut self, parts: &Parts) -> Result<(), DownloadError> {
        let (mut attempts, mut fruitless, mut fruit) = (0, 0, Instant::now());
        loop {
            let before = self.at_bytes;
            let Err(error) = self.attempt(parts).await else {
                return Ok(());
            };
            attempts += 1;
            (fruitless, fruit) = if self.at_bytes > before { (0, Instant::now()) } else { (fruitless + 1, fruit) };
            let error = self.check_worth_another(error)?;
            let rest = self.retry.rest_after(fruitless);
            let too_many = attempts >= self.retry.attempts || fruitless >= self.retry.fruitless;
            if too_many || fruit.elapsed().saturating_add(rest) > self.retry.fruitless_for {
                return Err(DownloadError::GivenUp { attempts, source: Box::new(error) });
            }
            tokio::time::sleep(rest).await;
        }
    }

    /// Gives back an error that time does not mend, or that comes before there is anything to lose.
    fn check_worth_another(&self, error: DownloadError) -> Result<DownloadError, DownloadError> {
        let resumable = self.at_bytes == 0 || self.file.as_ref().is_some_and(|file| file.validator.is_some());
        let begun = self.file.is_some() || self.retry.from_start;
        if !error.is_passing() || !begun {
            Err(error)
        } else if !resumable {
            Err(DownloadError::NotResumable { at_bytes: self.at_bytes, source: Box::new(error) })
        } else {
            Ok(error)
        }
    }

    /// One request, and all that comes of it. Ends well if it brought the end of the file.
    async fn attempt(&mut self, parts: &Parts) -> Result<(), DownloadError> {
        let Body { mut response, mut from_bytes } = self.request(parts).await?;
        loop {
            let chunk = response.chunk().await;
            let broken = |source: reqwest::Error| DownloadError::Broken {
                at_bytes: self.at_bytes,
                source: source.without_url(),
            };
            let Some(mut chunk) = chunk.map_err(broken)? else {
                return self.check_end();
            };
            // A server that knows no ranges sends again what is here already.
            let known = self.at_bytes.saturating_sub(from_bytes);
            let known = usize::try_from(known).map_or(chunk.len(), |known| known.min(chunk.len()));
            from_bytes += chunk.len() as u64;
            let new = chunk.split_off(known);
            if new.is_empty() {
                continue;
            }
            self.at_bytes += new.len() as u64;
            if let Some(len_bytes) = self.len_bytes().filter(|&len| self.at_bytes > len) {
                return Err(DownloadError::Long { len_bytes });
            }
            // Nobody reads any more: whoever drops this knows.
            parts.send(Ok(Part::Data(new))).await.ok();
        }
    }

    /// Asks for all that is missing, and holds the answer to what is known.
    async fn request(&mut self, parts: &Parts) -> Result<Body, DownloadError> {
        let mut request = self.client.get(self.url.clone()).header(ACCEPT_ENCODING, "identity");
        let validator = self.file.as_ref().and_then(|file| file.validator.as_ref());
        if let Some(validator) = validator.filter(|_| self.at_bytes > 0) {
            let range = format!("bytes={}-", self.at_bytes);
            request = request.header(RANGE, range).header(IF_RANGE, validator.value.clone());
        }
        let response =
            request.send().await.map_err(|source| DownloadError::Request { source: source.without_url() })?;
        let answered = match response.status() {
            StatusCode::OK => Some((0, response.content_length())),
            StatusCode::PARTIAL_CONTENT => content_range(response.headers()).filter(|(from, _)| *from == self.at_bytes),
            StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE => None,
            status => return Err(DownloadError::Status { status }),
        };
        let (from_bytes, len_bytes) = answered.ok_or(DownloadError::Changed { at_bytes: self.at_bytes })?;
        match &mut self.file {
            None => self.begin(&response, len_bytes, parts).await?,
            Some(file) if file.is_in(&response, len_bytes) => file.len_bytes = file.len_bytes.or(len_bytes),
            Some(_) => return Err(DownloadError::Changed { at_bytes: self.at_bytes }),
        }
        Ok(Body { response, from_bytes })
    }

    /// Takes what the first answer says for what the file is.
    async fn begin(&mut self, response: &Response, len_bytes: Option<u64>, parts: &Parts) -> Result<(), DownloadError> {
        let ends_visibly = response.version() >= Version::HTTP_2 || response.headers().contains_key(TRANSFER_ENCODING);
        if len_bytes.is_none() && !ends_visibly {
            return Err(DownloadError::LengthUnknown);
        }
        self.file = Some(RemoteFile { len_bytes, validator: Validator::of(response.headers()) });
        parts.send(Ok(Part::Begin { len_bytes })).await.ok();
        Ok(())
    }

    fn len_bytes(&self) -> Option<u64> {
        self.file.as_ref().and_then(|file| file.len_bytes)
    }

    /// An answer may end where its connection does, long before the file.
    fn check_end(&self) -> Result<(), DownloadError> {
        match self.len_bytes() {
            Some(len_bytes) if self.at_bytes < len_bytes => {
                Err(DownloadError::Short { at_bytes: self.at_bytes, len_bytes })
            }
            _ => Ok(()),
        }
    }
}

impl RemoteFile {
    /// Whether a later answer is of this file. A part need not repeat the validator that it was asked for by.
    fn is_in(&self, response: &Response, len_bytes: Option<u64>) -> bool {
        let same_len = self.len_bytes.zip(len_bytes).is_none_or(|(first, now)| first == now);
        let now = self.validator.as_ref().and_then(|first| response.headers().get(&first.header));
        let same_validator = match (&self.validator, now) {
            (Some(first), Some(now)) => first.value == now,
            (Some(_), None) => response.status() == StatusCode::PARTIAL_CONTENT,
            // Then nothing was passed on, and any file will do.
            (None, _) => true,
        };
        same_len && same_validator
    }
}

impl Validator {
    /// The best one of an answer. A weak ETag does not tell bytes apart.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let strong = |value: &&HeaderValue| !value.as_bytes().starts_with(b"W/");
        let etag = headers.get(ETAG).filter(strong).map(|value| (ETAG, value));
        let validator = etag.or_else(|| headers.get(LAST_MODIFIED).map(|value| (LAST_MODIFIED, value)));
        validator.map(|(header, value)| Self { header, value: value.clone() })
    }
}

/// The offset of the first byte of a part, and the length of the whole, if it tells.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, len) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _last) = range.split_once('-')?;
    let len = if len == "*" { None } else { Some(len.parse().ok()?) };
    Some((first.parse().ok()?, len))
}

impl DownloadError {
    /// Whether the same request may do better later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Short { .. } => true,
            Self::Request { source } => {
                !self.is_untrusted() && (source.is_connect() || source.is_timeout() || source.is_request())
            }
            Self::Status { status } => {
                status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(status)
            }
            Self::Client(_)
            | Self::Runtime { .. }
            | Self::Long { .. }
            | Self::LengthUnknown
            | Self::Changed { .. }
            | Self::NotResumable { .. }
            | Self::GivenUp { .. }
            | Self::Lost => false,
        }
    }
}

impl Retry {
    /// How long to rest: longer after each fruitless attempt, and by chance, so that many clients of a server that comes
    /// back do not come back at once.
    fn rest_after(&self, fruitless: u32) -> Duration {
        let longest = self.rest.saturating_mul(1 << fruitless.min(16)).min(self.longest_rest);
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}
