//! What is to be sent, in the order that keeps the agent busy; and the encoding of data, away from the runtime.

use std::collections::VecDeque;

use bms_agent::image::group::Layout;
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{Encoding, GroupData, GroupOffer, PushFinish};
use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};

use super::ledger::Batch;

/// Fastest useful level: a push must not wait for its compressor.
const ZSTD_LEVEL: i32 = 1;
/// Messages that wait before no more of the source is taken in.
const BACKLOG_MESSAGES: usize = 32;

/// How content travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// As it is: best on a local socket and on fast links.
    None,
    /// One zstd frame a message, where that is shorter.
    Zstd,
}

/// Messages that wait for the transport.
#[derive(Debug)]
pub(crate) struct Outbox {
    layout: Layout,
    compression: Compression,
    offers: VecDeque<GroupOffer>,
    data: VecDeque<GroupData>,
    finish: Option<PushFinish>,
    encoding: JoinSet<GroupData>,
}

impl Outbox {
    /// An empty one.
    pub(crate) fn new(layout: Layout, compression: Compression) -> Self {
        let (offers, data) = (VecDeque::new(), VecDeque::new());
        Self { layout, compression, offers, data, finish: None, encoding: JoinSet::new() }
    }

    /// Adds an offer. Offers overtake data: the agent's answers should be here before the data before them is through.
    pub(crate) fn offer(&mut self, offer: GroupOffer) {
        self.offers.push_back(offer);
    }

    /// Adds content, compressed first if it is to be. Only what is wanted costs the time to compress it.
    pub(crate) fn send(&mut self, batch: &Batch) {
        let content = batch.content(self.layout);
        let (first, count) = (batch.first, batch.count);
        match self.compression {
            Compression::None => self.data.push_back(group_data(first, count, Encoding::Raw, content)),
            Compression::Zstd => {
                self.encoding.spawn_blocking(move || compress(first, count, content));
            }
        }
    }

    /// Adds the end.
    pub(crate) fn finish(&mut self, offers_digest: [u8; 32]) {
        self.finish = Some(PushFinish { offers_digest: offers_digest.to_vec() });
    }

    /// Takes what is to be sent next.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let offer = self.offers.pop_front().map(Message::Offer);
        let next = offer.or_else(|| self.data.pop_front().map(Message::Data));
        next.or_else(|| self.finish.take().map(Message::Finish))
    }

    /// Whether nothing can be sent now.
    pub(crate) fn is_empty(&self) -> bool {
        self.offers.is_empty() && self.data.is_empty() && self.finish.is_none()
    }

    /// Whether nothing can be sent now, nor later.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_empty() && !self.is_encoding()
    }

    /// Whether there is room for what the next piece of the source brings.
    pub(crate) fn has_room(&self) -> bool {
        self.offers.len() + self.data.len() + self.encoding.len() < BACKLOG_MESSAGES
    }

    /// Whether content is being compressed.
    pub(crate) fn is_encoding(&self) -> bool {
        !self.encoding.is_empty()
    }

    /// Waits until one more message is compressed; does nothing if none is being compressed.
    ///
    /// # Cancellation
    /// Safe: no message is lost.
    pub(crate) async fn encoded(&mut self) -> Result<(), JoinError> {
        if let Some(data) = self.encoding.join_next().await {
            self.data.push_back(data?);
        }
        Ok(())
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.offers.clear();
        self.data.clear();
        self.finish = None;
        self.encoding = JoinSet::new();
    }
}

fn group_data(first_group: u64, group_count: u32, encoding: Encoding, payload: Bytes) -> GroupData {
    GroupData { first_group, group_count, encoding: encoding.into(), payload }
}

/// Compresses content, or leaves it as it is if that does not make it shorter.
fn compress(first: u64, count: u32, content: Bytes) -> GroupData {
    match zstd::bulk::compress(&content, ZSTD_LEVEL) {
        Ok(frame) if frame.len() < content.len() => group_data(first, count, Encoding::Zstd, frame.into()),
        Ok(_) | Err(_) => group_data(first, count, Encoding::Raw, content),
    }
}

#[cfg(test)]
mod tests {
    use bms_agent::rpc::proto::v1::Encoding;
    use bytes::Bytes;

    use super::compress;

    #[test]
    fn content_is_compressed_only_where_it_gets_shorter() {
        let text = Bytes::from(b"compressible ".repeat(1000));
        let data = compress(3, 1, text.clone());
        assert_eq!(data.encoding(), Encoding::Zstd);
        assert_eq!(zstd::bulk::decompress(&data.payload, text.len()).expect("one frame"), text);

        let mut noise = vec![0; 64 << 10];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let data = compress(3, 1, Bytes::from(noise.clone()));
        assert_eq!((data.encoding(), data.payload), (Encoding::Raw, Bytes::from(noise)));
    }
}
