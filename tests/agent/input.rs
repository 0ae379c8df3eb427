//! Images from everywhere, as `bmsctl` takes them: files, pipes and servers, in every format. No agent, no disk.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::support::machine::Together;
use crate::support::{Image, MIB, Seed, ctl, run};

/// `bmsctl image hash`
fn command(arguments: &[&str]) -> Command {
    let mut command = ctl::command();
    command.args(["image", "hash"]).args(arguments);
    command
}

/// What it prints.
fn answer(command: &mut Command) -> Value {
    let output = command.output().expect("bmsctl");
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// What it says when it refuses.
fn refusal(command: &mut Command) -> String {
    let output = command.output().expect("bmsctl");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[track_caller]
fn assert_is(image: &Image, format: &str, hash: &Value) {
    assert_eq!((hash["root"].as_str(), hash["format"].as_str()), (Some(image.root().as_str()), Some(format)), "{hash}");
    assert_eq!(hash["size_bytes"], image.len(), "{hash}");
    assert!(hash["hole_bytes"].as_u64().is_some_and(|bytes| bytes > MIB), "{hash}");
}

/// Commands that turn `$0` into an image of a format on standard output.
pub(crate) const FORMATS: [(&str, &str); 8] = [
    ("raw", "cat $0"),
    ("gz", "gzip -c $0"),
    ("xz", "xz -0 -c $0"),
    ("zst", "zstd -qc < $0"),
    ("qcow2", "qemu-img convert -c -O qcow2 $0 $0.image && cat $0.image"),
    ("qcow2", "qemu-img convert -c -O qcow2 -o compression_type=zstd $0 $0.image && cat $0.image"),
    ("vmdk", "qemu-img convert -O vmdk -o subformat=streamOptimized $0 $0.image && cat $0.image"),
    ("vhdx", "qemu-img convert -O vhdx $0 $0.image && cat $0.image"),
];

#[test]
fn every_format_has_the_same_root_as_a_file_and_through_a_pipe() {
    let _together = Together::with_others();
    let image = Image::new(24 * MIB, &mut Seed::quiet(3));
    let temporary = tempfile::tempdir().expect("a directory");
    let temp_dir = temporary.path().to_str().expect("UTF-8");
    for (format, script) in FORMATS {
        let file = temporary.path().join("file");
        let make = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).arg(image.path());
            shell
        };
        let made = make().stdout(File::create(&file).expect("created")).status().expect("sh");
        assert!(made.success(), "{script}");
        let path = file.to_str().expect("UTF-8");
        assert_is(&image, format, &answer(&mut command(&[path, "--temp-dir", temp_dir])));

        let mut maker = make().stdout(Stdio::piped()).spawn().expect("sh");
        let pipe = maker.stdout.take().expect("piped");
        assert_is(&image, format, &answer(command(&["-", "--temp-dir", temp_dir]).stdin(pipe)));
        assert!(maker.wait().expect("ended").success(), "{script}");
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(temporary.path().read_dir().expect("lists").count(), 0, "{script} leaves something behind");
    }
}

/// Sends the file to the one client that comes; gives the line that asked for it.
fn serve(image: &Image) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let bytes = image.bytes.clone();
    let server = thread::spawn(move || {
        let mut connection = BufReader::new(listener.accept().expect("a client").0);
        let lines = connection.by_ref().lines().map(|line| line.expect("a request"));
        let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let connection = connection.get_mut();
        write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())
            .and_then(|()| connection.write_all(&bytes))
            .expect("sent");
        lines[0].clone()
    });
    (port, server)
}

#[test]
fn an_image_on_a_server_is_hashed_through_the_proxy_of_the_environment() {
    let _together = Together::with_others();
    let image = Image::new(24 * MIB, &mut Seed::quiet(3));
    let (port, server) = serve(&image);
    let proxy = format!("http://127.0.0.1:{port}");
    let url = "http://user:word@images.example/disk.raw?signature=word";
    let answer_of = |url: &str, environment: [(&str, &str); 2]| answer(command(&[url]).env_clear().envs(environment));
    let answer = answer_of(url, [("http_proxy", &proxy), ("no_proxy", "")]);
    assert_is(&image, "raw", &answer);
    assert_eq!(answer["file"], "http://images.example/disk.raw?…");
    assert!(server.join().expect("no panic").starts_with("GET http://images.example/disk.raw?signature=word "));

    let (port, server) = serve(&image);
    let url = format!("http://127.0.0.1:{port}/disk.raw");
    let environment = [("http_proxy", "http://127.0.0.1:1"), ("no_proxy", "127.0.0.1")];
    assert_is(&image, "raw", &answer_of(&url, environment));
    assert!(server.join().expect("no panic").starts_with("GET /disk.raw "));
}

#[test]
fn what_cannot_be_had_is_refused_in_words_without_secrets() {
    let _together = Together::with_others();
    let said = refusal(&mut command(&["http://user:word@127.0.0.1:1/disk.raw"]));
    assert!(said.contains("cannot download http://127.0.0.1:1/disk.raw") && !said.contains("word"), "{said}");

    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (base, child) = (path("base"), path("child"));
    run("qemu-img", &["create", "-q", "-f", "vmdk", &base, "1M"]);
    run("qemu-img", &["create", "-q", "-f", "vmdk", "-b", &base, "-F", "vmdk", &child]);
    let said = refusal(&mut command(&[&child]));
    assert!(said.contains("from vmdk to raw"), "{said}");

    let said = refusal(command(&[&base]).env("PATH", "/nonexistent"));
    assert!(said.contains("needs `qemu-img`, which is not installed"), "{said}");
    let said = refusal(&mut command(&[&base, "--temp-dir", "/nonexistent"]));
    assert!(said.contains("/nonexistent"), "{said}");
}
