use std::io::Cursor;

use super::*;
use crate::audio::clip::Container;
use crate::record::config::{Format, Layout, PauseMode, RecordingConfig};
use crate::record::sidecar::{LegInfo, StatsInfo};

/// A WAV file of 8,000 Hz.
fn wav(channels: u16, samples: &[i16]) -> Vec<u8> {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    let len = u32::try_from(bytes.len()).unwrap();
    let mut file = b"RIFF".to_vec();
    file.extend((36 + len).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(8_000_u32.to_le_bytes());
    file.extend((16_000 * u32::from(channels)).to_le_bytes());
    file.extend((2 * channels).to_le_bytes());
    file.extend(b"\x10\0data");
    file.extend(len.to_le_bytes());
    [file, bytes].concat()
}

fn sidecar(
    layout: Layout,
    tracks: &[(u8, &str)],
    spans: &[(Option<u8>, SpanKind, u64, u64)],
) -> Sidecar {
    let config = RecordingConfig {
        call_id: "call".into(),
        path: "call.wav".into(),
        format: Format::Wav,
        rate_hz: 8_000,
        layout,
        tracks: Vec::new(),
        pause: PauseMode::Silence,
        length_max: None,
        silence_max: None,
        trim: false,
        metadata: "".into(),
    };
    let mut sidecar = Sidecar::new(&config, "2026-11-24T00:00:00Z", 44);
    sidecar.tracks = (0..)
        .zip(tracks)
        .map(|(track, (channel, leg))| TrackInfo {
            track,
            channel: *channel,
            legs: vec![LegInfo {
                from_us: 0,
                leg: (*leg).to_owned(),
                label: None,
                side: "in".into(),
            }],
            stats: StatsInfo::default(),
        })
        .collect();
    sidecar.spans = spans
        .iter()
        .map(|&(track, kind, from_ms, until_ms)| SpanInfo {
            track,
            kind,
            from_us: from_ms * 1_000,
            until_us: until_ms * 1_000,
            skipped_us: 0,
        })
        .collect();
    sidecar
}

/// A plan, and the picture by it.
fn drawn(file: &[u8], sidecar: Option<&Sidecar>, width: usize) -> (Vec<usize>, usize, Canvas) {
    let mut recording = RecordingReader::open(Cursor::new(file)).expect("a recording");
    let plan = Plan::new(recording.info(), sidecar, width);
    let lanes = peaks::of(&mut recording, plan.across()).expect("sound");
    let tops = plan.lanes.iter().map(|lane| lane.top).collect();
    (tops, plan.left, plan.drawn("a name\nwhat it is", &lanes))
}

#[test]
fn each_channel_has_its_sound_and_its_spans() {
    // Left is loud in the first half, right in the second one.
    let samples: Vec<i16> = (0..8_000)
        .flat_map(|n| {
            let loud = if n % 2 == 0 { 20_000 } else { -20_000 };
            if n < 4_000 { [loud, 0] } else { [0, loud] }
        })
        .collect();
    let spans = [
        (Some(0), SpanKind::Lost, 600, 800),
        (None, SpanKind::Paused, 850, 900),
    ];
    let sidecar = sidecar(Layout::Stereo, &[(0, "ann"), (1, "bob")], &spans);
    let (tops, left, canvas) = drawn(&wav(2, &samples), Some(&sidecar), 1_600);
    let across = 1_600 - left - 2 * 16;
    let x = |ms: usize| left + ms * across / 1_000;
    let sound = sound_height(2);
    let near_edge = |lane: usize| tops[lane] + sound / 2 - 100 * 20_000 / 32_767 + 60;
    assert!([SOUND, LOUD].contains(&canvas.at(x(250), near_edge(0))));
    assert!([SOUND, LOUD].contains(&canvas.at(x(760), near_edge(1))));
    let quiet = |lane: usize| tops[lane] + 10;
    let shade = |kind| {
        let mut all = SHADES.iter();
        all.find(|shade| shade.kind == kind).expect("one")
    };
    let lost = shade(SpanKind::Lost);
    assert_eq!(canvas.at(x(710), quiet(0)), lost.pale);
    assert_eq!(canvas.at(x(710), tops[0] + sound + 4), lost.full);
    assert_eq!(canvas.at(x(710), quiet(1)), PAPER);
    assert_eq!(canvas.at(x(590), quiet(0)), PAPER);
    let paused = shade(SpanKind::Paused);
    let at_pause = [0, 1].map(|lane| canvas.at(x(880), quiet(lane)));
    assert_eq!(at_pause, [paused.pale; 2], "of all tracks");
}

#[test]
fn who_are_mixed_have_strips_of_their_own() {
    let spans = [(Some(1), SpanKind::Concealed, 200, 400)];
    let sidecar = sidecar(Layout::Mono, &[(0, "ann"), (0, "bob")], &spans);
    let (tops, left, canvas) = drawn(&wav(1, &[0; 8_000]), Some(&sidecar), 1_600);
    let x = left + 300 * (1_600 - left - 32) / 1_000;
    let sound = sound_height(2);
    assert_eq!(canvas.at(x, tops[0] + 10), PAPER, "the other one was heard");
    let strip = |n: usize| tops[0] + sound + (MARK + 3) * 2 + n * (STRIP + 3) * 2 + STRIP;
    let full = [232, 160, 32];
    assert_ne!(canvas.at(x, strip(0)), full);
    assert_eq!(canvas.at(x, strip(1)), full);
}

#[test]
fn the_shortest_span_of_the_longest_recording_is_seen() {
    let info = RecordingInfo {
        container: Container::Wav,
        rate_hz: 8_000,
        channels: 1,
        frames: 86_400 * 8_000,
    };
    let spans = [(Some(0), SpanKind::Lost, 40_000_000, 40_000_001)];
    let sidecar = sidecar(Layout::Mono, &[(0, "ann")], &spans);
    let plan = Plan::new(info, Some(&sidecar), 1_600);
    let canvas = plan.drawn("", &[Vec::new()]);
    let (x, width) = plan.place(&sidecar.spans[0]);
    assert_eq!(width, 2);
    let mark = plan.lanes[0].top + sound_height(2) + 2;
    assert_eq!(canvas.at(x, mark), [214, 48, 36]);
}

#[test]
fn whatever_is_drawn_fits() {
    let kinds = SHADES.iter().map(|shade| shade.kind);
    let spans: Vec<_> = kinds
        .flat_map(|kind| [(None, kind, 0, u64::MAX / 2_000), (Some(200), kind, 5, 2)])
        .collect();
    for channels in [1, 2, 16] {
        for frames in [0, 1, 10, 9_000] {
            let file = wav(channels, &vec![i16::MIN; frames * usize::from(channels)]);
            let names: Vec<_> = (0..16).map(|n| (n, "somebody with a long name")).collect();
            let sidecar = sidecar(Layout::PerTrack(16), &names, &spans);
            for width in [400, 999, 1_000, if channels == 1 { 16_000 } else { 1_600 }] {
                for sidecar in [None, Some(&sidecar)] {
                    let (tops, ..) = drawn(&file, sidecar, width);
                    assert_eq!(tops.len(), usize::from(channels));
                }
            }
        }
    }
}

#[test]
fn times_are_round_and_not_too_many() {
    let of = |ms| step(Duration::from_millis(ms), 6).as_millis();
    assert_eq!(
        [0, 650, 6_999, 60_000, 3_600_000, 86_400_000].map(of),
        [100, 100, 1_000, 10_000, 600_000, 14_400_000]
    );
    for ms in (1..2_000_000).step_by(997) {
        assert!(u128::from(ms) / of(ms) <= 6, "{ms}");
    }
}

#[test]
fn long_names_are_cut() {
    assert_eq!(shortened("twelve chars", 12), "twelve chars");
    assert_eq!(shortened("thirteen char", 12), "thirteen c..");
}
