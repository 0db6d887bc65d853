//! Concealment and stretching alone, without a buffer and a network.

use anyhow::{Result, bail, ensure};
use clap::Args;
use crosspoint::audio::conceal::Concealer;
use crosspoint::audio::stretch::{PeriodFinder, leave_out, put_in};

/// Fills lost packets and stretches others, as a pattern says.
#[derive(Args, Debug)]
pub(crate) struct Conceal {
    /// Rate of the samples in Hz.
    rate_hz: u32,
    /// One letter per packet, and all packets are equally long: `0` arrived, `1` lost, `a` arrived
    /// and is accelerated, `e` arrived and is expanded (where the sound allows it).
    pattern: String,
    /// A lost packet is filled knowing the next one, if that arrived.
    #[arg(long)]
    bridge: bool,
}

impl Conceal {
    /// What is heard of `pcm`.
    pub(crate) fn run(&self, pcm: &[i16]) -> Result<Vec<i16>> {
        let (rate_hz, pattern) = (self.rate_hz, self.pattern.as_bytes());
        ensure!(
            !pcm.is_empty() && !pattern.is_empty() && pcm.len().is_multiple_of(pattern.len()),
            "packets of different lengths"
        );
        let packets: Vec<&[i16]> = pcm.chunks(pcm.len() / pattern.len()).collect();
        let mut concealer = Concealer::new(rate_hz);
        let mut finder = PeriodFinder::new(rate_hz);
        let mut out = Vec::new();
        for (n, letter) in pattern.iter().enumerate() {
            let mut now = packets[n].to_vec();
            match letter {
                b'0' => concealer.heard(&mut now),
                b'1' if self.bridge && pattern.get(n + 1) == Some(&b'0') => {
                    concealer.bridge(&mut now, 0, packets[n + 1]);
                }
                b'1' => concealer.conceal(&mut now),
                b'a' => {
                    if let Some(period) = finder.find(&now, usize::MAX, false) {
                        leave_out(&mut now, period);
                        now.drain(..period);
                    }
                }
                b'e' => {
                    if let Some(period) = finder.find(&now, usize::MAX, false) {
                        now.splice(..0, packets[n][..period].iter().copied());
                        put_in(&mut now, period);
                    }
                }
                _ => bail!("no packet is {letter:?}"),
            }
            out.extend(now);
        }
        Ok(out)
    }
}
