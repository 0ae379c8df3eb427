//! Where a repository is: a directory, a bucket, or a web server.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use url::Url;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine, by its absolute path.
    Directory(PathBuf),
    /// A bucket of an S3 server.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// What all object names begin with; may be empty.
        prefix: String,
    },
    /// A web server, which is only read.
    Http(Url),
}

/// Text that names no repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no repository: {problem}")]
pub struct LocationInvalid {
    /// The text, without credentials.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl FromStr for Location {
    type Err = LocationInvalid;

    fn from_str(text: &str) -> Result<Self, LocationInvalid> {
        if text.starts_with('/') {
            return Ok(Self::Directory(PathBuf::from(text)));
        }
        let invalid = |problem| LocationInvalid { text: crate::text::printable(text), problem };
        let url = Url::parse(text)
            .map_err(|_not_a_url| invalid("it is neither an absolute path nor s3://, http:// or https://"))?;
        if !url.username().is_empty() || url.password().is_some() {
            // The text is not repeated: it holds a secret.
            let problem = "credentials do not belong into it; use a credentials file or the environment";
            return Err(LocationInvalid { text: "a URL with credentials".to_owned(), problem });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a query or fragment means nothing here"));
        }
        match url.scheme() {
            "file" => url.to_file_path().map(Self::Directory).map_err(|()| invalid("a file:// URL needs a local path")),
            "s3" => {
                let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or(invalid("the bucket is missing"))?;
                Ok(Self::S3 { bucket: bucket.to_owned(), prefix: url.path().trim_matches('/').to_owned() })
            }
            "http" | "https" => Ok(Self::Http(url)),
            _ => Err(invalid("its scheme is not file, s3, http or https")),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Http(url) => write!(f, "{url}"),
        }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Location;

    #[test]
    fn paths_and_urls_are_told_apart_and_shown_as_they_were_given() {
        for text in ["/srv/images", "s3://images", "s3://images/a/b", "http://10.0.0.1:8080/images/", "https://a/"] {
            let location: Location = text.parse().expect(text);
            assert_eq!(location.to_string(), text);
        }
        let location: Location = "file:///srv/images".parse().expect("valid");
        assert_eq!(location, Location::Directory("/srv/images".into()));
        let location: Location = "s3://images/a/".parse().expect("valid");
        assert_eq!(location, Location::S3 { bucket: "images".into(), prefix: "a".into() });
    }

    #[test]
    fn what_is_no_repository_is_refused_and_no_secret_repeated() {
        for text in ["", "images", "./images", "ftp://a/", "s3://", "http://", "https://a/?x=1", "https://a/#x"] {
            text.parse::<Location>().expect_err(text);
        }
        let error = "https://user:secret@a/".parse::<Location>().expect_err("credentials").to_string();
        assert!(!error.contains("secret") && error.contains("credentials"), "{error}");
    }
}
