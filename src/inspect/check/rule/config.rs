//! Rules of configuration files: INI, the INF of a Windows driver, and cloud-init's YAML.

use serde_json::Value;

use super::super::context::Context;
use super::super::outcome::{Outcome, known};
use super::super::table::{CloudConfig, InfVersion, Ini, Scalar};
use super::super::version::Version;
use super::file::one_of;
use super::for_each;
use crate::inspect::facts::glob;
use crate::inspect::facts::ini;
use crate::inspect::facts::text::{self, FactError, MAX_TEXT_BYTES, unreadable};

/// Longest value that is shown, in letters.
const MAX_SHOWN: usize = 200;

pub(super) fn ini(rule: &Ini, context: &Context<'_>) -> Outcome {
    Outcome::from_result(try_ini(rule, context))
}

fn try_ini(rule: &Ini, context: &Context<'_>) -> Result<Outcome, FactError> {
    let patterns = context.paths(&rule.files);
    let Some(path) = first_of(&patterns, context)? else {
        return Ok(Outcome::fail(format!("{} is not there", one_of(&patterns))));
    };
    let parsed = ini::Ini::parse(&text::read(context.facts.root, &path)?.unwrap_or_default());
    let value = parsed.value(&rule.section, &rule.key);
    let forbidden = value.filter(|value| rule.not.iter().any(|not| not.eq_ignore_ascii_case(value)));
    let list = parsed.list(&rule.section, &rule.key).unwrap_or_default();
    let lacks = |wanted: &&String| !list.iter().any(|item| glob::matches_ignoring_case(wanted, item));
    let missing: Vec<&str> = rule.has.iter().filter(lacks).map(String::as_str).collect();
    let outcome = match forbidden {
        Some(value) => Outcome::fail(format!("{} is {value}", rule.key)),
        None if missing.is_empty() => Outcome::pass(format!("{} is as it should be", rule.key)),
        None => Outcome::fail(format!("{} lacks {}", rule.key, missing.join(", "))),
    };
    Ok(outcome.with(format!("{path}: {}", rule.key), value.unwrap_or_default()))
}

/// The first path that is there.
pub(super) fn first_of(patterns: &[String], context: &Context<'_>) -> Result<Option<String>, FactError> {
    for pattern in patterns {
        let found = glob::expand(context.facts.root, pattern).map_err(unreadable(pattern))?;
        if let Some(first) = found.into_iter().next() {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

pub(super) fn inf_version(rule: &InfVersion, context: &Context<'_>) -> Outcome {
    let mut outcomes = Vec::new();
    for pattern in context.paths(&rule.files) {
        match glob::expand(context.facts.root, &pattern).map_err(unreadable(&pattern)) {
            Ok(paths) => {
                outcomes.extend(paths.iter().map(|path| Outcome::from_result(one_inf(path, &rule.at_least, context))));
            }
            Err(error) => outcomes.push(Outcome::from_result(Err(error))),
        }
    }
    if outcomes.is_empty() {
        return Outcome::fail(format!("{} is not there", one_of(&rule.files)));
    }
    Outcome::any(outcomes)
}

fn one_inf(path: &str, at_least: &str, context: &Context<'_>) -> Result<Outcome, FactError> {
    let bytes = text::read_bytes(context.facts.root, path, MAX_TEXT_BYTES)?.unwrap_or_default();
    let inf = ini::Ini::parse(&decoded(&bytes));
    // A date, a comma, a version.
    let written = inf.value("Version", "DriverVer").unwrap_or_default();
    let version = written.rsplit(',').next().unwrap_or_default().trim();
    let outcome = match Version::is_at_least(version, at_least) {
        Some(true) => Outcome::pass(format!("{version} is new enough")),
        Some(false) => Outcome::fail(format!("{version} is older than {at_least}")),
        None => Outcome::unknown(format!("{path} has no version that can be read")),
    };
    Ok(outcome.with(format!("{path}: DriverVer"), written))
}

/// A text of Windows, which may be of 16-bit units.
fn decoded(bytes: &[u8]) -> String {
    match bytes.strip_prefix(b"\xff\xfe") {
        Some(units) => {
            let units = units.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

pub(super) fn cloud_config(rule: &CloudConfig, context: &Context<'_>) -> Outcome {
    let cloud_init = &context.facts.cloud_init;
    let version = cloud_init.version.as_known().and_then(Option::as_ref);
    if let (Some(since), Some((version, path))) = (&rule.since, version)
        && Version::is_at_least(version, since) == Some(false)
    {
        return Outcome::not_applicable(format!("cloud-init {version} does not need it")).with(path, version);
    }
    known(&cloud_init.config, |config| {
        let Some(config) = config else { return Outcome::fail("there is no /etc/cloud/cloud.cfg") };
        let values: Vec<(&String, &Scalar)> = rule.values.iter().collect();
        for_each(&values, "no value is asked for", |(key, wanted)| {
            let value = config.value(key);
            let path = format!("{}: {key}", config.source(key));
            match value {
                None if rule.default.contains(key) => Outcome::pass(format!("{key} is left as it is by default")),
                None => Outcome::fail(format!("{key} is not set")).with(path, ""),
                Some(value) if is(value, wanted) => Outcome::pass(format!("{key} is right")).with(path, short(value)),
                Some(value) => Outcome::fail(format!("{key} is {}", short(value))).with(path, short(value)),
            }
        })
    })
}

fn is(value: &Value, wanted: &Scalar) -> bool {
    match wanted {
        Scalar::Boolean(wanted) => boolean(value) == Some(*wanted),
        Scalar::Integer(wanted) => value.as_i64() == Some(*wanted),
        Scalar::Text(wanted) => {
            value.as_str().is_some_and(|value| value.trim_end_matches('/') == wanted.trim_end_matches('/'))
        }
    }
}

/// What cloud-init takes a value for; none if for neither.
fn boolean(value: &Value) -> Option<bool> {
    let word = match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Bool(_) | Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    match word.as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// A value as it is shown.
pub(super) fn short(value: &Value) -> String {
    value.to_string().chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::boolean;

    #[test]
    fn booleans_are_what_cloud_init_takes_for_them() {
        for value in [json!(true), json!(1), json!("1"), json!("yes"), json!(" On "), json!("TRUE")] {
            assert_eq!(boolean(&value), Some(true), "{value}");
        }
        for value in [json!(false), json!(0), json!("0"), json!("no"), json!("Off"), json!("false")] {
            assert_eq!(boolean(&value), Some(false), "{value}");
        }
        for value in [json!(null), json!(2), json!(""), json!("unchanged"), json!([true]), json!({"a": 1})] {
            assert_eq!(boolean(&value), None, "{value}");
        }
    }
}
