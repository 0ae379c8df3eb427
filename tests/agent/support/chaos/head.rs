//! Heads of HTTP/1.1 messages: just enough to know where a message ends, and to change what it says.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

const MOST_BYTES: u64 = 64 << 10;

/// The first line and the fields of a message.
#[derive(Debug, Clone)]
pub(super) struct Head {
    first: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// An answer of the proxy's own, with a body of so many bytes.
    pub(super) fn answer(status: &str, kind: &str, len_bytes: usize) -> Self {
        let fields = [("Content-Type", kind.to_owned()), ("Content-Length", len_bytes.to_string())];
        let fields = fields.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { first: format!("HTTP/1.1 {status}"), fields }
    }

    /// Reads a head; none if the connection ends before its first byte.
    pub(super) async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let mut stream = stream.take(MOST_BYTES);
        let mut first = String::new();
        if stream.read_line(&mut first).await? == 0 {
            return Ok(None);
        }
        let mut head = Self { first: first.trim_end().to_owned(), fields: Vec::new() };
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            head.fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    pub(super) fn method(&self) -> &str {
        self.word(0)
    }

    pub(super) fn target(&self) -> &str {
        self.word(1)
    }

    /// Of an answer; 0 if it is none.
    pub(super) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    fn word(&self, index: usize) -> &str {
        self.first.split(' ').nth(index).unwrap_or_default()
    }

    pub(super) fn field(&self, wanted: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
    }

    pub(super) fn remove(&mut self, unwanted: &str) {
        self.fields.retain(|(name, _)| !name.eq_ignore_ascii_case(unwanted));
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn content_len(&self) -> Option<u64> {
        self.field("content-length")?.parse().ok()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.fields {
            write!(text, "{name}: {value}\r\n").expect("memory");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}
