//! Keys that are heard both ways over a bad network: a gateway turns tones into telephone-events,
//! the first and the last of each tone stay in its audio, and packets overtake each other.

use crosspoint::audio::g711;

use super::tones::{BOTH, tone};
use super::*;

/// The longest that a packet is later than another.
const JITTER_MS: u64 = 100;

/// Random parties; 10,000 where it is fast.
const PARTIES: u64 = if cfg!(debug_assertions) { 100 } else { 10_000 };

/// One party: its presses as `(key, from packet, packets)`, and its packets with the times at which
/// they are sent.
struct Gateway {
    random: fastrand::Rng,
    sent: Vec<(u64, Vec<u8>)>,
    keys: Vec<u8>,
    seq: u16,
    clock: u32,
}

impl Gateway {
    fn new(seed: u64) -> Self {
        let mut gateway = Self {
            random: fastrand::Rng::with_seed(seed),
            sent: Vec::new(),
            keys: Vec::new(),
            seq: 0,
            clock: 1_600,
        };
        gateway.quiet(10);
        for _ in 0..2 {
            gateway.press();
            let pause = gateway.random.u32(6..15);
            gateway.quiet(pause);
        }
        gateway.quiet(20);
        gateway
    }

    fn packet(&mut self, pt: u8, timestamp: u32, payload: &[u8]) {
        let at_ms = u64::from(self.clock / 8);
        let packet = rtp(pt, self.seq, timestamp, 9, payload);
        self.sent.push((at_ms, packet));
        self.seq = self.seq.wrapping_add(1);
    }

    fn audio(&mut self, pcm: &[i16]) {
        for frame in pcm.chunks_exact(160) {
            let octets: Vec<u8> = frame.iter().map(|s| g711::linear_to_ulaw(*s)).collect();
            self.packet(0, self.clock, &octets);
            self.clock += 160;
        }
    }

    fn quiet(&mut self, packets: u32) {
        self.audio(&vec![0; packets as usize * 160]);
    }

    /// A tone of 60 to 400 ms: its first packets pass, up to 60 ms, then it is an event, and its
    /// last passes, up to 40 ms.
    fn press(&mut self) {
        let key = self.random.u8(..16);
        let before = self.random.usize(..4);
        let packets = before + self.random.usize(3..17);
        let after = self.random.usize(..3);
        let pcm = tone(key, packets * 160);
        self.keys.push(key);
        let began = self.clock;
        self.audio(&pcm[..before * 160]);
        for n in before + 1..=packets - after {
            let ticks = u16::try_from(n * 160).unwrap();
            self.event(key, began, ticks, false);
            self.clock += 160;
        }
        let ticks = u16::try_from((packets - after) * 160).unwrap();
        for _ in 0..3 {
            self.event(key, began, ticks, true);
        }
        self.audio(&pcm[(packets - after) * 160..]);
    }

    fn event(&mut self, key: u8, began: u32, duration: u16, end: bool) {
        let event = TelephoneEvent {
            code: EventCode(key),
            end,
            volume: 10,
            duration,
        };
        self.packet(EVENT_PT, began, &event.to_bytes());
    }
}

/// What a party pressed, and what was told of it, through jitter and loss.
fn heard(seed: u64, jitter_ms: u64, loss_percent: u32) -> (Vec<u8>, Vec<u8>) {
    let mut world = world(BOTH);
    let gateway = Gateway::new(seed);
    let mut network = Network::new(seed, loss_percent, 0, jitter_ms);
    let mut arrivals: Vec<_> = gateway
        .sent
        .iter()
        .flat_map(|(at_ms, packet)| {
            let at = network.arrivals(*at_ms);
            at.into_iter().map(move |at| (at, packet))
        })
        .collect();
    arrivals.sort_by_key(|(at, _)| *at);
    for (at, packet) in arrivals {
        let ahead = at.saturating_sub(world.ms());
        world.wait(ahead);
        let mut packet = packet.clone();
        let now = world.now;
        let call = &mut world.call;
        call.handle_packet(now, A, Component::Rtp, home(A), &mut packet);
        world.drain();
    }
    world.wait(2_000);
    (gateway.keys, keys(&told(&mut world), A, 0))
}

/// Parties of which more, or fewer, presses were told than there were.
fn wrong(jitter_ms: u64, loss_percent: u32) -> (Vec<u64>, Vec<u64>) {
    let (mut doubled, mut missed) = (Vec::new(), Vec::new());
    for seed in 0..PARTIES {
        let (mut pressed, mut told) = heard(seed, jitter_ms, loss_percent);
        pressed.sort_unstable();
        told.sort_unstable();
        match told.len() {
            more if more > pressed.len() => doubled.push(seed),
            less if less < pressed.len() => missed.push(seed),
            _ => assert_eq!(told, pressed, "seed {seed}"),
        }
    }
    println!(
        "{jitter_ms} ms, {loss_percent} % lost: of {PARTIES} parties {} doubled, {} missed",
        doubled.len(),
        missed.len()
    );
    (doubled, missed)
}

#[test]
fn what_a_gateway_left_of_a_tone_is_never_a_second_press() {
    for (jitter_ms, loss_percent) in [(0, 0), (40, 0), (JITTER_MS, 0), (0, 5), (JITTER_MS, 5)] {
        let (doubled, missed) = wrong(jitter_ms, loss_percent);
        assert_eq!(doubled, [0; 0], "{jitter_ms} ms, {loss_percent} %");
        assert_eq!(missed, [0; 0], "{jitter_ms} ms, {loss_percent} %");
    }
}
