//! Clients in other languages, which know the agent from its .proto files alone, over TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::chaos::{Chaos, Fault, Plan};
use crate::support::image::fixtures;
use crate::support::nginx::Nginx;
use crate::support::secure::Secure;
use crate::support::{Image, LoopDisk, MIB, Seed, run};

/// A daemon, a web server with an image, two disks, and what a client is told of all that.
struct World {
    dir: TempDir,
    secure: Secure,
    image: Image,
    disk: LoopDisk,
    other: LoopDisk,
    nginx: Nginx,
    chaos: Chaos,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut seed = Seed::quiet(seed);
        let (dir, image) = (tempfile::tempdir().expect("directory"), Image::new(32 * MIB, &mut seed));
        fs::write(dir.path().join("disk.raw"), &image.bytes).expect("image");
        let nginx = Nginx::serve(dir.path());
        // The call that begins an install asks what the file is; the install then waits for the rest of it.
        let chaos = Chaos::in_front_of(nginx.address(), Plan::calm());
        chaos.plan_after(1, Plan::always(Fault::Trickle));
        let allowed = [nginx.url(), format!("{}/", chaos.endpoint())];
        let secure = Secure::start_with(&format!("allowed_urls = {allowed:?}"));
        let [disk, other] = [(); 2].map(|()| LoopDisk::new(40 * MIB));
        Self { dir, secure, image, disk, other, nginx, chaos }
    }

    /// The file that says to a client what to do.
    fn task(&self) -> PathBuf {
        let identity = self.secure.identity("operator");
        let file = |name: &str, content: &str| {
            let path = self.dir.path().join(name);
            fs::write(&path, content).expect("written");
            path
        };
        let task = json!({
            "address": self.secure.address,
            "proto": protos(),
            "ca": file("ca.pem", &self.secure.authority.pem()),
            "certificate": file("client.pem", &identity.certificate),
            "key": file("client.key", &identity.key),
            "url": format!("{}disk.raw", self.nginx.url()),
            "stalled_url": format!("{}/disk.raw", self.chaos.endpoint()),
            "size": self.image.len(),
            "root": self.image.root(),
            "disk": { "backing_file": self.disk.backing },
            "other_disk": { "backing_file": self.other.backing },
        });
        file("task.json", &task.to_string())
    }

    /// What a client must have seen.
    fn assert_seen(&self, printed: &str) {
        let seen: Value = serde_json::from_str(printed).expect("JSON");
        let name = |disk: &LoopDisk| disk.node().file_name().expect("a name").to_str().expect("ASCII").to_owned();
        let disks = seen["disks"].as_array().expect("disks");
        assert!(disks.contains(&name(&self.disk).into()) && disks.contains(&name(&self.other).into()), "{seen}");

        assert_eq!(seen["root"], self.image.root());
        assert_eq!(self.disk.hash(self.image.len()), self.image.root());
        assert_eq!(seen["written_bytes"], self.image.data_bytes());
        let stages = seen["stages"].as_array().expect("stages");
        assert_eq!(stages.last().expect("some"), "STAGE_DONE", "{seen}");
        assert_eq!(seen["same_operation"], true);

        assert_eq!(seen["cancelled"]["reason"], "OPERATION_CANCELLED");
        assert!(!self.other.is_bootable());
        assert_eq!(
            (&seen["unknown_disk"]["code"], &seen["unknown_disk"]["reason"]),
            (&json!("NOT_FOUND"), &json!("DISK_NOT_FOUND"))
        );
        let malformed = &seen["no_request_id"];
        assert_eq!(
            (&malformed["code"], &malformed["reason"]),
            (&json!("INVALID_ARGUMENT"), &json!("REQUEST_MALFORMED"))
        );
        assert!(malformed["metadata"]["request_id"].is_string(), "{malformed}");
        for error in ["cancelled", "unknown_disk", "no_request_id"] {
            assert_eq!(seen[error]["domain"], "bms-agent", "{error}");
        }
    }
}

#[test]
#[ignore = "needs root, loop devices, nginx and grpcio: tests/run.sh"]
fn a_controller_in_python_installs_watches_cancels_and_reads_errors() {
    let (world, libraries) = (World::new(61), libraries("python"));
    let stubs = world.dir.path().join("stubs");
    fs::create_dir(&stubs).expect("directory");
    let mut files = Vec::new();
    proto_files(&protos(), &mut files);
    let out = stubs.display();
    let mut compile = python(&[&libraries]);
    compile.args(["-m", "grpc_tools.protoc", "--proto_path"]).arg(protos());
    compile.args([format!("--python_out={out}"), format!("--grpc_python_out={out}")]).args(files);
    printed(compile);
    let mut client = python(&[&libraries, &stubs]);
    client.arg(script("client.py")).arg(world.task());
    world.assert_seen(&printed(client));
}

#[test]
#[ignore = "needs root, loop devices, nginx and Node: tests/run.sh"]
fn a_controller_in_node_installs_watches_cancels_and_reads_errors() {
    let world = World::new(62);
    let mut client = Command::new("node");
    client.arg(script("client.mjs")).arg(libraries("node_modules")).arg(world.task());
    world.assert_seen(&printed(client));
}

/// What a program prints that must succeed.
fn printed(mut command: Command) -> String {
    let output = command.output().expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn python(path: &[&Path]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONPATH", std::env::join_paths(path).expect("paths without colons"));
    command
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent/foreign").join(name)
}

fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto")
}

fn proto_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() { proto_files(&path, files) } else { files.push(path) }
    }
}

/// What tests/fixtures/foreign-clients.sh has fetched.
fn libraries(kind: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foreign-clients.sh");
    run(script.to_str().expect("UTF-8"), &[fixtures()]);
    let mut found = fs::read_dir(fixtures()).expect("fixtures").map(|entry| entry.expect("entry").path().join(kind));
    found.find(|path| path.is_dir()).expect("fetched")
}
