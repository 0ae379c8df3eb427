//! A web server with one file, the second half of which it keeps until it is told: installs that fetch the file are in their
//! middle for as long as a test wants.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// The server. It lives as long as the process.
#[derive(Debug)]
pub(crate) struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    content: Vec<u8>,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Serves `content`; the gate is closed.
    pub(crate) fn serve(content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared { content, is_open: Mutex::default(), opened: Condvar::new() });
        let served = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                // Whoever goes away in the middle is no fault of the server.
                std::thread::spawn(move || served.answer(&stream).ok());
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}image.raw", self.allowed())
    }

    /// What an agent is allowed to fetch from.
    pub(crate) fn allowed(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Lets the second half through.
    pub(crate) fn open(&self) {
        *self.shared.is_open.lock().expect("no panic") = true;
        self.shared.opened.notify_all();
    }
}

impl Shared {
    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let request: Vec<_> = lines.map(|line| line.to_lowercase()).collect();
        let range = request.iter().find_map(|line| line.strip_prefix("range: bytes="));
        let first = range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0);
        let len = self.content.len();
        let status = match range {
            Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {first}-{}/{len}", len - 1),
            None => "200 OK".to_owned(),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"1\"\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n",
            len - first
        )?;
        if request.first().is_some_and(|line| line.starts_with("head")) {
            return Ok(());
        }
        let half = first.max(len / 2);
        stream.write_all(&self.content[first..half])?;
        let is_open = self.is_open.lock().expect("no panic");
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).expect("no panic"));
        stream.write_all(&self.content[half..])
    }
}
