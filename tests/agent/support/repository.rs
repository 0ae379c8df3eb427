//! Repositories for tests: made, filled and configured as users do it, with `bmsctl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::ctl::{self, Answer};
use super::garage::Garage;
use super::machine::Together;

/// How an agent and `bmsctl` reach a repository: the lines of its table in the configuration.
#[derive(Debug)]
pub(crate) struct Repository {
    /// The configuration file that `bmsctl` is given, and the credentials.
    dir: TempDir,
    lines: String,
    _share: Together,
}

impl Repository {
    /// One with these lines in its table.
    pub(crate) fn of(lines: &str) -> Self {
        let share = Together::with_others();
        let dir = tempfile::tempdir().expect("temporary directory");
        let repository = Self { dir, lines: lines.to_owned(), _share: share };
        fs::write(repository.config(), repository.table()).expect("configuration");
        repository
    }

    /// One in a directory.
    pub(crate) fn directory(path: &Path) -> Self {
        Self::of(&format!("location = {path:?}"))
    }

    /// Makes it.
    pub(crate) fn init(self, options: &[&str]) -> Self {
        self.ctl(&["repository", "init"], options).done();
        self
    }

    /// The lines of the agent's configuration.
    pub(crate) fn table(&self) -> String {
        format!("[repositories.main]\n{}\n", self.lines)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("repositories.toml")
    }

    /// Runs `bmsctl` on it.
    pub(crate) fn ctl(&self, command: &[&str], options: &[&str]) -> Answer {
        ctl::run(&mut self.command(command, options))
    }

    /// `bmsctl` on it, before it runs.
    pub(crate) fn command(&self, command: &[&str], options: &[&str]) -> Command {
        let mut bmsctl = ctl::command();
        bmsctl.args(command).args(["--repository", "main", "--config"]).arg(self.config()).args(options);
        bmsctl
    }

    /// Imports an image; what `bmsctl` says of it.
    pub(crate) fn import(&self, file: &Path, name: &str, options: &[&str]) -> Value {
        self.ctl(&["image", "import", file.to_str().expect("UTF-8"), "--name", name], options).done()
    }
}

/// The lines that reach a Garage. Its credentials are in a file beside the configuration.
pub(crate) fn s3(garage: &Garage, credentials: &Path, prefix: &str) -> String {
    write_keys(garage, credentials);
    format!("{}\ncredentials = {credentials:?}", s3_without_keys(garage, prefix))
}

/// The same lines but for the credentials.
pub(crate) fn s3_without_keys(garage: &Garage, prefix: &str) -> String {
    let (bucket, endpoint, region) = (garage.bucket(), garage.endpoint(), garage.region());
    format!("location = \"s3://{bucket}/{prefix}\"\nendpoint = {endpoint:?}\nregion = {region:?}")
}

/// Writes the credentials to a file of their own.
pub(crate) fn write_keys(garage: &Garage, file: &Path) {
    let keys = format!("access_key_id = {:?}\nsecret_access_key = {:?}\n", garage.access_key(), garage.secret_key());
    fs::write(file, keys).expect("credentials");
}
