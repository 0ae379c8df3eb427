//! What the configuration says of TCP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where TCP is listened on if nobody says it.
const PORT: u16 = 7443;

/// The table `[tcp]`. All files are PEM; a path that is not absolute is below `$CREDENTIALS_DIRECTORY`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpTable {
    /// Addresses.
    #[serde(default = "everywhere")]
    pub listen: Vec<SocketAddr>,
    /// The server's certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// Its key, which nobody else may read.
    pub key: PathBuf,
    /// The authorities of clients.
    pub client_ca: PathBuf,
    /// Revoked certificates of clients.
    pub crl: Option<PathBuf>,
}

fn everywhere() -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, PORT).into(), (Ipv6Addr::UNSPECIFIED, PORT).into()]
}

/// Where a file of the table is.
pub(super) fn resolve(path: &Path, credentials: Option<&Path>) -> Option<PathBuf> {
    if path.is_absolute() { Some(path.to_owned()) } else { credentials.map(|credentials| credentials.join(path)) }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{TcpTable, resolve};

    #[test]
    fn half_a_table_is_none_and_both_kinds_of_addresses_are_the_default() {
        let whole = "certificate = \"/a\"\nkey = \"k\"\nclient_ca = \"/c\"\n";
        let table: TcpTable = toml::from_str(whole).expect("whole");
        assert_eq!(table.listen, ["0.0.0.0:7443".parse().expect("IPv4"), "[::]:7443".parse().expect("IPv6")]);
        for line in whole.lines() {
            let half = whole.replace(line, "");
            let missing = line.split(' ').next().expect("a key");
            let error = toml::from_str::<TcpTable>(&half).expect_err("half").to_string();
            assert!(error.contains(missing), "{error}");
        }
        toml::from_str::<TcpTable>(&format!("{whole}insecure = true")).expect_err("there is no such key");
    }

    #[test]
    fn relative_files_are_credentials_of_the_service() {
        let credentials = Path::new("/run/credentials/x");
        assert_eq!(resolve(Path::new("key"), Some(credentials)), Some(PathBuf::from("/run/credentials/x/key")));
        assert_eq!(resolve(Path::new("/key"), Some(credentials)), Some(PathBuf::from("/key")));
        assert_eq!(resolve(Path::new("key"), None), None);
    }
}
