//! `bmsctl tls`: an authority, and certificates by it, for those who have none. Needs no agent.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bms_agent::clock::{Clock as _, SystemClock, unix_seconds};
use bms_agent::rpc::role::Role;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::ServerName;
use serde::Serialize;

use crate::cli::{TlsCommand, TlsInitArgs};
use crate::error::CtlError;
use crate::exit::Exit;
use crate::output::Output;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an authority and its list of revocations are good.
const AUTHORITY: Duration = Duration::from_secs(3650 * 24 * 3600);
/// What the clocks of two servers may differ by.
const SKEW: Duration = Duration::from_secs(3600);
/// The trust domain of the URIs that give roles; agents take any.
const DOMAIN: &str = "bms-agent";

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// A name cannot stand in a certificate.
    #[error("{name:?} is no name or address of a server")]
    Name { name: String },
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Make { source: rcgen::Error },
    /// There is one already.
    #[error("{} is there already: nothing is overwritten", path.display())]
    Exists { path: PathBuf },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl From<rcgen::Error> for AuthorityError {
    fn from(source: rcgen::Error) -> Self {
        Self::Make { source }
    }
}

/// `tls init`, for programs.
#[derive(Debug, Serialize)]
pub(crate) struct TlsInitView {
    /// Where the files are.
    dir: PathBuf,
    /// Their names.
    files: Vec<String>,
    /// What the agent's certificate is for.
    names: Vec<String>,
}

/// A file that is to be.
#[derive(Debug)]
struct Made {
    name: String,
    content: String,
    mode: u32,
}

impl Made {
    fn public(name: impl Into<String>, content: String) -> Self {
        Self { name: name.into(), content, mode: 0o644 }
    }

    fn secret(name: impl Into<String>, content: String) -> Self {
        Self { name: name.into(), content, mode: 0o600 }
    }
}

/// Runs a command on certificates.
pub(crate) fn run(command: &TlsCommand, output: &Output) -> Result<Exit, CtlError> {
    let TlsCommand::Init(args) = command;
    let files = init(args, SystemClock.now())?;
    output.result(&TlsInitView { dir: args.dir.clone(), files, names: args.names.clone() }, table)?;
    Ok(Exit::Done)
}

fn init(args: &TlsInitArgs, now: SystemTime) -> Result<Vec<String>, AuthorityError> {
    let made = make(&args.names, DAY * args.days, now)?;
    write(&args.dir, &made)?;
    Ok(made.into_iter().map(|file| file.name).collect())
}

fn make(names: &[String], good_for: Duration, now: SystemTime) -> Result<Vec<Made>, AuthorityError> {
    let key = KeyPair::generate()?;
    // Lists of revocations are found by the name of their authority: while one takes the place of another, both are trusted,
    // and two of one name would be taken for each other.
    let own = &blake3::hash(key.public_key_pem().as_bytes()).to_hex()[..8];
    let mut params = params(&format!("bms-agent authority {own}"), Vec::new(), AUTHORITY, now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let secret = key.serialize_pem();
    let authority = CertifiedIssuer::self_signed(params, key)?;
    let mut made = vec![
        Made::public("ca.pem", authority.pem()),
        Made::secret("ca.key", secret),
        Made::public("crl.pem", nobody_revoked(&authority, now)?),
    ];
    made.extend(issue(&authority, "server", server(names, good_for, now)?)?);
    for role in Role::ALL {
        made.extend(issue(&authority, role.name(), caller(*role, good_for, now)?)?);
    }
    Ok(made)
}

/// What all certificates have. OpenSSL takes one for self-signed that has the same name as its authority.
fn params(
    name: &str,
    names: Vec<String>,
    good_for: Duration,
    now: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let begin = date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_seconds(now));
    params.not_before = begin - SKEW;
    params.not_after = begin + good_for;
    Ok(params)
}

fn server(names: &[String], good_for: Duration, now: SystemTime) -> Result<CertificateParams, AuthorityError> {
    for name in names {
        if ServerName::try_from(name.as_str()).is_err() {
            return Err(AuthorityError::Name { name: name.clone() });
        }
    }
    let first = names.first().map_or("bms-agent", String::as_str);
    let mut params = params(first, names.to_vec(), good_for, now)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn caller(role: Role, good_for: Duration, now: SystemTime) -> Result<CertificateParams, AuthorityError> {
    let mut params = params(role.name(), Vec::new(), good_for, now)?;
    let uri = format!("spiffe://{DOMAIN}/role/{}", role.name());
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn issue(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    mut params: CertificateParams,
) -> Result<[Made; 2], AuthorityError> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?.pem();
    Ok([Made::public(format!("{name}.pem"), certificate), Made::secret(format!("{name}.key"), key.serialize_pem())])
}

/// An empty list, so that an agent is configured for one from the start.
fn nobody_revoked(authority: &CertifiedIssuer<'_, KeyPair>, now: SystemTime) -> Result<String, AuthorityError> {
    let validity = params("", Vec::new(), AUTHORITY, now)?;
    let list = CertificateRevocationListParams {
        this_update: validity.not_before,
        next_update: validity.not_after,
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(authority)?.pem()?)
}

/// Writes all files, or says which is there already before it writes the first.
fn write(dir: &Path, made: &[Made]) -> Result<(), AuthorityError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| AuthorityError::Write { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
    for path in made.iter().map(|file| dir.join(&file.name)) {
        if path.symlink_metadata().is_ok() {
            return Err(AuthorityError::Exists { path });
        }
    }
    for file in made {
        let path = dir.join(&file.name);
        let mut new =
            OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&path).map_err(failed(&path))?;
        new.write_all(file.content.as_bytes()).and_then(|()| new.sync_all()).map_err(failed(&path))?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}

fn table(view: &TlsInitView) -> String {
    let files = view.files.join(" ");
    format!(
        "{dir}: {files}\n\n\
         The agent's server needs server.pem, server.key, ca.pem and crl.pem, and in /etc/bms-agent/config.toml:\n\n  \
         [tcp]\n  certificate = \"/etc/bms-agent/server.pem\"\n  key = \"/etc/bms-agent/server.key\"\n  \
         client_ca = \"/etc/bms-agent/ca.pem\"\n  crl = \"/etc/bms-agent/crl.pem\"\n\n\
         An operator needs operator.pem, operator.key and ca.pem:\n\n  \
         bmsctl --host NAME --cert operator.pem --key operator.key --ca ca.pem disk list\n\n\
         ca.key makes more certificates: keep it where no server is.\n\n\
         So that nobody types this twice, on the operator's machine:\n\n  \
         bmsctl context set {name} --host {name} --cert {operator}.pem --key {operator}.key --ca {ca}.pem\n  \
         bmsctl context use {name}\n",
        dir = view.dir.display(),
        name = view.names.first().map_or("NAME", String::as_str),
        operator = view.dir.join("operator").display(),
        ca = view.dir.join("ca").display(),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use x509_parser::pem::Pem;

    use super::{AuthorityError, init};
    use crate::cli::TlsInitArgs;

    fn args(dir: &Path, name: &str) -> TlsInitArgs {
        TlsInitArgs { dir: dir.to_owned(), names: vec![name.to_owned()], days: 30 }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn keys_are_for_their_owner_and_certificates_for_the_days_that_were_asked_for() {
        let dir = tempfile::tempdir().expect("directory");
        let files = init(&args(dir.path(), "server.example"), now()).expect("made");
        assert_eq!(files.len(), 11, "{files:?}");
        for name in files {
            let path = dir.path().join(&name);
            let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, if name.ends_with(".key") { 0o600 } else { 0o644 }, "{name}");
        }
        let server = fs::read(dir.path().join("server.pem")).expect("there");
        let pem = Pem::iter_from_buffer(&server).next().expect("one").expect("PEM");
        let validity = pem.parse_x509().expect("X.509").validity().clone();
        assert_eq!(validity.not_before.timestamp(), 1_800_000_000 - 3600);
        assert_eq!(validity.not_after.timestamp(), 1_800_000_000 + 30 * 24 * 3600);
    }

    #[test]
    fn two_authorities_have_two_names() {
        let dir = tempfile::tempdir().expect("directory");
        let names = ["one", "two"].map(|name| {
            let dir = dir.path().join(name);
            init(&args(&dir, "server.example"), now()).expect("made");
            let certificate = fs::read(dir.join("ca.pem")).expect("there");
            let pem = Pem::iter_from_buffer(&certificate).next().expect("one").expect("PEM");
            pem.parse_x509().expect("X.509").subject().to_string()
        });
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_written_beside_it() {
        let dir = tempfile::tempdir().expect("directory");
        let last = dir.path().join("admin.key");
        fs::write(&last, "precious").expect("written");
        let error = init(&args(dir.path(), "server.example"), now()).expect_err("it is there");
        assert!(matches!(error, AuthorityError::Exists { path } if path == last));
        assert_eq!(fs::read_to_string(&last).expect("there"), "precious");
        assert_eq!(fs::read_dir(dir.path()).expect("directory").count(), 1);
    }

    #[test]
    fn what_is_no_name_is_refused_before_anything_is_made() {
        let dir = tempfile::tempdir().expect("directory");
        for name in ["", "a b", "https://server", "server:7443", "ü"] {
            let error = init(&args(&dir.path().join("new"), name), now()).expect_err(name);
            assert!(matches!(error, AuthorityError::Name { .. }), "{name}: {error}");
            assert!(!dir.path().join("new").exists());
        }
    }
}
