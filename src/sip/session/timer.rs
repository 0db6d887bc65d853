//! Session timers (RFC 4028): a session that nobody refreshes ends.

use std::time::Duration;

use rsipstack::sip::{Header, HeadersExt};
use tokio::time::Instant;

/// What a refresh that is due may still take, at most (RFC 4028 section 10).
const GRACE_MAX: Duration = Duration::from_secs(32);

/// Who refreshes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) enum Refresher {
    /// We.
    Us,
    /// The other end; it is over if that does not come.
    Them,
}

/// When a session expires.
#[derive(Clone, Copy, Debug)]
pub(in crate::sip) struct SessionTimer {
    interval: Duration,
    refresher: Refresher,
    since: Instant,
}

impl SessionTimer {
    pub(in crate::sip) fn new(interval: Duration, refresher: Refresher) -> Self {
        Self {
            interval,
            refresher,
            since: Instant::now(),
        }
    }

    /// What is agreed to as the one that is asked: in an INVITE, a re-INVITE or an UPDATE. `None`:
    /// it asks for no timer.
    ///
    /// # Errors
    /// The shortest session in seconds, to be said with 422.
    pub(in crate::sip) fn asked(
        request: &impl HeadersExt,
        min: Duration,
    ) -> Result<Option<Self>, u64> {
        let Some((interval, refresher)) = session_expires(request) else {
            return Ok(None);
        };
        if interval < min {
            return Err(min.as_secs());
        }
        let refresher = match refresher.as_deref() {
            Some("uas") => Refresher::Us,
            // One that does not know timers does not refresh (section 9, table 2).
            _ if !request.header_contains_token("Supported", "timer") => Refresher::Us,
            _ => Refresher::Them,
        };
        Ok(Some(Self::new(interval, refresher)))
    }

    /// What was agreed to in a 2xx to a request of ours.
    pub(in crate::sip) fn agreed(response: &impl HeadersExt) -> Option<Self> {
        let (interval, refresher) = session_expires(response)?;
        let refresher = match refresher.as_deref() {
            Some("uas") => Refresher::Them,
            _ => Refresher::Us,
        };
        Some(Self::new(interval, refresher))
    }

    /// For our 2xx.
    pub(in crate::sip) fn answer(&self) -> Vec<Header> {
        match self.refresher {
            Refresher::Us => vec![self.header("uas")],
            Refresher::Them => vec![self.header("uac"), Header::Require("timer".into())],
        }
    }

    /// For our own refreshing request.
    pub(in crate::sip) fn request(&self) -> Vec<Header> {
        let role = match self.refresher {
            Refresher::Us => "uac",
            Refresher::Them => "uas",
        };
        vec![self.header(role), Header::Supported("timer".into())]
    }

    fn header(&self, refresher: &str) -> Header {
        let seconds = self.interval.as_secs();
        Header::SessionExpires(format!("{seconds};refresher={refresher}").into())
    }

    /// The same, counted from now.
    pub(in crate::sip) fn again(self) -> Self {
        Self::new(self.interval, self.refresher)
    }

    pub(in crate::sip) const fn refresher(&self) -> Refresher {
        self.refresher
    }

    /// When we are to refresh it (half of its time), or when it is given up as unrefreshed.
    pub(in crate::sip) fn due(&self) -> Instant {
        match self.refresher {
            Refresher::Us => self.since + self.interval / 2,
            Refresher::Them => self.since + self.interval - GRACE_MAX.min(self.interval / 3),
        }
    }
}

fn session_expires(message: &impl HeadersExt) -> Option<(Duration, Option<String>)> {
    let header = message.session_expires_header()?.value();
    let mut parts = header.split(';').map(str::trim);
    let seconds: u32 = parts.next()?.parse().ok()?;
    let refresher = parts.find_map(|p| p.strip_prefix("refresher="));
    Some((
        Duration::from_secs(seconds.into()),
        refresher.map(str::to_ascii_lowercase),
    ))
}
