//! Downloads from a server that cuts, stalls, lies and changes its mind: a real one, on a socket.

use std::error::Error as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Download, DownloadError, Retry};
use crate::net::http::{HttpSettings, RedirectRefusal};

const LEN: usize = 3_000_001;

fn content() -> Vec<u8> {
    let mut content = vec![0; LEN];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    content
}

/// What the server does with one connection, which asks for one thing.
#[derive(Clone)]
enum Reply {
    /// Sends the file, or the part that is asked for, with these headers; so many bytes of it, and then closes.
    Send { headers: &'static str, bytes: usize },
    /// The same, but does not close until the client does.
    Stall { headers: &'static str, bytes: usize },
    /// Sends the whole file, whatever is asked for.
    Whole { headers: &'static str },
    /// Sends these bytes as they are.
    Text(String),
}

const ALL: usize = usize::MAX;
const ETAG: &str = "ETag: \"one\"\r\n";
const MODIFIED: &str = "Last-Modified: Mon, 01 Jun 2026 00:00:00 GMT\r\n";

fn send(headers: &'static str, bytes: usize) -> Reply {
    Reply::Send { headers, bytes }
}

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

/// A server that gives one reply to each connection, and then is gone.
struct Server {
    url: Url,
    requests: mpsc::Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_as("http", replies, |connection| Box::new(connection))
    }

    /// A server whose connections are dressed by `accept`.
    fn start_as(
        scheme: &str,
        replies: impl IntoIterator<Item = Reply>,
        accept: impl Fn(TcpStream) -> Box<dyn Connection> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("{scheme}://localhost:{}/disk.raw", listener.local_addr().expect("bound").port());
        let replies: Vec<Reply> = replies.into_iter().collect();
        let (sender, requests) = mpsc::channel();
        let thread = thread::spawn(move || {
            for reply in replies {
                let Ok((connection, _)) = listener.accept() else { return };
                // A client that goes away is no failure of the server.
                drop(answer(accept(connection), &reply, &sender));
            }
        });
        Self { url: url.parse().expect("a URL"), requests, thread: Some(thread) }
    }

    fn download(&self) -> Result<Vec<u8>, DownloadError> {
        download(&self.url, &settings())
    }

    /// The heads of all requests, once all replies were given.
    fn requests(mut self) -> Vec<String> {
        self.thread.take().expect("once").join().expect("no panic");
        self.requests.iter().collect()
    }
}

trait Connection: io::Read + Write {}
impl<T: io::Read + Write> Connection for T {}

fn answer(connection: Box<dyn Connection>, reply: &Reply, requests: &mpsc::Sender<String>) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if connection.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    requests.send(head.to_lowercase()).expect("the test goes on");
    let range = head
        .to_lowercase()
        .split_once("range: bytes=")
        .and_then(|(_, range)| range.split_once('-').map(|(from, _)| from.parse::<usize>().expect("an offset")));
    let out = connection.get_mut();
    match reply {
        Reply::Send { headers, bytes } | Reply::Stall { headers, bytes } => {
            send_part(out, range, headers, *bytes)?;
        }
        Reply::Whole { headers } => send_part(out, None, headers, ALL)?,
        Reply::Text(text) => out.write_all(text.as_bytes())?,
    }
    out.flush()?;
    if matches!(reply, Reply::Stall { .. }) {
        io::copy(&mut connection, &mut io::sink())?;
    }
    Ok(())
}

fn send_part(out: &mut dyn Write, from: Option<usize>, headers: &str, bytes: usize) -> io::Result<()> {
    let content = content();
    let part = &content[from.unwrap_or(0)..];
    let (len, last) = (part.len(), LEN - 1);
    let status = match from {
        Some(from) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{LEN}"),
        None => "200 OK".to_owned(),
    };
    write!(out, "HTTP/1.1 {status}\r\nContent-Length: {len}\r\n{headers}Connection: close\r\n\r\n")?;
    out.write_all(&part[..len.min(bytes)])
}

fn settings() -> HttpSettings {
    HttpSettings { read_timeout: Duration::from_secs(1), ..HttpSettings::default() }
}

fn quick() -> Retry {
    let (rest, longest_rest) = (Duration::from_millis(1), Duration::from_millis(2));
    Retry { fruitless: 3, attempts: 6, rest, longest_rest, ..Retry::default() }
}

fn download(url: &Url, settings: &HttpSettings) -> Result<Vec<u8>, DownloadError> {
    let mut download = Download::start(url, settings, quick(), CancellationToken::new())?;
    let mut content = Vec::new();
    match download.read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(error) => Err(error.downcast().expect("an error of the download")),
    }
}

#[test]
fn a_file_comes_as_it_is_and_tells_its_length() {
    let server = Server::start([send("", ALL)]);
    let mut download = Download::start(&server.url, &settings(), quick(), CancellationToken::new()).expect("answers");
    assert_eq!(download.len_bytes(), Some(LEN as u64));
    let mut all = Vec::new();
    download.read_to_end(&mut all).expect("whole");
    assert!(all == content());
    assert!(server.requests()[0].contains("accept-encoding: identity\r\n"));
}

#[test]
fn a_broken_connection_goes_on_where_it_broke_on_condition_that_the_file_is_the_same() {
    for (headers, condition) in
        [(ETAG, "if-range: \"one\"\r\n"), (MODIFIED, "if-range: mon, 01 jun 2026 00:00:00 gmt\r\n")]
    {
        let server = Server::start([send(headers, 1_000_000), send(headers, 7), send(headers, ALL)]);
        assert!(server.download().expect("whole") == content());
        let requests = server.requests();
        assert!(!requests[0].contains("range:"));
        for (request, from) in requests[1..].iter().zip(["1000000", "1000007"]) {
            assert!(request.contains(&format!("range: bytes={from}-\r\n")), "{request}");
            assert!(request.contains(condition), "{request}");
        }
    }
}

#[test]
fn a_connection_that_stalls_is_given_up_and_made_again() {
    let server = Server::start([Reply::Stall { headers: ETAG, bytes: 1_000_000 }, send(ETAG, ALL)]);
    assert!(server.download().expect("whole") == content());
}

#[test]
fn a_server_that_knows_no_ranges_sends_again_what_is_not_taken_twice() {
    let server = Server::start([send(ETAG, 1_000_000), Reply::Whole { headers: ETAG }]);
    assert!(server.download().expect("whole") == content());
}

#[test]
fn a_file_that_changed_is_not_joined_to_the_old_one() {
    let whole = |headers| Reply::Whole { headers };
    let elsewhere = "HTTP/1.1 206 Partial Content\r\nETag: \"one\"\r\nContent-Range: bytes 5-9/3000001\r\nContent-Length: 5\r\n\r\n";
    let longer = "HTTP/1.1 206 Partial Content\r\nETag: \"one\"\r\nContent-Range: bytes 1000000-1000004/4000000\r\n\
                  Content-Length: 5\r\n\r\n";
    for reply in [
        whole("ETag: \"two\"\r\n"),
        whole(""),
        send("ETag: \"two\"\r\n", ALL),
        text(elsewhere),
        text(longer),
        text("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n"),
        text("HTTP/1.1 206 Partial Content\r\nETag: \"one\"\r\nContent-Length: 5\r\n\r\n"),
    ] {
        let error = Server::start([send(ETAG, 1_000_000), reply]).download().expect_err("another file");
        assert!(matches!(error, DownloadError::Changed { at_bytes: 1_000_000 }), "{error:?}");
    }
}

#[test]
fn nothing_is_resumed_that_the_server_cannot_tell_from_another_file() {
    for headers in ["", "ETag: W/\"weak\"\r\n"] {
        let error = Server::start([send(headers, 1_000_000)]).download().expect_err("broken");
        assert!(matches!(error, DownloadError::NotResumable { at_bytes: 1_000_000, .. }), "{error:?}");
    }
}

#[test]
fn attempts_that_bring_nothing_are_bounded_and_so_are_all() {
    let error = Server::start([send(ETAG, 1000), send(ETAG, 0), send(ETAG, 0), send(ETAG, 0)]);
    let error = error.download().expect_err("no more comes");
    assert!(matches!(error, DownloadError::GivenUp { attempts: 4, .. }), "{error:?}");
    let error = Server::start(vec![send(ETAG, 1000); 6]).download().expect_err("too slow");
    assert!(matches!(error, DownloadError::GivenUp { attempts: 6, .. }), "{error:?}");
}

#[test]
fn a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let status = |status: &str| text(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    let busy = Server::start([send(ETAG, 1000), status("503 Busy"), status("429 Slower"), send(ETAG, ALL)]);
    assert!(busy.download().expect("whole") == content());
    let gone = Server::start([send(ETAG, 1000), status("404 Gone")]).download().expect_err("gone");
    assert!(matches!(gone, DownloadError::Status { status: StatusCode::NOT_FOUND }), "{gone:?}");
    // Before anything came, who asked is there to ask again.
    for first in ["404 Not Found", "403 Forbidden", "503 Busy"] {
        let error = Server::start([status(first)]).download().expect_err(first);
        assert!(matches!(error, DownloadError::Status { .. }), "{error:?}");
    }
}

#[test]
fn a_server_that_does_not_answer_is_an_error_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
    drop(listener);
    let error = download(&url, &settings()).expect_err("nobody listens");
    assert!(matches!(error, DownloadError::Request { .. }), "{error:?}");
}

#[test]
fn an_end_that_cannot_be_told_from_a_broken_connection_is_refused() {
    let server = Server::start([text("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc")]);
    let error = server.download().expect_err("no length");
    assert!(matches!(error, DownloadError::LengthUnknown), "{error:?}");
}

#[test]
fn an_answer_in_parts_has_no_length_and_must_have_its_last_part() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n";
    let server = Server::start([text(&format!("{head}0\r\n\r\n"))]);
    let mut download = Download::start(&server.url, &settings(), quick(), CancellationToken::new()).expect("answers");
    let mut all = Vec::new();
    download.read_to_end(&mut all).expect("whole");
    assert_eq!((all.as_slice(), download.len_bytes()), (&b"abcde"[..], None));
    let error = Server::start([text(head)]).download().expect_err("cut");
    assert!(matches!(error, DownloadError::NotResumable { at_bytes: 5, .. }), "{error:?}");
}

#[test]
fn five_redirects_are_followed_and_no_more() {
    let redirect = text("HTTP/1.1 302 Found\r\nLocation: /disk.raw\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let server = Server::start(vec![redirect.clone(); 5].into_iter().chain([send("", ALL)]));
    assert!(server.download().expect("whole") == content());
    let error = Server::start(vec![redirect; 6]).download().expect_err("a loop");
    assert_eq!(refusal(&error), Some(RedirectRefusal::TooMany));
}

/// The refusal of a redirect that an error goes back to.
fn refusal(error: &DownloadError) -> Option<RedirectRefusal> {
    std::iter::successors(error.source(), |cause| (*cause).source()).find_map(|cause| cause.downcast_ref().copied())
}

#[test]
fn no_error_tells_the_credentials_of_the_url() {
    let mut server = Server::start([text("HTTP/1.1 302 Found\r\nLocation: gopher://u:word@host/\r\n\r\n")]);
    server.url.set_username("user").expect("set");
    server.url.set_password(Some("word")).expect("set");
    server.url.set_query(Some("signature=word"));
    let error = server.download().expect_err("another scheme");
    let told: Vec<_> =
        std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string).collect();
    assert!(!told.is_empty() && !format!("{error} {told:?}").contains("word"), "{error} {told:?}");
    assert!(server.requests()[0].contains("authorization: basic dxnlcjp3b3jk"), "they were for the server");
}

#[test]
fn a_download_that_nobody_reads_ends() {
    let server = Server::start([Reply::Stall { headers: ETAG, bytes: 1_000_000 }]);
    let long = HttpSettings { read_timeout: Duration::from_secs(3600), ..HttpSettings::default() };
    let download = Download::start(&server.url, &long, quick(), CancellationToken::new()).expect("answers");
    drop(download);
    // The server ends when its client goes away.
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_proxy_is_asked_for_the_whole_url() {
    let proxy = Server::start([send("", ALL)]);
    let settings = HttpSettings { proxy: Some(proxy.url.join("/").expect("a URL")), ..settings() };
    let url = "http://images.example/disk.raw".parse().expect("a URL");
    assert!(download(&url, &settings).expect("whole") == content());
    assert!(proxy.requests()[0].starts_with("get http://images.example/disk.raw http/1.1\r\n"));
}

/// A certificate of `localhost` that signs itself, with its key.
fn certificate(directory: &Path) {
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out ca.pem \
                     -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
                     -addext basicConstraints=critical,CA:FALSE";
    let made = Command::new("openssl").args(arguments.split_whitespace()).current_dir(directory).output();
    assert!(made.expect("openssl").status.success());
}

#[test]
fn https_is_trusted_by_the_given_certificates_and_never_left() {
    let directory = tempfile::tempdir().expect("a directory");
    certificate(directory.path());
    let (ca, key) = (directory.path().join("ca.pem"), directory.path().join("key.pem"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("known");
    let chain = vec![CertificateDer::from_pem_slice(&fs::read(&ca).expect("read")).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key).expect("read")).expect("PEM");
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("a pair"));
    let start = |reply| {
        let config = Arc::clone(&config);
        Server::start_as("https", [reply], move |connection| {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            Box::new(StreamOwned::new(tls, connection))
        })
    };
    let trusting = HttpSettings { ca: Some(ca), ..settings() };

    let server = start(send(ETAG, ALL));
    assert!(download(&server.url, &trusting).expect("trusted") == content());
    let server = start(send(ETAG, ALL));
    let error = server.download().expect_err("nobody knows it");
    assert!(matches!(error, DownloadError::Request { .. }), "{error:?}");
    let server = start(text("HTTP/1.1 302 Found\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n"));
    let error = download(&server.url, &trusting).expect_err("out of TLS");
    assert_eq!(refusal(&error), Some(RedirectRefusal::Downgrade));
}
