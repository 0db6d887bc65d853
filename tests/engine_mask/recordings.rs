//! The same presses in recordings of a masked party: what it says by itself, beside what the other
//! one is sent, and mixed with what the other one says.

use std::io::Cursor;
use std::ops::Range;

use crosspoint::audio::codec::{CodecConfig, CodecKind, Encoder};
use crosspoint::audio::resample::Resampler;
use crosspoint::engine::*;
use crosspoint::record::config::{Format, Layout, PauseMode, RecordingConfig, TrackConfig};
use crosspoint::record::file::read::RecordingReader;
use crosspoint::record::session::{DiskState, Output, Progress, Session};

use super::engine_support::tapes::{begin, on_track};
use super::engine_support::{self, A, B, World, rtp};
use super::presses::*;
use super::{EVENT_PT, kind};

/// What a recording has on its tracks.
struct Take {
    name: &'static str,
    format: Format,
    layout: Layout,
    tracks: &'static [(StreamIx, Side)],
}

/// The party, alone; the party beside what its listener is sent; all who speak, as one.
const TAKES: [Take; 3] = [
    Take {
        name: "in",
        format: Format::Wav,
        layout: Layout::Mono,
        tracks: &[(A, Side::In)],
    },
    Take {
        name: "both",
        format: Format::Wav,
        layout: Layout::Stereo,
        tracks: &[(A, Side::In), (B, Side::Out)],
    },
    Take {
        name: "mix",
        format: Format::Wav,
        layout: Layout::Mono,
        tracks: &[(A, Side::In), (B, Side::In)],
    },
];

/// A recording in virtual time.
struct Recorder {
    session: Session,
    out: Output,
    file: Vec<u8>,
    journal: Vec<u8>,
}

impl Recorder {
    fn new(world: &mut World, id: u32, take: &Take, sound: TrackType) -> Self {
        let rate_hz = match take.format {
            Format::OpusCopy => 48_000,
            _ => 8_000,
        };
        let track = |(channel, (_, side)): (u8, &(StreamIx, Side))| TrackConfig {
            leg: format!("leg-{channel}").into(),
            label: None,
            side: *side,
            channel,
            types: vec![sound],
        };
        let config = RecordingConfig {
            call_id: "call".into(),
            path: take.name.into(),
            format: take.format,
            rate_hz,
            layout: take.layout,
            tracks: (0..).zip(take.tracks).map(track).collect(),
            pause: PauseMode::Silence,
            length_max: None,
            silence_max: None,
            trim: false,
            metadata: "".into(),
        };
        let (writer, reader) = tape(take.tracks.len(), world.start);
        world.apply(begin(id, Keys::NONE, writer));
        for (track, from) in (0..).zip(take.tracks) {
            world.apply(on_track(id, track, Some(*from)));
        }
        let mut out = Output::default();
        let started = "2026-01-01T00:00:00.000Z";
        let session = Session::new(config, reader, started, 1, &mut out).expect("a session");
        Self {
            session,
            out,
            file: Vec::new(),
            journal: Vec::new(),
        }
    }

    fn work(&mut self, world: &World) -> Progress {
        let disk = DiskState {
            room: 1 << 20,
            capacity: 1 << 20,
            error: None,
        };
        let progress = self.session.work(world.now, &disk, &mut self.out);
        let out = std::mem::take(&mut self.out);
        self.file.extend(out.bytes);
        if let Some(patch) = out.patch {
            let at = usize::try_from(patch.offset).expect("a header");
            self.file[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        self.journal.extend(out.journal);
        progress
    }

    /// Ends, and gives each channel at 8 kHz.
    fn end(&mut self, world: &mut World, id: u32) -> Vec<Vec<i16>> {
        world.apply(Change::StopRecord(RecorderId(id)));
        for _ in 0..100 {
            world.wait(20);
            self.work(world);
        }
        assert!(matches!(self.work(world), Progress::Ended { .. }));
        let mut reader = RecordingReader::open(Cursor::new(&self.file)).expect("a recording");
        let info = reader.info();
        let count = usize::from(info.channels);
        let (mut channels, mut pcm) = (vec![Vec::new(); count], vec![0; 960 * count]);
        loop {
            let read = reader.read(&mut pcm).expect("in memory");
            if read == 0 {
                break;
            }
            for (n, sample) in pcm[..read].iter().enumerate() {
                channels[n % count].push(*sample);
            }
        }
        let narrow = |pcm: Vec<i16>| match info.rate_hz {
            8_000 => pcm,
            rate_hz => resampled(&pcm, rate_hz, 8_000),
        };
        channels.into_iter().map(narrow).collect()
    }
}

fn resampled(pcm: &[i16], from_hz: u32, to_hz: u32) -> Vec<i16> {
    let mut resampler = Resampler::new(from_hz, to_hz).expect("two rates");
    let mut out = Vec::new();
    for piece in pcm.chunks(from_hz as usize / 50) {
        let mut made = vec![0; resampler.output_len(piece.len())];
        resampler.process(piece, &mut made);
        out.extend(made);
    }
    out
}

fn sound(pt: u8) -> TrackType {
    let codec = if pt == 0 {
        CodecKind::Pcmu
    } else {
        CodecKind::Pcma
    };
    TrackType {
        pt,
        kind: TrackKind::Sound(codec),
    }
}

/// What one channel of a recording holds.
struct Recorded {
    name: String,
    pcm: Vec<i16>,
    /// It is what somebody was sent, not what the party said.
    sent: bool,
}

/// Plays a script to a scene, and gives all that was recorded of it.
fn recorded_in(
    (scene, pt, loses): (Scene, u8, Option<u8>),
    mode: &MaskMode,
    script: &Script,
) -> Vec<Recorded> {
    let mut world = world(scene, pt);
    if *mode != MaskMode::Pass {
        world.apply(masked(mode.clone()));
    }
    let mut recorders = Vec::new();
    for (id, take) in (0..).zip(&TAKES) {
        recorders.push(Recorder::new(&mut world, id, take, sound(pt)));
    }
    play_and(&mut world, script, pt, loses, |world, _| {
        for recorder in &mut recorders {
            recorder.work(world);
        }
    });
    let place = place_of((scene, pt, loses));
    let mut all = Vec::new();
    for ((id, take), recorder) in (0..).zip(&TAKES).zip(&mut recorders) {
        let channels = recorder.end(&mut world, id);
        for (channel, (pcm, (_, side))) in channels.into_iter().zip(take.tracks).enumerate() {
            assert!(pcm.len() * 10 > script.pcm.len() * 9, "all of it");
            let name = format!("{}-{place}-recorded-{}{channel}", mode.label(), take.name);
            let sent = *side == Side::Out;
            all.push(Recorded { name, pcm, sent });
        }
    }
    all
}

/// Where nothing but the party's own voice is to be heard.
fn away_from_presses(script: &Script, len: usize) -> Vec<Range<usize>> {
    let mut from = 0;
    let mut ranges = Vec::new();
    for press in &script.presses {
        let until = press.at.start.saturating_sub(MARGIN).min(len);
        if from < until {
            ranges.push(from..until);
        }
        from = press.at.end + MARGIN;
    }
    ranges
}

/// Samples away from the presses, and how many of them are as without a mask.
fn unharmed(script: &Script, plain: &[i16], masked: &[i16]) -> (usize, usize) {
    let len = plain.len().min(masked.len());
    let ranges = away_from_presses(script, len);
    let same = |range: &Range<usize>| {
        let pairs = plain[range.clone()].iter().zip(&masked[range.clone()]);
        pairs.filter(|(plain, masked)| plain == masked).count()
    };
    let all = ranges.iter().map(ExactSizeIterator::len).sum();
    (all, ranges.iter().map(same).sum())
}

/// No keys by either detector.
const NONE: [Vec<u8>; 2] = [Vec::new(), Vec::new()];

/// Keys by both detectors.
fn found(pcm: &[i16]) -> [Vec<u8>; 2] {
    [detected(pcm), detected_in_blocks(pcm)]
}

#[test]
fn the_keys_are_in_a_recording_of_a_party_that_is_not_masked() {
    let script = Script::new(1, presses().min(200));
    let tones = script.presses.iter().filter(|press| !press.event).count();
    for recorded in recorded_in(SCENES[0], &MaskMode::Pass, &script) {
        let name = &recorded.name;
        keep(name, &recorded.pcm);
        for found in found(&recorded.pcm) {
            println!("{name}: {} of {tones}", found.len());
            assert!(found.len() * 10 >= tones * 9, "{name}: {}", found.len());
            assert!(found.len() <= tones, "{name}: an event became a tone");
        }
        // A telephone-event is silence.
        let events = script.presses.iter().filter(|press| press.event);
        for press in events.filter(|_| !recorded.sent) {
            let told = &recorded.pcm[press.at.start + 40..press.at.end - 40];
            assert!(told.iter().all(|sample| *sample == 0), "{name}");
        }
    }
}

#[test]
fn no_key_of_a_masked_party_is_in_a_recording() {
    let tone = MaskMode::Tone {
        hz: [400, 1_000].into_iter().collect(),
        level: -10,
    };
    for (at, scene) in SCENES.into_iter().enumerate() {
        let script = Script::new(at as u64 + 11, presses());
        let plain = recorded_in(scene, &MaskMode::Pass, &script);
        for mode in [MaskMode::Absorb, MaskMode::Silence, tone.clone()] {
            let masked = recorded_in(scene, &mode, &script);
            for (plain, masked) in plain.iter().zip(masked) {
                let name = &masked.name;
                keep(name, &masked.pcm);
                assert_eq!(found(&masked.pcm), NONE, "keys in {name}");
                if !masked.sent {
                    let (all, same) = unharmed(&script, &plain.pcm, &masked.pcm);
                    println!("{name}: {same} of {all} samples");
                    assert!(same as f64 >= all as f64 * same_min(), "{name}: {same}");
                }
            }
        }
    }
}

/// The least share of what was said away from presses that is recorded as without a mask. A voice
/// made of formants that stand still is more like a key than any person's.
fn same_min() -> f64 {
    if people_speak() { 0.99 } else { 0.93 }
}

/// What is put in the place of a key is for who hears the party: its own track is silent there.
#[test]
fn of_keys_that_are_replaced_a_recording_has_only_what_the_listener_is_sent() {
    let modes = [
        (MaskMode::ZeroDigit, "123456789*#ABCD", "0"),
        (MaskMode::RandomDigit, "*#ABCD", "0123456789"),
    ];
    for (mode, pressed, put) in modes {
        for (at, scene) in SCENES.into_iter().enumerate() {
            let script = Script::of(at as u64 + 21, presses(), pressed.as_bytes());
            for recorded in recorded_in(scene, &mode, &script) {
                let name = &recorded.name;
                keep(name, &recorded.pcm);
                let is_put = |key: &u8| recorded.sent && put.as_bytes().contains(key);
                for found in found(&recorded.pcm) {
                    assert!(found.iter().all(is_put), "keys in {name}");
                    assert_eq!(found.is_empty(), !recorded.sent, "{name}");
                }
            }
        }
    }
}

/// All that lies beside a recording is the same, whichever keys were pressed, and so is its sound.
#[test]
fn nothing_of_a_recording_tells_which_keys_were_pressed() {
    let [ones, nines] = ["1", "9"].map(|keys| {
        let mut script = Script::of(41, 20, keys.as_bytes());
        // Only as events: a tone that is taken out leaves a hole as wide as it was heard.
        for press in script.presses.iter().filter(|press| !press.event) {
            script.pcm[press.at.clone()].fill(0);
        }
        script.presses.retain(|press| press.event);
        let mut world = world(Scene::Relay, 0);
        world.apply(masked(MaskMode::Absorb));
        let mut recorder = Recorder::new(&mut world, 7, &TAKES[1], sound(0));
        play_and(&mut world, &script, 0, None, |world, _| {
            recorder.work(world);
        });
        recorder.end(&mut world, 7);
        let sidecar = recorder.session.sidecar();
        assert_eq!(sidecar.presses.len(), script.presses.len());
        (sidecar.write(), recorder.file, recorder.journal)
    });
    assert!(ones == nines, "not said, as it would say the keys");
}

/// Opus at 48 kHz, with events of the same clock.
fn opus_types() -> [PayloadType; 2] {
    [(OPUS_PT, false), (EVENT_PT, true)].map(|(pt, event)| PayloadType {
        clock_hz: 48_000,
        silence: None,
        ..kind(pt, event)
    })
}

const OPUS_PT: u8 = 111;

/// Keys cannot be taken out of packets: those of a masked party are not stored.
#[test]
fn packets_of_a_masked_party_are_not_stored_as_they_came() {
    let mut world = World::two_party(Privacy::Transparent);
    let codec = CodecConfig::new(CodecKind::Opus);
    for ix in [A, B] {
        world.apply(Change::PayloadTypes(ix, opus_types().into_iter().collect()));
        world.apply(Change::Voice(
            ix,
            engine_support::voice_of(OPUS_PT, codec, 20),
        ));
    }
    let opus = TrackType {
        pt: OPUS_PT,
        kind: TrackKind::Sound(CodecKind::Opus),
    };
    let copy = Take {
        name: "copy",
        format: Format::OpusCopy,
        layout: Layout::Mono,
        tracks: &[(A, Side::In)],
    };
    let mut recorder = Recorder::new(&mut world, 0, &copy, opus);
    let script = Script::new(51, 40);
    let mut encoder = Encoder::new(&codec).expect("Opus");
    let pcm = resampled(&script.pcm, 8_000, encoder.pcm_hz());
    let frame = encoder.pcm_hz() as usize / 50;
    let half = script.presses[20].at.start / 160 - 5;
    let mut octets = vec![0; 1_500];
    for (n, pcm) in pcm.chunks_exact(frame).enumerate() {
        if n == half {
            world.apply(masked(MaskMode::Absorb));
        }
        let len = encoder.encode(pcm, &mut octets).expect("a frame");
        let packet = rtp(OPUS_PT, n as u16, 960 * n as u32, 77, &octets[..len]);
        let _taken_or_not = world.hear(A, &packet);
        world.wait(20);
        recorder.work(&world);
    }
    let channels = recorder.end(&mut world, 0);
    let half = half * 160;
    let (before, after) = channels[0].split_at(half);
    let tones = script.presses[..20].iter().filter(|press| !press.event);
    let (known, tones) = (detected(before).len(), tones.count());
    assert!(known * 10 >= tones * 9, "{known} of {tones}");
    assert_eq!(found(after), NONE);
    let stored = recorder.session.sidecar().tracks[0].stats.packets;
    assert_eq!(stored, half as u64 / 160);
    // And the recording goes on to its end.
    let expected = pcm.len() / frame * 160;
    assert!(after.len() + before.len() >= expected, "{}", after.len());
}
