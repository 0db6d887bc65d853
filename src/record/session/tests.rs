#[cfg(feature = "opus")]
mod copied;
mod rig;

pub(in crate::record) use rig::*;

use super::*;
use crate::audio::codec::CodecKind;
use crate::audio::mix;
use crate::engine::{Side, TrackKind, TrackType};
use crate::record::config::{Layout, PauseMode, TrackConfig};
use crate::record::journal;
use crate::record::sidecar::sum;

fn loud(pcm: &[i16]) -> bool {
    pcm.iter().any(|sample| sample.unsigned_abs() > 1_000)
}

#[test]
fn it_ends_at_exactly_the_sample_it_was_told() {
    let mut rig = Rig::new(config(Layout::Mono, 1));
    rig.until(ms(2_360));
    rig.stop(2_345);
    let recorded = rig.finish();
    assert_eq!(recorded.pcm.len(), at(2_345));
    assert!(loud(&recorded.pcm));
    assert_eq!(recorded.sidecar.length_us, 2_345_000);
    assert_eq!(recorded.sidecar.reason, StopReason::Commanded);
}

#[test]
fn a_pause_is_silence_from_its_very_sample_to_its_end() {
    let all = plain(config(Layout::Mono, 1), 3_000);
    let mut rig = Rig::new(config(Layout::Mono, 1));
    rig.until(ms(1_060));
    // Told some time later than it is for.
    let from = rig.at(1_003);
    rig.command(Command::Pause(from));
    rig.until(ms(1_540));
    let until = rig.at(1_501);
    rig.command(Command::Resume(until));
    rig.until(ms(3_000));
    rig.stop(3_000);
    let recorded = rig.finish();
    let mut expected = all.pcm.clone();
    assert!(loud(&expected[at(1_003)..at(1_501)]));
    expected[at(1_003)..at(1_501)].fill(0);
    assert_eq!(recorded.pcm, expected);
    assert_eq!(recorded.spans(SpanKind::Paused), [(1_003_000, 1_501_000)]);
}

#[test]
fn a_pause_that_skips_is_left_out_from_its_very_sample_to_its_end() {
    let all = plain(config(Layout::Mono, 1), 3_000);
    let mut config = config(Layout::Mono, 1);
    config.pause = PauseMode::Skip;
    let mut rig = Rig::new(config);
    rig.until(ms(1_060));
    for at in [1_003, 1_010] {
        let at = rig.at(at);
        rig.command(Command::Pause(at));
    }
    rig.until(ms(1_540));
    let until = rig.at(1_501);
    rig.command(Command::Resume(until));
    rig.until(ms(3_000));
    rig.stop(3_000);
    let recorded = rig.finish();
    let expected = [&all.pcm[..at(1_003)], &all.pcm[at(1_501)..]].concat();
    assert!(recorded.pcm == expected);
    let paused = recorded
        .sidecar
        .spans
        .iter()
        .find(|span| span.kind == SpanKind::Paused);
    let paused = paused.expect("it is told");
    let place = (paused.from_us, paused.until_us, paused.skipped_us);
    assert_eq!(place, (1_003_000, 1_003_000, 498_000));
    assert_eq!(recorded.sidecar.length_us, 3_000_000 - 498_000);
}

#[test]
fn it_ends_at_its_longest_length() {
    let mut config = config(Layout::Mono, 1);
    config.length_max = Some(ms(1_234));
    let mut rig = Rig::new(config);
    rig.until(ms(2_000));
    let recorded = rig.finish();
    assert_eq!(recorded.pcm.len(), at(1_234));
    assert_eq!(recorded.sidecar.reason, StopReason::LengthMax);
}

#[test]
fn it_ends_when_nobody_spoke_for_long_enough() {
    let mut config = config(Layout::Mono, 1);
    config.silence_max = Some(ms(1_000));
    let mut rig = Rig::new(config);
    rig.until(ms(2_000));
    rig.speaks = vec![0];
    rig.until(ms(6_000));
    let recorded = rig.finish();
    assert_eq!(recorded.sidecar.reason, StopReason::Silence);
    let length_ms = recorded.sidecar.length_us / 1_000;
    assert!((2_900..3_500).contains(&length_ms), "{length_ms}");
}

#[test]
fn trimmed_is_the_silence_at_the_end_and_nothing_else() {
    let run = |trim| {
        let mut config = config(Layout::Mono, 1);
        config.trim = trim;
        let mut rig = Rig::new(config);
        for (speaks, until) in [(8_000, 1_000), (0, 3_000), (8_000, 4_000), (0, 6_000)] {
            rig.speaks = vec![speaks];
            rig.until(ms(until));
        }
        rig.stop(6_000);
        rig.finish()
    };
    let (all, trimmed) = (run(false), run(true));
    let len = trimmed.pcm.len();
    assert!((at(3_900)..at(4_500)).contains(&len), "{len}");
    assert!(trimmed.pcm == all.pcm[..len]);
    assert!(!loud(&all.pcm[len..]));
    assert_eq!(trimmed.sidecar.length_us, len as u64 * 125);
}

#[test]
fn silence_that_lasts_longer_than_may_be_held_back_is_kept_but_for_its_end() {
    let mut config = config(Layout::Mono, 1);
    config.trim = true;
    let mut rig = Rig::new(config);
    rig.until(ms(1_000));
    rig.speaks = vec![0];
    let held = u64::try_from(trim::HELD_MAX.as_millis()).expect("short");
    rig.until(ms(held + 11_000));
    rig.stop(held + 11_000);
    let recorded = rig.finish();
    assert_eq!(recorded.pcm.len(), at(11_000));
}

#[test]
fn the_key_that_ends_it_is_left_out_where_it_is_trimmed() {
    for (trim, length_ms) in [(false, 1_510), (true, 1_410)] {
        let mut config = config(Layout::Mono, 1);
        config.trim = trim;
        let mut rig = Rig::new(config);
        rig.until(ms(1_540));
        let tape = rig.tape.as_mut().expect("the tape");
        assert!(tape.finish(ms(1_510), TrackIx(0)));
        rig.until(ms(3_000));
        let recorded = rig.finish();
        assert_eq!(recorded.sidecar.reason, StopReason::FinishKey);
        let is = recorded.pcm.len();
        assert!(trim && is <= at(length_ms) || is == at(length_ms), "{is}");
    }
}

#[test]
fn it_ends_with_its_tape() {
    let mut rig = Rig::new(config(Layout::Mono, 1));
    rig.until(ms(1_000));
    rig.tape.take().expect("the tape").end(ms(995));
    rig.speaks.clear();
    let recorded = rig.finish();
    assert_eq!(recorded.pcm.len(), at(995));
    assert_eq!(recorded.sidecar.reason, StopReason::CallEnded);

    let mut rig = Rig::new(config(Layout::Mono, 1));
    rig.until(ms(1_000));
    rig.tape = None;
    rig.speaks.clear();
    assert_eq!(rig.finish().pcm.len(), at(1_020));
}

#[test]
fn what_was_commanded_was_not_the_calls_end() {
    let mut rig = Rig::new(config(Layout::Mono, 1));
    rig.until(ms(1_000));
    rig.tape.take().expect("the tape").end(ms(995));
    rig.speaks.clear();
    rig.until(ms(1_040));
    rig.stop(1_000);
    let recorded = rig.finish();
    assert_eq!(recorded.pcm.len(), at(995));
    assert_eq!(recorded.sidecar.reason, StopReason::Commanded);
}

#[test]
fn each_channel_holds_its_own_track_to_the_sample() {
    let stereo = plain(config(Layout::Stereo, 2), 2_000);
    let tracks = plain(config(Layout::PerTrack(2), 2), 2_000);
    assert_eq!(stereo.pcm.len(), 2 * at(2_000));
    assert!(stereo.pcm == tracks.pcm);
    let left = plain(config(Layout::Mono, 1), 2_000);
    assert!(stereo.channel(0) == left.pcm);
    assert!(loud(&stereo.channel(1)));
    assert!(stereo.channel(1) != left.pcm);
}

#[test]
fn a_mix_is_the_sum_and_is_limited() {
    let run = |layout| {
        let mut rig = Rig::new(config(layout, 2));
        rig.speaks = vec![30_000, 30_000];
        rig.until(ms(1_000));
        rig.stop(1_000);
        rig.finish()
    };
    let (mono, stereo) = (run(Layout::Mono), run(Layout::Stereo));
    let (left, right) = (stereo.channel(0), stereo.channel(1));
    let sums = left.iter().zip(&right);
    let sums: Vec<i32> = sums.map(|(l, r)| i32::from(*l) + i32::from(*r)).collect();
    assert!(sums.iter().any(|sum| *sum > i32::from(i16::MAX)));
    let mut expected = vec![0; sums.len()];
    for (sums, expected) in sums.chunks(160).zip(expected.chunks_mut(160)) {
        mix::all(sums, expected);
    }
    assert!(mono.pcm == expected);
    assert_eq!(mono.sidecar.tracks.len(), 2);
}

#[test]
fn a_track_that_comes_later_stands_at_its_time() {
    let both = plain(config(Layout::Stereo, 2), 3_000);
    let mut rig = Rig::new(config(Layout::Stereo, 1));
    rig.until(ms(1_000));
    rig.command(Command::Track(TrackIx(1), party("late", 1)));
    rig.speaks.push(8_000);
    rig.until(ms(3_000));
    rig.stop(3_000);
    let recorded = rig.finish();
    assert!(recorded.channel(0) == both.channel(0));
    let (late, all) = (recorded.channel(1), both.channel(1));
    assert!(late[..at(1_000)].iter().all(|sample| *sample == 0));
    assert!(late[at(1_100)..] == all[at(1_100)..]);
    let leg = &recorded.sidecar.tracks[1].legs[0];
    assert_eq!((leg.leg.as_str(), leg.from_us), ("late", 1_000_000));
}

#[test]
fn a_track_that_cannot_be_on_the_file_is_not() {
    let mut rig = Rig::new(config(Layout::PerTrack(2), 2));
    for track in [2, 15, 16, 255] {
        rig.command(Command::Track(TrackIx(track), party("more", 0)));
        rig.command(Command::Types(TrackIx(track), Vec::new()));
    }
    rig.until(ms(500));
    rig.stop(500);
    assert_eq!(rig.finish().sidecar.tracks.len(), 2);
}

#[test]
fn types_that_change_are_heard() {
    let mut config = config(Layout::Mono, 1);
    config.tracks[0].types.clear();
    let mut rig = Rig::new(config);
    rig.until(ms(1_000));
    rig.command(Command::Types(TrackIx(0), party("", 0).types));
    rig.until(ms(2_000));
    rig.stop(2_000);
    let recorded = rig.finish();
    assert!(!loud(&recorded.pcm[..at(900)]));
    assert!(loud(&recorded.pcm[at(1_100)..]));
    let stats = &recorded.sidecar.tracks[0].stats;
    assert_eq!((stats.packets, stats.undecoded), (50, 50));
    assert_eq!(stats.codecs, ["PCMU/8000"]);
}

#[test]
fn packets_of_before_a_change_mean_what_they_meant() {
    let pcma = TrackType {
        pt: 8,
        kind: TrackKind::Sound(CodecKind::Pcma),
    };
    let all = plain(config(Layout::Mono, 1), 2_000);
    let mut rig = Rig::new(config(Layout::Mono, 1));
    rig.until(ms(1_000));
    // The recorder is told before it reads what is on the tape, and some is still under way.
    rig.command(Command::Types(TrackIx(0), vec![pcma]));
    rig.command(Command::Track(
        TrackIx(0),
        TrackConfig {
            label: Some("agent".into()),
            types: vec![pcma],
            ..party("leg-0", 0)
        },
    ));
    rig.until(ms(2_000));
    rig.stop(2_000);
    let recorded = rig.finish();
    assert!(recorded.pcm == all.pcm);
    assert_eq!(recorded.sidecar.tracks[0].stats.undecoded, 0);
}

#[test]
fn what_numbers_meant_for_another_party_is_forgotten() {
    let other = TrackConfig {
        types: Vec::new(),
        ..party("another", 0)
    };
    let heard = TrackConfig {
        side: Side::Out,
        ..other.clone()
    };
    for other in [other, heard] {
        let mut rig = Rig::new(config(Layout::Mono, 1));
        rig.until(ms(1_000));
        rig.command(Command::Track(TrackIx(0), other));
        rig.until(ms(2_000));
        rig.stop(2_000);
        let stats = rig.finish().sidecar.tracks[0].stats.clone();
        assert_eq!((stats.packets, stats.undecoded), (50, 50));
    }
}

#[test]
fn presses_are_told_by_their_times() {
    let mut rig = Rig::new(config(Layout::Mono, 1));
    rig.until(ms(1_000));
    let tape = rig.tape.as_mut().expect("the tape");
    tape.press(ms(900), TrackIx(0), None);
    // A tone is known to be over some time after it was.
    tape.press(ms(1_110), TrackIx(0), Some(ms(90)));
    tape.press(ms(1_115), TrackIx(0), None);
    rig.until(ms(1_500));
    rig.stop(1_500);
    let recorded = rig.finish();
    let presses = recorded.sidecar.presses.iter();
    let presses: Vec<_> = presses
        .map(|press| (press.from_us, press.until_us))
        .collect();
    assert_eq!(presses, [(900_000, Some(990_000)), (1_115_000, None)]);
    assert_eq!(recorded.spans(SpanKind::Pressed), [(900_000, 990_000)]);
}

#[test]
fn presses_are_told_where_they_are_after_a_pause_that_skips() {
    let mut config = config(Layout::Mono, 1);
    config.pause = PauseMode::Skip;
    let mut rig = Rig::new(config);
    let key = |rig: &mut Rig, from: u64, until: u64| {
        rig.until(ms(until.next_multiple_of(20) + 20));
        let tape = rig.tape.as_mut().expect("the tape");
        tape.press(ms(from), TrackIx(0), None);
        tape.press(ms(until), TrackIx(0), Some(ms(until - from)));
    };
    key(&mut rig, 600, 700);
    key(&mut rig, 960, 1_100);
    let from = rig.at(1_000);
    rig.command(Command::Pause(from));
    // Nothing of this one is in the file.
    key(&mut rig, 1_500, 1_600);
    key(&mut rig, 1_950, 2_050);
    // Told some time later than it is for.
    rig.until(ms(2_120));
    let until = rig.at(2_003);
    rig.command(Command::Resume(until));
    key(&mut rig, 2_120, 2_200);
    key(&mut rig, 2_900, 3_000);
    rig.until(ms(3_500));
    rig.stop(3_500);
    let recorded = rig.finish();
    let presses = recorded.sidecar.presses.iter();
    let presses: Vec<_> = presses
        .map(|press| (press.from_us, press.until_us.unwrap_or(0)))
        .collect();
    let expected = [
        (600_000, 700_000),
        (960_000, 1_000_000),
        (1_000_000, 1_047_000),
        (1_117_000, 1_197_000),
        (1_897_000, 1_997_000),
    ];
    assert_eq!(presses, expected);
    // Two of them touch.
    let spans = [
        (600_000, 700_000),
        (960_000, 1_047_000),
        (1_117_000, 1_197_000),
        (1_897_000, 1_997_000),
    ];
    assert_eq!(recorded.spans(SpanKind::Pressed), spans);
    assert_eq!(recorded.sidecar.length_us, 2_497_000);
}

#[test]
fn a_disk_without_room_leaves_silence_of_the_same_length() {
    let all = plain(config(Layout::Stereo, 2), 20_000);
    let mut rig = Rig::new(config(Layout::Stereo, 2));
    rig.until(ms(5_000));
    rig.disk.room = 0;
    rig.disk.error = Some("no space left".into());
    rig.until(ms(12_000));
    // Too little to go on with.
    rig.disk.room = rig.disk.capacity / 3;
    rig.until(ms(13_000));
    rig.disk.room = rig.disk.capacity;
    rig.disk.error = None;
    rig.until(ms(20_000));
    rig.stop(20_000);
    let recorded = rig.finish();
    assert_eq!(recorded.pcm.len(), all.pcm.len());
    let lost = recorded.spans(SpanKind::Unwritten);
    let [(from_us, until_us)] = lost[..] else {
        panic!("{lost:?}");
    };
    let stereo = |us: u64| 2 * usize::try_from(us / 125).expect("short");
    let mut expected = all.pcm;
    expected[stereo(from_us)..stereo(until_us)].fill(0);
    assert!(recorded.pcm == expected);
    assert!((4_700_000..=5_000_000).contains(&from_us), "{from_us}");
    assert!((12_700_000..=13_500_000).contains(&until_us), "{until_us}");
    let events: Vec<_> = recorded.events.iter().collect();
    let [RecordingEventKind::Lost { from, until, error }] = events[..] else {
        panic!("{events:?}");
    };
    let told = (from.as_micros(), until.as_micros());
    assert_eq!(told, (u128::from(from_us), u128::from(until_us)));
    assert_eq!(&**error, "no space left");
}

#[test]
fn it_is_owed_until_it_is_paid_even_at_the_end() {
    let mut rig = Rig::new(config(Layout::Mono, 1));
    rig.until(ms(1_000));
    rig.disk.room = 0;
    rig.until(ms(2_000));
    rig.stop(2_000);
    rig.until(ms(5_000));
    assert_eq!(rig.progress, Progress::Running);
    rig.disk.room = rig.disk.capacity;
    assert_eq!(rig.finish().pcm.len(), at(2_000));
}

#[test]
fn the_chain_is_that_of_the_file_and_the_journal_says_the_same() {
    let recorded = plain(config(Layout::Stereo, 2), 25_000);
    let sidecar = &recorded.sidecar;
    let sums = sum(&recorded.file[..], sidecar.header_len, &sidecar.segments).expect("memory");
    assert_eq!(sums.wrong, Vec::<usize>::new());
    let ends: Vec<u64> = sidecar.segments.iter().map(|s| s.until_us).collect();
    assert_eq!(ends, [10_000_000, 20_000_000, 25_000_000]);
    assert_eq!(sidecar.segments[2].until, recorded.file.len() as u64);
    let journal = journal::read(&recorded.journal).expect("a journal");
    assert!(journal.ended);
    assert_eq!(&journal.sidecar, sidecar);
}

#[test]
fn no_more_turns_wait_than_were_told() {
    let mut rig = Rig::new(config(Layout::Mono, 1));
    let never = rig.at(1 << 40);
    for _ in 0..1_000 {
        rig.command(Command::Pause(never));
        rig.command(Command::Resume(never));
    }
    rig.until(ms(500));
    assert!(rig.session.turns.is_empty(), "a moment to come is now");
}
