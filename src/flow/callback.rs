//! Status callbacks: applications are told by HTTP what becomes of calls and legs.
//!
//! What is told waits in the outbox of the [records](super::records), written in one transaction
//! with what it tells. Of each call the first goes first: the next is sent when it was delivered or
//! given up. Calls do not wait for each other.

pub(crate) mod body;
pub(crate) mod send;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Header with time and signature: `t=<unix seconds>,v1=<hex>`.
pub const SIGNATURE: &str = "x-crosspoint-signature";

/// Header with the number of a callback, the same at each attempt.
pub const EVENT_ID: &str = "x-crosspoint-event";

/// Most requests at a time.
pub const IN_FLIGHT_MAX: usize = 64;

/// Most requests at a time to one host, so that one that does not answer leaves room for others.
pub const PER_HOST_MAX: usize = 16;

/// Most requests at a time to a host of which the last one failed: a few that never answer would
/// take the places of all others.
pub const FAILING_HOST_MAX: usize = 2;

/// From the first attempt to the second; each pause is twice as long as the one before.
pub const RETRY_MIN: Duration = Duration::from_secs(1);

/// Longest pause between attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(300);

/// A callback that was not taken for so long is given up.
pub const GIVEN_UP: Duration = Duration::from_secs(24 * 3_600);

/// Most octets that are read of an answer; nothing is done with them.
pub const ANSWER_MAX: usize = 64 << 10;

/// When a callback that was not taken is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first pause.
    pub first: Duration,
    /// The longest one.
    pub longest: Duration,
    /// It is given up when it could not be sent again within this time since it was queued.
    pub give_up: Duration,
    /// How long one attempt may take.
    pub attempt: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: RETRY_MIN,
            longest: RETRY_MAX,
            give_up: GIVEN_UP,
            attempt: Duration::from_secs(15),
        }
    }
}

impl Retry {
    /// When the next attempt is, after so many that failed; `None`: never. In milliseconds, as
    /// `created` and `now`.
    pub(crate) fn next_ms(&self, attempts: u32, created: i64, now: i64) -> Option<i64> {
        let doublings = attempts.saturating_sub(1).min(31);
        let pause = self.first.saturating_mul(1 << doublings).min(self.longest);
        let next = now.saturating_add(ms(pause));
        (next <= created.saturating_add(ms(self.give_up))).then_some(next)
    }

    /// What was queued before this is given up.
    pub(crate) fn oldest_ms(&self, now: i64) -> i64 {
        now.saturating_sub(ms(self.give_up))
    }
}

fn ms(it: Duration) -> i64 {
    i64::try_from(it.as_millis()).unwrap_or(i64::MAX)
}

/// What callbacks are signed with.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Of any length; 32 random octets are as good as more.
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(octets.into())
    }

    /// The value of [`SIGNATURE`]: HMAC-SHA256 (RFC 2104) over `<unix seconds>.<body>`.
    #[must_use]
    pub fn sign(&self, unix_s: i64, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        let mac = mac.chain_update(format!("{unix_s}.")).chain_update(body);
        let sum = mac.finalize().into_bytes();
        let hex: String = sum.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("t={unix_s},v1={hex}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
