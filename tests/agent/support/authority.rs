//! A certificate authority of a test's own, which nobody else trusts.

use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority. It is gone, and its key with it, when the test is.
#[derive(Debug)]
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate for one host, and its key, as PEM.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("certificate"))
    }

    /// What a client has to trust.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate.
    pub(crate) fn issue(&self, address: IpAddr) -> Identity {
        let key = KeyPair::generate().expect("key");
        let params = CertificateParams::new([address.to_string()]).expect("an address");
        let certificate = params.signed_by(&key, &self.0).expect("certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}
