//! Does to recorded speech what a network and a playout buffer do, packet by packet: the program
//! that `scripts/quality.sh` scores.
//!
//! usage: `conceal RATE_HZ PATTERN [bridge] < in.s16le > out.s16le`
//!
//! `PATTERN` has one letter per packet, and all packets are equally long: `0` arrived, `1` lost,
//! `a` arrived and is accelerated, `e` arrived and is expanded (where the sound allows it). With
//! `bridge`, a lost packet is filled knowing the next one if that arrived.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail, ensure};
use crosspoint::audio::conceal::Concealer;
use crosspoint::audio::stretch;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let rate_hz = arguments.get(1).context("no rate")?.parse()?;
    let pattern = arguments.get(2).context("no pattern")?.as_bytes();
    let knows_next = arguments.get(3).is_some_and(|word| word == "bridge");

    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let pcm: Vec<i16> = bytes
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect();
    ensure!(
        !pcm.is_empty() && !pattern.is_empty() && pcm.len().is_multiple_of(pattern.len()),
        "packets of different lengths"
    );
    let packets: Vec<&[i16]> = pcm.chunks(pcm.len() / pattern.len()).collect();
    let mut concealer = Concealer::new(rate_hz);
    let mut out = Vec::new();
    for (n, letter) in pattern.iter().enumerate() {
        let mut now = packets[n].to_vec();
        match letter {
            b'0' => concealer.heard(&mut now),
            b'1' if knows_next && pattern.get(n + 1) == Some(&b'0') => {
                concealer.bridge(&mut now, 0, packets[n + 1]);
            }
            b'1' => concealer.conceal(&mut now),
            b'a' => {
                let removed = stretch::accelerate(&mut now, rate_hz).unwrap_or(0);
                now.truncate(now.len() - removed);
            }
            b'e' => {
                let mut longer = vec![0; stretch::expanded_max(now.len(), rate_hz)];
                if let Some(inserted) = stretch::expand(&now, &mut longer, rate_hz) {
                    longer.truncate(now.len() + inserted);
                    now = longer;
                }
            }
            _ => bail!("no packet is {letter:?}"),
        }
        out.extend(now.iter().flat_map(|s| s.to_le_bytes()));
    }
    std::io::stdout().write_all(&out)?;
    Ok(())
}
