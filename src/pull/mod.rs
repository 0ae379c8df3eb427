//! Installs that fetch their image themselves: what feeds the workers instead of a caller's stream.
//!
//! Async, on a thread and runtime of its own for each install, so that calls are answered while it works. Frames of a
//! repository are handed on as they came; a file on a web server is decompressed and hashed on a thread besides.

mod chunks;
mod error;
mod http;
mod repository;

use tokio::sync::mpsc;

pub use error::PullError;
pub use http::{HttpAccess, HttpSource, HttpSourceError, HttpTable, from_http};
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
