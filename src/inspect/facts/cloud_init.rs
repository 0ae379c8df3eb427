//! cloud-init as it is installed: its effective configuration, its version, and the source that finds OpenStack.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::text::{self, FactError, shown, unreadable};
use super::{Known, glob};
use crate::inspect::root::Root;

/// The configuration that the drop-ins are laid over.
pub const CONFIG: &str = "etc/cloud/cloud.cfg";
const DROP_INS: &str = "etc/cloud/cloud.cfg.d";
/// Most drop-ins that are read.
const MAX_DROP_INS: usize = 256;
/// Deepest nesting of a configuration.
const MAX_DEPTH: usize = 32;
/// Most nodes of one configuration, aliases counted as often as they are used.
const MAX_NODES: usize = 20_000;
/// Where the Python package may be.
const PACKAGES: [&str; 8] = [
    "usr/lib/python*/site-packages/cloudinit",
    "usr/lib/python*/dist-packages/cloudinit",
    "usr/lib64/python*/site-packages/cloudinit",
    "usr/local/lib/python*/site-packages/cloudinit",
    "usr/local/lib/python*/dist-packages/cloudinit",
    "usr/local/lib64/python*/site-packages/cloudinit",
    "opt/cloud-init/lib/python*/site-packages/cloudinit",
    "usr/share/pyshared/cloudinit",
];

/// The effective configuration: cloud.cfg with its drop-ins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    values: Map<String, Value>,
    /// The file that had the last word on each top-level key.
    sources: BTreeMap<String, String>,
}

/// cloud-init, as its files tell.
#[derive(Debug, Clone)]
pub struct CloudInit {
    /// The effective configuration; none if there is no cloud.cfg.
    pub config: Known<Option<Config>>,
    /// The directory of its Python package; none if there is none.
    pub package: Known<Option<String>>,
    /// Its version and the file that says so; none if no file does.
    pub version: Known<Option<(String, String)>>,
}

impl CloudInit {
    /// Reads it.
    pub fn read(root: &Root<'_>) -> Self {
        let package = Known::from_result(package(root));
        let version = match &package {
            Known::Is(Some(package)) => Known::from_result(version(root, package)),
            Known::Is(None) => Known::Is(None),
            Known::Unknown(reason) => Known::Unknown(reason.clone()),
        };
        Self { config: Known::from_result(Config::read(root)), package, version }
    }
}

impl Config {
    /// The configuration of an image; none if it has no cloud.cfg.
    ///
    /// # Errors
    /// [`FactError`], if a file of it cannot be read, or is no YAML.
    pub fn read(root: &Root<'_>) -> Result<Option<Self>, FactError> {
        let Some(base) = text::read(root, CONFIG)? else { return Ok(None) };
        let mut config = Self::default();
        config.lay_over(&base, CONFIG)?;
        let names = text::names(root, DROP_INS, |name| name.ends_with(".cfg"))?;
        if names.len() > MAX_DROP_INS {
            let what = format!("more than {MAX_DROP_INS} files");
            return Err(FactError::Malformed { path: shown(DROP_INS), what });
        }
        for path in names.into_iter().map(|name| format!("{DROP_INS}/{name}")) {
            let text = text::read(root, &path)?.unwrap_or_default();
            config.lay_over(&text, &path)?;
        }
        Ok(Some(config))
    }

    fn lay_over(&mut self, text: &str, path: &str) -> Result<(), FactError> {
        let values = parse(text).map_err(|what| FactError::Malformed { path: shown(path), what })?;
        for key in values.keys() {
            self.sources.insert(key.clone(), shown(path));
        }
        merge(&mut self.values, values);
        Ok(())
    }

    /// A value by its keys, separated by dots.
    pub fn value(&self, key: &str) -> Option<&Value> {
        let mut keys = key.split('.');
        let mut value = self.values.get(keys.next()?)?;
        for key in keys {
            value = value.get(key)?;
        }
        Some(value)
    }

    /// The file that had the last word on the first of the keys; cloud.cfg if none has it.
    pub fn source(&self, key: &str) -> String {
        let top = key.split('.').next().unwrap_or_default();
        self.sources.get(top).cloned().unwrap_or_else(|| shown(CONFIG))
    }
}

/// A configuration as cloud-init reads it: what is no mapping counts as empty.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        max_events: 4 * MAX_NODES,
        max_nodes: MAX_NODES,
        max_aliases: 1000,
        max_anchors: 1000,
        max_recorded_anchor_events: MAX_NODES,
        flow_nesting_limit: MAX_DEPTH,
    };
    let options = serde_saphyr::options! {
        budget: budget,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
    };
    match serde_saphyr::from_str_with_options::<Value>(text, options) {
        Ok(Value::Object(values)) => Ok(values),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

/// Lays a mapping over another: mappings are merged, everything else is replaced. No deeper than [`MAX_DEPTH`].
fn merge(below: &mut Map<String, Value>, above: Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// The directory of the Python package, with or without a package database.
fn package(root: &Root<'_>) -> Result<Option<String>, FactError> {
    for pattern in PACKAGES {
        if let Some(path) = glob::expand(root, pattern).map_err(unreadable(pattern))?.pop() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn version(root: &Root<'_>, package: &str) -> Result<Option<(String, String)>, FactError> {
    let path = format!("{package}/version.py");
    let text = text::read(root, &path)?.unwrap_or_default();
    let assigned = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))?;
        let value = value.trim().trim_matches(['"', '\'']);
        value.starts_with(|letter: char| letter.is_ascii_digit()).then(|| (value.to_owned(), path.clone()))
    };
    // Distributions patch the second; where they do not, it is no number.
    Ok(assigned("__VERSION__").or_else(|| assigned("_PACKAGED_VERSION")))
}

/// The line of a Python function's first statement, docstrings and comments passed over; none if there is no such function.
pub fn first_statement<'a>(source: &'a str, function: &str) -> Option<&'a str> {
    let begin = format!("def {function}(");
    let mut lines = source.lines().skip_while(|line| !line.trim_start().starts_with(&begin));
    // The head of the function may go on over several lines.
    lines.by_ref().find(|line| line.trim_end().ends_with(':'))?;
    let mut docstring = None;
    for line in lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(quotes) = docstring {
            if line.ends_with(quotes) {
                docstring = None;
            }
        } else if let Some(quotes) = ["\"\"\"", "'''"].into_iter().find(|quotes| line.starts_with(quotes)) {
            let closed = line.len() >= 6 && line.ends_with(quotes);
            docstring = (!closed).then_some(quotes);
        } else {
            return Some(line);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Config, first_statement, parse};

    #[test]
    fn mappings_are_merged_and_lists_replaced_by_the_last_file() {
        let mut config = Config::default();
        config
            .lay_over("datasource_list: [A, B]\nsystem_info: {distro: rhel, default_user: {name: x}}\n", "a")
            .expect("YAML");
        config.lay_over("# nothing\n", "b").expect("YAML");
        config
            .lay_over("datasource_list: [ OpenStack ]\nsystem_info: {default_user: {name: root}}\n", "c")
            .expect("YAML");
        assert_eq!(config.value("datasource_list"), Some(&json!(["OpenStack"])));
        assert_eq!(config.value("system_info.distro"), Some(&json!("rhel")));
        assert_eq!(config.value("system_info.default_user.name"), Some(&json!("root")));
        assert_eq!(
            (config.source("datasource_list"), config.source("nothing")),
            ("/c".into(), "/etc/cloud/cloud.cfg".into())
        );
    }

    #[test]
    fn plain_words_are_read_as_cloud_init_reads_them() {
        let values = parse("a: false\nb: yes\nc: No\nd: [OpenStack, None]\ne: null\n").expect("YAML");
        let expected = json!({"a": false, "b": true, "c": false, "d": ["OpenStack", "None"], "e": null});
        assert_eq!(serde_json::Value::Object(values), expected);
    }

    #[test]
    fn bombs_of_aliases_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        parse(&bomb).expect_err("too much");
        parse(&"[".repeat(100_000)).expect_err("too deep");
        parse(&"- ".repeat(100_000)).expect_err("too deep");
    }

    #[test]
    fn the_first_statement_of_a_function_is_found() {
        let source = "def other():\n    return False\ndef detect_openstack(\n    accept_oracle=False\n):\n    \"\"\"Text\n\n    more.\n    \"\"\"\n    # no\n    return True\n";
        assert_eq!(first_statement(source, "detect_openstack"), Some("return True"));
        assert_eq!(first_statement("def f(a):\n  '''x'''\n  if a:\n", "f"), Some("if a:"));
        assert_eq!(first_statement(source, "missing"), None);
        assert_eq!(first_statement("def f(", "f"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|[-:&*#\\[\\]{}!<|>%@'\" \t\n])*") {
            drop(parse(&text));
            first_statement(&text, "");
        }
    }
}
