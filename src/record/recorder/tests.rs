use super::*;
use crate::engine::{TRACKS_MAX, tape};
use crate::record::config::{Layout, OPUS_BITRATES, RECORDING_RATES_HZ};
use crate::record::session::{END_LEN, tests as session};

#[test]
fn commands_are_bounded_and_stopping_is_not() {
    let (inbox, now) = (Arc::new(Inbox::default()), Instant::now());
    let counters = Arc::<RecordCounters>::default();
    let recording = Recording {
        path: "a.wav".into(),
        inbox: Arc::clone(&inbox),
        counters: Arc::clone(&counters),
    };
    let dropped = || counters.commands_dropped.load(Ordering::Relaxed);
    (0..COMMANDS_MAX).for_each(|_| recording.pause(now));
    assert_eq!(dropped(), 0);
    recording.resume(now);
    assert_eq!(dropped(), 1);
    let later = now + Duration::from_secs(1);
    recording.stop(later, true);
    recording.stop(now, false);
    let taken = inbox.take();
    assert_eq!(taken.len(), COMMANDS_MAX + 1);
    let stop = Command::Stop {
        at: now,
        discard: true,
    };
    assert_eq!(taken.last(), Some(&stop));
    assert_eq!(inbox.take(), []);
}

/// A disk stalls for ten seconds; until the last octets before that are written and its first
/// failure is known, some more may pass.
#[test]
fn a_buffer_takes_more_than_ten_seconds_of_every_format() {
    const LEAST: Duration = Duration::from_secs(14);
    let opus = Format::Opus {
        bitrate_bps: *OPUS_BITRATES.end(),
    };
    let formats = [
        (Format::Wav, 2),
        (Format::WavAlaw, 1),
        (Format::WavUlaw, 1),
        (opus, 1),
        (Format::OpusCopy, 1),
    ];
    for (format, sample_len) in formats {
        for rate_hz in RECORDING_RATES_HZ {
            for channels in 1..=u8::try_from(TRACKS_MAX).expect("few") {
                let config = RecordingConfig {
                    format,
                    rate_hz,
                    ..session::config(Layout::PerTrack(channels), channels)
                };
                let bytes = capacity(&config);
                let second = rate_hz as usize * usize::from(channels) * sample_len;
                let least = LEAST.as_secs_f64() * second as f64;
                let free = bytes as f64 - END_LEN as f64;
                assert!(free >= least, "{format:?}, {rate_hz}, {channels}: {bytes}");
                assert!((PENDING_BYTES_MIN..=PENDING_BYTES_MAX).contains(&bytes));
            }
        }
    }
    let mut stereo = session::config(Layout::Stereo, 2);
    assert_eq!(capacity(&stereo), 16 * 32_000);
    stereo.format = Format::WavAlaw;
    stereo.layout = Layout::Mono;
    assert_eq!(capacity(&stereo), PENDING_BYTES_MIN);
}

/// One that began while it was shut down is closed as the others are.
#[test]
fn nothing_begins_behind_a_shutdown() {
    let dir = std::env::temp_dir().join(format!("crosspoint-over-{:016x}", fastrand::u64(..)));
    let recorder = Recorder::start(RecorderConfig::new(dir.clone())).expect("a recorder");
    let names = lock(&recorder.shared.names);
    let begins = {
        let recorder = Arc::clone(&recorder);
        std::thread::spawn(move || {
            let (_tape, reader) = tape(1, Instant::now());
            recorder.begin(session::config(Layout::Mono, 1), reader)
        })
    };
    std::thread::sleep(Duration::from_millis(100));
    let ends = {
        let recorder = Arc::clone(&recorder);
        std::thread::spawn(move || {
            let all = recorder.shutdown(Duration::from_secs(20));
            (all, recorder.counters().completed.load(Ordering::Relaxed))
        })
    };
    std::thread::sleep(Duration::from_millis(100));
    drop(names);
    let begun = begins.join().expect("no panic").is_ok();
    let ended = ends.join().expect("no panic");
    assert_eq!(ended, (true, u64::from(begun)));
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn a_clock_that_is_far_off_is_no_reason_to_stop() {
    let second = Duration::from_secs(1);
    let epoch = SystemTime::UNIX_EPOCH;
    let latest = epoch + YEAR_9999;
    for (at, expected) in [
        (epoch - second, "1970-01-01T00:00:00.000Z"),
        (epoch, "1970-01-01T00:00:00.000Z"),
        (epoch + second, "1970-01-01T00:00:01.000Z"),
        (latest, "9999-12-31T23:59:59.000Z"),
        (latest + second, "9999-12-31T23:59:59.000Z"),
    ] {
        assert_eq!(written(at), expected);
    }
}

#[test]
fn the_wall_clock_is_that_of_the_moment() {
    let minute = Duration::from_secs(60);
    for (at, off) in [
        (Instant::now(), 0),
        (Instant::now() - minute, -60),
        (Instant::now() + minute, 60),
    ] {
        let told = humantime::parse_rfc3339(&wall(at)).expect("RFC 3339");
        let told = told.duration_since(SystemTime::UNIX_EPOCH).expect("now");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let expected = now.expect("now").as_secs_f64() + f64::from(off);
        assert!((told.as_secs_f64() - expected).abs() < 1.0, "{off}");
    }
}
