//! A session with its tape, its disk and its time.

use std::sync::Arc;

use super::super::*;
use crate::audio::codec::{CodecConfig, CodecKind, Encoder};
use crate::engine::{Side, TapeWriter, Taped, TrackKind, TrackType, tape};
use crate::record::config::{Format, Layout, PauseMode, TrackConfig};
use crate::record::disk::{Item, Writers};

pub(in crate::record) const RATE_HZ: u32 = 8_000;
pub(in crate::record) const FRAME: Duration = Duration::from_millis(20);
pub(in crate::record) const FRAME_SAMPLES: usize = 160;

pub(in crate::record) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Samples of so many milliseconds.
pub(in crate::record) fn at(ms: u64) -> usize {
    usize::try_from(ms).expect("short") * 8
}

pub(in crate::record) fn party(leg: &str, channel: u8) -> TrackConfig {
    TrackConfig {
        leg: leg.into(),
        label: None,
        side: Side::In,
        channel,
        types: vec![TrackType {
            pt: 0,
            kind: TrackKind::Sound(CodecKind::Pcmu),
        }],
    }
}

pub(in crate::record) fn config(layout: Layout, tracks: u8) -> RecordingConfig {
    RecordingConfig {
        call_id: "call".into(),
        path: "a.wav".into(),
        format: Format::Wav,
        rate_hz: RATE_HZ,
        layout,
        tracks: (0..tracks)
            .map(|ix| party(&format!("leg-{ix}"), ix))
            .collect(),
        pause: PauseMode::Silence,
        length_max: None,
        silence_max: None,
        trim: false,
        metadata: "".into(),
    }
}

/// Speech, nearly: noise with pauses, different on each track, in packets of 20 ms.
pub(in crate::record) fn speech(track: u8, frame: usize, amplitude: i16) -> Vec<i16> {
    let mut random = fastrand::Rng::with_seed(u64::from(track) << 32 | frame as u64);
    let loud = frame % 25 < 18;
    let range = if loud { amplitude } else { amplitude / 64 };
    (0..FRAME_SAMPLES)
        .map(|_| random.i16(-range..=range))
        .collect()
}

/// A session with its tape, its disk and its time.
pub(in crate::record) struct Rig {
    pub(in crate::record) origin: Instant,
    pub(in crate::record) now: Duration,
    pub(in crate::record) tape: Option<TapeWriter>,
    pub(in crate::record) session: Session,
    pub(in crate::record) disk: DiskState,
    /// Instead of that.
    pub(in crate::record) item: Option<(Arc<Item>, Arc<Writers>)>,
    encoder: Encoder,
    pub(in crate::record) out: Output,
    pub(in crate::record) file: Vec<u8>,
    pub(in crate::record) journal: Vec<u8>,
    pub(in crate::record) events: Vec<RecordingEventKind>,
    /// By track: how loud it speaks.
    pub(in crate::record) speaks: Vec<i16>,
    pub(in crate::record) progress: Progress,
}

impl Rig {
    pub(in crate::record) fn new(config: RecordingConfig) -> Self {
        let origin = Instant::now();
        let speaks = vec![8_000; config.tracks.len()];
        let (writer, reader) = tape(speaks.len().max(2), origin);
        let mut out = Output::default();
        let started = "2026-01-01T00:00:00.000Z";
        let session = Session::new(config, reader, started, 1, &mut out).expect("a session");
        let encoder = Encoder::new(&CodecConfig::new(CodecKind::Pcmu)).expect("PCMU");
        Self {
            origin,
            now: Duration::ZERO,
            tape: Some(writer),
            session,
            disk: DiskState {
                room: 1 << 20,
                capacity: 1 << 20,
                error: None,
            },
            item: None,
            encoder,
            out,
            file: Vec::new(),
            journal: Vec::new(),
            events: Vec::new(),
            speaks,
            progress: Progress::Running,
        }
    }

    /// All speak until then, or the recording's end; commands are carried out at their time.
    pub(in crate::record) fn until(&mut self, end: Duration) {
        while self.now < end && self.progress == Progress::Running {
            let frame = usize::try_from(self.now.as_millis() / 20).expect("short");
            for track in 0..u8::try_from(self.speaks.len()).expect("few") {
                let amplitude = self.speaks[usize::from(track)];
                if amplitude > 0 {
                    self.send(track, frame, &speech(track, frame, amplitude));
                }
            }
            self.now += FRAME;
            self.work();
        }
    }

    pub(in crate::record) fn send(&mut self, track: u8, frame: usize, pcm: &[i16]) {
        let mut rtp = vec![0x80, 0];
        rtp.extend(u16::try_from(frame).expect("short").to_be_bytes());
        rtp.extend(
            u32::try_from(frame * FRAME_SAMPLES)
                .expect("short")
                .to_be_bytes(),
        );
        rtp.extend(u32::from(track).to_be_bytes());
        rtp.resize(12 + FRAME_SAMPLES, 0);
        self.encoder.encode(pcm, &mut rtp[12..]).expect("a frame");
        let taped = Taped {
            at: self.now,
            track: TrackIx(track),
            event: false,
            veiled: false,
            silenced: false,
            rtp: &mut rtp,
        };
        self.tape.as_mut().expect("the tape").packet(&taped, 12);
    }

    pub(in crate::record) fn work(&mut self) {
        let now = self.origin + self.now;
        if let Some((item, writers)) = &self.item {
            self.disk = item.state(writers);
        }
        self.progress = self.session.work(now, &self.disk, &mut self.out);
        if !self.out.due {
            return;
        }
        let out = std::mem::take(&mut self.out);
        if let Some((item, writers)) = &self.item {
            item.give(out.clone(), None, writers);
        }
        self.file.extend(out.bytes);
        if let Some(patch) = out.patch {
            let offset = usize::try_from(patch.offset).expect("the beginning");
            self.file[offset..offset + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        self.journal.extend(out.journal);
        self.events.extend(out.events);
    }

    pub(in crate::record) fn command(&mut self, command: Command) {
        let now = self.origin + self.now;
        self.session.command(command, now, &mut self.out);
    }

    pub(in crate::record) fn at(&self, ms: u64) -> Instant {
        self.origin + Duration::from_millis(ms)
    }

    pub(in crate::record) fn stop(&mut self, ms: u64) {
        let at = self.at(ms);
        self.command(Command::Stop { at, discard: false });
    }

    /// Goes on until the recording has ended.
    pub(in crate::record) fn finish(mut self) -> Recorded {
        let end = self.now + Duration::from_secs(2);
        self.until(end);
        assert_eq!(self.progress, Progress::Ended { discard: false });
        let sidecar = self.session.sidecar().clone();
        let header = usize::try_from(sidecar.header_len).expect("short");
        let pcm = &self.file[header..];
        let sample = |pair: &[u8; 2]| i16::from_le_bytes(*pair);
        Recorded {
            pcm: pcm.as_chunks().0.iter().map(sample).collect(),
            file: self.file,
            journal: self.journal,
            events: self.events,
            sidecar,
        }
    }
}

pub(in crate::record) struct Recorded {
    pub(in crate::record) pcm: Vec<i16>,
    pub(in crate::record) file: Vec<u8>,
    pub(in crate::record) journal: Vec<u8>,
    pub(in crate::record) events: Vec<RecordingEventKind>,
    pub(in crate::record) sidecar: Sidecar,
}

impl Recorded {
    pub(in crate::record) fn channel(&self, channel: usize) -> Vec<i16> {
        let channels = usize::from(self.sidecar.channels);
        self.pcm
            .iter()
            .skip(channel)
            .step_by(channels)
            .copied()
            .collect()
    }

    pub(in crate::record) fn spans(&self, kind: SpanKind) -> Vec<(u64, u64)> {
        let spans = self.sidecar.spans.iter().filter(|span| span.kind == kind);
        spans.map(|span| (span.from_us, span.until_us)).collect()
    }
}

/// Recorded for so long with nothing happening.
pub(in crate::record) fn plain(config: RecordingConfig, length_ms: u64) -> Recorded {
    let mut rig = Rig::new(config);
    rig.until(ms(length_ms));
    rig.stop(length_ms);
    rig.finish()
}
