//! What stands in the audit log of an operation: who wanted what of which disk, and what became of it.

use super::Agent;
use crate::audit::{AuditError, AuditedDisk, AuditedImage, Bytes, Ending, Event, Kind};
use crate::disk::discovery::Disk;
use crate::operation::{Caller, Failure, Operation, Outcome};
use crate::reason::Reason;

impl Agent {
    /// Writes that the agent has started, or stops. What cannot be written is logged: the next operation is refused then.
    pub fn audit_life(&self, kind: Kind) {
        if let Err(error) = self.audit.append(&Event::new(kind)) {
            tracing::error!(error = %crate::text::chain(&error), "the audit log cannot be written: nothing will begin");
        }
    }

    /// Writes that an operation begins, and which findings shall not count.
    pub(super) fn audit_begin(
        &self,
        operation: &Operation,
        disk: &Disk,
        image: AuditedImage,
        overridden: &[String],
    ) -> Result<(), AuditError> {
        for finding in overridden {
            self.audit.append(&Event { reason: Some(finding.clone()), ..event(Kind::Override, operation) })?;
        }
        let event = event(Kind::Begin, operation);
        self.audit.append(&Event { disk: Some(audited(disk)), image: Some(image), ..event })
    }

    /// Writes how an operation ended.
    pub(super) fn audit_end(&self, operation: &Operation, result: &Result<Outcome, Failure>) -> Result<(), AuditError> {
        let progress = operation.counters.progress();
        let bytes = Bytes {
            written: Some(progress.written_bytes),
            holes: Some(progress.hole_bytes),
            present: Some(progress.present_bytes),
            verified: Some(progress.verified_bytes),
            read: Some(progress.read_bytes),
            cut: None,
        };
        let event = event(Kind::End, operation);
        let disk = Some(AuditedDisk { name: operation.disk.clone(), ..AuditedDisk::default() });
        self.audit.append(&match result {
            Ok(outcome) => Event {
                disk: Some(audited(&outcome.disk)),
                image: Some(AuditedImage {
                    root: Some(blake3::Hash::from_bytes(outcome.root).to_hex().to_string()),
                    size_bytes: Some(outcome.len_bytes),
                    name: outcome.captured.and_then(|captured| captured.image).map(|id| id.to_string()),
                }),
                result: Some(Ending::Done),
                bytes: Some(bytes),
                ..event
            },
            Err(failure) => {
                let (result, reason) = (Some(ending(failure.reason)), Some(failure.reason.name().to_owned()));
                Event { disk, result, reason, bytes: Some(bytes), ..event }
            }
        })
    }

    /// Writes who has an operation forgotten.
    pub(super) fn audit_delete(&self, operation: &Operation, caller: &Caller) -> Result<(), AuditError> {
        self.audit.append(&by(caller, event(Kind::Delete, operation)))
    }

    /// Writes who cancels an operation. A cancel is not kept from anybody because that cannot be written.
    pub(super) fn audit_cancel(&self, operation: &Operation, caller: &Caller) {
        if let Err(error) = self.audit.append(&by(caller, event(Kind::Cancel, operation))) {
            tracing::error!(error = %crate::text::chain(&error), %caller, "a cancel is not in the audit log");
        }
    }
}

/// An event of an operation, by whoever began it.
fn event(kind: Kind, operation: &Operation) -> Event {
    let request = &operation.request;
    let event = Event {
        method: Some(request.method.to_owned()).filter(|method| !method.is_empty()),
        request_id: Some(request.id),
        operation: Some(operation.id),
        ..Event::new(kind)
    };
    by(&request.caller, event)
}

fn by(caller: &Caller, event: Event) -> Event {
    let Caller { name, role, fingerprint } = caller.clone();
    Event { caller: Some(name), role: Some(role), fingerprint, ..event }
}

fn audited(disk: &Disk) -> AuditedDisk {
    AuditedDisk {
        name: disk.name.clone(),
        serial: disk.identity.serial.clone(),
        wwn: disk.identity.wwn.clone(),
        size_bytes: disk.size_bytes,
        diskseq: disk.identity.diskseq,
    }
}

const fn ending(reason: Reason) -> Ending {
    if matches!(reason, Reason::OperationCancelled) {
        Ending::Cancelled
    } else if matches!(reason, Reason::OperationInterrupted) {
        Ending::Interrupted
    } else {
        Ending::Failed
    }
}
