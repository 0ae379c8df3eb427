//! Feeds an install from a repository: everything is offered at once, for the tree is known; what the workers want is
//! fetched, many chunks at a time, and handed on in order.

use std::collections::VecDeque;
use std::future::Future;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;

use super::chunks::{Request, requests};
use super::{Outlet, PullError};
use crate::image::tree::{Group, OffersDigest, Tree};
use crate::provision::error::{ProvisionError, SourceFailure};
use crate::provision::feed::{Budget, Encoding, FeedEvent, Offered, Part, Want};
use crate::repository::chunk::ChunkLayout;
use crate::repository::{Repository, StoredImage};

/// Most chunks that are fetched at once, if the memory budget has room for as many.
const MOST_IN_FLIGHT: usize = 16;
/// Least, so that answers do not wait for questions.
const LEAST_IN_FLIGHT: usize = 4;
/// Between these, as many as make so many bytes.
const BYTES_IN_FLIGHT: u64 = 16 << 20;
/// Parts that wait for the workers before another chunk is taken from the network.
const WAITING_PARTS: usize = 64;
/// Most groups of one offer.
const OFFERED_GROUPS: usize = 1024;

/// Feeds the workers with an image until all they want is there, or something goes wrong, which they are told.
pub async fn from_repository(repository: &Repository, image: &StoredImage, outlet: Outlet) {
    let Outlet { events, wants, budget } = outlet;
    if let Err(error) = feed(repository, image, &events, wants, &budget).await {
        // Workers that are gone have a reason of their own.
        drop(events.send(FeedEvent::Broken(ProvisionError::Source(SourceFailure::new(error)))).await);
    }
}

async fn feed(
    repository: &Repository,
    image: &StoredImage,
    events: &mpsc::Sender<FeedEvent>,
    wants: mpsc::Receiver<Want>,
    budget: &Budget,
) -> Result<(), PullError> {
    let tree = repository.tree(image).await?;
    let chunks = ChunkLayout::new(tree.layout(), image.manifest.content.chunk_size_bytes);
    let source = Source { repository, chunks, budget };
    let feeder = Feeder {
        offers: offers(tree.groups()).collect(),
        parts: VecDeque::new(),
        queue: VecDeque::new(),
        unanswered: tree.groups().iter().filter(|group| **group != Group::Hole).count() as u64,
    };
    feeder.run(&source, &tree, events, wants).await
}

/// Where chunks come from.
struct Source<'a> {
    repository: &'a Repository,
    chunks: ChunkLayout,
    budget: &'a Budget,
}

impl Source<'_> {
    /// How many chunks are fetched at once.
    fn at_once(&self) -> usize {
        let chunks = usize::try_from(BYTES_IN_FLIGHT / self.chunks.max_object_bytes()).unwrap_or(MOST_IN_FLIGHT);
        chunks.clamp(LEAST_IN_FLIGHT, MOST_IN_FLIGHT)
    }

    /// Fetches some groups of a chunk. Memory is reserved before anything is asked for, in the order of requests: a chunk
    /// never waits for memory that later ones have taken.
    async fn fetch(&self, request: Request) -> Result<Vec<Part>, PullError> {
        let most = usize::try_from(self.chunks.max_object_bytes()).unwrap_or(usize::MAX);
        let mut reserved = self.budget.reserve(most).await;
        let frames = self.repository.frames(&self.chunks, request.chunk, request.key, &request.groups).await?;
        let part = |frame: crate::repository::Frame| Part {
            first: frame.group,
            count: 1,
            encoding: Encoding::Zstd,
            budget: reserved.as_mut().and_then(|all| Budget::split(all, frame.bytes.len())),
            payload: frame.bytes,
        };
        Ok(frames.into_iter().map(part).collect())
    }
}

/// What is still to be told and fetched.
struct Feeder {
    offers: VecDeque<FeedEvent>,
    parts: VecDeque<Part>,
    /// At most one for each chunk of the image.
    queue: VecDeque<Request>,
    /// Data groups of which the workers have not said whether they want them.
    unanswered: u64,
}

impl Feeder {
    /// Listens, tells and fetches at once: each of the three may have to wait for another.
    async fn run(
        mut self,
        source: &Source<'_>,
        tree: &Tree,
        events: &mpsc::Sender<FeedEvent>,
        mut wants: mpsc::Receiver<Want>,
    ) -> Result<(), PullError> {
        let mut fetching = FuturesOrdered::new();
        loop {
            while fetching.len() < source.at_once() {
                let Some(request) = self.queue.pop_front() else { break };
                fetching.push_back(source.fetch(request));
            }
            if self.is_done() && fetching.is_empty() {
                let finish = FeedEvent::Finish { offers_digest: digest(tree.groups()) };
                // Workers that are gone have a reason of their own; so below.
                drop(events.send(finish).await);
                return Ok(());
            }
            tokio::select! {
                biased;
                want = wants.recv(), if self.unanswered > 0 => match want {
                    Some(want) => self.note(&want, tree, &source.chunks),
                    None => return Ok(()),
                },
                room = events.reserve(), if self.has_news() => match room {
                    Ok(room) => {
                        if let Some(news) = self.news() {
                            room.send(news);
                        }
                    }
                    Err(_gone) => return Ok(()),
                },
                parts = next(&mut fetching), if self.parts.len() < WAITING_PARTS && !fetching.is_empty() => {
                    self.parts.extend(parts?);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.unanswered == 0 && !self.has_news() && self.queue.is_empty()
    }

    fn note(&mut self, want: &Want, tree: &Tree, chunks: &ChunkLayout) {
        let (answered, requests) = requests(want, tree, chunks);
        self.unanswered = self.unanswered.saturating_sub(answered);
        self.queue.extend(requests);
    }

    fn has_news(&self) -> bool {
        !self.parts.is_empty() || !self.offers.is_empty()
    }

    /// The next thing to tell. Data first: it holds memory.
    fn news(&mut self) -> Option<FeedEvent> {
        self.parts.pop_front().map(FeedEvent::Data).or_else(|| self.offers.pop_front())
    }
}

/// The next chunk. Only asked for while there is one.
async fn next<F>(fetching: &mut FuturesOrdered<F>) -> Result<Vec<Part>, PullError>
where
    F: Future<Output = Result<Vec<Part>, PullError>>,
{
    fetching.next().await.unwrap_or_else(|| Ok(Vec::new()))
}

/// What all groups of an image are, in order.
fn offers(groups: &[Group]) -> impl Iterator<Item = FeedEvent> {
    let mut first = 0;
    let is_hole = |group: &Group| *group == Group::Hole;
    groups.chunk_by(move |a, b| is_hole(a) == is_hole(b)).flat_map(|stretch| stretch.chunks(OFFERED_GROUPS)).map(
        move |stretch| {
            let value = |group: &Group| match group {
                Group::Hole => None,
                Group::Data(value) => Some(*value),
            };
            let values: Vec<_> = stretch.iter().filter_map(value).collect();
            let count = stretch.len() as u64;
            let offered = if values.is_empty() { Offered::Holes(count) } else { Offered::Data(values) };
            first += count;
            FeedEvent::Offer { first: first - count, groups: offered }
        },
    )
}

fn digest(groups: &[Group]) -> [u8; 32] {
    let mut digest = OffersDigest::default();
    for group in groups {
        match group {
            Group::Hole => digest.hole(),
            Group::Data(value) => digest.data(value),
        }
    }
    digest.finish()
}
