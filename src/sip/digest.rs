//! Digests (RFC 3261 section 22, RFC 2617) of those who register and call, and who is locked out.
//!
//! The stack's own check takes a nonce count of one octet written in decimal, so that a phone's
//! tenth request with one nonce would fail; hence the parameters are read here, and only the hash
//! is the stack's. MD5 alone is asked for: it is what phones know.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use rsipstack::dialog::authenticate::compute_digest;
use rsipstack::sip::headers::auth::Algorithm;
use rsipstack::sip::typed::tokenizers::AuthTokenizer;
use rsipstack::sip::{Header, Method};
use sha2::{Digest as _, Sha256};

use super::config::Secret;

/// How long a nonce is good.
const NONCE_LIFE: Duration = Duration::from_secs(300);
/// Digits of a nonce's time, and of its time and number.
const SECONDS: usize = 16;
const STAMP: usize = 24;
/// Nonces whose counts are kept; those that do not fit are stale.
const NONCES_MAX: usize = 16_384;
/// Addresses whose failures are kept.
const SOURCES_MAX: usize = 16_384;
/// Failures older than this are forgotten.
const FAILURES_LIFE: Duration = Duration::from_secs(600);
/// Longest header that is read.
const HEADER_MAX: usize = 2048;

/// What a request's digest says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is this user.
    Right(String),
    /// There is none.
    Missing,
    /// Its nonce is too old or was used: it is to be tried with a new one.
    Stale,
    /// It is not what the password makes.
    Wrong,
    /// Too many from there were wrong.
    LockedOut,
}

/// What is known of nonces and of addresses.
#[derive(Debug)]
pub(super) struct Digests {
    realm: String,
    secret: String,
    start: Instant,
    /// Challenges made: no two have the same nonce.
    made: u32,
    lock_out_after: u32,
    lock_out: Duration,
    /// The highest count of each nonce that was used, and when it began to be.
    used: HashMap<String, (u32, Instant)>,
    failures: HashMap<IpAddr, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    latest: Instant,
    locked_until: Option<Instant>,
}

impl Digests {
    /// `secret` is not to be guessed by anybody.
    pub(super) fn new(
        realm: &str,
        secret: String,
        lock_out_after: u32,
        lock_out: Duration,
        now: Instant,
    ) -> Self {
        Self {
            realm: realm.to_owned(),
            secret,
            start: now,
            made: 0,
            lock_out_after,
            lock_out,
            used: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// `WWW-Authenticate`.
    pub(super) fn challenge(&mut self, now: Instant, source: IpAddr, is_stale: bool) -> Header {
        let seconds = now.saturating_duration_since(self.start).as_secs();
        self.made = self.made.wrapping_add(1);
        let nonce = self.nonce(&format!("{seconds:016x}{:08x}", self.made), source);
        let stale = if is_stale { ", stale=true" } else { "" };
        let realm = &self.realm;
        Header::WwwAuthenticate(
            format!(
                "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"{stale}"
            )
            .into(),
        )
    }

    /// Its time and its number, and a seal over them and the address that it is for.
    fn nonce(&self, stamp: &str, source: IpAddr) -> String {
        let sealed = format!("{}:{stamp}:{source}", self.secret);
        let seal = Sha256::digest(sealed.as_bytes());
        let seal: String = seal[..16].iter().map(|b| format!("{b:02x}")).collect();
        format!("{stamp}{seal}")
    }

    fn is_fresh(&self, nonce: &str, now: Instant, source: IpAddr) -> bool {
        let (Some(stamp), Some(seconds)) = (nonce.get(..STAMP), nonce.get(..SECONDS)) else {
            return false;
        };
        let Ok(seconds) = u64::from_str_radix(seconds, 16) else {
            return false;
        };
        let age = now
            .saturating_duration_since(self.start)
            .as_secs()
            .checked_sub(seconds);
        age.is_some_and(|a| a <= NONCE_LIFE.as_secs()) && is_same(&self.nonce(stamp, source), nonce)
    }

    /// Judges the `Authorization` of a request that came from `source`.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        source: IpAddr,
        method: Method,
        header: Option<&str>,
        password: impl Fn(&str) -> Option<Secret>,
    ) -> Verdict {
        let place = network(source);
        if self.is_locked(now, place) {
            return Verdict::LockedOut;
        }
        let Some(header) = header.filter(|h| h.len() <= HEADER_MAX) else {
            return Verdict::Missing;
        };
        let Some(given) = Given::read(header) else {
            return self.failed(now, place);
        };
        if given.realm != self.realm || !self.is_fresh(given.nonce, now, source) {
            return Verdict::Stale;
        }
        // An unknown user costs as much as a known one.
        let known = password(given.username);
        let secret = known.clone().unwrap_or_else(|| Secret::from("-"));
        let wanted = given.response_with(&secret.0, method);
        if known.is_none() || !is_same(&wanted, &given.response.to_ascii_lowercase()) {
            return self.failed(now, place);
        }
        if !self.is_first_use(given.nonce, given.count(), now) {
            return Verdict::Stale;
        }
        self.failures.remove(&place);
        Verdict::Right(given.username.to_owned())
    }

    /// Whether whoever is at `source` is locked out; then what is, of which it is a part.
    pub(super) fn locked(&mut self, now: Instant, source: IpAddr) -> Option<IpAddr> {
        let place = network(source);
        self.is_locked(now, place).then_some(place)
    }

    fn is_locked(&mut self, now: Instant, place: IpAddr) -> bool {
        let Some(failures) = self.failures.get(&place) else {
            return false;
        };
        match failures.locked_until {
            Some(until) if now < until => true,
            Some(_) => {
                self.failures.remove(&place);
                false
            }
            None => false,
        }
    }

    fn failed(&mut self, now: Instant, place: IpAddr) -> Verdict {
        if self.failures.len() >= SOURCES_MAX && !self.failures.contains_key(&place) {
            self.failures.retain(|_, f| {
                f.locked_until
                    .map_or(now < f.latest + FAILURES_LIFE, |until| now < until)
            });
            if self.failures.len() >= SOURCES_MAX {
                // As many as that at a time are an attack: nobody new gets a second attempt.
                return Verdict::LockedOut;
            }
        }
        let failures = self.failures.entry(place).or_insert(Failures {
            count: 0,
            latest: now,
            locked_until: None,
        });
        if now >= failures.latest + FAILURES_LIFE {
            failures.count = 0;
        }
        failures.count += 1;
        failures.latest = now;
        if failures.count >= self.lock_out_after {
            failures.locked_until = Some(now + self.lock_out);
        }
        Verdict::Wrong
    }

    /// Whether this count of this nonce is higher than all before it (RFC 2617 section 3.2.2).
    fn is_first_use(&mut self, nonce: &str, count: u32, now: Instant) -> bool {
        if self.used.len() >= NONCES_MAX {
            self.used.retain(|_, (_, since)| now < *since + NONCE_LIFE);
            if self.used.len() >= NONCES_MAX {
                return false;
            }
        }
        let (highest, _) = self.used.entry(nonce.to_owned()).or_insert((0, now));
        let is_first = count > *highest;
        *highest = (*highest).max(count);
        is_first
    }
}

/// Failures of one IPv6 network of 64 bits are one party's.
pub(super) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// Compares without telling by its time how much is the same.
fn is_same(a: &str, b: &str) -> bool {
    let differs = a.bytes().zip(b.bytes()).fold(0, |d, (a, b)| d | (a ^ b));
    a.len() == b.len() && differs == 0
}

/// The parameters of `Authorization`.
struct Given<'a> {
    username: &'a str,
    realm: &'a str,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    /// `nc` and `cnonce`, with `qop=auth`.
    counted: Option<(&'a str, &'a str)>,
}

impl<'a> Given<'a> {
    fn read(header: &'a str) -> Option<Self> {
        let read = AuthTokenizer::parse(header).ok()?;
        let param = |name: &str| {
            let mut params = read.params.iter();
            let found = params.find(|(n, _)| n.eq_ignore_ascii_case(name));
            found.map(|(_, value)| *value)
        };
        let is_md5 = param("algorithm").is_none_or(|a| a.eq_ignore_ascii_case("MD5"));
        if !read.scheme.eq_ignore_ascii_case("Digest") || !is_md5 {
            return None;
        }
        let counted = match param("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => Some((param("nc")?, param("cnonce")?)),
            Some(_) => return None,
        };
        Some(Self {
            username: param("username")?,
            realm: param("realm")?,
            nonce: param("nonce")?,
            uri: param("uri")?,
            response: param("response")?,
            counted,
        })
    }

    /// Without a count a nonce is good once.
    fn count(&self) -> u32 {
        let count = self.counted.map_or("1", |(nc, _)| nc);
        u32::from_str_radix(count, 16).unwrap_or(0)
    }

    fn response_with(&self, password: &str, method: Method) -> String {
        // Without qop the hash is over nonce alone: with nc, cnonce and qop put behind it, it is
        // the one of RFC 2617 section 3.2.2.1 for qop=auth.
        let nonce = match self.counted {
            None => self.nonce.to_owned(),
            Some((nc, cnonce)) => format!("{}:{nc}:{cnonce}:auth", self.nonce),
        };
        compute_digest(
            self.username,
            password,
            self.realm,
            &nonce,
            &method,
            self.uri,
            Algorithm::Md5,
            None,
        )
    }
}
