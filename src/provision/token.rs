//! Plan tokens: proof of what a plan saw, good for one install.
//!
//! A token binds the disk's identity, number and size, the image, the options, and who planned. It is keyed with a secret of this
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
    /// It was not made by this process, or for somebody else, or was altered.
    #[error("the plan token is not one that this agent made for this caller since it started")]
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
    /// A token for a plan, which expires [`LIFETIME`] from now. It is good for `holder` alone.
    pub fn issue(&self, plan: &InstallPlan, holder: &str) -> Vec<u8> {
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.extend_from_slice(&self.millis(LIFETIME).to_le_bytes());
        token.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
        token.extend_from_slice(&fingerprint(plan));
        let mac = self.mac(holder, &token);
        token.extend_from_slice(mac.as_bytes());
        token
    }

    /// Accepts a token for a plan from its holder, once.
    ///
    /// # Errors
    /// If it is not the token of this very plan and holder, or is too old, or was used.
    pub fn redeem(&self, token: &[u8], plan: &InstallPlan, holder: &str) -> Result<(), TokenError> {
        let fields = token.split_last_chunk::<32>().filter(|_| token.len() == TOKEN_BYTES);
        let (body, mac) = fields.ok_or(TokenError::Invalid)?;
        // blake3::Hash compares in constant time.
        if self.mac(holder, body) != blake3::Hash::from_bytes(*mac) {
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

    fn mac(&self, holder: &str, body: &[u8]) -> blake3::Hash {
        let key = blake3::keyed_hash(&self.key, holder.as_bytes());
        blake3::keyed_hash(key.as_bytes(), body)
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
        "{:?} {} {:?} {} {} {:?} {:?} {} {:?} {:?} {:?}",
        disk.identity,
        disk.device_number,
        disk.name,
        disk.size_bytes,
        disk.logical_block_size,
        image,
        plan.wipe,
        plan.in_place,
        plan.policy,
        plan.profile,
        plan.admission
    );
    *blake3::hash(text.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::{LIFETIME, PlanTokens, TokenError};
    use crate::disk::discovery::Disk;
    use crate::disk::fixture::Fixture;
    use crate::image::group::{GroupSize, Layout};
    use crate::provision::plan::{ImageSpec, InstallPlan, Options, Seen};

    fn disk() -> Disk {
        let fixture = Fixture::new();
        fixture.nvme("nvme0n1", "259:0", "S1");
        fixture.scan().remove(0)
    }

    fn image() -> ImageSpec {
        let layout = Layout::new(1 << 30, GroupSize::default());
        ImageSpec { layout, root: Some([1; 32]), logical_block_size: None }
    }

    fn plan(disk: &Disk, image: ImageSpec, options: Options) -> InstallPlan {
        InstallPlan::new(Seen { disk, refusals: &[], marker: None }, image, options, u64::MAX).expect("it fits")
    }

    #[test]
    fn a_token_is_good_once() {
        let (tokens, plan) = (PlanTokens::default(), plan(&disk(), image(), Options::default()));
        let (first, second) = (tokens.issue(&plan, "me"), tokens.issue(&plan, "me"));
        assert_ne!(first, second);
        assert_eq!(tokens.redeem(&first, &plan, "you"), Err(TokenError::Invalid), "it is for who planned");
        assert_eq!(tokens.redeem(&first, &plan, "me"), Ok(()));
        assert_eq!(tokens.redeem(&first, &plan, "me"), Err(TokenError::Used));
        assert_eq!(tokens.redeem(&second, &plan, "me"), Ok(()), "each by itself");
    }

    #[test]
    fn any_change_of_a_token_makes_it_invalid() {
        let (tokens, plan) = (PlanTokens::default(), plan(&disk(), image(), Options::default()));
        let token = tokens.issue(&plan, "me");
        for at in 0..token.len() {
            let mut changed = token.clone();
            changed[at] ^= 1;
            assert_eq!(tokens.redeem(&changed, &plan, "me"), Err(TokenError::Invalid), "byte {at}");
        }
        for len in 0..token.len() {
            assert_eq!(tokens.redeem(&token[..len], &plan, "me"), Err(TokenError::Invalid), "{len} bytes");
        }
        assert_eq!(tokens.redeem(&[token.as_slice(), &[0]].concat(), &plan, "me"), Err(TokenError::Invalid));
        assert_eq!(tokens.redeem(&token, &plan, "me"), Ok(()), "none of this used it up");
    }

    #[test]
    fn another_process_does_not_take_it() {
        let plan = plan(&disk(), image(), Options::default());
        let token = PlanTokens::default().issue(&plan, "me");
        assert_eq!(PlanTokens::default().redeem(&token, &plan, "me"), Err(TokenError::Invalid));
    }

    #[test]
    fn whatever_changed_since_the_plan_makes_it_stale() {
        let (tokens, disk) = (PlanTokens::default(), disk());
        let seen = plan(&disk, image(), Options::default());
        let token = tokens.issue(&seen, "me");
        let with = |change: fn(&mut Disk)| {
            let mut changed = disk.clone();
            change(&mut changed);
            plan(&changed, image(), Options::default())
        };
        let image_with = |change: fn(&mut ImageSpec)| {
            let mut changed = image();
            change(&mut changed);
            plan(&disk, changed, Options::default())
        };
        let changed = [
            with(|disk| disk.name = "nvme1n1".to_owned()),
            with(|disk| disk.size_bytes += 4096),
            with(|disk| disk.logical_block_size = 4096),
            with(|disk| disk.identity.serial = Some("S2".to_owned())),
            with(|disk| disk.identity.wwn = Some("eui.1".to_owned())),
            with(|disk| disk.identity.diskseq = Some(8)),
            with(|disk| disk.device_number.minor = 1),
            image_with(|image| image.root = None),
            image_with(|image| image.root = Some([2; 32])),
            image_with(|image| image.layout = Layout::new((1 << 30) + 1, GroupSize::default())),
            image_with(|image| image.layout = Layout::new(1 << 30, GroupSize::new(1 << 20).expect("valid"))),
            image_with(|image| image.logical_block_size = Some(512)),
            plan(&disk, image(), Options { in_place: true, wipe_rest: false }),
            plan(&disk, image(), Options { in_place: false, wipe_rest: true }),
        ];
        for plan in changed {
            assert_eq!(tokens.redeem(&token, &plan, "me"), Err(TokenError::Stale), "{plan:?}");
        }
        assert_eq!(tokens.redeem(&token, &seen, "me"), Ok(()), "none of this used it up");
    }

    #[test]
    fn a_token_expires_and_its_use_is_forgotten_then() {
        let (tokens, plan) = (PlanTokens::default(), plan(&disk(), image(), Options::default()));
        let (unused, used) = (tokens.issue(&plan, "me"), tokens.issue(&plan, "me"));
        assert_eq!(tokens.redeem(&used, &plan, "me"), Ok(()));
        let PlanTokens { key, born, used: uses } = tokens;
        // The same process, five minutes older.
        let older = PlanTokens { key, born: born - LIFETIME, used: Mutex::new(uses.into_inner().expect("no panic")) };
        for token in [unused, used] {
            assert_eq!(older.redeem(&token, &plan, "me"), Err(TokenError::Expired));
        }
        let fresh = older.issue(&plan, "me");
        assert_eq!(older.redeem(&fresh, &plan, "me"), Ok(()));
        assert_eq!(older.used.lock().expect("no panic").len(), 1, "what has expired needs no memory");
    }
}
