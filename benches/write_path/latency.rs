//! How long small calls take while a push runs: one connection and one call at a time for each kind.

use std::path::Path;
use std::time::{Duration, Instant};

use bms_agent::rpc::proto::longrunning::GetOperationRequest;
use bms_agent::rpc::proto::longrunning::operations_client::OperationsClient;
use bms_agent::rpc::proto::v1::ListDisksRequest;
use bms_agent::rpc::proto::v1::disk_service_client::DiskServiceClient;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::Failure;
use crate::wire::{Tuning, connect};

/// From the end of a call to the begin of the next.
const PAUSE: Duration = Duration::from_millis(5);

/// How long each call took.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    pub(crate) list_disks: Vec<Duration>,
    pub(crate) get_operation: Vec<Duration>,
    pub(crate) health: Vec<Duration>,
}

impl Latencies {
    /// By name.
    pub(crate) const fn calls(&self) -> [(&'static str, &Vec<Duration>); 3] {
        [("ListDisks", &self.list_disks), ("GetOperation", &self.get_operation), ("Health", &self.health)]
    }

    /// Calls until `stop` is set.
    pub(crate) async fn sample(
        &mut self,
        socket: &Path,
        operation: String,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let mut disks = DiskServiceClient::new(connect(socket, Tuning::Ours).await?);
        let mut operations = OperationsClient::new(connect(socket, Tuning::Ours).await?);
        let mut health = HealthClient::new(connect(socket, Tuning::Ours).await?);
        let request = GetOperationRequest { name: operation };
        tokio::try_join!(
            repeat(stop, &mut self.list_disks, async || disks.list_disks(ListDisksRequest {}).await.map(drop)),
            repeat(stop, &mut self.get_operation, async || {
                operations.get_operation(request.clone()).await.map(drop)
            }),
            repeat(stop, &mut self.health, async || health.check(HealthCheckRequest::default()).await.map(drop)),
        )?;
        Ok(())
    }
}

async fn repeat(
    stop: &CancellationToken,
    taken: &mut Vec<Duration>,
    mut call: impl AsyncFnMut() -> Result<(), Status>,
) -> Result<(), Failure> {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let start = Instant::now();
        call().await?;
        taken.push(start.elapsed());
    }
    Ok(())
}
