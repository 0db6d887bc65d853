//! Files of recordings in other people's players: ffmpeg, sox and opus-tools. What a crash left is
//! opened as it is, and repaired.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crosspoint::record::config::Format;
use crosspoint::record::file::copy::CopyWriter;
use crosspoint::record::file::read::RecordingReader;
use crosspoint::record::file::repair::{Repaired, repair};
use crosspoint::record::file::{FileWriter, Patch};

const WAVS: [(Format, u8); 6] = [
    (Format::Wav, 1),
    (Format::Wav, 2),
    (Format::Wav, 3),
    (Format::WavAlaw, 1),
    (Format::WavUlaw, 2),
    (Format::WavUlaw, 3),
];
const OPUS: Format = Format::Opus {
    bitrate_bps: 24_000,
};
const RATE_HZ: u32 = 8_000;
/// How often a file is flushed and its header is patched.
const FLUSH: usize = 5;

/// A missing tool fails the test: one that did not run proves nothing.
fn missing(tool: &str, error: &dyn Display) -> ! {
    panic!("{tool} cannot be used ({error}): apt-get install -y ffmpeg sox opus-tools")
}

fn run(command: &mut Command) -> Output {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|e| missing(&tool, &e));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("players-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for test files");
        Self(path)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("room for a test file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sound(channels: u8, frames: usize) -> Vec<i16> {
    let sample = |n: usize, channel: u8| {
        let hz = 440.0 + 190.0 * f64::from(channel);
        let turns = hz * n as f64 / f64::from(RATE_HZ);
        #[allow(clippy::cast_possible_truncation, reason = "within range")]
        let sample = ((turns * std::f64::consts::TAU).sin() * 8_000.0) as i16;
        sample
    };
    let frame = |n| (0..channels).map(move |channel| sample(n, channel));
    (0..frames).flat_map(frame).collect()
}

/// A file as it is written: every byte, and which header it has once so many are there.
struct Written {
    bytes: Vec<u8>,
    header_len: usize,
    patches: Vec<(usize, Patch)>,
}

impl Written {
    /// 40 ms at a time.
    fn new(format: Format, channels: u8, frames: usize) -> Self {
        let pcm = sound(channels, frames);
        let mut writer =
            FileWriter::new(format, RATE_HZ, channels, 7, &[]).expect("a file of this format");
        let (mut bytes, mut patches) = (Vec::new(), Vec::new());
        writer.begin(&mut bytes);
        let header_len = bytes.len();
        for (n, part) in pcm.chunks(320 * usize::from(channels)).enumerate() {
            writer.push(part, &mut bytes);
            if n % FLUSH == FLUSH - 1 {
                writer.flush(&mut bytes);
                patches.extend(writer.patch().map(|patch| (bytes.len(), patch)));
            }
        }
        writer.finish(&mut bytes);
        patches.extend(writer.patch().map(|patch| (bytes.len(), patch)));
        Self {
            bytes,
            header_len,
            patches,
        }
    }

    fn whole(&self) -> Vec<u8> {
        self.killed(self.bytes.len())
    }

    /// What is there when the writer was killed after so many bytes.
    fn killed(&self, at: usize) -> Vec<u8> {
        let mut bytes = self.bytes[..at].to_vec();
        let known = self.patches.iter().rev().find(|(len, _)| *len <= at);
        if let Some((_, patch)) = known {
            bytes[..patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        bytes
    }

    /// Whole frames of sound in the first so many bytes of a WAV file.
    fn frames(&self, format: Format, channels: u8, at: usize) -> usize {
        let octets = if format == Format::Wav { 2 } else { 1 };
        at.saturating_sub(self.header_len) / (octets * usize::from(channels))
    }
}

fn repaired(bytes: Vec<u8>) -> Option<(Repaired, Vec<u8>)> {
    let mut file = Cursor::new(bytes);
    let repaired = repair(&mut file).ok()?;
    Some((repaired, file.into_inner()))
}

fn read(bytes: &[u8]) -> Vec<i16> {
    let mut reader = RecordingReader::open(Cursor::new(bytes)).expect("a recording");
    let (mut pcm, mut piece) = (Vec::new(), vec![0; 48_000]);
    loop {
        let count = reader.read(&mut piece).expect("bytes in memory");
        if count == 0 {
            return pcm;
        }
        pcm.extend_from_slice(&piece[..count]);
    }
}

/// What ffmpeg hears in each of these files; many to a process, for each takes long to start.
fn ffmpeg_hears(files: &[PathBuf]) -> Vec<Vec<i16>> {
    let mut heard = Vec::new();
    for files in files.chunks(40) {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-y"]);
        for file in files {
            ffmpeg.arg("-i").arg(file);
        }
        for (n, file) in files.iter().enumerate() {
            ffmpeg.args(["-map", &format!("{n}:a"), "-f", "s16le"]);
            ffmpeg.arg(file.with_extension("raw"));
        }
        run(&mut ffmpeg);
        for file in files {
            let raw = fs::read(file.with_extension("raw")).expect("ffmpeg wrote it");
            let samples = raw.chunks_exact(2);
            heard.push(samples.map(|s| i16::from_le_bytes([s[0], s[1]])).collect());
        }
    }
    heard
}

/// How many samples of each channel sox finds in each of these WAV files.
fn sox_counts(files: &[PathBuf]) -> Vec<usize> {
    let count = |files: &[PathBuf]| text(&run(Command::new("soxi").arg("-s").args(files)));
    let counts: Vec<String> = files.chunks(100).map(count).collect();
    let lines = counts.iter().flat_map(|text| text.lines());
    lines.map(|n| n.trim().parse().expect("a number")).collect()
}

/// What sox hears in a WAV file.
fn sox_hears(file: &Path) -> Vec<i16> {
    let mut sox = Command::new("sox");
    sox.arg("-D").arg(file);
    sox.args(["-t", "raw", "-e", "signed", "-b", "16", "-L", "-"]);
    let raw = run(&mut sox).stdout;
    let samples = raw.chunks_exact(2);
    samples.map(|s| i16::from_le_bytes([s[0], s[1]])).collect()
}

/// The Opus people's own reader finds nothing wrong.
fn opusinfo_agrees(files: &[PathBuf]) {
    let output = Command::new("opusinfo").args(files).output();
    let output = output.unwrap_or_else(|e| missing("opusinfo", &e));
    let all = text(&output) + &String::from_utf8_lossy(&output.stderr);
    let bad = |line: &&str| {
        ["WARNING", "ERROR", "rror:"]
            .iter()
            .any(|w| line.contains(w))
    };
    let complaints: Vec<&str> = all.lines().filter(bad).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

fn probed(file: &Path, entry: &str) -> f64 {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-of", "csv=p=0", "-show_entries", entry]);
    text(&run(ffprobe.arg(file)))
        .trim()
        .parse()
        .expect("a number")
}

#[test]
fn players_hear_every_sample_of_a_wav() {
    let folder = Folder::new("wav");
    let mut files = Vec::new();
    for (n, (format, channels)) in WAVS.into_iter().chain([(Format::Wav, 16)]).enumerate() {
        let bytes = Written::new(format, channels, 8_001).whole();
        files.push((
            folder.put(&format!("{n}.wav"), &bytes),
            channels,
            read(&bytes),
        ));
    }
    let paths: Vec<PathBuf> = files.iter().map(|(path, ..)| path.clone()).collect();
    let heard = ffmpeg_hears(&paths);
    for ((path, channels, expected), heard) in files.iter().zip(heard) {
        assert_eq!(expected.len(), 8_001 * usize::from(*channels));
        assert!(heard == *expected, "ffmpeg: {}", path.display());
        assert!(sox_hears(path) == *expected, "sox: {}", path.display());
        let off = probed(path, "format=duration") - 8_001.0 / f64::from(RATE_HZ);
        assert!(off.abs() < 0.001, "{}: {off} s", path.display());
    }
}

/// By ffmpeg's decoder, which is another than ours: nothing on the silent channel.
#[test]
fn players_hear_opus_in_its_length_and_on_its_channel() {
    let folder = Folder::new("opus");
    for channels in [1, 2, 3, 16_u8] {
        let count = usize::from(channels);
        let mut pcm = sound(channels, 16_001);
        for (n, sample) in pcm.iter_mut().enumerate() {
            if n % count == 1 {
                *sample = 0;
            }
        }
        let mut writer = FileWriter::new(OPUS, RATE_HZ, channels, 7, &["TITLE=a".to_owned()])
            .expect("an Opus encoder");
        let mut bytes = Vec::new();
        writer.begin(&mut bytes);
        for part in pcm.chunks(1_600 * count) {
            writer.push(part, &mut bytes);
            writer.flush(&mut bytes);
        }
        writer.finish(&mut bytes);
        let file = folder.put(&format!("{channels}.opus"), &bytes);
        let heard = ffmpeg_hears(std::slice::from_ref(&file)).remove(0);
        assert_eq!(heard.len(), 16_001 * 6 * count);
        // ffmpeg counts what is skipped.
        let off = probed(&file, "format=duration") - (16_001 * 6 + 312) as f64 / 48_000.0;
        assert!(off.abs() < 0.001, "{channels}: {off} s");
        for channel in 0..count {
            let of_channel = heard.iter().skip(channel).step_by(count);
            let loudest = of_channel.skip(4_800).map(|s| s.unsigned_abs()).max();
            let loudest = loudest.expect("sound");
            let expected = if channel == 1 { 0..=8 } else { 7_000..=9_500 };
            assert!(
                expected.contains(&loudest),
                "{channel} of {channels}: {loudest}"
            );
        }
        opusinfo_agrees(std::slice::from_ref(&file));
        // libopusfile leaves family 255 to others.
        if channels <= 2 {
            let wav = file.with_extension("wav");
            run(Command::new("opusdec")
                .args(["--quiet", "--rate", "48000"])
                .arg(&file)
                .arg(&wav));
            assert_eq!(sox_counts(&[wav]), [16_001 * 6]);
        }
    }
}

/// Every byte at which a small file can be cut.
#[test]
fn a_file_cut_anywhere_opens_after_repair() {
    let folder = Folder::new("cut");
    let mut files = Vec::new();
    for (kind, (format, channels)) in WAVS.into_iter().enumerate() {
        let written = Written::new(format, channels, 20);
        let whole = written.whole();
        let all = read(&whole);
        for cut in 0..=whole.len() {
            let frames = written.frames(format, channels, cut).min(20);
            let repaired = repaired(whole[..cut].to_vec());
            assert_eq!(repaired.is_some(), cut >= written.header_len);
            if let Some((repaired, bytes)) = repaired.filter(|_| frames > 0) {
                assert_eq!(repaired.frames, frames as u64);
                let path = folder.put(&format!("{kind}-{cut}.wav"), &bytes);
                files.push((path, frames, all[..frames * usize::from(channels)].to_vec()));
            }
        }
    }
    let paths: Vec<PathBuf> = files.iter().map(|(path, ..)| path.clone()).collect();
    assert!(paths.len() > 300);
    let counts: Vec<usize> = files.iter().map(|(_, frames, _)| *frames).collect();
    assert_eq!(sox_counts(&paths), counts);
    for ((path, _, expected), heard) in files.iter().zip(ffmpeg_hears(&paths)) {
        assert!(heard == *expected, "{}", path.display());
    }
}

#[test]
fn an_opus_file_cut_anywhere_opens_after_repair() {
    let folder = Folder::new("cut-opus");
    let (mut paths, mut expected) = (Vec::new(), Vec::new());
    for channels in [1, 2] {
        let written = Written::new(OPUS, channels, 3_200);
        for cut in 0..=written.bytes.len() {
            let repaired = repaired(written.bytes[..cut].to_vec());
            assert_eq!(repaired.is_some(), cut >= written.header_len);
            let Some((repaired, bytes)) = repaired else {
                continue;
            };
            // Cuts within one page give the same file.
            let path = folder.0.join(format!("{channels}-{}.opus", bytes.len()));
            if !path.exists() {
                fs::write(&path, bytes).expect("room for a test file");
                paths.push(path);
                expected.push(repaired.frames * u64::from(channels));
            }
        }
    }
    assert!(paths.len() >= 4);
    let heard = ffmpeg_hears(&paths);
    let heard: Vec<u64> = heard.iter().map(|pcm| pcm.len() as u64).collect();
    assert_eq!(heard, expected);
    opusinfo_agrees(&paths);
}

/// 200 random bytes at which the writer is killed, with the header of the last 200 ms: as it is,
/// and repaired.
#[test]
fn a_killed_recording_opens_as_it_is_and_repaired() {
    let folder = Folder::new("killed");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let formats: Vec<_> = WAVS
        .into_iter()
        .chain([(OPUS, 1), (OPUS, 2), (OPUS, 3)])
        .collect();
    let written: Vec<Written> = formats
        .iter()
        .map(|(format, channels)| Written::new(*format, *channels, 40_000))
        .collect();
    let (mut wavs, mut others) = (Vec::new(), Vec::new());
    for n in 0..200 {
        let kind = random.usize(..formats.len());
        let ((format, channels), written) = (formats[kind], &written[kind]);
        // The first 200 ms may be lost whole.
        let cut = random.usize(written.header_len + written.bytes.len() / 20..=written.bytes.len());
        let killed = written.killed(cut);
        let (repaired, bytes) = repaired(killed.clone()).expect("sound is there");
        // What is there, but for a part of a frame; in Opus what is skipped, at 8 kHz.
        let (extension, lost) = match format {
            OPUS => ("opus", 0.235 + 0.0065),
            _ => ("wav", 0.0),
        };
        let share =
            (cut - written.header_len) as f64 / (written.bytes.len() - written.header_len) as f64;
        let length = repaired.length().as_secs_f64();
        // Packets of Opus are not all of one length.
        let slack = if format == OPUS { 0.3 } else { 0.001 };
        assert!(
            length > 5.0 * share - lost - slack,
            "{n}: {length} s of {share}"
        );
        let paths = [("killed", &killed), ("repaired", &bytes)]
            .map(|(name, bytes)| folder.put(&format!("{name}-{n}.{extension}"), bytes));
        let list = if format == OPUS {
            &mut others
        } else {
            &mut wavs
        };
        list.push((paths, usize::from(channels), repaired, length));
    }
    for list in [&wavs, &others] {
        let all: Vec<PathBuf> = list.iter().flat_map(|(paths, ..)| paths.clone()).collect();
        let heard = ffmpeg_hears(&all);
        for ((paths, channels, repaired, length), heard) in list.iter().zip(heard.chunks(2)) {
            let [as_it_is, mended] = [&heard[0], &heard[1]].map(|pcm| pcm.len() / channels);
            let name = paths[0].display();
            assert_eq!(mended as u64, repaired.frames, "{name}");
            let missing = length - as_it_is as f64 / f64::from(repaired.rate_hz);
            assert!((-0.001..=0.241).contains(&missing), "{name}: {missing} s");
            assert!(heard[1].starts_with(&heard[0]), "{name}");
        }
    }
    let paths: Vec<PathBuf> = wavs.iter().flat_map(|(paths, ..)| paths.clone()).collect();
    for (counts, (_, _, repaired, _)) in sox_counts(&paths).chunks(2).zip(&wavs) {
        assert_eq!(counts[1] as u64, repaired.frames);
        assert!(counts[0] + 1_920 >= counts[1]);
    }
}

/// A file with a hole of four gigabytes: nothing is written there.
#[test]
fn a_recording_beyond_four_gigabytes_opens() {
    let folder = Folder::new("long");
    let path = folder.put("long.wav", &Written::new(Format::Wav, 2, 0).whole());
    let file = File::options().read(true).write(true).open(&path);
    let mut file = file.expect("the file");
    file.set_len((5 << 30) + 3).expect("a sparse file");
    let repaired = repair(&mut file).expect("a recording");
    assert_eq!((repaired.bytes, repaired.cut), (5 << 30, 3));
    let length = repaired.length().as_secs_f64();
    for entry in ["format=duration", "stream=duration"] {
        let off = probed(&path, entry) - length;
        assert!(off.abs() < 0.001, "{off} s");
    }
    let info = RecordingReader::open(file).expect("a recording").info();
    assert_eq!(info.frames, repaired.frames);
}

/// Packets as they came, with gaps: players hear the gaps in their length.
#[test]
fn players_hear_copied_packets_in_their_place() {
    use crosspoint::audio::opus::{Encoder, OpusConfig};
    let folder = Folder::new("copy");
    for rate_hz in [8_000, 16_000, 48_000] {
        let mut encoder = Encoder::new(&OpusConfig::at(rate_hz)).expect("an Opus encoder");
        let mut writer = CopyWriter::new(1, 9, &[]);
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        writer.begin(&mut bytes);
        for n in 0..500_u32 {
            let frame = rate_hz / 50;
            #[allow(clippy::cast_possible_truncation, reason = "within range")]
            let pcm: Vec<i16> = (n * frame..(n + 1) * frame)
                .map(|n| f64::from(n) / f64::from(rate_hz) * 440.0 * std::f64::consts::TAU)
                .map(|angle| (angle.sin() * 8_000.0) as i16)
                .collect();
            let mut packet = [0; 1_275];
            let len = encoder.encode(&pcm, &mut packet).expect("a frame");
            let at = Duration::from_millis(20 * u64::from(n));
            // Late by a second, silent from 4 s to 7 s.
            if (50..200).contains(&n) || n >= 350 {
                let seq = u16::try_from(n).expect("few packets");
                let seq = if n < 350 { seq + 150 } else { seq };
                writer.packet(at, Duration::ZERO, n * 960, seq, 5, &packet[..len]);
            }
            let settled = at.saturating_sub(Duration::from_millis(200));
            writer.advance(settled, &mut bytes, &mut spans);
            if n % 10 == 0 {
                writer.flush(&mut bytes);
            }
        }
        writer.finish(Duration::from_millis(10_003), &mut bytes, &mut spans);
        let file = folder.put(&format!("{rate_hz}.opus"), &bytes);
        opusinfo_agrees(std::slice::from_ref(&file));
        // ffmpeg counts what is skipped.
        let off = probed(&file, "format=duration") - 10.003 - 0.0025;
        assert!(off.abs() < 0.001, "{off} s");
        for pcm in [
            ffmpeg_hears(std::slice::from_ref(&file)).remove(0),
            read(&bytes),
        ] {
            assert_eq!(pcm.len(), 10_003 * 48);
            let loud = |ms: usize| {
                let window = &pcm[ms * 48..(ms + 10) * 48];
                window.iter().any(|sample| sample.unsigned_abs() > 4_000)
            };
            let heard: Vec<bool> = [980, 1_080, 3_980, 4_200, 6_980, 7_080, 9_980]
                .map(loud)
                .into();
            assert_eq!(heard, [false, true, true, false, false, true, true]);
        }
    }
}
