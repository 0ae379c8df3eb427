//! The file of contexts, as it is read: strictly, for whoever can change it decides whose disk is written. Nothing is
//! written here.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{self, Path, PathBuf};

use nix::fcntl::OFlag;
use serde::Deserialize;

use super::choice::Place;
use super::{ContextName, ContextNameInvalid};
use crate::cli::Address;
use crate::tls::{Files, Host, HostInvalid};

/// Longest file, in bytes. A context takes about 200.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextsError {
    /// There is no place for it.
    #[error("neither XDG_CONFIG_HOME nor HOME is set: name a file of contexts with --contexts")]
    Nowhere,
    /// It cannot be read.
    #[error("the contexts in {} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Somebody else could change whom commands go to.
    #[error("{} can be written by others (mode {mode:04o}): chmod go-w it", path.display())]
    Writable { path: PathBuf, mode: u32 },
    /// The same.
    #[error("{} belongs to user {owner}, who is neither root nor the one that runs bmsctl", path.display())]
    Owner { path: PathBuf, owner: u32 },
    /// It is not what it should be.
    #[error("{} is no file of contexts", path.display())]
    Malformed { path: PathBuf, source: Box<toml::de::Error> },
    /// A table has a name that is none.
    #[error("{}: {name:?} cannot be used", path.display())]
    Name { path: PathBuf, name: String, source: ContextNameInvalid },
    /// A table makes no sense.
    #[error("{}: the context {name} {problem}", path.display())]
    Context { path: PathBuf, name: ContextName, problem: Problem },
    /// Nothing has the name.
    #[error("{} has no context {name}; it has: {known}", path.display())]
    Unknown { path: PathBuf, name: ContextName, known: String },
    /// The environment has a name that is none.
    #[error("BMSCTL_CONTEXT is {name:?}")]
    Environment { name: String, source: ContextNameInvalid },
    /// Nobody said which.
    #[error("{} says of no context that it is the current one: name one", path.display())]
    NoCurrent { path: PathBuf },
    /// A path that TOML cannot hold.
    #[error("{} is not UTF-8, as paths in the file of contexts are", path.display())]
    NotText { path: PathBuf },
    /// It cannot be written.
    #[error("the contexts in {} cannot be written", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// It cannot be changed so that the rest stays as it was.
    #[error("{} cannot be changed", path.display())]
    Edit { path: PathBuf, source: Box<toml_edit::TomlError> },
}

/// What is wrong with a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// No agent.
    #[error("has neither host nor socket")]
    Neither,
    /// Two.
    #[error("has both host and socket")]
    Both,
    /// A certificate is missing.
    #[error("has a host but not all of cert, key and ca")]
    Half,
    /// They are for TLS only.
    #[error("has cert, key or ca without a host")]
    NoHost,
    /// The host is none.
    #[error("has a host that is {0}")]
    Host(HostInvalid),
    /// A shell would know what is meant.
    #[error("has a path that begins with ~: write the directory")]
    Tilde,
    /// A path is empty.
    #[error("has an empty path")]
    Empty,
}

/// What the file has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contexts {
    /// The one that is meant if nobody says which.
    pub(super) current: Option<ContextName>,
    /// All of them.
    pub(super) all: BTreeMap<ContextName, Address>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    host: Option<String>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    socket: Option<PathBuf>,
}

impl Contexts {
    /// Reads the file; none are there if nobody named it and it is not there.
    pub(super) fn read(place: &Place) -> Result<Self, ContextsError> {
        text(place)?.map_or_else(|| Ok(Self::default()), |text| Self::parse(place.path(), &text))
    }

    /// What is in the text of a file. Relative paths begin where the file is.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ContextsError> {
        let malformed = |source| ContextsError::Malformed { path: path.to_owned(), source: Box::new(source) };
        let written: Written = toml::from_str(text).map_err(malformed)?;
        let named = |name: String| {
            let invalid = |source| ContextsError::Name { path: path.to_owned(), name: name.clone(), source };
            name.parse::<ContextName>().map_err(invalid)
        };
        let absolute = path::absolute(path);
        let absolute = absolute.map_err(|source| ContextsError::Unreadable { path: path.to_owned(), source })?;
        let dir = absolute.parent().unwrap_or(Path::new("/"));
        let mut all = BTreeMap::new();
        for (name, table) in written.contexts {
            let name = named(name)?;
            let wrong = |problem| ContextsError::Context { path: path.to_owned(), name: name.clone(), problem };
            let address = table.address(dir).map_err(wrong)?;
            all.insert(name, address);
        }
        let contexts = Self { current: written.current.map(named).transpose()?, all };
        if let Some(current) = &contexts.current {
            contexts.of(path, current)?;
        }
        Ok(contexts)
    }

    /// The agent of this name.
    pub(super) fn of(&self, path: &Path, name: &ContextName) -> Result<&Address, ContextsError> {
        self.all.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.all.keys().map(ContextName::as_str).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            ContextsError::Unknown { path: path.to_owned(), name: name.clone(), known }
        })
    }
}

impl Table {
    fn address(self, dir: &Path) -> Result<Address, Problem> {
        match (self.host, self.socket, (self.cert, self.key, self.ca)) {
            (Some(_), Some(_), _) => Err(Problem::Both),
            (None, Some(socket), (None, None, None)) => Ok(Address::Socket(below(dir, &socket)?)),
            (None, None, (None, None, None)) => Err(Problem::Neither),
            (None, ..) => Err(Problem::NoHost),
            (Some(host), None, (Some(cert), Some(key), Some(ca))) => {
                let host: Host = host.parse().map_err(Problem::Host)?;
                let files = Files { cert: below(dir, &cert)?, key: below(dir, &key)?, ca: below(dir, &ca)? };
                Ok(Address::Host(host, files))
            }
            (Some(_), None, _) => Err(Problem::Half),
        }
    }
}

/// A path of the file.
fn below(dir: &Path, path: &Path) -> Result<PathBuf, Problem> {
    if path.as_os_str().is_empty() {
        return Err(Problem::Empty);
    }
    if path.as_os_str().as_encoded_bytes().starts_with(b"~") {
        return Err(Problem::Tilde);
    }
    Ok(dir.join(path))
}

/// The text of the file, or nothing if there may be none. Who may write it is asked of the open file, so that it cannot be
/// exchanged in between.
pub(super) fn text(place: &Place) -> Result<Option<String>, ContextsError> {
    let path = place.path();
    let unreadable = |source| ContextsError::Unreadable { path: path.to_owned(), source };
    let file = match (open(path), place) {
        (Ok(file), _) => file,
        (Err(error), Place::Usual(_)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        (Err(error), _) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    private(path, &metadata)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

/// Opens what is a file; waits for nobody who might write to a pipe.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let is_file = file.metadata()?.is_file();
    if is_file { Ok(file) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")) }
}

fn private(path: &Path, metadata: &Metadata) -> Result<(), ContextsError> {
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    if mode & 0o022 != 0 {
        return Err(ContextsError::Writable { path: path.to_owned(), mode });
    }
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(ContextsError::Owner { path: path.to_owned(), owner });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::{Contexts, ContextsError, Problem};
    use crate::cli::Address;
    use crate::context::choice::Place;
    use crate::tls::Files;

    fn parse(text: &str) -> Result<Contexts, ContextsError> {
        Contexts::parse(Path::new("/etc/operator/config.toml"), text)
    }

    #[test]
    fn contexts_are_agents_and_paths_begin_where_the_file_is() {
        let text = "current = \"web-7\"\n[contexts.web-7]\nhost = \"server.example\"\ncert = \"tls/me.pem\"\n\
                    key = \"/keys/me.key\"\nca = \"../ca.pem\"\n[contexts]\nlocal = { socket = \"/run/a.sock\" }\n";
        let contexts = parse(text).expect("contexts");
        let files = Files {
            cert: "/etc/operator/tls/me.pem".into(),
            key: "/keys/me.key".into(),
            ca: "/etc/operator/../ca.pem".into(),
        };
        let all: Vec<_> = contexts.all.into_iter().map(|(name, address)| (name.to_string(), address)).collect();
        let host = "server.example:7443".parse().expect("a host");
        assert_eq!(
            all,
            [
                ("local".to_owned(), Address::Socket("/run/a.sock".into())),
                ("web-7".to_owned(), Address::Host(host, files))
            ]
        );
        assert_eq!(contexts.current.expect("current").as_str(), "web-7");
        assert_eq!(parse("").expect("an empty file"), Contexts::default());
    }

    #[test]
    fn what_is_wrong_with_a_context_is_said() {
        for (table, problem) in [
            ("", Problem::Neither),
            ("host = \"a\"\nsocket = \"/s\"", Problem::Both),
            ("host = \"a\"\ncert = \"c\"\nkey = \"k\"", Problem::Half),
            ("socket = \"/s\"\nca = \"/a\"", Problem::NoHost),
            ("key = \"/k\"", Problem::NoHost),
            ("socket = \"~/s\"", Problem::Tilde),
            ("host = \"a\"\ncert = \"~operator/c\"\nkey = \"k\"\nca = \"a\"", Problem::Tilde),
            ("host = \"a\"\ncert = \"c\"\nkey = \"\"\nca = \"a\"", Problem::Empty),
            ("host = \"a b\"\ncert = \"c\"\nkey = \"k\"\nca = \"a\"", Problem::Host(crate::tls::HostInvalid)),
        ] {
            let error = parse(&format!("[contexts.x]\n{table}\n")).expect_err(table);
            assert!(matches!(&error, ContextsError::Context { problem: found, .. } if *found == problem), "{error}");
        }
    }

    #[test]
    fn what_is_no_file_of_contexts_is_refused() {
        let malformed = |error: &ContextsError| matches!(error, ContextsError::Malformed { .. });
        for text in [
            "[contexts.x]\nsocket = \"/s\"\nport = 7443",
            "[context.x]\nsocket = \"/s\"",
            "curent = \"x\"",
            "current = 1",
            "[contexts.x]\nsocket = [\"/s\"]",
            "socket = ",
        ] {
            let error = parse(text).expect_err(text);
            assert!(malformed(&error), "{text}: {error}");
        }
        let error = parse("[contexts.\"a b\"]\nsocket = \"/s\"").expect_err("a name");
        assert!(matches!(error, ContextsError::Name { .. }), "{error}");
        let error = parse("current = \"web-8\"\n[contexts.web-7]\nsocket = \"/s\"").expect_err("not there");
        assert!(error.to_string().ends_with("has no context web-8; it has: web-7"), "{error}");
    }

    #[test]
    fn a_file_that_others_may_write_is_not_read() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("config.toml");
        fs::write(&path, "").expect("written");
        for (mode, good) in [(0o600, true), (0o644, true), (0o664, false), (0o602, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
            match Contexts::read(&Place::Named(path.clone())) {
                Ok(_) => assert!(good, "{mode:o}"),
                Err(error) => assert!(!good && matches!(error, ContextsError::Writable { .. }), "{mode:o}: {error}"),
            }
        }
    }

    #[test]
    fn only_a_file_that_nobody_named_may_be_missing() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("config.toml");
        assert_eq!(Contexts::read(&Place::Usual(path.clone())).expect("none"), Contexts::default());
        let unreadable = |place| matches!(Contexts::read(&place), Err(ContextsError::Unreadable { .. }));
        assert!(unreadable(Place::Named(path)));
        assert!(unreadable(Place::Usual(dir.path().to_owned())), "a directory is no file");
    }
}
