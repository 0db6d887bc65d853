use super::*;

fn span(from_us: u64, until_us: u64, skipped_us: u64) -> SpanInfo {
    SpanInfo {
        track: None,
        kind: SpanKind::Paused,
        from_us,
        until_us,
        skipped_us,
    }
}

#[test]
fn times_are_read_at_a_glance() {
    assert_eq!(clock(Duration::from_millis(59_999)), "0:59.999");
    assert_eq!(clock(Duration::from_millis(3_661_005)), "1:01:01.005");
    let places = |n| clock_to(Duration::from_millis(61_250), n);
    assert_eq!(
        [0, 1, 2, 3].map(places),
        ["1:01", "1:01.2", "1:01.25", "1:01.250"]
    );
}

#[test]
fn a_pause_that_left_nothing_says_how_long_it_was() {
    let left_out = span(2_000_000, 2_000_000, 5_500_000);
    assert_eq!(stretch(&left_out), "at 0:02.000: 0:05.500 left out");
    assert_eq!(lasted(&left_out), Duration::from_millis(5_500));
    let kept = span(2_000_000, 3_000_000, 0);
    assert_eq!(stretch(&kept), "0:02.000 to 0:03.000");
    assert_eq!(lasted(&kept), Duration::from_secs(1));
}

#[test]
fn what_seldom_happens_is_said_when_it_did() {
    let usual = StatsInfo {
        packets: 50,
        codecs: vec!["PCMU".into()],
        ..StatsInfo::default()
    };
    assert_eq!(stats(&usual), "50 packets of PCMU, 0 lost, clock +0 ppm");
    let eventful = StatsInfo {
        lost: 3,
        late: 1,
        undecoded: 2,
        ssrc_changes: 1,
        drift_ppm: -12.4,
        ..usual
    };
    assert_eq!(
        stats(&eventful),
        "50 packets of PCMU, 3 lost (1 came too late), 2 not decoded, 1 new sources, clock -12 ppm"
    );
    assert_eq!(stats(&StatsInfo::default()), "0 packets, 0 lost");
}

#[test]
fn strangers_do_not_command_the_terminal() {
    assert_eq!(plain("a\u{1b}[2J\nb"), "a?[2J?b");
}
