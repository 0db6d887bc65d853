//! What listeners are offered, what they answer, and what the engine is told of both.
//!
//! A listener is offered what the party it listens to may send, in that party's numbers, and
//! answers in its own. What of it reaches the listener is worked out anew whenever either of the
//! two changes ([`refresh`]).

use super::addresses::settle_line;
use super::listener_offer::{said_on, write};
use super::voices::{self, Side, Table, Types, relay};
use super::{Desk, Plan};
use crate::engine::{
    Change, LegIx, PayloadType, Privacy, STREAMS_MAX, StreamConfig, StreamIx, TAPS_MAX, Via, Voice,
};
use crate::switch::SwitchError;
use crate::switch::dialogue::Dialogue;
use crate::switch::listener::{LISTENER_LEGS, LISTENERS_MAX, Listener, Subscription};
use crate::switch::party::{LegMedia, Party};
use crate::switch::request::{Family, Options, Subscribe};
use crate::wire::sdp::{Codec, Description, Direction, SDP_MEDIA_MAX};

/// Gives a listener its lines, one per `source`; returns which listener it is and the offer to it.
pub(in crate::switch) fn offer(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    tag: &str,
    sources: &[(usize, usize)],
    wanted: &Subscribe<'_>,
) -> Result<(usize, String), SwitchError> {
    if sources.len() > SDP_MEDIA_MAX {
        let max = SDP_MEDIA_MAX;
        return Err(SwitchError::TooManySubscriptions { max });
    }
    let known = draft.listener_by_tag(tag);
    if sources
        .iter()
        .any(|source| draft.listeners_of(*source, known) >= TAPS_MAX)
    {
        return Err(SwitchError::TooManySubscriptions { max: TAPS_MAX });
    }
    let ix = match known {
        Some(known) => known,
        None => add(desk, draft, tag, &wanted.options)?,
    };
    let listener = &mut draft.listeners[ix];
    listener.privacy = wanted.options.privacy.or(listener.privacy);
    let privacy = listener.privacy.or(draft.privacy);
    let privacy = privacy.unwrap_or(desk.privacy);
    for (n, source) in sources.iter().enumerate() {
        open_line(
            desk,
            draft,
            plan,
            (ix, n),
            *source,
            privacy,
            &wanted.options,
        )?;
        let line = &mut draft.listeners[ix].lines[n];
        line.mux = wanted.options.mux.offer;
        line.direction = match wanted.inactive {
            true => Direction::Inactive,
            false => Direction::SendOnly,
        };
    }
    let listener = &mut draft.listeners[ix];
    for line in &mut listener.lines[sources.len()..] {
        line.source = None;
    }
    for line in &mut listener.party.medias {
        if line.privacy != privacy {
            line.privacy = privacy;
            plan.changes
                .extend(line.stream.map(|s| Change::Privacy(s, privacy)));
        }
    }
    if let Some(label) = &wanted.options.label {
        listener.party.label = Some(label.as_str().into());
    }
    let text = write(desk, draft, ix, wanted);
    refresh(draft, plan);
    Ok((ix, text))
}

/// Takes a listener's answer.
pub(in crate::switch) fn answer(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    ix: usize,
    (sdp, transcodes): (&[u8], bool),
    options: &Options,
) -> Result<(), SwitchError> {
    let description = Description::parse(sdp)?;
    let listener = &mut draft.listeners[ix];
    let (got, want) = (description.medias().len(), listener.lines.len());
    if got != want {
        return Err(SwitchError::MediaCount { got, want });
    }
    listener.transcodes = transcodes;
    listener.party.has_sdp = true;
    for (n, media) in description.medias().iter().enumerate() {
        let line = &mut listener.lines[n];
        let own = &mut listener.party.medias[n];
        settle_line(desk, own, plan, n, media, options, false)?;
        line.accepted = match media.rejected() || line.source.is_none() {
            true => Vec::new(),
            false => media.without_text().codecs,
        };
        settle_mux(own, plan, line.mux && media.rtcp_mux);
        let Some(stream) = own.stream else { continue };
        let receives = media.direction.receives() && !media.zero_address && !media.rejected();
        let offered = line.direction != Direction::Inactive;
        plan.direct(stream, media.direction.sends(), receives && offered);
        let said: Types = line.accepted.iter().map(|c| relay(c.pt, c.pt, c)).collect();
        plan.changes.push(Change::PayloadTypes(stream, said));
    }
    let before = plan.warnings.len();
    refresh_after(draft, plan, Some(ix));
    let lines = &draft.listeners[ix].lines;
    let accepted = |line: &&Subscription| !line.accepted.is_empty() && line.told.is_some();
    let wanted = lines.iter().any(|line| !line.accepted.is_empty());
    match wanted && lines.iter().filter(accepted).count() == 0 {
        true => Err(SwitchError::NoCommonCodec {
            warnings: plan.warnings.split_off(before).join("; "),
        }),
        false => Ok(()),
    }
}

/// Ends a listener.
pub(in crate::switch) fn close(draft: &mut Dialogue, plan: &mut Plan, ix: usize) {
    let party = &mut draft.listeners[ix].party;
    party.closed = true;
    plan.changes.extend(party.streams().map(Change::Close));
}

/// Tells the engine what listeners hear, where that has changed: they may have answered, or those
/// they listen to may have another codec, another kind of media, or be gone.
pub(in crate::switch) fn refresh(draft: &mut Dialogue, plan: &mut Plan) {
    refresh_after(draft, plan, None);
}

fn refresh_after(draft: &mut Dialogue, plan: &mut Plan, answered: Option<usize>) {
    for ix in 0..draft.listeners.len() {
        if draft.listeners[ix].party.closed {
            continue;
        }
        for n in 0..draft.listeners[ix].lines.len() {
            refresh_line(draft, plan, (ix, n), answered);
        }
    }
}

/// `answered`: it was this listener that has just answered, and hears of every line that is silent.
fn refresh_line(
    draft: &mut Dialogue,
    plan: &mut Plan,
    (ix, n): (usize, usize),
    answered: Option<usize>,
) {
    let listener = &draft.listeners[ix];
    let line = &listener.lines[n];
    let Some(to) = listener.party.medias[n].stream else {
        return;
    };
    let wanted = line.source.filter(|_| !line.accepted.is_empty());
    let heard = wanted.and_then(|source| {
        let source = draft.audible(source)?;
        let (types, voice) = heard_of(source, &line.accepted, listener.transcodes);
        Some((source.stream?, types, voice))
    });
    // Who hears somebody whose tones are masked is sent frames of our own.
    let masked = wanted.and_then(|(party, _)| draft.parties[party].mask.as_ref());
    let masked = masked.is_some_and(|mask| mask.in_band);
    let voiced = listener.party.medias[n].voiced;
    let speaks = masked || voiced;
    let turned = wanted.is_some_and(|source| !draft.is_audible(source));
    let turns = turned && !line.turned;
    let (told, voice) = match heard {
        Some((from, types, voice)) if !types.is_empty() => (Some((from, types)), Some(voice)),
        _ => (None, None),
    };
    let voice = voice.filter(|_| speaks || told.as_ref().is_some_and(|(_, types)| decodes(types)));
    let changed = told != line.told;
    let changes = changed || (voice.is_some() && !voiced);
    let fits_nothing = wanted.is_some() && told.is_none();
    let why = match () {
        () if turns => Some("hears nothing once this line is not plain RTP any more"),
        () if fits_nothing && (changed || answered == Some(ix)) => {
            Some("accepts no codec of the party it listens to, and hears nothing")
        }
        () => None,
    };
    if let Some(why) = why {
        let tag = listener.party.tag();
        plan.warn(format!("listener {tag} media {n}: {why}"));
    }
    draft.listeners[ix].lines[n].turned = turned;
    if !changes {
        return;
    }
    let own = &mut draft.listeners[ix].party.medias[n];
    if let Some(voice) = voice {
        (own.speaks, own.voiced) = (voice.speaks, true);
        plan.changes.push(Change::Voice(to, Box::new(voice)));
    }
    if !changed {
        return;
    }
    plan.changes.push(match &told {
        Some((from, types)) => tap(*from, to, types.clone()),
        None => Change::Untap(to),
    });
    own.types = told
        .as_ref()
        .map_or_else(Types::new, |(_, types)| types.clone());
    draft.listeners[ix].lines[n].told = told;
}

fn tap(from: StreamIx, to: StreamIx, types: Types) -> Change {
    Change::Tap(Box::new(crate::engine::Tap { from, to, types }))
}

/// What of a party's line reaches one who accepts these codecs, by the party's numbers; and what
/// is to be known of both where something has to be decoded.
fn heard_of(source: &LegMedia, accepted: &[Codec], transcodes: bool) -> (Types, Voice) {
    let said = said_on(source);
    let side = Side::new(accepted.iter().collect(), None, voices::are_wide(&said));
    let mut table = Table::new(&side, false).with_events();
    for codec in &said {
        table.add(codec.pt, codec, None);
    }
    let mut types = table.finish();
    if !transcodes {
        types.retain(|kind| matches!(kind.via, Via::Relay | Via::Rescaled { .. }));
    }
    let meant = |pt: u8| said.iter().find(|codec| codec.pt == pt).copied();
    let voice = side.voice(&types, meant).voice;
    (types, voice)
}

/// Whether anything of it reaches the listener as frames of our own only.
fn decodes(types: &Types) -> bool {
    let made = |kind: &PayloadType| matches!(kind.via, Via::Decode | Via::Tones);
    types.iter().any(made)
}

fn add(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    tag: &str,
    options: &Options,
) -> Result<usize, SwitchError> {
    if draft.open_listeners().count() >= LISTENERS_MAX {
        return Err(SwitchError::TooManyListeners { max: LISTENERS_MAX });
    }
    let [near, far] = &options.interfaces;
    let interface = far.as_deref().or(near.as_deref());
    let interface = desk.site.interface_name(interface)?;
    // Streams are never counted down, so no two listeners of a call have one leg.
    let leg = u16::try_from(draft.streams).expect("STREAMS_MAX fits");
    let mut party = Party::new(LegIx(LISTENER_LEGS + leg), &interface, desk.wall);
    party.add_tag(tag);
    draft.listeners.push(Listener {
        party,
        lines: Vec::new(),
        privacy: None,
        transcodes: false,
    });
    Ok(draft.listeners.len() - 1)
}

/// Makes sure that line `n` of a listener has ports, and that it is about `source`.
fn open_line(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    (ix, n): (usize, usize),
    source: (usize, usize),
    privacy: Privacy,
    options: &Options,
) -> Result<(), SwitchError> {
    let heard = draft.audible(source).ok_or(SwitchError::NotEligible)?;
    let (kind, transport) = (heard.kind.clone(), heard.transport.clone());
    let family = options
        .family
        .or_else(|| Some(Family::of(heard.local.ip())));
    let listener = &mut draft.listeners[ix];
    if let Some(line) = listener.lines.get_mut(n) {
        if line.source.replace(source) != Some(source) {
            line.accepted = Vec::new(); // what it answered was about somebody else
        }
        let own = &mut listener.party.medias[n];
        (own.kind, own.transport) = (kind, transport);
        return Ok(());
    }
    if draft.streams >= STREAMS_MAX {
        return Err(SwitchError::TooManyStreams { max: STREAMS_MAX });
    }
    let stream = StreamIx(u16::try_from(draft.streams).expect("STREAMS_MAX fits"));
    let party = &mut listener.party;
    let pair = desk
        .site
        .open_pair(&party.interface, family, options.tos, desk.now)?;
    party.medias.push(LegMedia::listening(
        stream,
        (pair.lease.local(), pair.lease.advertised().ip()),
        (kind, transport),
        privacy,
    ));
    listener.lines.push(Subscription {
        source: Some(source),
        direction: Direction::SendOnly,
        mux: false,
        accepted: Vec::new(),
        turned: false,
        told: None,
    });
    plan.changes.push(Change::AddStream(StreamConfig {
        leg: party.leg,
        media: u8::try_from(n).expect("SDP_MEDIA_MAX fits"),
        payload: crate::engine::Payload::Rtp,
        privacy,
        own_rtcp: true,
    }));
    plan.changes.push(Change::Untap(stream));
    plan.opened.push((stream, pair));
    draft.streams += 1;
    Ok(())
}

fn settle_mux(own: &mut LegMedia, plan: &mut Plan, mux: bool) {
    if let (Some(stream), Some(remote)) = (own.stream, own.remote.as_mut())
        && remote.mux != mux
    {
        remote.mux = mux;
        plan.changes.push(Change::Remote(stream, *remote));
    }
}
