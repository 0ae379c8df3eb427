//! Verifications: what a disk is compared with, and how they begin.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::Agent;
use super::begin::{Intent, Start, spawn};
use super::error::AgentError;
use crate::audit::AuditedImage;
use crate::disk::device::BlockDevice;
use crate::disk::discovery::Disk;
use crate::disk::guard;
use crate::disk::selector::Selector;
use crate::image::group::Layout;
use crate::operation::{Operation, OperationKind, Outcome, Request};
use crate::provision::error::ProvisionError;
use crate::provision::verify::{Expectation, VerifyJob};

/// What to verify a disk against.
#[derive(Debug, Clone, Copy)]
pub enum VerifyAgainst {
    /// The record of the agent's own install.
    Record,
    /// Content of this layout with this root.
    Root(Layout, [u8; 32]),
}

impl Agent {
    /// Begins to verify a disk, or finds the operation that the same request began.
    ///
    /// # Errors
    /// If the disk cannot be had, or nothing is known to compare it with.
    pub fn verify(
        self: &Arc<Self>,
        id: &Request,
        selector: &Selector,
        against: VerifyAgainst,
    ) -> Result<Arc<Operation>, AgentError> {
        if let Some(operation) = self.registry.known(id)? {
            return Ok(operation);
        }
        let all = self.discovery.scan()?;
        let disk = selector.select(&all)?.clone();
        let expectation = self.expectation(&disk, against)?;
        let image = AuditedImage { size_bytes: Some(expectation.layout().len_bytes()), ..AuditedImage::default() };
        let kind = OperationKind::Verify;
        let intent = Intent { request: id, kind, disk: &disk, image, overridden: Vec::new(), pull: None };
        let (work, device) = match self.begin(intent, |disk| guard::open_for_reading(&self.discovery, disk))? {
            Start::Begun(work, device) => (work, device),
            Start::Known(operation) => return Ok(operation),
        };
        let operation = work.operation().clone();
        let workers = self.resources.workers(expectation.layout());
        spawn("verify", work, move |operation| run_verify(operation, &device, disk, &expectation, workers))?;
        Ok(operation)
    }

    /// A record tells group from group; it is used as well where it has the very root that the caller names.
    fn expectation(&self, disk: &Disk, against: VerifyAgainst) -> Result<Expectation, AgentError> {
        match against {
            VerifyAgainst::Record => match self.records.load(&disk.identity)? {
                Some(tree) => Ok(Expectation::Tree(tree)),
                None => Err(AgentError::NoRecord { disk: disk.name.clone() }),
            },
            VerifyAgainst::Root(layout, root) => {
                let recorded = self.records.load(&disk.identity).ok().flatten();
                let same = recorded.filter(|tree| {
                    tree.layout().len_bytes() == layout.len_bytes() && tree.root() == blake3::Hash::from_bytes(root)
                });
                Ok(same.map_or(Expectation::Root(layout, root), Expectation::Tree))
            }
        }
    }
}

fn run_verify(
    operation: &Operation,
    device: &dyn BlockDevice,
    disk: Disk,
    expectation: &Expectation,
    workers: usize,
) -> Result<Outcome, ProvisionError> {
    let workers = NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN);
    let job = VerifyJob { device, expectation, workers, counters: &operation.counters, cancel: &operation.cancel };
    let root = *job.run()?.as_bytes();
    Ok(Outcome { disk, root, len_bytes: expectation.layout().len_bytes(), warnings: Vec::new(), captured: None })
}
