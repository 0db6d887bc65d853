//! What libopus alone takes for what is recorded.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::super::process::cpu_ns;
use super::super::sound::{self, LOOP_FRAMES};
use crate::audio::opus::{FRAME_OCTETS_MAX, MultistreamEncoder, OpusConfig};

/// Seconds of sound that are encoded.
const SECONDS: u32 = 60;

/// Time to encode a second of two channels in which the parties' sound is, in frames of 20 ms, with
/// the encoder of recordings.
pub(super) fn time_per_second(rate_hz: u32, bitrate_bps: u32) -> Result<Duration> {
    let config = OpusConfig {
        bitrate_bps,
        ..OpusConfig::at(rate_hz)
    };
    let mut encoder = MultistreamEncoder::new(&config, 2).map_err(|e| anyhow!("libopus: {e}"))?;
    let second = sound::pcm(rate_hz);
    // The two do not say the same.
    let other = second.iter().cycle().skip(second.len() / 3);
    let stereo: Vec<i16> = second
        .iter()
        .zip(other)
        .flat_map(|(l, r)| [*l, *r])
        .collect();
    let mut packet = [0; 2 * (FRAME_OCTETS_MAX + 3)];
    let used = || cpu_ns(std::process::id()).context("no CPU time in /proc");
    let before = used()?;
    for _ in 0..SECONDS {
        for frame in stereo.chunks_exact(stereo.len() / LOOP_FRAMES) {
            encoder
                .encode(frame, &mut packet)
                .map_err(|e| anyhow!("libopus: {e}"))?;
        }
    }
    Ok(Duration::from_nanos(used()? - before) / SECONDS)
}
