//! Calls whose messages are bytes of the test's own, whatever the method expects.

use bytes::{Buf as _, BufMut as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::client::Client;

/// Longest text of an error: a client may have no room for more in a header.
const MOST_SAID: usize = 4096;

/// Why a call was refused, as its caller sees it. What the library says by itself has no reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) code: Code,
    pub(crate) reason: String,
    /// Names of the fields that are wrong, sorted.
    pub(crate) fields: Vec<String>,
    pub(crate) message: String,
}

impl Told {
    pub(crate) fn what(&self) -> (Code, &str) {
        (self.code, &self.reason)
    }

    /// The fields that are wrong.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.fields.iter().map(String::as_str).collect()
    }
}

impl From<Status> for Told {
    fn from(status: Status) -> Self {
        assert!(status.message().len() <= MOST_SAID, "{} bytes of text", status.message().len());
        let hidden = |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
        assert!(!status.message().contains(hidden), "{status:?}");
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        let mut fields: Vec<_> = violations.into_iter().map(|violation| violation.field).collect();
        fields.sort();
        fields.dedup();
        Self { code: status.code(), reason, fields, message: status.message().to_owned() }
    }
}

impl Client {
    /// Sends one message to a method of any kind, and gives all that is answered.
    pub(crate) async fn ask(&self, path: &'static str, message: Vec<u8>) -> Result<Vec<Vec<u8>>, Told> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.expect("connected");
        let call = grpc.server_streaming(Request::new(message), PathAndQuery::from_static(path), Raw);
        let mut answers = call.await?.into_inner();
        let mut all = Vec::new();
        while let Some(answer) = answers.message().await? {
            all.push(answer);
        }
        Ok(all)
    }

    /// The same where it must be refused.
    pub(crate) async fn refusal(&self, path: &'static str, message: Vec<u8>) -> Told {
        match self.ask(path, message).await {
            Err(told) => told,
            Ok(answers) => panic!("{path} was answered, {} times", answers.len()),
        }
    }
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}
