//! What must be known to reach a repository: one table of the agent's configuration, or options of `bmsctl`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::location::Location;

/// How long a request is tried again, unless the settings say otherwise, in seconds.
const RETRY_SECONDS: u64 = 120;
/// How long a server may say nothing, unless the settings say otherwise, in seconds.
const STALL_SECONDS: u64 = 30;

/// How to reach a repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it is.
    pub location: Location,
    /// URL of the S3 server.
    #[serde(default)]
    pub endpoint: Option<Url>,
    /// Region of the S3 server.
    #[serde(default)]
    pub region: Option<String>,
    /// Whether the bucket is part of the S3 server's host name rather than of the path.
    #[serde(default)]
    pub virtual_host_style: bool,
    /// A file with `access_key_id`, `secret_access_key` and perhaps `session_token`, as TOML. If absent: the systemd
    /// credential of the same form, if there is one, then the environment (`AWS_ACCESS_KEY_ID` and so on).
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// A file of PEM certificates, which alone are trusted; if absent, those of the system are.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Proxy for all requests; if absent, `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the environment hold.
    #[serde(default)]
    pub proxy: Option<Url>,
    /// How long a request is tried again before the repository counts as unavailable, in seconds.
    #[serde(default = "retry_seconds")]
    pub retry_seconds: u64,
    /// How long a server may say nothing before the request is made again, in seconds.
    #[serde(default = "stall_seconds")]
    pub stall_seconds: u64,
}

impl Settings {
    /// The settings of a repository about which only its place is known.
    pub const fn new(location: Location) -> Self {
        Self {
            location,
            endpoint: None,
            region: None,
            virtual_host_style: false,
            credentials: None,
            ca: None,
            proxy: None,
            retry_seconds: RETRY_SECONDS,
            stall_seconds: STALL_SECONDS,
        }
    }

    /// How long a request is tried again.
    pub const fn retry_for(&self) -> Duration {
        Duration::from_secs(self.retry_seconds)
    }

    /// How long a server may say nothing.
    pub const fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_seconds)
    }
}

const fn retry_seconds() -> u64 {
    RETRY_SECONDS
}

const fn stall_seconds() -> u64 {
    STALL_SECONDS
}
