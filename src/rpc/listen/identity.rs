//! Who a certificate is of, and which role it gives. The handshake has proven it before: authority, time, revocation.

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::rpc::peer::{Peer, Who};
use crate::rpc::role::Role;
use crate::text;

/// Longest name that is shown, in characters.
const MAX_NAME: usize = 64;

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` shows it.
pub(super) type Fingerprint = Vec<u8>;

/// The peer with this certificate.
pub(super) fn peer(leaf: &[u8]) -> (Fingerprint, Peer) {
    let fingerprint = fingerprint(leaf);
    let parsed = X509Certificate::from_der(leaf).ok().map(|(_, certificate)| certificate);
    let name = parsed.as_ref().and_then(common_name).unwrap_or_else(|| hex(&fingerprint, 8));
    let role = parsed.as_ref().and_then(role);
    let who = Who::Certificate { name, fingerprint: hex(&fingerprint, fingerprint.len()) };
    (fingerprint, Peer::new(who, role))
}

fn fingerprint(leaf: &[u8]) -> Fingerprint {
    let sha256 = TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider);
    sha256.map(|sha256| sha256.hash(leaf).as_ref().to_vec()).unwrap_or_default()
}

fn hex(bytes: &[u8], count: usize) -> String {
    bytes.iter().take(count).map(|byte| format!("{byte:02x}")).collect()
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    let shown = text::printable(&name.chars().take(MAX_NAME).collect::<String>());
    if shown.trim().is_empty() { None } else { Some(shown) }
}

/// The role: the one URI among its names, and nothing else. Two of them are a mistake or a trick, and no role. It must be made
/// for clients explicitly: the handshake lets a certificate pass that does not say what it is for.
fn role(certificate: &X509Certificate<'_>) -> Option<Role> {
    let usage = certificate.extended_key_usage().ok()??;
    if !usage.value.client_auth {
        return None;
    }
    let names = certificate.subject_alternative_name().ok()??;
    let uri = |name: &GeneralName<'_>| matches!(name, GeneralName::URI(_));
    let mut uris = names.value.general_names.iter().filter(|name| uri(name));
    match (uris.next(), uris.next()) {
        (Some(GeneralName::URI(uri)), None) => role_of_uri(uri),
        _ => None,
    }
}

/// `spiffe://TRUST-DOMAIN/role/ROLE`.
fn role_of_uri(uri: &str) -> Option<Role> {
    let (domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
    let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if domain.is_empty() || !domain.bytes().all(of_domain) {
        return None;
    }
    Role::named(path.strip_prefix("role/")?)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};

    use super::{peer, role_of_uri};
    use crate::rpc::role::Role;

    fn certificate(name: &str, uris: &[&str], usage: &[ExtendedKeyUsagePurpose]) -> Vec<u8> {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = usage.to_vec();
        params.subject_alt_names =
            uris.iter().map(|&uri| SanType::URI(uri.try_into().expect("ASCII"))).collect::<Vec<_>>();
        params.self_signed(&KeyPair::generate().expect("key")).expect("certificate").der().to_vec()
    }

    #[test]
    fn the_role_is_the_only_uri_of_a_certificate_for_clients() {
        use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
        const ADMIN: &str = "spiffe://example.org/role/admin";
        let cases: [(&[&str], &[ExtendedKeyUsagePurpose], _); 9] = [
            (&[ADMIN], &[ClientAuth], Some(Role::Admin)),
            (&["spiffe://x/role/observer"], &[ServerAuth, ClientAuth], Some(Role::Observer)),
            (&[ADMIN, "spiffe://x/role/observer"], &[ClientAuth], None),
            (&[ADMIN, ADMIN], &[ClientAuth], None),
            (&[ADMIN, "https://example.org/"], &[ClientAuth], None),
            (&[], &[ClientAuth], None),
            (&[ADMIN], &[ServerAuth], None),
            (&[ADMIN], &[Any], None),
            (&[ADMIN], &[], None),
        ];
        for (uris, usage, expected) in cases {
            let (_, peer) = peer(&certificate("admin", uris, usage));
            assert_eq!(peer.role, expected, "{uris:?} {usage:?}");
        }
    }

    #[test]
    fn uris_that_are_nearly_a_role_are_none() {
        assert_eq!(role_of_uri("spiffe://a.b-c_d1/role/operator"), Some(Role::Operator));
        for uri in [
            "spiffe:///role/admin",
            "spiffe://x/role/",
            "spiffe://x/role/Admin",
            "spiffe://x/role/admin/",
            "spiffe://x//role/admin",
            "spiffe://x/y/role/admin",
            "spiffe://x/role/admin?x",
            "spiffe://u@x/role/admin",
            "SPIFFE://x/role/admin",
            "https://x/role/admin",
            "role/admin",
            "",
        ] {
            assert_eq!(role_of_uri(uri), None, "{uri}");
        }
    }

    #[test]
    fn who_it_is_is_printable_and_short() {
        let named = |name| {
            peer(&certificate(name, &["spiffe://x/role/operator"], &[ExtendedKeyUsagePurpose::ClientAuth]))
                .1
                .caller()
                .to_string()
        };
        assert_eq!(named("deploy 7"), "deploy 7 (operator)");
        assert!(!named("a\u{1b}[2Jb").contains('\u{1b}'));
        assert!(named(&"x".repeat(500)).len() < 100);
        let (fingerprint, nameless) = peer(&certificate("", &[], &[]));
        assert_eq!(fingerprint.len(), 32);
        assert_eq!(nameless.caller().to_string(), format!("{} (no role)", super::hex(&fingerprint, 8)));
        let (_, garbage) = peer(b"no certificate");
        assert_eq!(garbage.role, None);
    }
}
