//! The page for Prometheus, as a scraper on the same machine sees it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bms_agent::metrics::names;
use bms_agent::rpc::proto::v1::GetHostRequest;
use tonic::codegen::http::uri::PathAndQuery;

use crate::support::authority::{Authority, ClientCertificate};
use crate::support::client::Client;
use crate::support::secure::{REVOKED, Secure};
use crate::support::{Daemon, Image, KIB, LoopDisk, MIB, Seed, eventually};

/// As long as a connection may live, and what a busy machine takes.
const LET_GO_WITHIN: Duration = Duration::from_secs(20);

/// What a call may take that has nothing to do with disks: all but one of a hundred.
const CONTROL_CALL: Duration = Duration::from_millis(250);

/// A daemon with a page, and where it is.
struct Measured {
    daemon: Daemon,
    address: SocketAddr,
}

impl Measured {
    fn start() -> Self {
        Self::start_by(Daemon::start_with)
    }

    fn start_by(start: impl FnOnce(&str) -> Daemon) -> Self {
        let (address, table) = table();
        Self { daemon: start(&format!("allow_loop_devices = true\n{table}")), address }
    }

    fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    fn say(&self, request: &str) -> String {
        say(self.address, request)
    }

    fn page(&self) -> Page {
        page(self.address)
    }
}

/// Where a page may be served, and the table that says so.
fn table() -> (SocketAddr, String) {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = probe.local_addr().expect("its address");
    (address, format!("[metrics]\nlisten = \"{address}\""))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LET_GO_WITHIN)).expect("timeout");
    stream
}

/// What comes for this request, until the connection closes.
fn say(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and the end");
    answer
}

fn page(address: SocketAddr) -> Page {
    let answer = say(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, text) = answer.split_once("\r\n\r\n").expect("head and page");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    Page(text.to_owned())
}

struct Page(String);

impl Page {
    fn text(&self, series: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
    }

    /// The value of a series; none if there is no such series.
    fn value(&self, series: &str) -> Option<f64> {
        self.text(series).map(|value| value.parse().expect("a number"))
    }

    #[track_caller]
    fn assert_is(&self, series: &str, expected: u64) {
        assert_eq!(self.value(series), Some(expected as f64), "{series}\n{}", self.0);
    }

    fn bytes(&self, kind: &str, bytes: &str) -> u64 {
        let series = format!("bms_agent_operation_bytes_total{{kind=\"{kind}\",bytes=\"{bytes}\"}}");
        self.text(&series).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{series}\n{}", self.0))
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_install_counts_with_the_bytes_that_it_moved() {
    let measured = Measured::start();
    let (image, disk) = (Image::new(16 * MIB, &mut Seed::quiet(91)), LoopDisk::new(24 * MIB));
    let before = measured.page();
    before.assert_is("bms_agent_operations_total{kind=\"install\",result=\"done\"}", 0);
    before.assert_is("bms_agent_operation_bytes_total{kind=\"install\",bytes=\"written\"}", 0);
    let done = measured.daemon.install(&image.path(), &disk, &[]).done();
    let page = measured.page();

    page.assert_is("bms_agent_operations_total{kind=\"install\",result=\"done\"}", 1);
    page.assert_is("bms_agent_operations_total{kind=\"install\",result=\"failed\"}", 0);
    page.assert_is("bms_agent_operations_running{kind=\"install\"}", 0);
    for bytes in ["received", "wire", "present", "hole", "written", "verified"] {
        let shown = done["progress"][format!("{bytes}_bytes")].as_u64().unwrap_or_else(|| panic!("{bytes} in {done}"));
        assert_eq!(page.bytes("install", bytes), shown, "{bytes}");
    }
    let holes = image.layout.groups() - image.data_groups().len() as u64;
    assert_eq!(page.bytes("install", "hole"), holes * 256 * KIB);
    assert_eq!(page.bytes("install", "written"), image.len() - holes * 256 * KIB);
    assert_eq!(page.bytes("install", "verified"), image.len());
    assert_eq!(page.bytes("capture", "read"), 0);
    for stage in ["prepare", "write", "read_back", "commit"] {
        page.assert_is(&format!("bms_agent_operation_stage_seconds_count{{kind=\"install\",stage=\"{stage}\"}}"), 1);
    }
    for op in ["read", "write", "flush"] {
        let series = format!("bms_agent_device_request_seconds_count{{op=\"{op}\",disk=\"{}\"}}", disk.name);
        assert!(page.value(&series).is_some_and(|count| count > 0.0), "{series}\n{}", page.0);
    }
    page.assert_is("bms_agent_calls_total{method=\"bms.agent.v1.ProvisioningService/PushImage\",code=\"OK\"}", 1);
    page.assert_is("bms_agent_panics_total", 0);
    let resident = page.value("bms_agent_process_resident_memory_bytes").expect("memory");
    assert!(resident > 1e6 && resident < 1e9, "{resident}");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn refused_calls_count_by_reason_and_code() {
    let measured = Measured::start();
    let reason = "bms_agent_calls_refused_total{reason=\"OPERATION_NOT_FOUND\"}";
    measured.page().assert_is(reason, 0);
    for _ in 0..3 {
        assert_eq!(measured.daemon.ctl(&["operation", "show", "operations/none"]).reason(), "OPERATION_NOT_FOUND");
    }
    // A method that there is not, whatever its name is.
    let client = Client::connect(&measured.daemon).await;
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    grpc.ready().await.expect("connected");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = PathAndQuery::from_static("/made.up.Service/Method");
    grpc.unary(tonic::Request::new(()), path, codec).await.expect_err("no such method");
    let page = measured.page();
    page.assert_is(reason, 3);
    page.assert_is(
        "bms_agent_calls_total{method=\"google.longrunning.Operations/GetOperation\",code=\"NOT_FOUND\"}",
        3,
    );
    page.assert_is("bms_agent_calls_total{method=\"other\",code=\"UNIMPLEMENTED\"}", 1);
    assert!(!page.0.contains("made.up"), "{}", page.0);
    assert!(page.value("bms_agent_connections_total{listener=\"unix\"}").is_some_and(|count| count >= 4.0));
    // The last of those that are gone may not be missed yet.
    let open = "bms_agent_connections{listener=\"unix\"}";
    eventually("one connection is open", || measured.page().value(open) == Some(1.0));
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn connections_that_are_closed_in_their_handshake_count_by_cause() {
    let (address, table) = table();
    let secure = Secure::start_with(&table);
    let stranger = Authority::new().client(&ClientCertificate::of("admin"));
    let fired = secure.authority.client(&ClientCertificate { serial: REVOKED, ..ClientCertificate::of("admin") });
    for config in [secure.config(None), secure.config(Some(&stranger)), secure.config(Some(&fired))] {
        assert!(!secure.lets_in(config).await);
    }
    assert!(secure.lets_in(secure.config(Some(&secure.identity("observer")))).await);
    // The stranger's authority has the name of ours, so that it is the signature that is wrong.
    for cause in ["no_certificate", "bad_certificate", "revoked"] {
        let series = format!("bms_agent_handshakes_refused_total{{listener=\"tcp\",cause=\"{cause}\"}}");
        eventually(&series, || page(address).value(&series) == Some(1.0));
    }
    page(address).assert_is("bms_agent_connections_total{listener=\"tcp\"}", 1);
    secure.settled().await;
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_scraper_that_never_rests_holds_no_caller_up() {
    let measured = Measured::start_by(Daemon::start_alone_with);
    let over = AtomicBool::new(false);
    let (mut took, pages) = thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut pages = 0;
            while !over.load(Ordering::Relaxed) {
                measured.page();
                pages += 1;
            }
            pages
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let took = runtime.block_on(async {
            let mut hosts = Client::connect(&measured.daemon).await.hosts();
            let mut took = Vec::new();
            for _ in 0..1000 {
                let begin = Instant::now();
                hosts.get_host(GetHostRequest::default()).await.expect("an answer");
                took.push(begin.elapsed());
            }
            took
        });
        over.store(true, Ordering::Relaxed);
        (took, scraper.join().expect("the scraper"))
    });
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    eprintln!("{pages} pages; median {:?}, p99 {p99:?}", took[took.len() / 2]);
    assert!(pages > 10 && p99 <= CONTROL_CALL, "{pages} pages, {p99:?}");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn nothing_of_anybody_is_on_the_page() {
    let measured = Measured::start();
    let (image, disk) = (Image::new(8 * MIB, &mut Seed::quiet(92)), LoopDisk::new(8 * MIB));
    let done = measured.daemon.install(&image.path(), &disk, &[]).done();
    measured
        .daemon
        .ctl(&[
            "install",
            "--yes",
            "--image",
            "https://secret.example/a?token=x",
            "--disk",
            &disk.selector(),
            "--size",
            "8388608",
            "--root",
            &image.root(),
        ])
        .refusal();
    let options = ["--repository", "secret-place"];
    let refused = measured.daemon.install(Path::new("secret-image"), &disk, &options);
    assert_eq!(refused.refusal(), "REPOSITORY_UNKNOWN");
    let refused = measured.daemon.ctl(&["operation", "show", "operations/secret"]);
    assert_eq!(refused.refusal(), "OPERATION_NOT_FOUND");
    let page = measured.page().0;
    let backing = disk.backing.display().to_string();
    let operation = done["name"].as_str().expect("a name");
    for secret in ["secret", "token", &backing, operation.trim_start_matches("operations/"), &image.root(), "serial"] {
        assert!(!page.contains(secret), "{secret} is on\n{page}");
    }
    for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(names::ALL.iter().any(|metric| line.starts_with(metric.name)), "{line}");
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn there_is_one_path_and_one_method() {
    let measured = Measured::start();
    for (request, status) in [
        ("GET /", "404"),
        ("GET /metrics/", "404"),
        ("GET /../../etc/passwd", "404"),
        ("POST /metrics", "405"),
        ("HEAD /metrics", "405"),
        ("DELETE /metrics", "405"),
        ("nonsense", "400"),
    ] {
        let answer = measured.say(&format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(!answer.contains("bms_agent_"), "{request}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let mut stream = measured.connect();
    // It may close before it has read all.
    drop(stream.write_all(long.as_bytes()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // One request is all that a connection is for.
    let answer = measured.say(&"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1);
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn who_is_silent_is_let_go_and_keeps_nobody_out_for_long() {
    let measured = Measured::start();
    measured.page();
    let idle = measured.daemon.descriptors();
    let begin = Instant::now();
    let mut silent: Vec<_> = (0..8).map(|_| measured.connect()).collect();
    silent[1].write_all(b"GET /metrics HTTP/1.1\r\nHo").expect("write");
    // It asks, and does not read.
    silent[2].write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect("write");
    // All room is taken; the next one waits until somebody is let go.
    measured.page();
    for stream in &mut silent {
        // Closed, with or without a word.
        drop(stream.read_to_end(&mut Vec::new()));
    }
    assert!(begin.elapsed() < LET_GO_WITHIN, "{:?}", begin.elapsed());
    eventually("nothing is held", || measured.daemon.descriptors() <= idle);
    measured.daemon.ctl(&["host", "show"]).done();
}

#[test]
fn an_address_that_others_reach_ends_the_start_with_78() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for (address, why) in [("0.0.0.0:9464", "loopback"), ("[::]:9464", "loopback"), ("192.0.2.7:9464", "loopback")] {
        let config = dir.path().join("config.toml");
        std::fs::write(&config, format!("[metrics]\nlisten = \"{address}\"\n")).expect("write");
        let output = Command::new(env!("CARGO_BIN_EXE_bms-agent")).arg("--config").arg(&config).output().expect("run");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{address}: {text}");
        assert!(text.contains(why) && text.contains("config.toml:2"), "{text}");
    }
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_collector_in_a_build_without_opentelemetry_ends_the_start_with_78() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "[otel]\nendpoint = \"http://127.0.0.1:4318\"\n").expect("write");
    let output = Command::new(env!("CARGO_BIN_EXE_bms-agent")).arg("--config").arg(&config).output().expect("run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("this build has no OpenTelemetry"), "{text}");
}
