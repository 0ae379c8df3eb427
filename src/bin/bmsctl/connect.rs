//! The connection to the agent: one channel over its Unix socket or TLS, tuned for bulk data, and a client per service.

use std::error::Error;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use bms_agent::rpc::proto::longrunning::operations_client::OperationsClient;
use bms_agent::rpc::proto::v1::disk_service_client::DiskServiceClient;
use bms_agent::rpc::proto::v1::host_service_client::HostServiceClient;
use bms_agent::rpc::proto::v1::operation_service_client::OperationServiceClient;
use bms_agent::rpc::proto::v1::provisioning_service_client::ProvisioningServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use crate::cli::Address;
use crate::error::CtlError;
use crate::tls::{self, Broken, Files, Host};

/// Flow control windows. With the default of 64 KiB a push runs at a third of the speed.
const WINDOW_BYTES: u32 = 16 << 20;
/// A frame as large as a data message: fewer frames halve the CPU time of both ends.
const FRAME_BYTES: u32 = 1 << 20;
/// Largest message: one group of 16 MiB, and its framing.
const MESSAGE_BYTES: usize = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An agent that answers.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    channel: Channel,
}

macro_rules! clients {
    ($($(#[doc = $doc:literal])+ $name:ident: $client:ident;)+) => {
        impl Agent {
            $($(#[doc = $doc])+
            pub(crate) fn $name(&self) -> $client<Channel> {
                $client::new(self.channel.clone())
                    .max_decoding_message_size(MESSAGE_BYTES)
                    .max_encoding_message_size(MESSAGE_BYTES)
            })+
        }
    };
}

clients! {
    /// HostService
    hosts: HostServiceClient;
    /// DiskService
    disks: DiskServiceClient;
    /// ProvisioningService
    provisioning: ProvisioningServiceClient;
    /// google.longrunning.Operations
    operations: OperationsClient;
    /// OperationService
    watches: OperationServiceClient;
}

impl Agent {
    /// Connects to the agent at an address.
    pub(crate) async fn connect(address: &Address) -> Result<Self, CtlError> {
        // The URL is required and never used.
        let endpoint = Endpoint::from_static("http://bms-agent")
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES);
        let channel = match address {
            Address::Socket(socket) => {
                let path = socket.clone();
                let channel = endpoint.connect_with_connector(service_fn(move |_| open(path.clone()))).await;
                channel.map_err(|source| unreachable(socket.display().to_string(), source, hint))?
            }
            Address::Host(host, files) => over_tls(endpoint, host, files).await?,
        };
        Ok(Self { channel })
    }
}

/// Connects to another server, and makes sure that the agent there talks with this caller.
async fn over_tls(endpoint: Endpoint, host: &Host, files: &Files) -> Result<Channel, CtlError> {
    let place = host.to_string();
    let config =
        files.config().map_err(|source| CtlError::TlsFiles { place: place.clone(), source: Box::new(source) })?;
    let broken = Broken::default();
    let (to, told) = (host.clone(), broken.clone());
    let connector = service_fn(move |_| {
        let opened = tls::open(to.clone(), config.clone(), told.clone());
        async move { opened.await.map(TokioIo::new) }
    });
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|source| unreachable(place.clone(), source, tls::hint))?;
    // Whatever the agent answers, it answers. A status with a source was made on this side, of a connection that broke.
    match HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await {
        Err(status) if status.source().is_some() => {
            let hint = broken.get().copied().unwrap_or_else(|| tls::hint(&io::ErrorKind::UnexpectedEof.into()));
            Err(CtlError::Connect { place, hint, source: status.into() })
        }
        Ok(_) | Err(_) => Ok(channel),
    }
}

async fn open(socket: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(socket).await.map(TokioIo::new)
}

fn unreachable(place: String, source: tonic::transport::Error, hint: fn(&io::Error) -> &'static str) -> CtlError {
    let hint = io_error(&source).map_or("it gave no answer in time", hint);
    CtlError::Connect { place, hint, source: source.into() }
}

/// The error of the socket below an error of the transport.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    iter::successors(Some(error), |error| (*error).source()).find_map(|cause| cause.downcast_ref())
}

/// What to do about a connection that could not be made.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are another crate's, and may become more")]
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "is bms-agent running? see `systemctl status bms-agent`, or give --socket",
        io::ErrorKind::ConnectionRefused => "bms-agent has stopped; see `systemctl status bms-agent`",
        io::ErrorKind::PermissionDenied => "the socket is for root alone; try sudo",
        _ => "see `systemctl status bms-agent`",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::Agent;
    use crate::cli::Address;
    use crate::exit::Exit;

    #[tokio::test]
    async fn a_missing_socket_and_a_dead_one_say_what_to_do() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let socket = dir.path().join("agent.sock");
        let missing = Agent::connect(&Address::Socket(socket.clone())).await.expect_err("no socket");
        assert!(missing.to_string().contains("is bms-agent running?"), "{missing}");
        assert_eq!(missing.exit(), Exit::Unreachable);

        drop(UnixListener::bind(&socket).expect("bind"));
        let dead = Agent::connect(&Address::Socket(socket.clone())).await.expect_err("nobody listens");
        assert!(dead.to_string().contains("has stopped"), "{dead}");
    }
}
