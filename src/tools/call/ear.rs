//! What one party hears: packets in, samples and statistics out.

use super::FRAME;
use super::keys::EVENT_PT;
use crate::audio::g711;

/// Later than this after the longest speech, a packet has no place in the recording.
const SAMPLES_BEYOND_MAX: usize = 5 * 8_000;

/// Telephone-events that are kept.
const EVENTS_MAX: usize = 256;

/// The receiving half of a party.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    samples: Vec<i16>,
    /// Samples that may be placed at all.
    samples_max: usize,
    /// Source and timestamp that stand for sample 0.
    origin: Option<(u32, u32)>,
    /// First and highest extended sequence number.
    sequence: Option<(u16, u32)>,
    /// Which extended sequence numbers (from the first) were heard.
    heard: Vec<bool>,
    /// RTP packets with audio or telephone-events.
    pub(super) packets: u64,
    /// The same number again.
    pub(super) duplicate: u64,
    /// After one with a higher number.
    pub(super) reordered: u64,
    /// From somebody else than the switch's port.
    pub(super) strangers: u64,
    /// Not RTP, another payload type, or out of all bounds.
    pub(super) unusable: u64,
    /// New sources after the first.
    pub(super) ssrc_changes: u64,
    /// Interarrival jitter (RFC 3550 appendix A.8), now and at its highest, in ms.
    pub(super) jitter_ms: f64,
    pub(super) jitter_ms_max: f64,
    transit_ns: Option<i128>,
    /// First sample and arrival time (Unix ns) of each packet.
    pub(super) arrivals: Vec<(usize, u64)>,
    /// Source, timestamp and code of each telephone-event.
    events: Vec<(u32, u32, u8)>,
}

impl Ear {
    pub(super) fn new(speech_samples: usize) -> Self {
        Self {
            samples: Vec::new(),
            samples_max: speech_samples + SAMPLES_BEYOND_MAX,
            origin: None,
            sequence: None,
            heard: Vec::new(),
            packets: 0,
            duplicate: 0,
            reordered: 0,
            strangers: 0,
            unusable: 0,
            ssrc_changes: 0,
            jitter_ms: 0.0,
            jitter_ms_max: 0.0,
            transit_ns: None,
            arrivals: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Codes of the telephone-events, in the order in which they came.
    pub(super) fn events(&self) -> impl Iterator<Item = u8> {
        self.events.iter().map(|(_, _, code)| *code)
    }

    /// Everything heard, from the first packet on.
    pub(super) fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Numbers between the first and the highest that never came.
    pub(super) fn lost(&self) -> u64 {
        self.heard.iter().map(|heard| u64::from(!heard)).sum()
    }

    /// Takes one datagram.
    pub(super) fn hear(&mut self, packet: &[u8], now_ns: u64) {
        match Header::read(packet) {
            Some((header, audio)) if header.pt == 0 && audio.len() <= 4 * FRAME => {
                if self.place(&header, audio, now_ns).is_none() {
                    self.unusable += 1;
                }
            }
            Some((header, &[code, ..])) if header.pt == EVENT_PT => self.press(&header, code),
            _ => self.unusable += 1,
        }
    }

    fn press(&mut self, header: &Header, code: u8) {
        if self.number(header.seq).is_none() {
            self.unusable += 1;
            return;
        }
        self.packets += 1;
        let event = (header.ssrc, header.timestamp, code);
        if self.events.len() < EVENTS_MAX && !self.events.contains(&event) {
            self.events.push(event);
        }
    }

    /// `None` when the packet lies outside the recording.
    fn place(&mut self, header: &Header, audio: &[u8], now_ns: u64) -> Option<()> {
        if self.origin.is_some_and(|(ssrc, _)| ssrc != header.ssrc) {
            // A new clock: its first sample follows what was heard so far.
            let heard = u32::try_from(self.samples.len()).ok()?;
            self.origin = Some((header.ssrc, header.timestamp.wrapping_sub(heard)));
            (self.sequence, self.transit_ns) = (None, None);
            self.ssrc_changes += 1;
        }
        let (_, origin) = *self.origin.get_or_insert((header.ssrc, header.timestamp));
        let start = usize::try_from(header.timestamp.wrapping_sub(origin)).ok()?;
        let end = start
            .checked_add(audio.len())
            .filter(|end| *end <= self.samples_max)?;
        self.number(header.seq)?;
        self.measure_jitter(start, now_ns);
        if end > self.samples.len() {
            self.samples.resize(end, 0);
        }
        for (sample, octet) in self.samples[start..end].iter_mut().zip(audio) {
            *sample = g711::ulaw_to_linear(*octet);
        }
        self.packets += 1;
        self.arrivals.push((start, now_ns));
        Some(())
    }

    /// Books a sequence number; `None` when it is implausibly far from the others.
    fn number(&mut self, seq: u16) -> Option<()> {
        let (first, highest) = *self.sequence.get_or_insert_with(|| {
            self.heard.clear();
            (seq, 0)
        });
        // Distance to the highest so far, across the wrap.
        #[allow(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
        let step = seq
            .wrapping_sub(first.wrapping_add(highest as u16))
            .cast_signed();
        let index = highest.checked_add_signed(i32::from(step))?;
        let at = usize::try_from(index)
            .ok()
            .filter(|at| *at <= self.samples_max / 8)?;
        if at >= self.heard.len() {
            self.heard.resize(at + 1, false);
        }
        self.duplicate += u64::from(self.heard[at]);
        self.reordered += u64::from(step < 0 && !self.heard[at]);
        self.heard[at] = true;
        self.sequence = Some((first, highest.max(index)));
        Some(())
    }

    #[allow(clippy::cast_precision_loss, reason = "transit differences are small")]
    fn measure_jitter(&mut self, start: usize, now_ns: u64) {
        let transit = i128::from(now_ns) - (start as i128) * 125_000;
        if let Some(before) = self.transit_ns.replace(transit) {
            let difference_ms = (transit - before).unsigned_abs() as f64 / 1e6;
            self.jitter_ms += (difference_ms - self.jitter_ms) / 16.0;
            self.jitter_ms_max = self.jitter_ms_max.max(self.jitter_ms);
        }
    }
}

/// What matters here of an RTP header (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    pt: u8,
    seq: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Header {
    /// The header and the payload without CSRC list, extension and padding.
    fn read(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (fixed, rest) = packet.split_first_chunk::<12>()?;
        let [flags, marker_pt, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if flags >> 6 != 2 {
            return None;
        }
        let mut payload = rest.get(4 * usize::from(flags & 0x0F)..)?;
        if flags & 0x10 != 0 {
            let words = u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?]);
            payload = payload.get(4 + 4 * usize::from(words)..)?;
        }
        if flags & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            payload = payload.get(..payload.len().checked_sub(padding)?)?;
        }
        let header = Self {
            pt: marker_pt & 0x7F,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        };
        Some((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u16, timestamp: u32, fill: u8) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&seq.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&7_u32.to_be_bytes());
        packet.extend_from_slice(&[fill; FRAME]);
        packet
    }

    #[test]
    fn packets_are_placed_by_timestamp_across_both_wraps() {
        let mut ear = Ear::new(0);
        let base = u32::MAX - 200;
        for (n, seq) in [
            (0_u32, 65_534_u16),
            (1, 65_535),
            (3, 1),
            (2, 0),
            (3, 1),
            (5, 3),
        ] {
            let at = base.wrapping_add(n * 160);
            ear.hear(&packet(seq, at, 0x80), u64::from(n) * 20_000_000);
        }
        assert_eq!(
            (ear.packets, ear.lost(), ear.duplicate, ear.reordered),
            (6, 1, 1, 1)
        );
        assert_eq!(ear.samples().len(), 6 * FRAME);
        let loud = g711::ulaw_to_linear(0x80);
        assert!(ear.samples()[..4 * FRAME].iter().all(|s| *s == loud));
        assert!(
            ear.samples()[4 * FRAME..5 * FRAME].iter().all(|s| *s == 0),
            "the lost packet"
        );
    }

    #[test]
    fn the_recording_has_an_end() {
        let mut ear = Ear::new(FRAME);
        ear.hear(&packet(0, 0, 1), 0);
        let last = u32::try_from(SAMPLES_BEYOND_MAX).unwrap();
        ear.hear(&packet(1, last, 1), 0);
        assert_eq!((ear.packets, ear.unusable), (2, 0));
        ear.hear(&packet(2, last + 1, 1), 0);
        ear.hear(&packet(3, u32::MAX, 1), 0);
        ear.hear(&packet(20_000, 320, 1), 0);
        assert_eq!((ear.packets, ear.unusable), (2, 3));
        assert_eq!(ear.samples().len(), FRAME + SAMPLES_BEYOND_MAX);
    }

    #[test]
    fn what_is_not_pcmu_over_rtp_is_counted_only() {
        let mut ear = Ear::new(8_000);
        let mut other = packet(0, 0, 1);
        other[1] = 102;
        let mut old = packet(0, 0, 1);
        old[0] = 0x40;
        let mut padded = packet(0, 0, 255);
        padded[0] |= 0x20;
        for bad in [&other[..], &old, &padded, &[], &packet(0, 0, 1)[..11]] {
            ear.hear(bad, 0);
        }
        assert_eq!((ear.unusable, ear.packets), (5, 0));
        for flags in 0..=255 {
            let mut any = packet(0, 0, 0);
            any[0] = flags;
            for end in 0..any.len() {
                let _ = Header::read(&any[..end]);
            }
        }
    }

    #[test]
    fn an_event_is_one_however_often_it_is_said() {
        let mut ear = Ear::new(8_000);
        ear.hear(&packet(0, 0, 0x80), 0);
        for (seq, at, code) in [
            (1, 160, 5),
            (2, 160, 5),
            (3, 160, 5),
            (4, 640, 5),
            (5, 960, 11),
        ] {
            let mut event = packet(seq, at, 0);
            event[1] = EVENT_PT;
            event[12] = code;
            ear.hear(&event, 0);
        }
        assert_eq!(ear.events().collect::<Vec<_>>(), [5, 5, 11]);
        assert_eq!((ear.packets, ear.lost(), ear.unusable), (6, 0, 0));
        for at in 0..2 * EVENTS_MAX {
            let mut event = packet(6, u32::try_from(2_000 + at).unwrap(), 0);
            event[1] = EVENT_PT;
            ear.hear(&event, 0);
        }
        assert_eq!(ear.events().count(), EVENTS_MAX);
    }

    #[test]
    fn jitter_follows_the_rfc() {
        let mut ear = Ear::new(8_000);
        // Even spacing has none; one packet 16 ms late adds 1 ms, and the next one nearly another.
        for (n, late_ms) in [(0_u16, 0_u64), (1, 0), (2, 16), (3, 0)] {
            let now_ns = (u64::from(n) * 20 + late_ms) * 1_000_000;
            ear.hear(&packet(n, u32::from(n) * 160, 0), now_ns);
        }
        assert!((ear.jitter_ms - 1.9375).abs() < 1e-9, "{}", ear.jitter_ms);
    }
}
