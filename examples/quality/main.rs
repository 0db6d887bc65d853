//! Does to recorded speech what a network, a playout buffer and a bridge do: the program that
//! `scripts/quality.sh` scores.
//!
//! Samples of 16 bits, little-endian, come on standard input and leave on standard output.
#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers of packets wrap as RTP has them, and parties are few"
)]

mod bridge;
mod conceal;
mod playout;

use std::io::{Read, Write};

use anyhow::Result;
use clap::{Parser, Subcommand};
use crosspoint::audio::g722;

#[derive(Debug, Parser)]
#[command(about = "Does to recorded speech what a network and a switch do")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Conceal(conceal::Conceal),
    Playout(playout::Arguments),
    Bridge(bridge::Bridge),
    /// Decodes raw G.722 at 64 kbit/s from standard input to 16 kHz.
    G722,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let mut stdout = std::io::stdout().lock();
    let out = match &cli.command {
        Command::Conceal(conceal) => conceal.run(&samples(&bytes))?,
        Command::Playout(arguments) => {
            let (report, out) = playout::run(arguments, &samples(&bytes))?;
            writeln!(stdout, "{report}")?;
            out
        }
        Command::Bridge(bridge) => {
            let (report, out) = bridge.run(&samples(&bytes))?;
            writeln!(stdout, "{report}")?;
            out
        }
        Command::G722 => {
            let mut out = vec![0; bytes.len() * 2];
            let count = g722::Decoder::default().decode(&bytes, &mut out);
            out.truncate(count);
            out
        }
    };
    let octets: Vec<u8> = out.iter().flat_map(|s| s.to_le_bytes()).collect();
    Ok(stdout.write_all(&octets)?)
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    let pairs = bytes.chunks_exact(2);
    pairs.map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}
