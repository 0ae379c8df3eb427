//! The connection to the agent: one channel over its Unix socket, tuned for bulk data, and a client per service.

use std::error::Error;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bms_agent::rpc::proto::longrunning::operations_client::OperationsClient;
use bms_agent::rpc::proto::v1::disk_service_client::DiskServiceClient;
use bms_agent::rpc::proto::v1::host_service_client::HostServiceClient;
use bms_agent::rpc::proto::v1::operation_service_client::OperationServiceClient;
use bms_agent::rpc::proto::v1::provisioning_service_client::ProvisioningServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::error::CtlError;

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
    /// Connects to the agent that listens on `socket`.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, CtlError> {
        let path = socket.to_owned();
        // The address is required and never used.
        let channel = Endpoint::from_static("http://bms-agent")
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .connect_with_connector(service_fn(move |_| open(path.clone())))
            .await;
        let refused = |source| CtlError::Connect { socket: socket.to_owned(), hint: hint(&source), source };
        Ok(Self { channel: channel.map_err(refused)? })
    }
}

async fn open(socket: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(socket).await.map(TokioIo::new)
}

/// What to do about a connection that could not be made.
fn hint(error: &(dyn Error + 'static)) -> &'static str {
    let mut causes = iter::successors(Some(error), |error| (*error).source());
    let io_error = causes.find_map(|cause| cause.downcast_ref::<io::Error>());
    match io_error.map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => "is bms-agent running? see `systemctl status bms-agent`, or give --socket",
        Some(io::ErrorKind::ConnectionRefused) => "bms-agent has stopped; see `systemctl status bms-agent`",
        Some(io::ErrorKind::PermissionDenied) => "the socket is for root alone; try sudo",
        _ => "see `systemctl status bms-agent`",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::Agent;
    use crate::exit::Exit;

    #[tokio::test]
    async fn a_missing_socket_and_a_dead_one_say_what_to_do() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let socket = dir.path().join("agent.sock");
        let missing = Agent::connect(&socket).await.expect_err("no socket");
        assert!(missing.to_string().contains("is bms-agent running?"), "{missing}");
        assert_eq!(missing.exit(), Exit::Unreachable);

        drop(UnixListener::bind(&socket).expect("bind"));
        let dead = Agent::connect(&socket).await.expect_err("nobody listens");
        assert!(dead.to_string().contains("has stopped"), "{dead}");
    }
}
