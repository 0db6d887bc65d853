//! The offer that a listener is written.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use super::Desk;
use super::addresses::told_address;
use crate::engine::Privacy;
use crate::switch::dialogue::Dialogue;
use crate::switch::party::LegMedia;
use crate::switch::request::{RtcpAttributeStyle, Subscribe};
use crate::wire::sdp::{Codec, Composed, ComposedMedia, RtcpAttribute, numbers_for};

/// The offer to a listener. Its version grows when the text changes (RFC 3264 section 8).
pub(super) fn write(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    ix: usize,
    wanted: &Subscribe<'_>,
) -> String {
    let mut medias = Vec::with_capacity(draft.listeners[ix].lines.len());
    for n in 0..draft.listeners[ix].lines.len() {
        medias.push(write_line(draft, (ix, n), wanted));
    }
    let party = &mut draft.listeners[ix].party;
    let own = &mut party.origin;
    if own.session_id == 0 {
        own.session_id = desk.site.random() >> 2;
    }
    let first = medias.first().map(|media| media.address);
    let mut offer = Composed {
        session_id: own.session_id,
        version: 0,
        address: first.unwrap_or_else(|| desk.site.unspecified().ip()),
        medias,
    };
    let mut hasher = DefaultHasher::new();
    offer.write().hash(&mut hasher);
    let text = hasher.finish();
    if own.version == 0 || own.text != text {
        (own.version, own.text) = (own.version + 1, text);
    }
    offer.version = own.version;
    offer.write()
}

fn write_line(
    draft: &mut Dialogue,
    (ix, n): (usize, usize),
    wanted: &Subscribe<'_>,
) -> ComposedMedia {
    let options = &wanted.options;
    let listener = &draft.listeners[ix];
    let (own, line) = (&listener.party.medias[n], &listener.lines[n]);
    let address = told_address(own, options);
    let port = line.source.map_or(0, |_| own.local.port());
    let rtcp_port = if line.mux {
        port
    } else {
        port.saturating_add(1)
    };
    let rtcp = match options.rtcp_attribute {
        _ if port == 0 => RtcpAttribute::None,
        RtcpAttributeStyle::Omit => RtcpAttribute::None,
        RtcpAttributeStyle::Port => RtcpAttribute::Port(rtcp_port),
        RtcpAttributeStyle::Full => RtcpAttribute::Full(rtcp_port, address),
    };
    let heard = line.source.and_then(|source| draft.audible(source));
    let codecs = heard.map_or_else(Vec::new, |heard| offered(heard, own));
    let composed = ComposedMedia {
        kind: own.kind.clone(),
        transport: own.transport.clone(),
        address,
        port,
        codecs,
        direction: line.direction,
        rtcp,
        rtcp_mux: line.mux && port != 0,
        label: wanted.siprec.then(|| u16::try_from(n).unwrap_or(0)),
    };
    let own = &mut draft.listeners[ix].party.medias[n];
    own.learn_numbers(composed.codecs.iter().cloned());
    composed
}

/// What a listener is offered of what a party may send: each codec once, under a number that means
/// nothing else to the listener (RFC 3264 section 8.3.2).
fn offered(heard: &LegMedia, own: &LegMedia) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = Vec::new();
    let address = heard.remote_address().map(|at| at.ip());
    for codec in said_on(heard) {
        let known = codecs.iter().any(|before| before.same_as(codec));
        if !known && !codec.name.is_empty() {
            let tells = |text: &String| own.privacy == Privacy::Masked && names(text, address);
            codecs.push(Codec {
                feedback: Vec::new(),
                fmtp: codec.fmtp.clone().filter(|fmtp| !tells(fmtp)),
                ..codec.clone()
            });
        }
    }
    let numbers = numbers_for(&codecs, &own.numbers);
    for codec in &mut codecs {
        codec.pt = numbers.get(codec.pt);
    }
    codecs
}

fn names(text: &str, address: Option<IpAddr>) -> bool {
    address.is_some_and(|ip| text.contains(&ip.to_string()))
}

/// What a party may send on a line, by all numbers it may use: as it was agreed, or before that
/// all that is known of it.
pub(super) fn said_on(source: &LegMedia) -> Vec<&Codec> {
    let meant = |pt: u8| source.numbers.iter().find(|codec| codec.pt == pt);
    let agreed = source.types.iter().filter_map(|kind| meant(kind.pt));
    let agreed: Vec<&Codec> = agreed.collect();
    match agreed.is_empty() {
        true => source.numbers.iter().collect(),
        false => agreed,
    }
}
