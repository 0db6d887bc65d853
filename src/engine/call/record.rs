//! Recordings: copies of what parties say and are sent, on tapes.
//!
//! A recording is one more who listens, and touches as little: it looks at a packet that was
//! accepted, before that is edited for anybody, or at one that was made to be sent. What the tape
//! has no room for is lost to the recording alone.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::*;
use crate::engine::digits::Press;
use crate::engine::gather::Keys;
use crate::engine::record::{
    Marks, RECORDERS_MAX, RecorderId, Side, TRACKS_MAX, TRACKS_OF_STREAM_MAX, TapeWriter, TrackIx,
};
use crate::wire::rtp::{RtpHeader, RtpPacket};

/// Tracks that one side of a stream is on.
type Tracks = SmallVec<[(RecorderId, TrackIx); 2]>;

/// On which tracks a stream is.
#[derive(Debug, Default)]
pub(in crate::engine) struct Recorded {
    said: Tracks,
    sent: Tracks,
}

impl Recorded {
    fn side(&mut self, side: Side) -> &mut Tracks {
        match side {
            Side::In => &mut self.said,
            Side::Out => &mut self.sent,
        }
    }
}

/// The recordings of a call.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    all: Vec<Recording>,
    /// A tape was written to that nobody reads any more.
    abandoned: bool,
}

#[derive(Debug)]
struct Recording {
    id: RecorderId,
    /// `None`: it is over. Its name stays known, for commands that are on their way.
    tape: Option<Box<TapeWriter>>,
    /// From the call's time to the tape's.
    shift_us: i64,
    finish: Keys,
    tracks: [Option<(StreamIx, Side)>; TRACKS_MAX],
}

impl Recording {
    fn at(&self, now: Micros) -> Duration {
        Duration::from_micros(now.0.saturating_add_signed(self.shift_us))
    }

    fn end(&mut self, now: Micros) {
        let at = self.at(now);
        if let Some(tape) = self.tape.take() {
            tape.end(at);
        }
    }

    fn is_abandoned(&self) -> bool {
        let tape = self.tape.as_ref();
        tape.is_some_and(|tape| tape.is_abandoned())
    }
}

impl Recordings {
    /// How many are not over.
    fn running(&self) -> usize {
        let runs = |recording: &&Recording| recording.tape.is_some() && !recording.is_abandoned();
        self.all.iter().filter(runs).count()
    }

    fn place(&self, id: RecorderId) -> Option<usize> {
        self.all.iter().position(|recording| recording.id == id)
    }

    /// Names of recordings that are over are forgotten where there is no room for them.
    fn make_room(&mut self, most: usize) {
        while self.all.len() > most
            && let Some(over) = self.all.iter().position(|it| it.tape.is_none())
        {
            self.all.remove(over);
        }
    }

    /// Whether the recordings of another call can come to these.
    pub(super) fn has_room_for(&self, other: &Self) -> bool {
        let mut others = other.all.iter();
        let known = others.any(|recording| self.place(recording.id).is_some());
        !known && self.running() + other.running() <= RECORDERS_MAX
    }

    /// Takes the recordings of another call in, whose streams are now `by` further on.
    pub(super) fn absorb(&mut self, other: &mut Self, by: u16) {
        for mut recording in other.all.drain(..) {
            for (stream, _) in recording.tracks.iter_mut().flatten() {
                *stream = stream.after(by);
            }
            self.all.push(recording);
        }
        self.abandoned |= std::mem::take(&mut other.abandoned);
    }

    /// Copies a packet that is sent, to the octet.
    #[cold]
    pub(super) fn sent(
        &mut self,
        now: Micros,
        recorded: Option<&Recorded>,
        event: bool,
        rtp: &[u8],
    ) {
        let marks = Marks {
            event,
            ..Marks::default()
        };
        let header = || RtpHeader::parse(rtp).map_or(0, |header| header.payload_start);
        let rtp = if event { &rtp[..header()] } else { rtp };
        if let Some(recorded) = recorded {
            self.write(now, &recorded.sent, marks, rtp);
        }
    }

    fn write(&mut self, now: Micros, tracks: &[(RecorderId, TrackIx)], marks: Marks, rtp: &[u8]) {
        self.each(tracks, |recording, track| {
            let at = recording.at(now);
            if let Some(tape) = &mut recording.tape {
                tape.copy(at, track, marks, rtp);
            }
        });
    }

    fn each(
        &mut self,
        tracks: &[(RecorderId, TrackIx)],
        mut each: impl FnMut(&mut Recording, TrackIx),
    ) {
        for (id, track) in tracks {
            if let Some(recording) = self.all.iter_mut().find(|it| it.id == *id) {
                each(recording, *track);
                self.abandoned |= recording.is_abandoned();
            }
        }
    }
}

/// Commands.
impl Call {
    pub(super) fn record(
        &mut self,
        id: RecorderId,
        tape: Box<TapeWriter>,
        finish: Keys,
    ) -> Result<(), ChangeError> {
        let recordings = &mut self.recordings;
        recordings.make_room(RECORDERS_MAX - 1);
        if recordings.all.len() >= RECORDERS_MAX || recordings.place(id).is_some() {
            return Err(ChangeError::TooManyRecorders);
        }
        recordings.all.push(Recording {
            id,
            shift_us: shift_us(self.epoch, tape.origin()),
            tape: Some(tape),
            finish,
            tracks: [None; TRACKS_MAX],
        });
        Ok(())
    }

    pub(super) fn record_track(
        &mut self,
        now: Micros,
        id: RecorderId,
        track: TrackIx,
        from: Option<(StreamIx, Side)>,
    ) -> Result<(), ChangeError> {
        let recording = self.recordings.place(id);
        let recording = recording.map(|place| &self.recordings.all[place]);
        let before = recording.and_then(|it| it.tracks.get(usize::from(track.0)));
        let before = *before.ok_or(ChangeError::UnknownRecorder(id))?;
        if let Some((ix, side)) = from {
            let stream = self.open_stream(ix)?;
            let is_rtp = stream.config.payload == Payload::Rtp;
            let tracks = stream.recorded.as_mut().map(|it| it.side(side).len());
            let has_room = tracks.is_none_or(|tracks| tracks < TRACKS_OF_STREAM_MAX);
            if !is_rtp || !has_room && before != from {
                return Err(ChangeError::Record(ix));
            }
        }
        if before != from {
            self.clear_track(now, id, track);
            self.set_track(now, id, track, from);
        }
        Ok(())
    }

    pub(super) fn stop_record(&mut self, now: Micros, id: RecorderId) -> Result<(), ChangeError> {
        let place = self.recordings.place(id);
        let place = place.ok_or(ChangeError::UnknownRecorder(id))?;
        self.end_recording(now, place);
        self.recordings.all.remove(place);
        Ok(())
    }

    /// A stream is closed: its tracks fall silent.
    pub(super) fn unrecord(&mut self, now: Micros, ix: StreamIx) {
        let recorded = self.streams[usize::from(ix.0)].recorded.as_deref();
        let recorded = recorded.into_iter();
        let tracks = recorded.flat_map(|it| it.said.iter().chain(&it.sent).copied());
        for (id, track) in tracks.collect::<Tracks>() {
            self.clear_track(now, id, track);
        }
    }

    /// All recordings end, with the call. For its owner, before the call is taken apart; a timer
    /// that ends the call has ended them already.
    pub fn end_recordings(&mut self, now: Instant) {
        let now = self.tick(now);
        self.end_all_recordings(now);
    }

    pub(super) fn end_all_recordings(&mut self, now: Micros) {
        let all = self.recordings.all.iter_mut();
        all.for_each(|recording| recording.end(now));
    }

    /// Recordings that nobody reads any more are over.
    pub(super) fn drop_abandoned(&mut self, now: Micros) {
        for place in 0..self.recordings.all.len() {
            if self.recordings.all[place].is_abandoned() {
                self.end_recording(now, place);
            }
        }
        self.recordings.abandoned = false;
        self.recordings.make_room(RECORDERS_MAX);
    }

    /// As [`Self::drop_abandoned`], where a packet has met one.
    #[inline]
    pub(super) fn drop_met(&mut self, now: Micros) {
        if self.recordings.abandoned {
            self.drop_abandoned(now);
        }
    }

    /// What a recording may need to know of a party's keys: whether anything, and whether one of
    /// them ends it.
    pub(super) fn recorded_keys(&self, stream: &Stream) -> (bool, bool) {
        let recorded = stream.recorded.as_deref();
        let said = recorded.map_or(&[][..], |recorded| &recorded.said);
        let ends = |(id, _): &(RecorderId, TrackIx)| {
            let place = self.recordings.place(*id);
            place.is_some_and(|place| self.recordings.all[place].finish != Keys::NONE)
        };
        (!said.is_empty(), said.iter().any(ends))
    }

    fn end_recording(&mut self, now: Micros, place: usize) {
        let recording = &self.recordings.all[place];
        let id = recording.id;
        for track in (0..).map(TrackIx).take(TRACKS_MAX) {
            self.clear_track(now, id, track);
        }
        self.recordings.all[place].end(now);
    }

    fn clear_track(&mut self, now: Micros, id: RecorderId, track: TrackIx) {
        let place = self.recordings.place(id);
        let on = place.and_then(|place| {
            let tracks = &mut self.recordings.all[place].tracks;
            tracks.get_mut(usize::from(track.0))?.take()
        });
        if let Some((ix, side)) = on {
            let stream = &mut self.streams[usize::from(ix.0)];
            if let Some(recorded) = &mut stream.recorded {
                recorded.side(side).retain(|it| *it != (id, track));
            }
            self.tracks_changed(now, ix);
        }
    }

    /// Of a recording that has such a track with nobody on it. Where it is over, nobody comes.
    fn set_track(
        &mut self,
        now: Micros,
        id: RecorderId,
        track: TrackIx,
        from: Option<(StreamIx, Side)>,
    ) {
        let mut all = self.recordings.all.iter_mut();
        let recording = all.find(|it| it.id == id && it.tape.is_some());
        let (Some(recording), Some((ix, side))) = (recording, from) else {
            return;
        };
        recording.tracks[usize::from(track.0)] = from;
        let recorded = &mut self.streams[usize::from(ix.0)].recorded;
        let recorded = recorded.get_or_insert_default();
        recorded.side(side).push((id, track));
        self.tracks_changed(now, ix);
    }

    fn tracks_changed(&mut self, now: Micros, ix: StreamIx) {
        let stream = &mut self.streams[usize::from(ix.0)];
        let recorded = stream.recorded.as_deref();
        stream.flags.said_taped = recorded.is_some_and(|it| !it.said.is_empty());
        stream.flags.sent_taped = recorded.is_some_and(|it| !it.sent.is_empty());
        if !stream.flags.said_taped && !stream.flags.sent_taped {
            stream.recorded = None;
        }
        let _closed = self.hear_keys(now, ix);
    }
}

/// What happens meanwhile.
impl Call {
    /// Copies an accepted packet of a party, as far as it may say it.
    #[cold]
    pub(super) fn record_said(
        &mut self,
        now: Micros,
        ix: StreamIx,
        continuity: Continuity,
        event: bool,
        packet: &RtpPacket<'_>,
    ) {
        let stream = &self.streams[usize::from(ix.0)];
        let Flags {
            blocked,
            sends,
            silenced,
            ..
        } = stream.flags;
        if blocked || !sends || matches!(continuity, Continuity::Suspect | Continuity::Straggler) {
            return;
        }
        let header = packet.header();
        let veiled = !event && stream.veils_from_all();
        if veiled && stream.types.listed(header.pt).is_none() {
            return; // nobody would know how to take keys out of it
        }
        let marks = Marks {
            event,
            veiled,
            silenced,
        };
        let rtp = match marks.is_bare() {
            true => &packet.bytes()[..header.payload_start],
            false => packet.bytes(),
        };
        if let Some(recorded) = stream.recorded.as_deref() {
            self.recordings.write(now, &recorded.said, marks, rtp);
        }
        self.drop_met(now);
    }

    /// Copies a packet that was just forwarded to a party.
    #[cold]
    pub(super) fn record_forwarded(&mut self, now: Micros, to: StreamIx, event: bool, sent: &[u8]) {
        let recorded = self.streams[usize::from(to.0)].recorded.as_deref();
        self.recordings.sent(now, recorded, event, sent);
        self.drop_met(now);
    }

    /// A party's key goes down.
    pub(super) fn record_key_down(&mut self, now: Micros, ix: StreamIx, press: &Press) {
        let Some(digit) = press.code.digit() else {
            return;
        };
        let began = Micros(now.0.saturating_sub(micros(press.began_before)));
        self.on_tapes_of(ix, |recording, track| {
            let at = recording.at(began);
            if let Some(tape) = &mut recording.tape {
                tape.press(at, track, None);
                if recording.finish.contains(digit) {
                    tape.finish(at, track);
                }
            }
        });
    }

    /// It comes up.
    pub(super) fn record_key_up(&mut self, now: Micros, ix: StreamIx, press: &Press) {
        if press.code.digit().is_none() {
            return;
        }
        self.on_tapes_of(ix, |recording, track| {
            let at = recording.at(now);
            if let Some(tape) = &mut recording.tape {
                tape.press(at, track, Some(press.duration));
            }
        });
    }

    fn on_tapes_of(&mut self, ix: StreamIx, each: impl FnMut(&mut Recording, TrackIx)) {
        if let Some(recorded) = &self.streams[usize::from(ix.0)].recorded {
            self.recordings.each(&recorded.said, each);
        }
    }
}

/// What to add to the time since `epoch` to have the time since `origin`.
fn shift_us(epoch: Instant, origin: Instant) -> i64 {
    let signed = |span: Duration| i64::try_from(micros(span)).unwrap_or(i64::MAX);
    let before = signed(epoch.saturating_duration_since(origin));
    before - signed(origin.saturating_duration_since(epoch))
}
