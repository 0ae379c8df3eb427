//! `DiskService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::proto::longrunning::Operation;
use super::proto::v1;
use super::proto::v1::disk_service_server::DiskService;
use super::role::Method;
use super::{auth, beginning, blocking, convert, follow, inspect, refuse, view};
use crate::agent::Agent;

/// Lists disks, and verifies them.
#[derive(Debug)]
pub(super) struct DiskHandler(pub(super) Arc<Agent>);

#[tonic::async_trait]
impl DiskService for DiskHandler {
    async fn list_disks(&self, _: Request<v1::ListDisksRequest>) -> Result<Response<v1::ListDisksResponse>, Status> {
        let agent = self.0.clone();
        let disks = blocking(move || agent.disks()).await?;
        Ok(Response::new(v1::ListDisksResponse { disks: disks.iter().map(view::surveyed).collect() }))
    }

    async fn verify_disk(&self, request: Request<v1::VerifyDiskRequest>) -> Result<Response<Operation>, Status> {
        let caller = auth::caller(&request);
        let request = request.into_inner();
        let id = convert::request(Method::DiskServiceVerifyDisk, &request.request_id, &request, &caller)
            .map_err(|error| refuse(&error))?;
        let (selector, against) = convert::verify_request(&request).map_err(|error| refuse(&error))?;
        let agent = self.0.clone();
        let call = id.call.clone();
        let operation = beginning(&call, move || agent.verify(&id, &selector, against)).await?;
        follow(&operation);
        Ok(Response::new(view::operation(&operation, &operation.snapshot())))
    }

    async fn inspect_disk(
        &self,
        request: Request<v1::InspectDiskRequest>,
    ) -> Result<Response<v1::InspectDiskResponse>, Status> {
        let (subject, choice) = convert::inspect_disk_request(request.into_inner()).map_err(|error| refuse(&error))?;
        let inspection = inspect::inspect(self.0.clone(), subject, choice).await?;
        Ok(Response::new(v1::InspectDiskResponse { inspection: Some(inspection) }))
    }
}
