//! The agent's configuration: one TOML file in which every key has a default and unknown keys are errors.
//!
//! Read once, at start. What is wrong with it is said with file, line and text.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected, Visitor};

use crate::byte_size;
use crate::disk::sysfs;
use crate::inspect::policy::Policy;
use crate::inspect::profile::{self, Profile};
use crate::metrics::MetricsTable;
use crate::net::allowed::AllowedUrls;
use crate::pull::HttpTable;
use crate::repository::Settings;
use crate::rpc::listen::TcpTable;
use crate::rpc::role::Role;
use crate::telemetry::{LogFormat, OtelTable};

/// Least memory budget, in bytes: below it the write path has too few buffers to keep a disk busy.
pub const MIN_MEMORY_BUDGET: u64 = 32 << 20;
/// Most write workers.
pub const MAX_WRITE_WORKERS: usize = 256;
/// Longest drain, in seconds.
pub const MAX_DRAIN_SECONDS: u64 = 3600;
/// Longest time that a caller's stream may stand still, in seconds.
pub const MAX_STREAM_STALL_SECONDS: u64 = 3600;
/// Longest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Path of the Unix socket that the agent listens on.
    #[serde(deserialize_with = "absolute")]
    pub socket: PathBuf,
    /// Roles of users on that socket, by name or number. Root and the agent's own user are admins.
    pub unix_roles: BTreeMap<String, Role>,
    /// TCP with mutual TLS; there is none without.
    pub tcp: Option<TcpTable>,
    /// Directory of the agent's state.
    #[serde(deserialize_with = "absolute")]
    pub state_dir: PathBuf,
    /// Memory of one operation, in bytes, for buffers, content on its way and the tree. In the file: bytes, or `"64MiB"`.
    #[serde(deserialize_with = "memory_budget")]
    pub memory_budget: u64,
    /// Whether loop devices are disks. For tests and trials.
    pub allow_loop_devices: bool,
    /// Threads that hash and write, for one operation; 4 if absent. In the file 0 is absent.
    #[serde(deserialize_with = "write_workers")]
    pub write_workers: Option<usize>,
    /// Which log lines are kept: a level, or a filter as of `tracing`.
    pub log: String,
    /// Where log lines go, and in which form.
    pub log_format: LogFormat,
    /// Where metrics are served.
    pub metrics: MetricsTable,
    /// Where spans go; nowhere without.
    pub otel: Option<OtelTable>,
    /// How long a stopping agent waits for its operations, in seconds.
    #[serde(deserialize_with = "drain_seconds")]
    pub drain_seconds: u64,
    /// How long a push or a streamed capture may stand still for its caller before it is ended, in seconds; at least 1.
    #[serde(deserialize_with = "stream_stall_seconds")]
    pub stream_stall_seconds: u64,
    /// The repositories that images are pulled from and captured to, by the names that callers use.
    pub repositories: BTreeMap<String, Settings>,
    /// What URLs of images that callers give must be below; none is allowed without.
    pub allowed_urls: AllowedUrls,
    /// How the servers of these images are reached.
    pub http: HttpTable,
    /// How disks and images are looked into.
    pub inspection: InspectionTable,
    /// Which images fit this server.
    pub compatibility: CompatibilityTable,
    /// Kinds of servers that images are for, by the names that callers use.
    #[serde(deserialize_with = "profile::deserialize")]
    pub profiles: BTreeMap<String, Profile>,
}

/// How disks and images are looked into.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InspectionTable {
    /// What an install does about what it finds in its image, unless the request says otherwise.
    pub policy: Policy,
    /// Name of the profile, unless the request names one. Empty: nothing is known of the servers but what this one says.
    pub profile: String,
    /// Directory with files of checks, which are added to the built-in ones or take their place. It may be missing.
    #[serde(deserialize_with = "absolute")]
    pub checks: PathBuf,
}

/// Which images fit this server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompatibilityTable {
    /// File with other names of vendors and products, which are added to the built-in ones. It may be missing.
    #[serde(deserialize_with = "absolute")]
    pub aliases: PathBuf,
}

impl Default for CompatibilityTable {
    fn default() -> Self {
        Self { aliases: PathBuf::from("/etc/bms-agent/aliases.toml") }
    }
}

impl Default for InspectionTable {
    fn default() -> Self {
        Self { policy: Policy::default(), profile: String::new(), checks: PathBuf::from("/etc/bms-agent/plugins.d") }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/bms-agent/agent.sock"),
            unix_roles: BTreeMap::new(),
            tcp: None,
            state_dir: PathBuf::from("/var/lib/bms-agent"),
            memory_budget: 64 << 20,
            allow_loop_devices: false,
            write_workers: None,
            log: "info".to_owned(),
            log_format: LogFormat::Auto,
            metrics: MetricsTable::default(),
            otel: None,
            drain_seconds: 80,
            stream_stall_seconds: 120,
            repositories: BTreeMap::new(),
            allowed_urls: AllowedUrls::default(),
            http: HttpTable::default(),
            inspection: InspectionTable::default(),
            compatibility: CompatibilityTable::default(),
            profiles: BTreeMap::new(),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is no regular file.
    #[error("cannot read the configuration {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anyone could change what the agent does.
    #[error("the configuration {} is writable by everyone (mode {mode:04o})", .path.display())]
    WorldWritable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is wrong.
    #[error("{}:{line}: {problem}, in `{text}`", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The line's text: the key and its value.
        text: String,
        /// What is wrong.
        problem: String,
    },
}

impl Config {
    /// Reads a configuration file; without one, everything has its default.
    ///
    /// # Errors
    /// If the file cannot be read or is no regular file, if everyone may write it, or if anything in it is wrong.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let content = read(path)?;
        toml::from_str(&content).map_err(|error| invalid(path, &content, &error))
    }
}

/// The text of the file. Its permissions are looked at on the open file, so that it cannot be exchanged in between.
fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = sysfs::open_regular(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if let Some(mode) = world_writable(&metadata) {
        return Err(ConfigError::WorldWritable { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(unreadable(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    let mut content = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut content).map_err(unreadable)?;
    Ok(content)
}

/// The permission bits, if everyone may write.
fn world_writable(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.mode() & 0o7777;
    (mode & 0o002 != 0).then_some(mode)
}

/// Names the line that an error is in.
fn invalid(path: &Path, content: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = content.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let text = content.lines().nth(line - 1).unwrap_or_default().trim();
    let shown = crate::text::printable(&text.chars().take(120).collect::<String>());
    ConfigError::Invalid { path: path.to_owned(), line, text: shown, problem: error.message().to_owned() }
}

fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() { Ok(path) } else { Err(D::Error::custom("the path is not absolute")) }
}

fn memory_budget<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = deserializer.deserialize_any(Bytes)?;
    let enough = bytes >= MIN_MEMORY_BUDGET;
    if enough { Ok(bytes) } else { Err(D::Error::custom("the memory budget is less than 32MiB")) }
}

fn write_workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let workers = usize::deserialize(deserializer)?;
    if workers > MAX_WRITE_WORKERS {
        return Err(D::Error::custom(format!("more than {MAX_WRITE_WORKERS} workers")));
    }
    Ok((workers > 0).then_some(workers))
}

fn drain_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(deserializer)?;
    let short = seconds <= MAX_DRAIN_SECONDS;
    if short { Ok(seconds) } else { Err(D::Error::custom(format!("the drain is longer than {MAX_DRAIN_SECONDS} s"))) }
}

fn stream_stall_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(deserializer)?;
    let fits = (1..=MAX_STREAM_STALL_SECONDS).contains(&seconds);
    if fits { Ok(seconds) } else { Err(D::Error::custom(format!("not from 1 to {MAX_STREAM_STALL_SECONDS} s"))) }
}

/// A number of bytes: an integer, or a text as `64MiB`.
struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a text like \"64MiB\"")
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes).ok().ok_or_else(|| E::invalid_value(Unexpected::Signed(bytes), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<u64, E> {
        Ok(bytes)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
        byte_size::parse(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};

    use super::{CompatibilityTable, Config, ConfigError, InspectionTable};
    use crate::inspect::policy::Policy;
    use crate::inspect::profile::{NetworkMode, Profile, Sdi};
    use crate::metrics::MetricsTable;
    use crate::net::allowed::AllowedUrls;
    use crate::pull::HttpTable;
    use crate::repository::{Location, Settings};
    use crate::rpc::listen::TcpTable;
    use crate::rpc::role::Role;
    use crate::telemetry::LogFormat;

    fn load(content: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("agent.toml");
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode");
        Config::load(Some(&path))
    }

    #[test]
    fn everything_has_a_default() {
        let config = Config::load(None).expect("defaults");
        assert_eq!(config, load("# nothing\n").expect("empty"));
        assert_eq!(config.socket, Path::new("/run/bms-agent/agent.sock"));
        assert_eq!(config.state_dir, Path::new("/var/lib/bms-agent"));
        assert_eq!(config.memory_budget, 64 << 20);
        assert!(!config.allow_loop_devices);
        assert_eq!((config.write_workers, config.log.as_str()), (None, "info"));
        assert_eq!((config.drain_seconds, config.stream_stall_seconds), (80, 120));
    }

    #[test]
    fn every_key_is_read() {
        let config = load(
            "socket = \"/tmp/a.sock\"\nstate_dir = \"/srv/state\"\nmemory_budget = \"128MiB\"\nallow_loop_devices = true\n\
             write_workers = 4\nlog = \"debug,h2=warn\"\nlog_format = \"json\"\ndrain_seconds = 0\n\
             stream_stall_seconds = 9\n\
             allowed_urls = [\"https://images.example/os/\"]\n\
             [http]\nca = \"/etc/ca.pem\"\nproxy = \"http://proxy:3128\"\nretry_seconds = 7\n\
             [repositories.main]\nlocation = \"/srv/images\"\n\
             [inspection]\npolicy = \"require\"\nprofile = \"own\"\nchecks = \"/srv/checks\"\n\
             [compatibility]\naliases = \"/srv/aliases.toml\"\n\
             [metrics]\nlisten = \"127.0.0.1:9464\"\n\
             [unix_roles]\nbackup = \"observer\"\n1000 = \"operator\"\n\
             [tcp]\nlisten = [\"[::1]:7000\"]\ncertificate = \"/etc/cert.pem\"\nkey = \"tls.key\"\n\
             client_ca = \"/etc/clients.pem\"\ncrl = \"/etc/crl.pem\"\n\
             [profiles.own]\nnetwork_mode = \"distributed\"\nsdi = \"sdi3.0\"\n",
        );
        let expected = Config {
            socket: PathBuf::from("/tmp/a.sock"),
            unix_roles: BTreeMap::from([("backup".to_owned(), Role::Observer), ("1000".to_owned(), Role::Operator)]),
            tcp: Some(TcpTable {
                listen: vec!["[::1]:7000".parse().expect("an address")],
                certificate: PathBuf::from("/etc/cert.pem"),
                key: PathBuf::from("tls.key"),
                client_ca: PathBuf::from("/etc/clients.pem"),
                crl: Some(PathBuf::from("/etc/crl.pem")),
            }),
            state_dir: PathBuf::from("/srv/state"),
            memory_budget: 128 << 20,
            allow_loop_devices: true,
            write_workers: Some(4),
            log: "debug,h2=warn".to_owned(),
            log_format: LogFormat::Json,
            metrics: MetricsTable { listen: Some("127.0.0.1:9464".parse().expect("an address")) },
            otel: None,
            drain_seconds: 0,
            stream_stall_seconds: 9,
            repositories: BTreeMap::from([(
                "main".to_owned(),
                Settings::new(Location::Directory("/srv/images".into())),
            )]),
            allowed_urls: AllowedUrls::try_from(vec!["https://images.example/os/".to_owned()]).expect("a prefix"),
            http: HttpTable {
                ca: Some(PathBuf::from("/etc/ca.pem")),
                proxy: Some("http://proxy:3128".parse().expect("a URL")),
                retry_seconds: 7,
                stall_seconds: 30,
            },
            inspection: InspectionTable {
                policy: Policy::Require,
                profile: "own".to_owned(),
                checks: PathBuf::from("/srv/checks"),
            },
            compatibility: CompatibilityTable { aliases: PathBuf::from("/srv/aliases.toml") },
            profiles: BTreeMap::from([(
                "own".to_owned(),
                Profile { network_mode: Some(NetworkMode::Distributed), sdi: Some(Sdi::Sdi3_0), ..Profile::default() },
            )]),
        };
        assert_eq!(config.expect("valid"), expected);
        assert_eq!(load("write_workers = 0").expect("zero").write_workers, None);
        assert_eq!(load("memory_budget = 33554432").expect("bytes").memory_budget, 32 << 20);
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_text() {
        for (content, expected_line, expected_text, expected_problem) in [
            ("log = \"info\"\n\nsokket = \"/a\"\n", 3, "sokket = \"/a\"", "unknown field `sokket`"),
            ("socket = \"agent.sock\"", 1, "socket = \"agent.sock\"", "not absolute"),
            ("#\nstate_dir = 5", 2, "state_dir = 5", "invalid type: integer"),
            ("memory_budget = \"31MiB\"", 1, "memory_budget = \"31MiB\"", "less than 32MiB"),
            ("memory_budget = \"64MB\"", 1, "memory_budget = \"64MB\"", "is not a size"),
            ("memory_budget = -1", 1, "memory_budget = -1", "a number of bytes"),
            ("memory_budget = 1.5", 1, "memory_budget = 1.5", "a number of bytes"),
            ("allow_loop_devices = \"yes\"", 1, "allow_loop_devices = \"yes\"", "expected a boolean"),
            ("write_workers = 257", 1, "write_workers = 257", "more than 256 workers"),
            ("log_format = \"xml\"", 1, "log_format = \"xml\"", "unknown variant `xml`"),
            ("drain_seconds = 3601", 1, "drain_seconds = 3601", "longer than 3600 s"),
            ("stream_stall_seconds = 0", 1, "stream_stall_seconds = 0", "not from 1 to 3600 s"),
            ("stream_stall_seconds = 3601", 1, "stream_stall_seconds = 3601", "not from 1 to 3600 s"),
            ("allowed_urls = [\"https://a/\", \"b\"]", 1, "allowed_urls = [\"https://a/\", \"b\"]", "prefix 2"),
            ("[metrics]\nlisten = \"0.0.0.0:9464\"", 2, "listen = \"0.0.0.0:9464\"", "loopback addresses alone"),
            ("[http]\nretries = 3", 2, "retries = 3", "unknown field `retries`"),
            ("[tcp]\ncertificate = \"/c\"\nkey = \"/k\"", 1, "[tcp]", "missing field `client_ca`"),
            ("[unix_roles]\nbackup = \"root\"", 2, "backup = \"root\"", "unknown variant `root`"),
            ("log = \"a\"\nlog = \"b\"", 2, "log = \"b\"", "duplicate key"),
            ("socket = ", 1, "socket =", ""),
            ("log = \"\u{1b}[2J", 1, "log = \"\\u{1b}[2J", ""),
        ] {
            let error = load(content).expect_err(content);
            let message = error.to_string();
            let ConfigError::Invalid { line, text, problem, path } = error else { panic!("{message}") };
            assert_eq!((line, text.as_str()), (expected_line, expected_text), "{message}");
            assert!(problem.contains(expected_problem), "{message}");
            assert!(message.starts_with(&format!("{}:{line}: ", path.display())), "{message}");
        }
    }

    #[test]
    fn a_file_that_everyone_may_write_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("agent.toml");
        fs::write(&path, "").expect("write");
        for (mode, fine) in [(0o600, true), (0o664, true), (0o666, false), (0o602, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
            match Config::load(Some(&path)) {
                Ok(_) => assert!(fine, "{mode:o}"),
                Err(ConfigError::WorldWritable { mode: seen, .. }) => assert_eq!((seen, fine), (mode, false)),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("mkfifo");
        let large = dir.path().join("large");
        fs::File::create(&large).expect("create").set_len((1 << 20) + 1).expect("length");
        let missing = dir.path().join("missing");
        for path in [dir.path(), &fifo, &large, &missing] {
            assert!(matches!(Config::load(Some(path)), Err(ConfigError::Unreadable { .. })), "{}", path.display());
        }
    }
}
