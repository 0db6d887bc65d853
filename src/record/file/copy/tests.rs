use super::*;
use crate::audio::ogg::Page;

const SSRC: u32 = 0x1234_5678;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A packet of 20 ms that says which it is: SILK, wideband, mono.
fn payload(n: u32) -> Vec<u8> {
    let mut payload = vec![9 << 3];
    payload.extend(n.to_be_bytes());
    payload
}

/// A writer, what it wrote and told, and a clock.
struct Session {
    writer: CopyWriter,
    out: Vec<u8>,
    spans: Vec<Span>,
}

impl Session {
    fn new() -> Self {
        let (mut writer, mut out) = (CopyWriter::new(1, 7, &[]), Vec::new());
        writer.begin(&mut out);
        // A frame that is skipped follows it, on a page that is not closed.
        assert_eq!(writer.header_len(), out.len() as u64);
        let spans = Vec::new();
        Self { writer, out, spans }
    }

    /// Packet `n` of a stream of 20 ms that began with timestamp and number near their wrap.
    fn packet(&mut self, at: Duration, n: u32) {
        let timestamp = 0xffff_f000_u32.wrapping_add(n * 960);
        let seq = 0xfff0_u16.wrapping_add(u16::try_from(n % 65_536).unwrap());
        self.other(at, timestamp, seq, SSRC, n);
    }

    fn other(&mut self, at: Duration, timestamp: u32, seq: u16, ssrc: u32, n: u32) {
        self.writer
            .packet(at, Duration::ZERO, timestamp, seq, ssrc, &payload(n));
        if let Some(until) = at.checked_sub(SETTLE) {
            self.writer.advance(until, &mut self.out, &mut self.spans);
            self.writer.flush(&mut self.out);
        }
    }

    /// Ends it; says which packet stands at which millisecond, and the length in milliseconds.
    fn finish(mut self, until: Duration) -> (Vec<(f64, u32)>, f64, CopyStats, Vec<Span>) {
        self.writer.finish(until, &mut self.out, &mut self.spans);
        let (mut bytes, mut at, mut end, mut found) = (&self.out[..], 0, 0, Vec::new());
        let skipped = usize::from(PRE_SKIP);
        let mut pages = 0;
        while !bytes.is_empty() {
            let (page, len) = Page::parse(bytes).expect("whole pages");
            bytes = &bytes[len..];
            pages += 1;
            if pages <= 2 {
                continue;
            }
            let mut body = page.body;
            for len in page.lacing {
                let (packet, rest) = body.split_at(usize::from(*len));
                body = rest;
                if let Some(n) = packet.get(1..5) {
                    let n = u32::from_be_bytes(n.try_into().unwrap());
                    found.push(((at - skipped) as f64 / 48.0, n));
                }
                at += opus::samples(packet, CLOCK_HZ).expect("an Opus packet");
            }
            let granule = usize::try_from(page.granule).unwrap();
            assert!(granule == at || bytes.is_empty() && granule <= at);
            end = granule;
        }
        (
            found,
            (end - skipped) as f64 / 48.0,
            self.writer.stats,
            self.spans,
        )
    }
}

fn span(kind: SpanKind, from: u64, until: u64) -> Span {
    Span {
        track: None,
        kind,
        from: ms(from),
        until: ms(until),
    }
}

#[test]
fn packets_stand_where_their_time_is() {
    let mut session = Session::new();
    // From 1 s on; two are lost, then seven; silence for a minute.
    for n in 0..100 {
        if ![20, 21].contains(&n) && !(40..47).contains(&n) {
            session.packet(ms(1_000 + 20 * u64::from(n)), n);
        }
    }
    let silent = 0xffff_f000_u32.wrapping_add(3_100 * 960);
    session.other(
        ms(63_000),
        silent,
        0xfff0_u16.wrapping_add(100),
        SSRC,
        3_100,
    );
    let (found, length, stats, spans) = session.finish(ms(64_001));
    for (at, n) in &found {
        assert!((at - f64::from(1_000 + 20 * n)).abs() < 0.01, "{n} at {at}");
    }
    assert!((length - 64_001.0).abs() < 0.01, "{length}");
    assert_eq!((stats.packets, stats.lost, found.len()), (92, 9, 92));
    let told = [
        span(SpanKind::Silent, 0, 1_000),
        span(SpanKind::Concealed, 1_400, 1_440),
        span(SpanKind::Lost, 1_800, 1_940),
        span(SpanKind::Silent, 3_000, 63_000),
    ];
    assert_eq!(spans[..4], told);
    assert_eq!((spans.len(), spans[4].from), (5, ms(63_020)));
}

#[test]
fn drift_is_held_to_whole_frames() {
    for ppm in [-300.0, 300.0] {
        let mut session = Session::new();
        let micros = |n: u32| f64::from(n) * 20_000.0 * (1.0 - ppm / 1e6);
        for n in 0..30_000 {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "ten minutes"
            )]
            let at = Duration::from_micros(micros(n) as u64);
            session.packet(at, n);
        }
        let (found, length, stats, spans) = session.finish(ms(600_000));
        let off = found
            .iter()
            .map(|(at, n)| (at - micros(*n) / 1_000.0).abs());
        let worst = off.fold(0.0, f64::max);
        println!(
            "{ppm} ppm: {worst} ms off at most; {stats:?}, {} spans",
            spans.len()
        );
        assert!(worst < 23.0, "{worst}");
        assert!((length - 600_000.0).abs() < 0.01);
        // 180 ms in all, 20 ms at a time.
        let (left_out, inserted) = if ppm > 0.0 {
            (8..=9, 0..=0)
        } else {
            (0..=0, 8..=9)
        };
        assert!(left_out.contains(&stats.left_out));
        let silences = spans.iter().filter(|s| s.until < ms(599_000)).count();
        assert!(inserted.contains(&silences));
        assert_eq!(stats.lost, 0);
    }
}

#[test]
fn packets_are_put_in_order_until_it_is_too_late() {
    let mut session = Session::new();
    for n in (0..50).filter(|n| ![10, 30].contains(n)) {
        let at = ms(20 * u64::from(n));
        session.packet(at, n);
        // 190 ms late is in time, 230 ms late is not; twice is once.
        if n == 19 {
            session.packet(at + ms(10), 10);
            session.packet(at + ms(10), 10);
        }
        if n == 41 {
            session.packet(at + ms(10), 30);
        }
    }
    let (found, _, stats, spans) = session.finish(ms(1_000));
    let order: Vec<u32> = found.iter().map(|(_, n)| *n).collect();
    let expected: Vec<u32> = (0..50).filter(|n| *n != 30).collect();
    assert_eq!(order, expected);
    assert_eq!((stats.packets, stats.lost, stats.late), (49, 1, 1));
    assert_eq!(spans, [span(SpanKind::Concealed, 600, 620)]);
}

#[test]
fn another_source_and_a_clock_that_jumps_begin_anew() {
    let mut session = Session::new();
    let mut n = 0;
    let mut run = |session: &mut Session, from: u64, timestamp: u32, seq: u16, ssrc| {
        for k in 0..50_u16 {
            let step = u32::from(k) * 960;
            let at = ms(from + 20 * u64::from(k));
            session.other(
                at,
                timestamp.wrapping_add(step),
                seq.wrapping_add(k),
                ssrc,
                n,
            );
            n += 1;
        }
    };
    run(&mut session, 0, 0, 0, 1);
    run(&mut session, 1_500, 77, 9, 2);
    // A hold through which timestamps stood still, then one that leaps ahead.
    run(&mut session, 5_000, 77 + 50 * 960, 59, 2);
    run(&mut session, 6_000, 0x7000_0000, 109, 2);
    let (found, length, stats, _) = session.finish(ms(7_000));
    let at = |n: usize| found[n].0;
    assert_eq!(found.len(), 200);
    for (n, expected) in [
        (0, 0.0),
        (50, 1_500.0),
        (100, 5_000.0),
        (150, 6_000.0),
        (199, 6_980.0),
    ] {
        assert!((at(n) - expected).abs() <= 2.5, "{n} at {}", at(n));
    }
    assert_eq!((stats.ssrc_changes, stats.lost, stats.left_out), (1, 0, 0));
    assert!((length - 7_000.0).abs() < 0.01);
}

#[test]
fn a_source_whose_numbers_begin_anew_goes_on() {
    for (seq, timestamp) in [(30_000, 9_000), (39_900, 0x8000_0000), (50_000, 77)] {
        let mut session = Session::new();
        for k in 0..50_u16 {
            let at = 20 * u32::from(k);
            session.other(ms(at.into()), at * 48, 40_000 + k, SSRC, k.into());
        }
        for k in 0..50_u16 {
            let (at, step) = (1_000 + 20 * u64::from(k), u32::from(k) * 960);
            session.other(ms(at), timestamp + step, seq + k, SSRC, u32::from(k) + 50);
        }
        let (found, _, stats, spans) = session.finish(ms(2_000));
        let expected: Vec<_> = (0..100).map(|n| (f64::from(20 * n), n)).collect();
        assert_eq!(found, expected, "{seq}: {stats:?}");
        assert_eq!((stats.lost, stats.late, spans.len()), (0, 0, 0));
    }
}

#[test]
fn what_is_not_stored_is_not_lost() {
    let mut session = Session::new();
    for n in 0..100 {
        match n {
            // Of these two were lost.
            20 | 21 => {}
            19 | 22 | 50..60 => session.writer.absent(),
            _ => session.packet(ms(20 * u64::from(n)), n),
        }
    }
    let (_, _, stats, spans) = session.finish(ms(2_000));
    assert_eq!((stats.packets, stats.lost), (86, 2));
    let told = [
        span(SpanKind::Concealed, 380, 460),
        span(SpanKind::Silent, 1_000, 1_200),
    ];
    assert_eq!(spans, told);
}

#[test]
fn what_waits_is_held_to_its_limit() {
    let mut writer = CopyWriter::new(1, 7, &[]);
    // Of 2.5 ms each, never written.
    for n in 0..COPY_PENDING_MAX + 1 {
        let seq = u16::try_from(n).unwrap();
        writer.packet(
            Duration::ZERO,
            Duration::ZERO,
            120 * u32::from(seq % 40),
            seq,
            SSRC,
            &[28 << 3, 1],
        );
        assert_eq!(writer.stats().late, u64::from(n == COPY_PENDING_MAX));
    }
    let mut long = vec![9 << 3; TAPED_LEN_MAX + 1];
    writer.packet(Duration::ZERO, Duration::ZERO, 0, 500, SSRC + 1, &long);
    writer.packet(Duration::ZERO, Duration::ZERO, 0, 500, SSRC + 1, &[]);
    assert_eq!(writer.stats().undecoded, 2);
    long.pop();
    writer.packet(Duration::ZERO, Duration::ZERO, 0, 500, SSRC + 1, &long);
    assert_eq!(writer.stats().undecoded, 2);
}

#[test]
fn empty_frames_have_the_length_and_channels_they_should() {
    for toc in 0..=255_u8 {
        for samples in [120, 240, 480, 960] {
            let empty = empty_toc(toc, samples);
            assert_eq!(
                opus::samples(&[empty], CLOCK_HZ),
                Ok(usize::try_from(samples).unwrap())
            );
            assert_eq!(empty & 4, toc & 4);
        }
    }
}
