//! What a listener receives is one RTP stream, whatever happens on the other side.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::collections::{HashMap, HashSet};

use crosspoint::engine::*;
use engine_support::*;
use proptest::prelude::*;

/// One party's sender: its numbers and where they stand.
struct Sender {
    ssrc: u32,
    seq: u16,
    timestamp: u32,
}

/// Something that happens to the call between two packets.
#[derive(Clone, Debug)]
enum Step {
    Hear(Option<u16>),
    NewSsrc(u16, u32, u16, u32),
    Hold(bool),
    Talk(u8),
    Jitter(u64),
    Loss(u32),
    Block(u16, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let source = 1u16..4;
    let step = prop_oneof![
        proptest::option::of(source.clone()).prop_map(Step::Hear),
        (source.clone(), any::<u32>(), any::<u16>(), any::<u32>())
            .prop_map(|(ix, ssrc, seq, timestamp)| Step::NewSsrc(ix, ssrc, seq, timestamp)),
        any::<bool>().prop_map(Step::Hold),
        (1u8..40).prop_map(Step::Talk),
        (1u8..40).prop_map(Step::Talk),
        (0u64..90).prop_map(Step::Jitter),
        (0u32..30).prop_map(Step::Loss),
        (source, any::<bool>()).prop_map(|(ix, on)| Step::Block(ix, on)),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The listener is stream 0; streams 1 to 3 are linked to it.
fn world(privacy: Privacy) -> World {
    let mut world = World::new(Timers::default());
    for ix in 0..4 {
        let stream = world.add(ix, Payload::Rtp, privacy);
        world.apply(Change::Remote(stream, remote(stream)));
        if ix > 0 {
            world.apply(Change::Link {
                from: stream,
                to: Some(A),
            });
        }
    }
    world
}

struct Run {
    world: World,
    network: Network,
    senders: Vec<Sender>,
    /// Arrival time, tie-breaker, stream, bytes.
    flying: Vec<(u64, u64, u16, Vec<u8>)>,
    at_ms: u64,
    sent: Vec<Sent>,
    lost: HashSet<(u16, u32, u16)>,
    /// Outgoing number to the incoming packet.
    origin: HashMap<u32, (u16, u32, u16)>,
    highest: Option<u32>,
}

impl Run {
    fn new(privacy: Privacy, seed: u64) -> Self {
        let sender = |n: u32| Sender {
            ssrc: n,
            seq: (n * 21_845) as u16,
            timestamp: n * 99_999,
        };
        Self {
            world: world(privacy),
            network: Network::new(seed, 3, 2, 30),
            senders: (0..4).map(sender).collect(),
            flying: Vec::new(),
            at_ms: 0,
            sent: Vec::new(),
            lost: HashSet::new(),
            origin: HashMap::new(),
            highest: None,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Hear(source) => {
                let source = source.map(StreamIx);
                self.world.apply(Change::Source {
                    listener: A,
                    source,
                });
            }
            Step::NewSsrc(ix, ssrc, seq, timestamp) => {
                self.senders[usize::from(ix)] = Sender {
                    ssrc,
                    seq,
                    timestamp,
                };
            }
            Step::Hold(held) => {
                self.world.apply(Change::Direction {
                    stream: A,
                    sends: !held,
                    receives: !held,
                });
            }
            Step::Jitter(ms) => self.network.jitter_ms = ms,
            Step::Loss(percent) => self.network.loss_percent = percent,
            Step::Block(ix, on) => self.world.apply(Change::Block(StreamIx(ix), on)),
            Step::Talk(frames) => (0..frames).for_each(|_| self.frame()),
        }
    }

    /// Twenty milliseconds: every sender sends one packet, what is due arrives.
    fn frame(&mut self) {
        for ix in 1..4u16 {
            let sender = &mut self.senders[usize::from(ix)];
            let packet = rtp(
                0,
                sender.seq,
                sender.timestamp,
                sender.ssrc,
                &[ix as u8; 160],
            );
            let arrivals = self.network.arrivals(self.at_ms);
            if arrivals.is_empty() {
                self.lost.insert((ix, sender.ssrc, sender.seq));
            }
            for at in arrivals {
                let tie = self.flying.len() as u64;
                self.flying.push((at, tie, ix, packet.clone()));
            }
            sender.seq = sender.seq.wrapping_add(1);
            sender.timestamp = sender.timestamp.wrapping_add(160);
        }
        let until = self.at_ms + 20;
        self.flying.sort();
        while self.flying.first().is_some_and(|&(at, ..)| at < until) {
            let (at, _, ix, bytes) = self.flying.remove(0);
            self.world.wait(at.saturating_sub(self.at_ms));
            self.at_ms = self.at_ms.max(at);
            self.arrive(ix, &bytes);
        }
        self.world.wait(until - self.at_ms);
        self.at_ms = until;
    }

    fn arrive(&mut self, ix: u16, bytes: &[u8]) {
        let Ok(sent) = self.world.rtp(StreamIx(ix), bytes) else {
            return;
        };
        let key = (ix, be32(bytes, 8), u16::from_be_bytes([bytes[2], bytes[3]]));
        let first = 0x1_0000 | u32::from(sent.seq());
        let previous = self.highest.unwrap_or(first);
        let step = sent.seq().wrapping_sub(previous as u16) as i16;
        let number = previous.wrapping_add_signed(i32::from(step));
        if let Some(first) = self.sent.first() {
            assert_eq!(sent.ssrc(), first.ssrc(), "one SSRC");
            assert_eq!((sent.port, sent.to), (first.port, first.to));
        }
        let owner = self.origin.entry(number).or_insert(key);
        assert_eq!(*owner, key, "number {number} was used for another packet");
        if self.highest.is_none_or(|highest| number > highest) {
            if let Some(last) = self.sent.last().filter(|_| self.highest.is_some()) {
                let newest = self.sent.iter().rev().map(Sent::timestamp);
                let newest = newest
                    .take(200)
                    .reduce(|a, b| if (b.wrapping_sub(a) as i32) > 0 { b } else { a });
                let ahead = sent.timestamp().wrapping_sub(newest.unwrap()) as i32;
                assert!(
                    ahead >= 0,
                    "timestamp went back by {ahead} after {}",
                    last.seq()
                );
                let gap = number - self.highest.unwrap() - 1;
                assert!(gap < 3_000, "a gap of {gap}");
            }
            self.highest = Some(number);
        }
        self.sent.push(sent);
    }

    /// Numbers never used must be the heard source's own losses, or packets that were
    /// overtaken by a switch or a hold.
    fn gaps(&self) -> usize {
        let Some(highest) = self.highest else {
            return 0;
        };
        let first = *self.origin.keys().min().unwrap();
        (first..=highest)
            .filter(|number| !self.origin.contains_key(number))
            .count()
    }
}

proptest! {
    #[test]
    fn one_clock_per_leg(steps in steps(), seed: u64, masked: bool) {
        let privacy = if masked { Privacy::Masked } else { Privacy::Transparent };
        let mut run = Run::new(privacy, seed);
        steps.iter().for_each(|step| run.step(step));
    }

    /// Without reordering, every hole in the numbers is a packet the source itself lost.
    #[test]
    fn gaps_are_only_the_sources_own_losses(steps in steps(), seed: u64, masked: bool) {
        let privacy = if masked { Privacy::Masked } else { Privacy::Transparent };
        let mut run = Run::new(privacy, seed);
        (run.network.jitter_ms, run.network.loss_percent) = (0, 0);
        for step in &steps {
            run.step(step);
            run.network.jitter_ms = 0;
        }
        let gaps = run.gaps();
        prop_assert!(gaps <= run.lost.len(), "{gaps} gaps, {} lost", run.lost.len());
    }
}
