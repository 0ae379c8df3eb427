//! TCP with TLS: what is let in, for how long, how much of it, and new certificates while it goes on.

use std::process::Command;
use std::time::Duration;

use bms_agent::rpc::proto::v1::GetHostRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::authority::ClientCertificate;
use crate::support::client::{begin, outcome};
use crate::support::secure::{PREFACE, Secure, closed, soon, table, write};
use crate::support::{Image, LoopDisk, MIB, Seed, eventually};

/// 5 s, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(9);

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn older_tls_plaintext_and_http_1_are_closed() {
    let secure = Secure::start();
    let (before, identity) = (secure.daemon.descriptors(), secure.identity("admin"));
    let old = secure.config_of(Some(&identity), &rustls::version::TLS12);
    assert!(!secure.lets_in(old).await, "TLS 1.2");
    let mut plain = TcpStream::connect(secure.address).await.expect("connection");
    plain.write_all(PREFACE).await.expect("write");
    assert!(closed(plain).await < SOON);
    let mut http1 = secure.config(Some(&identity));
    http1.alpn_protocols.clear();
    let mut stream = secure.open(http1).await.expect("handshake");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: agent\r\nAccept: */*\r\n\r\n").await.expect("write");
    assert!(closed(stream).await < SOON);
    secure.settles_at(before).await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn who_is_silent_before_or_after_the_handshake_is_let_go_in_5_s() {
    let secure = Secure::start();
    let (before, identity) = (secure.daemon.descriptors(), secure.identity("admin"));
    let silent = TcpStream::connect(secure.address).await.expect("connection");
    let after = secure.open(secure.config(Some(&identity))).await.expect("handshake");
    let mut half = secure.open(secure.config(Some(&identity))).await.expect("handshake");
    half.write_all(&PREFACE[..12]).await.expect("write");
    let (first, second, third) = tokio::join!(closed(silent), closed(after), closed(half));
    assert!(first < SOON && second < SOON && third < SOON, "{first:?} {second:?} {third:?}");
    secure.settles_at(before).await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn strangers_keep_nobody_out_and_are_few() {
    let secure = Secure::start();
    let (before, identity) = (secure.daemon.descriptors(), secure.identity("observer"));
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(TcpStream::connect(secure.address).await.expect("connection"));
    }
    eventually("all but 16 are gone", || secure.daemon.descriptors() <= before + 16);
    let client = secure.client(&identity).await;
    client.hosts().get_host(GetHostRequest::default()).await.expect("a call");
    drop((strangers, client));
    secure.settles_at(before).await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn one_certificate_has_8_connections_and_leaves_room_for_others() {
    let secure = Secure::start();
    let (before, identity) = (secure.daemon.descriptors(), secure.identity("observer"));
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(secure.client(&identity).await);
    }
    assert!(!secure.lets_in(secure.config(Some(&identity))).await, "the ninth");
    let other = secure.client(&secure.identity("observer")).await;
    other.hosts().get_host(GetHostRequest::default()).await.expect("another certificate");
    drop((open, other));
    secure.settles_at(before).await;
    assert!(secure.lets_in(secure.config(Some(&identity))).await, "room again");
}

/// The certificate that the daemon shows.
async fn shown(secure: &Secure) -> Vec<u8> {
    let stream = secure.open(secure.config(None)).await.expect("the server's part of the handshake");
    stream.get_ref().1.peer_certificates().expect("certificates")[0].to_vec()
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn certificates_and_revocations_change_while_an_install_runs() {
    let secure = Secure::start();
    let (image, disk) = (Image::new(16 * MIB, &mut Seed::quiet(61)), LoopDisk::new(16 * MIB));
    let client = secure.client(&secure.identity("operator")).await;
    let mut push = client.push(begin(&image, &disk)).await.expect("begun");
    push.offer_all(&image).await;
    let wanted = push.await_wants(image.data_groups().len()).await;
    let (now, later) = wanted.split_at(wanted.len() / 2);
    push.send_groups(&image, now.iter().copied()).await;

    let fired = secure.authority.client(&ClientCertificate { serial: 99, ..ClientCertificate::of("admin") });
    assert!(secure.lets_in(secure.config(Some(&fired))).await);
    let old = shown(&secure).await;
    secure.put_server();
    soon("the new certificate is seen without being told of", async || shown(&secure).await != old).await;
    secure.write("crl.pem", &secure.authority.revoke(&[99], 2999));
    secure.daemon.hang_up();
    soon("who is revoked stays out", async || !secure.lets_in(secure.config(Some(&fired))).await).await;

    push.send_groups(&image, later.iter().copied()).await;
    push.finish(&image).await;
    outcome(push.end().await).expect("installed, over the connection of before");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn new_files_that_are_wrong_change_nothing_and_are_told_of() {
    let secure = Secure::start();
    let identity = secure.identity("admin");
    let old = shown(&secure).await;
    for (name, content) in [("server.pem", "no certificate"), ("crl.pem", ""), ("ca.pem", "-----BEGIN")] {
        let was = std::fs::read_to_string(secure.files.path().join(name)).expect("file");
        let told = || secure.daemon.log().matches("the old ones stay").count();
        let before = told();
        secure.write(name, content);
        secure.daemon.hang_up();
        eventually("it says that the files are wrong", || told() > before);
        assert_eq!(shown(&secure).await, old, "{name}");
        assert!(secure.lets_in(secure.config(Some(&identity))).await, "{name}");
        secure.write(name, &was);
    }
    // A list that is too old is believed by nobody.
    secure.write("crl.pem", &secure.authority.revoke(&[], 2021));
    secure.daemon.hang_up();
    soon("nobody is let in", async || !secure.lets_in(secure.config(Some(&identity))).await).await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_table_that_is_wrong_ends_the_start_with_78() {
    let secure = Secure::start();
    let files = tempfile::tempdir().expect("directory");
    let whole = table(secure.files.path(), secure.address);
    let open = files.path().join("open.key");
    std::fs::copy(secure.files.path().join("server.key"), &open).expect("copy");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("mode");
    let key = format!("{:?}", secure.files.path().join("server.key"));
    let without_key: String =
        whole.lines().filter(|line| !line.starts_with("key")).map(|line| format!("{line}\n")).collect();
    for (case, config, said) in [
        ("half", without_key, "missing field `key`"),
        ("open key", whole.replace(&key, &format!("{open:?}")), "not the agent's alone"),
        ("no key", whole.replace(&key, "\"/nowhere\""), "/nowhere"),
        ("credential", whole.replace(&key, "\"tls.key\""), "no credentials"),
    ] {
        let (socket, state) = (files.path().join("agent.sock"), files.path().join("state"));
        write(files.path(), "config.toml", &format!("socket = {socket:?}\nstate_dir = {state:?}\n{config}\n"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_bms-agent"));
        command.arg("--config").arg(files.path().join("config.toml")).env_remove("CREDENTIALS_DIRECTORY");
        let output = command.output().expect("run");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{case}: {text}");
        assert!(text.contains(said), "{case}: {text}");
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_call_over_tls_is_answered_and_its_connection_stays() {
    let secure = Secure::start();
    let mut stream = secure.open(secure.config(Some(&secure.identity("observer")))).await.expect("handshake");
    stream.write_all(PREFACE).await.expect("write");
    assert_eq!(stream.read_u8().await.expect("settings"), 0);
    let client = secure.client(&secure.identity("observer")).await;
    for _ in 0..3 {
        client.hosts().get_host(GetHostRequest::default()).await.expect("a call");
    }
}
