//! Clients with a certificate that mean harm, over the real listener: rows 15 to 32 of the table of bad inputs. What the
//! library decides is written down as it was seen, so that another version of it is noticed.

use std::iter;

use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{GetHostRequest, PushImageRequest, VerifyDiskRequest};
use http::{HeaderValue, Method, Request};
use prost::Message as _;
use tonic::Code;

use crate::support::client::begin;
use crate::support::hostile::{
    Answer, CONTINUATION, DATA, EMPTY, END_HEADERS, GET_HOST, HEADERS, RST_STREAM, Seen, WINDOW_UPDATE, call, converse,
    frame, framed, headers, request,
};
use crate::support::secure::{Secure, soon};
use crate::support::{Daemon, Image, KIB, LoopDisk, MIB, Seed};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;
/// What a flood may add to what the daemon holds, at its height and for good.
const MOST_GROWTH: u64 = 5 * MIB;

/// Another client is answered, and the daemon is as before.
async fn is_as_before(secure: &Secure) {
    let client = secure.client(&secure.identity("observer")).await;
    client.hosts().get_host(GetHostRequest::default()).await.expect("others are answered");
    drop(client);
    secure.settled().await;
}

fn with(name: &'static str, value: &'static str) -> Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = request(GET_HOST, &EMPTY);
    request.headers_mut().insert(name, HeaderValue::from_static(value));
    request
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn calls_that_are_no_calls_are_answered_and_run_nothing() {
    let secure = Secure::start();
    let identity = secure.identity("operator");
    let mut get = request(GET_HOST, &[]);
    *get.method_mut() = Method::GET;
    let mut long = request(GET_HOST, &EMPTY);
    long.headers_mut().insert("x-long", HeaderValue::from_str(&"x".repeat(30_000)).expect("ASCII"));
    let body = |body: &[u8]| request(GET_HOST, body);
    let code = |code: Code| Answer::Grpc(code.into());
    let table = [
        ("15: unknown method", request("/bms.agent.v1.HostService/Reboot", &EMPTY), code(Code::Unimplemented)),
        ("15: unknown service", request("/bms.agent.v9.HostService/GetHost", &EMPTY), code(Code::Unimplemented)),
        ("16: GET", get, Answer::Http(405)),
        ("17: text", with("content-type", "text/plain"), Answer::Http(415)),
        ("18: 30 kB of headers", long, Answer::Http(431)),
        ("25: 4 GiB - 1", body(&[0, 255, 255, 255, 255]), code(Code::OutOfRange)),
        ("26: 5 of 10 bytes", body(&[0, 0, 0, 0, 10, 1, 2, 3, 4, 5]), code(Code::Internal)),
        ("27: compressed, nobody says how", body(&[1, 0, 0, 0, 0]), code(Code::Internal)),
        ("28: a flag that there is not", body(&[7, 0, 0, 0, 0]), code(Code::Internal)),
        ("29: gzip", with("grpc-encoding", "gzip"), code(Code::Unimplemented)),
        ("30: a negative deadline", with("grpc-timeout", "-1S"), code(Code::Ok)),
        ("30: a deadline too far", with("grpc-timeout", "99999999999H"), code(Code::Ok)),
        ("30: a deadline that is none", with("grpc-timeout", "abc"), code(Code::Ok)),
        ("32: two messages", body(&[EMPTY, EMPTY].concat()), code(Code::Ok)),
    ];
    for (case, request, expected) in table {
        assert_eq!(call(&secure, secure.config(Some(&identity)), request).await, expected, "{case}");
        is_as_before(&secure).await;
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_second_message_is_not_executed_and_half_a_message_neither() {
    let secure = Secure::start();
    let disk = LoopDisk::new(MIB);
    let operator = secure.config(Some(&secure.identity("operator")));
    let verify = || {
        let request = VerifyDiskRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            disk: Some(disk.wire_selector()),
            size_bytes: MIB,
            root: vec![7; 32],
        };
        framed(&request.encode_to_vec())
    };
    let path = "/bms.agent.v1.DiskService/VerifyDisk";
    let count = async || secure.client(&secure.identity("observer")).await.operation_names().await.len();
    let half = verify();
    let answer = call(&secure, operator.clone(), request(path, &half[..half.len() - 1])).await;
    assert_eq!((answer, count().await), (Answer::Grpc(Code::Internal.into()), 0), "row 26");
    let answer = call(&secure, operator, request(path, &[verify(), verify()].concat())).await;
    assert_eq!((answer, count().await), (Answer::Grpc(Code::Ok.into()), 1), "row 32");
    secure.settled().await;
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_push_whose_deadline_is_over_at_once_leaves_nothing_that_is_in_the_way() {
    let secure = Secure::start();
    let image = Image::new(4 * MIB, &mut Seed::quiet(63));
    let operator = secure.config(Some(&secure.identity("operator")));
    for deadline in ["1n", "1m"] {
        let disk = LoopDisk::new(4 * MIB);
        let message = PushImageRequest { message: Some(Message::Begin(begin(&image, &disk))) };
        let mut request = request("/bms.agent.v1.ProvisioningService/PushImage", &framed(&message.encode_to_vec()));
        request.headers_mut().insert("grpc-timeout", HeaderValue::from_static(deadline));
        let answer = call(&secure, operator.clone(), request).await;
        // tonic says CANCELLED where the table of bad inputs has DEADLINE_EXCEEDED; in a millisecond it may also have begun.
        let (cancelled, begun) = (Answer::Grpc(Code::Cancelled.into()), Answer::Grpc(Code::Ok.into()));
        assert!(answer == cancelled || deadline == "1m" && answer == begun, "row 31, {deadline}: {answer:?}");
        let client = secure.client(&secure.identity("operator")).await;
        for name in client.operation_names().await {
            assert!(client.ended(&name).await.done, "{deadline}: it began, and so it ends");
        }
        // The call may still have been on its way to the disk when its caller was told; such an operation ends by itself.
        let installed = async || secure.daemon.install(&image.path(), &disk, &[]).code == 0;
        soon("nothing is in the way", installed).await;
        assert_eq!(disk.hash(image.len()), image.root());
    }
    secure.settled().await;
}

/// Frames without end, or nearly.
pub(crate) type Script = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// A row, its frames, and whether what came back is what should.
pub(crate) type Row = (&'static str, Script, fn(&Seen) -> bool);

/// Frames for `count` streams, or as many repetitions.
fn each(count: u32, frames: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Script {
    Box::new((0..count).map(move |number| frames(number * 2 + 1)))
}

/// A call that has begun, and then these.
fn in_call(frames: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Script {
    Box::new(iter::once(frame(HEADERS, END_HEADERS, 1, &headers(GET_HOST))).chain(frames))
}

/// All of them.
pub(crate) fn floods() -> Vec<Row> {
    let begin = |stream| frame(HEADERS, END_HEADERS, stream, &headers(GET_HOST));
    let update = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    vec![
        ("19: 50,000 streams that go on", each(50_000, begin), |seen| seen.goaway == Some(ENHANCE_YOUR_CALM)),
        (
            "20: 20,000 streams that are reset",
            each(20_000, move |stream| [begin(stream), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()),
            |seen| seen.goaway == Some(ENHANCE_YOUR_CALM),
        ),
        (
            "21: headers that go on and on",
            Box::new(
                iter::once(frame(HEADERS, 0, 1, &headers(GET_HOST)))
                    .chain((0..100_000).map(|_| frame(CONTINUATION, 0, 1, b"\0\x01a\x01b"))),
            ),
            |seen| seen.goaway == Some(ENHANCE_YOUR_CALM),
        ),
        ("22: data without data", in_call((0..100_000).map(|_| frame(DATA, 0, 1, &[]))), |seen| {
            seen.goaway == Some(ENHANCE_YOUR_CALM)
        }),
        ("23: a window that grows by nothing", in_call(iter::once(update(1, 0))), |seen| {
            seen.goaway == Some(PROTOCOL_ERROR)
        }),
        ("24: the window of a stream overflows", in_call((0..2).map(move |_| update(1, 0x7fff_ffff))), |seen| {
            seen.goaway == Some(FLOW_CONTROL_ERROR) || seen.resets.contains_key(&FLOW_CONTROL_ERROR)
        }),
        ("24: the window of the connection overflows", in_call((0..2).map(move |_| update(0, 0x7fff_ffff))), |seen| {
            seen.goaway == Some(FLOW_CONTROL_ERROR)
        }),
    ]
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn floods_of_frames_end_their_own_connection_and_cost_little() {
    let start = |_, table: &str| Daemon::start_sparing(&format!("allow_loop_devices = true\n{table}"));
    let secure = Secure::start_by(start);
    let identity = secure.identity("operator");
    // The first time takes what the daemon needs for any work, threads and pages of its program: that is no flood's doing.
    for (_, script, _) in floods() {
        converse(&secure, secure.config(Some(&identity)), script).await;
    }
    is_as_before(&secure).await;
    secure.daemon.forget_peak();
    let before = secure.daemon.peak_resident_bytes();
    for (row, script, expected) in floods() {
        let seen = converse(&secure, secure.config(Some(&identity)), script).await;
        let peak = secure.daemon.peak_resident_bytes();
        let now = secure.daemon.resident_bytes();
        let grown = peak.saturating_sub(before);
        eprintln!("{row}: {seen:?}; resident {} KiB more at most, {} KiB now", grown / KIB, now / KIB);
        assert!(expected(&seen), "{row}: {seen:?}");
        is_as_before(&secure).await;
        assert!(secure.daemon.peak_resident_bytes() <= before + MOST_GROWTH, "{row}");
    }
}
