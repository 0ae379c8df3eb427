//! Garage, a real S3 server: one node with one bucket and one key, on files of its own.
//!
//! It has no conditional puts: it takes `If-None-Match` on a PUT, ignores it and overwrites (tests/agent/network.rs).

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use object_store::aws::AmazonS3Builder;
use tempfile::TempDir;

use super::image::fixtures;
use super::machine::Together;
use super::server::{Server, free_address};

/// What tests/fixtures/garage.sh builds.
const VERSION: &str = "2.5.0";
const REGION: &str = "garage";
const BUCKET: &str = "images";
// Garage takes keys of its own form only: GK and 12 bytes, and 32 bytes, in hexadecimal.
const ACCESS_KEY: &str = "GK000102030405060708090a0b";
const SECRET_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What comes after the name of the bucket where that is part of the host's name.
pub(crate) const ROOT_DOMAIN: &str = ".s3.localhost";

/// A running server. Dropping it kills it and removes its files.
#[derive(Debug)]
pub(crate) struct Garage {
    server: Server,
    _dir: TempDir,
    _share: Together,
}

impl Garage {
    /// A server with an empty bucket.
    pub(crate) fn start() -> Self {
        let share = Together::with_others();
        let dir = tempfile::tempdir().expect("temporary directory");
        let address = free_address();
        let config = configuration(dir.path(), address);
        fs::write(dir.path().join("garage.toml"), config).expect("configuration");
        let mut command = Command::new(fixtures().join(format!("garage-{VERSION}/bin/garage")));
        command.arg("--config").arg(dir.path().join("garage.toml"));
        command.args(["server", "--single-node", "--default-bucket"]);
        command.env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY).env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY);
        command.env("GARAGE_DEFAULT_BUCKET", BUCKET);
        Self { server: Server::start(command, address, &dir.path().join("log")), _dir: dir, _share: share }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where a client finds it that names the bucket in the path.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn region(&self) -> &'static str {
        REGION
    }

    pub(crate) fn bucket(&self) -> &'static str {
        BUCKET
    }

    pub(crate) fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    pub(crate) fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// A client's settings; an endpoint is still to be given, as it may be that of a proxy in between.
    pub(crate) fn client(&self) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_region(self.region())
            .with_bucket_name(self.bucket())
            .with_access_key_id(self.access_key())
            .with_secret_access_key(self.secret_key())
            .with_allow_http(true)
    }

    /// Kills it at any instruction.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// A new process at the same address on the same files, after a kill.
    pub(crate) fn restart(&mut self) {
        self.server.restart();
    }
}

fn configuration(dir: &Path, address: SocketAddr) -> String {
    let (metadata, data) = (dir.join("metadata"), dir.join("data"));
    let (rpc, rpc_secret) = (free_address(), "00".repeat(32));
    format!(
        "metadata_dir = {metadata:?}\n\
         data_dir = {data:?}\n\
         db_engine = \"sqlite\"\n\
         replication_factor = 1\n\
         rpc_bind_addr = \"{rpc}\"\n\
         rpc_public_addr = \"{rpc}\"\n\
         rpc_secret = \"{rpc_secret}\"\n\
         [s3_api]\n\
         s3_region = \"{REGION}\"\n\
         api_bind_addr = \"{address}\"\n\
         root_domain = \"{ROOT_DOMAIN}\"\n"
    )
}
