//! Who is at the other end of a connection, and which role they have. Known before the first byte of HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use nix::unistd::{Uid, User};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::role::Role;
use crate::operation::Caller;

/// Most calls of one connection that wait for their answer at once; more are refused, not queued.
const MAX_CALLS: usize = 32;

/// One end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) who: Who,
    pub(super) role: Option<Role>,
    calls: Arc<Semaphore>,
}

/// What is known of them.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// A user of this machine; the kernel says so.
    User(u32),
    /// Whoever has the key of a certificate.
    Certificate {
        /// Its name.
        name: String,
        /// Its SHA-256, in hex.
        fingerprint: String,
    },
}

impl Peer {
    pub(super) fn new(who: Who, role: Option<Role>) -> Self {
        Self { who, role, calls: Arc::new(Semaphore::new(MAX_CALLS)) }
    }

    /// Room for one more call, if there is some.
    pub(super) fn begin_call(&self) -> Option<OwnedSemaphorePermit> {
        self.calls.clone().try_acquire_owned().ok()
    }

    /// Who it is, apart from any wire.
    pub(super) fn caller(&self) -> Caller {
        let role = self.role.map_or("", Role::name).to_owned();
        match self.who.clone() {
            Who::User(uid) => Caller { name: format!("user {uid}"), role, fingerprint: None },
            Who::Certificate { name, fingerprint } => Caller { name, role, fingerprint: Some(fingerprint) },
        }
    }
}

/// A user of the configuration does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unix_roles: there is no user {name}")]
pub struct UserUnknown {
    /// Its name.
    name: String,
    source: Option<nix::Error>,
}

/// Which users have which role.
#[derive(Debug, Clone)]
pub struct UnixRoles {
    own: u32,
    others: BTreeMap<u32, Role>,
}

impl UnixRoles {
    /// Looks the users up: each by name, or by number.
    ///
    /// # Errors
    /// If there is no such user.
    pub fn resolve(roles: &BTreeMap<String, Role>) -> Result<Self, UserUnknown> {
        let uid = |name: &str| match name.parse() {
            Ok(uid) => Ok(Uid::from_raw(uid)),
            Err(_no_number) => match User::from_name(name) {
                Ok(Some(user)) => Ok(user.uid),
                Ok(None) => Err(UserUnknown { name: name.to_owned(), source: None }),
                Err(error) => Err(UserUnknown { name: name.to_owned(), source: Some(error) }),
            },
        };
        let others = roles.iter().map(|(name, &role)| Ok((uid(name)?.as_raw(), role))).collect::<Result<_, _>>()?;
        Ok(Self { own: nix::unistd::geteuid().as_raw(), others })
    }

    /// The role of a user. Root and the agent's own user need no row: they could take the disks without asking.
    pub(super) fn of(&self, uid: u32) -> Option<Role> {
        if uid == 0 || uid == self.own { Some(Role::Admin) } else { self.others.get(&uid).copied() }
    }

    /// Whether others than root and the own user may connect.
    pub(super) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Peer, Role, UnixRoles, Who};

    #[test]
    fn root_and_the_own_user_are_admins_and_others_what_the_configuration_says() {
        let roles = UnixRoles { own: 990, others: BTreeMap::from([(7, Role::Observer), (0, Role::Observer)]) };
        assert_eq!((roles.of(0), roles.of(990)), (Some(Role::Admin), Some(Role::Admin)));
        assert_eq!((roles.of(7), roles.of(1000)), (Some(Role::Observer), None));
    }

    #[test]
    fn users_are_found_by_name_and_number_and_a_wrong_name_is_an_error() {
        let rows = [("daemon".to_owned(), Role::Operator), ("4242".to_owned(), Role::Observer)];
        let roles = UnixRoles::resolve(&BTreeMap::from(rows)).expect("users");
        assert!(roles.has_others());
        assert_eq!(roles.others.values().filter(|&&role| role == Role::Operator).count(), 1);
        assert_eq!(roles.others.get(&4242), Some(&Role::Observer));
        let error = UnixRoles::resolve(&BTreeMap::from([("no such user".to_owned(), Role::Admin)])).expect_err("none");
        assert!(error.to_string().contains("no such user"), "{error}");
    }

    #[test]
    fn a_connection_has_room_for_as_many_calls_as_are_allowed() {
        let peer = Peer::new(Who::User(0), None);
        let calls: Vec<_> = std::iter::from_fn(|| peer.clone().begin_call()).collect();
        assert_eq!(calls.len(), super::MAX_CALLS);
        drop(calls);
        assert!(peer.begin_call().is_some());
    }
}
