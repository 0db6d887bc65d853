//! `crosspoint dtmf`: which keys were pressed in a recording, a live stream of samples or a
//! capture, heard with the switch's own ears.
//!
//! It prints one line per press as soon as the press has ended, and flushes it, so that it can
//! stand at the end of a pipe from a live source. It is the one place that shows keys by purpose.

mod capture;
mod ear;
mod line;
mod rate;
mod sdp;
mod wav;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use self::ear::Ear;
use self::line::Printer;
use self::wav::Wav;
use super::replay::capture::CAPTURE_BYTES_MAX;
use crate::audio::codec::CodecKind;

/// Rate of samples that come without a header.
const RAW_HZ: u32 = 8_000;

/// Bytes that tell what a file is.
const MAGIC_LEN: usize = 12;

/// Sound that is not understood, and no raw samples either: MP3, Ogg, FLAC.
const OTHER_SOUND: [&[u8]; 3] = [b"ID3", b"OggS", b"fLaC"];

/// What comes after the options in the help.
const HELP: &str = "\
A line per press, written as it ends: key, start, end and the position at which the press was
declared, in ms of its stream, and how it was heard. If several channels or streams are heard, a
sixth field says which.

  crosspoint dtmf trunk.pcap
  sox message.mp3 -t wav - | crosspoint dtmf -
  arecord -q -t raw -f S16_LE -r 8000 | crosspoint dtmf --json -
  tcpdump -i eth0 -w - udp | crosspoint dtmf -      (lines at the end: SIP says what is what)

Exit status 1, with the reason, if there is nothing to hear.";

/// `crosspoint dtmf`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct DtmfArgs {
    /// A WAV file or a capture (pcap or pcapng); - for one of these on standard input, or raw
    /// samples: 16 bit, little-endian, 8 kHz, one channel
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// One JSON object per press, with level, twist, confidence and where it was heard
    #[arg(long)]
    pub json: bool,
    /// Samples are heard in pieces of so many milliseconds; packets of a capture as they are
    #[arg(long, default_value_t = 20, value_name = "MS",
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub frame_ms: u32,
    /// Of a WAV file, only this channel, from 1; all of them otherwise, each by itself
    #[arg(long, value_name = "N")]
    pub channel: Option<usize>,
    /// A telephone-event payload type of a capture and its clock, e.g. 101/8000
    #[arg(long, value_name = "PT/CLOCK", value_parser = parse_event_type)]
    pub pt: Vec<EventPt>,
    /// An audio payload type of a capture, its clock and codec, e.g. 0/8000 or 96/48000/opus
    #[arg(long, value_name = "PT/CLOCK[/CODEC]", value_parser = parse_audio_type)]
    pub audio_pt: Vec<AudioPt>,
}

/// A telephone-event payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPt {
    /// 0–127.
    pub pt: u8,
    /// In Hz.
    pub clock_hz: u32,
}

/// An audio payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioPt {
    /// 0–127.
    pub pt: u8,
    /// What its payloads are.
    pub codec: CodecKind,
}

/// Listens and prints.
///
/// # Errors
/// When the input cannot be read or is nothing that has keys in it.
pub fn run(args: &DtmfArgs) -> Result<()> {
    let mut printer = Printer::new(args.json);
    let heard = if args.file.as_os_str() == "-" {
        listen(io::stdin().lock(), true, args, &mut printer).context("standard input")
    } else {
        open(&args.file)
            .and_then(|file| listen(io::BufReader::new(file), false, args, &mut printer))
            .with_context(|| args.file.display().to_string())
    };
    match heard {
        // The reader of our lines has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        heard => heard,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.is::<line::ReaderGone>() || error.chain().any(|cause| cause.is::<line::ReaderGone>())
}

/// Hears whatever this is; samples without a header are only taken from a pipe.
fn listen(
    mut input: impl Read,
    is_pipe: bool,
    args: &DtmfArgs,
    printer: &mut Printer,
) -> Result<()> {
    let mut magic = Vec::new();
    input
        .by_ref()
        .take(MAGIC_LEN as u64)
        .read_to_end(&mut magic)?;
    ensure!(is_pipe || !magic.is_empty(), "the file is empty");
    if capture::is_capture(&magic) {
        refuse_channel(args)?;
        let mut bytes = magic;
        input.take(CAPTURE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        let most = CAPTURE_BYTES_MAX;
        ensure!(bytes.len() as u64 <= most, "larger than {} MiB", most >> 20);
        return capture::listen(&bytes, args, printer);
    }
    let is_raw = is_pipe && !OTHER_SOUND.iter().any(|other| magic.starts_with(other));
    ensure!(
        is_raw || wav::is_wav(&magic),
        "neither WAV nor a capture (begins with \"{}\"); other sound becomes WAV by \
         `sox FILE out.wav` or `ffmpeg -i FILE out.wav`, raw samples go to standard input of \
         `crosspoint dtmf -`",
        magic.escape_ascii()
    );
    let is_wav = wav::is_wav(&magic);
    let input = io::Cursor::new(magic).chain(input);
    let mut sound = if is_wav {
        Wav::open(input)?
    } else {
        Wav::raw(input, RAW_HZ)
    };
    hear(&mut sound, args, printer)
}

fn open(path: &Path) -> Result<File> {
    let file = File::open(path)?;
    ensure!(!file.metadata()?.is_dir(), "is a folder");
    Ok(file)
}

fn refuse_channel(args: &DtmfArgs) -> Result<()> {
    ensure!(
        args.channel.is_none(),
        "--channel is for WAV files, this is a capture"
    );
    Ok(())
}

/// Hears samples frame by frame, each channel with an ear of its own.
fn hear(wav: &mut Wav<impl Read>, args: &DtmfArgs, printer: &mut Printer) -> Result<()> {
    let channels = wav.channels();
    if let Some(channel) = args.channel {
        ensure!(
            (1..=channels).contains(&channel),
            "there is no channel {channel}, only 1 to {channels}"
        );
    }
    let listened = |at: &usize| args.channel.is_none_or(|channel| channel == at + 1);
    let mut ears = (0..channels)
        .filter(listened)
        .map(|at| Ok((at, Ear::new(wav.rate_hz(), 0)?)))
        .collect::<Result<Vec<_>>>()?;
    if ears.len() > 1 {
        printer.name_places();
    }
    let frame = u64::from(wav.rate_hz()) * u64::from(args.frame_ms) / 1_000;
    let frame = usize::try_from(frame.max(1))?;
    let mut samples = vec![Vec::with_capacity(frame); channels];
    let mut heard = 0;
    loop {
        let read = wav.read(frame, &mut samples)?;
        heard += read;
        let ended = read < frame;
        for (at, ear) in &mut ears {
            ear.hear(&samples[*at]);
            if ended {
                ear.finish();
            }
            for mut line in ear.drain() {
                line.channel = (channels > 1).then_some(*at + 1);
                printer.print(&line)?;
            }
        }
        if ended {
            break;
        }
    }
    if heard == 0 {
        bail!("holds no samples");
    }
    Ok(())
}

fn parse_event_type(text: &str) -> Result<EventPt, String> {
    let (pt, clock) = text.split_once('/').unwrap_or((text, "8000"));
    Ok(EventPt {
        pt: parse_pt(pt)?,
        clock_hz: parse_clock(clock)?,
    })
}

fn parse_audio_type(text: &str) -> Result<AudioPt, String> {
    let mut fields = text.splitn(3, '/');
    let pt = parse_pt(fields.next().unwrap_or_default())?;
    let clock_hz = fields.next().map(parse_clock).transpose()?;
    let known = [(0, "PCMU"), (8, "PCMA"), (9, "G722")];
    let name = match fields.next() {
        Some(name) => name,
        None => known
            .iter()
            .find_map(|(known, name)| (*known == pt).then_some(*name))
            .ok_or_else(|| format!("{pt} is dynamic: say its codec, e.g. {pt}/48000/opus"))?,
    };
    let clock_hz = clock_hz.unwrap_or(8_000);
    let codec = CodecKind::from_rtpmap(&match name.split_once('/') {
        Some((name, channels)) => format!("{name}/{clock_hz}/{channels}"),
        None => format!("{name}/{clock_hz}"),
    });
    let codec = codec.ok_or_else(|| format!("no codec is called {name} at {clock_hz} Hz"))?;
    Ok(AudioPt { pt, codec })
}

fn parse_pt(text: &str) -> Result<u8, String> {
    let pt = text.parse().ok().filter(|pt| *pt <= 127);
    pt.ok_or_else(|| format!("{text:?} is no payload type, which are 0 to 127"))
}

fn parse_clock(text: &str) -> Result<u32, String> {
    let clock_hz = text
        .parse()
        .ok()
        .filter(|hz| (1_000..=192_000).contains(hz));
    clock_hz.ok_or_else(|| format!("{text:?} is no clock rate, which are 1000 to 192000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_types_are_read() {
        let event = |pt, clock_hz| Ok(EventPt { pt, clock_hz });
        assert_eq!(parse_event_type("101/8000"), event(101, 8_000));
        assert_eq!(parse_event_type("127/48000"), event(127, 48_000));
        assert_eq!(parse_event_type("96"), event(96, 8_000));
        for wrong in [
            "",
            "128/8000",
            "-1",
            "101/",
            "101/0",
            "101/999",
            "101/192001",
            "x/8000",
        ] {
            assert!(parse_event_type(wrong).is_err(), "{wrong}");
        }
        let audio = |pt, codec| Ok(AudioPt { pt, codec });
        assert_eq!(parse_audio_type("0/8000"), audio(0, CodecKind::Pcmu));
        assert_eq!(parse_audio_type("8"), audio(8, CodecKind::Pcma));
        assert_eq!(parse_audio_type("9/8000"), audio(9, CodecKind::G722));
        assert_eq!(
            parse_audio_type("96/48000/opus"),
            audio(96, CodecKind::Opus)
        );
        assert_eq!(
            parse_audio_type("96/48000/opus/2"),
            audio(96, CodecKind::Opus)
        );
        assert_eq!(parse_audio_type("97/8000/PCMA"), audio(97, CodecKind::Pcma));
        for wrong in [
            "96/8000",
            "0/16000",
            "96/48000/mp3",
            "129/8000/PCMA",
            "96/x/opus",
        ] {
            assert!(parse_audio_type(wrong).is_err(), "{wrong}");
        }
    }
}
