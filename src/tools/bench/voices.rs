//! The traffic of `bench rooms`: every participant has a tone of its own, which swells and fades as
//! syllables do, and is looked for in what a sample of the others hear.

use std::collections::HashMap;
use std::f64::consts::TAU;
use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::generator::{PACKET_BYTES_MAX, RTP_HEADER_BYTES, Sender, Traffic, unix_ns};
use super::heard::{Arrived, Listener, When, Window, consecutive};
use super::sound::{self, LOOP_FRAMES, SWELL_MEAN, SWELLS};
use crate::audio::codec::CodecKind;
use crate::audio::g711;
use crate::plane::probe;
use crate::wire::rtp::RtpHeader;

/// Octets and samples of a packet, and ticks of its clock.
const FRAME: usize = 160;
const TICKS: u32 = 160;
const RATE_HZ: u32 = 8_000;

/// Tones lie so far apart at least: what the swelling makes of one (3 and 5 Hz beside it) is not
/// another.
const STEP_HZ: u32 = 10;

/// The lowest tone, and the width of the band they share.
const LOWEST_HZ: u32 = 300;
const BAND_HZ: u32 = 2_800;

/// Most voices that are heard together and can still be told apart.
pub(super) const VOICES_MAX: u32 = BAND_HZ / STEP_HZ;

/// Peak of all voices of a room together, and the most of one.
const PEAK: f64 = 28_000.0;
const VOICE_PEAK: f64 = 6_000.0;

/// Who is not to be among the loudest is this much quieter (20 dB).
const QUIETER: f64 = 0.1;

/// What a party sends and what it is sent lie differently in the window: by a packet at most.
const EDGE: u64 = 1;

/// Participants who are listened to.
const SAMPLES: usize = 12;

/// Amplitude of a tone that counts as heard, of what was sent; 6 dB of unevenness are forgiven.
const HEARD: f64 = 0.5;
/// One that counts as not heard: what rounding to µ-law leaves of nothing.
const UNHEARD: f64 = 0.05;

/// Who is in which room, and who is heard there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rooms {
    pub(super) parties: u32,
    pub(super) room: u32,
    pub(super) loudest: Option<u8>,
    /// This tone is heard by everybody, and nobody else is.
    pub(super) music_hz: Option<u32>,
}

impl Rooms {
    pub(super) fn count(&self) -> u32 {
        self.parties.div_ceil(self.room)
    }

    /// The room of a party, and its place there.
    pub(super) fn seat(&self, party: u32) -> (u32, u32) {
        (party / self.room, party % self.room)
    }

    /// Parties of a room.
    pub(super) fn size(&self, room: u32) -> u32 {
        self.room.min(self.parties - room * self.room)
    }

    /// Voices that are heard together at most.
    fn together(&self) -> u32 {
        self.loudest
            .map_or(self.room, |loudest| self.room.min(loudest.into()))
    }

    /// Frequency and amplitude of the voice at a place.
    fn voice(&self, place: u32) -> (u32, f64) {
        let together = self.together();
        let step_hz = (BAND_HZ / together.max(1) / STEP_HZ).max(1) * STEP_HZ;
        let hz = LOWEST_HZ + place * step_hz % BAND_HZ;
        let peak = (PEAK / f64::from(together)).min(VOICE_PEAK);
        match place < together {
            true => (hz, peak),
            false => (hz, peak * QUIETER),
        }
    }

    /// Tones that the party at a place is to hear, with their amplitudes.
    fn expected(&self, room: u32, place: u32) -> Vec<(u32, f64)> {
        if let Some(hz) = self.music_hz {
            return vec![(hz, MUSIC_PEAK)];
        }
        let others = (0..self.together().min(self.size(room))).filter(|other| *other != place);
        others.map(|other| self.voice(other)).collect()
    }
}

/// Peak of the prompt that is played.
pub(super) const MUSIC_PEAK: f64 = 6_000.0;

/// One second of a tone that swells around its mean; it repeats without a seam.
#[allow(clippy::cast_possible_truncation, reason = "far below the limit")]
pub(super) fn swelling(hz: u32, peak: f64) -> Vec<i16> {
    let sample = |n: u32| {
        let t = f64::from(n) / f64::from(RATE_HZ);
        let swell = SWELLS
            .iter()
            .map(|(rate, depth)| depth * (TAU * rate * t).sin());
        let swell = SWELL_MEAN + swell.sum::<f64>();
        (peak * swell * (TAU * f64::from(hz) * t).sin()).round() as i16
    };
    (0..RATE_HZ).map(sample).collect()
}

fn packets(hz: u32, peak: f64) -> Vec<[u8; FRAME]> {
    let frames = swelling(hz, peak);
    let encode = |frame: &[i16]| {
        let mut payload = [0; FRAME];
        for (octet, sample) in payload.iter_mut().zip(frame) {
            *octet = g711::linear_to_ulaw(*sample);
        }
        payload
    };
    frames.chunks_exact(FRAME).map(encode).collect()
}

/// Voices in rooms.
#[derive(Debug)]
pub(super) struct Voices {
    rooms: Rooms,
    senders: Vec<Sender>,
    /// The packets of every voice, by place; of those that are the same, once.
    loops: HashMap<(u32, bool), Vec<[u8; FRAME]>>,
    listeners: Vec<Listener>,
    /// Where each party's packets come from.
    sources: Vec<SocketAddrV4>,
    window: Window,
    sent_before: Vec<u32>,
    sent_within: Vec<u32>,
    misrouted: u64,
    unstamped: u64,
    jitter_ns: Histogram<u64>,
}

/// What a run found. Only what arrived inside the window is counted, but for `missing`.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) arrived: u64,
    /// A party sent a packet inside the window, and was not sent one of its own in time.
    pub(super) missing: u64,
    pub(super) gaps: u64,
    pub(super) duplicate: u64,
    pub(super) reordered: u64,
    pub(super) discontinuous: u64,
    pub(super) skipped: u64,
    pub(super) malformed: u64,
    pub(super) misrouted: u64,
    pub(super) unstamped: u64,
    pub(super) jitter_ns: Histogram<u64>,
    /// Participants listened to.
    pub(super) listened_to: u64,
    /// Voices that they should have heard, and those that they did not.
    pub(super) expected: u64,
    pub(super) unheard: u64,
    /// Participants who heard themselves.
    pub(super) echoes: u64,
}

impl Voices {
    /// Party `i` is sent its packets from `sources[i]`.
    pub(super) fn new(rooms: Rooms, sources: Vec<SocketAddrV4>) -> Result<Self> {
        ensure!(
            rooms.music_hz.is_some() || rooms.together() <= VOICES_MAX,
            "at most {VOICES_MAX} voices can be told apart: name fewer by --room or --loudest"
        );
        // The seed is fixed, so that every run sees the same load.
        let mut random = fastrand::Rng::with_seed(0x7870_726f_6f6d_7321);
        let count = sources.len();
        let mut loops = HashMap::new();
        for place in 0..rooms.room {
            let (hz, peak) = rooms.voice(place);
            let key = rooms.key(place);
            loops.entry(key).or_insert_with(|| packets(hz, peak));
        }
        let mut listeners = vec![Listener::default(); count];
        for listener in listeners.iter_mut().step_by(count.div_ceil(SAMPLES).max(1)) {
            listener.keeps = true;
        }
        Ok(Self {
            rooms,
            senders: (0..count)
                .map(|_| Sender::new(0, TICKS, &mut random))
                .collect(),
            loops,
            listeners,
            sources,
            window: Window::default(),
            sent_before: Vec::new(),
            sent_within: Vec::new(),
            misrouted: 0,
            unstamped: 0,
            jitter_ns: super::histogram()?,
        })
    }

    /// What the audit found.
    pub(super) fn outcome(&self) -> Result<Outcome> {
        let sum = |count: fn(&Listener) -> u64| self.listeners.iter().map(count).sum();
        let pairs = self.listeners.iter().zip(&self.sent_within);
        let missing =
            pairs.map(|(listener, sent)| u64::from(*sent).saturating_sub(listener.in_time + EDGE));
        let mut outcome = Outcome {
            arrived: sum(|l| l.within),
            missing: missing.sum(),
            gaps: sum(|l| l.gaps + l.open_gaps()),
            duplicate: sum(|l| l.duplicate),
            reordered: sum(|l| l.reordered),
            discontinuous: sum(|l| l.discontinuous),
            skipped: sum(|l| l.skipped),
            malformed: sum(|l| l.malformed),
            misrouted: self.misrouted,
            unstamped: self.unstamped,
            jitter_ns: self.jitter_ns.clone(),
            listened_to: 0,
            expected: 0,
            unheard: 0,
            echoes: 0,
        };
        for (party, listener) in (0..).zip(&self.listeners) {
            if listener.keeps {
                self.listen(party, listener, &mut outcome)?;
            }
        }
        Ok(outcome)
    }

    fn listen(&self, party: u32, listener: &Listener, outcome: &mut Outcome) -> Result<()> {
        let (room, place) = self.rooms.seat(party);
        let expected = self.rooms.expected(room, place);
        outcome.listened_to += 1;
        outcome.expected += expected.len() as u64;
        let Some(second) = last_second(listener)? else {
            outcome.unheard += expected.len() as u64;
            return Ok(());
        };
        let amplitude = |hz: u32| {
            let (re, im) = sound::line(&second, RATE_HZ, f64::from(hz));
            re.hypot(im)
        };
        let faint = |(hz, peak): &&(u32, f64)| amplitude(*hz) < HEARD * SWELL_MEAN * peak;
        outcome.unheard += expected.iter().filter(faint).count() as u64;
        let (hz, peak) = self.rooms.voice(place);
        let shared = expected.iter().any(|(other, _)| *other == hz);
        let loud = amplitude(hz) > UNHEARD * VOICE_PEAK.min(peak.max(VOICE_PEAK * QUIETER));
        outcome.echoes += u64::from(loud && !shared);
        Ok(())
    }
}

impl Rooms {
    /// Voices with the same key are the same.
    fn key(&self, place: u32) -> (u32, bool) {
        (self.voice(place).0, place < self.together())
    }
}

/// The last second that was kept of what somebody heard; what is missing of it is silence.
fn last_second(listener: &Listener) -> Result<Option<Vec<i16>>> {
    let Some((kept, _)) = consecutive(&listener.kept) else {
        return Ok(None);
    };
    let mut decoder = sound::decoder(CodecKind::Pcmu)?;
    let mut second = Vec::with_capacity(RATE_HZ as usize);
    for packet in &kept[kept.len() - LOOP_FRAMES..] {
        let mut pcm = [0; FRAME];
        if let Some(payload) = packet {
            decoder.decode(payload, &mut pcm)?;
        }
        second.extend_from_slice(&pcm);
    }
    Ok(Some(second))
}

impl Traffic for Voices {
    fn write(&mut self, party: usize, number: u32, packet: &mut [u8; PACKET_BYTES_MAX]) -> usize {
        let place = u32::try_from(party).unwrap_or(0) % self.rooms.room;
        // Not all begin with the same syllable.
        let frame = (number as usize + 7 * party) % LOOP_FRAMES;
        packet[..RTP_HEADER_BYTES].copy_from_slice(&self.senders[party].header(number));
        let payload = &self.loops[&self.rooms.key(place)][frame];
        packet[RTP_HEADER_BYTES..RTP_HEADER_BYTES + FRAME].copy_from_slice(payload);
        RTP_HEADER_BYTES + FRAME
    }

    fn open(&mut self, sent: &[u32]) {
        self.sent_before = sent.to_vec();
        self.window.opened = Some(unix_ns());
    }

    fn close(&mut self, sent: &[u32]) {
        let within = sent.iter().zip(&self.sent_before);
        self.sent_within = within.map(|(now, before)| now - before).collect();
        self.window.closed = Some(unix_ns());
    }

    fn hear(&mut self, party: usize, packet: &[u8], arrival: &probe::Arrival) {
        let at_ns = arrival.kernel_ns.unwrap_or_else(|| {
            self.unstamped += 1;
            unix_ns()
        });
        let when = self.window.place(at_ns);
        if arrival.from != SocketAddr::V4(self.sources[party]) {
            self.misrouted += u64::from(when != When::Before);
            return;
        }
        let listener = &mut self.listeners[party];
        match read(packet, at_ns) {
            Some(arrived) => {
                let codec = (CodecKind::Pcmu, TICKS);
                listener.hear(&arrived, when, codec, &mut self.jitter_ns);
            }
            None => listener.malformed += u64::from(when != When::Before),
        }
    }
}

/// `None` when it is not 20 ms of PCMU.
fn read(packet: &[u8], at_ns: u64) -> Option<Arrived<'_>> {
    let header = RtpHeader::parse(packet).ok()?;
    let payload = packet.get(header.payload_start..header.payload_end)?;
    (header.pt == 0 && payload.len() == FRAME).then_some(Arrived {
        ssrc: header.ssrc,
        seq: header.seq.0,
        timestamp: header.timestamp.0,
        at_ns,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::generator::{Generator, Parties, Plan};
    use super::*;

    fn rooms(parties: u32, room: u32, loudest: Option<u8>) -> Rooms {
        Rooms {
            parties,
            room,
            loudest,
            music_hz: None,
        }
    }

    #[test]
    fn rooms_are_filled_one_after_the_other() {
        let rooms = rooms(8, 3, None);
        assert_eq!((rooms.count(), rooms.size(0), rooms.size(2)), (3, 3, 2));
        assert_eq!((rooms.seat(2), rooms.seat(3)), ((0, 2), (1, 0)));
        assert_eq!(rooms.expected(2, 0).len(), 1);
        assert_eq!(rooms.expected(0, 1).len(), 2);
    }

    #[test]
    fn voices_are_apart_and_fit_together() {
        for (room, loudest) in [
            (2, None),
            (3, None),
            (280, None),
            (500, Some(4)),
            (500, Some(255)),
        ] {
            let rooms = rooms(room, room, loudest);
            let together = rooms.together();
            let mut tones: Vec<u32> = (0..together).map(|place| rooms.voice(place).0).collect();
            tones.sort_unstable();
            assert!(
                tones.windows(2).all(|pair| pair[1] - pair[0] >= STEP_HZ),
                "{room}"
            );
            let all: f64 = (0..together).map(|place| rooms.voice(place).1).sum();
            assert!(all <= 32_000.0 && *tones.last().unwrap() < 3_200, "{room}");
        }
        assert!(Voices::new(rooms(281, 281, None), Vec::new()).is_err());
        assert!(Voices::new(rooms(280, 280, None), Vec::new()).is_ok());
    }

    /// Without a switch everybody is sent what the one before says.
    fn talk(rooms: Rooms) -> Outcome {
        let parties = Parties::open(3).unwrap();
        let to: Vec<_> = [1, 2, 0].map(|i| parties.address(i)).to_vec();
        let from: Vec<_> = [2, 0, 1].map(|i| parties.address(i)).to_vec();
        let plan = Plan {
            warm: Duration::from_millis(100),
            window: Duration::from_millis(2_200),
        };
        let voices = Voices::new(rooms, from).unwrap();
        let generator = Generator::new(&parties, &to, voices).unwrap();
        let (_, voices) = generator.run(plan, || ()).unwrap();
        voices.outcome().unwrap()
    }

    #[test]
    fn who_is_not_heard_is_missed() {
        let outcome = talk(rooms(3, 3, None));
        assert_eq!(
            (outcome.missing, outcome.gaps, outcome.misrouted),
            (0, 0, 0)
        );
        assert_eq!((outcome.listened_to, outcome.expected), (3, 6));
        assert_eq!(
            (outcome.unheard, outcome.echoes),
            (3, 0),
            "one of two is heard"
        );
    }
}
