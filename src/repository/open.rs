//! From settings to an open repository: which client, with which credentials and limits.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use serde::Deserialize;
use url::Url;

use super::format::{Format, MAX_BYTES};
use super::location::Location;
use super::retry::Policy;
use super::settings::Settings;
use super::store::{Store, StoreError};
use super::{Repository, RepositoryError, key};
use crate::net::http::HttpSettings;

/// The longest that a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// The systemd credential that is looked for where the settings name no file.
const CREDENTIAL: &str = "s3";

impl Repository {
    /// Opens a repository.
    ///
    /// # Errors
    /// If the settings make no client, it cannot be reached, or it is none.
    pub async fn open(settings: &Settings) -> Result<Self, RepositoryError> {
        let store = store(settings)?;
        let decode = |bytes: Bytes| Format::decode(&bytes).ok_or_else(|| "it is of no known form".to_owned());
        match store.get(&key::format(), MAX_BYTES, decode).await {
            Ok(format) => Ok(Self { store, format, directory: directory(settings) }),
            Err(StoreError::NotFound { location, .. } | StoreError::Damaged { location, .. }) => {
                Err(RepositoryError::NotARepository { location })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a repository of an empty place, and finds out what its store can.
    ///
    /// # Errors
    /// If there is one already, or the store cannot be written.
    pub async fn init(settings: &Settings, wanted: Format) -> Result<Self, RepositoryError> {
        if let Location::Directory(path) = &settings.location {
            let create = std::fs::create_dir_all(path);
            create.map_err(|source| RepositoryError::Process { location: settings.location.to_string(), source })?;
        }
        let store = store(settings)?;
        if store.len_bytes(&key::format()).await?.is_some() {
            return Err(RepositoryError::Exists { location: store.location().to_owned() });
        }
        let format = Format { conditional_puts: creates_only_once(&store).await?, ..wanted };
        let bytes = serde_json::to_vec_pretty(&format).unwrap_or_default();
        store.put(&key::format(), bytes.into()).await?;
        Ok(Self { store, format, directory: directory(settings) })
    }
}

fn directory(settings: &Settings) -> Option<PathBuf> {
    match &settings.location {
        Location::Directory(path) => Some(path.clone()),
        Location::S3 { .. } | Location::Http(_) => None,
    }
}

/// Whether of two writers of a new object only one wins. Some servers take the condition and do not heed it, others
/// refuse it, each in a way of its own; so it is tried out, and what fails is not tried again.
async fn creates_only_once(store: &Store) -> Result<bool, StoreError> {
    let probe = key::probe();
    // This one must work: it tells a store that cannot be written from one that only knows no conditions.
    store.put(&probe, Bytes::from_static(b"1")).await?;
    let once = store.once();
    let overwritten = once.put_new(&probe, Bytes::from_static(b"2")).await;
    store.delete(&probe).await?;
    let created = once.put_new(&probe, Bytes::from_static(b"3")).await;
    store.delete(&probe).await?;
    Ok(matches!((overwritten, created), (Ok(false), Ok(true))))
}

fn store(settings: &Settings) -> Result<Store, RepositoryError> {
    let location = settings.location.to_string();
    let invalid = |problem: String| RepositoryError::Settings { location: location.clone(), problem };
    let client: Result<Arc<dyn ObjectStore>, _> = match &settings.location {
        Location::Directory(path) => LocalFileSystem::new_with_prefix(path)
            .map(|store| Arc::new(store.with_fsync(true).with_automatic_cleanup(false)) as Arc<dyn ObjectStore>),
        Location::S3 { bucket, prefix } => {
            s3(settings, bucket).map_err(&invalid)?.build().map(|store| prefixed(store, prefix))
        }
        Location::Http(url) => HttpBuilder::new()
            .with_url(url.as_str())
            .with_client_options(plain())
            .with_http_connector(Connector::new(settings).map_err(&invalid)?)
            .with_retry(never_again())
            .build()
            .map(|store| Arc::new(store) as Arc<dyn ObjectStore>),
    };
    let client = client.map_err(|error| invalid(crate::text::chain(&error)))?;
    let retry_for = match &settings.location {
        // A file system answers, or it does not.
        Location::Directory(_) => Duration::ZERO,
        Location::S3 { .. } | Location::Http(_) => settings.retry_for(),
    };
    let lists = !matches!(settings.location, Location::Http(_));
    Ok(Store::new(client, location, Policy { retry_for }, lists))
}

fn prefixed(store: impl ObjectStore, prefix: &str) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) }
}

/// Without TLS as well: nothing that is read is believed, and what is secret of a request is its signature.
fn plain() -> ClientOptions {
    ClientOptions::new().with_allow_http(true)
}

/// The one place that makes a request again is [`retry`](super::retry).
fn never_again() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn s3(settings: &Settings, bucket: &str) -> Result<AmazonS3Builder, String> {
    let credentials = match &settings.credentials {
        Some(path) => Some(Credentials::read(path)?),
        None => Credentials::of_systemd()?,
    };
    let mut builder = match credentials {
        None => AmazonS3Builder::from_env(),
        Some(credentials) => {
            let builder = AmazonS3Builder::new()
                .with_access_key_id(credentials.access_key_id)
                .with_secret_access_key(credentials.secret_access_key);
            match credentials.session_token {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
    };
    builder = builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(settings.virtual_host_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_client_options(plain())
        .with_http_connector(Connector::new(settings)?)
        .with_retry(never_again());
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &settings.endpoint {
        let endpoint = if settings.virtual_host_style { hosted(endpoint, bucket)? } else { endpoint.clone() };
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    Ok(builder)
}

/// Where a bucket is whose name is part of the server's.
fn hosted(endpoint: &Url, bucket: &str) -> Result<Url, String> {
    let mut hosted = endpoint.clone();
    let host = endpoint.domain().ok_or_else(|| format!("{endpoint} has no name to put the bucket before"))?;
    let host = format!("{bucket}.{host}");
    hosted.set_host(Some(&host)).map_err(|error| format!("{host} is no name of a server: {error}"))?;
    Ok(hosted)
}

/// The one kind of HTTP client that this program has, as the object store wants it.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl Connector {
    fn new(settings: &Settings) -> Result<Self, String> {
        let http = HttpSettings {
            ca: settings.ca.clone(),
            proxy: settings.proxy.clone(),
            connect_timeout: CONNECT,
            read_timeout: settings.stall(),
            only: None,
        };
        http.client().map(Self).map_err(|error| crate::text::chain(&error))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// What an S3 server knows a client by.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl Credentials {
    fn read(path: &FilePath) -> Result<Self, String> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| format!("cannot read the credentials {}: {error}", path.display()))?;
        // The error of the parser repeats the line, which is a secret.
        toml::from_str(&text).map_err(|_secret| format!("{} is no credentials file", path.display()))
    }

    /// The systemd credential, if the service was given one.
    fn of_systemd() -> Result<Option<Self>, String> {
        let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
        let path = FilePath::new(&dir).join(CREDENTIAL);
        if path.exists() { Self::read(&path).map(Some) } else { Ok(None) }
    }
}
