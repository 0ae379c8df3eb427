//! The push of an image: one pass over the source, offers ahead of the data, and only the data that the agent wants.
//!
//! One task drives it and never hashes, reads or compresses: it moves messages between the reading threads, the books
//! and the transport, so that the connection is never idle.

mod feed;
pub(crate) mod ledger;
mod outbox;
#[cfg(test)]
mod tests;

use std::pin::pin;

use bms_agent::image::group::Layout;
use bms_agent::image::scan::Piece;
use bms_agent::image::source::Source;
use bms_agent::rpc::proto::longrunning::Operation;
use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::push_image_response::Message as Answer;
use bms_agent::rpc::proto::v1::{GroupWant, PushBegin, PushImageRequest, PushImageResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use self::feed::Feed;
use self::ledger::{Ledger, LedgerError};
use self::outbox::Outbox;
use crate::connect::Agent;
use crate::error::CtlError;
use crate::interrupt::Interrupts;
use crate::output::Output;
use crate::progress::Progress;
use crate::watch::cancel;

pub(crate) use self::feed::workers;
pub(crate) use self::outbox::Compression;

/// Messages between the driver and the transport.
const REQUESTS: usize = 4;

/// Said at the first interrupt.
const CANCELLING: &str = "cancelling: the disk will have no boot region (interrupt again to stop waiting)";

/// What to push.
#[derive(Debug)]
pub(crate) struct Push {
    /// The image.
    pub(crate) source: Source,
    /// How it is cut.
    pub(crate) layout: Layout,
    /// How it travels.
    pub(crate) compression: Compression,
    /// What the agent is asked to do with it.
    pub(crate) begin: PushBegin,
}

/// Pushes an image, and gives the operation when it is done.
///
/// # Errors
/// Besides those of the connection and the source: `OperationFailed` once the agent has begun.
pub(crate) async fn push(agent: &Agent, push: Push, output: &Output) -> Result<Operation, CtlError> {
    // Before the agent is asked for anything, so that no interrupt is missed.
    let mut interrupts = Interrupts::listen()?;
    drive(agent, push, output, async || interrupts.next().await).await
}

/// Pushes, with `interrupt` to wait for the user's next interrupt.
async fn drive(
    agent: &Agent,
    push: Push,
    output: &Output,
    mut interrupt: impl AsyncFnMut(),
) -> Result<Operation, CtlError> {
    let mut start = pin!(Driver::start(agent, push, output));
    let mut cancelling = false;
    let mut driver = loop {
        tokio::select! {
            driver = &mut start => break driver?,
            () = interrupt() => {
                if cancelling {
                    return Err(CtlError::Interrupted);
                }
                output.note(CANCELLING);
                cancelling = true;
            }
        }
    };
    driver.cancelling = cancelling;
    let ended = driver.run(&mut interrupt).await;
    if let Some(progress) = driver.progress.take() {
        progress.stop().await;
    }
    ended.map_err(|error| driver.classify(error))
}

struct Driver {
    agent: Agent,
    output: Output,
    ledger: Ledger,
    feed: Feed,
    /// Whether the source has more to give.
    reading: bool,
    outbox: Outbox,
    /// To the agent; none once everything was sent, or the agent takes no more.
    requests: Option<mpsc::Sender<PushImageRequest>>,
    answers: Streaming<PushImageResponse>,
    /// Once the agent has accepted the push.
    operation: Option<String>,
    progress: Option<Progress>,
    /// Whether the digest of the offers was given to the outbox.
    finishing: bool,
    cancelling: bool,
}

impl Driver {
    async fn start(agent: &Agent, push: Push, output: &Output) -> Result<Self, CtlError> {
        let Push { source, layout, compression, begin } = push;
        let ledger = Ledger::new(layout).map_err(unbalanced)?;
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let request = PushImageRequest { message: Some(Message::Begin(begin)) };
        requests.try_send(request).map_err(|_full| CtlError::Answer { what: "no room for the first message" })?;
        let answers = agent.provisioning().push_image(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self {
            agent: agent.clone(),
            output: output.clone(),
            ledger,
            feed: Feed::start(source, layout),
            reading: true,
            outbox: Outbox::new(layout, compression),
            requests: Some(requests),
            answers,
            operation: None,
            progress: None,
            finishing: false,
            cancelling: false,
        })
    }

    /// Moves messages until the agent says how it ended.
    async fn run(&mut self, interrupt: &mut impl AsyncFnMut()) -> Result<Operation, CtlError> {
        loop {
            self.finish_when_settled();
            tokio::select! {
                answer = self.answers.message() => {
                    let answer = answer?.ok_or(CtlError::Answer { what: "the stream ended without a result" })?;
                    if let Some(operation) = self.take_answer(answer).await? {
                        return Ok(operation);
                    }
                }
                room = has_room(self.requests.as_ref()), if !self.outbox.is_empty() => self.send_next(room),
                piece = self.feed.next(), if self.reading && self.outbox.has_room() => self.take_piece(piece?)?,
                encoded = self.outbox.encoded(), if self.outbox.is_encoding() => {
                    encoded.map_err(|source| CtlError::ReaderLost { source })?;
                }
                () = interrupt() => self.interrupted().await?,
            }
        }
    }

    /// Sends one message. This is the only sender, so that the room that was waited for is still there.
    fn send_next(&mut self, room: bool) {
        let Some(requests) = self.requests.as_ref().filter(|_| room) else {
            return self.stop_sending();
        };
        let request = PushImageRequest { message: self.outbox.pop() };
        if requests.try_send(request).is_err() {
            self.stop_sending();
        }
    }

    fn take_piece(&mut self, piece: Option<Piece>) -> Result<(), CtlError> {
        match piece {
            Some(piece) => self.outbox.offer(self.ledger.offer(piece).map_err(unbalanced)?),
            None => self.reading = false,
        }
        Ok(())
    }

    async fn take_answer(&mut self, answer: PushImageResponse) -> Result<Option<Operation>, CtlError> {
        match answer.message {
            Some(Answer::Accepted(accepted)) => self.accepted(accepted.operation).await,
            Some(Answer::Want(wanted)) => self.wanted(&wanted)?,
            Some(Answer::Finished(operation)) => return Ok(Some(operation)),
            None => {
                return Err(CtlError::Answer { what: "an answer of an unknown kind" });
            }
        }
        Ok(None)
    }

    async fn accepted(&mut self, operation: String) {
        self.progress = Progress::start(&self.agent, &operation, &self.output);
        self.operation = Some(operation.clone());
        if self.cancelling {
            cancel(&self.agent, &operation, &self.output).await;
        }
    }

    fn wanted(&mut self, wanted: &GroupWant) -> Result<(), CtlError> {
        for batch in self.ledger.answer(wanted).map_err(unbalanced)? {
            // The agent may have stopped taking data while its answers were under way.
            if self.requests.is_some() {
                self.outbox.send(&batch);
            }
        }
        Ok(())
    }

    /// Ends the stream of requests once nothing is left to say: first the digest, then the end itself.
    fn finish_when_settled(&mut self) {
        if self.reading || self.requests.is_none() || !self.outbox.is_drained() || !self.ledger.is_settled() {
            return;
        }
        if self.finishing {
            self.requests = None;
        } else {
            self.finishing = true;
            self.outbox.finish(self.ledger.digest());
        }
    }

    /// The agent takes no more, or shall get no more: only its last answer is waited for.
    fn stop_sending(&mut self) {
        self.feed.stop();
        self.reading = false;
        self.outbox.clear();
        self.requests = None;
    }

    /// The first interrupt cancels; the second one gives up waiting for the end. Until that end the push goes on: a stream
    /// that just stopped could not be told from one that broke.
    async fn interrupted(&mut self) -> Result<(), CtlError> {
        match (&self.operation, self.cancelling) {
            (None, true) => Err(CtlError::Interrupted),
            (Some(operation), true) => Err(CtlError::Abandoned { operation: operation.clone() }),
            (operation, false) => {
                let operation = operation.clone();
                self.output.note(CANCELLING);
                self.cancelling = true;
                if let Some(operation) = operation {
                    cancel(&self.agent, &operation, &self.output).await;
                }
                Ok(())
            }
        }
    }

    /// Once the agent has begun, what it says is how the operation ended.
    fn classify(&self, error: CtlError) -> CtlError {
        match (error, &self.operation) {
            (CtlError::Refused(failure), Some(operation)) => CtlError::operation(operation, *failure),
            (error, _) => error,
        }
    }
}

/// Waits until the transport takes one more message; false if it takes none any more.
async fn has_room(requests: Option<&mpsc::Sender<PushImageRequest>>) -> bool {
    match requests {
        Some(requests) => requests.reserve().await.is_ok(),
        None => false,
    }
}

fn unbalanced(source: LedgerError) -> CtlError {
    CtlError::Books { source }
}
