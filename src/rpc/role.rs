//! Roles, and the one table that says which of them a method needs.
//!
//! Who has which role is not known here: `peer` knows it of users, `listen` of certificates.

use std::fmt;

use serde::Deserialize;

pub use super::method::Method;

/// What a caller may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads what is there.
    Observer,
    /// Works: plans, installs, captures, verifies, cancels.
    Operator,
    /// May also override findings that stand against an install.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: &'static [Self] = &[Self::Observer, Self::Operator, Self::Admin];

    /// Its name, in configuration, certificates and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observer => "observer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }

    /// The least role that may call a method. Reads need one as well: serial numbers and names of images are nobody's.
    pub const fn least_for(method: Method) -> Self {
        match method {
            Method::HealthCheck
            | Method::HealthWatch
            | Method::ServerReflectionServerReflectionInfo
            | Method::HostServiceGetHost
            | Method::HostServiceInspectHost
            | Method::DiskServiceListDisks
            | Method::DiskServiceInspectDisk
            | Method::ProvisioningServiceInspectImage
            | Method::ProvisioningServiceCheckCompatibility
            | Method::OperationServiceWatchOperation
            | Method::OperationsListOperations
            | Method::OperationsGetOperation
            | Method::OperationsWaitOperation => Self::Observer,
            // A plan gives a token; a capture gives all that a tenant has on a disk.
            Method::ProvisioningServicePlanInstall
            | Method::ProvisioningServiceInstallImage
            | Method::ProvisioningServicePushImage
            | Method::ProvisioningServiceCaptureImage
            | Method::ProvisioningServiceStreamCapture
            | Method::DiskServiceVerifyDisk
            | Method::OperationsCancelOperation
            | Method::OperationsDeleteOperation => Self::Operator,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Method, Role};

    #[test]
    fn each_role_may_do_more_than_those_before_it() {
        assert!(Role::ALL.is_sorted());
        for &role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
        }
        assert_eq!((Role::named("root"), Role::named("Admin"), Role::named("")), (None, None, None));
    }

    #[test]
    fn what_changes_something_is_not_for_observers() {
        for &method in Method::ALL {
            let name = method.path().rsplit('/').next().expect("a name");
            let reads = ["Get", "List", "Watch", "Wait", "Inspect", "Check", "ServerReflection"];
            let is_read = reads.iter().any(|verb| name.starts_with(verb));
            assert_eq!(Role::least_for(method) == Role::Observer, is_read, "{}", method.path());
        }
    }

    /// Method and least role of each row of the documentation.
    fn documented() -> Vec<(String, String)> {
        let rows = include_str!("../../docs/access.md").lines().filter_map(|line| line.strip_prefix("| `/"));
        rows.map(|row| {
            let cells: Vec<_> = row.split('|').map(|cell| cell.trim_matches(['`', ' '])).collect();
            (format!("/{}", cells[0]), cells[1].to_owned())
        })
        .collect()
    }

    #[test]
    fn every_method_has_one_row_in_the_documentation_with_its_role() {
        let mut documented = documented();
        let known = |&method: &Method| (method.path().to_owned(), Role::least_for(method).name().to_owned());
        let mut known: Vec<_> = Method::ALL.iter().map(known).collect();
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known);
    }
}
