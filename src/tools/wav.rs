//! WAV files as telephony uses them: 8 kHz, one channel, 16 bit.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Samples per second of everything here.
pub(crate) const RATE_HZ: u32 = 8_000;

/// Longest file that is read: ten minutes.
const BYTES_MAX: u64 = 10 * 60 * 2 * RATE_HZ as u64;

const HEADER_BYTES: usize = 44;

/// Reads the samples of a WAV file.
///
/// # Errors
/// When it cannot be read, is longer than ten minutes or is not 8 kHz mono 16-bit PCM.
pub(crate) fn read(path: &Path) -> Result<Vec<i16>> {
    let name = path.display();
    let bytes_long = std::fs::metadata(path)
        .with_context(|| format!("no file {name}"))?
        .len();
    ensure!(bytes_long <= BYTES_MAX, "{name} is longer than ten minutes");
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
    parse(&bytes).with_context(|| {
        format!("{name}: make it fit with `sox {name} -r 8000 -c 1 -b 16 speech.wav`")
    })
}

fn parse(bytes: &[u8]) -> Result<Vec<i16>> {
    let is_wave = bytes.get(..4) == Some(b"RIFF") && bytes.get(8..12) == Some(b"WAVE");
    ensure!(is_wave, "not a WAV file");
    let mut rest = &bytes[12..];
    let mut right_format = false;
    while let (Some(id), Some(size)) = (
        rest.get(..4),
        rest.get(4..8).and_then(|s| s.try_into().ok()),
    ) {
        let size = u32::from_le_bytes(size) as usize;
        let body = &rest[8..];
        let chunk = &body[..size.min(body.len())];
        if id == b"fmt " {
            let want = [
                &1_u16.to_le_bytes()[..],
                &1_u16.to_le_bytes(),
                &RATE_HZ.to_le_bytes(),
            ];
            right_format = chunk.get(..8) == Some(want.concat().as_slice())
                && chunk.get(14..16) == Some(16_u16.to_le_bytes().as_slice());
            ensure!(right_format, "not 8 kHz mono 16-bit PCM");
        } else if id == b"data" {
            ensure!(right_format, "no format before the samples");
            return Ok(chunk
                .chunks_exact(2)
                .map(|b| i16::from_le_bytes([b[0], b[1]]))
                .collect());
        }
        // Chunks are padded to even lengths.
        rest = body.get(size + size % 2..).unwrap_or_default();
    }
    anyhow::bail!("no samples")
}

/// Writes samples as a WAV file.
///
/// # Errors
/// When the file cannot be written or the samples exceed what its header can say.
pub(crate) fn write(path: &Path, samples: &[i16]) -> Result<()> {
    write_at(path, samples, RATE_HZ)
}

/// Writes samples of another rate.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_at(path: &Path, samples: &[i16], rate_hz: u32) -> Result<()> {
    std::fs::write(path, render(samples, rate_hz)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn render(samples: &[i16], rate_hz: u32) -> Result<Vec<u8>> {
    let data = u32::try_from(samples.len() * 2).context("too long for a WAV file")?;
    let mut out = Vec::with_capacity(HEADER_BYTES + samples.len() * 2);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(data + 36).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    for word in [rate_hz, rate_hz * 2] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for half in [2_u16, 16] {
        out.extend_from_slice(&half.to_le_bytes());
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&data.to_le_bytes());
    out.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let samples = [0, 1, -1, i16::MAX, i16::MIN];
        assert_eq!(parse(&render(&samples, RATE_HZ).unwrap()).unwrap(), samples);
    }

    #[test]
    fn skips_chunks_it_does_not_know() {
        let plain = render(&[7, 8], RATE_HZ).unwrap();
        let with_list = [&plain[..36], b"LIST\x03\0\0\0abc\0", &plain[36..]].concat();
        assert_eq!(parse(&with_list).unwrap(), [7, 8]);
    }

    #[test]
    fn a_broken_file_is_an_error_and_never_a_panic() {
        let whole = render(&[1, 2, 3], RATE_HZ).unwrap();
        for end in 0..HEADER_BYTES {
            assert!(parse(&whole[..end]).is_err(), "{end} bytes were accepted");
        }
        for at in [20, 22, 24, 34] {
            let mut other = whole.clone();
            other[at] ^= 3;
            assert!(parse(&other).is_err(), "format byte {at} was not looked at");
        }
        // A length larger than the file (a recorder that was killed): what is there is read.
        let mut cut = whole;
        cut[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&cut).unwrap(), [1, 2, 3]);
    }
}
