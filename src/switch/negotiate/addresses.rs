//! Where a party is, by its SDP, and where we must not send.

use std::net::{IpAddr, SocketAddr};

use super::{Desk, Plan};
use crate::engine::{Change, Learn, LearnPace, PAYLOAD_TYPES_MAX, Remote};
use crate::switch::SwitchError;
use crate::switch::call::{Dialogue, LegMedia};
use crate::switch::request::Options;
use crate::switch::site::{Scope, Site, scope};
use crate::wire::sdp::Media;

/// Takes where a party's SDP says it is, unless we must not send there.
pub(super) fn settle_remote(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    party: usize,
    ix: usize,
    media: &Media,
    options: &Options,
) -> Result<(), SwitchError> {
    let Some(line) = draft.parties[party].medias.get_mut(ix) else {
        return Ok(());
    };
    line.codecs.clone_from(&media.codecs);
    line.direction = media.direction;
    let Some(stream) = line.stream else {
        return Ok(());
    };
    if media.codecs.len() > PAYLOAD_TYPES_MAX {
        return Err(SwitchError::TooManyPayloadTypes {
            media: ix,
            max: PAYLOAD_TYPES_MAX,
        });
    }
    let remote = remote_of(desk.site, line, ix, media, options)?;
    line.remote = Some(remote);
    plan.changes.push(Change::Remote(stream, remote));
    Ok(())
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
        check_target(site, line, ix, address)?;
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
        check_target(site, line, ix, address)?;
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
/// multicast, and never a port of our own (two of ours would feed each other for ever).
fn check_target(
    site: &Site,
    line: &LegMedia,
    media: usize,
    address: SocketAddr,
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
    } else if site.owns(address) {
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
