//! Which agent a command is for, as it is typed. What the environment and the file of contexts say is `context`'s.

use std::path::PathBuf;

use clap::Args;

use crate::context::ContextName;
use crate::tls::{Files, Host};

/// Where an agent listens unless it is configured otherwise.
pub(crate) const SOCKET: &str = "/run/bms-agent/agent.sock";

/// How the agent is found, for the help of every command.
pub(super) const ORDER: &str = "\
The agent is the one of --host, --socket or --context; else of BMSCTL_SOCKET; else of BMSCTL_CONTEXT; else the `current` one
of the file of contexts; else the one on this server. Two of --host, --socket and --context are refused, and so are --host
and --context beside BMSCTL_SOCKET.";

/// Where the agent is, as it is typed.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct AddressArgs {
    /// Socket of the agent on this server [default: /run/bms-agent/agent.sock].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Agent on another server, over TLS: a name or address; the port is 7443 unless it is given.
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub(crate) host: Option<Host>,
    /// With --host: certificate of the caller, which has the role. PEM.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// With --host: key of the certificate. PEM.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// With --host: authorities of agents. PEM.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Agent of this name in the file of contexts; see `bmsctl context`.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<ContextName>,
    /// File of contexts; not the agent's configuration.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) contexts: Option<PathBuf>,
}

/// Where the agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// On this server.
    Socket(PathBuf),
    /// On another.
    Host(Host, Files),
}

/// What was typed of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    /// All of it.
    Address(Address),
    /// A name for it.
    Context(ContextName),
    /// Nothing.
    Nothing,
}

/// The options do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressInvalid {
    /// Two agents are named.
    #[error("one agent, please: --host, --context, or a socket by --socket or BMSCTL_SOCKET")]
    Both,
    /// Something is missing.
    #[error("--host needs --cert, --key and --ca: an agent talks to nobody without a certificate")]
    Half,
    /// They are for TLS only.
    #[error("--cert, --key and --ca are for --host")]
    NoHost,
    /// An agent has to be said.
    #[error("a context is a --host with --cert, --key and --ca, or a --socket")]
    Nothing,
}

impl AddressArgs {
    /// The one agent that is meant.
    pub(crate) fn typed(&self) -> Result<Typed, AddressInvalid> {
        match (&self.host, &self.socket, &self.context) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => Err(AddressInvalid::Both),
            (Some(host), None, None) => match (&self.cert, &self.key, &self.ca) {
                (Some(cert), Some(key), Some(ca)) => {
                    let files = Files { cert: cert.clone(), key: key.clone(), ca: ca.clone() };
                    Ok(Typed::Address(Address::Host(host.clone(), files)))
                }
                _ => Err(AddressInvalid::Half),
            },
            (None, ..) if self.cert.is_some() || self.key.is_some() || self.ca.is_some() => Err(AddressInvalid::NoHost),
            (None, Some(socket), None) => Ok(Typed::Address(Address::Socket(socket.clone()))),
            (None, None, Some(name)) => Ok(Typed::Context(name.clone())),
            (None, None, None) => Ok(Typed::Nothing),
        }
    }
}
