//! TCP with TLS: what is let in, for how long, how much of it, and new certificates while it goes on.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use bms_agent::rpc::proto::v1::GetHostRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::authority::{Authority, ClientCertificate, Identity};
use crate::support::chaos::{Fault, Plan};
use crate::support::client::{Client, begin, outcome};
use crate::support::secure::{LOCAL, PREFACE, Secure, closed, soon, table, write};
use crate::support::site::{Site, disk_for};
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, eventually};

/// 5 s, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn older_tls_plaintext_and_http_1_are_closed() {
    // Rows 9, 11 and 12 of the table of bad inputs.
    let secure = Secure::start();
    let identity = secure.identity("admin");
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
    secure.settled().await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn who_is_silent_before_or_after_the_handshake_is_let_go_in_5_s() {
    // Rows 13 and 14 of the table of bad inputs.
    let secure = Secure::start();
    let identity = secure.identity("admin");
    let silent = TcpStream::connect(secure.address).await.expect("connection");
    let after = secure.open(secure.config(Some(&identity))).await.expect("handshake");
    let mut half = secure.open(secure.config(Some(&identity))).await.expect("handshake");
    half.write_all(&PREFACE[..12]).await.expect("write");
    let (first, second, third) = tokio::join!(closed(silent), closed(after), closed(half));
    assert!(first < SOON && second < SOON && third < SOON, "{first:?} {second:?} {third:?}");
    secure.settled().await;
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
    assert!(secure.daemon.descriptors() <= before + 17, "all but 16 strangers and the client");
    drop((strangers, client));
    secure.settled().await;
}

/// A client that the daemon has let in, and not only the kernel.
async fn let_in(secure: &Secure, identity: &Identity) -> Client {
    let client = secure.client(identity).await;
    client.hosts().get_host(GetHostRequest::default()).await.expect("a call");
    client
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn one_certificate_has_8_connections_and_leaves_room_for_others() {
    let secure = Secure::start();
    let identity = secure.identity("observer");
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(let_in(&secure, &identity).await);
    }
    assert!(!secure.lets_in(secure.config(Some(&identity))).await, "the ninth");
    let other = secure.client(&secure.identity("observer")).await;
    other.hosts().get_host(GetHostRequest::default()).await.expect("another certificate");
    drop((open, other));
    secure.settled().await;
    assert!(secure.lets_in(secure.config(Some(&identity))).await, "room again");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn all_certificates_have_48_connections_and_one_that_closes_makes_room() {
    let secure = Secure::start();
    let mut open = Vec::new();
    for _ in 0..6 {
        let identity = secure.identity("observer");
        for _ in 0..8 {
            open.push(let_in(&secure, &identity).await);
        }
    }
    let late = secure.identity("admin");
    assert!(!secure.lets_in(secure.config(Some(&late))).await, "the 49th");
    open[0].hosts().get_host(GetHostRequest::default()).await.expect("those that are open go on");
    secure.daemon.ctl(&["host", "show"]).done();
    open.pop();
    soon("room again", async || secure.lets_in(secure.config(Some(&late))).await).await;
    drop(open);
    secure.settled().await;
}

/// The certificate that the daemon shows.
async fn shown(secure: &Secure) -> Vec<u8> {
    let stream = secure.open(secure.config(None)).await.expect("the server's part of the handshake");
    stream.get_ref().1.peer_certificates().expect("certificates")[0].to_vec()
}

/// Replaces the server's certificate, the list of revocations and the authority of clients; each counts for new connections.
async fn replace_everything(secure: &Secure, tell: impl Fn()) {
    let fired = secure.authority.client(&ClientCertificate { serial: 99, ..ClientCertificate::of("admin") });
    let staying = secure.identity("admin");
    assert!(secure.lets_in(secure.config(Some(&fired))).await);
    let old = shown(secure).await;
    secure.put_server();
    tell();
    soon("the new certificate is shown", async || shown(secure).await != old).await;
    secure.write("crl.pem", &secure.authority.revoke(&[99], 2999));
    tell();
    soon("who is revoked stays out", async || !secure.lets_in(secure.config(Some(&fired))).await).await;
    assert!(secure.lets_in(secure.config(Some(&staying))).await, "nobody else is revoked");
    let successor = Authority::new();
    secure.write("ca.pem", &successor.pem());
    secure.write("crl.pem", &successor.revoke(&[], 2999));
    tell();
    let new = successor.client(&ClientCertificate::of("admin"));
    soon("the new authority is trusted", async || secure.lets_in(secure.config(Some(&new))).await).await;
    assert!(!secure.lets_in(secure.config(Some(&staying))).await, "the old one is not");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn all_files_are_replaced_and_told_of_by_sighup_while_an_image_is_pushed() {
    let secure = Secure::start();
    let (image, disk) = (Image::new(16 * MIB, &mut Seed::quiet(61)), LoopDisk::new(16 * MIB));
    let client = secure.client(&secure.identity("operator")).await;
    let mut push = client.push(begin(&image, &disk)).await.expect("begun");
    push.offer_all(&image).await;
    let wanted = push.await_wants(image.data_groups().len()).await;
    let (now, later) = wanted.split_at(wanted.len() / 2);
    push.send_groups(&image, now.iter().copied()).await;

    replace_everything(&secure, || secure.daemon.hang_up()).await;

    push.send_groups(&image, later.iter().copied()).await;
    push.finish(&image).await;
    outcome(push.end().await).expect("installed, over the connection of before");
    secure.daemon.verify(&disk, &[]).done();
    assert_eq!(disk.hash(image.len()), image.root());
    drop(client);
    secure.settled().await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn all_files_are_replaced_without_a_word_while_an_image_is_pulled() {
    let mut seed = Seed::quiet(62);
    let site = Site::new(8 * MIB, &mut seed);
    let secure = Secure::start_by(|_, table| site.daemon_with(table, "stall_seconds = 2"));
    let disk = disk_for(&site.image, &mut seed);
    site.chaos.plan_after(20, Plan::always(Fault::Stall));
    let running = site.begin(&secure.daemon, &disk, &[]);
    eventually("it stalls", || site.chaos.count(Fault::Stall) > 0);

    replace_everything(&secure, || {}).await;

    site.chaos.plan(Plan::calm());
    site.assert_whole(&running.finish().done(), &disk);
    secure.daemon.verify(&disk, &[]).done();
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn sockets_that_systemd_listens_on_are_served_and_left() {
    let listen = |address| std::net::TcpListener::bind(address).expect("a port");
    let mut secure = Secure::start_by(|address, table| Daemon::start_activated(table, listen(address)));
    let client = secure.client(&secure.identity("observer")).await;
    client.hosts().get_host(GetHostRequest::default()).await.expect("over TLS");
    secure.daemon.ctl(&["host", "show"]).done();
    drop(client);
    secure.settled().await;
    secure.daemon.ask_to_stop();
    assert!(secure.daemon.stopped().success());
    assert!(secure.daemon.socket().exists(), "it is systemd's");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_socket_for_tls_without_a_table_ends_the_start_with_78() {
    let files = tempfile::tempdir().expect("directory");
    let (socket, state) = (files.path().join("agent.sock"), files.path().join("state"));
    write(files.path(), "config.toml", &format!("socket = {socket:?}\nstate_dir = {state:?}\n"));
    let tcp = std::net::TcpListener::bind((LOCAL, 0)).expect("a port");
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --config \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_bms-agent")]).arg(files.path().join("config.toml"));
    let output = command.stdin(OwnedFd::from(tcp)).output().expect("run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("no table [tcp]"), "{text}");
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
