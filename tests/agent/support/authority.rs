//! A certificate authority of a test's own, which nobody else trusts.

use std::net::IpAddr;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

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
        // OpenSSL takes a certificate for self-signed that has the same name as its authority.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
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

    /// A client's certificate.
    pub(crate) fn client(&self, client: &ClientCertificate<'_>) -> Identity {
        let key = KeyPair::generate().expect("key");
        let params = client.params();
        let certificate = params.signed_by(&key, &self.0).expect("certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// A list of revoked certificates, by their serial numbers, that holds until the end of `last_year`.
    pub(crate) fn revoke(&self, serials: &[u64], last_year: i32) -> String {
        let revoked = |&serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(last_year, 12, 31),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).expect("list").pem().expect("PEM")
    }
}

/// What a client's certificate says.
#[derive(Debug, Clone)]
pub(crate) struct ClientCertificate<'a> {
    pub(crate) name: &'a str,
    pub(crate) uris: Vec<String>,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    pub(crate) serial: u64,
    /// First and last year.
    pub(crate) years: (i32, i32),
    /// A last second before that.
    pub(crate) until: Option<SystemTime>,
}

impl ClientCertificate<'_> {
    /// What is right for a role.
    pub(crate) fn of(role: &str) -> Self {
        Self {
            name: "somebody",
            uris: vec![format!("spiffe://test.example/role/{role}")],
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            serial: 7,
            years: (2020, 2999),
            until: None,
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, self.name);
        params.subject_alt_names =
            self.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().expect("ASCII"))).collect();
        params.extended_key_usages = vec![self.usage.clone()];
        params.serial_number = Some(SerialNumber::from(self.serial));
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = date_time_ymd(self.years.1, 12, 31);
        if let Some(until) = self.until {
            let since = until.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            params.not_after = date_time_ymd(1970, 1, 1) + since;
        }
        params
    }

    /// A certificate that nobody else has signed.
    pub(crate) fn self_signed(&self) -> Identity {
        let key = KeyPair::generate().expect("key");
        let certificate = self.params().self_signed(&key).expect("certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}
