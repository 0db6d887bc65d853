//! Where a target of a flow leads. A number of this very switch is called over SIP like any other,
//! on its own listener, so that a flow can be the party that another flow calls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sip::{Cause, Listen, Transport};

/// Most calls in a row from flow to flow: a flow that calls itself ends with 482 (Loop Detected).
pub const LOCAL_HOPS_MAX: u8 = 8;

/// Begins a target that is a number of this switch: `local:1000`.
pub(super) const LOCAL: &str = "local:";
/// Longest number.
const NUMBER_MAX: usize = 64;

/// Whether it is a number of this very switch.
pub(super) fn is_local(to: &str) -> bool {
    to.starts_with(LOCAL)
}

/// A party to call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// As [`Outgoing::to`](crate::sip::Outgoing::to) has it.
    pub(super) to: String,
    /// Hops that the call has left, at least one.
    pub(super) hops: u8,
}

impl Target {
    /// Where `to` leads for a call that came in with so many hops left.
    ///
    /// # Errors
    /// 482 for a number of ours, and 483 for others, where none is left; 404 for what is no
    /// number, and 503 where nothing listens for it.
    pub(super) fn of(to: &str, left: u8, listens: &[Listen]) -> Result<Self, Cause> {
        let Some(number) = to.strip_prefix(LOCAL) else {
            let hops = fewer(left).ok_or(Cause(483))?;
            let to = to.to_owned();
            return Ok(Self { to, hops });
        };
        let hops = fewer(left).ok_or(Cause(482))?.min(LOCAL_HOPS_MAX);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'+".contains(c);
        if number.is_empty() || number.len() > NUMBER_MAX || !number.chars().all(is_plain) {
            return Err(Cause(404));
        }
        let mut datagrams = listens.iter().filter(|l| l.transport == Transport::Udp);
        let here = datagrams.next().ok_or(Cause(503))?.address;
        let to = format!("sip:{number}@{}", reachable(here));
        Ok(Self { to, hops })
    }
}

/// One hop less; none is left to a call that would be refused where it arrives.
fn fewer(hops: u8) -> Option<u8> {
    hops.checked_sub(1).filter(|hops| *hops > 0)
}

/// An address by which a listener is reached from its own machine.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(ip, listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(to: &str, left: u8, listens: &[&str]) -> Result<(String, u8), u16> {
        let listens: Vec<Listen> = listens.iter().map(|l| l.parse().unwrap()).collect();
        match Target::of(to, left, &listens) {
            Ok(target) => Ok((target.to, target.hops)),
            Err(Cause(code)) => Err(code),
        }
    }

    #[test]
    fn a_number_of_ours_is_called_at_our_first_listener_of_datagrams() {
        let at = |listens: &[&str]| of("local:+49-30", 70, listens).map(|(to, _)| to);
        let found = |to: &str| Ok(to.to_owned());
        let listens = ["tcp:127.0.0.1:5060", "udp:192.0.2.1:5070", "udp:[::1]:1"];
        assert_eq!(at(&listens), found("sip:+49-30@192.0.2.1:5070"));
        assert_eq!(at(&["udp:0.0.0.0:1"]), found("sip:+49-30@127.0.0.1:1"));
        assert_eq!(at(&["udp:[::]:1"]), found("sip:+49-30@[::1]:1"));
        assert_eq!(at(&["tcp:127.0.0.1:5060"]), Err(503));
        let long = format!("local:{}", "1".repeat(NUMBER_MAX));
        assert!(of(&long, 70, &listens).is_ok());
        for odd in ["local:", "local:a@b", "local:1 2", &format!("{long}1")] {
            assert_eq!(of(odd, 70, &listens), Err(404), "{odd}");
        }
    }

    #[test]
    fn hops_come_to_an_end() {
        let hops = |to: &str, left| of(to, left, &["udp:127.0.0.1:1"]).map(|(_, hops)| hops);
        assert_eq!(hops("local:1", 70), Ok(LOCAL_HOPS_MAX));
        assert_eq!(hops("local:1", LOCAL_HOPS_MAX), Ok(LOCAL_HOPS_MAX - 1));
        assert_eq!(hops("local:1", 2), Ok(1));
        assert_eq!(hops("local:1", 1), Err(482));
        assert_eq!(hops("local:1", 0), Err(482));
        assert_eq!(hops("anna", 70), Ok(69));
        assert_eq!(hops("anna", 1), Err(483));
        assert_eq!(hops("anna", 0), Err(483));
    }
}
