//! Plan tokens: proof of what a plan saw, good for one install.
//!
//! A token binds the disk's identity, number and size, the image and the options. It is keyed with a secret of this
//! process, so that it does not outlive a restart, at which everything may have changed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::plan::InstallPlan;
use crate::reason::{DomainError, Reason};

/// How long a token is good.
pub const LIFETIME: Duration = Duration::from_secs(300);

const NONCE_BYTES: usize = 16;
const TOKEN_BYTES: usize = 8 + NONCE_BYTES + 32 + 32;

/// A token that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was not made by this process, or was altered.
    #[error("the plan token is not one that this agent made since it started")]
    Invalid,
    /// Its time is over.
    #[error("the plan token has expired")]
    Expired,
    /// It was used.
    #[error("the plan token was used before")]
    Used,
    /// The disk, the image or the options are not what the plan saw.
    #[error("the disk, the image or the options are no longer what the plan saw")]
    Stale,
}

impl DomainError for TokenError {
    fn reason(&self) -> Reason {
        match self {
            Self::Invalid => Reason::PlanTokenInvalid,
            Self::Expired | Self::Used | Self::Stale => Reason::PlanStale,
        }
    }
}

/// Makes and redeems tokens.
#[derive(Debug)]
pub struct PlanTokens {
    key: [u8; 32],
    born: Instant,
    /// Nonces of used tokens, and when they expire, in milliseconds after `born`.
    used: Mutex<BTreeMap<[u8; NONCE_BYTES], u64>>,
}

impl Default for PlanTokens {
    fn default() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(uuid::Uuid::new_v4().as_bytes()).update(uuid::Uuid::new_v4().as_bytes());
        Self { key: *hasher.finalize().as_bytes(), born: Instant::now(), used: Mutex::default() }
    }
}

impl PlanTokens {
    /// A token for a plan, which expires [`LIFETIME`] from now.
    pub fn issue(&self, plan: &InstallPlan) -> Vec<u8> {
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.extend_from_slice(&self.millis(LIFETIME).to_le_bytes());
        token.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
        token.extend_from_slice(&fingerprint(plan));
        let mac = blake3::keyed_hash(&self.key, &token);
        token.extend_from_slice(mac.as_bytes());
        token
    }

    /// Accepts a token for a plan, once.
    ///
    /// # Errors
    /// If it is not the token of this very plan, or is too old, or was used.
    pub fn redeem(&self, token: &[u8], plan: &InstallPlan) -> Result<(), TokenError> {
        let fields = token.split_last_chunk::<32>().filter(|_| token.len() == TOKEN_BYTES);
        let (body, mac) = fields.ok_or(TokenError::Invalid)?;
        // blake3::Hash compares in constant time.
        if blake3::keyed_hash(&self.key, body) != blake3::Hash::from_bytes(*mac) {
            return Err(TokenError::Invalid);
        }
        let (expiry, rest) = body.split_first_chunk::<8>().ok_or(TokenError::Invalid)?;
        let (nonce, seen) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(TokenError::Invalid)?;
        let (expiry, now) = (u64::from_le_bytes(*expiry), self.millis(Duration::ZERO));
        if expiry <= now {
            return Err(TokenError::Expired);
        }
        if seen != fingerprint(plan) {
            return Err(TokenError::Stale);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, expiry| *expiry > now);
        if used.insert(*nonce, expiry).is_some() { Err(TokenError::Used) } else { Ok(()) }
    }

    fn millis(&self, ahead: Duration) -> u64 {
        u64::try_from((self.born.elapsed() + ahead).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Digest over everything that a plan was made for.
fn fingerprint(plan: &InstallPlan) -> [u8; 32] {
    let disk = &plan.disk;
    let image = &plan.image;
    // Debug output names every field, and lives no longer than this process.
    let text = format!(
        "{:?} {} {:?} {} {} {:?} {:?} {}",
        disk.identity,
        disk.device_number,
        disk.name,
        disk.size_bytes,
        disk.logical_block_size,
        image,
        plan.wipe,
        plan.in_place
    );
    *blake3::hash(text.as_bytes()).as_bytes()
}
