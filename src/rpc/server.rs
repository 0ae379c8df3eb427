//! The server: all services, with every limit set, on the connections that `listen` gives.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::call::CallLayer;
use super::disk::DiskHandler;
use super::host::HostHandler;
use super::listen::{Listeners, TlsError};
use super::operations::OperationsHandler;
use super::proto::DESCRIPTORS;
use super::proto::longrunning::operations_server::OperationsServer;
use super::proto::v1::disk_service_server::DiskServiceServer;
use super::proto::v1::host_service_server::HostServiceServer;
use super::proto::v1::operation_service_server::OperationServiceServer;
use super::proto::v1::provisioning_service_server::ProvisioningServiceServer;
use super::provisioning::{BySize, ProvisioningHandler};
use super::watch::WatchHandler;
use crate::agent::Agent;
use crate::image::group::MAX_GROUP_BYTES;

/// Most streams of one connection.
const MAX_STREAMS: u32 = 64;
/// How old a connection becomes before no call can begin on it, and how long those that run may go on: an image can take
/// hours. With a certificate that is no longer valid, calls begin for an hour at most.
const MAX_AGE: Duration = Duration::from_secs(3600);
const MAX_AGE_GRACE: Duration = Duration::from_secs(12 * 3600);
/// Longest message but for pushes, in bytes.
const MAX_MESSAGE: usize = 256 << 10;
/// Room for the fields around a group, in bytes.
const MESSAGE_OVERHEAD: usize = 64 << 10;
/// Longest header list, in bytes.
const MAX_HEADERS: u32 = 8 << 10;
/// HTTP/2 frames of 1 MiB halve the cost of a push: `docs/performance.md`.
const FRAME: u32 = 1 << 20;
/// What a stream and a connection may have on its way: enough for 25 GbE at 2 ms. It is memory of the agent.
const WINDOW: u32 = 8 << 20;

/// The server cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be made.
    #[error("cannot listen on {}", .path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificates and the like cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another agent listens there.
    #[error("another process listens on {}", .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The server ended.
    #[error("the server failed")]
    Serve(#[from] tonic::transport::Error),
    /// Reflection cannot be built from the agent's own descriptors.
    #[error("the descriptors of the API are damaged")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves until `stop` is set; calls that run are finished.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(agent: Arc<Agent>, listeners: Listeners, stop: CancellationToken) -> Result<(), ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ProvisioningServiceServer<ProvisioningHandler>>().await;
    let reflection =
        tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS).build_v1()?;
    let push_message = usize::try_from(MAX_GROUP_BYTES).unwrap_or(usize::MAX).saturating_add(MESSAGE_OVERHEAD);
    let provisioning = Arc::new(ProvisioningHandler(agent.clone()));
    let sized = |most| ProvisioningServiceServer::from_arc(provisioning.clone()).max_decoding_message_size(most);
    limits(Server::builder())
        .layer(CallLayer)
        .add_service(health_service.max_decoding_message_size(MAX_MESSAGE))
        .add_service(reflection.max_decoding_message_size(MAX_MESSAGE))
        .add_service(HostServiceServer::new(HostHandler(agent.clone())).max_decoding_message_size(MAX_MESSAGE))
        .add_service(DiskServiceServer::new(DiskHandler(agent.clone())).max_decoding_message_size(MAX_MESSAGE))
        .add_service(BySize { push: sized(push_message), others: sized(MAX_MESSAGE) })
        .add_service(OperationServiceServer::new(WatchHandler(agent.clone())).max_decoding_message_size(MAX_MESSAGE))
        .add_service(OperationsServer::new(OperationsHandler(agent)).max_decoding_message_size(MAX_MESSAGE))
        .serve_with_incoming_shutdown(listeners.accept(), stop.cancelled_owned())
        .await?;
    Ok(())
}

/// tonic's defaults are not limits: without these, one connection can take all memory.
fn limits(server: Server) -> Server {
    server
        .max_concurrent_streams(MAX_STREAMS)
        .max_connection_age(MAX_AGE)
        .max_connection_age_grace(MAX_AGE_GRACE)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(64))
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .max_frame_size(FRAME)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
}
