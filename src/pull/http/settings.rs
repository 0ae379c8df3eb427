//! What the configuration says of web servers: which of them may be asked, and how.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{HttpSource, HttpSourceError};
use crate::image::source::Format;
use crate::net::allowed::AllowedUrls;
use crate::net::download::Retry;
use crate::net::http::{HttpSettings, PrivateUrl};

/// Most requests for one file. Each that is not fruitless brings bytes, so that only a server that cuts every answer
/// short comes here.
const MOST_ATTEMPTS: u32 = 10_000;
/// The first rest after a request that failed, and the longest.
const RESTS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How long a call waits for a server in all, and for its next byte: a caller wants to know soon.
const CALL_RETRY: Duration = Duration::from_secs(12);
const CALL_STALL: Duration = Duration::from_secs(8);

/// The table `[http]` of the configuration: how web servers are reached that images are fetched from by URL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpTable {
    /// A file of PEM certificates, which alone are trusted. Without it those of the system are.
    pub ca: Option<PathBuf>,
    /// Proxy for all requests; if absent, `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment hold.
    pub proxy: Option<Url>,
    /// How long a server may bring nothing before it counts as unavailable, in seconds.
    pub retry_seconds: u64,
    /// How long a server may say nothing before the request is made again, in seconds.
    pub stall_seconds: u64,
}

impl Default for HttpTable {
    fn default() -> Self {
        Self { ca: None, proxy: None, retry_seconds: 120, stall_seconds: 30 }
    }
}

/// Which URLs may be fetched, and how.
#[derive(Debug, Clone, Default)]
pub struct HttpAccess {
    /// What they must be below.
    pub allowed: AllowedUrls,
    /// How.
    pub table: HttpTable,
}

impl HttpAccess {
    /// A file that may be fetched, for as long as it takes.
    ///
    /// # Errors
    /// If its URL is not allowed.
    pub fn source(&self, url: &PrivateUrl, format: Option<Format>) -> Result<HttpSource, HttpSourceError> {
        let HttpTable { retry_seconds, stall_seconds, .. } = self.table;
        self.source_within(url, format, (Duration::from_secs(retry_seconds), Duration::from_secs(stall_seconds)))
    }

    /// The same, for a call that must be answered soon.
    ///
    /// # Errors
    /// If its URL is not allowed.
    pub fn source_for_call(&self, url: &PrivateUrl, format: Option<Format>) -> Result<HttpSource, HttpSourceError> {
        let within = |seconds, most: Duration| Duration::from_secs(seconds).min(most);
        let HttpTable { retry_seconds, stall_seconds, .. } = self.table;
        self.source_within(url, format, (within(retry_seconds, CALL_RETRY), within(stall_seconds, CALL_STALL)))
    }

    fn source_within(
        &self,
        url: &PrivateUrl,
        format: Option<Format>,
        (retry, stall): (Duration, Duration),
    ) -> Result<HttpSource, HttpSourceError> {
        if !self.allowed.permits(&url.0) {
            return Err(HttpSourceError::NotAllowed { url: url.to_string(), allowed: self.allowed.to_string() });
        }
        let defaults = HttpSettings::default();
        let settings = HttpSettings {
            ca: self.table.ca.clone(),
            proxy: self.table.proxy.clone(),
            connect_timeout: defaults.connect_timeout.min(stall),
            read_timeout: stall,
            only: Some(self.allowed.clone()),
        };
        let (rest, longest_rest) = RESTS;
        let retry = Retry {
            fruitless: MOST_ATTEMPTS,
            fruitless_for: retry,
            attempts: MOST_ATTEMPTS,
            from_start: true,
            rest,
            longest_rest,
        };
        Ok(HttpSource { url: url.clone(), format, settings, retry })
    }
}
