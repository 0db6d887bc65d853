use super::*;
use crate::engine::StreamIx;
use crate::engine::digits::KEY_VOLUME;
use crate::wire::event::TelephoneEvent;
use std::time::Duration;

const MS: u64 = 1_000;

/// Packets are so far apart.
const INTERVAL_US: u64 = 10 * MS;

const KIND: EventType = EventType {
    pt: 101,
    clock_hz: 8_000,
};

fn digits(id: u32, text: &str, key_ms: u64) -> SendDigits {
    let pause = Duration::from_millis(50);
    SendDigits {
        id: DialId(id),
        to: StreamIx(0),
        steps: DialStep::parse(text, Duration::from_millis(key_ms)).unwrap(),
        pause,
        volume: KEY_VOLUME,
    }
}

/// Lets time pass; when each packet went, and what it told.
fn run(dialer: &mut Dialer, ms: std::ops::Range<u64>) -> Vec<(u64, TelephoneEvent)> {
    let mut sent = Vec::new();
    for at in ms {
        let now = Micros(at * MS);
        while dialer.due() <= now {
            if let Some(due) = dialer.tick(now, Some(KIND), INTERVAL_US) {
                sent.push((at, TelephoneEvent::parse(&due.packet.payload).unwrap()));
            }
        }
    }
    sent
}

fn reports(dialer: &mut Dialer) -> Vec<(u32, u16, bool)> {
    let ended = std::iter::from_fn(|| dialer.next_ended());
    ended
        .map(|report| (report.id.0, report.keys, report.completed))
        .collect()
}

/// One packet time of tones.
fn sound(dialer: &mut Dialer) {
    dialer.sound(&mut [0; 160], 8_000);
}

#[test]
fn what_was_stopped_is_no_key_of_the_next_command() {
    let mut dialer = Dialer::default();
    dialer.begin(Micros(0), false);
    dialer.push(&digits(1, "123", 200));
    run(&mut dialer, 0..300);
    dialer.stop(Micros(300 * MS)); // in the second key
    dialer.push(&digits(2, "4", 100));
    run(&mut dialer, 300..1_000);
    assert_eq!(reports(&mut dialer), [(1, 1, false), (2, 1, true)]);
    // The same as tones.
    dialer.begin(Micros(0), true);
    dialer.push(&digits(3, "123", 200));
    (0..15).for_each(|_| sound(&mut dialer));
    dialer.stop(Micros(300 * MS));
    dialer.push(&digits(4, "4", 100));
    (0..30).for_each(|_| sound(&mut dialer));
    assert_eq!(reports(&mut dialer), [(3, 1, false), (4, 1, true)]);
}

#[test]
fn a_key_that_comes_up_by_itself_has_a_pause_behind_it() {
    let mut dialer = Dialer::default();
    dialer.begin(Micros(0), false);
    assert!(dialer.hold(Micros(0), StreamIx(0), EventCode(1), KEY_VOLUME));
    dialer.push(&digits(1, "2", 100));
    let sent = run(&mut dialer, 0..61_000);
    let mut of_next = sent.iter().filter(|(_, event)| event.code.0 == 2);
    let (held_ms, pause_ms) = (HELD_US_MAX / MS, HELD_PAUSE_US / MS);
    assert_eq!(of_next.next().map(|(at, _)| *at), Some(held_ms + pause_ms));
}

#[test]
fn keys_that_are_held_take_no_place_of_a_command() {
    let mut dialer = Dialer::default();
    dialer.begin(Micros(0), false);
    let held =
        (0..DIGITS_MAX).filter(|_| dialer.hold(Micros(0), StreamIx(0), EventCode(1), KEY_VOLUME));
    assert_eq!(held.count(), DIGITS_MAX);
    assert!(dialer.has_room(DIGITS_MAX) && !dialer.has_room(DIGITS_MAX + 1));
    dialer.push(&digits(1, "1", 100));
    assert!(!dialer.has_room(DIGITS_MAX));
}

#[test]
fn whose_key_comes_up_is_its_own() {
    let mut dialer = Dialer::default();
    dialer.begin(Micros(0), false);
    for (by, code) in [(4, 1), (5, 2), (5, 3)] {
        assert!(dialer.hold(Micros(0), StreamIx(by), EventCode(code), KEY_VOLUME));
    }
    let mut sent = run(&mut dialer, 0..50);
    // Others than the one that is down come up first.
    dialer.release(
        Micros(50 * MS),
        (StreamIx(5), Some(EventCode(3))),
        Some(70 * MS),
    );
    dialer.release(Micros(50 * MS), (StreamIx(5), None), Some(80 * MS));
    dialer.renumber(|stream| stream.after(10));
    sent.extend(run(&mut dialer, 50..300));
    dialer.release(Micros(300 * MS), (StreamIx(14), None), None);
    sent.extend(run(&mut dialer, 300..1_000));
    let ends = sent.iter().filter(|(_, event)| event.end);
    let mut ends: Vec<_> = ends
        .map(|(_, event)| (event.code.0, event.duration / 8))
        .collect();
    ends.dedup();
    assert_eq!(ends, [(1, 300), (2, 80), (3, 70)]);
}
