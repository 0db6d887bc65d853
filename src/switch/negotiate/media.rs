//! The `m=` lines of a dialogue: their ports, payload types and routes.

use smallvec::SmallVec;

use super::{Desk, Plan};
use crate::engine::{
    CLOCK_HZ_MAX, Change, PAYLOAD_TYPES_MAX, Payload, PayloadType, Privacy, STREAMS_MAX,
    StreamConfig, StreamIx,
};
use crate::switch::SwitchError;
use crate::switch::call::{Dialogue, LegMedia};
use crate::switch::request::{Family, Options};
use crate::wire::sdp::{Direction, Encoding, Media, PtEntry, PtMaps};

/// Makes sure that `party` has ports for line `ix`, of the family asked for where it has one.
#[allow(
    clippy::too_many_arguments,
    reason = "the whole context of one line, used once"
)]
pub(super) fn ensure_media(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    party: usize,
    ix: usize,
    media: &Media,
    family: Option<Family>,
    options: &Options,
    privacy: Privacy,
) -> Result<(), SwitchError> {
    let payload = payload_of(&media.transport);
    if let Some(line) = draft.parties[party].medias.get_mut(ix) {
        let of_kind = |line: &LegMedia| payload_of(&line.transport) == payload;
        if !media.rejected()
            && !of_kind(line)
            && let Some(mut other) = line.other.take_if(|other| of_kind(other))
        {
            std::mem::swap(line, &mut other);
            line.other = Some(other);
        }
        match line.stream {
            Some(stream) if media.rejected() || of_kind(line) => {
                if let Some(own) = options.own_rtcp {
                    plan.changes.push(Change::OwnRtcp(stream, own));
                }
                return Ok(());
            }
            None if media.rejected() => return Ok(()),
            _ => {}
        }
    }
    let line = if media.rejected() {
        LegMedia::rejected(media, desk.site.unspecified(), privacy)
    } else {
        if draft.streams >= STREAMS_MAX {
            return Err(SwitchError::TooManyStreams { max: STREAMS_MAX });
        }
        let stream = StreamIx(u8::try_from(draft.streams).expect("STREAMS_MAX fits"));
        let interface = draft.parties[party].interface.clone();
        let pair = desk
            .site
            .open_pair(&interface, family, options.tos, desk.now)?;
        let line = LegMedia {
            stream: Some(stream),
            local: pair.lease.local(),
            advertised: pair.lease.advertised().ip(),
            kind: media.kind.as_str().into(),
            transport: media.transport.as_str().into(),
            codecs: Vec::new(),
            remote: None,
            direction: Direction::SendRecv,
            privacy,
            other: None,
        };
        plan.changes.push(Change::AddStream(StreamConfig {
            leg: draft.parties[party].leg,
            media: u8::try_from(ix).expect("SDP_MEDIA_MAX fits"),
            payload,
            privacy,
            own_rtcp: options.own_rtcp.unwrap_or(false),
        }));
        let gates = draft.parties[party].gates;
        if gates.blocked {
            plan.changes.push(Change::Block(stream, true));
        }
        if gates.silenced {
            plan.changes.push(Change::Silence(stream, true));
        }
        plan.opened.push((stream, pair));
        draft.streams += 1;
        line
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

/// Routes one line between offerer and answerer.
pub(super) fn join(
    draft: &Dialogue,
    plan: &mut Plan,
    (offerer, answerer): (usize, usize),
    ix: usize,
    (offered, answered): (&Media, &Media),
    maps: &PtMaps,
) {
    let stream = |party: usize| draft.parties[party].medias.get(ix).and_then(|m| m.stream);
    let (Some(a), Some(b)) = (stream(offerer), stream(answerer)) else {
        return;
    };
    let rejected = answered.rejected() || offered.rejected();
    for (ix, media) in [(a, offered), (b, answered)] {
        let (sends, receives) = may(media);
        plan.changes.push(Change::Direction {
            stream: ix,
            sends: sends && !rejected,
            receives: receives && !rejected,
        });
    }
    plan.changes.extend([
        payload_types(a, &maps.to_answerer),
        payload_types(b, &maps.to_offerer),
        Change::Link {
            from: a,
            to: Some(b),
        },
        Change::Link {
            from: b,
            to: Some(a),
        },
        Change::Source {
            listener: a,
            source: Some(b),
        },
        Change::Source {
            listener: b,
            source: Some(a),
        },
    ]);
}

fn may(media: &Media) -> (bool, bool) {
    // RFC 3264 section 8.4: c=0.0.0.0 is the old way to say that nothing should be sent there.
    (
        media.direction.sends(),
        media.direction.receives() && !media.zero_address,
    )
}

pub(super) fn payload_types(stream: StreamIx, routes: &[PtEntry]) -> Change {
    let table: SmallVec<[PayloadType; 4]> = routes
        .iter()
        .take(PAYLOAD_TYPES_MAX) // the answerer's own numbers come before the offered ones
        .map(|r| PayloadType {
            pt: r.from,
            out: r.to,
            // A type without rtpmap has no known clock; audio's usual one does the least harm.
            clock_hz: if r.clock_hz == 0 {
                8000
            } else {
                r.clock_hz.min(CLOCK_HZ_MAX)
            },
            silence: match r.encoding {
                Encoding::Pcmu => Some(0xFF),
                Encoding::Pcma => Some(0xD5),
                _ => None,
            },
            event: r.encoding == Encoding::TelephoneEvent,
        })
        .collect();
    Change::PayloadTypes(stream, table)
}

/// Only plain RTP is read. SRTP, DTLS and UDPTL are between the parties: renumbering SRTP would
/// break its authentication, so its packets pass untouched.
pub(super) fn payload_of(transport: &str) -> Payload {
    let plain = ["RTP/AVP", "RTP/AVPF"]
        .iter()
        .any(|t| t.eq_ignore_ascii_case(transport));
    if plain { Payload::Rtp } else { Payload::Opaque }
}

/// Before an answer each party may send what was offered, by the offered numbers.
pub(super) fn identity(media: &Media) -> SmallVec<[PtEntry; 4]> {
    let entry = |c: &crate::wire::sdp::Codec| PtEntry {
        from: c.pt,
        to: c.pt,
        clock_hz: c.clock_hz,
        encoding: c.encoding(),
    };
    media.codecs.iter().map(entry).collect()
}
