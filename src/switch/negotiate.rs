//! Offer and answer (RFC 3264): from one party's SDP to the other's, and to the worker's changes.
//!
//! A command works on a draft of the dialogue and on a plan of changes. Only when the worker's
//! queue has taken the plan does the draft become the call, so a refused command leaves no trace.

mod addresses;
mod branches;
mod media;
mod mux;
mod privacy;
mod rewrite;

use std::time::{Instant, SystemTime};

use addresses::{anyone, settle_remote};
pub(super) use branches::reroute;
use media::{ensure_media, identity, join, payload_of, payload_types};
use mux::set_mux;
use privacy::settle_privacy;
use rewrite::{codec_filter, rewrite_line, write};

use super::SwitchError;
use super::call::{Dialogue, PARTIES_MAX, Party, Pending};
use super::request::{Family, Negotiation, Options};
use super::site::Site;
use crate::engine::{Change, LegIx, Payload, Privacy, Remote, StreamIx};
use crate::plane::interface::OpenPorts;
use crate::wire::sdp::{Description, PtMap, pt_maps};

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
