//! A session's time is virtual here, its disk is not.

use super::*;
use crate::record::config::RecordingConfig;
use crate::record::session::tests as session;
use crate::record::span::SpanKind;

fn stereo() -> RecordingConfig {
    session::config(Layout::Stereo, 2)
}

/// What a buffer takes of a stereo recording of 8 kHz by default.
fn capacity() -> usize {
    16 * 32_000
}

/// Records 40 s with a stall in them; the file's octets and what happened.
fn with_stall(stall: Duration) -> (Vec<u8>, session::Recorded, u64) {
    let disk = Troubled::new("a.wav.part");
    let rig = Rig::new(disk.clone());
    let item = rig.item("a.wav", capacity());
    let mut run = session::Rig::new(stereo());
    run.item = Some((Arc::clone(&item), Arc::clone(&rig.writers)));
    run.until(Duration::from_secs(5));
    wait("it is written", || {
        item.state(&rig.writers).room == capacity()
    });
    disk.stall(true);
    run.until(Duration::from_secs(5) + stall);
    disk.wait_stalled(1);
    disk.stall(false);
    wait("it is written", || {
        item.state(&rig.writers).room == capacity()
    });
    run.until(Duration::from_secs(40));
    run.stop(40_000);
    let recorded = run.finish();
    wait("it is written", || {
        item.state(&rig.writers).room == capacity()
    });
    let lost = rig.writers.counters.samples_lost.load(Ordering::Relaxed);
    (rig.part("a.wav"), recorded, lost)
}

#[test]
fn a_stall_of_ten_seconds_loses_nothing() {
    let expected = session::plain(stereo(), 40_000);
    let (file, recorded, lost) = with_stall(Duration::from_secs(10));
    assert!(file == expected.file);
    assert_eq!(recorded.sidecar.spans, expected.sidecar.spans);
    assert_eq!((recorded.events.len(), lost), (0, 0));
}

#[test]
fn a_longer_stall_leaves_silence_and_all_behind_it_where_it_was() {
    let expected = session::plain(stereo(), 40_000);
    let (file, recorded, _) = with_stall(Duration::from_secs(25));
    let [(from_us, until_us)] = recorded.spans(SpanKind::Unwritten)[..] else {
        panic!("{:?}", recorded.sidecar.spans);
    };
    // 5 s of sound before the stall, and a buffer of 15 s and something.
    assert!((19_500_000..21_500_000).contains(&from_us), "{from_us}");
    assert!((29_700_000..30_500_000).contains(&until_us), "{until_us}");
    let header = usize::try_from(expected.sidecar.header_len).expect("short");
    let octet = |us: u64| header + 4 * usize::try_from(us / 125).expect("short");
    let mut silenced = expected.file.clone();
    silenced[octet(from_us)..octet(until_us)].fill(0);
    assert!(file == silenced);
    let events: Vec<_> = recorded.events.iter().collect();
    assert!(
        matches!(events[..], [RecordingEventKind::Lost { .. }]),
        "{events:?}"
    );
}
