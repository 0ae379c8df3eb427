//! One client's connection: each request to the server and its answer back, whole or not.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::answer::{Answer, End};
use super::head::Head;
use super::{Drawn, Fault, Proxy};

/// Serves a client until one of the two has enough of it.
pub(super) async fn serve(client: TcpStream, proxy: Arc<Proxy>) {
    let mut client = BufReader::new(client);
    loop {
        // A server that fails is, to the client, a connection that breaks.
        match next(&mut client, &proxy).await.unwrap_or(End::Reset) {
            End::KeptOpen => {}
            End::Closed => return,
            End::Stalled => std::future::pending().await,
            End::Reset => return client.get_ref().set_zero_linger().unwrap_or_default(),
        }
    }
}

async fn next(client: &mut BufReader<TcpStream>, proxy: &Proxy) -> io::Result<End> {
    let Some(mut request) = Head::read(client).await? else { return Ok(End::Closed) };
    let drawn = proxy.with(|state| state.draw(&request));
    let upload = request.content_len().unwrap_or(0);
    match drawn.map(|drawn| drawn.fault) {
        Some(Fault::ServerError) if proxy.toss() => return refuse(client, upload, proxy).await,
        Some(Fault::Reset) if upload > 0 && proxy.toss() => return break_upload(client, request, upload, proxy).await,
        Some(Fault::WholeObject) => request.remove("range"),
        _ => {}
    }
    let mut server = forward(client, &request, upload, proxy).await?;
    let mut answer = Answer::read(&request, &mut server).await?;
    settle(&mut answer, &request, drawn, proxy);
    answer.send(&mut server, client).await
}

/// Remembers the answer as it was, and lets the fault happen to it.
fn settle(answer: &mut Answer, request: &Head, drawn: Option<Drawn>, proxy: &Proxy) {
    let memorable = answer.memorable(request);
    if let Some(drawn) = drawn {
        if answer.spoil(drawn.fault, request, proxy) {
            proxy.happened(drawn.fault);
        } else {
            proxy.with(|state| state.put_back(drawn));
        }
    }
    if let Some(memorable) = memorable {
        proxy.with(|state| state.memory.remember(&memorable));
    }
}

/// An error in answer to a request of which the server never hears.
async fn refuse(client: &mut BufReader<TcpStream>, upload: u64, proxy: &Proxy) -> io::Result<End> {
    proxy.happened(Fault::ServerError);
    tokio::io::copy(&mut client.take(upload), &mut tokio::io::sink()).await?;
    Answer::server_error(proxy).send(&mut tokio::io::empty(), client).await
}

/// The server gets a part of the body, and then nothing.
async fn break_upload(client: &mut BufReader<TcpStream>, head: Head, upload: u64, proxy: &Proxy) -> io::Result<End> {
    proxy.happened(Fault::Reset);
    let part = proxy.place(upload);
    forward(client, &head, part, proxy).await?.get_ref().set_zero_linger()?;
    Ok(End::Reset)
}

/// Sends a request and so much of its body to the server, on a connection for it alone.
async fn forward(
    client: &mut BufReader<TcpStream>,
    request: &Head,
    upload: u64,
    proxy: &Proxy,
) -> io::Result<BufReader<TcpStream>> {
    let mut server = TcpStream::connect(proxy.server).await?;
    let mut head = request.clone();
    head.set("Connection", "close");
    server.write_all(&head.to_bytes()).await?;
    tokio::io::copy(&mut client.take(upload), &mut server).await?;
    Ok(BufReader::new(server))
}
