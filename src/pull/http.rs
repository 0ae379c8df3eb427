//! Feeds an install from a file on a web server: raw content, perhaps compressed, that is read once from its start.
//!
//! No tree is known, only the root, so that what each group is is offered when it was read and hashed. The workers are
//! given the data of those groups that they want: on a disk that holds the image already that saves writes, though all
//! of the file has to come. Nothing is bootable before the root is the pinned one.

mod decode;
mod error;
mod settings;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use self::decode::{Found, spawn_decode};
pub use self::error::HttpSourceError;
pub use self::settings::{HttpAccess, HttpTable};
use super::Outlet;
use crate::image::group::{ChainingValue, Layout, extend};
use crate::image::source::{Format, SourceError};
use crate::image::tree::OffersDigest;
use crate::net::download::Retry;
use crate::net::http::{HttpSettings, PrivateUrl};
use crate::provision::error::{ProvisionError, SourceFailure};
use crate::provision::feed::{Budget, Encoding, FeedEvent, Offered, Part, Want};

/// Stretches that were read and hashed, and wait for the feed. What they hold is bounded by the buffers of the scan.
const WAITING_STRETCHES: usize = 4;
/// Messages that wait for the workers before another stretch is looked at.
const WAITING_NEWS: usize = 16;

/// A file on a web server that may be fetched.
#[derive(Debug, Clone)]
pub struct HttpSource {
    url: PrivateUrl,
    /// What its content is packed into; else its first bytes tell.
    format: Option<Format>,
    settings: HttpSettings,
    retry: Retry,
}

impl HttpSource {
    /// Asks the server for the file, and reads its first bytes: whether it is there, in a format that is read, and, if
    /// it is raw, of `len_bytes`.
    ///
    /// # Errors
    /// Every reason for which a download would fail at its begin.
    pub fn probe(&self, len_bytes: u64) -> Result<(), HttpSourceError> {
        let (file_bytes, peeked) = decode::open(self, CancellationToken::new())?;
        let format = peeked.format(self.format).map_err(|source| HttpSourceError::of(&self.url, source))?;
        match (format, file_bytes) {
            (Format::Raw, Some(actual)) if actual != len_bytes => {
                let path = peeked.path().to_owned();
                Err(HttpSourceError::of(&self.url, SourceError::LengthMismatch { path, declared: len_bytes, actual }))
            }
            (Format::Qcow2, _) => {
                let path = peeked.path().to_owned();
                Err(HttpSourceError::of(&self.url, SourceError::NoStream { path, format }))
            }
            (Format::Raw | Format::Gzip | Format::Xz | Format::Zstd, _) => Ok(()),
        }
    }
}

/// Feeds the workers with a file until all they want is there, or something goes wrong, which they are told. The threads
/// that download and decode end when `halt` is set.
pub async fn from_http(source: HttpSource, layout: Layout, outlet: Outlet, halt: CancellationToken) {
    let Outlet { events, wants, budget } = outlet;
    if let Err(error) = feed(source, layout, &events, wants, (budget, halt)).await {
        let error = ProvisionError::Source(SourceFailure::new(error));
        // Workers that are gone have a reason of their own.
        drop(events.send(FeedEvent::Broken(error)).await);
    }
}

async fn feed(
    source: HttpSource,
    layout: Layout,
    events: &mpsc::Sender<FeedEvent>,
    wants: mpsc::Receiver<Want>,
    (budget, halt): (Budget, CancellationToken),
) -> Result<(), HttpSourceError> {
    let (told, found) = mpsc::channel(WAITING_STRETCHES);
    let url = source.url.to_string();
    spawn_decode(source, layout, told, (budget, halt))?;
    let feeder = Feeder { layout, digest: OffersDigest::default(), news: VecDeque::new(), held: HashMap::new() };
    feeder.run(found, events, wants, url).await
}

/// Data that was offered, until it is known which of it is wanted.
struct Held {
    count: u64,
    content: Bytes,
    reserved: Option<OwnedSemaphorePermit>,
}

/// What is still to be told.
struct Feeder {
    layout: Layout,
    digest: OffersDigest,
    news: VecDeque<FeedEvent>,
    /// By its first group.
    held: HashMap<u64, Held>,
}

impl Feeder {
    /// Listens to both sides and tells at once: each of the three may have to wait for another.
    async fn run(
        mut self,
        mut found: mpsc::Receiver<Result<Found, HttpSourceError>>,
        events: &mpsc::Sender<FeedEvent>,
        mut wants: mpsc::Receiver<Want>,
        url: String,
    ) -> Result<(), HttpSourceError> {
        let mut ended = false;
        while !(ended && self.held.is_empty() && self.news.is_empty()) {
            tokio::select! {
                biased;
                want = wants.recv(), if !self.held.is_empty() => match want {
                    Some(want) => self.answer(&want),
                    // Workers that are gone have a reason of their own; so below.
                    None => return Ok(()),
                },
                room = events.reserve(), if !self.news.is_empty() => match (room, self.news.pop_front()) {
                    (Ok(room), Some(news)) => room.send(news),
                    (Ok(_), None) => {}
                    (Err(_gone), _) => return Ok(()),
                },
                next = found.recv(), if !ended && self.news.len() < WAITING_NEWS => match next {
                    Some(Ok(Found::Hole { first, count })) => self.offer_hole(first, count),
                    Some(Ok(Found::Data { first, values, content, reserved })) => {
                        self.offer_data(first, values, Held { count: 0, content, reserved });
                    }
                    Some(Ok(Found::End)) => ended = true,
                    Some(Err(error)) => return Err(error),
                    None => return Err(HttpSourceError::Lost { url }),
                },
            }
        }
        drop(events.send(FeedEvent::Finish { offers_digest: self.digest.finish() }).await);
        Ok(())
    }

    fn offer_hole(&mut self, first: u64, count: u64) {
        (0..count).for_each(|_| self.digest.hole());
        self.news.push_back(FeedEvent::Offer { first, groups: Offered::Holes(count) });
    }

    fn offer_data(&mut self, first: u64, values: Vec<ChainingValue>, held: Held) {
        values.iter().for_each(|value| self.digest.data(value));
        self.held.insert(first, Held { count: values.len() as u64, ..held });
        self.news.push_back(FeedEvent::Offer { first, groups: Offered::Data(values) });
    }

    /// Tells what is wanted of an offer, and lets the rest go. Each offer is at most a run, and is answered as one.
    fn answer(&mut self, want: &Want) {
        let Some(Held { count, content, mut reserved }) = self.held.remove(&want.first) else { return };
        for groups in wanted(want, count) {
            let payload = self.payload(want.first, &groups, &content);
            let part = Part {
                first: groups.start,
                count: groups.end - groups.start,
                encoding: Encoding::Raw,
                budget: reserved.as_mut().and_then(|all| Budget::split(all, payload.len())),
                payload,
            };
            self.news.push_back(FeedEvent::Data(part));
        }
    }

    fn payload(&self, first: u64, groups: &Range<u64>, content: &Bytes) -> Bytes {
        let start = self.layout.byte_range(first, 0).start;
        let bytes = self.layout.byte_range(groups.start, groups.end - groups.start);
        let at = |offset: u64| usize::try_from(offset - start).map_or(content.len(), |at| at.min(content.len()));
        content.slice(at(bytes.start)..at(bytes.end))
    }
}

/// The groups that are wanted of an offer of so many.
fn wanted(want: &Want, count: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    (want.first..want.first + count).filter(|&group| want.includes(group)).for_each(|group| extend(&mut ranges, group));
    ranges
}
