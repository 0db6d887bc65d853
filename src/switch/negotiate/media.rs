//! The `m=` lines of a dialogue: their ports, payload types and routes.

use smallvec::SmallVec;

use super::branches::Standing;
use super::codecs::Settled;
use super::voices::{Conversion, Speech, Types, relayed};
use super::{Desk, Plan, echo};
use crate::engine::{
    Change, Mask, MaskMode, PAYLOAD_TYPES_MAX, Payload, PayloadType, Privacy, STREAMS_MAX,
    StreamConfig, StreamIx, Via,
};
use crate::switch::SwitchError;
use crate::switch::dialogue::{Dialogue, Offer, OfferedLine};
use crate::switch::party::LegMedia;
use crate::switch::request::{Family, Options};
use crate::wire::sdp::{Codec, Media, PtEntry};

/// What is common to the lines of one command.
pub(super) struct Terms<'a> {
    pub(super) options: &'a Options,
    pub(super) privacy: Privacy,
}

/// What travels on line `ix` between two parties. It is settled when the line gets its streams and
/// stays, as the streams do.
pub(super) fn carriage(
    draft: &Dialogue,
    parties: [usize; 2],
    ix: usize,
    media: &Media,
    privacy: Privacy,
) -> Payload {
    if !is_plain_rtp(&media.transport) {
        return Payload::Opaque;
    }
    if privacy == Privacy::Masked {
        return Payload::Rtp; // what is not read cannot be masked
    }
    let settled = parties
        .iter()
        .filter_map(|&party| draft.parties[party].medias.get(ix))
        .flat_map(|line| std::iter::once(line).chain(line.other.as_deref()))
        .find(|line| line.stream.is_some() && is_plain_rtp(&line.transport));
    match settled {
        Some(line) => line.payload,
        // A listener hears one source at a time (one clock per leg): several need a line on which
        // nothing is mapped.
        None if media.has_many_sources() => Payload::Opaque,
        None => Payload::Rtp,
    }
}

/// Only plain RTP is read. SRTP, DTLS and UDPTL are between the parties: renumbering SRTP would
/// break its authentication, so its packets pass untouched.
fn is_plain_rtp(transport: &str) -> bool {
    ["RTP/AVP", "RTP/AVPF"]
        .iter()
        .any(|t| t.eq_ignore_ascii_case(transport))
}

/// Makes sure that `party` has ports for line `ix`, of the family asked for where it has one.
pub(super) fn ensure_media(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    (party, ix): (usize, usize),
    (media, payload): (&Media, Payload),
    family: Option<Family>,
    terms: &Terms<'_>,
) -> Result<(), SwitchError> {
    if let Some(line) = draft.parties[party].medias.get_mut(ix) {
        if !media.rejected() {
            line.turn(payload);
        }
        match line.stream {
            Some(stream) if media.rejected() || line.payload == payload => {
                if !media.rejected() {
                    line.kind = media.kind.as_str().into();
                    line.transport = media.transport.as_str().into();
                }
                if let Some(own) = terms.options.own_rtcp {
                    plan.changes.push(Change::OwnRtcp(stream, own));
                }
                return Ok(());
            }
            None if media.rejected() => return Ok(()),
            _ => {}
        }
    }
    let line = if media.rejected() {
        LegMedia::rejected(media, desk.site.unspecified(), terms.privacy)
    } else {
        open_line(
            desk,
            draft,
            plan,
            (party, ix),
            (media, payload),
            family,
            terms,
        )?
    };
    let medias = &mut draft.parties[party].medias;
    match medias.get_mut(ix) {
        Some(old) => {
            let old = std::mem::replace(old, line);
            if old.stream.is_some() {
                medias[ix].other = Some(Box::new(LegMedia { other: None, ..old }));
            }
        }
        None => medias.push(line),
    }
    Ok(())
}

/// Opens ports and a stream for a line of `party`.
fn open_line(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    (party, ix): (usize, usize),
    (media, payload): (&Media, Payload),
    family: Option<Family>,
    terms: &Terms<'_>,
) -> Result<LegMedia, SwitchError> {
    if draft.streams >= STREAMS_MAX {
        return Err(SwitchError::TooManyStreams { max: STREAMS_MAX });
    }
    let stream = StreamIx(u16::try_from(draft.streams).expect("STREAMS_MAX fits"));
    let owner = &draft.parties[party];
    let pair = desk
        .site
        .open_pair(&owner.interface, family, terms.options.tos, desk.now)?;
    let line = LegMedia {
        stream: Some(stream),
        local: pair.lease.local(),
        advertised: pair.lease.advertised().ip(),
        payload,
        transport: media.transport.as_str().into(),
        idle: owner.idle,
        ..LegMedia::rejected(media, pair.lease.local(), terms.privacy)
    };
    plan.changes.push(Change::AddStream(StreamConfig {
        leg: owner.leg,
        media: u8::try_from(ix).expect("SDP_MEDIA_MAX fits"),
        payload,
        privacy: terms.privacy,
        own_rtcp: terms.options.own_rtcp.unwrap_or(false),
    }));
    if owner.gates.blocked {
        plan.changes.push(Change::Block(stream, true));
    }
    if owner.gates.silenced {
        plan.changes.push(Change::Silence(stream, true));
    }
    plan.opened.push((stream, pair));
    draft.streams += 1;
    Ok(line)
}

/// Routes one line of an agreement between its offerer and its answerer.
pub(super) fn join(
    draft: &mut Dialogue,
    plan: &mut Plan,
    offer: &Offer,
    (ix, answered): (usize, &Media),
    settled: &Settled,
    standing: Standing,
) {
    let line = &offer.lines[ix];
    let rejected = answered.rejected() || line.media.rejected();
    let mut streams = [None; 2];
    for (slot, party, media) in [
        (0, offer.offerer, &line.media),
        (1, offer.answerer, answered),
    ] {
        let Some(own) = draft.parties[party].medias.get_mut(ix) else {
            continue;
        };
        own.turn(line.payload);
        // Without a stream the line was never accepted, and holds the other party's too.
        let Some(stream) = own.stream else { continue };
        let (sends, receives) = may(media);
        own.receives = receives && !rejected;
        plan.direct(stream, sends && !rejected, own.receives);
        streams[slot] = Some(stream).filter(|_| own.payload == line.payload);
        // What the line carried before ends here.
        if let Some(before) = own.other.as_ref().and_then(|other| other.stream) {
            plan.direct(before, false, false);
        }
    }
    let [Some(a), Some(b)] = streams else { return };
    let conversion = settled.conversion.filter(|_| !rejected);
    let recoded = settled.types.iter().any(|types| is_recoded(types));
    let made = recoded || conversion.is_some_and(|all| all.contains(&Conversion::Made));
    for (slot, party) in [offer.offerer, offer.answerer].into_iter().enumerate() {
        let voice = settled.voices.as_ref().map(|voices| voices[slot].clone());
        let own = &mut draft.parties[party].medias[ix];
        give_voice(own, plan, settled.types[slot].clone(), voice, made);
    }
    convert(
        draft,
        plan,
        [(offer.offerer, ix), (offer.answerer, ix)],
        conversion,
    );
    if standing != Standing::Lost {
        plan.changes.push(Change::Link {
            from: a,
            to: Some(b),
        });
    }
    plan.changes.push(Change::Link {
        from: b,
        to: Some(a),
    });
    if standing != Standing::Lost {
        plan.changes.push(Change::Source {
            listener: a,
            source: Some(b).filter(|_| standing == Standing::Chosen),
        });
    }
    plan.changes.push(Change::Source {
        listener: b,
        source: Some(a),
    });
    for party in [offer.offerer, offer.answerer] {
        echo::route(draft, plan, party, ix);
    }
}

fn may(media: &Media) -> (bool, bool) {
    // RFC 3264 section 8.4: c=0.0.0.0 is the old way to say that nothing should be sent there.
    (
        media.direction.sends(),
        media.direction.receives() && !media.zero_address,
    )
}

/// What a party may send, and what it speaks where that is known; the engine has to know it where
/// it is `needed`, or was before.
pub(super) fn give_voice(
    line: &mut LegMedia,
    plan: &mut Plan,
    types: Types,
    speech: Option<Speech>,
    needed: bool,
) {
    let Some(stream) = line.stream else { return };
    if let Some(Speech {
        mut voice,
        noise,
        event,
    }) = speech
    {
        (line.speaks, line.noise, line.event) = (voice.speaks, noise, event);
        line.voiced |= needed;
        // A leg that only relays has no ear and no voice, and does not pay for them.
        if line.voiced {
            voice.idle = line.idle.for_party(noise);
            plan.changes.push(Change::Voice(stream, Box::new(voice)));
            plan.changes.push(Change::EventType(stream, event));
        }
    }
    let mut types = types;
    types.truncate(PAYLOAD_TYPES_MAX); // the answerer's own numbers come before the offered ones
    line.types.clone_from(&types);
    plan.changes.push(Change::PayloadTypes(stream, types));
}

/// Keys in what two parties say on a line become events of ours, or do no more, as `conversion`
/// says, where it was asked for. A mask that was commanded stays.
pub(super) fn convert(
    draft: &mut Dialogue,
    plan: &mut Plan,
    lines: [(usize, usize); 2],
    conversion: Option<[Conversion; 2]>,
) {
    for (side, (party, ix)) in lines.into_iter().enumerate() {
        let party = &mut draft.parties[party];
        let own = &mut party.medias[ix];
        let becomes = conversion.map(|all| all[side]);
        let converts = becomes == Some(Conversion::Made);
        own.asks_conversion = conversion.is_some();
        let before = std::mem::replace(&mut own.converts, converts);
        if let Some(stream) = own
            .stream
            .filter(|_| before != converts && party.mask.is_none())
        {
            let mask = converts.then(|| Box::new(Mask::of(MaskMode::Convert)));
            plan.changes.push(Change::Mask(stream, mask));
        }
        if becomes == Some(Conversion::Impossible) {
            plan.warn(format!("media {ix}: {NOT_CONVERTED}"));
        }
    }
}

/// Said where keys in audio cannot be found.
const NOT_CONVERTED: &str =
    "keys in the audio are not converted to telephone-event: a codec cannot be decoded";

/// Whether any of it is decoded and encoded anew, or sounds.
pub(super) fn is_recoded(types: &[PayloadType]) -> bool {
    let made = |kind: &PayloadType| matches!(kind.via, Via::Decode | Via::Tones);
    types.iter().any(made)
}

pub(super) fn payload_types(stream: StreamIx, routes: &[PtEntry]) -> Change {
    let types = routes.iter().take(PAYLOAD_TYPES_MAX).map(relayed);
    Change::PayloadTypes(stream, types.collect())
}

/// Before an answer each party may send what was offered, by the numbers it knows: what the
/// offerer sends, and what the answerer does.
pub(super) fn offered_types(line: &OfferedLine) -> [SmallVec<[PtEntry; 4]>; 2] {
    let entry = |codec: &Codec, from: u8, to: u8| PtEntry {
        from,
        to,
        clock_hz: codec.clock_hz,
        encoding: codec.encoding(),
    };
    let codecs = &line.media.codecs;
    let sent = |codec: &Codec| line.sent.get(codec.pt);
    [
        codecs.iter().map(|c| entry(c, c.pt, sent(c))).collect(),
        codecs.iter().map(|c| entry(c, sent(c), c.pt)).collect(),
    ]
}
