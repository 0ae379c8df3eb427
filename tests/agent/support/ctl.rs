//! `bmsctl` under test: what it prints for programs, and how it exits.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::{Daemon, LoopDisk};

/// How a run of `bmsctl` ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    /// The document on standard output; null if there is none.
    pub(crate) json: Value,
    said: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code().expect("bmsctl was killed"), json, said }
    }

    /// The document of a run that did what it should.
    pub(crate) fn done(self) -> Value {
        assert_eq!(self.code, 0, "{}\n{}", self.json, self.said);
        self.json
    }

    /// The error of a run that did not.
    pub(crate) fn error(&self) -> &Value {
        assert_ne!(self.code, 0, "{}", self.json);
        &self.json["error"]
    }

    /// The reason of a run that failed.
    pub(crate) fn reason(&self) -> &str {
        self.error()["reason"].as_str().unwrap_or_else(|| panic!("a reason in {}", self.json))
    }

    /// The reason of a run that the agent refused before anything was touched.
    pub(crate) fn refusal(&self) -> &str {
        assert_eq!(self.code, 2, "{}\n{}", self.json, self.said);
        self.reason()
    }
}

/// A `bmsctl` that runs.
#[derive(Debug)]
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn is_finished(&mut self) -> bool {
        let child = self.0.as_mut().expect("until it is finished");
        child.try_wait().expect("bmsctl").is_some()
    }

    pub(crate) fn finish(mut self) -> Answer {
        let child = self.0.take().expect("until it is finished");
        Answer::of(&child.wait_with_output().expect("bmsctl"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// `bmsctl` without an agent.
pub(crate) fn ctl(arguments: &[&str]) -> Answer {
    run(command().args(arguments))
}

/// `bmsctl` as it was prepared.
pub(crate) fn run(command: &mut Command) -> Answer {
    Answer::of(&command.output().expect("bmsctl"))
}

/// `bmsctl` that prints for programs and is told nothing on standard input.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmsctl"));
    command.args(["--output", "json"]).stdin(Stdio::null());
    // Servers of the tests are on this machine, where no proxy finds them.
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

impl Daemon {
    /// Runs `bmsctl` against this daemon.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Answer {
        self.begin_ctl(arguments).finish()
    }

    /// Starts `bmsctl` against this daemon.
    pub(crate) fn begin_ctl(&self, arguments: &[&str]) -> Running {
        let mut command = command();
        command.arg("--socket").arg(self.socket()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().expect("bmsctl")))
    }

    /// Installs an image.
    pub(crate) fn install(&self, image: &Path, disk: &LoopDisk, options: &[&str]) -> Answer {
        self.begin_install(image, disk, options).finish()
    }

    /// Starts to install an image.
    pub(crate) fn begin_install(&self, image: &Path, disk: &LoopDisk, options: &[&str]) -> Running {
        let (image, selector) = (image.to_str().expect("UTF-8"), disk.selector());
        let common = ["install", "--yes", "--image", image, "--disk", selector.as_str()];
        self.begin_ctl(&[&common[..], options].concat())
    }

    /// Verifies a disk against the agent's record, or as `options` say.
    pub(crate) fn verify(&self, disk: &LoopDisk, options: &[&str]) -> Answer {
        let selector = disk.selector();
        self.ctl(&[&["verify", "--disk", selector.as_str()], options].concat())
    }

    /// What the agent says of a disk.
    pub(crate) fn disk(&self, disk: &LoopDisk) -> Value {
        let list = self.ctl(&["disk", "list"]).done();
        let disks = list["disks"].as_array().expect("a list");
        disks.iter().find(|listed| listed["name"] == disk.name.as_str()).expect("the disk is listed").clone()
    }
}
