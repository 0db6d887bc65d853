//! Who may call, and how often.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rsipstack::sip::prelude::ToTypedHeader;
use rsipstack::sip::{HeadersExt, Request, Transport};
use rsipstack::transaction::transaction::Transaction;

use super::config::{Strangers, Trunk};
use super::digest::Verdict;
use super::message;
use super::requests::Refusal;
use super::shared::{Core, Warning, lock};

/// A bucket of tokens: so many in a second, as many at once.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    tokens: f64,
    since: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second: per_second.into(),
            tokens: per_second.into(),
            since: now,
        }
    }

    /// Whether one more is within the rate.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.per_second);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Where a request came from.
pub(super) fn source(tx: &Transaction) -> Option<SocketAddr> {
    let connection = tx.connection.as_ref()?;
    connection.get_remote_addr()?.get_socketaddr().ok()
}

impl Core {
    /// Who calls: a trunk or a user by name, or a stranger that is let in.
    ///
    /// # Errors
    /// Nobody who may.
    pub(super) fn caller_of(
        &self,
        request: &Request,
        source: SocketAddr,
    ) -> Result<Option<String>, Refusal> {
        if let Some(trunk) = self.trunk_of(source.ip()) {
            return Ok(Some(trunk.name.clone()));
        }
        let claimed = request.from_header().ok().and_then(|f| f.typed().ok());
        let claimed = claimed.map(|f| message::user(&f.uri)).unwrap_or_default();
        let is_user = self.config.users.iter().any(|u| u.name == claimed);
        if is_user || request.authorization_header().is_some() {
            return self.user_of(request, source.ip()).map(Some);
        }
        let is_welcome = match self.config.strangers {
            Strangers::Welcome => true,
            Strangers::Loopback => source.ip().to_canonical().is_loopback(),
            Strangers::Refused => false,
        };
        match is_welcome {
            true => Ok(None),
            false if self.config.users.is_empty() => {
                self.counters.refused_unknown();
                Err(Refusal::bare(403))
            }
            false => self.user_of(request, source.ip()).map(Some),
        }
    }

    /// Whether a request is one of ours to ourselves: nobody else has a listener's own address.
    /// From outside a datagram under it does not pass the kernel, which takes it for a martian one.
    pub(super) fn is_own(&self, tx: &Transaction, source: SocketAddr) -> bool {
        let over = tx.connection.as_ref().and_then(|c| c.get_addr().r#type);
        over.unwrap_or_default() == Transport::Udp && self.is_here(source)
    }

    /// Whether requests from there are a trunk's.
    pub(super) fn is_trunk(&self, source: IpAddr) -> bool {
        self.trunk_of(source).is_some()
    }

    fn trunk_of(&self, source: IpAddr) -> Option<&Trunk> {
        let mut trunks = self.config.trunks.iter();
        trunks.find(|t| t.from.iter().any(|n| n.contains(source)))
    }

    fn warn_locked(&self, warning: Warning, address: IpAddr, now: Instant) {
        if let Some(more) = self.counters.warned.ask(warning, now) {
            let seconds = self.config.lock_out.as_secs();
            match warning {
                Warning::Guessing => tracing::warn!(
                    %address, more,
                    "wrong digests from too many addresses: further ones get one attempt"
                ),
                _ => tracing::warn!(%address, seconds, more, "wrong digests: locked out"),
            }
        }
    }

    /// The user whose digest a request carries.
    ///
    /// # Errors
    /// It carries none, or a wrong one: 401. From one that is locked out: 403.
    pub(super) fn user_of(&self, request: &Request, source: IpAddr) -> Result<String, Refusal> {
        let now = Instant::now();
        let header = request.authorization_header().map(|h| h.value());
        let method = &request.method;
        let password = |name: &str| {
            let mut users = self.config.users.iter();
            users.find(|u| u.name == name).map(|u| u.password.clone())
        };
        let mut digests = lock(&self.digests);
        match digests.judge(now, source, *method, header, password) {
            Verdict::Right(user) => Ok(user),
            Verdict::Missing | Verdict::Stale => {
                let is_stale = header.is_some();
                Err(Refusal::of(
                    401,
                    vec![digests.challenge(now, source, is_stale)],
                ))
            }
            Verdict::Wrong => {
                self.counters.digests_wrong();
                if let Some(place) = digests.locked(now, source) {
                    self.warn_locked(Warning::LockedOut(place), place, now);
                }
                Err(Refusal::of(
                    401,
                    vec![digests.challenge(now, source, false)],
                ))
            }
            Verdict::LockedOut => {
                self.counters.locked_out();
                if digests.locked(now, source).is_none() {
                    self.warn_locked(Warning::Guessing, source, now);
                }
                Err(Refusal::bare(403))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_lets_in_a_seconds_worth_at_once_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut rate = Rate::new(10, start);
        let taken = (0..20).filter(|_| rate.take(start)).count();
        assert_eq!(taken, 10);
        let later = start + Duration::from_millis(500);
        let taken = (0..20).filter(|_| rate.take(later)).count();
        assert_eq!(taken, 5);
        let much_later = start + Duration::from_secs(60);
        let taken = (0..20).filter(|_| rate.take(much_later)).count();
        assert_eq!(taken, 10, "no more than a second's worth is saved");
    }
}
