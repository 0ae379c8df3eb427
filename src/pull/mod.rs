//! Installs that fetch their image themselves: what feeds the workers instead of a caller's stream.
//!
//! Async, on a thread and runtime of its own for each install, so that calls are answered while it works. Nothing is
//! hashed or decoded here but what tells a broken transfer: frames are handed on as they came.

mod chunks;
mod error;
mod repository;

use tokio::sync::mpsc;

pub use error::PullError;
pub use repository::from_repository;

use crate::provision::feed::{Budget, FeedEvent, Want};

/// The workers, as a source sees them.
#[derive(Debug)]
pub struct Outlet {
    /// Tells them.
    pub events: mpsc::Sender<FeedEvent>,
    /// What they ask for.
    pub wants: mpsc::Receiver<Want>,
    /// Memory for content on its way.
    pub budget: Budget,
}
