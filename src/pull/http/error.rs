//! Why a file on a web server cannot be installed.

use std::io;

use reqwest::StatusCode;

use crate::image::source::SourceError;
use crate::net::download::DownloadError;
use crate::net::http::{HttpError, PrivateUrl};
use crate::reason::{DomainError, Reason};

/// Why a file on a web server cannot be installed. URLs are printed without what may be secret.
#[derive(Debug, thiserror::Error)]
pub enum HttpSourceError {
    /// Nothing may be fetched from there.
    #[error("{url} is below none of the allowed URLs of the agent's configuration: {allowed}")]
    NotAllowed {
        /// The URL, redacted.
        url: String,
        /// The prefixes that are allowed.
        allowed: String,
    },
    /// The file does not come.
    #[error("cannot download {url}")]
    Download {
        /// The URL, redacted.
        url: String,
        /// Why.
        source: DownloadError,
    },
    /// The file is not what it should be.
    #[error("the content of {url} cannot be used")]
    Content {
        /// The URL, redacted.
        url: String,
        /// Why.
        source: SourceError,
    },
    /// A thread to read it with does not start.
    #[error("cannot start a thread to read {url}")]
    Thread {
        /// The URL, redacted.
        url: String,
        /// What the system says.
        source: io::Error,
    },
    /// The thread that reads it ended without a result.
    #[error("the thread that reads {url} ended without a result")]
    Lost {
        /// The URL, redacted.
        url: String,
    },
}

impl HttpSourceError {
    /// Sorts an error of reading the content, which may be one of the download below it.
    pub(super) fn of(url: &PrivateUrl, error: SourceError) -> Self {
        let url = url.to_string();
        let SourceError::Read { path, source } = error else { return Self::Content { url, source: error } };
        match source.downcast() {
            Ok(source) => Self::Download { url, source },
            Err(source) => Self::Content { url, source: SourceError::Read { path, source } },
        }
    }

    fn url(&self) -> &str {
        match self {
            Self::NotAllowed { url, .. }
            | Self::Download { url, .. }
            | Self::Content { url, .. }
            | Self::Thread { url, .. }
            | Self::Lost { url } => url,
        }
    }
}

impl DomainError for HttpSourceError {
    fn reason(&self) -> Reason {
        match self {
            Self::NotAllowed { .. } => Reason::SourceNotAllowed,
            Self::Download { source, .. } => of_download(source),
            Self::Content { source, .. } => of_content(source),
            Self::Thread { .. } => Reason::OperationLimit,
            Self::Lost { .. } => Reason::Internal,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        let mut metadata = vec![("url", self.url().to_owned())];
        match self {
            Self::NotAllowed { allowed, .. } => metadata.push(("allowed", allowed.clone())),
            Self::Download { source: DownloadError::GivenUp { attempts, .. }, .. } => {
                metadata.push(("retries", attempts.saturating_sub(1).to_string()));
            }
            Self::Download { source: DownloadError::Status { status }, .. } => {
                metadata.push(("status", status.as_u16().to_string()));
            }
            Self::Content { source: SourceError::LengthMismatch { declared, actual, .. }, .. } => {
                metadata.extend([("expected", declared.to_string()), ("actual", actual.to_string())]);
            }
            Self::Content { source: SourceError::LongerThanKnown { len_bytes, .. }, .. } => {
                metadata.push(("expected", len_bytes.to_string()));
            }
            Self::Download { .. } | Self::Content { .. } | Self::Thread { .. } | Self::Lost { .. } => {}
        }
        metadata
    }
}

fn of_download(error: &DownloadError) -> Reason {
    match error {
        DownloadError::Client(HttpError::CaUnreadable { .. } | HttpError::CaInvalid { .. }) => Reason::SourceUntrusted,
        _ if error.refusal().is_some() => Reason::SourcePolicy,
        _ if error.is_untrusted() => Reason::SourceUntrusted,
        DownloadError::Status { status } => of_status(*status),
        DownloadError::Changed { .. } => Reason::SourceChanged,
        DownloadError::Long { .. } => Reason::SourceDamaged,
        DownloadError::Runtime { .. } => Reason::OperationLimit,
        DownloadError::Client(HttpError::Proxy { .. } | HttpError::Client { .. })
        | DownloadError::Request { .. }
        | DownloadError::Broken { .. }
        | DownloadError::Short { .. }
        | DownloadError::LengthUnknown
        | DownloadError::NotResumable { .. }
        | DownloadError::GivenUp { .. }
        | DownloadError::Lost => Reason::SourceUnavailable,
    }
}

fn of_status(status: StatusCode) -> Reason {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Reason::SourceNotFound,
        status if status.is_server_error() => Reason::SourceUnavailable,
        _ => Reason::SourceDenied,
    }
}

fn of_content(error: &SourceError) -> Reason {
    match error {
        SourceError::LengthMismatch { .. } | SourceError::LongerThanKnown { .. } => Reason::SourceLength,
        SourceError::Truncated { .. } | SourceError::Damaged { .. } | SourceError::TrailingGarbage { .. } => {
            Reason::SourceDamaged
        }
        SourceError::FormatMismatch { .. }
        | SourceError::FormatUnsupported { .. }
        | SourceError::NoStream { .. }
        | SourceError::Sequential { .. }
        | SourceError::ZstdWindow { .. }
        | SourceError::ZstdDictionary { .. }
        | SourceError::XzMemory { .. }
        | SourceError::Qcow2 { .. } => Reason::SourceFormat,
        SourceError::Thread { .. } => Reason::OperationLimit,
        SourceError::Open { .. } | SourceError::NotAFile { .. } | SourceError::Read { .. } => Reason::SourceUnavailable,
    }
}
