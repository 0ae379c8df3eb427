//! The servers and the network of the repository's tests, tested themselves: each is what it says, each fault is seen.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::signer::Signer as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Certificate, Client, ClientBuilder, Method, StatusCode, Version};

use crate::support::authority::Authority;
use crate::support::chaos::{Chaos, Fault, Plan};
use crate::support::garage::{Garage, ROOT_DOMAIN};
use crate::support::nginx::Nginx;
use crate::support::{KIB, Seed};

/// How long a client waits for a byte: not for the next one of a server that sends one a second.
const PATIENCE: Duration = Duration::from_millis(500);

fn client() -> ClientBuilder {
    // Whoever comes first has installed it.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().read_timeout(PATIENCE).retry(reqwest::retry::never())
}

fn s3(builder: AmazonS3Builder) -> Arc<dyn ObjectStore> {
    drop(client());
    Arc::new(builder.build().expect("client"))
}

/// A directory with two objects of one length.
struct Site {
    dir: tempfile::TempDir,
    one: Vec<u8>,
    other: Vec<u8>,
}

impl Site {
    fn new() -> Self {
        let mut seed = Seed::quiet(1);
        let site = Self {
            dir: tempfile::tempdir().expect("temporary directory"),
            one: seed.bytes(64 * KIB),
            other: seed.bytes(64 * KIB),
        };
        fs::write(site.path().join("one"), &site.one).expect("write");
        fs::write(site.path().join("other"), &site.other).expect("write");
        site
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn garage_still_has_what_was_put_after_a_kill() {
    let mut garage = Garage::start();
    let store = s3(garage.client().with_endpoint(garage.endpoint()));
    let (key, content) = (Key::from("a/b"), Seed::quiet(1).bytes(3 * 1024 * KIB));
    store.put(&key, content.clone().into()).await.expect("put");
    garage.kill();
    garage.restart();
    let read = store.get(&key).await.expect("get").bytes().await.expect("body");
    assert!(read == content);
    assert_eq!(store.get_range(&key, 1000..2000).await.expect("range"), content[1000..2000]);
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn garage_finds_the_bucket_in_the_name_of_the_host() {
    let garage = Garage::start();
    let store = s3(garage.client().with_endpoint(garage.endpoint()));
    store.put(&Key::from("key"), "content".into()).await.expect("put");

    let host = format!("{}{ROOT_DOMAIN}", garage.bucket());
    let endpoint = format!("http://{host}:{}", garage.address().port());
    let hosted = garage.client().with_endpoint(&endpoint).with_virtual_hosted_style_request(true).build();
    let url = hosted.expect("client").signed_url(Method::GET, &Key::from("key"), Duration::from_secs(60)).await;
    let url = url.expect("signed");
    assert!(url.path() == "/key" && url.host_str() == Some(&host), "{url}");
    // No resolver knows the name.
    let client = client().resolve(&host, garage.address()).build().expect("client");
    let answer = client.get(url).send().await.expect("answer").error_for_status().expect("success");
    assert_eq!(answer.text().await.expect("body"), "content");
}

/// No demand on Garage: what the repository must not rely on there. A version that refuses makes this fail, and is better.
#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn garage_overwrites_although_a_put_is_to_create() {
    let garage = Garage::start();
    let store = s3(garage.client().with_endpoint(garage.endpoint()));
    let key = Key::from("key");
    let create = || PutOptions::from(PutMode::Create);
    store.put_opts(&key, "former".into(), create()).await.expect("put");
    store.put_opts(&key, "latter".into(), create()).await.expect("the condition is ignored");
    assert_eq!(store.get(&key).await.expect("get").bytes().await.expect("body"), "latter");
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn nginx_serves_files_and_ranges_and_is_refused_while_it_is_dead() {
    let site = Site::new();
    let mut nginx = Nginx::serve(site.path());
    let (known, url) = (client().build().expect("client"), format!("{}one", nginx.url()));
    let whole = known.get(&url).send().await.expect("answer");
    assert_eq!((whole.status(), whole.version()), (StatusCode::OK, Version::HTTP_11));
    assert!(whole.bytes().await.expect("body") == site.one);
    let part = known.get(&url).header(RANGE, "bytes=10-19").send().await.expect("answer");
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()[CONTENT_RANGE], format!("bytes 10-19/{}", site.one.len()));
    assert_eq!(part.bytes().await.expect("body"), site.one[10..20]);
    assert_eq!(nginx.requests(), ["GET /one 200 65536 HTTP/1.1", "GET /one 206 10 HTTP/1.1"]);

    nginx.kill();
    let stranger = client().build().expect("client");
    assert!(stranger.get(&url).send().await.expect_err("dead").is_connect());
    nginx.restart();
    assert!(stranger.get(&url).send().await.expect("answer").status().is_success());
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn nginx_speaks_http_2_over_tls_to_those_who_trust_its_authority() {
    let (site, authority) = (Site::new(), Authority::new());
    let nginx = Nginx::serve_tls(site.path(), &authority);
    let url = format!("{}one", nginx.url());
    let root = Certificate::from_pem(authority.pem().as_bytes()).expect("certificate");
    let trusting = client().tls_certs_only([root]).build().expect("client");
    let answer = trusting.get(&url).send().await.expect("answer");
    assert_eq!(answer.version(), Version::HTTP_2);
    assert!(answer.bytes().await.expect("body") == site.one);

    let stranger = Certificate::from_pem(Authority::new().pem().as_bytes()).expect("certificate");
    let other = client().tls_certs_only([stranger]).build().expect("client");
    other.get(&url).send().await.expect_err("not trusted");
}

/// What a client that believes everything makes of an answer.
#[derive(Debug, PartialEq)]
enum Seen {
    Whole(Vec<u8>),
    Page,
    Status(u16),
    Broken,
    TimedOut,
    /// What was announced, and what came.
    Part(String, Vec<u8>),
}

/// Asks for a file, or for `range` of it, on a connection of its own.
async fn ask(chaos: &Chaos, name: &str, range: Option<&str>) -> Seen {
    let request = client().build().expect("client").get(format!("{}/{name}", chaos.endpoint()));
    let request = range.into_iter().fold(request, |request, range| request.header(RANGE, format!("bytes={range}")));
    let fault = |error: reqwest::Error| if error.is_timeout() { Seen::TimedOut } else { Seen::Broken };
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return fault(error),
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    match answer.bytes().await {
        Err(error) => fault(error),
        Ok(_) if !status.is_success() => Seen::Status(status.as_u16()),
        Ok(_) if headers[CONTENT_TYPE] == "text/html" => Seen::Page,
        Ok(body) if status == StatusCode::PARTIAL_CONTENT => {
            Seen::Part(headers[CONTENT_RANGE].to_str().expect("ASCII").to_owned(), body.into())
        }
        Ok(body) => Seen::Whole(body.into()),
    }
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn without_a_fault_chaos_changes_nothing() {
    let site = Site::new();
    let nginx = Nginx::serve(site.path());
    let chaos = Chaos::in_front_of(nginx.address(), Plan::calm());
    let client = client().build().expect("client");
    let url = format!("{}/one", chaos.endpoint());
    for _ in 0..3 {
        let head = client.head(&url).send().await.expect("answer");
        assert_eq!(head.headers()[CONTENT_LENGTH], "65536");
        assert!(client.get(&url).send().await.expect("answer").bytes().await.expect("body") == site.one);
    }
    assert_eq!(ask(&chaos, "one", Some("5-7")).await, Seen::Part("bytes 5-7/65536".into(), site.one[5..8].to_vec()));
    assert_eq!(ask(&chaos, "none", None).await, Seen::Status(404));
    assert_eq!(chaos.total(), 0);
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn each_fault_of_the_network_is_seen_as_what_it_is() {
    let site = Site::new();
    let nginx = Nginx::serve(site.path());
    let chaos = Chaos::in_front_of(nginx.address(), Plan::calm());
    let whole = Seen::Whole(site.one.clone());
    // Chance decides between several ways: each has its turn in so many.
    for _ in 0..8 {
        for (fault, expected) in [
            (Fault::Reset, &[Seen::Broken][..]),
            (Fault::ServerError, &[Seen::Status(500), Seen::Status(503)]),
            (Fault::Stall, &[Seen::TimedOut]),
            (Fault::Truncate, &[Seen::Broken]),
            (Fault::HtmlPage, &[Seen::Page]),
        ] {
            let before = chaos.count(fault);
            chaos.set(fault, 1);
            let seen = ask(&chaos, "one", None).await;
            assert!(expected.contains(&seen), "{fault:?}");
            assert_eq!(chaos.count(fault), before + 1);
            assert_eq!(ask(&chaos, "one", None).await, whole, "once, after {fault:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn each_lie_of_the_network_is_told() {
    let site = Site::new();
    let nginx = Nginx::serve(site.path());
    let chaos = Chaos::in_front_of(nginx.address(), Plan::calm());

    chaos.set(Fault::FlipBit, 1);
    let Seen::Whole(flipped) = ask(&chaos, "one", None).await else { panic!("an answer") };
    let bits = |(left, right): (&u8, &u8)| (left ^ right).count_ones();
    assert_eq!(flipped.iter().zip(&site.one).map(bits).sum::<u32>(), 1);

    chaos.set(Fault::OtherObject, 1);
    assert_eq!(ask(&chaos, "one", None).await, Seen::Whole(site.one.clone()), "there is no other yet");
    assert_eq!(chaos.count(Fault::OtherObject), 0);
    assert_eq!(ask(&chaos, "other", None).await, Seen::Whole(site.one.clone()), "it was still due");

    assert_eq!(ask(&chaos, "new", None).await, Seen::Status(404));
    fs::write(site.path().join("new"), "new").expect("write");
    assert_eq!(ask(&chaos, "new", None).await, Seen::Whole("new".into()));
    chaos.set(Fault::OldContent, 1);
    assert_eq!(ask(&chaos, "new", None).await, Seen::Status(404), "as before it was there");

    let (range, right) = (Some("5-7"), site.one[5..8].to_vec());
    chaos.set(Fault::WrongRange, 1);
    assert_eq!(ask(&chaos, "one", None).await, Seen::Whole(site.one.clone()), "no range was asked for");
    assert_eq!(ask(&chaos, "one", range).await, Seen::Part("bytes 6-8/65536".into(), right));
    chaos.set(Fault::WholeObject, 1);
    assert_eq!(ask(&chaos, "one", range).await, Seen::Whole(site.one.clone()));
    assert_eq!(chaos.total(), 5);
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn chance_follows_the_plan() {
    let site = Site::new();
    let nginx = Nginx::serve(site.path());
    let plan = Plan { seed: Seed::new(5).next(), kinds: Fault::ALL.to_vec(), per_mille: 300 };
    let chaos = Chaos::in_front_of(nginx.address(), plan.clone());
    let mut runs = Vec::new();
    for _ in 0..2 {
        chaos.plan(plan.clone());
        let mut seen = Vec::new();
        for _ in 0..100 {
            seen.push(ask(&chaos, "one", None).await);
        }
        runs.push(seen);
    }
    assert!(runs[0] == runs[1], "the seed decides");
    assert!((20..=100).contains(&chaos.total()), "{} of 200 is not about 60", chaos.total());
    // The others take a range, or an object that was another.
    for fault in [Fault::Reset, Fault::ServerError, Fault::Stall, Fault::Truncate, Fault::FlipBit, Fault::HtmlPage] {
        assert!(chaos.count(fault) > 0, "{fault:?}");
    }
}

#[tokio::test]
#[ignore = "needs the servers of tests/run.sh"]
async fn uploads_arrive_at_the_real_server_in_spite_of_every_fault_that_is_honest() {
    let garage = Garage::start();
    let kinds = [Fault::Reset, Fault::ServerError, Fault::Truncate];
    let plan = Plan { seed: Seed::new(6).next(), kinds: kinds.to_vec(), per_mille: 300 };
    let chaos = Chaos::in_front_of(garage.address(), plan);
    let store = s3(garage.client().with_endpoint(chaos.endpoint()));
    let content = Seed::quiet(2).bytes(300 * KIB);
    for number in 0..30_usize {
        let (key, end) = (Key::from(format!("object-{number}")), content.len() - number);
        store.put(&key, content[..end].to_vec().into()).await.expect("put");
        assert!(store.get(&key).await.expect("get").bytes().await.expect("body") == content[..end]);
    }
    let counts = kinds.map(|fault| (fault, chaos.count(fault)));
    eprintln!("{counts:?}");
    assert!(counts.iter().all(|(_, count)| *count > 0), "{counts:?}");
}
