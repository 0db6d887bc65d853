//! One URL, from any server: bounded in time, bytes, redirects and in where it may lead.

use std::fmt;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ureq::http::{HeaderMap, Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, config::Config};

/// Longest URL.
pub const URL_LEN_MAX: usize = 2048;
/// Most redirects that are followed.
pub const REDIRECTS_MAX: u32 = 5;
/// Largest body that is taken, in bytes.
pub const URL_BYTES_MAX: usize = 32 << 20;

/// Longest time to connect, name lookup not counted.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long content is fresh of which the server says nothing.
const FRESH_DEFAULT: Duration = Duration::from_secs(60);
/// How long content is fresh at most, whatever the server says.
const FRESH_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long content that is no longer fresh may be played while its server fails, unless the
/// server says something else (RFC 5861 §4).
const STALE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Longest ETag or date that is remembered.
const VALIDATOR_LEN_MAX: usize = 1024;

/// Why a URL was not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `http` nor `https`, no host, or no URL at all.
    #[error("not an http or https URL")]
    NotHttp,
    /// Longer than [`URL_LEN_MAX`].
    #[error("longer than {URL_LEN_MAX} characters")]
    TooLong,
    /// It has a user or password, which would end up in logs.
    #[error("credentials in a URL are not supported")]
    Credentials,
    /// Every address of its host is private or special, and that is not allowed.
    #[error("{address} is a private or special address (setting prompt-private-urls)")]
    Private {
        /// One of them.
        address: IpAddr,
    },
    /// More than [`REDIRECTS_MAX`] redirects.
    #[error("more than {REDIRECTS_MAX} redirects")]
    Redirects,
    /// The server answered with this status.
    #[error("the server says {0}")]
    Status(u16),
    /// The body is larger than [`URL_BYTES_MAX`].
    #[error("larger than {URL_BYTES_MAX} bytes")]
    TooLarge,
    /// It took too long.
    #[error("timed out ({0})")]
    TimedOut(String),
    /// No such host, no connection, no valid certificate, no valid HTTP.
    #[error("{0}")]
    Transport(String),
}

impl UrlError {
    /// Whether it may go by itself, so that old content is better than none (RFC 5861 §4).
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Transport(_) => true,
            Self::Status(status) => matches!(status, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

/// What to ask a server with whether content changed, RFC 9110 §8.8.
#[derive(Clone, Debug, Default)]
pub(super) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// How long content may be used, RFC 9111 §4.2 and RFC 5861 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Freshness {
    pub(super) no_store: bool,
    /// From now on.
    pub(super) fresh: Duration,
    /// After that, if the server fails.
    pub(super) stale: Duration,
}

/// What a server answered.
#[derive(Debug)]
pub(super) enum Fetched {
    /// 304.
    Unchanged(Freshness),
    Body(Body),
}

#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) freshness: Freshness,
    pub(super) validators: Validators,
}

/// Fetches URLs; blocks while it does.
#[derive(Debug)]
pub(super) struct Fetcher {
    agent: Agent,
}

/// Whether this may be fetched at all, as far as its text tells.
pub(super) fn check_url(url: &str) -> Result<(), UrlError> {
    if url.len() > URL_LEN_MAX {
        return Err(UrlError::TooLong);
    }
    let uri: Uri = url.parse().map_err(|_| UrlError::NotHttp)?;
    let authority = uri.authority().ok_or(UrlError::NotHttp)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.host().is_empty() {
        return Err(UrlError::NotHttp);
    }
    if authority.as_str().contains('@') {
        return Err(UrlError::Credentials);
    }
    Ok(())
}

impl Fetcher {
    pub(super) fn new(private: bool, timeout: Duration) -> Self {
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(REDIRECTS_MAX)
            .max_redirects_will_error(true)
            .user_agent(concat!("crosspoint/", env!("CARGO_PKG_VERSION")))
            // A proxy would be asked for addresses that are not checked here.
            .proxy(None)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(CONNECT_MAX.min(timeout)))
            .max_idle_connections(8)
            .max_idle_connections_per_host(2)
            .build();
        let resolver = GuardedResolver {
            inner: DefaultResolver::default(),
            private,
        };
        Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), resolver),
        }
    }

    /// Asks for a URL, or whether it changed.
    pub(super) fn fetch(
        &self,
        url: &str,
        validators: Option<&Validators>,
    ) -> Result<Fetched, UrlError> {
        let mut request = self.agent.get(url);
        if let Some(etag) = validators.and_then(|v| v.etag.as_ref()) {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(date) = validators.and_then(|v| v.last_modified.as_ref()) {
            request = request.header(header::IF_MODIFIED_SINCE, date);
        }
        let response = request.call().map_err(UrlError::from)?;
        let freshness = Freshness::of(response.headers());
        match response.status().as_u16() {
            200 => {}
            304 => return Ok(Fetched::Unchanged(freshness)),
            status => return Err(UrlError::Status(status)),
        }
        let validators = Validators::of(response.headers());
        let announced = response.body().content_length().unwrap_or(0);
        let limit = URL_BYTES_MAX as u64;
        if announced > limit {
            return Err(UrlError::TooLarge);
        }
        // The room grows with what arrives, not with what is announced.
        let mut bytes = Vec::new();
        let mut body = response
            .into_body()
            .into_with_config()
            .limit(limit)
            .reader();
        body.read_to_end(&mut bytes).map_err(UrlError::from)?;
        Ok(Fetched::Body(Body {
            bytes,
            freshness,
            validators,
        }))
    }
}

impl From<ureq::Error> for UrlError {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(what) => Self::TimedOut(what.to_string()),
            ureq::Error::TooManyRedirects => Self::Redirects,
            ureq::Error::BodyExceedsLimit(_) => Self::TooLarge,
            ureq::Error::StatusCode(status) => Self::Status(status),
            ureq::Error::Other(inner) => match inner.downcast_ref::<PrivateTarget>() {
                Some(PrivateTarget(address)) => Self::Private { address: *address },
                None => Self::Transport(inner.to_string()),
            },
            ureq::Error::Io(error) => error.into(),
            other => Self::Transport(other.to_string()),
        }
    }
}

impl From<io::Error> for UrlError {
    fn from(error: io::Error) -> Self {
        match error.downcast::<ureq::Error>() {
            Ok(inner) => inner.into(),
            Err(error) => Self::Transport(error.to_string()),
        }
    }
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= VALIDATOR_LEN_MAX).then(|| value.to_owned())
        };
        Self {
            etag: text(header::ETAG),
            last_modified: text(header::LAST_MODIFIED),
        }
    }
}

impl Freshness {
    /// Of a response. `Expires` is not looked at: whoever caches sends `Cache-Control` since 1997.
    fn of(headers: &HeaderMap) -> Self {
        let mut freshness = Self {
            no_store: false,
            fresh: FRESH_DEFAULT,
            stale: STALE_DEFAULT,
        };
        let (mut shared_age, mut no_cache) = (false, false);
        let values = headers.get_all(header::CACHE_CONTROL);
        let values = values.iter().filter_map(|value| value.to_str().ok());
        for directive in values.flat_map(|value| value.split(',')) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = argument.trim().trim_matches('"').parse().ok();
            let seconds = seconds.map(Duration::from_secs);
            match (name.trim().to_ascii_lowercase().as_str(), seconds) {
                ("no-store", _) => freshness.no_store = true,
                ("no-cache", _) => no_cache = true,
                ("must-revalidate" | "proxy-revalidate", _) => freshness.stale = Duration::ZERO,
                ("s-maxage", Some(age)) => (freshness.fresh, shared_age) = (age, true),
                ("max-age", Some(age)) if !shared_age => freshness.fresh = age,
                ("stale-if-error", Some(age)) => freshness.stale = age,
                _ => {}
            }
        }
        let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
        let age = age.and_then(|age| age.trim().parse().ok()).unwrap_or(0);
        let fresh = freshness.fresh.saturating_sub(Duration::from_secs(age));
        freshness.fresh = if no_cache {
            Duration::ZERO
        } else {
            fresh.min(FRESH_MAX)
        };
        freshness.stale = freshness.stale.min(STALE_DEFAULT);
        freshness
    }
}

/// Looks names up, and leaves out the addresses that are not to be reached. The connection goes to
/// the addresses that were checked, also after a redirect, so a name that changes its mind gains
/// nothing.
#[derive(Debug)]
struct GuardedResolver {
    inner: DefaultResolver,
    private: bool,
}

impl Resolver for GuardedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut allowed = self.inner.empty();
        for address in &found[..] {
            if match scope(address.ip()) {
                Scope::Public => true,
                Scope::Private => self.private,
                Scope::Special => false,
            } {
                allowed.push(*address);
            }
        }
        match (allowed.is_empty(), found.first()) {
            (true, Some(address)) => Err(ureq::Error::Other(Box::new(PrivateTarget(address.ip())))),
            _ => Ok(allowed),
        }
    }
}

/// How [`GuardedResolver`] says no through `ureq`.
#[derive(Debug)]
struct PrivateTarget(IpAddr);

impl fmt::Display for PrivateTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a private or special address", self.0)
    }
}

impl std::error::Error for PrivateTarget {}

/// Whose an address is, by the registries of RFC 6890.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Public,
    /// This machine, or a network that is not the Internet.
    Private,
    /// Never a web server: nobody, everybody, or the link, where clouds keep the credentials of
    /// their machines.
    Special,
}

fn scope(address: IpAddr) -> Scope {
    match address {
        IpAddr::V4(v4) => scope_v4(v4),
        IpAddr::V6(v6) => scope_v6(v6),
    }
}

fn scope_v4(address: Ipv4Addr) -> Scope {
    match address.octets() {
        [0 | 224..=255, ..] | [169, 254, ..] => Scope::Special,
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] => Scope::Private,
        // Shared (RFC 6598), protocols, benchmarks, documentation.
        [100, 64..=127, ..] | [192, 0, 0 | 2, _] | [198, 18 | 19, ..] => Scope::Private,
        [198, 51, 100, _] | [203, 0, 113, _] => Scope::Private,
        _ => Scope::Public,
    }
}

fn scope_v6(address: Ipv6Addr) -> Scope {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded =
        |high: u16, low: u16| scope_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] if (g, h) == (0, 1) => Scope::Private,
        // Mapped, compatible, NAT64 and 6to4: what the IPv4 address in it is.
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => embedded(g, h),
        [0x2002, ..] => embedded(b, c),
        [0xfc00..=0xfdff, ..] | [0x64, 0xff9b, 1, ..] | [0x2001, 0xdb8, ..] => Scope::Private,
        // Teredo and other protocols; everything that is not global unicast.
        [0x2001, 0..=0x1ff, ..] => Scope::Private,
        [0x2000..=0x3fff, ..] => Scope::Public,
        _ => Scope::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freshness(headers: &[(header::HeaderName, &str)]) -> (bool, u64, u64) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        let f = Freshness::of(&map);
        (f.no_store, f.fresh.as_secs(), f.stale.as_secs())
    }

    #[test]
    fn cache_control_is_understood() {
        const DAY: u64 = 86_400;
        let control = |value| freshness(&[(header::CACHE_CONTROL, value)]);
        assert_eq!(freshness(&[]), (false, 60, DAY));
        assert_eq!(control("public, Max-Age=300"), (false, 300, DAY));
        assert_eq!(control("s-maxage=20, max-age=300"), (false, 20, DAY));
        assert_eq!(control("max-age=300, s-maxage=20"), (false, 20, DAY));
        assert_eq!(control("max-age=300, no-cache"), (false, 0, DAY));
        assert_eq!(control("no-store"), (true, 60, DAY));
        assert_eq!(control("max-age=9, must-revalidate"), (false, 9, 0));
        assert_eq!(control("max-age=9, stale-if-error=\"5\""), (false, 9, 5));
        assert_eq!(control("max-age=99999999999"), (false, DAY, DAY));
        assert_eq!(control("max-age=-1, max-age=x, ,="), (false, 60, DAY));
        let aged = [(header::CACHE_CONTROL, "max-age=30"), (header::AGE, "29")];
        assert_eq!(freshness(&aged), (false, 1, DAY));
        let old = [(header::CACHE_CONTROL, "max-age=30"), (header::AGE, "40")];
        assert_eq!(freshness(&old), (false, 0, DAY));
    }

    #[test]
    fn addresses_have_their_scope() {
        let all = [
            (
                Scope::Public,
                "8.8.8.8 172.15.0.1 172.32.0.1 100.63.0.1 2a00::1 2002:808:808::1",
            ),
            (Scope::Public, "::ffff:8.8.8.8 64:ff9b::808:808"),
            (
                Scope::Private,
                "127.0.0.1 127.9.9.9 10.1.2.3 172.16.0.1 192.168.1.1 100.64.0.1",
            ),
            (
                Scope::Private,
                "::1 fd00:ec2::254 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::1",
            ),
            (Scope::Private, "198.18.0.1 203.0.113.1 2001:db8::1 2001::1"),
            (
                Scope::Special,
                "0.0.0.0 169.254.169.254 224.0.0.1 255.255.255.255 :: fe80::1",
            ),
            (
                Scope::Special,
                "ff02::1 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe fec0::1",
            ),
        ];
        for (expected, addresses) in all {
            for address in addresses.split(' ') {
                assert_eq!(scope(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn only_http_urls_are_taken() {
        let long = |len: usize| format!("http://a/{}", "x".repeat(len - 9));
        assert_eq!(check_url(&long(URL_LEN_MAX)), Ok(()));
        assert_eq!(check_url(&long(URL_LEN_MAX + 1)), Err(UrlError::TooLong));
        assert_eq!(check_url("https://[::1]:8443/a.wav?b#c"), Ok(()));
        assert_eq!(check_url("http://u:p@a/"), Err(UrlError::Credentials));
        for url in [
            "",
            "a.wav",
            "/etc/passwd",
            "file:///etc/passwd",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://a b/",
            "gopher://a",
        ] {
            assert_eq!(check_url(url), Err(UrlError::NotHttp), "{url}");
        }
    }
}
