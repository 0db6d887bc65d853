//! One ringing branch of a fork, until a branch is chosen: what it carries, and the last it said
//! while nobody heard it.
//!
//! What arrives is listened to as it is, packet by packet, where that costs no decoder (G.711 and
//! L16); other codecs are judged by what their ear gives, where there is one. Work is bounded by
//! time that passes, whatever a branch sends: see [`AHEAD_US_MAX`].

use std::collections::VecDeque;

use super::playout::PacketInfo;
use super::time::Micros;
use crate::audio::codec::CodecKind;
use crate::audio::g711;
use crate::audio::progress::{Progress, ProgressDetector};
use crate::wire::seq::RtpTimestamp;

/// Most packets that are held of a branch that nobody hears: [`HELD_US_MAX`] of 10 ms packets.
pub const HELD_PACKETS_MAX: usize = 20;

/// Most bytes of their payloads; the oldest make room. 200 ms of L16 at 16 kHz.
pub const HELD_BYTES_MAX: usize = 6_400;

/// For how long they are held: one turn of signalling between the first word and the answer's
/// arrival here is shorter.
pub const HELD_US_MAX: u64 = 200_000;

/// A branch is silent when it had no sound for this long, and no tone or speech is going on that
/// has longer pauses.
const SILENT_US: u64 = 1_200_000;

/// Ringing tones pause for up to 5 s; after this there is no tone any more.
const TONE_PAUSE_US: u64 = 7_000_000;

/// Mean square above which 10 ms are sound: −55 dBov, as [`ProgressDetector`] has it.
const SOUND_MEAN_SQUARE: u64 = 3_395;

/// Audio that a branch may send ahead of time; what a flood has beyond that is not listened to.
const AHEAD_US_MAX: u64 = 500_000;

/// Samples listened to at once: 10 ms at 16 kHz.
const PIECE: usize = 160;

/// How a payload can be listened to without a decoder's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Law {
    /// G.711 µ-law at 8 kHz.
    Ulaw,
    /// G.711 A-law at 8 kHz.
    Alaw,
    /// Linear samples at 8 or 16 kHz, in network order.
    Linear(u32),
}

impl Law {
    /// `None` for codecs that need a decoder.
    pub(super) fn of(kind: CodecKind) -> Option<Self> {
        match kind {
            CodecKind::Pcmu => Some(Self::Ulaw),
            CodecKind::Pcma => Some(Self::Alaw),
            CodecKind::L16 {
                rate_hz: rate_hz @ (8_000 | 16_000),
                channels: 1,
            } => Some(Self::Linear(rate_hz)),
            _ => None,
        }
    }

    fn rate_hz(self) -> u32 {
        match self {
            Self::Ulaw | Self::Alaw => 8_000,
            Self::Linear(rate_hz) => rate_hz,
        }
    }

    fn octets(self) -> usize {
        match self {
            Self::Ulaw | Self::Alaw => 1,
            Self::Linear(_) => 2,
        }
    }

    fn decode(self, octets: &[u8], out: &mut [i16; PIECE]) -> usize {
        match self {
            Self::Ulaw => g711::decode_ulaw(octets, out),
            Self::Alaw => g711::decode_alaw(octets, out),
            Self::Linear(_) => {
                let samples = octets.as_chunks::<2>().0;
                for (to, from) in out.iter_mut().zip(samples) {
                    *to = i16::from_be_bytes(*from);
                }
                samples.len()
            }
        }
    }
}

/// What a packet changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    /// The verdict, if it is another one.
    pub(super) verdict: Option<Progress>,
    /// Sound begins, after silence or at all.
    pub(super) onset: bool,
    /// Whether there was sound in it; `None`: it could not be listened to.
    pub(super) sounds: Option<bool>,
}

/// One branch.
#[derive(Debug, Default)]
pub(super) struct Branch {
    detector: Option<(u32, ProgressDetector)>,
    verdict: Progress,
    /// The last packet with sound.
    sounded_at: Option<Micros>,
    /// Whose timestamp comes next.
    next: Option<(u32, RtpTimestamp)>,
    /// When it was last listened to.
    fed_at: Micros,
    /// What may be listened to, in microseconds, and until when time was turned into that.
    paid_at: Micros,
    budget_us: u64,
    /// There was no sound in the latest packet.
    quiet: bool,
    pub(super) held: Held,
}

impl Branch {
    pub(super) fn new(now: Micros) -> Self {
        Self {
            fed_at: now,
            paid_at: now,
            budget_us: AHEAD_US_MAX,
            ..Self::default()
        }
    }

    /// Listens to a packet as it arrives.
    pub(super) fn hear(
        &mut self,
        now: Micros,
        law: Law,
        info: &PacketInfo,
        payload: &[u8],
    ) -> Noticed {
        let rate_hz = law.rate_hz();
        let samples = payload.len() / law.octets();
        let Some(gap) = self.gap(now, info, samples, rate_hz) else {
            return Noticed::default();
        };
        let was_silent = self.is_silent(now) || self.sounded_at.is_none();
        let silence = [0; PIECE];
        let mut left = gap;
        while left > 0 {
            let piece = left.min(PIECE);
            self.listen(rate_hz, &silence[..piece]);
            left -= piece;
        }
        let mut pcm = [0; PIECE];
        let mut sounds = false;
        for octets in payload.chunks(PIECE / 2 * law.octets()) {
            let len = law.decode(octets, &mut pcm);
            sounds |= is_sound(&pcm[..len]);
            self.listen(rate_hz, &pcm[..len]);
        }
        self.conclude(now, was_silent, sounds)
    }

    /// Listens to decoded audio, of branches whose packets cannot be listened to as they are.
    pub(super) fn hear_decoded(&mut self, now: Micros, rate_hz: u32, pcm: &[i16]) -> Noticed {
        let was_silent = self.is_silent(now) || self.sounded_at.is_none();
        self.listen(rate_hz, pcm);
        let sounds = pcm.chunks(PIECE / 2).any(is_sound);
        self.conclude(now, was_silent, sounds)
    }

    /// The verdict so far.
    pub(super) fn verdict(&self) -> Progress {
        self.verdict
    }

    /// Whether nothing could be heard in the latest packet that was listened to.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether it is known to carry nothing that one could hear.
    pub(super) fn is_silent(&self, now: Micros) -> bool {
        let within = |span_us| self.sounded_at.is_some_and(|at| now.since(at) < span_us);
        match self.verdict {
            Progress::Nothing | Progress::Silence => self.detector.is_some() && !within(SILENT_US),
            _ => !within(TONE_PAUSE_US),
        }
    }

    fn conclude(&mut self, now: Micros, was_silent: bool, sounds: bool) -> Noticed {
        if sounds {
            self.sounded_at = Some(now);
        }
        self.quiet = !sounds;
        let detector = self.detector.as_ref();
        let verdict = detector.map_or(Progress::Nothing, |(_, detector)| detector.progress());
        let before = std::mem::replace(&mut self.verdict, verdict);
        Noticed {
            verdict: (before != verdict).then_some(verdict),
            onset: was_silent && sounds,
            sounds: Some(sounds),
        }
    }

    fn listen(&mut self, rate_hz: u32, pcm: &[i16]) {
        if self.detector.is_none() {
            self.detector = ProgressDetector::new(rate_hz).map(|new| (rate_hz, new));
        }
        // One that changes its rate in mid-ring is judged by its energy alone.
        if let Some((_, detector)) = self.detector.as_mut().filter(|(hz, _)| *hz == rate_hz) {
            detector.update(pcm);
        }
    }

    /// Samples missing before a packet: lost ones, or a pause of the sender. `None`: it comes too
    /// late to be listened to, or much too early.
    fn gap(
        &mut self,
        now: Micros,
        info: &PacketInfo,
        samples: usize,
        rate_hz: u32,
    ) -> Option<usize> {
        let ahead = match self.next {
            Some((ssrc, next)) if ssrc == info.ssrc => info.timestamp.ahead_of(next),
            _ => 0,
        };
        // More than a second back is another beginning.
        if ahead < 0 && ahead.unsigned_abs() < rate_hz {
            return None;
        }
        let passed_us = now.since(self.paid_at);
        self.paid_at = now;
        self.budget_us = AHEAD_US_MAX.min(self.budget_us.saturating_add(passed_us));
        let samples_us = samples as u64 * 1_000_000 / u64::from(rate_hz);
        self.budget_us = self.budget_us.checked_sub(samples_us)?;
        let elapsed_us = now.since(self.fed_at);
        self.fed_at = now;
        let ticks = u32::try_from(samples).unwrap_or(0);
        self.next = Some((info.ssrc, info.timestamp.plus(ticks)));
        // What is missing took time; what claims more is another beginning, too.
        let elapsed = elapsed_us.min(TONE_PAUSE_US) * u64::from(rate_hz) / 1_000_000;
        let gap = u64::from(ahead.max(0).unsigned_abs()).min(elapsed);
        usize::try_from(gap).ok()
    }
}

fn is_sound(pcm: &[i16]) -> bool {
    let square = |&sample: &i16| u64::from(sample.unsigned_abs()).pow(2);
    let energy: u64 = pcm.iter().map(square).sum();
    energy > SOUND_MEAN_SQUARE * pcm.len() as u64
}

/// The last packets of a branch that nobody hears, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Held {
    packets: VecDeque<HeldPacket>,
    /// Their payloads, one after the other.
    bytes: Vec<u8>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldPacket {
    pub(super) at: Micros,
    pub(super) info: PacketInfo,
    len: usize,
    /// Nothing in it can be heard.
    silent: bool,
}

impl Held {
    /// Keeps a packet; what is too old or too much goes. O([`HELD_BYTES_MAX`]) at worst.
    pub(super) fn push(&mut self, now: Micros, info: PacketInfo, payload: &[u8], silent: bool) {
        if payload.len() > HELD_BYTES_MAX {
            return;
        }
        let kept = |held: &Self| {
            held.packets.len() < HELD_PACKETS_MAX
                && held.bytes.len() + payload.len() <= HELD_BYTES_MAX
                && held
                    .packets
                    .front()
                    .is_none_or(|packet| now.since(packet.at) <= HELD_US_MAX)
        };
        while !kept(self) {
            self.pop();
        }
        self.packets.push_back(HeldPacket {
            at: now,
            info,
            len: payload.len(),
            silent,
        });
        self.bytes.extend_from_slice(payload);
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.packets.pop_front() {
            self.bytes.drain(..oldest.len);
        }
    }

    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.bytes.clear();
    }

    /// Leaves what is not too old, from one packet before the first sound on: a word may begin
    /// with something soft. Nothing if there is no sound.
    pub(super) fn trim(&mut self, now: Micros) {
        while self
            .packets
            .front()
            .is_some_and(|packet| now.since(packet.at) > HELD_US_MAX)
        {
            self.pop();
        }
        let Some(first) = self.packets.iter().position(|packet| !packet.silent) else {
            return self.clear();
        };
        (1..first).for_each(|_| self.pop());
    }

    /// The packets with their payloads, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&HeldPacket, &[u8])> {
        let mut start = 0;
        self.packets.iter().map(move |packet| {
            let from = start;
            start += packet.len;
            (packet, self.bytes.get(from..start).unwrap_or(&[]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::seq::SequenceNumber;

    fn info(n: u16) -> PacketInfo {
        PacketInfo {
            ssrc: 1,
            seq: SequenceNumber(n),
            timestamp: RtpTimestamp(u32::from(n) * 160),
            pt: 0,
            marker: false,
        }
    }

    fn seqs(held: &Held) -> Vec<u16> {
        held.iter().map(|(packet, _)| packet.info.seq.0).collect()
    }

    #[test]
    fn holds_as_many_packets_as_it_says_and_no_more() {
        let mut held = Held::default();
        for n in 0..20 {
            held.push(Micros(0), info(n), &[1], false);
        }
        assert_eq!(held.packets.len(), HELD_PACKETS_MAX);
        assert_eq!(seqs(&held)[0], 0);
        held.push(Micros(0), info(20), &[1], false);
        assert_eq!(held.packets.len(), HELD_PACKETS_MAX);
        assert_eq!(seqs(&held)[0], 1);
    }

    #[test]
    fn holds_as_many_bytes_as_it_says_and_no_more() {
        let mut held = Held::default();
        held.push(Micros(0), info(0), &[7; HELD_BYTES_MAX], false);
        assert_eq!(held.bytes.len(), HELD_BYTES_MAX);
        held.push(Micros(0), info(1), &[7; HELD_BYTES_MAX + 1], false);
        assert_eq!(seqs(&held), [0], "longer than all of it");
        held.push(Micros(0), info(2), &[8; 100], false);
        held.push(Micros(0), info(3), &[9; HELD_BYTES_MAX - 100], false);
        assert_eq!(
            (seqs(&held), held.bytes.len()),
            (vec![2, 3], HELD_BYTES_MAX)
        );
        let payloads: Vec<u8> = held.iter().map(|(_, payload)| payload[0]).collect();
        assert_eq!(payloads, [8, 9]);
        held.push(Micros(0), info(4), &[1], false);
        assert_eq!(seqs(&held), [3, 4]);
    }

    #[test]
    fn holds_as_long_as_it_says_and_no_longer() {
        let mut held = Held::default();
        held.push(Micros(0), info(0), &[1], false);
        held.push(Micros(HELD_US_MAX), info(1), &[1], false);
        assert_eq!(seqs(&held), [0, 1]);
        held.push(Micros(HELD_US_MAX + 1), info(2), &[1], false);
        assert_eq!(seqs(&held), [1, 2]);
        held.trim(Micros(2 * HELD_US_MAX + 1));
        assert_eq!(seqs(&held), [2]);
        held.trim(Micros(2 * HELD_US_MAX + 2));
        assert_eq!(seqs(&held), [0; 0]);
    }

    #[test]
    fn what_is_left_begins_a_packet_before_the_first_sound() {
        let mut held = Held::default();
        for n in 0..6 {
            held.push(Micros(0), info(n), &[1], n < 3 || n == 4);
        }
        held.trim(Micros(0));
        assert_eq!(seqs(&held), [2, 3, 4, 5]);
        held.clear();
        held.push(Micros(0), info(9), &[1], true);
        held.trim(Micros(0));
        assert_eq!(seqs(&held), [0; 0], "silence is not worth a wait");
    }

    /// A second of audio per `arrivals` microseconds, in 20 ms packets of µ-law.
    fn feed(branch: &mut Branch, packets: u16, every_us: u64, octet: u8) -> usize {
        let heard = (0..packets).filter(|&n| {
            let now = Micros(u64::from(n) * every_us);
            let noticed = branch.hear(now, Law::Ulaw, &info(n), &[octet; 160]);
            noticed.sounds.is_some()
        });
        heard.count()
    }

    #[test]
    fn a_flood_is_listened_to_no_faster_than_time_passes() {
        let mut branch = Branch::new(Micros::ZERO);
        assert_eq!(feed(&mut branch, 25, 0, 0x80), 25, "half a second ahead");
        let mut branch = Branch::new(Micros::ZERO);
        assert_eq!(feed(&mut branch, 26, 0, 0x80), 25);
        let mut branch = Branch::new(Micros::ZERO);
        let heard = feed(&mut branch, 1_000, 2_000, 0x80);
        assert!((124..=126).contains(&heard), "2 s of 20 s: {heard}");
    }

    #[test]
    fn silence_is_known_at_once_and_sound_begins_with_its_packet() {
        let mut branch = Branch::new(Micros::ZERO);
        assert!(!branch.is_silent(Micros::ZERO), "nothing is known");
        let quiet = branch.hear(Micros::ZERO, Law::Ulaw, &info(0), &[0xff; 160]);
        assert_eq!((quiet.onset, quiet.sounds), (false, Some(false)));
        assert!(branch.is_silent(Micros::ZERO));
        let loud = branch.hear(Micros(20_000), Law::Ulaw, &info(1), &[0x80; 160]);
        assert_eq!((loud.onset, loud.sounds), (true, Some(true)));
        assert!(!branch.is_silent(Micros(20_000 + SILENT_US - 1)));
        assert!(branch.is_silent(Micros(20_000 + SILENT_US)));
    }

    #[test]
    fn late_copies_are_not_listened_to_twice() {
        let mut branch = Branch::new(Micros::ZERO);
        let mut hear = |n| branch.hear(Micros::ZERO, Law::Alaw, &info(n), &[0; 160]);
        assert!(hear(5).sounds.is_some());
        assert_eq!(hear(5), Noticed::default());
        assert_eq!(hear(4), Noticed::default());
        assert!(hear(6).sounds.is_some());
    }
}
