//! Which agent a command is for.

use std::path::PathBuf;

use clap::Args;

use crate::tls::{Files, Host};

/// Where an agent listens unless it is configured otherwise.
pub(crate) const SOCKET: &str = "/run/bms-agent/agent.sock";

/// Where the agent is, as it is typed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct AddressArgs {
    /// Socket of the agent on this server [default: /run/bms-agent/agent.sock].
    #[arg(long, global = true, env = "BMSCTL_SOCKET", hide_env = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Agent on another server, over TLS: a name or address; the port is 7443 unless it is given.
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    host: Option<Host>,
    /// With --host: certificate of the caller, which has the role. PEM.
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// With --host: key of the certificate. PEM.
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// With --host: authorities of agents. PEM.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Where the agent is.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// On this server.
    Socket(PathBuf),
    /// On another.
    Host(Host, Files),
}

/// The options do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressInvalid {
    /// Two agents are named.
    #[error("one agent, please: --host, or a socket by --socket or BMSCTL_SOCKET")]
    Both,
    /// Something is missing.
    #[error("--host needs --cert, --key and --ca: an agent talks to nobody without a certificate")]
    Half,
    /// They are for TLS only.
    #[error("--cert, --key and --ca are for --host")]
    NoHost,
}

impl AddressArgs {
    /// The one agent that is meant.
    pub(crate) fn address(&self) -> Result<Address, AddressInvalid> {
        match (&self.socket, &self.host, &self.cert, &self.key, &self.ca) {
            (Some(_), Some(_), ..) => Err(AddressInvalid::Both),
            (None, Some(host), Some(cert), Some(key), Some(ca)) => {
                let files = Files { cert: cert.clone(), key: key.clone(), ca: ca.clone() };
                Ok(Address::Host(host.clone(), files))
            }
            (None, Some(_), ..) => Err(AddressInvalid::Half),
            (socket, None, None, None, None) => {
                Ok(Address::Socket(socket.clone().unwrap_or_else(|| PathBuf::from(SOCKET))))
            }
            (_, None, ..) => Err(AddressInvalid::NoHost),
        }
    }
}
