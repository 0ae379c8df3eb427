//! The image: random, without holes, in memory, with its chaining values computed beforehand. Its messages are what
//! `bmsctl` sends, and its events what the server makes of them.

use bms_agent::agent::Intake;
use bms_agent::image::group::{ChainingValue, GroupSize, Layout};
use bms_agent::image::tree::OffersDigest;
use bms_agent::provision::feed::{Encoding, FeedEvent, Offered, Part};
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{self, GroupData, GroupOffer, PushFinish, PushImageRequest};
use bytes::Bytes;

use crate::Failure;

/// Content of one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Groups that are offered at once, like the pieces of `bmsctl`'s scan.
const OFFER_GROUPS: usize = 16;

/// The image.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) layout: Layout,
    content: Bytes,
    values: Vec<ChainingValue>,
    digest: [u8; 32],
}

impl Image {
    /// An image of so many bytes, in groups of the default size.
    pub(crate) fn random(len_bytes: usize) -> Self {
        let mut content = vec![0; len_bytes];
        blake3::Hasher::new().update(b"the image").finalize_xof().fill(&mut content);
        let layout = Layout::new(len_bytes as u64, GroupSize::default());
        let groups = content.chunks(layout.group_size().as_usize());
        let values: Vec<_> = (0..).zip(groups).map(|(group, data)| layout.chaining_value(group, data)).collect();
        let mut digest = OffersDigest::default();
        values.iter().for_each(|value| digest.data(value));
        Self { layout, content: content.into(), values, digest: digest.finish() }
    }

    /// First groups, numbers of groups and contents of the messages for some groups.
    fn messages(&self, first: u64, count: u64) -> impl Iterator<Item = (u64, u64, Bytes)> {
        let step = MESSAGE_BYTES / self.layout.group_size().bytes();
        let size = self.layout.group_size().as_usize();
        let place = move |group: u64| usize::try_from(group).unwrap_or(usize::MAX).saturating_mul(size);
        (first..first + count).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(move |at| {
            let end = (at + step).min(first + count);
            (at, end - at, self.content.slice(place(at)..place(end)))
        })
    }

    fn offers(&self) -> impl Iterator<Item = (u64, &[ChainingValue])> {
        (0..).step_by(OFFER_GROUPS).zip(self.values.chunks(OFFER_GROUPS))
    }

    /// All offers, for the wire.
    pub(crate) fn offer_requests(&self) -> impl Iterator<Item = PushImageRequest> {
        self.offers().map(|(first_group, values)| {
            let chaining_values = values.iter().flat_map(|value| value.0).collect();
            request(Message::Offer(GroupOffer { first_group, group_count: values.len() as u64, chaining_values }))
        })
    }

    /// The data of some groups, for the wire.
    pub(crate) fn data_requests(&self, first: u64, count: u64) -> impl Iterator<Item = PushImageRequest> {
        self.messages(first, count).map(|(first_group, count, payload)| {
            let group_count = u32::try_from(count).unwrap_or(u32::MAX);
            request(Message::Data(GroupData { first_group, group_count, encoding: v1::Encoding::Raw.into(), payload }))
        })
    }

    /// The end, for the wire.
    pub(crate) fn finish_request(&self) -> PushImageRequest {
        request(Message::Finish(PushFinish { offers_digest: self.digest.to_vec() }))
    }

    /// Tells workers everything, as the server would, without a wire between.
    pub(crate) async fn feed(&self, intake: &Intake) -> Result<(), Failure> {
        for (first, values) in self.offers() {
            let groups = Offered::Data(values.to_vec());
            intake.events.send(FeedEvent::Offer { first, groups }).await?;
        }
        for (first, count, payload) in self.messages(0, self.layout.groups()) {
            let budget = intake.budget.reserve(payload.len()).await;
            intake
                .events
                .send(FeedEvent::Data(Part { first, count, encoding: Encoding::Raw, payload, budget }))
                .await?;
        }
        Ok(intake.events.send(FeedEvent::Finish { offers_digest: self.digest }).await?)
    }
}

/// A message of a push.
pub(crate) const fn request(message: Message) -> PushImageRequest {
    PushImageRequest { message: Some(message) }
}
