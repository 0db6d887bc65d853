//! Offer and answer (RFC 3264): from one party's SDP to the other's, and to the worker's changes.
//!
//! A command works on a draft of the dialogue and on a plan of changes. Only when the worker's
//! queue has taken the plan does the draft become the call, so a refused command leaves no trace.

mod addresses;
mod branches;
mod codecs;
mod connect;
mod digits;
pub(super) mod echo;
mod hold;
mod listener_offer;
pub(super) mod listeners;
mod media;
mod mux;
mod privacy;
mod publish;
mod rewrite;
mod voices;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use addresses::{anyone, settle_remote, take_remote};
use branches::Standing;
pub(super) use branches::reroute;
use codecs::{Settled, before_answer, filter, send_on, settle};
pub(super) use connect::{codecs_of, connect};
pub(super) use digits::listen;
pub(super) use hold::end_hold;
use media::{
    Terms, carriage, ensure_media, give_voice, is_recoded, join, offered_types, payload_types,
};
use mux::{agreed_mux, set_mux};
use privacy::settle_privacy;
pub(super) use privacy::unite_privacy;
pub(super) use publish::publish;
use rewrite::{rewrite_line, write};
pub(super) use voices::{is_partly_opaque, kind_of, wake};

use super::SwitchError;
use super::dialogue::{Agreement, Dialogue, Offer, OfferedLine, PARTIES_MAX, SentOn};
use super::hold::Wish;
use super::party::Party;
use super::request::{Family, Negotiation, Options};
use super::site::Site;
use crate::engine::{Change, EarlyMedia, LegIx, Payload, Privacy, Remote, StreamIx};
use crate::plane::interface::OpenPorts;
use crate::wire::sdp::{Codec, Description, Media, MediaRewrite, PtMap, numbers_for};

/// What a worker has to do for one command.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) opened: Vec<(StreamIx, OpenPorts)>,
    /// What the client should know though the command was carried out.
    pub(super) warnings: Vec<String>,
    /// Music on hold that is to begin.
    pub(super) music: Option<Wish>,
}

/// The surroundings of one command.
pub(super) struct Desk<'a> {
    pub(super) site: &'a Site,
    pub(super) now: Instant,
    pub(super) wall: SystemTime,
    /// What parties of this call may learn of each other when the command does not say.
    pub(super) privacy: Privacy,
}

impl Plan {
    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn direct(&mut self, stream: StreamIx, sends: bool, receives: bool) {
        self.changes.push(Change::Direction {
            stream,
            sends,
            receives,
        });
    }
}

/// Handles an offer; returns the SDP for the answerer.
pub(super) fn offer(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    n: &Negotiation<'_>,
) -> Result<String, SwitchError> {
    let description = Description::parse(n.sdp)?;
    let (offerer, answerer) = roles(desk, draft, n)?;
    take_identity(&mut draft.parties[offerer], n.from_tag, &n.options);
    echo::take(draft, offerer, answerer, n.options.echo);
    let parties = [offerer, answerer];
    let held = hold::settle(desk, draft, plan, parties, &description, &n.options);
    let first_offer = !draft.parties[answerer].has_sdp;
    let terms = Terms {
        options: &n.options,
        privacy: settle_privacy(desk, draft, plan, &n.options),
    };
    let addresses = description.medias().iter().find_map(|m| m.address);
    let family = addresses.map(Family::of);
    let mut offered = Offer {
        offerer,
        answerer,
        lines: Vec::with_capacity(description.medias().len()),
        filter: filter(&n.options.codecs),
        policy: n.options.codecs.clone(),
        mux: n.options.mux,
        ptime: n.options.ptime,
        ptime_reverse: n.options.ptime_reverse,
        choices: draft.parties[offerer].choices,
    };
    let mut lines = Vec::with_capacity(description.medias().len());
    for (ix, media) in description.medias().iter().enumerate() {
        let payload = carriage(draft, [offerer, answerer], ix, media, terms.privacy);
        if payload == Payload::Rtp && media.has_many_sources() && !media.rejected() {
            plan.warn(format!(
                "media {ix}: several sources on one line; each party hears one at a time"
            ));
        }
        let what = (media, payload);
        ensure_media(desk, draft, plan, (offerer, ix), what, family, &terms)?;
        let out_family = n.options.family.or(family);
        ensure_media(desk, draft, plan, (answerer, ix), what, out_family, &terms)?;
        let at = (offerer, ix);
        let remote = settle_remote(desk, draft, plan, at, media, &n.options, true)?;
        let (sent, codecs) = send_codecs(draft, plan, &offered, ix, media, payload);
        let line = OfferedLine {
            media: media.without_text(),
            payload,
            sent,
            codecs,
            mux: !media.rejected() && n.options.mux.offered_on(media.rtcp_mux),
            remote,
        };
        if first_offer {
            ring(draft, plan, &offered, ix, &line, n.options.early_media);
        }
        let own = &draft.parties[answerer].medias[ix];
        let mut rewrite = rewrite_line(own, media, &n.options, line.mux);
        if let Some(held) = &held {
            held.tell(media, &mut rewrite);
        }
        rewrite.pts = line.sent.clone();
        rewrite.ptime = n.options.ptime.or(media.ptime);
        rewrite.codecs = offered.filter.clone();
        rewrite.listed = line
            .codecs
            .as_ref()
            .map_or_else(Vec::new, |c| c.told.clone());
        lines.push(rewrite);
        offered.lines.push(line);
    }
    voice_fork(draft, plan, offerer, &n.options);
    set_early_policy(draft, plan, offerer, &n.options);
    draft.keep_offer(Arc::new(offered));
    let to = (answerer, terms.privacy);
    Ok(write(desk, draft, to, &description, lines, &n.options))
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
    let mut offers = draft.offers.iter();
    let offer = offers
        .find(|o| o.offerer == offerer && o.answerer == answerer)
        .ok_or(SwitchError::NoOffer)?;
    let offer = Arc::clone(offer);
    if description.medias().len() != offer.lines.len() {
        return Err(SwitchError::MediaCount {
            got: description.medias().len(),
            want: offer.lines.len(),
        });
    }
    if !draft.parties[answerer].has_sdp {
        hold::begin(draft, plan, [offerer, answerer]);
    }
    take_identity(&mut draft.parties[answerer], to_tag, &n.options);
    hold::remember(draft, answerer, &n.options);
    echo::take(draft, answerer, offerer, n.options.echo);
    let standing = branches::standing(draft, &offer, n.options.provisional);
    // The caller's media goes to the branch answered last; the others stay linked to the caller
    // but are not heard (see `Change::Source`).
    if standing != Standing::Lost {
        draft.parties[offerer].peer = Some(answerer);
    }
    draft.parties[answerer].peer = Some(offerer);
    if standing == Standing::Chosen {
        let choices = &mut draft.parties[offerer].choices;
        *choices = choices.wrapping_add(1);
    }
    let privacy = settle_privacy(desk, draft, plan, &n.options);

    let mut lines = Vec::with_capacity(offer.lines.len());
    let mut agreed_mux_lines = Vec::with_capacity(offer.lines.len());
    for (ix, media) in description.medias().iter().enumerate() {
        let (line, mux) = answer_line(desk, draft, plan, &offer, (ix, media), standing, n)?;
        lines.push(line);
        agreed_mux_lines.push(mux);
    }
    let answered = description.medias().iter().map(Media::without_text);
    draft.keep_agreement(Agreement {
        offer,
        answer: answered.collect(),
        mux: agreed_mux_lines.into(),
        single: n.options.codecs.single,
        chosen: standing == Standing::Chosen,
    });
    if standing == Standing::Lost {
        plan.changes.extend(branches::reroute(draft, Some(offerer)));
    }
    let to = (offerer, privacy);
    Ok(write(desk, draft, to, &description, lines, &n.options))
}

/// Settles one line of an answer; returns how the offerer is told, and who multiplexes.
fn answer_line(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    offer: &Offer,
    (ix, media): (usize, &Media),
    standing: Standing,
    n: &Negotiation<'_>,
) -> Result<(MediaRewrite, (bool, bool)), SwitchError> {
    let offered = &offer.lines[ix];
    for party in [offer.offerer, offer.answerer] {
        if let Some(line) = draft.parties[party].medias.get_mut(ix) {
            line.turn(offered.payload);
        }
    }
    let at = (offer.answerer, ix);
    settle_remote(desk, draft, plan, at, media, &n.options, false)?;
    if let Some(remote) = offered.remote {
        take_remote(&mut draft.parties[offer.offerer].medias[ix], plan, remote);
    }
    let settled = settled_on(draft, offer, ix, media, n.options.codecs.single);
    let mux = agreed_mux(offer, ix, media, n.options.mux);
    set_mux(draft, plan, offer.offerer, ix, mux.0);
    set_mux(draft, plan, offer.answerer, ix, mux.1);
    join(draft, plan, offer, (ix, media), &settled, standing);
    let direction = hold::answered(draft, offer.offerer, offered.media.direction, media);
    let own = &mut draft.parties[offer.offerer].medias[ix];
    let mut line = rewrite_line(own, media, &n.options, mux.0);
    line.direction = direction;
    if offered.media.rejected() {
        line.port = 0;
    }
    line.ptime = offer.ptime_reverse.or(n.options.ptime).or(media.ptime);
    if offered.payload == Payload::Rtp {
        if line.port != 0 && settled.told.is_empty() {
            own.learn_numbers(media.codecs.iter().map(|codec| Codec {
                pt: settled.pts.get(codec.pt),
                ..codec.clone()
            }));
        } else if line.port != 0 {
            own.learn_numbers(settled.told.iter().cloned());
        }
        line.pts = settled.pts;
        line.listed = settled.told;
    }
    Ok((line, mux))
}

/// What an offer and its answer come to on one line.
fn settled_on(
    draft: &Dialogue,
    offer: &Offer,
    ix: usize,
    answered: &Media,
    single: bool,
) -> Settled {
    let known = draft.parties[offer.offerer].medias.get(ix);
    let known = known.map_or(&[][..], |own| &own.numbers);
    settle(offer, ix, answered, known, single)
}

/// Who offers, and to whom.
fn roles(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    n: &Negotiation<'_>,
) -> Result<(usize, usize), SwitchError> {
    let [near, far] = &n.options.interfaces;
    let known = draft.party_by_tag(n.from_tag);
    let offerer = match known.or_else(|| draft.offerer_of_offer(n.to_tag, n.via_branch)) {
        Some(known) => known,
        None => {
            let interface = desk.site.interface_name(near.as_deref())?;
            add_party(desk, draft, &interface, PARTIES_MAX)?
        }
    };
    let answerer = match draft.answerer_of_offer(offerer, n.to_tag, n.via_branch) {
        Some(known) => known,
        None => {
            let interface = desk.site.interface_name(far.as_deref())?;
            let new = add_party(desk, draft, &interface, PARTIES_MAX)?;
            draft.parties[new].peer = Some(offerer);
            draft.parties[new].via_branch = n.via_branch.map(Into::into);
            new
        }
    };
    if draft.parties[offerer].peer.is_none() {
        draft.parties[offerer].peer = Some(answerer);
    }
    Ok((offerer, answerer))
}

/// How a line's codecs are sent on: the answerer keeps the numbers it knows.
fn send_codecs(
    draft: &mut Dialogue,
    plan: &mut Plan,
    offer: &Offer,
    ix: usize,
    media: &Media,
    payload: Payload,
) -> (PtMap, Option<SentOn>) {
    let line = &mut draft.parties[offer.answerer].medias[ix];
    if payload == Payload::Rtp && media.kind.eq_ignore_ascii_case("audio") && !media.rejected() {
        let (sent, on) = send_on(media, &offer.policy, &line.numbers, ix, &mut plan.warnings);
        line.learn_numbers(on.told.iter().cloned());
        return (sent, Some(on));
    }
    let filter = offer.filter.for_media(&media.codecs);
    let passing = media.codecs.iter().filter(|codec| filter.passes(codec));
    let passing: Vec<Codec> = passing.cloned().collect();
    let sent = match payload {
        // Nothing is renumbered in packets that are not read.
        Payload::Opaque => PtMap::default(),
        Payload::Rtp => numbers_for(&passing, &line.numbers),
    };
    if !media.rejected() {
        line.learn_numbers(passing.into_iter().map(|codec| Codec {
            pt: sent.get(codec.pt),
            ..codec
        }));
    }
    (sent, None)
}

/// Before the first answer the offerer may hear the answerer, who has no SDP yet.
fn ring(
    draft: &mut Dialogue,
    plan: &mut Plan,
    offer: &Offer,
    ix: usize,
    line: &OfferedLine,
    early_media: bool,
) {
    let stream = |party: usize| draft.parties[party].medias[ix].stream;
    let (Some(from), Some(to)) = (stream(offer.offerer), stream(offer.answerer)) else {
        return;
    };
    match &line.codecs {
        Some(on) => {
            let [of_a, of_b] = before_answer(offer, &line.media, &line.sent, on);
            // What it agreed on with another branch goes on.
            let agreed = draft.agreements.iter().any(|a| a.is_of(offer.offerer));
            let recoded = is_recoded(&of_b.0);
            if !agreed {
                let own = &mut draft.parties[offer.offerer].medias[ix];
                give_voice(own, plan, of_a.0, Some(of_a.1), recoded);
            }
            let own = &mut draft.parties[offer.answerer].medias[ix];
            give_voice(own, plan, of_b.0, Some(of_b.1), recoded);
        }
        None => {
            let [offerer_sends, answerer_sends] = offered_types(line);
            plan.changes.push(payload_types(from, &offerer_sends));
            plan.changes.push(payload_types(to, &answerer_sends));
        }
    }
    plan.changes.push(Change::Link {
        from: to,
        to: Some(from),
    });
    if early_media {
        let early = Remote {
            rtp: None,
            rtcp: None,
            mux: false,
            learn: anyone(),
        };
        plan.changes.push(Change::Remote(to, early));
    }
}

/// Branches that ring at the same time are listened to, and what the winner said before it was
/// chosen is played to the offerer.
fn voice_fork(draft: &mut Dialogue, plan: &mut Plan, offerer: usize, options: &Options) {
    let branches: Vec<usize> = draft.peers_of(offerer).collect();
    let policed = options.early_policy.is_some() || draft.parties[offerer].early.is_some();
    if policed || branches.len() > 1 {
        for party in branches.into_iter().chain([offerer]) {
            plan.changes.extend(wake(&mut draft.parties[party]));
        }
    }
}

/// What the offerer hears of those it calls while none is chosen.
fn set_early_policy(draft: &mut Dialogue, plan: &mut Plan, offerer: usize, options: &Options) {
    let party = &mut draft.parties[offerer];
    let Some(policy) = options
        .early_policy
        .as_ref()
        .filter(|p| party.early.as_ref() != Some(*p))
    else {
        return;
    };
    party.early = Some(policy.clone());
    let needs_voice = matches!(policy, EarlyMedia::Mix | EarlyMedia::Ringback(_));
    for (ix, line) in party.medias.iter().enumerate() {
        let audio = line.payload == Payload::Rtp && *line.kind == *"audio";
        let Some(stream) = line.stream.filter(|_| audio) else {
            continue;
        };
        if needs_voice && line.speaks.is_none() {
            plan.warn(format!(
                "media {ix}: early-media-policy: no codec of this party can be encoded"
            ));
            continue;
        }
        plan.changes.push(Change::EarlyMedia {
            listener: stream,
            policy: policy.clone(),
        });
    }
}

fn add_party(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    interface: &str,
    max: usize,
) -> Result<usize, SwitchError> {
    let ix = draft.parties.len();
    if ix >= max {
        return Err(SwitchError::TooManyParties { max });
    }
    let leg = LegIx(u16::try_from(ix).expect("at most STREAMS_MAX"));
    let mut party = Party::new(leg, interface, desk.wall);
    party.gates = draft.gates;
    party.mask = draft.mask.clone();
    draft.parties.push(party);
    Ok(ix)
}

fn take_identity(party: &mut Party, tag: &str, options: &Options) {
    party.add_tag(tag);
    party.has_sdp = true;
    if let Some(label) = &options.label {
        party.label = Some(label.as_str().into());
    }
    party.detects |= options.detects;
    party.unrecorded |= options.unrecorded;
}
