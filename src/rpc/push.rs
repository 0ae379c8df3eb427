//! Carries a push: messages in, answers out. Nothing is hashed or decoded here; payloads are handed on as they came.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Status, Streaming};
use tracing::Instrument as _;

use super::proto::v1::{self, push_image_response::Message};
use super::{convert, view};
use crate::agent::Intake;
use crate::operation::Operation;
use crate::provision::error::ProvisionError;
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
            tokio::select! {
                () = finish(&answer, &operation) => {}
                () = answer.closed() => {}
            }
        }
    });
    ReceiverStream::new(answers)
}

/// Feeds an install from a stream, and answers what it wants, until it ends. A stream that stands still for `stall` ends it.
pub(super) fn carry_on(
    operation: Arc<Operation>,
    plan: v1::InstallPlan,
    intake: Intake,
    messages: Streaming<v1::PushImageRequest>,
    stall: Duration,
) -> Answers {
    let (answer, answers) = mpsc::channel(WAITING_ANSWERS);
    let Intake { events, wants, halt, budget } = intake;
    let halted = halt.clone();
    let span = operation.span();
    let fed = operation.clone();
    // Two tasks: a caller that does not read its answers still has its data taken, and the other way round.
    tokio::spawn(async move {
        // Whatever ends the pump closes the channel: before a finish, that is an interruption.
        halt.run_until_cancelled(pump(messages, &events, &budget, &fed, stall)).instrument(span).await;
    });
    tokio::spawn(async move {
        let accepted = v1::PushAccepted { operation: operation.name(), plan: Some(plan) };
        if send(&answer, Message::Accepted(accepted)).await {
            // A caller that does not read its answers must not hold up workers that are to stop.
            halted.run_until_cancelled(answer_wants(&answer, wants, stall)).await;
            finish(&answer, &operation).await;
        }
    });
    ReceiverStream::new(answers)
}

/// Hands messages on until the last. Waits while the workers have all the memory they may have, so that the caller
/// waits too.
async fn pump(
    mut messages: Streaming<v1::PushImageRequest>,
    events: &mpsc::Sender<FeedEvent>,
    budget: &Budget,
    operation: &Operation,
    stall: Duration,
) {
    while let Some(mut event) = next(&mut messages, events, operation, stall).await {
        if let FeedEvent::Data(part) = &mut event {
            part.budget = budget.reserve(part.payload.len()).await;
        }
        let last = matches!(event, FeedEvent::Finish { .. } | FeedEvent::Broken(_));
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

/// What the source tells next; none if its stream ended or broke. It stands still, which ends the install, if nothing came for
/// a whole `stall` while the workers had taken all that came before, and moved nothing: a source may be silent because it
/// waits for what they want.
async fn next(
    messages: &mut (impl Stream<Item = Result<v1::PushImageRequest, Status>> + Unpin),
    events: &mpsc::Sender<FeedEvent>,
    operation: &Operation,
    stall: Duration,
) -> Option<FeedEvent> {
    // Whether something waits for the workers, and what they have done.
    let work = || (events.capacity() < events.max_capacity(), operation.counters.progress());
    loop {
        let before = work();
        match tokio::time::timeout(stall, messages.next()).await {
            Ok(Some(Ok(message))) => return Some(convert::feed_event(message)),
            Ok(Some(Err(error))) => {
                tracing::info!(%error, "a push broke");
                return None;
            }
            Ok(None) => return None,
            Err(_elapsed) => {
                if before == work() && !before.0 {
                    let (disk, seconds) = (operation.disk.clone(), stall.as_secs());
                    return Some(FeedEvent::Broken(ProvisionError::Stalled { disk, seconds }));
                }
            }
        }
    }
}

/// Answers until the workers are gone, and the operation has ended or is about to; or until the caller is gone, or has read
/// nothing for a whole `stall`: nobody waits for it to read any more, then.
async fn answer_wants(answer: &Answer, mut wants: mpsc::Receiver<Want>, stall: Duration) {
    while let Some(want) = wants.recv().await {
        let message = v1::PushImageResponse { message: Some(Message::Want(view::want(want))) };
        if answer.send_timeout(Ok(message), stall).await.is_err() {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Status;
    use uuid::Uuid;

    use super::next;
    use crate::operation::{Caller, Operation, OperationKind, Request};
    use crate::provision::error::ProvisionError;
    use crate::provision::feed::FeedEvent;
    use crate::rpc::proto::v1;

    const STALL: Duration = Duration::from_secs(10);

    fn operation() -> Operation {
        let request = Request::once(Caller::default(), "");
        Operation::new(Uuid::nil(), OperationKind::Install, request, "sda".to_owned(), SystemTime::UNIX_EPOCH)
    }

    fn finish() -> Result<v1::PushImageRequest, Status> {
        let finish = v1::PushFinish { offers_digest: vec![7; 32] };
        Ok(v1::PushImageRequest { message: Some(v1::push_image_request::Message::Finish(finish)) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_may_be_slow_but_not_stand_still() {
        let (sender, receiver) = mpsc::channel(1);
        let (events, _workers) = mpsc::channel(1);
        let mut messages = ReceiverStream::new(receiver);
        let operation = operation();
        let source = tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(STALL - Duration::from_millis(1)).await;
                sender.send(finish()).await.expect("taken");
            }
            sender
        });
        for _ in 0..5 {
            let event = next(&mut messages, &events, &operation, STALL).await;
            assert!(matches!(event, Some(FeedEvent::Finish { .. })), "{event:?}");
        }
        let _sender = source.await.expect("sent");
        let event = next(&mut messages, &events, &operation, STALL).await;
        let Some(FeedEvent::Broken(ProvisionError::Stalled { disk, seconds })) = event else { panic!("{event:?}") };
        assert_eq!((disk.as_str(), seconds), ("sda", 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_waits_for_the_workers_does_not_stand_still() {
        let (_sender, receiver) = mpsc::channel(1);
        let (events, mut workers) = mpsc::channel(1);
        let mut messages = ReceiverStream::new(receiver);
        let operation = operation();
        let start = tokio::time::Instant::now();
        events.send(FeedEvent::Finish { offers_digest: [0; 32] }).await.expect("room");
        let work = async {
            tokio::time::sleep(STALL * 5 / 2).await;
            workers.recv().await.expect("an event");
            tokio::time::sleep(STALL).await;
            operation.counters.written.add(1);
        };
        let (event, ()) = tokio::join!(next(&mut messages, &events, &operation, STALL), work);
        assert!(matches!(event, Some(FeedEvent::Broken(_))), "{event:?}");
        // 25 s with an event that nobody took, 10 s until something was written, and a whole stall after that.
        assert_eq!(start.elapsed(), STALL * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_or_breaks_tells_nothing_more() {
        let (events, _workers) = mpsc::channel(1);
        let operation = operation();
        let mut ended = tokio_stream::empty();
        assert!(next(&mut ended, &events, &operation, STALL).await.is_none());
        let status = crate::rpc::refuse(&crate::rpc::CallError::Lost);
        let mut broken = tokio_stream::once(Err(status));
        assert!(next(&mut broken, &events, &operation, STALL).await.is_none());
    }
}
