//! The page holds what the table says, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use ::metrics::with_local_recorder;

use super::{
    DeviceMeter, DeviceRequest, Ending, Exposition, Kind, Listener, OpenConnection, Process, call_ended, call_refused,
    count_panics, describe, handshake_refused, names, operation_began, operation_ended, operation_kind,
    operation_moved, record, recorder, self_call_failed, stage_took,
};

/// Does everything once, and gives the page.
fn page(happen: impl FnOnce()) -> String {
    let recorder = recorder().expect("a recorder");
    let process = Process { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys") };
    let exposition = Exposition { recorded: recorder.handle(), process };
    with_local_recorder(&recorder, || {
        describe();
        record::started("1.2.3", UNIX_EPOCH + Duration::from_secs(1000));
        happen();
        record::set(&names::MEMORY_LIMIT, 512 << 20);
        exposition.render()
    })
}

fn everything() {
    operation_kind("install", &["written"]);
    operation_began("install");
    operation_moved("install", "written", 4096);
    stage_took("install", "write", Duration::from_secs(2));
    operation_ended("install", Some(Ending::Failed("DISK_IO")));
    let meter = DeviceMeter::new("sda");
    meter.time(DeviceRequest::Flush, || ());
    drop(OpenConnection::new(Listener::Unix));
    handshake_refused(Listener::Tcp, "timeout");
    call_ended("a.B/C", "OK", Duration::from_millis(3));
    call_refused("DISK_BUSY");
    self_call_failed();
}

/// The labels of each metric on the page, but for those of buckets.
fn seen(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut seen = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let is = |metric: &&names::Metric| {
            let rest = name.strip_prefix(metric.name);
            matches!((metric.kind, rest), (_, Some("")) | (Kind::Histogram(_), Some("_bucket" | "_sum" | "_count")))
        };
        let metric = names::ALL.iter().find(is).unwrap_or_else(|| panic!("{name} is not in the table"));
        let labels: &mut BTreeSet<String> = seen.entry(metric.name.to_owned()).or_default();
        let listed = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let names = listed.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
        labels.extend(names.filter(|name| name != "le"));
    }
    seen
}

#[test]
fn every_metric_of_the_table_is_recorded_with_its_labels_and_nothing_else() {
    let page = page(everything);
    let seen = seen(&page);
    for metric in names::ALL {
        let expected: BTreeSet<_> = metric.labels.iter().map(|&label| label.to_owned()).collect();
        assert_eq!(seen.get(metric.name), Some(&expected), "{}\n{page}", metric.name);
        assert!(page.contains(&format!("# HELP {} {}", metric.name, metric.text)), "{page}");
        assert!(page.contains(&format!("# TYPE {} {}", metric.name, metric.kind.name())), "{page}");
    }
}

#[test]
fn what_was_recorded_is_on_the_page() {
    let page = page(everything);
    for line in [
        "bms_agent_build_info{version=\"1.2.3\"} 1",
        "bms_agent_process_start_time_seconds 1000",
        "bms_agent_operations_running{kind=\"install\"} 0",
        "bms_agent_operations_total{kind=\"install\",result=\"failed\"} 1",
        "bms_agent_operations_total{kind=\"install\",result=\"done\"} 0",
        "bms_agent_operations_failed_total{kind=\"install\",reason=\"DISK_IO\"} 1",
        "bms_agent_operation_bytes_total{kind=\"install\",bytes=\"written\"} 4096",
        "bms_agent_operation_stage_seconds_bucket{kind=\"install\",stage=\"write\",le=\"1\"} 0",
        "bms_agent_operation_stage_seconds_bucket{kind=\"install\",stage=\"write\",le=\"5\"} 1",
        "bms_agent_device_request_seconds_count{op=\"flush\",disk=\"sda\"} 1",
        "bms_agent_connections{listener=\"unix\"} 0",
        "bms_agent_connections_total{listener=\"unix\"} 1",
        "bms_agent_connections_total{listener=\"tcp\"} 0",
        "bms_agent_handshakes_refused_total{listener=\"tcp\",cause=\"timeout\"} 1",
        "bms_agent_calls_total{method=\"a.B/C\",code=\"OK\"} 1",
        "bms_agent_calls_refused_total{reason=\"DISK_BUSY\"} 1",
        "bms_agent_panics_total 0",
    ] {
        assert!(page.lines().any(|there| there == line), "{line} is not in\n{page}");
    }
}

#[test]
fn an_operation_that_was_taken_back_is_no_ended_one() {
    let page = page(|| {
        operation_kind("verify", &[]);
        operation_began("verify");
        operation_ended("verify", None);
    });
    assert!(page.contains("bms_agent_operations_running{kind=\"verify\"} 0"), "{page}");
    assert!(page.contains("bms_agent_operations_total{kind=\"verify\",result=\"failed\"} 0"), "{page}");
}

#[test]
fn panics_count_and_are_told_as_before() {
    let page = page(|| {
        count_panics();
        let caught = std::panic::catch_unwind(|| panic!("on purpose"));
        assert!(caught.is_err());
    });
    // Others of this process may have panicked meanwhile.
    assert!(!page.contains("bms_agent_panics_total 0"), "{page}");
}

/// Name, kind, unit and labels of each row of the documentation.
fn documented() -> BTreeSet<[String; 5]> {
    let rows = include_str!("../../docs/metrics.md").lines().filter(|line| line.starts_with("| `bms_agent_"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")));
    cells.map(|cells| cells.collect::<Vec<_>>().try_into().unwrap_or_else(|row| panic!("{row:?}"))).collect()
}

#[test]
fn every_metric_has_one_row_in_the_documentation_as_it_is() {
    let row = |metric: &names::Metric| {
        let labels = metric.labels.join(", ");
        let unit = metric.unit.as_str().to_owned();
        [metric.name.to_owned(), metric.kind.name().to_owned(), unit, labels, metric.text.to_owned()]
    };
    assert_eq!(documented(), names::ALL.iter().map(row).collect());
}

/// Every word that looks like one of our metrics.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("bms_agent_")).collect()
}

fn is_known(word: &str) -> bool {
    names::ALL.iter().any(|metric| match (metric.kind, word.strip_prefix(metric.name)) {
        (Kind::Histogram(_), rest) => matches!(rest, Some("_bucket" | "_sum" | "_count")),
        (Kind::Counter | Kind::Gauge, rest) => rest == Some(""),
    })
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    for text in [include_str!("../../docs/monitoring/dashboard.json"), include_str!("../../docs/monitoring/alerts.yml")]
    {
        let mentioned = mentioned(text);
        assert!(mentioned.len() > 5, "{mentioned:?}");
        let unknown: Vec<_> = mentioned.into_iter().filter(|word| !is_known(word)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn every_panel_asks_the_data_source_that_is_chosen() {
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../docs/monitoring/dashboard.json")).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(variables.iter().any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource"));
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 38), "of Grafana 10");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len());
    let mut asked = String::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().expect("targets") {
            asked.push_str(target["expr"].as_str().expect("an expression"));
            asked.push(' ');
        }
    }
    let asked = mentioned(&asked);
    let shown = |metric: &&names::Metric| asked.iter().any(|word| word.starts_with(metric.name));
    let hidden: Vec<_> = names::ALL.iter().filter(|metric| !shown(metric)).map(|metric| metric.name).collect();
    assert_eq!(hidden, [""; 0], "each metric has a panel");
}

#[test]
fn every_alert_says_what_is_wrong_and_how_bad_it_is() {
    let text = include_str!("../../docs/monitoring/alerts.yml");
    let alerts: serde_json::Value = serde_saphyr::from_str(text).expect("YAML");
    let rules = alerts["groups"][0]["rules"].as_array().expect("rules");
    assert!(rules.len() >= 7);
    let mut names = BTreeSet::new();
    for rule in rules {
        assert!(names.insert(rule["alert"].as_str().expect("a name")), "{rule}");
        assert!(
            rule["expr"].as_str().is_some_and(|text| text.contains("bms_agent_") || text.starts_with("up{")),
            "{rule}"
        );
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")), "{rule}");
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
        }
    }
}
