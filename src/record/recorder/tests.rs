use super::*;
use crate::record::config::{Layout, PauseMode};

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

#[test]
fn a_buffer_takes_sixteen_seconds_as_far_as_it_may() {
    let config = |format, rate_hz, layout| RecordingConfig {
        call_id: "call".into(),
        path: "a.wav".into(),
        format,
        rate_hz,
        layout,
        tracks: Vec::new(),
        pause: PauseMode::Silence,
        length_max: None,
        silence_max: None,
        trim: false,
        metadata: "".into(),
    };
    let stereo = capacity(&config(Format::Wav, 8_000, Layout::Stereo));
    assert_eq!(stereo, 16 * 32_000);
    let least = capacity(&config(Format::WavAlaw, 8_000, Layout::Mono));
    assert_eq!(least, PENDING_BYTES_MIN);
    let most = capacity(&config(Format::Wav, 48_000, Layout::PerTrack(16)));
    assert_eq!(most, PENDING_BYTES_MAX);
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
