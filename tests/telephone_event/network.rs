//! Random keys through a bad network: nothing wrong, nothing twice, and nothing missed of which one
//! packet arrived.

use super::sender::*;

/// Strings per loss rate, unless `PROPTEST_CASES` says another number.
const STRINGS: u64 = 500;

const KEYS: &[u8] = b"0123456789*#ABCD";

#[derive(Default, Debug)]
struct Totals {
    strings: u64,
    presses: u64,
    /// None of their packets arrived.
    unheard: u64,
    /// Told after a press that was made later, since their packets came so.
    out_of_order: u64,
    exact: u64,
}

/// Packets with their delays, in the order of their arrival.
fn bad_network(rng: &mut fastrand::Rng, packets: Vec<Packet>, loss: f64) -> Vec<Packet> {
    let mut arrived = Vec::new();
    for packet in packets {
        for copy in 0..2 {
            let is_there = if copy == 0 {
                rng.f64() >= loss
            } else {
                rng.f64() < 0.05
            };
            if is_there {
                let delay_us = rng.u64(0..40_000) + copy * rng.u64(0..100_000);
                arrived.push(Packet {
                    at_us: packet.at_us + delay_us,
                    ..packet.clone()
                });
            }
        }
    }
    arrived.sort_by_key(|packet| packet.at_us);
    arrived
}

fn dial(rng: &mut fastrand::Rng) -> Phone {
    let pick = |rng: &mut fastrand::Rng, of: &[u64]| of[rng.usize(0..of.len())];
    let style = Style {
        clock_hz: pick(rng, &[8_000, 8_000, 16_000, 48_000]) as u32,
        marks: [Marks::First, Marks::Never, Marks::Always][rng.usize(0..3)],
        audio: [Audio::Stops, Audio::RunsBeside, Audio::None][rng.usize(0..3)],
        ..PLAIN
    };
    let mut phone = Phone::new(style);
    phone.first_seq = rng.u16(..);
    phone.offset = rng.u32(..);
    let mut key = '0';
    for _ in 0..rng.usize(1..=16) {
        if rng.f64() > 0.3 {
            key = char::from(KEYS[rng.usize(0..KEYS.len())]);
        }
        // Holds and pauses from the fastest dialling that standards allow, in whole milliseconds.
        phone.pause(rng.u64(40..=150));
        phone.press(key, rng.u64(40..=160));
    }
    phone.pause(100);
    phone
}

/// The presses in the order in which their first packets arrived.
fn first_arrivals(arrived: &[Packet]) -> Vec<usize> {
    let mut order = Vec::new();
    for packet in arrived {
        if let Of::Press(press) = packet.of
            && !order.contains(&press)
        {
            order.push(press);
        }
    }
    order
}

/// The end came before anything that was sent after the press, so its duration must be told.
fn ends_in_time(arrived: &[Packet], press: usize) -> bool {
    let of_press = |packet: &&Packet| packet.of == Of::Press(press);
    let end = arrived
        .iter()
        .position(|packet| packet.of == Of::Press(press) && packet.end);
    let Some(end) = end else {
        return false;
    };
    let first = arrived.iter().find(of_press).map_or(0, |packet| packet.seq);
    let later = |packet: &Packet| {
        packet.of != Of::Press(press) && packet.seq.wrapping_sub(first).cast_signed() > 0
    };
    !arrived[..end].iter().any(later)
}

fn run(percent: u8) -> Totals {
    let loss = f64::from(percent) / 100.0;
    let strings = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(STRINGS);
    let mut totals = Totals::default();
    for seed in 0..strings {
        let mut rng = fastrand::Rng::with_seed(seed << 8 | u64::from(percent));
        let phone = dial(&mut rng);
        let arrived = bad_network(&mut rng, phone.packets(), loss);
        let order = first_arrivals(&arrived);
        let expected: String = order
            .iter()
            .map(|press| phone.pressed[*press].key)
            .collect();
        let told = hear(&arrived);
        assert_eq!(
            keys(&told),
            expected,
            "seed {seed}, {percent} % loss; pressed {}",
            phone.keys()
        );
        for (told, press) in told.iter().zip(&order) {
            let pressed = &phone.pressed[*press];
            let hold_us = pressed.hold_ms * 1_000;
            let duration_us = told.duration_us.unwrap_or(0);
            // Ticks are whole, so at 8 kHz an eighth of a millisecond may be missing.
            assert!(
                duration_us <= hold_us,
                "seed {seed}: {told:?} of {pressed:?}"
            );
            if ends_in_time(&arrived, *press) {
                assert!(
                    hold_us - duration_us <= 125,
                    "seed {seed}: {told:?} of {pressed:?}"
                );
                totals.exact += 1;
            }
        }
        totals.strings += 1;
        totals.presses += phone.pressed.len() as u64;
        totals.unheard += (phone.pressed.len() - order.len()) as u64;
        totals.out_of_order += u64::from(!order.is_sorted());
    }
    println!("{percent} % loss: {totals:?}");
    assert!(totals.exact * 4 > totals.presses, "{totals:?}");
    totals
}

#[test]
fn five_percent_loss() {
    let totals = run(5);
    assert!(totals.unheard * 1_000 <= totals.presses, "{totals:?}");
}

#[test]
fn thirty_percent_loss() {
    let totals = run(30);
    assert!(totals.unheard * 100 <= totals.presses, "{totals:?}");
}
