//! Who asks for an operation, and for what exactly.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A caller, as it stays known: in logs, records and the audit, also after it is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Its name: `user 0`, or the common name of a certificate.
    pub name: String,
    /// Name of its role; empty if it has none.
    pub role: String,
    /// SHA-256 of its certificate, in hex, if it came with one.
    pub fingerprint: Option<String>,
}

impl Caller {
    /// Whether another call is of the same caller: of the same user, or with a certificate of the same name. A certificate
    /// that was renewed is still the same.
    pub fn is(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    /// What it is told from others by: a certificate is never the user of its name.
    pub fn identity(&self) -> String {
        let kind = if self.fingerprint.is_some() { "certificate" } else { "user" };
        format!("{kind} {}", self.name)
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.fingerprint, self.role.as_str()) {
            (None, _) => f.write_str(&self.name),
            (Some(_), "") => write!(f, "{} (no role)", self.name),
            (Some(_), role) => write!(f, "{} ({role})", self.name),
        }
    }
}

/// The call that a request came with. Either its operation begins, or it is given up, whichever is first: whoever is told that
/// nothing began can rely on it.
#[derive(Debug, Clone, Default)]
pub struct Call(Arc<OnceLock<Fate>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Begun,
    GivenUp,
}

impl Call {
    /// The operation begins now. False if the call was given up: it must not.
    pub fn begin(&self) -> bool {
        *self.0.get_or_init(|| Fate::Begun) == Fate::Begun
    }

    /// Nobody waits for the answer any more. False if the operation has begun.
    pub fn give_up(&self) -> bool {
        *self.0.get_or_init(|| Fate::GivenUp) == Fate::GivenUp
    }
}

/// A request for an operation.
#[derive(Debug, Clone)]
pub struct Request {
    /// The caller's id for the request.
    pub id: Uuid,
    /// Digest of the whole request.
    pub digest: [u8; 32],
    /// Who asks.
    pub caller: Caller,
    /// By which call; empty for one of before a restart, which nobody asks for any more.
    pub method: &'static str,
    /// The call itself, as long as it lasts.
    pub call: Call,
}

impl Request {
    /// A request that nobody can repeat: its id is new, and told to nobody.
    pub fn once(caller: Caller, method: &'static str) -> Self {
        Self { id: Uuid::new_v4(), digest: [0; 32], caller, method, call: Call::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Caller};

    #[test]
    fn a_call_is_given_up_or_its_operation_begins_and_never_both() {
        let (begun, given_up) = (Call::default(), Call::default());
        assert!(begun.begin() && !begun.give_up() && begun.begin());
        assert!(given_up.give_up() && !given_up.clone().begin() && given_up.give_up());
    }

    #[test]
    fn a_certificate_is_not_the_user_of_its_name_and_stays_itself_when_renewed() {
        let user = Caller { name: "user 0".to_owned(), role: "admin".to_owned(), fingerprint: None };
        let certificate = Caller { fingerprint: Some("00".to_owned()), ..user.clone() };
        let renewed = Caller { fingerprint: Some("11".to_owned()), role: "operator".to_owned(), ..user.clone() };
        assert!(user.is(&user) && certificate.is(&renewed));
        assert!(
            !user.is(&certificate) && !certificate.is(&Caller { name: "user 1".to_owned(), ..certificate.clone() })
        );
        let shown = [&user, &renewed, &Caller { role: String::new(), ..renewed.clone() }].map(ToString::to_string);
        assert_eq!(shown, ["user 0", "user 0 (operator)", "user 0 (no role)"]);
    }
}
