//! Every method and every role, and every way to have none.

use bms_agent::rpc::role::{Method, Role};
use prost::Message as _;
use rcgen::ExtendedKeyUsagePurpose;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_types::StatusExt as _;

use crate::support::authority::{Authority, ClientCertificate};
use crate::support::client::Client;
use crate::support::hostile::{DATA, EMPTY, END_HEADERS, END_STREAM, GET_HOST, HEADERS, converse, frame, headers};
use crate::support::secure::{REVOKED, Secure};

/// The role that a call with an empty message is told to need; `None` if it reached its method.
async fn needed(client: &Client, path: &'static str) -> Option<String> {
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    grpc.ready().await.expect("connected");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let answer = grpc.server_streaming(tonic::Request::new(()), PathAndQuery::from_static(path), codec).await;
    let status = answer.err()?;
    let info = status.get_details_error_info().filter(|info| info.reason == "ROLE_REQUIRED")?;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(info.metadata.len(), 1, "nothing but the role is said: {info:?}");
    Some(info.metadata["role"].clone())
}

#[test]
fn the_table_has_as_many_rows_as_there_are_methods() {
    let own = prost_types::FileDescriptorSet::decode(bms_agent::rpc::proto::DESCRIPTORS).expect("descriptors");
    let own: usize = own.file.iter().flat_map(|file| &file.service).map(|service| service.method.len()).sum();
    assert_eq!(Method::ALL.len(), own + 3, "and Check and Watch of health, and reflection");
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn every_method_is_for_its_role_and_those_above_it() {
    let secure = Secure::start();
    for &role in Role::ALL {
        let client = secure.client(&secure.identity(role.name())).await;
        for &method in Method::ALL {
            let least = Role::least_for(method);
            let expected = (role < least).then(|| least.name().to_owned());
            assert_eq!(needed(&client, method.path()).await, expected, "{role} {}", method.path());
        }
        drop(client);
        secure.settled().await;
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_certificate_without_exactly_one_role_may_call_nothing() {
    let secure = Secure::start();
    let uri = |role: &str| format!("spiffe://test.example/role/{role}");
    let cases = [
        ClientCertificate { uris: Vec::new(), ..ClientCertificate::of("admin") },
        ClientCertificate { uris: vec![uri("observer"), uri("admin")], ..ClientCertificate::of("admin") },
        ClientCertificate {
            name: "spiffe://test.example/role/admin",
            uris: Vec::new(),
            ..ClientCertificate::of("admin")
        },
        ClientCertificate { name: "admin", uris: vec![uri("root")], ..ClientCertificate::of("admin") },
    ];
    // Rows 6, 7 and 8 of the table of bad inputs, and a role that there is not.
    for case in cases {
        let client = secure.client(&secure.authority.client(&case)).await;
        for &method in Method::ALL {
            let least = Role::least_for(method).name().to_owned();
            assert_eq!(needed(&client, method.path()).await, Some(least), "{case:?} {}", method.path());
        }
        let nowhere = needed(&client, "/bms.agent.v1.DiskService/FormatDisk").await;
        assert_eq!(nowhere.as_deref(), Some("observer"), "not even that there is no such method");
        drop(client);
        secure.settled().await;
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn who_is_not_authenticated_gets_no_further_than_tls_whatever_the_method() {
    let secure = Secure::start();
    let stranger = Authority::new();
    let right = ClientCertificate::of("admin");
    let past = secure.authority.client(&ClientCertificate { years: (2020, 2021), ..right.clone() });
    let future = secure.authority.client(&ClientCertificate { years: (2998, 2999), ..right.clone() });
    let revoked = secure.authority.client(&ClientCertificate { serial: REVOKED, ..right.clone() });
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let server = secure.authority.client(&ClientCertificate { usage, ..right.clone() });
    let (foreign, alone) = (stranger.client(&right), right.self_signed());
    // Rows of the table of bad inputs.
    let cases = [
        ("1: no certificate", None),
        ("2: another authority", Some(&foreign)),
        ("3: expired", Some(&past)),
        ("3: not yet valid", Some(&future)),
        ("4: revoked", Some(&revoked)),
        ("5: for servers", Some(&server)),
        ("10: its own authority", Some(&alone)),
    ];
    for (case, identity) in cases {
        for &method in Method::ALL {
            let script = [frame(HEADERS, END_HEADERS, 1, &headers(method.path())), frame(DATA, END_STREAM, 1, &EMPTY)];
            let seen = converse(&secure, secure.config(identity), script.into_iter()).await;
            assert_eq!((seen.frames, seen.ponged), (0, false), "{case} {}: {seen:?}", method.path());
        }
        secure.settled().await;
    }
    let script = [frame(HEADERS, END_HEADERS, 1, &headers(GET_HOST)), frame(DATA, END_STREAM, 1, &EMPTY)];
    let seen = converse(&secure, secure.config(Some(&secure.identity("admin"))), script.into_iter()).await;
    assert!(seen.ponged, "the same with the right certificate: {seen:?}");
}
