//! The audio of one source, decoded in the order it was sent and put where its timestamps say.

use std::collections::HashMap;

use anyhow::Result;

use super::Packet;
use crate::audio::codec::{CodecConfig, CodecKind, Decoder};
use crate::audio::conceal::Concealer;
use crate::tools::dtmf::ear::Ear;
use crate::tools::dtmf::line::Line;
use crate::tools::dtmf::sdp::Meaning;
use crate::wire::seq::SequenceNumber;

/// A longer jump of timestamps, or any backwards, is another beginning: its place is where its
/// packet came.
const GAP_US_MAX: u64 = 2_000_000;

/// Lost sound up to this long is filled in, as the switch does; the rest is silence.
const CONCEALED_US_MAX: u64 = 120_000;

/// Sequence numbers that jump further begin anew.
const JUMP_MAX: u32 = 1_000;

/// Hears one source.
pub(super) struct Sound {
    /// When its stream began.
    began_us: u64,
    playing: Option<Playing>,
    decoders: HashMap<(u8, CodecKind), Decoder>,
    lines: Vec<Line>,
}

/// What is heard without a gap.
struct Playing {
    ear: Ear,
    concealer: Concealer,
    /// The timestamp that follows, and its clock.
    next_timestamp: u32,
    clock_hz: u32,
}

impl Sound {
    pub(super) fn new(began_us: u64) -> Self {
        Self {
            began_us,
            playing: None,
            decoders: HashMap::new(),
            lines: Vec::new(),
        }
    }

    /// The presses in the audio of these packets, which are of one source by time of arrival.
    ///
    /// # Errors
    /// When a decoder cannot be had.
    pub(super) fn hear(mut self, packets: &[&Packet<'_>]) -> Result<impl Iterator<Item = Line>> {
        let mut before: Option<u32> = None;
        for (seq, packet) in as_sent(packets) {
            let is_lost = before.is_some_and(|before| seq.wrapping_sub(before) > 1);
            before = Some(seq);
            if let Some(Meaning::Audio(kind)) = packet.meaning {
                self.packet(packet, kind, is_lost)?;
            }
        }
        self.stop();
        Ok(self.lines.into_iter())
    }

    fn packet(&mut self, packet: &Packet<'_>, kind: CodecKind, is_lost: bool) -> Result<()> {
        let decoder = match self.decoders.entry((packet.header.pt, kind)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Decoder::new(&CodecConfig::new(kind))?)
            }
        };
        let pcm_hz = decoder.pcm_hz();
        let Ok(samples) = decoder.samples(packet.payload) else {
            return Ok(());
        };
        let mut pcm = vec![0; samples];
        if decoder.decode(packet.payload, &mut pcm).is_err() {
            return Ok(());
        }
        let timestamp = packet.header.timestamp.0;
        let gap_us = self.playing.as_ref().and_then(|playing| {
            let gap = timestamp.wrapping_sub(playing.next_timestamp).cast_signed();
            let gap_us = u64::try_from(gap).ok()? * 1_000_000 / u64::from(playing.clock_hz);
            let same = playing.ear.rate_hz() == pcm_hz && playing.clock_hz == kind.clock_hz();
            (same && gap_us <= GAP_US_MAX).then_some(gap_us)
        });
        match (gap_us, &mut self.playing) {
            (Some(gap_us), Some(playing)) => playing.fill(gap_us, is_lost),
            _ => self.start(packet.at_us, pcm_hz)?,
        }
        let Some(playing) = &mut self.playing else {
            return Ok(());
        };
        playing.concealer.heard(&mut pcm);
        playing.ear.hear(&pcm);
        let ticks = samples as u64 * u64::from(kind.clock_hz()) / u64::from(pcm_hz);
        playing.next_timestamp = timestamp.wrapping_add(u32::try_from(ticks).unwrap_or(0));
        playing.clock_hz = kind.clock_hz();
        self.lines.extend(playing.ear.drain());
        Ok(())
    }

    /// Begins where a packet came; the press before is over.
    fn start(&mut self, at_us: u64, pcm_hz: u32) -> Result<()> {
        self.stop();
        self.playing = Some(Playing {
            ear: Ear::new(pcm_hz, at_us.saturating_sub(self.began_us))?,
            concealer: Concealer::new(pcm_hz),
            next_timestamp: 0,
            clock_hz: 1,
        });
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut playing) = self.playing.take() {
            playing.ear.finish();
            self.lines.extend(playing.ear.drain());
        }
    }
}

impl Playing {
    fn fill(&mut self, gap_us: u64, is_lost: bool) {
        let samples = |us: u64| {
            let samples = us * u64::from(self.ear.rate_hz()) / 1_000_000;
            usize::try_from(samples).unwrap_or(0)
        };
        let concealed_us = if is_lost {
            gap_us.min(CONCEALED_US_MAX)
        } else {
            0
        };
        let mut pcm = vec![0; samples(gap_us)];
        let concealed = samples(concealed_us);
        if concealed > 0 {
            self.concealer.conceal(&mut pcm[..concealed]);
        }
        self.ear.hear(&pcm);
    }
}

/// The packets by extended sequence number, each once. Numbers that jump begin another run, which
/// comes after.
fn as_sent<'p, 'a>(packets: &[&'p Packet<'a>]) -> Vec<(u32, &'p Packet<'a>)> {
    let mut numbered = Vec::new();
    let (mut run, mut newest) = (0_u32, None::<u32>);
    for packet in packets {
        let SequenceNumber(low) = packet.header.seq;
        let first = 0x8000_0000 | u32::from(low);
        let extended = newest.map_or(first, |newest| packet.header.seq.extend(newest));
        let jumped = newest.is_some_and(|newest| extended.abs_diff(newest) > JUMP_MAX);
        if jumped {
            run += 1;
        }
        let extended = if jumped { first } else { extended };
        newest = newest
            .filter(|_| !jumped)
            .map(|newest| newest.max(extended))
            .or(Some(extended));
        numbered.push((run, extended, *packet));
    }
    numbered.sort_by_key(|(run, extended, _)| (*run, *extended));
    numbered.dedup_by_key(|(run, extended, _)| (*run, *extended));
    numbered
        .into_iter()
        .map(|(_, extended, packet)| (extended, packet))
        .collect()
}
