//! The one way to make an HTTP client: who is trusted, through which proxy, where a redirect may lead, and how long
//! anything may take. What is printed of a URL is decided here as well.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, NoProxy, Proxy};
use rustls::crypto::ring;
use serde::{Deserialize, Serialize};
use url::Url;

use super::allowed::AllowedUrls;

/// Most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// What servers are told of this program.
const USER_AGENT: &str = concat!("bms-agent/", env!("CARGO_PKG_VERSION"));

/// How to reach servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// A file of PEM certificates, which alone are trusted. Without it those of the system are, of which there must be
    /// some.
    pub ca: Option<PathBuf>,
    /// The proxy for all requests. Without it `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` of the environment tell. Either
    /// way `NO_PROXY` of the environment names the exceptions.
    pub proxy: Option<Url>,
    /// For a connection to be made, TLS included.
    pub connect_timeout: Duration,
    /// For the next bytes of an answer to come.
    pub read_timeout: Duration,
    /// Where alone a redirect may lead; anywhere if absent.
    pub only: Option<AllowedUrls>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        let (connect_timeout, read_timeout) = (Duration::from_secs(10), Duration::from_secs(30));
        Self { ca: None, proxy: None, connect_timeout, read_timeout, only: None }
    }
}

/// No client can be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The file of certificates does not read.
    #[error("cannot read the certificates in {}", path.display())]
    CaUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of certificates holds none, or something else.
    #[error("{} holds no certificates in PEM form", path.display())]
    CaInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, if anything but that it is empty.
        source: Option<reqwest::Error>,
    },
    /// The proxy is of a kind that is not spoken; it would be passed by without a word.
    #[error("the proxy {} is neither http nor https", Redacted(url))]
    Proxy {
        /// Its URL.
        url: Box<Url>,
    },
    /// Anything else, such as a system without certificates.
    #[error("cannot set up HTTP")]
    Client {
        /// What is wrong.
        source: reqwest::Error,
    },
}

/// A redirect that is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefusal {
    /// There are too many.
    #[error("it leads from redirect to redirect, more than {MAX_REDIRECTS} times")]
    TooMany,
    /// It leads out of TLS.
    #[error("it leads from https to an address without TLS")]
    Downgrade,
    /// It leads to where nothing may be fetched from.
    #[error("it leads to an address that is not allowed")]
    NotAllowed,
}

impl HttpSettings {
    /// A client. Making one is expensive, and a clone shares its connections.
    ///
    /// It decompresses nothing, keeps no cookies and tells no server where a request came from. Credentials in a URL are
    /// sent to that server alone.
    ///
    /// # Errors
    /// If the certificates or the proxy cannot be used.
    pub fn client(&self) -> Result<Client, HttpError> {
        // Without a default the client would panic. Whoever was first has chosen it.
        ring::default_provider().install_default().ok();
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(self.redirects())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout);
        if self.ca.is_some() {
            builder = builder.tls_certs_only(self.certificates()?);
        }
        if let Some(proxy) = self.proxy()? {
            builder = builder.proxy(proxy.no_proxy(NoProxy::from_env()));
        }
        builder.build().map_err(client_error)
    }

    fn proxy(&self) -> Result<Option<Proxy>, HttpError> {
        let Some(url) = &self.proxy else {
            return Ok(None);
        };
        if !["http", "https"].contains(&url.scheme()) {
            return Err(HttpError::Proxy { url: Box::new(url.clone()) });
        }
        Proxy::all(url.clone()).map(Some).map_err(client_error)
    }

    fn redirects(&self) -> Policy {
        let only = self.only.clone();
        Policy::custom(move |attempt| match refusal(&attempt, only.as_ref()) {
            Some(refusal) => attempt.error(refusal),
            None => attempt.follow(),
        })
    }

    /// The certificates of the file; none if there is no file.
    fn certificates(&self) -> Result<Vec<Certificate>, HttpError> {
        let Some(path) = &self.ca else {
            return Ok(Vec::new());
        };
        let pem = fs::read(path).map_err(|source| HttpError::CaUnreadable { path: path.clone(), source })?;
        let invalid = |source| HttpError::CaInvalid { path: path.clone(), source };
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|source| invalid(Some(source)))?;
        if certificates.is_empty() { Err(invalid(None)) } else { Ok(certificates) }
    }
}

fn client_error(source: reqwest::Error) -> HttpError {
    HttpError::Client { source: source.without_url() }
}

/// Why a redirect is not to be followed.
fn refusal(attempt: &Attempt<'_>, only: Option<&AllowedUrls>) -> Option<RedirectRefusal> {
    let (previous, next) = (attempt.previous(), attempt.url());
    // The first of the previous addresses is the one that was asked for.
    if previous.len() > MAX_REDIRECTS {
        return Some(RedirectRefusal::TooMany);
    }
    if previous.iter().any(|url| url.scheme() == "https") && next.scheme() != "https" {
        return Some(RedirectRefusal::Downgrade);
    }
    only.is_some_and(|only| !only.permits(next)).then_some(RedirectRefusal::NotAllowed)
}

/// The first error of type `E` that another goes back to.
pub fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| below(*error)).find_map(|error| error.downcast_ref())
}

/// What an error goes back to. An I/O error that wraps another does not name it as its source, but that error's source.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// A URL as it may be printed: without user, password, query and fragment, which may all be secrets.
#[derive(Debug, Clone, Copy)]
pub struct Redacted<'a>(pub &'a Url);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
        if let Some(port) = url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(url.path())?;
        if url.query().is_some() { f.write_str("?…") } else { Ok(()) }
    }
}

/// A URL that may be kept, but not be printed whole: it may hold a signature. Both ways to print it are redacted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateUrl(pub Url);

impl fmt::Display for PrivateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Redacted(&self.0), f)
    }
}

impl fmt::Debug for PrivateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Redacted(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};

    use super::{HttpError, HttpSettings, PrivateUrl, Redacted, RedirectRefusal, cause};

    #[test]
    fn no_secret_of_a_url_is_printed() {
        for (url, printed) in [
            ("https://user:word@host:8443/a/b.raw?X-Amz-Signature=abc#part", "https://host:8443/a/b.raw?…"),
            ("http://token@host/b%20c.raw", "http://host/b%20c.raw"),
            ("http://[::1]:80/", "http://[::1]/"),
        ] {
            let private = PrivateUrl(url.parse().expect("a URL"));
            assert_eq!(Redacted(&private.0).to_string(), printed);
            assert_eq!((format!("{private}"), format!("{private:?}")), (printed.to_owned(), printed.to_owned()));
        }
    }

    #[test]
    fn a_cause_is_found_however_often_it_is_wrapped() {
        let mut error = io::Error::other(RedirectRefusal::Downgrade);
        for _ in 0..3 {
            assert_eq!(cause(&error), Some(&RedirectRefusal::Downgrade));
            error = io::Error::other(error);
        }
        assert_eq!(cause::<RedirectRefusal>(&io::Error::other("another")), None);
    }

    #[test]
    fn certificates_that_are_none_are_refused_by_the_name_of_their_file() {
        let client = |ca| HttpSettings { ca: Some(ca), ..HttpSettings::default() }.client();
        let missing = client("/nonexistent/ca.pem".into()).expect_err("not there");
        assert!(matches!(missing, HttpError::CaUnreadable { .. }), "{missing:?}");
        for content in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            file.write_all(content.as_bytes()).expect("written");
            let error = client(file.path().to_owned()).expect_err("no certificate");
            assert!(matches!(error, HttpError::CaInvalid { .. } | HttpError::Client { .. }), "{content}: {error:?}");
        }
    }

    #[test]
    fn a_proxy_that_is_none_is_refused_without_its_password() {
        let proxy = "socks9://user:word@host:1".parse().expect("a URL");
        let error = HttpSettings { proxy: Some(proxy), ..HttpSettings::default() }.client().expect_err("no proxy");
        assert_eq!(error.to_string(), "the proxy socks9://host:1 is neither http nor https");
    }
}
