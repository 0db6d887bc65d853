//! What a hold with music changes: who hears it, and what the parties are told.

use std::sync::Arc;

use super::{Desk, Plan};
use crate::engine::{Change, Payload};
use crate::switch::dialogue::Dialogue;
use crate::switch::hold::{Hold, HoldMusic, MUSIC, MusicSource, Wish};
use crate::switch::request::Options;
use crate::wire::sdp::{Description, Direction, Media, MediaRewrite};

/// How the party that is held is told of it.
pub(super) struct Held {
    sendrecv: bool,
    zero_address: bool,
}

impl Held {
    /// Writes it into a line of audio.
    pub(super) fn tell(&self, media: &Media, rewrite: &mut MediaRewrite) {
        if is_audio(media) {
            rewrite.direction = match self.sendrecv {
                true => Direction::SendRecv,
                false => Direction::SendOnly,
            };
            rewrite.hold_zero = self.zero_address;
        }
    }
}

/// The sender of an SDP may say what music it has.
pub(super) fn remember(draft: &mut Dialogue, party: usize, options: &Options) {
    if let Some(music) = &options.music
        && music.source != MusicSource::Reflect
    {
        draft.parties[party].music = Some(Arc::new(music.clone()));
    }
}

/// An offer holds or resumes: begins or ends the music of the offerer. `Some` while it plays.
pub(super) fn settle(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    plan: &mut Plan,
    [offerer, answerer]: [usize; 2],
    description: &Description,
    options: &Options,
) -> Option<Held> {
    remember(draft, offerer, options);
    let stops = |media: &Media| !media.direction.receives() || media.zero_address;
    let mut audio = description.medias().iter().filter(|media| is_audio(media));
    // One line on hold is a call on hold.
    if !audio.any(stops) {
        plan.changes.extend(end_hold(draft, offerer));
        return None;
    }
    let music = music_of(draft, [offerer, answerer], options)?;
    let MusicSource::Own(source) = &music.source else {
        return None;
    };
    let before = draft.parties[offerer].hold;
    if before.is_none_or(|hold| hold.listener != answerer) {
        plan.changes.extend(end_hold(draft, offerer));
        let serial = desk.site.random();
        draft.parties[offerer].hold = Some(Hold {
            serial,
            listener: answerer,
        });
        if draft.parties[answerer].has_sdp {
            let source = source.clone();
            plan.music = Some(Wish { serial, source });
        }
    }
    let told_zero = options.music.as_ref().is_some_and(|told| told.zero_address);
    Some(Held {
        sendrecv: music.sendrecv,
        zero_address: music.zero_address || told_zero,
    })
}

/// The first answer to a party that was put on hold from the start: now its music can begin.
pub(super) fn begin(draft: &Dialogue, plan: &mut Plan, [offerer, answerer]: [usize; 2]) {
    let hold = draft.parties[offerer].hold;
    let hold = hold.filter(|hold| hold.listener == answerer);
    let music = draft.parties[offerer].music.as_deref();
    if let (Some(Hold { serial, .. }), Some(music)) = (hold, music)
        && let MusicSource::Own(source) = &music.source
    {
        let source = source.clone();
        plan.music = Some(Wish { serial, source });
    }
}

/// The offerer's music, or by its wish that of the party it holds.
fn music_of(
    draft: &Dialogue,
    [offerer, answerer]: [usize; 2],
    options: &Options,
) -> Option<Arc<HoldMusic>> {
    let reflects = |music: &HoldMusic| music.source == MusicSource::Reflect;
    let whose = match options.music.as_ref().is_some_and(reflects) {
        true => answerer,
        false => offerer,
    };
    draft.parties[whose].music.clone()
}

/// What a party that holds with music is answered: no more than it offered (RFC 3264 section 6.1),
/// whatever the other party was offered in its place.
pub(super) fn answered(
    draft: &Dialogue,
    offerer: usize,
    offer: Direction,
    answered: &Media,
) -> Direction {
    let answer = answered.direction;
    if draft.parties[offerer].hold.is_none() || !is_audio(answered) {
        return answer;
    }
    Direction::new(
        answer.sends() && offer.receives(),
        answer.receives() && offer.sends(),
    )
}

/// A party holds nobody any more: its music ends.
pub(in crate::switch) fn end_hold(draft: &mut Dialogue, holder: usize) -> Vec<Change> {
    let hold = draft.parties[holder].hold.take();
    let listener = hold.and_then(|hold| draft.parties.get(hold.listener));
    let open = listener.filter(|party| !party.closed);
    let lines = open.into_iter().flat_map(|party| &party.medias);
    lines
        .filter(|line| line.payload == Payload::Rtp)
        .filter_map(|line| line.stream)
        .map(|listener| Change::StopPlay {
            listener: listener.into(),
            id: Some(MUSIC),
        })
        .collect()
}

/// Ends the holds that have to do with these parties.
pub(super) fn end_holds_of(draft: &mut Dialogue, plan: &mut Plan, parties: &[usize]) {
    for holder in 0..draft.parties.len() {
        let hold = draft.parties[holder].hold;
        let concerns = |hold: Hold| parties.contains(&holder) || parties.contains(&hold.listener);
        if hold.is_some_and(concerns) {
            plan.changes.extend(end_hold(draft, holder));
        }
    }
}

fn is_audio(media: &Media) -> bool {
    !media.rejected() && media.kind.eq_ignore_ascii_case("audio")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_answered_more_than_it_offered() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        let mut draft = Dialogue::default();
        let wall = std::time::SystemTime::UNIX_EPOCH;
        let leg = crate::engine::LegIx(0);
        let party = crate::switch::Party::new(leg, "default", wall);
        draft.parties.push(party);
        let sdp = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
            m=audio 4000 RTP/AVP 0\r\n";
        let mut answer_line = Description::parse(sdp).expect("an SDP").medias()[0].clone();
        let mut told = |holds: bool, offer, answer| {
            let hold = Hold {
                serial: 1,
                listener: 1,
            };
            draft.parties[0].hold = holds.then_some(hold);
            answer_line.direction = answer;
            answered(&draft, 0, offer, &answer_line)
        };
        for (offer, answer, expected) in [
            (SendOnly, SendRecv, RecvOnly),
            (SendOnly, RecvOnly, RecvOnly),
            (SendOnly, Inactive, Inactive),
            (Inactive, RecvOnly, Inactive),
            (SendRecv, SendRecv, SendRecv),
        ] {
            assert_eq!(told(true, offer, answer), expected);
            assert_eq!(told(false, offer, answer), answer);
        }
    }
}
