//! Which agent a command is for: a pure decision about what was typed and what the environment says.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ContextName;
use super::file::ContextsError;
use crate::cli::{Address, AddressInvalid, Typed};
use crate::error::CtlError;

/// What the environment says. What is empty is not there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `BMSCTL_SOCKET`
    pub(super) socket: Option<PathBuf>,
    /// `BMSCTL_CONTEXT`
    pub(super) context: Option<OsString>,
    /// `BMSCTL_CONTEXTS`
    pub(super) contexts: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`
    pub(super) config_home: Option<PathBuf>,
    /// `HOME`
    pub(super) home: Option<PathBuf>,
}

/// Where the file of contexts is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Somebody named it: it has to be there to be read.
    Named(PathBuf),
    /// Where it is looked for else.
    Usual(PathBuf),
}

/// Which agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one, whatever the file says.
    Address(Address),
    /// The one that the file has under this name.
    Context(ContextName),
    /// The current one of the file, or else the one on this server.
    Current,
}

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        let value = |name| env::var_os(name).filter(|value| !value.is_empty());
        let path = |name| value(name).map(PathBuf::from);
        Self {
            socket: path("BMSCTL_SOCKET"),
            context: value("BMSCTL_CONTEXT"),
            contexts: path("BMSCTL_CONTEXTS"),
            config_home: path("XDG_CONFIG_HOME"),
            home: path("HOME"),
        }
    }

    /// Where the file of contexts is, if there is any place for it. A relative XDG_CONFIG_HOME counts for nothing, as its
    /// specification says.
    pub(super) fn place(&self, typed: Option<&Path>) -> Option<Place> {
        if let Some(named) = typed.or(self.contexts.as_deref()) {
            return Some(Place::Named(named.to_owned()));
        }
        let config = self.config_home.clone().filter(|path| path.is_absolute());
        let config = config.or_else(|| self.home.as_ref().map(|home| home.join(".config")))?;
        Some(Place::Usual(config.join("bmsctl/config.toml")))
    }

    /// The name in `BMSCTL_CONTEXT`.
    pub(super) fn context(&self) -> Result<Option<ContextName>, ContextsError> {
        let Some(text) = &self.context else { return Ok(None) };
        let text = text.to_string_lossy();
        text.parse().map(Some).map_err(|source| ContextsError::Environment { name: text.into_owned(), source })
    }
}

impl Place {
    /// The path.
    pub(super) fn path(&self) -> &Path {
        let (Self::Named(path) | Self::Usual(path)) = self;
        path
    }
}

/// Decides. Who types an agent beside a socket in the environment may have forgotten one of the two, and a disk is at stake.
pub(super) fn choose(typed: Typed, environment: &Environment) -> Result<Choice, CtlError> {
    match (typed, &environment.socket) {
        (Typed::Address(Address::Host(..)) | Typed::Context(_), Some(_)) => Err(AddressInvalid::Both.into()),
        (Typed::Address(address), _) => Ok(Choice::Address(address)),
        (Typed::Context(name), None) => Ok(Choice::Context(name)),
        (Typed::Nothing, Some(socket)) => Ok(Choice::Address(Address::Socket(socket.clone()))),
        (Typed::Nothing, None) => Ok(environment.context()?.map_or(Choice::Current, Choice::Context)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Choice, Environment, Place, choose};
    use crate::cli::{Address, AddressArgs, AddressInvalid};
    use crate::error::CtlError;
    use crate::tls::Files;

    /// Of options and environment: `-` where there is none.
    fn chosen(
        host: &str,
        socket: &str,
        context: &str,
        env_socket: &str,
        env_context: &str,
    ) -> Result<Choice, CtlError> {
        let some = |text: &str| (text != "-").then(|| text.to_owned());
        let file = |name: &str| (host != "-").then(|| PathBuf::from(name));
        let args = AddressArgs {
            host: some(host).map(|text| text.parse().expect("a host")),
            cert: file("/c"),
            key: file("/k"),
            ca: file("/a"),
            socket: some(socket).map(PathBuf::from),
            context: some(context).map(|text| text.parse().expect("a name")),
            contexts: None,
        };
        let environment = Environment {
            socket: some(env_socket).map(PathBuf::from),
            context: some(env_context).map(Into::into),
            ..Environment::default()
        };
        choose(args.typed()?, &environment)
    }

    #[test]
    fn what_is_typed_goes_before_the_environment_and_that_before_the_file() {
        let host = || {
            let files = Files { cert: "/c".into(), key: "/k".into(), ca: "/a".into() };
            Choice::Address(Address::Host("typed".parse().expect("a host"), files))
        };
        let socket = |path: &str| Choice::Address(Address::Socket(path.into()));
        let context = |name: &str| Choice::Context(name.parse().expect("a name"));
        for (typed, environment, expected) in [
            (["typed", "-", "-"], ["-", "-"], host()),
            (["typed", "-", "-"], ["-", "env"], host()),
            (["-", "/typed", "-"], ["-", "-"], socket("/typed")),
            (["-", "/typed", "-"], ["/env", "env"], socket("/typed")),
            (["-", "-", "-"], ["/env", "-"], socket("/env")),
            (["-", "-", "-"], ["/env", "env"], socket("/env")),
            (["-", "-", "typed"], ["-", "-"], context("typed")),
            (["-", "-", "typed"], ["-", "env"], context("typed")),
            (["-", "-", "-"], ["-", "env"], context("env")),
            (["-", "-", "-"], ["-", "-"], Choice::Current),
        ] {
            let found = chosen(typed[0], typed[1], typed[2], environment[0], environment[1]);
            assert_eq!(found.expect("an agent"), expected, "{typed:?} {environment:?}");
        }
    }

    #[test]
    fn two_agents_are_refused() {
        for (typed, environment) in [
            (["typed", "/typed", "-"], ["-", "-"]),
            (["typed", "-", "typed"], ["-", "-"]),
            (["-", "/typed", "typed"], ["-", "-"]),
            (["typed", "/typed", "typed"], ["/env", "env"]),
            (["typed", "-", "-"], ["/env", "-"]),
            (["-", "-", "typed"], ["/env", "-"]),
        ] {
            let found = chosen(typed[0], typed[1], typed[2], environment[0], environment[1]);
            let refused = matches!(found, Err(CtlError::Address { source: AddressInvalid::Both }));
            assert!(refused, "{typed:?} {environment:?}: {found:?}");
        }
    }

    #[test]
    fn a_name_in_the_environment_that_is_none_is_refused() {
        let error = chosen("-", "-", "-", "-", "a b").expect_err("no name");
        assert!(error.to_string().contains("BMSCTL_CONTEXT"), "{error}");
    }

    #[test]
    fn the_file_is_the_one_that_is_named_or_in_the_configuration_of_the_user() {
        let path = |text: &str| (text != "-").then(|| PathBuf::from(text));
        let named = |text: &str| Some(Place::Named(text.into()));
        let usual = |text: &str| Some(Place::Usual(text.into()));
        for (typed, contexts, config_home, home, expected) in [
            ("typed.toml", "/env.toml", "/xdg", "/home/u", named("typed.toml")),
            ("-", "/env.toml", "/xdg", "/home/u", named("/env.toml")),
            ("-", "-", "/xdg", "/home/u", usual("/xdg/bmsctl/config.toml")),
            ("-", "-", "xdg", "/home/u", usual("/home/u/.config/bmsctl/config.toml")),
            ("-", "-", "-", "/home/u", usual("/home/u/.config/bmsctl/config.toml")),
            ("-", "-", "-", "-", None),
        ] {
            let environment = Environment {
                contexts: path(contexts),
                config_home: path(config_home),
                home: path(home),
                ..Environment::default()
            };
            let typed = path(typed);
            assert_eq!(environment.place(typed.as_deref()), expected);
            assert!(expected.is_none_or(|place| place.path() != Path::new("")));
        }
    }
}
