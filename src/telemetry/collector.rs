//! The table `[otel]`: where spans go, in a build that can send them.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use url::Url;

/// The table `[otel]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtelTable {
    /// Where the collector takes OTLP over HTTP; what is below it for traces is added.
    pub endpoint: Url,
}

impl<'de> Deserialize<'de> for OtelTable {
    #[cfg(feature = "otel")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            endpoint: Url,
        }
        let Table { endpoint } = Table::deserialize(deserializer)?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            Err(D::Error::custom("the endpoint is no http or https URL"))
        } else if !endpoint.username().is_empty() || endpoint.password().is_some() {
            Err(D::Error::custom("the endpoint has a user or password, which logs would show"))
        } else {
            Ok(Self { endpoint })
        }
    }

    #[cfg(not(feature = "otel"))]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer)?;
        Err(D::Error::custom("this build has no OpenTelemetry: it was made without the feature `otel`"))
    }
}

#[cfg(test)]
mod tests {
    use super::OtelTable;

    #[cfg(feature = "otel")]
    #[test]
    fn an_endpoint_is_a_url_without_a_secret() {
        let of = |text: &str| toml::from_str::<OtelTable>(text).map_err(|error| error.to_string());
        let table = of("endpoint = \"http://127.0.0.1:4318\"").expect("an endpoint");
        assert_eq!(table.endpoint.as_str(), "http://127.0.0.1:4318/");
        for (wrong, why) in [
            ("", "missing field `endpoint`"),
            ("endpoint = \"127.0.0.1:4318\"", "relative URL"),
            ("endpoint = \"ftp://a/\"", "no http or https"),
            ("endpoint = \"http://u:p@a/\"", "user or password"),
            ("endpoint = \"http://a/\"\nheaders = 1", "unknown field `headers`"),
        ] {
            let error = of(wrong).expect_err(wrong);
            assert!(error.contains(why), "{error}");
        }
    }

    #[cfg(not(feature = "otel"))]
    #[test]
    fn a_build_without_it_says_so() {
        let error = toml::from_str::<OtelTable>("endpoint = \"http://127.0.0.1:4318\"").expect_err("no such build");
        assert!(error.to_string().contains("this build has no OpenTelemetry"), "{error}");
    }
}
