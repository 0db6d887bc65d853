//! One call, with what its worker counts.

use std::time::Instant;

use super::view::{Leg, Media, Recording, Whole};
use super::{ms, ms_between, of_flow, of_ng};
use crate::flow::board::{Board, LiveLeg};
use crate::flow::run::quality;
use crate::sip::LegStatus;
use crate::switch::{Party, Snapshot, Switch, SwitchError};

/// A call with its legs; `None`: there is no such call.
///
/// # Errors
/// [`SwitchError`] where its worker does not answer in time.
pub async fn whole(
    switch: &Switch,
    board: Option<&Board>,
    id: &str,
) -> Result<Option<Whole>, SwitchError> {
    let call = board.and_then(|board| board.call(id));
    let media = match switch.query(id).await {
        Ok(snapshot) => Some(snapshot),
        // One that only rings may have no media yet.
        Err(SwitchError::UnknownCall) => None,
        Err(error) => return Err(error),
    };
    let now = Instant::now();
    let recordings = media.iter().flat_map(|it| &it.recordings);
    let recordings = recordings.map(|it| Recording {
        path: it.path.to_string(),
        paused: it.paused,
    });
    let recordings = recordings.collect();
    Ok(match (call, media) {
        (Some(call), media) => {
            let row = of_flow(&call, now);
            let state = call.now();
            let leg = |leg| leg_of_flow(leg, media.as_ref(), now);
            Some(Whole {
                call: row,
                parties: state.legs.iter().map(leg).collect(),
                legs_left_out: state.legs_left_out,
                recordings,
            })
        }
        (None, Some(media)) => Some(whole_by_ng(&media, recordings, now)),
        (None, None) => None,
    })
}

fn leg_of_flow(leg: &LiveLeg, snapshot: Option<&Snapshot>, now: Instant) -> Leg {
    let tag = leg.tag();
    // Another may be in its place.
    let party = snapshot.filter(|_| leg.ended.is_none()).and_then(|it| {
        let is = |party: &&Party| party.has_tag(tag) || party.via_branch.as_deref() == Some(tag);
        Some((
            it,
            it.parties.iter().filter(|party| !party.closed).find(is)?,
        ))
    });
    let direction = match leg.inbound {
        true => "inbound",
        false => "outbound-dial",
    };
    let end = leg.ended.map_or(now, |(_, at)| at);
    Leg {
        sid: leg.sid.to_string(),
        direction: direction.to_owned(),
        number: if leg.inbound { &leg.from } else { &leg.to }.to_string(),
        status: leg.status().label().to_owned(),
        cause: leg.ended.map(|(cause, _)| cause.0),
        age_ms: ms_between(leg.started, now),
        talk_ms: leg.answered.map(|at| ms_between(at, end)),
        media: party.and_then(|(it, party)| media(it, party)),
    }
}

fn whole_by_ng(snapshot: &Snapshot, recordings: Vec<Recording>, now: Instant) -> Whole {
    let party = |party: &Party| {
        let status = match party.has_sdp {
            true => LegStatus::InProgress,
            false => LegStatus::Ringing,
        };
        let age = snapshot.taken.0.duration_since(party.created);
        Leg {
            sid: party.tag().to_owned(),
            status: status.label().to_owned(),
            age_ms: ms(age.unwrap_or_default()),
            media: media(snapshot, party),
            ..Leg::default()
        }
    };
    let open = snapshot.parties.iter().filter(|party| !party.closed);
    Whole {
        call: of_ng(&snapshot.sketch(), now),
        parties: open.map(party).collect(),
        legs_left_out: 0,
        recordings,
    }
}

/// What is received of a party's audio, where it has any.
fn media(snapshot: &Snapshot, party: &Party) -> Option<Media> {
    let line = party.audio()?;
    let report = snapshot.stream(line)?;
    let quality = quality::of(report);
    let quiet = |at| snapshot.report.taken.saturating_duration_since(at);
    Some(Media {
        codec: line.codec.to_string(),
        received: quality.received,
        lost: quality.lost,
        jitter_us: quality.jitter_us,
        mos: quality.mos,
        sent: report.rtp_out.packets,
        quiet_ms: report.last_packet.map(|at| ms(quiet(at))),
    })
}
