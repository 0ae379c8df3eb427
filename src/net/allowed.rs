//! Which URLs may be asked: those below one of some prefixes.
//!
//! What is compared are parsed URLs, so that all ways to write one count the same. A path that one server could take
//! for another path than it seems to be - an encoded slash, dot or percent sign - is below no prefix.

use std::fmt;

use serde::Deserialize;
use url::{Host, Url};

/// The prefixes. Without any, no URL is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct AllowedUrls(Vec<Url>);

/// A prefix that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("prefix {number} of the allowed URLs is no http or https URL without user, query, fragment and encoded signs")]
pub struct PrefixInvalid {
    /// Which one, from 1. It is not repeated: it may hold a secret.
    pub number: usize,
}

impl TryFrom<Vec<String>> for AllowedUrls {
    type Error = PrefixInvalid;

    fn try_from(prefixes: Vec<String>) -> Result<Self, PrefixInvalid> {
        let parse = |(number, text): (usize, String)| {
            let url = Url::parse(&text).ok().filter(is_prefix);
            url.ok_or(PrefixInvalid { number })
        };
        (1..).zip(prefixes).map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedUrls {
    /// Whether the URL may be asked: scheme, host and port are those of a prefix, and its path begins with all of the
    /// prefix's segments.
    pub fn permits(&self, url: &Url) -> bool {
        let Some(place) = Place::of(url) else { return false };
        self.0.iter().filter_map(Place::of).any(|prefix| place.is_below(&prefix))
    }
}

impl fmt::Display for AllowedUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<_> = self.0.iter().map(Url::as_str).collect();
        f.write_str(if list.is_empty() { "none" } else { "" })?;
        f.write_str(&list.join(", "))
    }
}

fn is_prefix(url: &Url) -> bool {
    Place::of(url).is_some() && url.query().is_none() && url.fragment().is_none()
}

/// Where a URL leads, as far as prefixes know.
struct Place<'a> {
    scheme: &'a str,
    host: Host<&'a str>,
    port: u16,
    segments: Vec<&'a str>,
}

impl<'a> Place<'a> {
    /// None if the URL has credentials, is not of the web, or its path is not certain.
    fn of(url: &'a Url) -> Option<Self> {
        let of_web = ["http", "https"].contains(&url.scheme());
        let anonymous = url.username().is_empty() && url.password().is_none();
        let segments: Vec<_> = url.path_segments()?.collect();
        let certain = segments.iter().copied().all(is_certain);
        let place = Self { scheme: url.scheme(), host: url.host()?, port: url.port_or_known_default()?, segments };
        (of_web && anonymous && certain).then_some(place)
    }

    fn is_below(&self, prefix: &Self) -> bool {
        // A slash at the end of a prefix adds nothing.
        let whole = prefix.segments.strip_suffix(&[""]).unwrap_or(&prefix.segments);
        (self.scheme, &self.host, self.port) == (prefix.scheme, &prefix.host, prefix.port)
            && self.segments.starts_with(whole)
    }
}

/// Whether every server takes the segment for the same. Parsing has resolved dots; what it has not are those behind an
/// encoding that a server might undo, or before a parameter that it might drop.
fn is_certain(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    let encoded = segment.split('%').skip(1).map(|rest| rest.get(..2).unwrap_or_default());
    let deceives = |code: &str| {
        let byte = u8::from_str_radix(code, 16).unwrap_or(0);
        byte < b' ' || byte == 0x7f || [b'/', b'\\', b'.', b'%', b';'].contains(&byte)
    };
    ![".", ".."].contains(&name) && !encoded.into_iter().any(deceives)
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::AllowedUrls;

    fn allowed(prefixes: &[&str]) -> AllowedUrls {
        let prefixes: Vec<_> = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
        prefixes.try_into().expect("prefixes")
    }

    fn permits(allowed: &AllowedUrls, url: &str) -> bool {
        allowed.permits(&url.parse::<Url>().unwrap_or_else(|error| panic!("{url}: {error}")))
    }

    #[test]
    fn what_is_below_a_prefix_is_allowed_however_it_is_written() {
        for prefix in ["https://images.example/os/", "https://images.example/os", "HTTPS://IMAGES.example:443/a/../os/"]
        {
            let allowed = allowed(&["http://other.example/", prefix]);
            for url in [
                "https://images.example/os/disk.raw",
                "https://images.example/os/",
                "https://images.example/os",
                "https://images.example:443/os/a/b.raw.zst?signature=a/../b%2f",
                "https://IMAGES.EXAMPLE/os/a%20b.raw",
                "https://images.example/os/a/../b.raw",
                "https://images.example/./os//b.raw",
                "https://images.example\\os\\b.raw",
                "http://other.example/anything",
            ] {
                assert!(permits(&allowed, url), "{url} below {prefix}");
            }
        }
    }

    #[test]
    fn no_trick_leads_out_of_a_prefix() {
        let allowed = allowed(&["https://images.example/os/"]);
        for url in [
            "https://images.example/",
            "https://images.example/oss/disk.raw",
            "https://images.example/OS/disk.raw",
            "https://images.example.evil/os/disk.raw",
            "https://images.example./os/disk.raw",
            "https://evil.images.example/os/disk.raw",
            "https://images.example@evil.example/os/disk.raw",
            "https://evil.example/https://images.example/os/disk.raw",
            "https://evil.example/#https://images.example/os/",
            "https://user@images.example/os/disk.raw",
            "https://user:word@images.example/os/disk.raw",
            "https://images.example:8443/os/disk.raw",
            "http://images.example/os/disk.raw",
            "http://images.example:443/os/disk.raw",
            "ftp://images.example/os/disk.raw",
            "file:///os/disk.raw",
            "data:,os",
            "https://images.example/os/../secret",
            "https://images.example/os/%2e%2e/secret",
            "https://images.example/os/.%2E/secret",
            "https://images.example/os/..%2fsecret",
            "https://images.example/os/..%5Csecret",
            "https://images.example/os\\..\\secret",
            "https://images.example/os/%252e%252e/secret",
            "https://images.example/os/..;/secret",
            "https://images.example/os/..%3b/secret",
            "https://images.example/os/.%00./secret",
            "https://images.example/os/a%2",
            "https://images.example/os%2fdisk.raw",
        ] {
            assert!(!permits(&allowed, url), "{url}");
        }
    }

    #[test]
    fn ports_and_addresses_count_as_what_they_are() {
        let allowed = allowed(&["http://127.0.0.1:8080/"]);
        assert!(permits(&allowed, "http://0x7f.1:8080/a") && permits(&allowed, "http://2130706433:8080/a"));
        assert!(!permits(&allowed, "http://127.0.0.1/a") && !permits(&allowed, "http://localhost:8080/a"));
    }

    #[test]
    fn without_prefixes_nothing_is_allowed() {
        assert!(!permits(&AllowedUrls::default(), "https://images.example/os/disk.raw"));
    }

    #[test]
    fn a_prefix_that_is_none_is_refused_and_not_repeated() {
        for text in [
            "",
            "/srv/images",
            "images.example/os",
            "ftp://images.example/",
            "https://user:word@images.example/",
            "https://images.example/?word",
            "https://images.example/#word",
            "https://images.example/%2e%2e%2fword",
        ] {
            let error = AllowedUrls::try_from(vec!["https://a/".to_owned(), text.to_owned()]).expect_err(text);
            assert!(error.number == 2 && !error.to_string().contains("word"), "{error}");
        }
    }
}
