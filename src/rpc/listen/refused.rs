//! Why a connection was closed before its first call, in words for metrics.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::{CertificateError, Error as TlsFailure};

use crate::metrics::{self, Listener};

/// A cause. The words never change: alerts have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The handshake took too long.
    Timeout,
    /// Others came meanwhile, and it was the oldest handshake.
    Displaced,
    /// It is no TLS, or none that is spoken.
    Tls,
    /// There is no certificate.
    NoCertificate,
    /// The certificate is expired, or not valid yet.
    Expired,
    /// The certificate is revoked, or whether it is cannot be known.
    Revoked,
    /// The certificate is of an authority that is not trusted.
    UnknownIssuer,
    /// The certificate is wrong otherwise.
    BadCertificate,
    /// The user or the certificate has too many connections.
    TooMany,
    /// There are too many connections.
    Full,
    /// It did not begin with HTTP/2, or not in time.
    NoHttp2,
}

impl Cause {
    const ALL: [Self; 11] = [
        Self::Timeout,
        Self::Displaced,
        Self::Tls,
        Self::NoCertificate,
        Self::Expired,
        Self::Revoked,
        Self::UnknownIssuer,
        Self::BadCertificate,
        Self::TooMany,
        Self::Full,
        Self::NoHttp2,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Displaced => "displaced",
            Self::Tls => "tls",
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UnknownIssuer => "unknown_issuer",
            Self::BadCertificate => "bad_certificate",
            Self::TooMany => "too_many",
            Self::Full => "full",
            Self::NoHttp2 => "no_http2",
        }
    }

    /// The cause of a handshake that failed.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsFailure>()) {
            Some(TlsFailure::NoCertificatesPresented) => Self::NoCertificate,
            Some(TlsFailure::InvalidCertificate(certificate)) => Self::of_certificate(certificate),
            _ => Self::Tls,
        }
    }

    const fn of_certificate(error: &CertificateError) -> Self {
        use CertificateError as Is;
        if matches!(error, Is::Expired | Is::ExpiredContext { .. } | Is::NotValidYet | Is::NotValidYetContext { .. }) {
            Self::Expired
        } else if matches!(
            error,
            Is::Revoked
                | Is::UnknownRevocationStatus
                | Is::ExpiredRevocationList
                | Is::ExpiredRevocationListContext { .. }
        ) {
            Self::Revoked
        } else if matches!(error, Is::UnknownIssuer) {
            Self::UnknownIssuer
        } else {
            Self::BadCertificate
        }
    }

    /// Counts one.
    pub(super) fn count(self, listener: Listener) {
        metrics::handshake_refused(listener, self.name());
    }
}

/// Lets few lines of a log through: what strangers do must not push out of it what the agent does. Metrics count all.
#[derive(Debug, Default)]
pub(super) struct Sparingly(Mutex<Option<(Instant, u32)>>);

impl Sparingly {
    /// Lines in a second.
    const MOST: u32 = 10;

    /// Whether one more line may be written now.
    pub(super) fn may_tell(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let this_second = told.filter(|(since, _)| since.elapsed() < Duration::from_secs(1));
        let (since, lines) = this_second.unwrap_or_else(|| (Instant::now(), 0));
        *told = Some((since, lines.saturating_add(1)));
        lines < Self::MOST
    }
}

/// Shows all causes before there is one.
pub fn introduce() {
    metrics::handshake_causes(Listener::Tcp, Cause::ALL.map(Cause::name));
    metrics::handshake_causes(Listener::Unix, [Cause::TooMany, Cause::Full, Cause::NoHttp2].map(Cause::name));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io;

    use rustls::{CertificateError, Error as TlsFailure, PeerIncompatible};

    use super::{Cause, Sparingly};

    #[test]
    fn of_many_lines_in_a_second_few_are_told() {
        let sparingly = Sparingly::default();
        let told = (0..1000).filter(|_| sparingly.may_tell()).count();
        assert!((10..1000).contains(&told), "{told}");
        *sparingly.0.lock().expect("lock") = None;
        assert!(sparingly.may_tell(), "the next second");
    }

    #[test]
    fn a_failed_handshake_says_what_is_wrong_with_the_certificate() {
        let invalid = TlsFailure::InvalidCertificate;
        for (failure, cause) in [
            (TlsFailure::NoCertificatesPresented, Cause::NoCertificate),
            (invalid(CertificateError::Expired), Cause::Expired),
            (invalid(CertificateError::Revoked), Cause::Revoked),
            (invalid(CertificateError::UnknownRevocationStatus), Cause::Revoked),
            (invalid(CertificateError::UnknownIssuer), Cause::UnknownIssuer),
            (invalid(CertificateError::BadSignature), Cause::BadCertificate),
            (TlsFailure::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired), Cause::Tls),
        ] {
            let text = failure.to_string();
            assert_eq!(Cause::of(&io::Error::new(io::ErrorKind::InvalidData, failure)), cause, "{text}");
        }
        assert_eq!(Cause::of(&io::ErrorKind::UnexpectedEof.into()), Cause::Tls);
    }

    #[test]
    fn each_cause_has_its_own_word() {
        let words: HashSet<_> = Cause::ALL.map(Cause::name).into_iter().collect();
        assert_eq!(words.len(), Cause::ALL.len());
    }
}
