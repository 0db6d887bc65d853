//! Settings of the signalling layer: the table `[sip]` of the settings' file.

mod address;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub(super) use address::Network;
pub use address::{Listen, Transport};
use rsipstack::sip::Uri;
use serde::Deserialize;

/// Most users.
pub(super) const USERS_MAX: usize = 10_000;
/// Most trunks.
pub(super) const TRUNKS_MAX: usize = 1_000;
/// Most listeners.
pub(super) const LISTENS_MAX: usize = 16;
/// Most headers that may be passed on.
pub(super) const PASSED_HEADERS_MAX: usize = 32;
/// Longest name of a user, a trunk, a realm or a header.
pub(super) const NAME_MAX: usize = 64;
/// Where it listens unless something else is said.
const LISTEN: [&str; 2] = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"];
/// Headers that are passed on unless something else is said.
const PASSED: [&str; 2] = ["X-Exotel-CallSid", "X-Exotel-LegSid"];

/// What a user may set under `[sip]`; `None` (or an empty list) leaves the default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SipSettings {
    /// `TRANSPORT:ADDR:PORT`, with `udp`, `tcp`, `tls` or `ws` [default: udp and tcp on
    /// 127.0.0.1:5060].
    pub listen: Vec<String>,
    /// The address that others are told, where it is not the one that is listened on.
    pub advertise: Option<IpAddr>,
    /// The realm of digests [default: crosspoint].
    pub realm: Option<String>,
    /// `[[sip.user]]`: phones that register, and call in with a digest.
    pub user: Vec<UserSettings>,
    /// `[[sip.trunk]]`: carriers and exchanges.
    pub trunk: Vec<TrunkSettings>,
    /// Let anybody call in [default: whoever calls from a loopback address].
    pub strangers: Option<bool>,
    /// Headers of an INVITE that flows see [default: X-Exotel-CallSid and X-Exotel-LegSid].
    pub pass_headers: Option<Vec<String>>,
    /// INVITEs per second that are let in, 1–100000 [default: 200].
    pub calls_per_second: Option<u32>,
    /// Wrong digests from one address until it is locked out, 1–1000 [default: 10].
    pub lock_out_after: Option<u32>,
    /// How long, in seconds, 1–86400 [default: 300].
    pub lock_out_seconds: Option<u64>,
    /// Shortest session that is agreed to, in seconds (RFC 4028 section 5), 1–86400 [default: 90].
    pub session_min: Option<u64>,
    /// RFC 3261's T1 in milliseconds, 10–5000 [default: 500].
    pub t1: Option<u64>,
    /// Certificates in PEM, for `tls`.
    pub certificate: Option<PathBuf>,
    /// Its key in PEM.
    pub private_key: Option<PathBuf>,
    /// Authorities in PEM that others' certificates are checked by [default: the system's,
    /// `/etc/ssl/certs/ca-certificates.crt`].
    pub authorities: Option<PathBuf>,
}

/// `[[sip.user]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UserSettings {
    /// The user part of its address, and its name in digests.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

/// `[[sip.trunk]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrunkSettings {
    /// What it is called in flows: `NUMBER@NAME`.
    pub name: String,
    /// Where it is: `sip:HOST:PORT;transport=tcp`.
    pub address: String,
    /// Addresses and networks that may call in by it.
    #[serde(default)]
    pub from: Vec<String>,
    /// For digests that it asks for.
    pub username: Option<String>,
    /// The same.
    pub password: Option<Secret>,
    /// Register there [default: false].
    #[serde(default)]
    pub register: bool,
}

/// A password: it is not shown.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(pub(super) String);

impl From<&str> for Secret {
    fn from(password: &str) -> Self {
        Self(password.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What is wrong with the settings, and where: `sip.trunk[0].address: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct SipConfigError {
    /// The setting.
    pub place: String,
    /// What is wrong with it.
    pub why: String,
}

/// Whoever calls without being known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strangers {
    /// Are refused.
    Refused,
    /// Are let in from loopback addresses.
    Loopback,
    /// Are let in.
    Welcome,
}

/// The same with defaults filled in and every rule checked.
#[derive(Clone, Debug)]
pub struct SipConfig {
    pub(super) listen: Vec<Listen>,
    pub(super) advertise: Option<IpAddr>,
    pub(super) realm: String,
    pub(super) users: Vec<User>,
    pub(super) trunks: Vec<Trunk>,
    pub(super) strangers: Strangers,
    pub(super) pass_headers: Vec<String>,
    pub(super) calls_per_second: u32,
    pub(super) lock_out_after: u32,
    pub(super) lock_out: Duration,
    pub(super) session_min: Duration,
    pub(super) t1: Duration,
    pub(super) tls: Option<TlsFiles>,
    pub(super) authorities: Option<PathBuf>,
}

/// One that registers.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: Secret,
}

/// Where calls go out and come in.
#[derive(Clone, Debug)]
pub(super) struct Trunk {
    pub(super) name: String,
    pub(super) address: Uri,
    pub(super) from: Vec<Network>,
    pub(super) credential: Option<(String, Secret)>,
    pub(super) register: bool,
}

/// Where the certificate and its key are.
#[derive(Clone, Debug)]
pub(super) struct TlsFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl SipConfig {
    /// Checks everything.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(settings: SipSettings) -> Result<Self, SipConfigError> {
        let given = &settings;
        Ok(Self {
            listen: listens(given)?,
            advertise: given.advertise,
            realm: name("realm", given.realm.as_deref().unwrap_or("crosspoint"))?,
            users: users(&given.user)?,
            trunks: trunks(&given.trunk)?,
            strangers: match given.strangers {
                None => Strangers::Loopback,
                Some(false) => Strangers::Refused,
                Some(true) => Strangers::Welcome,
            },
            pass_headers: passed(given.pass_headers.as_deref())?,
            calls_per_second: within("calls-per-second", given.calls_per_second, 200, 1, 100_000)?,
            lock_out_after: within("lock-out-after", given.lock_out_after, 10, 1, 1_000)?,
            lock_out: seconds("lock-out-seconds", given.lock_out_seconds, 300)?,
            session_min: seconds("session-min", given.session_min, 90)?,
            t1: Duration::from_millis(within("t1", given.t1, 500, 10, 5_000)?),
            tls: tls(given)?,
            authorities: given.authorities.clone(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn listens(&self) -> &[Listen] {
        &self.listen
    }
}

fn wrong(place: impl fmt::Display, why: impl fmt::Display) -> SipConfigError {
    SipConfigError {
        place: format!("sip.{place}"),
        why: why.to_string(),
    }
}

fn within<T: Copy + PartialOrd + fmt::Display>(
    place: &str,
    given: Option<T>,
    default: T,
    min: T,
    max: T,
) -> Result<T, SipConfigError> {
    let value = given.unwrap_or(default);
    if value < min || value > max {
        return Err(wrong(place, format!("{value} is not within {min}–{max}")));
    }
    Ok(value)
}

fn seconds(place: &str, given: Option<u64>, default: u64) -> Result<Duration, SipConfigError> {
    within(place, given, default, 1, 86_400).map(Duration::from_secs)
}

/// What may stand in an address without being escaped, and in a quoted string.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'+".contains(c);
    !text.is_empty() && text.len() <= NAME_MAX && text.chars().all(fits)
}

fn name(place: impl fmt::Display, given: &str) -> Result<String, SipConfigError> {
    if is_name(given) {
        return Ok(given.to_owned());
    }
    Err(wrong(
        place,
        format!("'{given}' is not a name of 1–{NAME_MAX} letters, digits and -_.!~*'+"),
    ))
}

fn at_most(place: &str, count: usize, max: usize) -> Result<(), SipConfigError> {
    match count > max {
        true => Err(wrong(place, format!("{count} of them, {max} at most"))),
        false => Ok(()),
    }
}

fn listens(given: &SipSettings) -> Result<Vec<Listen>, SipConfigError> {
    at_most("listen", given.listen.len(), LISTENS_MAX)?;
    let default: Vec<String> = LISTEN.map(str::to_owned).to_vec();
    let texts = match given.listen.is_empty() {
        true => &default,
        false => &given.listen,
    };
    let mut listens: Vec<Listen> = Vec::new();
    for (text, i) in texts.iter().zip(0..) {
        let listen: Listen = text.parse().map_err(|e| wrong(format!("listen[{i}]"), e))?;
        if listens.contains(&listen) && listen.address.port() != 0 {
            return Err(wrong(
                format!("listen[{i}]"),
                format!("'{text}' stands there twice"),
            ));
        }
        listens.push(listen);
    }
    Ok(listens)
}

fn users(given: &[UserSettings]) -> Result<Vec<User>, SipConfigError> {
    at_most("user", given.len(), USERS_MAX)?;
    let mut names = std::collections::BTreeSet::new();
    let mut users = Vec::new();
    for (user, i) in given.iter().zip(0..) {
        let place = format!("user[{i}].name");
        let name = name(&place, &user.name)?;
        if !names.insert(name.clone()) {
            return Err(wrong(place, format!("'{name}' stands there twice")));
        }
        if user.password.0.is_empty() {
            return Err(wrong(format!("user[{i}].password"), "it is empty"));
        }
        let password = user.password.clone();
        users.push(User { name, password });
    }
    Ok(users)
}

fn trunks(given: &[TrunkSettings]) -> Result<Vec<Trunk>, SipConfigError> {
    at_most("trunk", given.len(), TRUNKS_MAX)?;
    let mut trunks: Vec<Trunk> = Vec::new();
    for (settings, i) in given.iter().zip(0..) {
        let trunk = trunk(settings, i)?;
        if trunks.iter().any(|t| t.name == trunk.name) {
            let place = format!("trunk[{i}].name");
            return Err(wrong(place, format!("'{}' stands there twice", trunk.name)));
        }
        trunks.push(trunk);
    }
    Ok(trunks)
}

fn trunk(given: &TrunkSettings, i: usize) -> Result<Trunk, SipConfigError> {
    let place = |field: &str| format!("trunk[{i}].{field}");
    let address = address::uri(&given.address).map_err(|e| wrong(place("address"), e))?;
    let mut from = Vec::new();
    for (text, j) in given.from.iter().zip(0..) {
        let network = text
            .parse()
            .map_err(|e| wrong(place(&format!("from[{j}]")), e))?;
        from.push(network);
    }
    let credential = match (&given.username, &given.password) {
        (None, None) => None,
        (Some(user), Some(password)) => Some((name(place("username"), user)?, password.clone())),
        (Some(_), None) => return Err(wrong(place("password"), "a username needs one")),
        (None, Some(_)) => return Err(wrong(place("username"), "a password needs one")),
    };
    if given.register && credential.is_none() {
        return Err(wrong(
            place("register"),
            "it needs a username and a password",
        ));
    }
    Ok(Trunk {
        name: name(place("name"), &given.name)?,
        address,
        from,
        credential,
        register: given.register,
    })
}

fn passed(given: Option<&[String]>) -> Result<Vec<String>, SipConfigError> {
    let Some(given) = given else {
        return Ok(PASSED.map(str::to_owned).to_vec());
    };
    at_most("pass-headers", given.len(), PASSED_HEADERS_MAX)?;
    let each = given.iter().zip(0..);
    each.map(|(header, i)| name(format!("pass-headers[{i}]"), header))
        .collect()
}

fn tls(given: &SipSettings) -> Result<Option<TlsFiles>, SipConfigError> {
    let wanted = given.listen.iter().any(|l| l.starts_with("tls:"));
    match (&given.certificate, &given.private_key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        })),
        (None, None) if !wanted => Ok(None),
        (None, _) => Err(wrong("certificate", "tls needs one")),
        (Some(_), None) => Err(wrong("private-key", "a certificate needs one")),
    }
}

impl Listen {
    /// With another port: the one that was found where any would do.
    pub(super) fn at(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }
}
