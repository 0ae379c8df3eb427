//! `bmsctl capture` and `backup`: a disk becomes an image in a repository of the agent, or a file of this machine.

mod file;
#[cfg(test)]
mod tests;

use std::path::Path;

use bms_agent::clock::{Clock as _, SystemClock, unix_seconds};
use bms_agent::rpc::proto::v1::stream_capture_response::Message;
use bms_agent::rpc::proto::v1::{
    CaptureBegun, CaptureImageRequest, Encoding, ImageKind, StreamCaptureRequest, StreamCaptureResponse,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Streaming;
use uuid::Uuid;

pub(crate) use self::file::FileError;
use self::file::{CaptureFile, Part};
use crate::cli::{CaptureArgs, CaptureKindArg};
use crate::connect::Agent;
use crate::disk::wire_selector;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::format::bytes;
use crate::import::stamp;
use crate::interrupt::Interrupts;
use crate::operation::describe;
use crate::output::Output;
use crate::progress::Progress;
use crate::table::Fields;
use crate::view::CaptureFileView;
use crate::watch::{cancel, outcome, wait};

/// Messages that wait to be written.
const WAITING_PARTS: usize = 8;

/// Captures a disk.
pub(crate) async fn run(args: &CaptureArgs, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    match (&args.to, &args.name) {
        (Some(path), _) => to_file(args, path, agent, output).await,
        (None, name) => to_repository(args, name.clone().unwrap_or_default(), agent, output).await,
    }
}

async fn to_repository(args: &CaptureArgs, name: String, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let now = || stamp(unix_seconds(SystemClock.now()));
    let kind = match args.kind {
        CaptureKindArg::Public => ImageKind::Public,
        CaptureKindArg::Private => ImageKind::Private,
    };
    let request = CaptureImageRequest {
        request_id: args.request_id.unwrap_or_else(Uuid::new_v4).to_string(),
        disk: Some(wire_selector(&args.disk)),
        repository: args.repository.clone().unwrap_or_default(),
        name,
        version: args.version.clone().unwrap_or_else(now),
        owner: args.owner.clone(),
        kind: kind.into(),
        description: args.description.clone(),
        labels: args.labels.iter().cloned().collect(),
        bit_exact: args.bit_exact,
        group_size_bytes: args.group_size.map_or(0, |size| size.bytes()),
    };
    let operation = agent.provisioning().capture_image(request).await?.into_inner();
    let operation = wait(agent, &operation.name, output).await?;
    output.result(&outcome(operation)?, describe)?;
    Ok(Exit::Done)
}

async fn to_file(args: &CaptureArgs, path: &Path, agent: &Agent, output: &Output) -> Result<Exit, CtlError> {
    let mut interrupts = Interrupts::listen()?;
    let file = CaptureFile::create(path)?;
    let request = StreamCaptureRequest {
        disk: Some(wire_selector(&args.disk)),
        bit_exact: args.bit_exact,
        group_size_bytes: args.group_size.map_or(0, |size| size.bytes()),
        encoding: if args.compress { Encoding::Zstd } else { Encoding::Raw }.into(),
    };
    let mut answers = agent.provisioning().stream_capture(request).await?.into_inner();
    let Some(Message::Begun(begun)) = next(&mut answers).await? else {
        return Err(CtlError::Answer { what: "a capture that does not begin" });
    };
    let progress = Progress::start(agent, &begun.operation, output);
    let receiving = Receiving { agent, output, operation: &begun.operation };
    let view = receiving.run(answers, file, &begun, async || interrupts.next().await).await;
    if let Some(progress) = progress {
        progress.stop().await;
    }
    output.result(&view?, table)?;
    Ok(Exit::Done)
}

async fn next(answers: &mut Streaming<StreamCaptureResponse>) -> Result<Option<Message>, CtlError> {
    Ok(answers.message().await?.and_then(|answer| answer.message))
}

/// A capture that is under way.
struct Receiving<'a> {
    agent: &'a Agent,
    output: &'a Output,
    operation: &'a str,
}

impl Receiving<'_> {
    /// Moves messages to the thread that checks and writes them, until that thread has the file.
    async fn run(
        &self,
        mut answers: Streaming<StreamCaptureResponse>,
        file: CaptureFile,
        begun: &CaptureBegun,
        mut interrupt: impl AsyncFnMut(),
    ) -> Result<CaptureFileView, CtlError> {
        let (parts, received) = mpsc::channel(WAITING_PARTS);
        let writing = write(file.begin(begun)?, received);
        let mut cancelling = false;
        loop {
            tokio::select! {
                message = next(&mut answers) => match message.map_err(|error| self.classify(error))? {
                    Some(message) => {
                        // A writer that takes no more has failed, and says why.
                        if parts.send(message).await.is_err() {
                            break;
                        }
                    }
                    None => break,
                },
                () = interrupt() => {
                    if cancelling {
                        return Err(CtlError::Abandoned { operation: self.operation.to_owned() });
                    }
                    cancelling = true;
                    self.output.note("cancelling (interrupt again to stop waiting)");
                    cancel(self.agent, self.operation, self.output).await;
                }
            }
        }
        drop(parts);
        let written = writing.await.map_err(|source| CtlError::ReaderLost { source })?;
        Ok(written?)
    }

    /// What the agent says once it has begun is how the operation ended.
    fn classify(&self, error: CtlError) -> CtlError {
        if let CtlError::Refused(failure) = error {
            return CtlError::operation(self.operation, *failure);
        }
        error
    }
}

/// Starts the thread that checks and writes. It gives the file its name only if everything came.
fn write(mut file: Part, mut messages: mpsc::Receiver<Message>) -> JoinHandle<Result<CaptureFileView, FileError>> {
    tokio::task::spawn_blocking(move || {
        while let Some(message) = messages.blocking_recv() {
            match message {
                Message::Groups(groups) => file.take(&groups)?,
                Message::Finished(finished) => return file.finish(&finished),
                Message::Begun(_) => return Err(FileError::Protocol { what: "a second begin" }),
            }
        }
        Err(FileError::Protocol { what: "the stream ended before the capture" })
    })
}

fn table(view: &CaptureFileView) -> String {
    let mut fields = Fields::new()
        .field("file", &view.file)
        .field("root", &view.root)
        .field("size", &format!("{} ({} bytes)", bytes(view.size_bytes), view.size_bytes))
        .field("data", &bytes(view.data_bytes))
        .field("holes", &bytes(view.hole_bytes))
        .field("free", &bytes(view.free_bytes));
    for note in &view.notes {
        fields = fields.field("note", note);
    }
    fields.into_text()
}
