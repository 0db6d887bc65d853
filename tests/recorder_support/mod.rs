//! Recordings of parties that speak, through a real recorder on a real directory.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part of what they share"
)]

pub mod slow;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint::audio::codec::{CodecConfig, CodecKind, Encoder};
use crosspoint::engine::{Side, TapeWriter, Taped, TrackIx, TrackKind, TrackType, tape};
use crosspoint::record::config::{Format, Layout, PauseMode, RecordingConfig, TrackConfig};
use crosspoint::record::event::{RecordingEvent, RecordingEventKind};
use crosspoint::record::recorder::{RecordError, Recorder, RecorderConfig, Recording};
use tokio::sync::broadcast::Receiver;

pub const FRAME: Duration = Duration::from_millis(20);

/// Generous: a loaded machine may take long, a broken recorder takes for ever.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory that goes with its test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let name = format!("crosspoint-record-{:016x}", fastrand::u64(..));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// All files below it, by their paths in it.
    pub fn files(&self) -> Vec<String> {
        let (mut files, mut folders) = (Vec::new(), vec![self.0.clone()]);
        while let Some(folder) = folders.pop() {
            // They come and go while a recorder works.
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    _ => files.push(self.in_it(&entry.path())),
                }
            }
        }
        files.sort();
        files
    }

    pub fn in_it(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.0).expect("below it");
        path.to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A recorder and what it tells.
pub struct Rig {
    pub recorder: Arc<Recorder>,
    pub events: Receiver<RecordingEvent>,
}

impl Rig {
    pub fn new(dir: &Path) -> Self {
        Self::with(RecorderConfig::new(dir.to_owned()))
    }

    pub fn with(config: RecorderConfig) -> Self {
        let recorder = Recorder::start(config).expect("a recorder");
        let events = recorder.events();
        Self { recorder, events }
    }

    /// The next event but [`RecordingEventKind::Started`].
    pub fn next_event(&mut self) -> RecordingEvent {
        let mut next = None;
        wait("an event", || {
            next = self.events.try_recv().ok();
            next.as_ref()
                .is_some_and(|event| event.kind != RecordingEventKind::Started)
        });
        next.expect("just seen")
    }

    pub fn begin(&self, config: RecordingConfig) -> Result<Line, RecordError> {
        self.begin_at(config, |_| String::new())
    }

    /// Its metadata may depend on when it begins.
    pub fn begin_at(
        &self,
        config: RecordingConfig,
        metadata: impl FnOnce(Instant) -> String,
    ) -> Result<Line, RecordError> {
        Line::begin(&self.recorder, config, Duration::ZERO, metadata)
    }

    /// A recording that began so long ago; all of it was spoken in that time.
    pub fn spoken(&self, config: RecordingConfig, time: Duration) -> Result<Line, RecordError> {
        Line::begin(&self.recorder, config, time, |_| String::new())
    }
}

pub fn config(path: &str, format: Format, layout: Layout) -> RecordingConfig {
    let codec = match format {
        Format::OpusCopy => CodecKind::Opus,
        _ => CodecKind::Pcmu,
    };
    let tracks = match layout {
        Layout::Mono => 1,
        layout => layout.channels(),
    };
    let track = |channel| TrackConfig {
        leg: format!("leg-{channel}").into(),
        label: None,
        side: Side::In,
        channel,
        types: vec![TrackType {
            pt: 0,
            kind: TrackKind::Sound(codec),
        }],
    };
    RecordingConfig {
        call_id: "call".into(),
        path: path.into(),
        format,
        rate_hz: if format == Format::OpusCopy {
            48_000
        } else {
            8_000
        },
        layout,
        tracks: (0..tracks).map(track).collect(),
        pause: PauseMode::Silence,
        length_max: None,
        silence_max: None,
        trim: false,
        metadata: "".into(),
    }
}

pub fn wav(path: &str) -> RecordingConfig {
    config(path, Format::Wav, Layout::Stereo)
}

/// Parties that speak to a recording.
pub struct Line {
    pub recording: Recording,
    pub origin: Instant,
    spoken: Spoken,
}

impl Line {
    /// What was said before is on the tape when the recorder comes to it.
    fn begin(
        recorder: &Recorder,
        mut config: RecordingConfig,
        before: Duration,
        metadata: impl FnOnce(Instant) -> String,
    ) -> Result<Self, RecordError> {
        let tracks = config.tracks.len();
        let codec = match config.format {
            Format::OpusCopy => CodecKind::Opus,
            _ => CodecKind::Pcmu,
        };
        let origin = Instant::now() - before;
        let metadata = metadata(origin);
        if !metadata.is_empty() {
            config.metadata = metadata.into();
        }
        let (tape, reader) = tape(tracks, origin);
        let mut spoken = Spoken {
            tape,
            tracks: u8::try_from(tracks).expect("few"),
            packet: packet(codec),
            frames: 0,
        };
        while FRAME * spoken.frames < before {
            spoken.next(FRAME * spoken.frames);
        }
        let recording = recorder.begin(config, reader)?;
        Ok(Self {
            recording,
            origin,
            spoken,
        })
    }

    /// All that should have been spoken by now.
    pub fn speak_until_now(&mut self) {
        while self.origin.elapsed() >= FRAME * self.spoken.frames {
            self.spoken.next(FRAME * self.spoken.frames);
        }
    }

    pub fn stop(&self) {
        self.recording.stop(Instant::now(), false);
    }

    /// As the call's end does.
    pub fn hang_up(self, at: Duration) -> Recording {
        self.spoken.tape.end(at);
        self.recording
    }
}

/// What was said on a tape.
struct Spoken {
    tape: TapeWriter,
    tracks: u8,
    packet: (Vec<u8>, u32),
    frames: u32,
}

impl Spoken {
    /// A packet of 20 ms on all tracks, which came then.
    fn next(&mut self, at: Duration) {
        let (payload, samples) = &self.packet;
        for track in 0..self.tracks {
            let mut rtp = vec![0x80, 0];
            let seq = u16::try_from(self.frames & 0xffff).expect("masked");
            rtp.extend(seq.to_be_bytes());
            rtp.extend(self.frames.wrapping_mul(*samples).to_be_bytes());
            rtp.extend(u32::from(track).to_be_bytes());
            rtp.extend(payload);
            let taped = Taped {
                at,
                track: TrackIx(track),
                event: false,
                veiled: false,
                silenced: false,
                rtp: &mut rtp,
            };
            self.tape.packet(&taped, 12);
        }
        self.frames += 1;
    }
}

/// 20 ms of a tone, and how many units of the RTP clock they last.
fn packet(codec: CodecKind) -> (Vec<u8>, u32) {
    let config = CodecConfig::new(codec);
    let rate_hz = config.pcm_hz();
    let wave = |at: u32| (f64::from(at) * 440.0 * std::f64::consts::TAU / f64::from(rate_hz)).sin();
    #[allow(clippy::cast_possible_truncation, reason = "at most 8,000")]
    let pcm: Vec<i16> = (0..rate_hz / 50)
        .map(|at| (wave(at) * 8_000.0) as i16)
        .collect();
    let mut encoder = Encoder::new(&config).expect("an encoder");
    let mut payload = vec![0; 2_000];
    let len = encoder.encode(&pcm, &mut payload).expect("a frame");
    payload.truncate(len);
    (payload, codec.clock_hz() / 50)
}
