//! nginx, a real web server, over a directory: with keep-alive and ranges, and with TLS and HTTP/2 if wanted.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::authority::Authority;
use super::server::{Server, free_address};

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Nginx {
    server: Server,
    scheme: &'static str,
    dir: TempDir,
}

impl Nginx {
    /// Serves the files below `root` over HTTP.
    pub(crate) fn serve(root: &Path) -> Self {
        Self::start(root, None)
    }

    /// Serves them over HTTPS, HTTP/2 included, with a certificate of `authority`.
    pub(crate) fn serve_tls(root: &Path, authority: &Authority) -> Self {
        Self::start(root, Some(authority))
    }

    fn start(root: &Path, authority: Option<&Authority>) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let address = free_address();
        if let Some(authority) = authority {
            let identity = authority.issue(address.ip());
            fs::write(dir.path().join("certificate.pem"), identity.certificate).expect("certificate");
            fs::write(dir.path().join("key.pem"), identity.key).expect("key");
        }
        let config = configuration(root, address, authority.is_some());
        fs::write(dir.path().join("nginx.conf"), config).expect("configuration");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).args(["-e", "error.log", "-c", "nginx.conf"]);
        let server = Server::start(command, address, &dir.path().join("log"));
        Self { server, scheme: if authority.is_some() { "https" } else { "http" }, dir }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where the directory is, with the slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address())
    }

    /// What was asked for: a line `METHOD PATH STATUS BYTES PROTOCOL` for each answer that has been given.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("access.log")).expect("log");
        log.lines().map(str::to_owned).collect()
    }

    /// Kills it at any instruction.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// A new process at the same address, after a kill.
    pub(crate) fn restart(&mut self) {
        self.server.restart();
    }
}

/// One process, so that a kill is the end of it. It is root as we are, to read the directories of tests.
fn configuration(root: &Path, address: SocketAddr, with_tls: bool) -> String {
    let (listen, certificate) = if with_tls {
        (" ssl http2", "ssl_certificate certificate.pem; ssl_certificate_key key.pem;")
    } else {
        ("", "")
    };
    // Relative paths are below the directory that the command names.
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};\n")).concat();
    format!(
        "daemon off;\n\
         master_process off;\n\
         user root;\n\
         pid pid;\n\
         error_log error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
         log_format line '$request_method $uri $status $body_bytes_sent $server_protocol';\n\
         access_log access.log line;\n\
         {temporary}\
         sendfile on;\n\
         keepalive_requests 100000;\n\
         server {{ listen {address}{listen}; {certificate} root {root:?}; }}\n\
         }}\n"
    )
}
