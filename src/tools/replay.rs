//! Plays a captured RTP stream through the switch's own jitter buffer, at the times at which its
//! packets came: what a party would have heard, and why.

pub(super) mod capture;
mod chart;
mod png;
mod streams;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use self::streams::{Arrival, Stream};
use super::wav;
use crate::audio::codec::{CodecConfig, CodecKind, Decoder};
use crate::engine::Micros;
use crate::engine::playout::{Inserted, PacketInfo, Playout, PlayoutConfig, PlayoutStats, Pulled};

/// What is pulled at once, in milliseconds, as the switch does.
const PULL_MS: u64 = 20;

/// How long the end of a stream may ring.
const TAIL_US: u64 = 200_000;

/// Longest stream that is played.
const PLAYED_US_MAX: u64 = 2 * 3_600 * 1_000_000;

/// `crosspoint replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// A capture, pcap or pcapng
    #[arg(value_name = "CAPTURE")]
    pub capture: PathBuf,
    /// Write what was heard to this WAV file
    #[arg(long, value_name = "WAV")]
    pub out: Option<PathBuf>,
    /// The stream, where the capture has several: its SSRC, decimal or 0x…
    #[arg(long, value_parser = parse_ssrc, value_name = "SSRC")]
    pub ssrc: Option<u32>,
    /// What a dynamic payload type is, e.g. 111=opus/48000/2, 9=G722/8000, 96=ignore
    #[arg(long, value_parser = parse_codec, value_name = "PT=CODEC")]
    pub codec: Vec<(u8, Meaning)>,
    /// Draw delay and losses over time into this PNG file
    #[arg(long, value_name = "PNG")]
    pub plot: Option<PathBuf>,
    /// Least delay, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub min_ms: u16,
    /// Largest delay
    #[arg(long, default_value_t = 400, value_name = "MS")]
    pub max_ms: u16,
    /// Always this delay
    #[arg(long, value_name = "MS")]
    pub fixed_ms: Option<u16>,
}

/// What a payload type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Audio.
    Audio(CodecKind),
    /// Comfort noise, RFC 3389, at this clock.
    ComfortNoise(u32),
    /// Not audio: telephone-events, video.
    Ignore,
}

/// One pull, for the chart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    delay_ms: u32,
    target_ms: u32,
    what: Pulled,
    /// Packets that came too late, were missing or were dropped since the beginning.
    missed: u64,
}

impl Moment {
    /// Something that was sent was played: in a wait, the delay only grows on paper.
    fn is_playing(&self) -> bool {
        (Pulled::Normal..Pulled::Concealed).contains(&self.what)
    }
}

/// What a replay gave.
#[derive(Debug)]
struct Heard {
    pcm: Vec<i16>,
    pcm_hz: u32,
    moments: Vec<Moment>,
    stats: PlayoutStats,
    /// Packets of payload types that are not audio.
    ignored: u64,
    cut: bool,
}

/// Plays the stream and prints what became of it on standard output.
///
/// # Errors
/// When the capture cannot be read, has no such stream, several and none was chosen, or the stream
/// has a payload type nobody explained.
pub fn run(args: &ReplayArgs) -> Result<()> {
    let file = read(&args.capture)?;
    let (streams, skipped) = streams::find(&file)
        .with_context(|| format!("{} is no capture", args.capture.display()))?;
    let mut out = std::io::stdout().lock();
    if skipped > 0 {
        writeln!(out, "{skipped} frames without a UDP datagram were skipped")?;
    }
    let stream = match choose(&streams, args.ssrc) {
        Ok(stream) => stream,
        Err(error) => {
            write!(out, "{}", streams::table(&streams))?;
            return Err(error);
        }
    };
    let heard = play(stream, args)?;
    write!(out, "{}", report(stream, &heard))?;
    if let Some(path) = &args.out {
        wav::write_at(path, &heard.pcm, heard.pcm_hz)?;
    }
    if let Some(path) = &args.plot {
        std::fs::write(path, chart::draw(&title(stream), &heard.moments, PULL_MS))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    let size = std::fs::metadata(path)
        .with_context(|| format!("no file {name}"))?
        .len();
    let most = capture::CAPTURE_BYTES_MAX;
    ensure!(size <= most, "{name} is larger than {} MiB", most >> 20);
    std::fs::read(path).with_context(|| format!("cannot read {name}"))
}

fn choose<'s, 'a>(streams: &'s [Stream<'a>], ssrc: Option<u32>) -> Result<&'s Stream<'a>> {
    let Some(ssrc) = ssrc else {
        return match streams {
            [] => bail!("the capture holds no RTP stream"),
            [only] => Ok(only),
            _ => bail!(
                "the capture holds {} streams: choose one by --ssrc",
                streams.len()
            ),
        };
    };
    // The same stream may have been captured on both sides of a relay: the longer one.
    let with = streams.iter().filter(|stream| stream.ssrc == ssrc);
    let longest = with.max_by_key(|stream| stream.packets.len());
    longest.ok_or_else(|| anyhow!("no stream has SSRC {ssrc:#010x}"))
}

fn play(stream: &Stream<'_>, args: &ReplayArgs) -> Result<Heard> {
    let meanings = meanings(&args.codec);
    let main = stream.main_pt();
    let kind = match meanings[usize::from(main & 0x7f)] {
        Some(Meaning::Audio(kind)) => kind,
        Some(_) => bail!("payload type {main}, which most packets have, is no audio"),
        None => bail!("payload type {main} is dynamic: say e.g. --codec {main}=opus/48000/2"),
    };
    let pcm_hz = CodecConfig::new(kind).pcm_hz();
    let config = PlayoutConfig {
        min_ms: args.min_ms,
        max_ms: args.max_ms,
        fixed_ms: args.fixed_ms,
        pcm_hz,
    };
    let mut playout = Playout::new(config)?;
    for pt in stream.payload_types() {
        match meanings[usize::from(pt & 0x7f)] {
            Some(Meaning::Audio(kind)) => {
                let decoder = Decoder::new(&CodecConfig::new(kind))?;
                // One of another rate cannot be heard beside the main one; its packets are counted.
                if decoder.pcm_hz() == pcm_hz {
                    playout.set_decoder(pt, kind.clock_hz(), decoder)?;
                }
            }
            Some(Meaning::ComfortNoise(clock_hz)) => playout.set_comfort_noise(pt, clock_hz)?,
            Some(Meaning::Ignore) | None => {}
        }
    }
    let ignored = |pt: u8| meanings[usize::from(pt & 0x7f)] == Some(Meaning::Ignore);
    Ok(drive(&stream.packets, playout, pcm_hz, ignored))
}

fn drive(
    packets: &[Arrival<'_>],
    mut playout: Playout,
    pcm_hz: u32,
    is_ignored: impl Fn(u8) -> bool,
) -> Heard {
    let mut heard = Heard {
        pcm: Vec::new(),
        pcm_hz,
        moments: Vec::new(),
        stats: PlayoutStats::default(),
        ignored: 0,
        cut: false,
    };
    let frame = usize::try_from(u64::from(pcm_hz) * PULL_MS / 1_000).unwrap_or(0);
    let start_us = packets.first().map_or(0, |packet| packet.at_us);
    let end_us = packets.last().map_or(0, |packet| packet.at_us) + TAIL_US;
    heard.cut = end_us - start_us > PLAYED_US_MAX;
    let end_us = end_us.min(start_us + PLAYED_US_MAX);
    let mut packets = packets.iter().peekable();
    let mut now_us = start_us;
    while now_us < end_us {
        while let Some(packet) = packets.next_if(|packet| packet.at_us <= now_us) {
            if is_ignored(packet.header.pt) {
                heard.ignored += 1;
            } else {
                offer(&mut playout, packet, start_us);
            }
        }
        let from = heard.pcm.len();
        heard.pcm.resize(from + frame, 0);
        let what = playout.pull(Micros(now_us - start_us), &mut heard.pcm[from..]);
        heard.stats = playout.stats();
        let stats = &heard.stats;
        heard.moments.push(Moment {
            delay_ms: stats.delay_ms,
            target_ms: stats.target_ms,
            what,
            missed: stats.lost + stats.late + stats.waited + stats.discarded,
        });
        now_us += PULL_MS * 1_000;
    }
    heard
}

fn offer(playout: &mut Playout, packet: &Arrival<'_>, start_us: u64) -> Inserted {
    let header = &packet.header;
    let info = PacketInfo {
        ssrc: header.ssrc,
        seq: header.seq,
        timestamp: header.timestamp,
        pt: header.pt,
        marker: header.marker,
    };
    playout.insert(Micros(packet.at_us - start_us), &info, packet.payload)
}

fn title(stream: &Stream<'_>) -> String {
    format!("SSRC {:08x} to {}", stream.ssrc, stream.to)
}

/// The table that people read.
fn report(stream: &Stream<'_>, heard: &Heard) -> String {
    let stats = &heard.stats;
    let playing = heard.moments.iter().filter(|m| m.is_playing());
    let (mut count, mut sum, mut most) = (0_u64, 0_u64, 0);
    for moment in playing {
        count += 1;
        sum += u64::from(moment.delay_ms);
        most = most.max(moment.delay_ms);
    }
    let mean = sum / count.max(1);
    let rows: [(&str, u64, &str); 19] = [
        ("received", stats.received, "packets"),
        ("played", stats.played, "packets"),
        ("lost", stats.lost, "packets, never came"),
        (
            "restored",
            stats.restored,
            "packets, of the lost, by Opus in-band FEC",
        ),
        ("late", stats.late, "packets, after their turn"),
        (
            "waited for",
            stats.waited,
            "packets, played after concealment",
        ),
        ("reordered", stats.reordered, "packets"),
        ("duplicate", stats.duplicate, "packets"),
        (
            "discarded",
            stats.discarded,
            "packets, to shorten the delay",
        ),
        (
            "unfit",
            stats.stray + stats.undecodable,
            "packets, numbers or payload",
        ),
        (
            "other",
            stats.unknown_pt + heard.ignored,
            "packets, of other payload types",
        ),
        ("restarts", stats.restarts, "of numbers or clock"),
        ("concealed", stats.concealed_ms, "ms"),
        ("paused", stats.pause_ms, "ms"),
        ("shortened", stats.accelerated_ms, "ms"),
        ("lengthened", stats.expanded_ms, "ms"),
        ("delay, mean", mean, "ms over the fastest recent packet"),
        ("delay, most", most.into(), "ms"),
        ("heard", heard.moments.len() as u64 * PULL_MS, "ms"),
    ];
    let mut text = format!("{}\n", title(stream));
    for (name, value, unit) in rows {
        text += &format!("{name:<12} {value:>9} {unit}\n");
    }
    if heard.cut {
        text += &format!(
            "only the first {} minutes were played\n",
            PLAYED_US_MAX / 60_000_000
        );
    }
    text
}

/// What each payload type means: RFC 3551, and what the user said.
fn meanings(said: &[(u8, Meaning)]) -> [Option<Meaning>; 128] {
    let mut meanings = [None; 128];
    meanings[0] = Some(Meaning::Audio(CodecKind::Pcmu));
    meanings[8] = Some(Meaning::Audio(CodecKind::Pcma));
    meanings[9] = Some(Meaning::Audio(CodecKind::G722));
    meanings[13] = Some(Meaning::ComfortNoise(8_000));
    for &(pt, meaning) in said {
        meanings[usize::from(pt & 0x7f)] = Some(meaning);
    }
    meanings
}

fn parse_ssrc(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

fn parse_codec(text: &str) -> Result<(u8, Meaning), String> {
    let (pt, name) = text
        .split_once('=')
        .ok_or("expected PT=CODEC, e.g. 111=opus/48000/2")?;
    let pt: u8 = pt
        .trim()
        .parse()
        .map_err(|_| format!("{pt} is no payload type"))?;
    if pt > 127 {
        return Err(format!("{pt} is above 127"));
    }
    let lower = name.to_ascii_lowercase();
    let meaning = if lower == "ignore" || lower.starts_with("telephone-event") {
        Meaning::Ignore
    } else if let Some(clock) = lower.strip_prefix("cn/") {
        Meaning::ComfortNoise(
            clock
                .parse()
                .map_err(|_| format!("{clock} is no clock rate"))?,
        )
    } else {
        // "opus/48000" is what people say; its SDP name always has two channels.
        let name = if lower == "opus/48000" || lower == "opus" {
            "opus/48000/2"
        } else {
            name
        };
        let kind = CodecKind::from_rtpmap(name);
        Meaning::Audio(kind.ok_or_else(|| format!("no codec is called {name}"))?)
    };
    Ok((pt, meaning))
}

#[cfg(test)]
mod tests {
    use super::capture::tests::{ethernet_frame, pcap_file};
    use super::*;
    use crate::audio::g711;

    /// 30 s of PCMU with a tone, of which some packets are lost, late, doubled or swapped.
    fn capture() -> Vec<u8> {
        let mut frames = Vec::new();
        for n in 0..1_500_u32 {
            let mut at_us =
                1_700_000_000_000_000 + u64::from(n) * 20_000 + u64::from(n * 7 % 5) * 900;
            if n % 300 == 200 {
                continue;
            }
            if n == 700 {
                at_us += 150_000;
            }
            let frame = ethernet_frame(5_004, &rtp(7, n, 0));
            if n % 400 == 100 {
                frames.push((at_us + 100, frame.clone()));
            }
            frames.push((at_us, frame));
            if n % 10 == 0 {
                frames.push((at_us, ethernet_frame(5_006, &rtp(9, n / 10, 8))));
            }
        }
        frames.push((
            1_700_000_000_000_000,
            ethernet_frame(5_005, &[0x80, 200, 0, 6, 0, 0]),
        ));
        frames.sort_by_key(|frame| frame.0);
        pcap_file(&frames, 1)
    }

    fn rtp(ssrc: u32, n: u32, pt: u8) -> Vec<u8> {
        let mut packet = vec![0x80, pt];
        packet.extend(u16::try_from((n + 65_000) & 0xffff).unwrap().to_be_bytes());
        packet.extend((n * 160).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend((0..160_u32).map(|at| {
            let turn = (n * 160 + at) as f32 / 64.0 * std::f32::consts::TAU;
            #[allow(clippy::cast_possible_truncation, reason = "within 16 bits")]
            let sample = (turn.sin() * 8_000.0) as i16;
            g711::linear_to_ulaw(sample)
        }));
        packet
    }

    fn args(folder: &Path) -> ReplayArgs {
        ReplayArgs {
            capture: folder.join("call.pcap"),
            out: Some(folder.join("heard.wav")),
            ssrc: Some(7),
            codec: Vec::new(),
            plot: Some(folder.join("chart.png")),
            min_ms: 0,
            max_ms: 400,
            fixed_ms: None,
        }
    }

    #[test]
    fn counts_are_those_of_the_capture() {
        let file = capture();
        let (streams, skipped) = streams::find(&file).unwrap();
        assert_eq!((streams.len(), skipped), (2, 0));
        assert!(choose(&streams, None).is_err());
        assert!(choose(&streams, Some(1)).is_err());
        let stream = choose(&streams, Some(7)).unwrap();
        let heard = play(stream, &args(Path::new("."))).unwrap();
        let stats = heard.stats;
        assert_eq!(
            (stats.received, stats.lost, stats.duplicate),
            (1_498, 5, 3),
            "{stats:?}"
        );
        assert_eq!(stats.late + stats.waited, 1, "{stats:?}");
        assert_eq!(stats.played + stats.late, 1_495, "{stats:?}");
        assert!((100..=300).contains(&stats.concealed_ms), "{stats:?}");
        assert!((29_900..30_600).contains(&(heard.moments.len() * 20)));
        assert!(report(stream, &heard).contains("lost                 5 packets"));
    }

    #[test]
    fn writes_what_was_heard_and_a_chart() {
        let folder = std::env::temp_dir().join(format!("replay-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let args = args(&folder);
        std::fs::write(&args.capture, capture()).unwrap();
        run(&args).unwrap();
        let pcm = wav::read(args.out.as_ref().unwrap()).unwrap();
        let loud = pcm[8_000..200_000]
            .iter()
            .filter(|s| s.unsigned_abs() > 4_000)
            .count();
        assert!(loud > 192_000 / 2, "{loud} loud samples");
        let chart = std::fs::read(args.plot.as_ref().unwrap()).unwrap();
        assert!(chart.starts_with(b"\x89PNG") && chart.len() < 200_000);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_codec_is_named_as_in_sdp() {
        assert_eq!(
            parse_codec("111=opus/48000"),
            Ok((111, Meaning::Audio(CodecKind::Opus)))
        );
        assert_eq!(
            parse_codec("9=G722/8000"),
            Ok((9, Meaning::Audio(CodecKind::G722)))
        );
        assert_eq!(
            parse_codec("101=telephone-event/8000"),
            Ok((101, Meaning::Ignore))
        );
        assert_eq!(
            parse_codec("77=CN/16000"),
            Ok((77, Meaning::ComfortNoise(16_000)))
        );
        for bad in [
            "111",
            "128=PCMU/8000",
            "x=PCMU/8000",
            "5=G729/8000",
            "5=cn/x",
        ] {
            assert!(parse_codec(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_ssrc("0xff"), Ok(255));
        assert_eq!(parse_ssrc("255"), Ok(255));
        assert!(parse_ssrc("ff").is_err());
    }
}
