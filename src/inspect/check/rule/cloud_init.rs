//! Rules of cloud-init that no other vocabulary can say: which datasource it takes, and whether it recognises the server.
//!
//! A bare metal server says nothing in its DMI that cloud-init would take for OpenStack, and it has a config drive, behind
//! which cloud-init hides OpenStack if it has a choice. So the list of datasources must leave it none.

use serde_json::Value;

use super::super::context::Context;
use super::super::outcome::{Outcome, known};
use super::super::version::Version;
use super::config::short;
use super::is_pass;
use crate::inspect::facts::Known;
use crate::inspect::facts::cloud_init::{Config, first_statement};
use crate::inspect::facts::text::{self, FactError, unreadable};

const LIST: &str = "datasource_list";
const WANTED: &str = "OpenStack";
const DS_IDENTIFY: &str = "/etc/cloud/ds-identify.cfg";
const DISABLED: &str = "/etc/cloud/cloud-init.disabled";
/// The first version that takes OpenStack if there is nothing else in the list.
const FORCED_SINCE: &str = "23.1.1";
/// The first version that looks at the DMI of the server.
const STRICT_SINCE: &str = "18.3";
/// Functions that recognise the server, of older and newer versions.
const DETECTORS: [&str; 2] = ["detect_openstack", "ds_detect"];

pub(super) fn datasource(context: &Context<'_>) -> Outcome {
    known(&context.facts.cloud_init.config, |config| {
        let listed = match config {
            None => Outcome::fail("there is no /etc/cloud/cloud.cfg"),
            Some(config) => listed(config),
        };
        Outcome::all(vec![listed, Outcome::from_result(ds_identify(context))])
    })
}

fn listed(config: &Config) -> Outcome {
    let path = format!("{}: {LIST}", config.source(LIST));
    let Some(value) = config.value(LIST) else {
        return Outcome::fail(format!("{LIST} is not set, so that every datasource is tried")).with(path, "");
    };
    let names: Option<Vec<&str>> =
        value.as_array().map(|list| list.iter().map(|name| name.as_str().unwrap_or("None")).collect());
    let outcome = match names.as_deref() {
        Some([WANTED]) => Outcome::pass(format!("{WANTED} is the only datasource")),
        Some([WANTED, "None"]) => {
            Outcome::warn(format!("{LIST} has None after {WANTED}, so that {WANTED} is not forced"))
        }
        Some(_) => Outcome::fail(format!("{LIST} is not {WANTED} alone")),
        None => Outcome::fail(format!("{LIST} is no list")),
    };
    outcome.with(path, short(value))
}

/// What switches cloud-init off before it reads its configuration.
fn ds_identify(context: &Context<'_>) -> Result<Outcome, FactError> {
    let Some(text) = text::read(context.facts.root, DS_IDENTIFY)? else {
        return Ok(Outcome::not_applicable("there is no ds-identify.cfg"));
    };
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.rfind(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    let policy = value("policy").unwrap_or_default();
    let source = value("datasource");
    let outcome = match source.as_deref() {
        _ if policy.starts_with("disabled") => Outcome::fail("ds-identify switches cloud-init off"),
        Some(WANTED) | None => Outcome::pass("ds-identify lets OpenStack be found"),
        Some(other) => Outcome::fail(format!("ds-identify forces {other}")),
    };
    Ok(outcome.with(DS_IDENTIFY, text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ")))
}

pub(super) fn detection(context: &Context<'_>) -> Outcome {
    let cloud_init = &context.facts.cloud_init;
    known(&cloud_init.package, |package| {
        let Some(package) = package else { return Outcome::unknown("the Python package of cloud-init is not there") };
        let patched = Outcome::from_result(patched(package, context));
        if is_pass(&patched) {
            return patched;
        }
        let by_version = known(&cloud_init.version, |version| match version {
            Some((version, path)) => by_version(version, context).with(path, version),
            None => Outcome::unknown(format!("{package} does not say its version")),
        });
        Outcome::any(vec![by_version, patched])
    })
}

fn by_version(version: &str, context: &Context<'_>) -> Outcome {
    let is_since = |since| Version::is_at_least(version, since);
    match (is_since(STRICT_SINCE), is_since(FORCED_SINCE)) {
        (Some(false), _) => Outcome::pass(format!("cloud-init {version} does not look at the server's DMI")),
        (_, Some(true)) => match datasource(context) {
            forced if is_pass(&forced) => {
                Outcome::pass(format!("cloud-init {version} takes the only datasource it has"))
            }
            _ => Outcome::fail(format!("cloud-init {version} takes {WANTED} only if it is the only datasource")),
        },
        (Some(true), Some(false)) => Outcome::fail(format!("cloud-init {version} does not recognise the server")),
        (None, _) | (_, None) => Outcome::unknown(format!("{version} is no version")),
    }
}

/// Whether the source was changed to take any server for OpenStack.
fn patched(package: &str, context: &Context<'_>) -> Result<Outcome, FactError> {
    let path = format!("{package}/sources/DataSourceOpenStack.py");
    let source = text::read(context.facts.root, &path)?.unwrap_or_default();
    for function in DETECTORS {
        if let Some(line) = first_statement(&source, function)
            && line.starts_with("return True")
        {
            return Ok(Outcome::pass(format!("{function} takes every server")).with(path, line));
        }
    }
    Ok(Outcome::fail("the source is not changed to take every server"))
}

pub(super) fn not_disabled(context: &Context<'_>) -> Outcome {
    Outcome::all(vec![Outcome::from_result(no_switch(context)), no_argument(context)])
}

fn no_switch(context: &Context<'_>) -> Result<Outcome, FactError> {
    let found = context.facts.root.find_link(DISABLED).map_err(unreadable(DISABLED))?;
    Ok(match found {
        Some(_) => Outcome::fail(format!("{DISABLED} switches cloud-init off")).with(DISABLED, "there"),
        None => Outcome::pass("cloud-init is not switched off"),
    })
}

/// The command line may not be known; that alone puts nothing in doubt.
fn no_argument(context: &Context<'_>) -> Outcome {
    let lines = context.command_lines();
    match lines.as_known().and_then(|lines| lines.iter().find(|line| line.is_cloud_init_disabled())) {
        Some(line) => {
            Outcome::fail("the command line of the kernel switches cloud-init off").with(&line.source, &line.text)
        }
        None => Outcome::pass("cloud-init is not switched off"),
    }
}

pub(super) fn distro(context: &Context<'_>) -> Outcome {
    let (Known::Is(Some(config)), Known::Is(Some(os))) = (&context.facts.cloud_init.config, &context.facts.os) else {
        return Outcome::unknown("the configuration of cloud-init or the distribution is not known");
    };
    let path = format!("{}: system_info.distro", config.source("system_info"));
    let Some(distro) = config.value("system_info.distro").and_then(Value::as_str) else {
        return Outcome::fail("system_info.distro is not set").with(path, "");
    };
    let is_distro = |id: &str| id.eq_ignore_ascii_case(distro);
    let matches = is_distro(&os.id) || os.id_like.iter().any(|like| is_distro(like)) || is_family(distro, &os.id);
    let reason = format!("system_info.distro is {distro}, and the distribution {}", os.id);
    Outcome::of(matches, reason).with(path, distro)
}

/// Whether cloud-init means a distribution by the name of another.
fn is_family(distro: &str, id: &str) -> bool {
    match distro {
        "rhel" => ["centos", "ol", "oracle", "euleros", "openeuler", "rocky", "almalinux"].contains(&id),
        "sles" | "suse" | "opensuse" => id.starts_with("sle") || id.starts_with("opensuse"),
        _ => false,
    }
}
