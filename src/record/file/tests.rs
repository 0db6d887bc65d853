use std::io::Cursor;

use super::read::RecordingReader;
use super::*;

pub(super) const WAVS: [Format; 3] = [Format::Wav, Format::WavAlaw, Format::WavUlaw];

/// Sines, one on each channel, interleaved.
pub(super) fn tones(rate_hz: u32, channels: u8, frames: usize) -> Vec<i16> {
    let sample = |n: usize, channel: u8| {
        let hz = 440.0 + 190.0 * f64::from(channel);
        let turns = hz * n as f64 / f64::from(rate_hz);
        #[allow(clippy::cast_possible_truncation, reason = "within range")]
        let sample = ((turns * std::f64::consts::TAU).sin() * 8_000.0) as i16;
        sample
    };
    let frame = |n| (0..channels).map(move |channel| sample(n, channel));
    (0..frames).flat_map(frame).collect()
}

/// A finished file, written 40 ms at a time.
pub(super) fn written(format: Format, rate_hz: u32, channels: u8, pcm: &[i16]) -> Vec<u8> {
    let mut writer = FileWriter::new(format, rate_hz, channels, 7, &[]).unwrap();
    let mut out = Vec::new();
    writer.begin(&mut out);
    assert_eq!(out.len() as u64, writer.header_len());
    for part in pcm.chunks((rate_hz / 25) as usize * usize::from(channels)) {
        writer.push(part, &mut out);
    }
    writer.finish(&mut out);
    if let Some(patch) = writer.patch() {
        assert_eq!(patch.offset, 0);
        out[..patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    out
}

/// All samples of a file, read in pieces of odd lengths.
pub(super) fn heard(file: &[u8]) -> (super::read::RecordingInfo, Vec<i16>) {
    let mut reader = RecordingReader::open(Cursor::new(file)).unwrap();
    let (info, mut pcm) = (reader.info(), Vec::new());
    let mut piece = vec![0; 1_234];
    loop {
        let count = reader.read(&mut piece).unwrap();
        if count == 0 {
            break;
        }
        assert!(count.is_multiple_of(usize::from(info.channels)));
        pcm.extend_from_slice(&piece[..count]);
    }
    (info, pcm)
}

#[test]
fn linear_sound_comes_back_to_the_bit() {
    for (rate_hz, channels) in [(8_000, 1), (16_000, 2), (48_000, 3), (8_000, 16)] {
        let pcm = tones(rate_hz, channels, 1_001);
        let file = written(Format::Wav, rate_hz, channels, &pcm);
        let (info, back) = heard(&file);
        assert_eq!(
            (info.rate_hz, info.channels, info.frames),
            (rate_hz, channels, 1_001)
        );
        assert_eq!(back, pcm);
    }
}

#[test]
fn g711_comes_back_to_the_bit() {
    use crate::audio::g711::{alaw_to_linear, linear_to_alaw, linear_to_ulaw, ulaw_to_linear};
    for channels in [1, 2, 3] {
        let pcm = tones(8_000, channels, 1_001);
        let alaw: Vec<i16> = pcm
            .iter()
            .map(|s| alaw_to_linear(linear_to_alaw(*s)))
            .collect();
        let ulaw: Vec<i16> = pcm
            .iter()
            .map(|s| ulaw_to_linear(linear_to_ulaw(*s)))
            .collect();
        for (format, expected) in [(Format::WavAlaw, alaw), (Format::WavUlaw, ulaw)] {
            let file = written(format, 8_000, channels, &pcm);
            assert!(file.len().is_multiple_of(2));
            let (info, back) = heard(&file);
            assert_eq!((info.channels, info.frames), (channels, 1_001));
            assert_eq!(back, expected);
        }
    }
}

#[test]
fn channels_are_held_to_their_limits() {
    for format in [Format::Wav, Format::WavAlaw] {
        let with = |channels| FileWriter::new(format, 8_000, channels, 0, &[]).is_ok();
        assert!(!with(0) && with(1) && with(16) && !with(17));
    }
    assert!(FileWriter::new(Format::OpusCopy, 48_000, 1, 0, &[]).is_err());
}

#[cfg(feature = "opus")]
mod opus {
    use super::*;

    const OPUS: Format = Format::Opus {
        bitrate_bps: 32_000,
    };

    #[test]
    fn opus_comes_back_in_place_and_in_its_length() {
        for (rate_hz, channels, frames) in [
            (8_000, 1, 8_001),
            (16_000, 2, 16_313),
            (48_000, 1, 47_999),
            (8_000, 16, 4_000),
        ] {
            let pcm = tones(rate_hz, channels, frames);
            let file = written(OPUS, rate_hz, channels, &pcm);
            let (info, back) = heard(&file);
            let of_file = (info.rate_hz, info.channels, info.frames);
            assert_eq!(of_file, (rate_hz, channels, frames as u64));
            assert_eq!(back.len(), pcm.len());
            // After the encoder found its feet.
            let from = pcm.len() / 4;
            let signal: f64 = pcm[from..].iter().map(|s| f64::from(*s).powi(2)).sum();
            let pairs = pcm[from..].iter().zip(&back[from..]);
            let noise: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let snr_db = 10.0 * (signal / noise).log10();
            println!("{rate_hz} Hz, {channels}: {snr_db:.1} dB");
            assert!(snr_db > 25.0, "{rate_hz} Hz, {channels}: {snr_db} dB");
        }
    }

    /// The sound of one channel is the same to the bit whoever speaks on the others, and a channel
    /// on which nobody speaks is silent.
    #[test]
    fn no_channel_is_heard_on_another() {
        for (rate_hz, channels) in [(8_000, 2), (16_000, 2), (48_000, 2), (16_000, 4)] {
            let count = usize::from(channels);
            let pcm = tones(rate_hz, channels, rate_hz as usize * 2);
            let (_, together) = heard(&written(OPUS, rate_hz, channels, &pcm));
            for alone in 0..count {
                let mut sent = pcm.clone();
                for (n, sample) in sent.iter_mut().enumerate() {
                    if n % count != alone {
                        *sample = 0;
                    }
                }
                let (_, back) = heard(&written(OPUS, rate_hz, channels, &sent));
                let of = |pcm: &[i16], channel: usize| -> Vec<i16> {
                    pcm.iter().skip(channel).step_by(count).copied().collect()
                };
                assert!(
                    of(&back, alone) == of(&together, alone),
                    "{alone} of {channels}"
                );
                for silent in (0..count).filter(|silent| *silent != alone) {
                    assert!(of(&back, silent).iter().all(|sample| *sample == 0));
                }
            }
        }
    }

    /// A position may be anything: what is read is never longer than such a file can be.
    #[test]
    fn a_position_of_centuries_is_read_to_its_end() {
        let pcm = tones(8_000, 1, 8_000);
        let mut file = written(OPUS, 8_000, 1, &pcm);
        let last = file.windows(4).rposition(|bytes| bytes == b"OggS");
        let last = last.expect("a last page");
        file[last + 6..last + 14].copy_from_slice(&i64::MAX.to_le_bytes());
        crate::audio::ogg::seal(&mut file[last..]);
        let most = file.len() as u64 / 2 * 8 * 120;
        let info = RecordingReader::open(Cursor::new(&file)).unwrap().info();
        assert!((8_000..=most).contains(&info.frames), "{}", info.frames);
        assert_eq!(heard(&file).1.len() as u64, info.frames);
    }
}
