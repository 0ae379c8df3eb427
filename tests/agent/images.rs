//! Images in a repository, as `bmsctl image` puts them there, shows them, gives them back and deletes them. No agent.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::input::FORMATS;
use crate::support::garage::{Garage, ROOT_DOMAIN};
use crate::support::nginx::Nginx;
use crate::support::repository::{Repository, s3_without_keys, write_keys};
use crate::support::{Image, MIB, Seed, eventually, run};

fn bytes(answer: &Value, field: &str) -> u64 {
    answer[field].as_u64().unwrap_or_else(|| panic!("{field} in {answer}"))
}

#[test]
#[ignore = "needs root and nginx: tests/run.sh"]
fn an_image_is_the_same_from_a_file_a_pipe_and_a_server_in_every_format() {
    let image = Image::new(24 * MIB, &mut Seed::quiet(61));
    let files = tempfile::tempdir().expect("directory");
    let nginx = Nginx::serve(files.path());
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::directory(dir.path()).init(&[]);
    for (number, (format, script)) in FORMATS.into_iter().enumerate() {
        let name = format!("{number}.{format}");
        let file = files.path().join(&name);
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(image.path()).stdout(File::create(&file).expect("created"));
        assert!(shell.status().expect("sh").success(), "{script}");
        for (source, input) in [
            (file.to_str().expect("UTF-8").to_owned(), Stdio::null()),
            ("-".to_owned(), File::open(&file).expect("opened").into()),
            (format!("{}{name}", nginx.url()), Stdio::null()),
        ] {
            let is_first = !dir.path().join("chunks").exists();
            let mut import = repository.command(&["image", "import", &source, "--name", "system"], &["--version", "1"]);
            let imported = crate::support::ctl::run(import.stdin(input)).done();
            assert_eq!(imported["root"], image.root(), "{source}");
            assert_eq!(imported["format"], format, "{source}");
            let [new, present] = ["new_bytes", "present_bytes"].map(|field| bytes(&imported, field));
            let all = image.data_bytes();
            assert_eq!((new, present), if is_first { (all, 0) } else { (0, all) }, "{source}: {imported}");
            repository.ctl(&["image", "delete", "system:1"], &["--yes"]).done();
        }
    }
}

#[test]
#[ignore = "needs the programs of tests/run.sh"]
fn an_import_that_was_killed_goes_on_where_it_ended() {
    let image = Image::dense(64 * MIB, &mut Seed::quiet(62));
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::directory(dir.path()).init(&[]);
    let options = ["--name", "system", "--version", "1", "--size", "64M"];
    let mut import = repository.command(&["image", "import", "-"], &options);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("bmsctl");
    // It waits for the other half, so that it is killed in the middle.
    let mut pipe = import.stdin.take().expect("piped");
    pipe.write_all(&image.bytes[..image.bytes.len() / 2]).expect("taken");
    eventually("something is stored", || objects(&dir.path().join("chunks")) > 0);
    import.kill().expect("killed");
    import.wait().expect("ended");
    drop(pipe);

    let again = repository.ctl(&["image", "import", image.path().to_str().expect("UTF-8")], &options).done();
    let [new, present] = ["new_bytes", "present_bytes"].map(|field| bytes(&again, field));
    assert!(present > 0 && new >= 32 * MIB, "{again}");
    assert_eq!(new + present, 64 * MIB, "{again}");
    assert_eq!(again["root"], image.root());
    assert_clean(&repository);
}

/// Ordinary objects below a directory of a repository. One that is not whole yet has a `#` in its name.
fn objects(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("entry").path());
    let whole = entries.filter(|path| !path.to_string_lossy().contains('#'));
    whole.map(|path| if path.is_dir() { objects(&path) } else { 1 }).sum()
}

fn assert_clean(repository: &Repository) {
    let check = repository.ctl(&["repository", "check", "--deep"], &[]).done();
    assert_eq!(check["problems"], Value::Array(Vec::new()), "{check}");
}

#[test]
#[ignore = "needs qemu-img: tests/run.sh"]
fn an_exported_image_is_what_was_imported() {
    let image = Image::new(24 * MIB, &mut Seed::quiet(63));
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::directory(&dir.path().join("repository")).init(&[]);
    repository.import(&image.path(), "system", &["--version", "1"]);
    let file = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (raw, qcow2) = (file("disk.raw"), file("disk.qcow2"));
    let exported = repository.ctl(&["image", "export", "system", &raw], &[]).done();
    assert_eq!((&exported["root"], &exported["size_bytes"]), (&image.root().into(), &(24 * MIB).into()));
    assert!(fs::read(&raw).expect("read") == image.bytes);
    assert!(holes(&raw) >= MIB, "holes are holes");
    repository.ctl(&["image", "export", "system", &qcow2], &["--format", "qcow2"]).done();
    run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &raw, &qcow2]);

    let again = repository.ctl(&["image", "export", "system", &raw], &[]);
    assert_eq!(again.code, 2, "nothing is overwritten: {}", again.json);
    let mut without = repository.command(&["image", "export", "system", &file("other.qcow2")], &["--format", "qcow2"]);
    let without = crate::support::ctl::run(without.env("PATH", "/nonexistent"));
    assert_ne!(without.code, 0, "there is no qemu-img");
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 3, "nothing is left of what failed");
}

/// Bytes of a file that take no room.
fn holes(path: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path).expect("there");
    metadata.len() - metadata.blocks() * 512
}

#[test]
#[ignore = "needs the programs of tests/run.sh"]
fn images_are_listed_shown_verified_and_deleted_by_name_and_id() {
    let image = Image::new(24 * MIB, &mut Seed::quiet(64));
    let dir = tempfile::tempdir().expect("directory");
    let repository = Repository::directory(dir.path()).init(&[]);
    let said = ["--version", "1", "--owner", "web", "--kind", "private", "--description", "of tests", "--label", "a=b"];
    let imported = repository.import(&image.path(), "system", &said);
    let id = imported["image_id"].as_str().expect("an id");
    let listed = repository.ctl(&["image", "list"], &[]).done();
    let [listed] = &listed["images"].as_array().expect("a list")[..] else { panic!("one image: {listed}") };
    assert_eq!((&listed["image_id"], &listed["name"], &listed["owner"]), (&id.into(), &"system".into(), &"web".into()));
    for name in [id, &id[..12], "web/system:1", "web/system"] {
        let shown = repository.ctl(&["image", "show", name], &[]).done();
        assert_eq!(shown["image_id"], id, "{name}");
        assert_eq!((&shown["kind"], &shown["labels"]["a"]), (&"private".into(), &"b".into()), "{shown}");
        assert_eq!((&shown["description"], &shown["content"]["root"]), (&"of tests".into(), &image.root().into()));
    }
    assert_eq!(bytes(&repository.ctl(&["image", "verify", id], &[]).done(), "proven_bytes"), image.data_bytes());

    damage_one(&dir.path().join("chunks"));
    let damaged = repository.ctl(&["image", "verify", id], &[]);
    assert_eq!(damaged.code, 4, "{}", damaged.json);
    assert_eq!(damaged.json["problems"].as_array().map(Vec::len), Some(1), "{}", damaged.json);

    let unnamed = repository.ctl(&["image", "delete", "web/system"], &["--yes"]);
    assert_eq!(unnamed.code, 2, "the newest is no name for what is lost: {}", unnamed.json);
    assert_eq!(repository.ctl(&["image", "delete", "web/system:1"], &["--yes"]).done()["deleted"][0], "web/system:1");
    let gone = repository.ctl(&["image", "show", id], &[]);
    assert_eq!((gone.code, gone.reason()), (2, "IMAGE_NOT_FOUND"));
}

/// Turns one bit in the middle of an object.
fn damage_one(dir: &Path) {
    let mut path = dir.to_owned();
    while path.is_dir() {
        path = fs::read_dir(&path).expect("listed").next().expect("not empty").expect("entry").path();
    }
    let mut object = fs::read(&path).expect("read");
    let middle = object.len() / 2;
    object[middle] ^= 1;
    fs::write(&path, object).expect("written");
}

#[test]
#[ignore = "needs an S3 server: tests/run.sh"]
fn an_s3_server_is_found_by_the_buckets_name_through_a_proxy() {
    let image = Image::new(24 * MIB, &mut Seed::quiet(65));
    let garage = Garage::start();
    let dir = tempfile::tempdir().expect("directory");
    let keys = dir.path().join("keys");
    write_keys(&garage, &keys);
    // No resolver knows the name, so only who asks the proxy finds it; Garage answers such requests as its own.
    let (bucket, proxy) = (garage.bucket(), garage.endpoint());
    let endpoint = format!("http://{}", ROOT_DOMAIN.trim_start_matches('.'));
    let lines = format!(
        "location = \"s3://{bucket}/hosted\"\nendpoint = {endpoint:?}\nregion = {:?}\nvirtual_host_style = true\n\
         proxy = {proxy:?}\ncredentials = {keys:?}",
        garage.region()
    );
    let repository = Repository::of(&lines).init(&[]);
    let imported = repository.import(&image.path(), "system", &["--version", "1"]);
    // The same objects by the other style, without a proxy.
    let lines = format!("{}\ncredentials = {keys:?}", s3_without_keys(&garage, "hosted"));
    let by_path = Repository::of(&lines);
    assert_eq!(by_path.ctl(&["image", "show", "system"], &[]).done()["image_id"], imported["image_id"]);
    assert_clean(&by_path);
}

#[test]
#[ignore = "needs an S3 server: tests/run.sh"]
fn credentials_come_from_the_environment_or_from_systemd() {
    let garage = Garage::start();
    let repository = Repository::of(&s3_without_keys(&garage, "keys"));
    let dir = tempfile::tempdir().expect("directory");
    let init = || {
        let mut command = repository.command(&["repository", "init"], &[]);
        command.env_remove("CREDENTIALS_DIRECTORY").env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command
    };
    let by_environment = |command: &mut Command, secret: &str| {
        command.env("AWS_ACCESS_KEY_ID", garage.access_key()).env("AWS_SECRET_ACCESS_KEY", secret);
        crate::support::ctl::run(command)
    };
    let wrong = by_environment(&mut init(), &"00".repeat(32));
    assert_eq!(wrong.reason(), "REPOSITORY_DENIED");
    by_environment(&mut init(), garage.secret_key()).done();
    // What systemd gives comes before the environment.
    write_keys(&garage, &dir.path().join("s3"));
    let mut list = repository.command(&["image", "list"], &[]);
    let listed = by_environment(list.env("CREDENTIALS_DIRECTORY", dir.path()), &"00".repeat(32)).done();
    assert_eq!(listed["images"], Value::Array(Vec::new()));
}
