//! Offer and answer (RFC 3264): from one party's SDP to the other's, and to the worker's changes.
//!
//! A command works on a draft of the dialogue and on a plan of changes. Only when the worker's
//! queue has taken the plan does the draft become the call, so a refused command leaves no trace.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime};

use smallvec::SmallVec;

use crate::engine::{
    CLOCK_HZ_MAX, Change, Learn, LearnPace, LegIx, PAYLOAD_TYPES_MAX, Payload, PayloadType,
    Privacy, Remote, STREAMS_MAX, StreamConfig, StreamIx,
};
use crate::wire::sdp::{
    CodecFilter, Description, Direction, Encoding, Media, MediaRewrite, OriginPolicy, PtEntry,
    PtMap, PtMaps, Rewrite, RtcpAttribute, pt_maps,
};

use super::SwitchError;
use super::call::{Dialogue, LegMedia, PARTIES_MAX, Party, Pending};
use super::request::{Family, Negotiation, Options, RtcpAttributeStyle};
use super::site::{Scope, Site, scope};
use crate::plane::interface::OpenPorts;

/// What a worker has to do for one command.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) opened: Vec<(StreamIx, OpenPorts)>,
}

/// The surroundings of one command.
pub(super) struct Desk<'a> {
    pub(super) site: &'a Site,
    pub(super) now: Instant,
    pub(super) wall: SystemTime,
    /// What parties of this call may learn of each other when the command does not say.
    pub(super) privacy: Privacy,
}

/// Handles an offer; returns the SDP for the answerer.
pub(super) fn offer(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    n: &Negotiation<'_>,
) -> Result<String, SwitchError> {
    let description = Description::parse(n.sdp)?;
    let offerer = match draft.party_by_tag(n.from_tag) {
        Some(known) => known,
        None => {
            let interface = desk
                .site
                .interface_name(n.options.interfaces[0].as_deref())?;
            add_party(desk, draft, &interface)?
        }
    };
    let answerer = match draft.answerer_of_offer(offerer, n.to_tag, n.via_branch) {
        Some(known) => known,
        None => {
            let interface = desk
                .site
                .interface_name(n.options.interfaces[1].as_deref())?;
            let new = add_party(desk, draft, &interface)?;
            draft.parties[new].peer = Some(offerer);
            draft.parties[new].via_branch = n.via_branch.map(Into::into);
            new
        }
    };
    if draft.parties[offerer].peer.is_none() {
        draft.parties[offerer].peer = Some(answerer);
    }
    take_identity(&mut draft.parties[offerer], n.from_tag, &n.options);
    let first_offer = !draft.parties[answerer].has_sdp;
    let privacy = settle_privacy(desk, draft, plan, &n.options);

    let family = description
        .medias()
        .iter()
        .find_map(|m| m.address)
        .map(Family::of);
    for (ix, media) in description.medias().iter().enumerate() {
        ensure_media(
            desk, draft, plan, offerer, ix, media, family, &n.options, privacy,
        )?;
        let out_family = n.options.family.or(family);
        ensure_media(
            desk, draft, plan, answerer, ix, media, out_family, &n.options, privacy,
        )?;
        settle_remote(desk, draft, plan, offerer, ix, media, &n.options)?;
        let line = &draft.parties[offerer].medias[ix];
        let (Some(from), Some(to)) = (line.stream, draft.parties[answerer].medias[ix].stream)
        else {
            continue;
        };
        if first_offer {
            let offered = identity(media);
            plan.changes.push(payload_types(from, &offered));
            plan.changes.push(payload_types(to, &offered));
            plan.changes.push(Change::Link {
                from: to,
                to: Some(from),
            });
            if n.options.early_media {
                let early = Remote {
                    rtp: None,
                    rtcp: None,
                    mux: false,
                    learn: anyone(),
                };
                plan.changes.push(Change::Remote(to, early));
            }
        }
    }

    let filter = codec_filter(&n.options);
    let mut offered_mux = Vec::with_capacity(description.medias().len());
    let mut lines = Vec::with_capacity(description.medias().len());
    for (ix, media) in description.medias().iter().enumerate() {
        let mux = !media.rejected() && n.options.mux.offered_on(media.rtcp_mux);
        let mut line = rewrite_line(&draft.parties[answerer].medias[ix], media, &n.options, mux);
        line.ptime = n.options.ptime.or(media.ptime);
        line.codecs = filter.clone();
        lines.push(line);
        offered_mux.push(mux);
    }
    draft
        .pending
        .retain(|p| p.offerer != offerer || p.answerer != answerer);
    draft.pending.push(Pending {
        offerer,
        answerer,
        medias: description.medias().to_vec(),
        filter,
        mux: offered_mux,
        ptime_reverse: n.options.ptime_reverse,
    });
    Ok(write(
        desk,
        draft,
        answerer,
        &description,
        lines,
        &n.options,
        privacy,
    ))
}

/// Handles an answer; returns the SDP for the offerer.
pub(super) fn answer(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    n: &Negotiation<'_>,
) -> Result<String, SwitchError> {
    let description = Description::parse(n.sdp)?;
    let offerer = draft
        .party_by_tag(n.from_tag)
        .ok_or(SwitchError::UnknownDialogue)?;
    let to_tag = n.to_tag.unwrap_or("");
    let answerer = draft
        .answerer_of_answer(offerer, to_tag, n.via_branch)
        .ok_or(SwitchError::UnknownDialogue)?;
    let pending = draft
        .pending
        .iter()
        .find(|p| p.offerer == offerer && p.answerer == answerer)
        .ok_or(SwitchError::NoOffer)?
        .clone();
    if description.medias().len() != pending.medias.len() {
        return Err(SwitchError::MediaCount {
            got: description.medias().len(),
            want: pending.medias.len(),
        });
    }
    take_identity(&mut draft.parties[answerer], to_tag, &n.options);
    // The caller's media goes to the branch answered last; the others stay linked to the caller
    // but are not heard (see `Change::Source`).
    draft.parties[offerer].peer = Some(answerer);
    draft.parties[answerer].peer = Some(offerer);
    let privacy = settle_privacy(desk, draft, plan, &n.options);

    let mut lines = Vec::with_capacity(pending.medias.len());
    for (ix, media) in description.medias().iter().enumerate() {
        let offered = &pending.medias[ix];
        settle_remote(desk, draft, plan, answerer, ix, media, &n.options)?;
        let maps = pt_maps(offered, &PtMap::default(), &pending.filter, media);
        let mux = !media.rejected() && n.options.mux.accepted(offered.rtcp_mux, media.rtcp_mux);
        set_mux(draft, plan, offerer, ix, mux);
        let answerer_mux = pending.mux.get(ix).is_some_and(|offered| *offered) && media.rtcp_mux;
        set_mux(draft, plan, answerer, ix, answerer_mux);
        join(
            draft,
            plan,
            (offerer, answerer),
            ix,
            (offered, media),
            &maps,
        );
        let mut line = rewrite_line(&draft.parties[offerer].medias[ix], media, &n.options, mux);
        line.ptime = pending.ptime_reverse.or(n.options.ptime).or(media.ptime);
        if payload_of(&media.transport) == Payload::Rtp {
            line.pts = maps.answer;
        }
        lines.push(line);
    }
    Ok(write(
        desk,
        draft,
        offerer,
        &description,
        lines,
        &n.options,
        privacy,
    ))
}

fn add_party(desk: &Desk<'_>, draft: &mut Dialogue, interface: &str) -> Result<usize, SwitchError> {
    let ix = draft.parties.len();
    if ix >= PARTIES_MAX {
        return Err(SwitchError::TooManyParties { max: PARTIES_MAX });
    }
    let leg = LegIx(u8::try_from(ix).expect("PARTIES_MAX fits"));
    let mut party = Party::new(leg, interface, desk.wall);
    party.gates = draft.gates;
    draft.parties.push(party);
    Ok(ix)
}

fn take_identity(party: &mut Party, tag: &str, options: &Options) {
    party.add_tag(tag);
    party.has_sdp = true;
    if let Some(label) = &options.label {
        party.label = Some(label.as_str().into());
    }
}

/// Makes sure that `party` has ports for line `ix`, of the family asked for where it has one.
#[allow(
    clippy::too_many_arguments,
    reason = "the whole context of one line, used once"
)]
fn ensure_media(
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

/// Takes where a party's SDP says it is, unless we must not send there.
fn settle_remote(
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

/// Whether RTCP is multiplexed with a party is known once the offer is answered.
fn set_mux(draft: &mut Dialogue, plan: &mut Plan, party: usize, ix: usize, mux: bool) {
    let Some(line) = draft.parties[party].medias.get_mut(ix) else {
        return;
    };
    if let (Some(stream), Some(remote)) = (line.stream, line.remote.as_mut())
        && remote.mux != mux
    {
        remote.mux = mux;
        plan.changes.push(Change::Remote(stream, *remote));
    }
}

/// What parties may learn of each other: as the call was told last.
fn settle_privacy(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    options: &Options,
) -> Privacy {
    draft.privacy = options.privacy.or(draft.privacy);
    let privacy = draft.privacy.unwrap_or(desk.privacy);
    for party in draft.parties.iter_mut().filter(|p| !p.closed) {
        for line in party.medias.iter_mut().filter(|m| m.privacy != privacy) {
            line.privacy = privacy;
            plan.changes
                .extend(line.stream.map(|s| Change::Privacy(s, privacy)));
        }
    }
    privacy
}

/// A branch of `offerer` is gone: routes its media to the party it talks with now.
pub(super) fn reroute(draft: &Dialogue, offerer: Option<usize>) -> Vec<Change> {
    let mut changes = Vec::new();
    let Some(offerer) = offerer else {
        return changes;
    };
    let peer = draft.parties[offerer].peer;
    for (ix, line) in draft.parties[offerer].medias.iter().enumerate() {
        let Some(stream) = line.stream else { continue };
        let other = peer
            .and_then(|p| draft.parties[p].medias.get(ix))
            .and_then(|m| m.stream);
        let answered = peer.is_some_and(|p| draft.parties[p].has_sdp);
        changes.push(Change::Link {
            from: stream,
            to: other,
        });
        let source = other.filter(|_| answered);
        changes.push(Change::Source {
            listener: stream,
            source,
        });
    }
    changes
}

/// Routes one line between offerer and answerer.
fn join(
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

fn payload_types(stream: StreamIx, routes: &[PtEntry]) -> Change {
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
fn payload_of(transport: &str) -> Payload {
    let plain = ["RTP/AVP", "RTP/AVPF"]
        .iter()
        .any(|t| t.eq_ignore_ascii_case(transport));
    if plain { Payload::Rtp } else { Payload::Opaque }
}

fn anyone() -> Learn {
    Learn {
        pace: LearnPace::Heuristic,
        likely: None,
        anyone: true,
        handover: false,
        asymmetric: false,
    }
}

/// Before an answer each party may send what was offered, by the offered numbers.
fn identity(media: &Media) -> SmallVec<[PtEntry; 4]> {
    let entry = |c: &crate::wire::sdp::Codec| PtEntry {
        from: c.pt,
        to: c.pt,
        clock_hz: c.clock_hz,
        encoding: c.encoding(),
    };
    media.codecs.iter().map(entry).collect()
}

/// ng's `strip` and `except`: `all` but the exceptions keeps only those.
fn codec_filter(options: &Options) -> CodecFilter {
    let is_all = |name: &String| name.eq_ignore_ascii_case("all") || name == "full";
    let excepted = |name: &String| {
        options
            .codec_except
            .iter()
            .any(|e| e.eq_ignore_ascii_case(name))
    };
    if options.codec_strip.is_empty() {
        CodecFilter::All
    } else if options.codec_strip.iter().any(is_all) {
        CodecFilter::Keep(options.codec_except.clone())
    } else {
        CodecFilter::Drop(
            options
                .codec_strip
                .iter()
                .filter(|n| !excepted(n))
                .cloned()
                .collect(),
        )
    }
}

fn rewrite_line(line: &LegMedia, media: &Media, options: &Options, mux: bool) -> MediaRewrite {
    let port = if media.rejected() {
        0
    } else {
        line.local.port()
    };
    let address = told_address(line, options);
    let rtcp_port = if mux { port } else { port.saturating_add(1) };
    let rtcp = match options.rtcp_attribute {
        _ if port == 0 || !media.is_rtp() => RtcpAttribute::None,
        RtcpAttributeStyle::Omit => RtcpAttribute::None,
        RtcpAttributeStyle::Port => RtcpAttribute::Port(rtcp_port),
        RtcpAttributeStyle::Full => RtcpAttribute::Full(rtcp_port, address),
    };
    MediaRewrite {
        address,
        port,
        rtcp,
        rtcp_mux: mux,
        hold_zero: media.zero_address,
        pts: PtMap::default(),
        ptime: None,
        direction: media.direction,
        codecs: CodecFilter::All,
        transport: None,
    }
}

/// The address a party is told: ours, or the one the command has for this very SDP.
fn told_address(line: &LegMedia, options: &Options) -> IpAddr {
    let same_family = |ip: &IpAddr| ip.is_ipv4() == line.advertised.is_ipv4();
    options
        .media_address
        .filter(same_family)
        .unwrap_or(line.advertised)
}

/// Writes what `receiver` is told.
fn write(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    receiver: usize,
    description: &Description,
    medias: Vec<MediaRewrite>,
    options: &Options,
    privacy: Privacy,
) -> String {
    let party = &mut draft.parties[receiver];
    let address = party
        .medias
        .iter()
        .find(|m| m.stream.is_some())
        .map_or_else(
            || desk.site.unspecified().ip(),
            |m| told_address(m, options),
        );
    let mut rewrite = Rewrite {
        origin: if options.replace_origin {
            OriginPolicy::Address(address)
        } else {
            OriginPolicy::Keep
        },
        session_address: Some(address),
        medias,
    };
    let mut out = String::with_capacity(SDP_LEN_TYPICAL);
    if privacy == Privacy::Masked {
        let own = &mut party.origin;
        if own.session_id == 0 {
            own.session_id = desk.site.random() >> 2;
        }
        let as_of = |session_id, version| OriginPolicy::Masked {
            session_id,
            version,
            address,
        };
        rewrite.origin = as_of(own.session_id, 0);
        description.write(&rewrite, &mut out);
        let text = hash(&std::mem::take(&mut out));
        if own.version == 0 || own.text != text {
            (own.version, own.text) = (own.version + 1, text);
        }
        rewrite.origin = as_of(own.session_id, own.version);
    }
    description.write(&rewrite, &mut out);
    out
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// An answer with two codecs fits without growing.
const SDP_LEN_TYPICAL: usize = 512;
