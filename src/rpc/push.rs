//! Carries a push: messages in, answers out. Nothing is hashed or decoded here; payloads are handed on as they came.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument as _;

use super::proto::v1::{self, push_image_response::Message};
use super::{convert, view};
use crate::agent::Intake;
use crate::operation::Operation;
use crate::provision::feed::{Budget, FeedEvent, Want};

/// Answers that wait for the network.
const WAITING_ANSWERS: usize = 64;

type Answers = ReceiverStream<Result<v1::PushImageResponse, Status>>;
type Answer = mpsc::Sender<Result<v1::PushImageResponse, Status>>;

/// The push of a request that began before: the caller is told of the operation, and of its end.
pub(super) fn answer_known(operation: Arc<Operation>) -> Answers {
    let (answer, answers) = mpsc::channel(WAITING_ANSWERS);
    tokio::spawn(async move {
        let accepted = v1::PushAccepted { operation: operation.name(), plan: None };
        if send(&answer, Message::Accepted(accepted)).await {
            finish(&answer, &operation).await;
        }
    });
    ReceiverStream::new(answers)
}

/// Feeds an install from a stream, and answers what it wants, until it ends.
pub(super) fn carry_on(
    operation: Arc<Operation>,
    plan: v1::InstallPlan,
    intake: Intake,
    messages: Streaming<v1::PushImageRequest>,
) -> Answers {
    let (answer, answers) = mpsc::channel(WAITING_ANSWERS);
    let Intake { events, wants, halt, budget } = intake;
    let halted = halt.clone();
    let span = operation.span();
    // Two tasks: a caller that does not read its answers still has its data taken, and the other way round.
    tokio::spawn(async move {
        // Whatever ends the pump closes the channel: before a finish, that is an interruption.
        halt.run_until_cancelled(pump(messages, &events, &budget)).instrument(span).await;
    });
    tokio::spawn(async move {
        let accepted = v1::PushAccepted { operation: operation.name(), plan: Some(plan) };
        if send(&answer, Message::Accepted(accepted)).await {
            // A caller that does not read its answers must not hold up workers that are to stop.
            halted.run_until_cancelled(answer_wants(&answer, wants)).await;
            finish(&answer, &operation).await;
        }
    });
    ReceiverStream::new(answers)
}

/// Hands messages on until the last. Waits while the workers have all the memory they may have, so that the caller
/// waits too.
async fn pump(mut messages: Streaming<v1::PushImageRequest>, events: &mpsc::Sender<FeedEvent>, budget: &Budget) {
    loop {
        let message = match messages.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => return tracing::info!(%error, "a push broke"),
        };
        let mut event = convert::feed_event(message);
        if let FeedEvent::Data(part) = &mut event {
            part.budget = budget.reserve(part.payload.len()).await;
        }
        let last = matches!(event, FeedEvent::Finish { .. } | FeedEvent::Broken(_));
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

/// Answers until the workers are gone, and the operation has ended or is about to; or until the caller is gone.
async fn answer_wants(answer: &Answer, mut wants: mpsc::Receiver<Want>) {
    while let Some(want) = wants.recv().await {
        if !send(answer, Message::Want(view::want(want))).await {
            return;
        }
    }
}

async fn finish(answer: &Answer, operation: &Operation) {
    let snapshot = operation.ended().await;
    send(answer, Message::Finished(view::operation(operation, &snapshot))).await;
}

/// Whether the caller is still there to be answered.
async fn send(answer: &Answer, message: Message) -> bool {
    answer.send(Ok(v1::PushImageResponse { message: Some(message) })).await.is_ok()
}
