//! A party alone: its offer is answered by the switch itself, and it hears nobody until it is
//! played to, bridged or meshed.

use std::fmt::Write as _;

use super::addresses::{settle_remote, told_address};
use super::codecs::filter;
use super::media::{Terms, carriage, ensure_media, give_voice};
use super::mux::set_mux;
use super::privacy::settle_privacy;
use super::voices::{Side, describe, is_wide, kind_of, relay};
use super::{Desk, Plan, add_party, take_identity};
use crate::engine::{Payload, STREAMS_MAX};
use crate::switch::SwitchError;
use crate::switch::dialogue::Dialogue;
use crate::switch::party::LegMedia;
use crate::switch::request::{Family, Negotiation, Options};
use crate::wire::sdp::{Codec, Description, Encoding, Media};

/// Handles the offer of a party alone; returns the answer to it.
pub(in crate::switch) fn publish(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    n: &Negotiation<'_>,
) -> Result<String, SwitchError> {
    let description = Description::parse(n.sdp)?;
    let [near, _] = &n.options.interfaces;
    let party = match draft.party_by_tag(n.from_tag) {
        Some(known) if draft.parties[known].published => known,
        Some(_) => return Err(SwitchError::UnknownDialogue),
        None => {
            let interface = desk.site.interface_name(near.as_deref())?;
            add_party(desk, draft, &interface, STREAMS_MAX)?
        }
    };
    draft.parties[party].published = true;
    take_identity(&mut draft.parties[party], n.from_tag, &n.options);
    let terms = Terms {
        options: &n.options,
        privacy: settle_privacy(desk, draft, plan, &n.options),
    };
    let family = description.medias().iter().find_map(|m| m.address);
    let family = n.options.family.or_else(|| family.map(Family::of));
    let mut lines = String::new();
    for (ix, media) in description.medias().iter().enumerate() {
        let payload = carriage(draft, [party; 2], ix, media, terms.privacy);
        let accepted = accept(media, payload, &n.options);
        if accepted.is_empty() && !media.rejected() {
            plan.warn(format!(
                "media {ix}: rejected: only plain RTP audio in a codec that can be decoded is heard"
            ));
        }
        // As if it had come with port 0.
        let mut taken = media.clone();
        if accepted.is_empty() {
            (taken.port, taken.bundle_only) = (0, false);
        }
        let what = (&taken, payload);
        ensure_media(desk, draft, plan, (party, ix), what, family, &terms)?;
        settle_remote(desk, draft, plan, (party, ix), &taken, &n.options, false)?;
        let mux = media.rtcp_mux && !n.options.mux.reject && !accepted.is_empty();
        set_mux(draft, plan, party, ix, mux);
        let line = &mut draft.parties[party].medias[ix];
        settle_voice(line, plan, &taken, &accepted, &n.options);
        write_line(&mut lines, line, &taken, &accepted, mux, &n.options);
    }
    let session = session(desk, draft, party, &n.options, &lines);
    Ok(session + &lines)
}

/// What of a line is accepted: the first sound that can be decoded and encoded, and the digits
/// that go with it. Nothing: it is rejected.
fn accept(media: &Media, payload: Payload, options: &Options) -> Vec<Codec> {
    let audio = media.kind.eq_ignore_ascii_case("audio") && payload == Payload::Rtp;
    if !audio || media.rejected() {
        return Vec::new();
    }
    let filter = filter(&options.codecs);
    let filter = filter.for_media(&media.codecs);
    let mut offered = media.codecs.iter().filter(|codec| filter.passes(codec));
    let Some((sound, kind)) = offered.find_map(|codec| Some((codec, kind_of(codec)?))) else {
        return Vec::new();
    };
    let own = Codec {
        name: sound.name.clone(),
        channels: sound.channels,
        ..describe(kind, sound.pt, None, is_wide(sound))
    };
    let digits = media.codecs.iter().find(|codec| {
        codec.encoding() == Encoding::TelephoneEvent && codec.clock_hz == sound.clock_hz
    });
    std::iter::once(own).chain(digits.cloned()).collect()
}

/// Tells the engine what the party sends, and notes what it is sent once something is made.
fn settle_voice(
    line: &mut LegMedia,
    plan: &mut Plan,
    media: &Media,
    accepted: &[Codec],
    options: &Options,
) {
    let Some(stream) = line.stream else { return };
    let accepts = !accepted.is_empty();
    line.receives = accepts && media.direction.receives() && !media.zero_address;
    plan.direct(stream, accepts && media.direction.sends(), line.receives);
    // What it wishes stands in its own SDP.
    let wishes: Vec<&Codec> = accepted
        .iter()
        .filter_map(|own| media.codec(own.pt))
        .collect();
    let ptime = options.ptime_reverse.or(options.ptime);
    let side = Side::new(wishes, None, true).with_ptime(ptime, media.ptime);
    let types = accepted
        .iter()
        .map(|codec| relay(codec.pt, codec.pt, codec));
    let voice = side.voice_of_all();
    give_voice(line, plan, types.collect(), Some(voice), false);
}

/// One line of the answer.
fn write_line(
    out: &mut String,
    line: &LegMedia,
    media: &Media,
    accepted: &[Codec],
    mux: bool,
    options: &Options,
) {
    let (kind, transport) = (&media.kind, &media.transport);
    if accepted.is_empty() {
        let format = media.formats().next().unwrap_or("0");
        let _infallible = write!(out, "m={kind} 0 {transport} {format}\r\n");
        return;
    }
    let port = line.local.port();
    let formats: String = accepted
        .iter()
        .map(|codec| format!(" {}", codec.pt))
        .collect();
    let address = told_address(line, options);
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let _infallible = write!(
        out,
        "m={kind} {port} {transport}{formats}\r\nc=IN {family} {address}\r\n"
    );
    for codec in accepted {
        write_codec(out, codec);
    }
    let direction = media.direction.reversed().as_str();
    let ptime = line.speaks.map_or(20, |spoken| spoken.ptime_ms);
    let _infallible = write!(out, "a={direction}\r\na=ptime:{ptime}\r\n");
    let _infallible = match mux {
        true => write!(out, "a=rtcp:{port}\r\na=rtcp-mux\r\n"),
        false => write!(out, "a=rtcp:{}\r\n", port.saturating_add(1)),
    };
}

fn write_codec(out: &mut String, codec: &Codec) {
    let (pt, name, clock_hz) = (codec.pt, &codec.name, codec.clock_hz);
    let channels = match codec.channels {
        0 | 1 => String::new(),
        channels => format!("/{channels}"),
    };
    let _infallible = write!(out, "a=rtpmap:{pt} {name}/{clock_hz}{channels}\r\n");
    if let Some(fmtp) = &codec.fmtp {
        let _infallible = write!(out, "a=fmtp:{pt} {fmtp}\r\n");
    }
}

/// The session part. Its version grows when the lines change (RFC 3264 section 8).
fn session(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    party: usize,
    options: &Options,
    lines: &str,
) -> String {
    let party = &mut draft.parties[party];
    let mut open = party.medias.iter().filter(|line| line.stream.is_some());
    let unspecified = || desk.site.unspecified().ip();
    let address = open
        .next()
        .map_or_else(unspecified, |line| told_address(line, options));
    let (id, version) = party.origin.next(lines, || desk.site.random());
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- {id} {version} IN {family} {address}\r\ns=-\r\n\
         c=IN {family} {address}\r\nt=0 0\r\n"
    )
}
