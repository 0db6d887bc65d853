//! What libopus alone takes for what is recorded.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::super::process::cpu_ns;
use super::super::sound::{self, LOOP_FRAMES};
use super::{OPUS_BPS, RecordingArgs};
use crate::audio::opus::{FRAME_OCTETS_MAX, MultistreamEncoder, OpusConfig};

/// Seconds of sound that are encoded.
const SECONDS: u32 = 60;

/// Time to encode a second in which the parties' sound is, each on its channel or both on one, in
/// frames of 20 ms, with the encoder of recordings.
pub(super) fn time_per_second(args: &RecordingArgs) -> Result<Duration> {
    let config = OpusConfig {
        bitrate_bps: OPUS_BPS,
        ..OpusConfig::at(args.rate)
    };
    let channels = if args.mono { 1 } else { 2 };
    let mut encoder =
        MultistreamEncoder::new(&config, channels).map_err(|e| anyhow!("libopus: {e}"))?;
    let second = sound::pcm(args.rate);
    // The two do not say the same.
    let other = second.iter().cycle().skip(second.len() / 3);
    let both = second.iter().zip(other);
    let sound: Vec<i16> = match args.mono {
        true => both.map(|(l, r)| l.saturating_add(*r)).collect(),
        false => both.flat_map(|(l, r)| [*l, *r]).collect(),
    };
    let mut packet = [0; 2 * (FRAME_OCTETS_MAX + 3)];
    let used = || cpu_ns(std::process::id()).context("no CPU time in /proc");
    let before = used()?;
    for _ in 0..SECONDS {
        for frame in sound.chunks_exact(sound.len() / LOOP_FRAMES) {
            encoder
                .encode(frame, &mut packet)
                .map_err(|e| anyhow!("libopus: {e}"))?;
        }
    }
    Ok(Duration::from_nanos(used()? - before) / SECONDS)
}
