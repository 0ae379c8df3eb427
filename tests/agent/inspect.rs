//! Looking into images, disks and the running system through the agent: what is found, what an install does about it, and
//! what manifests and dry runs say of it.

use std::fs;
use std::path::Path;

use bms_agent::rpc::proto::v1::image_source::Source;
use bms_agent::rpc::proto::v1::{Finding, ImageSource, InspectImageRequest, Profile, RepositoryImage};
use serde_json::Value;

use crate::support::client::Client;
use crate::support::image::fixtures;
use crate::support::nginx::Nginx;
use crate::support::repository::Repository;
use crate::support::{Daemon, GIB, Image, LoopDisk, MIB, Seed, ctl};

/// The verdict and the findings, each by id and status.
fn found(answer: &Value) -> (String, Vec<(String, String)>) {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("a text: {value}")).to_owned();
    let findings = answer["findings"].as_array().unwrap_or_else(|| panic!("findings: {answer}"));
    let findings = findings.iter().map(|finding| (text(&finding["id"]), text(&finding["status"])));
    (text(&answer["verdict"]), findings.collect())
}

/// What the agent finds in an image of a repository.
fn found_by(daemon: &Daemon, repository: &str, image: &str) -> (String, Vec<(String, String)>) {
    let image = RepositoryImage { repository: repository.to_owned(), image: image.to_owned() };
    let [_, profile, _, firmware] = PROFILE;
    let profile = Profile { name: profile.to_owned(), firmware: Some(firmware.to_owned()), ..Profile::default() };
    let source = ImageSource { source: Some(Source::Repository(image)) };
    let request = InspectImageRequest { source: Some(source), profile: Some(profile) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = runtime.block_on(async {
        let mut provisioning = Client::connect(daemon).await.provisioning();
        provisioning.inspect_image(request).await.expect("looked into").into_inner()
    });
    let inspection = answer.inspection.expect("an inspection");
    assert!(
        inspection.fetched_bytes > 0 && inspection.fetched_bytes <= 4 * GIB * 5 / 100,
        "{}",
        inspection.fetched_bytes
    );
    let status =
        |finding: &Finding| finding.status().as_str_name().trim_start_matches("FINDING_STATUS_").to_lowercase();
    let findings = inspection.findings.iter().map(|finding| (finding.id.clone(), status(finding)));
    let verdict = inspection.verdict().as_str_name().trim_start_matches("VERDICT_").to_lowercase();
    (verdict, findings.collect())
}

const PROFILE: [&str; 4] = ["--profile", "centralized-sd100", "--firmware", "uefi"];

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn the_same_is_found_in_a_file_in_a_repository_and_on_the_disk_that_it_was_installed_on() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::directory(dir.path()).init(&[]);
    let nginx = Nginx::serve(dir.path());
    let tables = format!("{}[repositories.web]\nlocation = {:?}\n", repository.table(), nginx.url());
    let daemon = Daemon::start_with(&format!("allow_loop_devices = true\n{tables}"));
    let raw = fixtures().join("disk.raw");
    let raw = raw.to_str().expect("UTF-8");
    let in_raw = ctl::ctl(&[&["image", "check", raw][..], &PROFILE].concat());
    assert_eq!(in_raw.code, 6, "it has no network plug-in: {}", in_raw.json);
    let expected = found(&in_raw.json);
    assert_eq!(in_raw.json["architecture"], "x86_64");
    assert!(in_raw.json["kernels"][0]["bootable"].as_bool().expect("a kernel"));
    assert!(expected.1.contains(&("CI-01".to_owned(), "pass".to_owned())), "{expected:?}");
    assert!(expected.1.contains(&("BN-01".to_owned(), "fail".to_owned())), "{expected:?}");
    // 3 % of the image is what a look may read.
    assert!(in_raw.json["read_bytes"].as_u64().expect("bytes") <= 4 * GIB * 3 / 100, "{}", in_raw.json["read_bytes"]);

    let imported = repository.import(Path::new(raw), "debian", &["--version", "1"]);
    let shown = repository.ctl(&["image", "show", "debian"], &[]).done();
    assert_eq!((&shown["os"]["family"], &shown["os"]["distro"]), (&"linux".into(), &"debian".into()), "{shown}");
    assert!(shown["plugin_report"]["findings"].as_array().is_some_and(|findings| findings.len() > 20), "{shown}");
    let stored = repository.ctl(&["image", "check", "debian"], &PROFILE);
    assert_eq!(found(&stored.json), expected);
    let fetched = stored.json["fetched_bytes"].as_u64().expect("bytes");
    eprintln!(
        "{} MiB read of the file, {} MiB fetched",
        in_raw.json["read_bytes"].as_u64().unwrap_or(0) / MIB,
        fetched / MIB
    );
    assert!(fetched <= 4 * GIB * 5 / 100, "{fetched} bytes were fetched");

    let web = Repository::of(&format!("location = {:?}", nginx.url()));
    let served = web.ctl(&["image", "check", "debian"], &PROFILE);
    assert_eq!(found(&served.json), expected);
    assert_eq!(found_by(&daemon, "web", "debian"), expected);

    let disk = LoopDisk::new(5 * GIB);
    let id = imported["image_id"].as_str().expect("an id");
    let selector = disk.selector();
    let refused = daemon.install(
        Path::new(id),
        &disk,
        &[&["--repository", "main", "--inspection", "require"], &PROFILE[..]].concat(),
    );
    assert_eq!((refused.code, refused.reason()), (1, "IMAGE_UNFIT"), "{}", refused.json);
    assert!(refused.error()["message"].as_str().is_some_and(|message| message.contains("BN-01")), "{}", refused.json);
    assert!(!disk.is_bootable(), "what cannot live on the server cannot boot there either");
    assert_eq!(daemon.disk(&disk)["interrupted_install"]["reason"], "IMAGE_UNFIT");

    // What is on the disk already is right, so this one only looks, and commits.
    let warned =
        daemon.install(Path::new(id), &disk, &[&["--repository", "main", "--in-place"], &PROFILE[..]].concat()).done();
    let warnings = warned["result"]["warnings"].to_string();
    assert!(warnings.contains("BN-01") && disk.is_bootable(), "{warnings}");
    let installed = daemon.ctl(&[&["image", "check", "--disk", &selector][..], &PROFILE].concat());
    assert_eq!(found(&installed.json), expected);
    let quiet =
        daemon.install(Path::new(id), &disk, &["--repository", "main", "--in-place", "--inspection", "off"]).done();
    let warnings = quiet["result"]["warnings"].to_string();
    assert!(!warnings.contains("BN-01") && warnings.contains("asked for the inspection"), "{warnings}");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn what_holds_no_system_is_unknown_and_never_fit() {
    let daemon = Daemon::start();
    let disk = LoopDisk::new(64 * MIB);
    let image = Image::new(48 * MIB, &mut Seed::quiet(71));
    let refused = daemon.install(&image.path(), &disk, &["--inspection", "require"]);
    assert_eq!((refused.code, refused.reason()), (1, "IMAGE_UNINSPECTED"), "{}", refused.json);
    assert!(!disk.is_bootable());
    let installed = daemon.install(&image.path(), &disk, &[]).done();
    assert!(installed["result"]["warnings"].to_string().contains("no system was found"), "{installed}");
    let checked = daemon.ctl(&["image", "check", "--disk", &disk.selector()]);
    assert_eq!((checked.code, checked.json["verdict"].as_str()), (7, Some("unknown")), "{}", checked.json);
}

#[test]
#[ignore = "needs root: tests/run.sh"]
fn the_running_system_is_looked_at_as_an_image_is() {
    let daemon = Daemon::start();
    let checked = daemon.ctl(&["image", "check", "--running", "--all"]);
    assert!([0, 6, 7].contains(&checked.code), "{}", checked.json);
    let release = fs::read_to_string("/etc/os-release").expect("a Linux");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).expect("its name").trim_matches('"');
    assert_eq!(checked.json["system"], name, "{}", checked.json);
    assert!(checked.json["findings"].as_array().is_some_and(|findings| findings.len() > 20));
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn operators_add_checks_and_profiles_of_their_own() {
    let dir = tempfile::tempdir().expect("directory");
    let checks = dir.path().join("checks");
    fs::create_dir(&checks).expect("directory");
    let own = "[[check]]\nid = \"OWN-01\"\ntitle = \"there is a host name\"\nplug_in = \"image\"\nseverity = \"required\"\n\
               remedy = \"write one\"\ndoc = \"ours\"\nrule = { file = { any_of = [\"/etc/hostname\"] } }\n";
    fs::write(checks.join("own.toml"), own).expect("written");
    let config = format!("[inspection]\nchecks = {checks:?}\nprofile = \"ours\"\n[profiles.ours]\nsdi = \"none\"\n");
    let daemon = Daemon::start_with(&config);
    let checked = daemon.ctl(&["image", "check", "--running", "--all"]);
    assert!(found(&checked.json).1.contains(&("OWN-01".to_owned(), "pass".to_owned())), "{}", checked.json);
    assert_eq!(checked.json["profile"]["sdi"], "none");
    let unknown = daemon.ctl(&["image", "check", "--running", "--profile", "nobody's"]);
    assert_eq!(unknown.refusal(), "PROFILE_UNKNOWN");
}
