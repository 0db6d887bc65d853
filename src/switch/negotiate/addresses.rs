//! Where a party is, by its SDP, and where we must not send.

use std::net::{IpAddr, SocketAddr};

use super::{Desk, Plan};
use crate::engine::{Change, Learn, LearnPace, PAYLOAD_TYPES_MAX, Remote};
use crate::switch::SwitchError;
use crate::switch::dialogue::Dialogue;
use crate::switch::party::LegMedia;
use crate::switch::request::Options;
use crate::switch::site::{Scope, Site, scope};
use crate::wire::sdp::{Codec, Media};

/// Takes where a party's SDP says it is, unless we must not send there; returns it.
///
/// An offer that takes the address away does so only when it is answered ([`take_remote`]): until
/// then the old one holds, as the offer may be refused (RFC 3264 section 8). A new address counts
/// at once, since a party that has moved is not where it was.
pub(super) fn settle_remote(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    (party, ix): (usize, usize),
    media: &Media,
    options: &Options,
    is_offer: bool,
) -> Result<Option<Remote>, SwitchError> {
    match draft.parties[party].medias.get_mut(ix) {
        Some(line) => settle_line(desk, line, plan, ix, media, options, is_offer),
        None => Ok(None),
    }
}

/// As [`settle_remote`], of line `ix` of whomever.
pub(super) fn settle_line(
    desk: &Desk<'_>,
    line: &mut LegMedia,
    plan: &mut Plan,
    ix: usize,
    media: &Media,
    options: &Options,
    is_offer: bool,
) -> Result<Option<Remote>, SwitchError> {
    let name = |c: &Codec| format!("{}/{}", c.name, c.clock_hz).into();
    line.codec = media.codecs.first().map(name).unwrap_or_default();
    if !media.rejected() {
        line.learn_numbers(media.codecs.iter().cloned());
    }
    line.direction = media.direction;
    let Some(stream) = line.stream else {
        return Ok(None);
    };
    if media.codecs.len() > PAYLOAD_TYPES_MAX {
        return Err(SwitchError::TooManyPayloadTypes {
            media: ix,
            max: PAYLOAD_TYPES_MAX,
        });
    }
    warn(plan, ix, media, options);
    let remote = remote_of(desk.site, line, ix, media, options)?;
    let withdraws = remote.rtp.is_none() && line.remote_address().is_some();
    if !(is_offer && withdraws) {
        line.remote = Some(remote);
        plan.changes.push(Change::Remote(stream, remote));
    }
    Ok(Some(remote))
}

/// What an offer said of the offerer's address has come to pass.
pub(super) fn take_remote(line: &mut LegMedia, plan: &mut Plan, offered: Remote) {
    let mux = line.remote.is_some_and(|r| r.mux);
    let remote = Remote { mux, ..offered };
    if line.remote != Some(remote) {
        line.remote = Some(remote);
        plan.changes
            .extend(line.stream.map(|stream| Change::Remote(stream, remote)));
    }
}

/// An accepted line without an address is silent for ever: its sender should hear of it.
fn warn(plan: &mut Plan, ix: usize, media: &Media, options: &Options) {
    if media.rejected() || media.port == 0 || media.zero_address {
        return;
    }
    if options.sip_source_address {
        if options.received_from.is_none() {
            let why = "SIP-source-address without received-from";
            plan.warn(format!(
                "media {ix}: {why}: no address, no media to this party"
            ));
        }
    } else if media.address_is_name {
        plan.warn(format!(
            "media {ix}: c= is a host name, which is not resolved: no media to this party"
        ));
    } else if media.address.is_none() {
        plan.warn(format!("media {ix}: no c= line: no media to this party"));
    }
}

fn remote_of(
    site: &Site,
    line: &LegMedia,
    ix: usize,
    media: &Media,
    options: &Options,
) -> Result<Remote, SwitchError> {
    let told = if options.sip_source_address {
        options.received_from
    } else {
        media.address
    };
    let usable = !media.rejected() && !media.zero_address && media.port != 0;
    let ip = told.filter(|_| usable);
    let rtp = ip.map(|ip| SocketAddr::new(ip, media.port));
    if let Some(address) = rtp {
        check_target(site, line, ix, address, options)?;
    }
    let rtcp = match (ip, media.rtcp) {
        (None, _) => None,
        (Some(ip), Some(named)) => {
            let other = named.address.filter(|_| !options.sip_source_address);
            Some(SocketAddr::new(other.unwrap_or(ip), named.port))
        }
        (Some(ip), None) => media
            .port
            .checked_add(1)
            .map(|port| SocketAddr::new(ip, port)),
    };
    if let Some(address) = rtcp.filter(|r| Some(r.ip()) != ip || Some(*r) == rtp) {
        check_target(site, line, ix, address, options)?;
    }
    let unreachable = |ip| scope(ip) == Scope::Private && scope(line.advertised) != Scope::Private;
    let learn = Learn {
        pace: options.learn_pace.unwrap_or(LearnPace::Heuristic),
        likely: options.received_from.filter(|from| Some(*from) != ip),
        anyone: ip.is_some_and(unreachable),
        handover: options.handover,
        asymmetric: options.asymmetric,
    };
    // A multiplexing answer holds at once; an offer only once it was answered so.
    Ok(Remote {
        rtp,
        rtcp,
        mux: line.remote.is_some_and(|r| r.mux),
        learn,
    })
}

/// The design's rule: loopback and link-local only where the leg's own interface is one, never
/// multicast, and never a port of our own (two of ours would feed each other for ever) unless the
/// command says so.
fn check_target(
    site: &Site,
    line: &LegMedia,
    media: usize,
    address: SocketAddr,
    options: &Options,
) -> Result<(), SwitchError> {
    let (to, own) = (scope(address.ip()), scope(line.local.ip()));
    let why = if address.port() == 0 {
        "port 0"
    } else if address.is_ipv4() != line.local.is_ipv4() {
        "not of the address family of its leg"
    } else if to == Scope::Nobody {
        "not a unicast address"
    } else if to == Scope::Loopback && own != Scope::Loopback {
        "loopback"
    } else if to == Scope::LinkLocal && own != Scope::LinkLocal {
        "link-local"
    } else if site.owns(address) && !options.own_ports {
        "one of the switch's own ports"
    } else {
        return Ok(());
    };
    Err(SwitchError::RefusedTarget {
        address,
        media,
        why,
    })
}

pub(super) fn anyone() -> Learn {
    Learn {
        pace: LearnPace::Heuristic,
        likely: None,
        anyone: true,
        handover: false,
        asymmetric: false,
    }
}

/// The address a party is told: ours, or the one the command has for this very SDP.
pub(super) fn told_address(line: &LegMedia, options: &Options) -> IpAddr {
    let same_family = |ip: &IpAddr| ip.is_ipv4() == line.advertised.is_ipv4();
    options
        .media_address
        .filter(same_family)
        .unwrap_or(line.advertised)
}
