//! A web server that answers what a test wants, byte by byte: also what no real server would.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::server::free_address;

/// What is answered to whoever asks for a path, whatever they ask of it.
#[derive(Debug, Clone)]
pub(crate) enum Lie {
    /// A file, and its length.
    File(Vec<u8>),
    /// A file, with another length than it has; then the connection closes.
    Length(Vec<u8>, u64),
    /// A file in parts, again and again without an end.
    Endless(Vec<u8>),
}

/// A server. Its thread lives as long as the test's process, and costs nothing.
#[derive(Debug)]
pub(crate) struct Liar {
    address: SocketAddr,
}

impl Liar {
    /// Serves lies by their names.
    pub(crate) fn serve(lies: impl IntoIterator<Item = (&'static str, Lie)>) -> Self {
        let listener = TcpListener::bind(free_address()).expect("an address");
        let address = listener.local_addr().expect("bound");
        let lies: Arc<BTreeMap<_, _>> = Arc::new(lies.into_iter().collect());
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let lies = lies.clone();
                // Who has enough goes away; that is no error.
                thread::spawn(move || drop(answer(&connection, &lies)));
            }
        });
        Self { address }
    }

    /// What everything on it is below.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn answer(mut connection: &TcpStream, lies: &BTreeMap<&'static str, Lie>) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let name = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let mut say = |head: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body))
    };
    match lies.get(name) {
        None => say("404 Not Found\r\nContent-Length: 0", &[]),
        Some(Lie::File(body)) => say(&format!("200 OK\r\nContent-Length: {}", body.len()), body),
        Some(Lie::Length(body, len)) => say(&format!("200 OK\r\nContent-Length: {len}"), body),
        Some(Lie::Endless(body)) => {
            say("200 OK\r\nTransfer-Encoding: chunked", &[])?;
            loop {
                write!(connection, "{:x}\r\n", body.len())?;
                connection.write_all(body).and_then(|()| connection.write_all(b"\r\n"))?;
            }
        }
    }
}
