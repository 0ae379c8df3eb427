//! Which repository is meant: a place, or a name of the configuration file.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bms_agent::inspect::profile::{self, Profile};
use bms_agent::repository::{Location, LocationInvalid, Settings};
use serde::Deserialize;

use crate::cli::RepositoryArgs;
use crate::error::CtlError;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("the file cannot be read")]
    Unreadable { source: io::Error },
    #[error("the file is no configuration")]
    Malformed { source: toml::de::Error },
    #[error("{name:?} is no place of a repository, and the file has none of that name; it has: {known}")]
    Unknown { name: String, known: String, source: LocationInvalid },
}

/// All profiles of a configuration file; none if there is no file.
pub(crate) fn profiles(path: &Path) -> Result<BTreeMap<String, Profile>, SettingsError> {
    Ok(read_tables(path)?.profiles)
}

/// The tables that matter here. The file is the agent's, and has others.
#[derive(Default, Deserialize)]
struct Tables {
    #[serde(default)]
    repositories: BTreeMap<String, Settings>,
    #[serde(default, deserialize_with = "profile::deserialize")]
    profiles: BTreeMap<String, Profile>,
}

/// The settings of the repository that was named.
pub(crate) fn resolve(args: &RepositoryArgs) -> Result<Settings, CtlError> {
    let failed = |source| CtlError::Settings { path: args.config.clone(), source };
    let location = match args.repository.parse::<Location>() {
        Ok(location) => return Ok(Settings::new(location)),
        Err(invalid) => invalid,
    };
    let mut known = read_tables(&args.config).map_err(failed)?.repositories;
    let names = known.keys().cloned().collect::<Vec<_>>().join(", ");
    let unknown = SettingsError::Unknown { name: args.repository.clone(), known: names, source: location };
    known.remove(&args.repository).ok_or_else(|| failed(unknown))
}

/// The tables of a file; none if there is no file.
fn read_tables(path: &Path) -> Result<Tables, SettingsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tables::default()),
        Err(source) => return Err(SettingsError::Unreadable { source }),
    };
    toml::from_str(&text).map_err(|source| SettingsError::Malformed { source })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bms_agent::repository::Location;

    use super::resolve;
    use crate::cli::RepositoryArgs;

    fn args(repository: &str, config: PathBuf) -> RepositoryArgs {
        RepositoryArgs { repository: repository.to_owned(), config }
    }

    #[test]
    fn a_place_needs_no_file_and_a_name_is_looked_up_in_it() {
        let dir = tempfile::tempdir().expect("directory");
        let config = dir.path().join("config.toml");
        let settings = resolve(&args("/srv/images", config.clone())).expect("a place");
        assert_eq!(settings.location, Location::Directory("/srv/images".into()));
        let error = resolve(&args("main", config.clone())).expect_err("no file");
        assert!(std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("none of that name")));
        let text =
            "socket = \"/a\"\n[repositories.main]\nlocation = \"s3://images\"\nendpoint = \"http://127.0.0.1:1\"\n";
        std::fs::write(&config, text).expect("written");
        let settings = resolve(&args("main", config.clone())).expect("in the file");
        assert_eq!(settings.location.to_string(), "s3://images");
        let error = resolve(&args("other", config)).expect_err("not in the file");
        assert!(std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("it has: main")));
    }
}
