//! Long-running operations: what runs, how far it is, how it ended.
//!
//! An operation is begun once for each request id, holds its disk until its work has ended, and is remembered for a
//! while. The work itself is none of this module's business.

mod handle;
mod meter;
pub mod rate;
pub mod registry;
mod request;

pub use handle::{Captured, Failure, Operation, OperationKind, Outcome, Snapshot};
pub use meter::introduce;
pub use request::{Call, Caller, Request};
