//! Taps do not touch: what parties are sent is the same, octet by octet and at the same moment,
//! whether somebody listens, to voices or to keys, and asks, or nobody does.

mod observers;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crosspoint::audio::mix::Gain;
use crosspoint::audio::tone::TonePlan;
use proptest::prelude::*;

use super::*;
use observers::{Observed, Tapes, observed};

/// Parties come first, listeners behind them.
const PARTIES: u16 = 4;
const LISTENERS: u16 = 3;
const HALF_SECOND: Duration = Duration::from_millis(500);

/// What happens to the call, in both runs.
#[derive(Clone, Debug)]
enum Step {
    Talk(u8),
    /// Nobody says anything for so many half seconds.
    Quiet(u8),
    Link(u16, Option<u16>),
    Source(u16, Option<u16>),
    Early(u8),
    Types(u16, u8),
    Hold(u16, bool, bool),
    Block(u16, bool),
    Silence(u16, bool),
    Sender(u16, u32, u16, u8),
    Play(u16, bool),
    Stop(u16),
    Bridge(u8),
    Move(u16, u8),
    Network(u32, u64),
    Reports(u16, u32),
    Close(u16),
    Mask(u16, u8),
    /// Only in the run with observers.
    Observed(Observed),
}

fn step() -> impl Strategy<Value = Step> {
    let party = || 0..PARTIES;
    let maybe = || proptest::option::of(0..PARTIES);
    let on = any::<bool>;
    prop_oneof![
        8 => (1u8..40).prop_map(Step::Talk),
        2 => (1u8..6).prop_map(Step::Quiet),
        4 => (party(), maybe()).prop_map(|(from, to)| Step::Link(from, to)),
        1 => (party(), maybe()).prop_map(|(to, from)| Step::Source(to, from)),
        1 => (0u8..4).prop_map(Step::Early),
        2 => (party(), 0u8..4).prop_map(|(ix, how)| Step::Types(ix, how)),
        1 => (party(), on(), on()).prop_map(|(ix, sends, hears)| Step::Hold(ix, sends, hears)),
        1 => (party(), on()).prop_map(|(ix, on)| Step::Block(ix, on)),
        1 => (party(), on()).prop_map(|(ix, on)| Step::Silence(ix, on)),
        1 => (party(), any::<u32>(), any::<u16>(), 0u8..3)
            .prop_map(|(ix, ssrc, seq, pt)| Step::Sender(ix, ssrc, seq, pt)),
        1 => (party(), on()).prop_map(|(ix, overlay)| Step::Play(ix, overlay)),
        1 => party().prop_map(Step::Stop),
        1 => (0u8..16).prop_map(Step::Bridge),
        1 => (party(), 0u8..3).prop_map(|(ix, where_to)| Step::Move(ix, where_to)),
        1 => (0u32..30, 0u64..90).prop_map(|(loss, jitter)| Step::Network(loss, jitter)),
        1 => (party(), any::<u32>()).prop_map(|(ix, word)| Step::Reports(ix, word)),
        1 => (1..PARTIES).prop_map(Step::Close),
        2 => (party(), 0u8..6).prop_map(|(ix, mode)| Step::Mask(ix, mode)),
        8 => observed().prop_map(Step::Observed),
    ]
}

/// 20 ms of the key 5.
fn press_five(pt: u8, timestamp: u32, payload: &mut [u8]) {
    let pcm: Vec<i16> = (0..payload.len() as u32)
        .map(|n| {
            let t = f64::from(timestamp.wrapping_add(n) % 8_000) / 8_000.0 * std::f64::consts::TAU;
            (6_000.0 * ((t * 770.0).sin() + (t * 1_336.0).sin())) as i16
        })
        .collect();
    match pt {
        8 => crosspoint::audio::g711::encode_alaw(&pcm, payload),
        _ => crosspoint::audio::g711::encode_ulaw(&pcm, payload),
    };
}

/// Something that left towards a party, or what became of a packet or a command of one.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Sent(Duration, PortHandle, std::net::SocketAddr, Vec<u8>),
    Pinned(Duration, PortHandle, Option<std::net::SocketAddr>),
    Ended(Duration),
    Judged(Duration, Verdict),
    Changed(Result<(), ChangeError>),
}

struct Sender {
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    pt: u8,
}

struct Run {
    call: Call,
    start: Instant,
    now: Instant,
    network: Network,
    senders: Vec<Sender>,
    homes: Vec<std::net::SocketAddr>,
    flying: BTreeSet<(u64, u64, u16, Vec<u8>)>,
    flown: u64,
    told: Vec<Told>,
    copies: usize,
    presses: usize,
    tapes: Tapes,
    observed: bool,
}

impl Run {
    fn new(seed: u64, privacy: Privacy, start: Instant, observed: bool) -> Self {
        let key = CallKey {
            slot: 0,
            generation: 0,
        };
        let timers = Timers {
            silence: Some(Duration::from_secs(4)),
            ..Timers::default()
        };
        let sender = |n: u16| Sender {
            ssrc: u32::from(n) + 1,
            seq: n.wrapping_mul(21_845),
            timestamp: u32::from(n) * 99_999,
            pt: 0,
        };
        let mut run = Self {
            call: Call::new(CallConfig { key, seed, timers }, start),
            start,
            now: start,
            network: Network::new(seed, 3, 2, 30),
            senders: (0..PARTIES + LISTENERS).map(sender).collect(),
            homes: (0..PARTIES + LISTENERS)
                .map(|n| home(StreamIx(n)))
                .collect(),
            flying: BTreeSet::new(),
            flown: 0,
            told: Vec::new(),
            copies: 0,
            presses: 0,
            tapes: Tapes::default(),
            observed,
        };
        let streams = PARTIES + if observed { LISTENERS } else { 0 };
        for n in 0..streams {
            run.add(StreamIx(n), privacy);
            if n >= PARTIES {
                run.try_change(Change::Untap(StreamIx(n))).unwrap();
            }
        }
        run.change(link(A, Some(B))); // who else hears whom, and when, the steps say
        run
    }

    fn add(&mut self, ix: StreamIx, privacy: Privacy) {
        let config = StreamConfig {
            leg: LegIx(ix.0),
            media: 0,
            payload: Payload::Rtp,
            privacy,
            own_rtcp: ix.0 == 2,
        };
        self.try_change(Change::AddStream(config)).unwrap();
        for component in [Component::Rtp, Component::Rtcp] {
            let port = port(ix, component);
            self.call.set_port(ix, component, port).unwrap();
        }
        self.try_change(Change::Remote(ix, remote(ix))).unwrap();
        let (pcmu, pcma) = (CodecKind::Pcmu, CodecKind::Pcma);
        let speaks = if ix.0.is_multiple_of(2) {
            (0, pcmu)
        } else {
            (8, pcma)
        };
        let voice = voice(&[(0, pcmu), (8, pcma)], speaks);
        self.try_change(Change::Voice(ix, voice)).unwrap();
    }

    /// A command about a party: what becomes of it is the same in both runs.
    fn change(&mut self, change: Change) {
        let changed = self.try_change(change);
        self.told.push(Told::Changed(changed));
    }

    fn try_change(&mut self, change: Change) -> Result<(), ChangeError> {
        let changed = self.call.apply(self.now, change);
        self.drain();
        changed
    }

    fn is_party(port: PortHandle) -> bool {
        port.0 < u32::from(PARTIES) * 2
    }

    fn drain(&mut self) {
        let at = self.now - self.start;
        while let Some(output) = self.call.poll_output() {
            let (port, told) = match output {
                Output::Transmit { port, to, packet } => {
                    (port, Told::Sent(at, port, to, packet.to_vec()))
                }
                Output::Media { port, to, bytes } => {
                    let bytes = self.call.media(bytes).to_vec();
                    (port, Told::Sent(at, port, to, bytes))
                }
                Output::Pin { port, peer } => (port, Told::Pinned(at, port, peer)),
                Output::Event(_) => {
                    self.presses += 1; // no party is told
                    continue;
                }
                Output::Ended(_) => (PortHandle(0), Told::Ended(at)),
            };
            match Self::is_party(port) {
                true => self.told.push(told),
                false => self.copies += usize::from(matches!(told, Told::Sent(..))),
            }
        }
    }

    fn receive(&mut self, ix: u16, component: Component, mut bytes: Vec<u8>) {
        let from = match component {
            Component::Rtp => self.homes[usize::from(ix)],
            Component::Rtcp => rtcp_home(StreamIx(ix)),
        };
        let at = self.now - self.start;
        let verdict = self
            .call
            .handle_packet(self.now, StreamIx(ix), component, from, &mut bytes);
        let forwarded = match verdict {
            Verdict::Forward {
                port,
                to,
                start,
                end,
            } => Some((
                port,
                to,
                bytes[usize::from(start)..usize::from(end)].to_vec(),
            )),
            Verdict::Drop(_) | Verdict::Taken => None,
        };
        if ix < PARTIES {
            self.told.push(Told::Judged(at, verdict));
            let sent = forwarded.map(|(port, to, bytes)| Told::Sent(at, port, to, bytes));
            self.told.extend(sent);
        } else {
            assert_eq!(forwarded, None, "nobody hears a listener");
        }
        self.drain();
    }

    fn pass(&mut self, until: Instant) {
        while let Some(at) = self.call.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// Twenty milliseconds: everybody sends one packet, what is due arrives.
    fn frame(&mut self) {
        let at_ms = (self.now - self.start).as_millis() as u64;
        for ix in 0..PARTIES {
            let sender = &mut self.senders[usize::from(ix)];
            let pt = [0, 8, 101][usize::from(sender.pt)];
            let mut payload = [0x80 ^ ix as u8; 160];
            payload[usize::from(sender.seq % 160)] = sender.seq as u8;
            if ix == 1 && sender.seq & 4 != 0 {
                press_five(pt, sender.timestamp, &mut payload);
            }
            let len = if pt == 101 { 4 } else { 160 };
            let packet = rtp(
                pt,
                sender.seq,
                sender.timestamp,
                sender.ssrc,
                &payload[..len],
            );
            sender.seq = sender.seq.wrapping_add(1);
            sender.timestamp = sender.timestamp.wrapping_add(160);
            for arrival in self.network.arrivals(at_ms) {
                self.flown += 1;
                self.flying
                    .insert((arrival, self.flown, ix, packet.clone()));
            }
        }
        let end = self.now + Duration::from_millis(20);
        let end_ms = (end - self.start).as_millis() as u64;
        while let Some((at, _, ix, packet)) = self.flying.pop_first() {
            if at >= end_ms {
                self.flying.insert((at, 0, ix, packet));
                break;
            }
            self.pass(self.now.max(self.start + Duration::from_millis(at)));
            self.receive(ix, Component::Rtp, packet);
        }
        self.pass(end);
    }

    fn step(&mut self, step: &Step) {
        let stream = |ix: u16| StreamIx(ix);
        match step.clone() {
            Step::Talk(frames) => (0..frames).for_each(|_| self.frame()),
            Step::Quiet(halves) => self.pass(self.now + HALF_SECOND * u32::from(halves)),
            Step::Link(from, to) => self.change(link(stream(from), to.map(StreamIx))),
            Step::Source(listener, source) => self.change(Change::Source {
                listener: stream(listener),
                source: source.map(StreamIx),
            }),
            Step::Early(policy) => self.change(Change::EarlyMedia {
                listener: A,
                policy: match policy {
                    0 => EarlyMedia::First,
                    1 => EarlyMedia::Latest,
                    2 => EarlyMedia::Mix,
                    _ => EarlyMedia::Ringback(TonePlan::parse("ringback").unwrap()),
                },
            }),
            Step::Types(ix, how) => self.change(Change::PayloadTypes(stream(ix), types(how))),
            Step::Hold(ix, sends, receives) => self.change(Change::Direction {
                stream: stream(ix),
                sends,
                receives,
            }),
            Step::Block(ix, on) => self.change(Change::Block(stream(ix), on)),
            Step::Silence(ix, on) => self.change(Change::Silence(stream(ix), on)),
            Step::Sender(ix, ssrc, seq, pt) => {
                let timestamp = ssrc.rotate_left(7);
                self.senders[usize::from(ix)] = Sender {
                    ssrc,
                    seq,
                    timestamp,
                    pt,
                };
            }
            Step::Play(ix, overlay) => {
                let tone = Sound::Tone(TonePlan::parse("ringback").unwrap());
                self.change(Change::Play(Box::new(Play {
                    times: None,
                    limit: Some(Duration::from_millis(700)),
                    layer: [Layer::Alone, Layer::Over][usize::from(overlay)],
                    ..Play::new(PlayId(1), stream(ix), [tone])
                })));
            }
            Step::Stop(ix) => self.change(Change::StopPlay {
                listener: stream(ix).into(),
                id: None,
            }),
            Step::Bridge(members) => self.bridge(members),
            Step::Move(ix, to) => {
                let home = std::net::SocketAddr::from(([198, 51, 100, to], 6_000 + ix));
                self.homes[usize::from(ix)] = home;
                let rtp = Some(home);
                let remote = Remote {
                    rtp,
                    ..remote(stream(ix))
                };
                self.change(Change::Remote(stream(ix), remote));
            }
            Step::Network(loss_percent, jitter_ms) => {
                (self.network.loss_percent, self.network.jitter_ms) = (loss_percent, jitter_ms);
            }
            Step::Reports(ix, word) => {
                let ssrc = self.senders[usize::from(ix)].ssrc;
                let report = rtcp(1, 200, &[ssrc, word, 1, 2, 3, 4, word, 5, 6, 7, 8, 9]);
                self.receive(ix, Component::Rtcp, report);
            }
            Step::Close(ix) => self.change(Change::Close(stream(ix))),
            Step::Mask(ix, mode) => self.change(Change::Mask(stream(ix), mask(mode))),
            Step::Observed(observed) if self.observed => self.observe(observed),
            Step::Observed(_) => {}
        }
    }

    fn bridge(&mut self, members: u8) {
        let member = |n: u16| Member {
            stream: StreamIx(n),
            talks: true,
            listens: true,
            gain: Gain::UNITY,
        };
        let chosen = (0..PARTIES).filter(|n| members & (1 << n) != 0);
        let config = BridgeConfig {
            members: chosen.map(member).collect(),
            ..BridgeConfig::default()
        };
        self.change(Change::Bridge(BridgeIx(0), Box::new(config)));
    }
}

/// What becomes of keys; with tones in the audio, or of events alone.
fn mask(mode: u8) -> Option<Box<Mask>> {
    let (mode, in_band) = match mode {
        0 => return None,
        1 => (MaskMode::Absorb, true),
        2 => (MaskMode::ZeroDigit, false),
        3 => (MaskMode::RandomDigit, true),
        4 => (MaskMode::Convert, true),
        _ => (MaskMode::Pass, true),
    };
    Some(Box::new(Mask {
        in_band,
        ..Mask::of(mode)
    }))
}

fn types(how: u8) -> smallvec::SmallVec<[PayloadType; 4]> {
    let event = kind(101, 96, Via::Relay);
    let all = match how {
        0 => [kind(0, 0, Via::Relay), kind(8, 8, Via::Relay), event],
        1 => [kind(0, 8, Via::Decode), kind(8, 8, Via::Relay), event],
        2 => [kind(0, 0, Via::Decode), kind(8, 0, Via::Decode), event],
        _ => {
            let to_alaw = Via::Companding(Companding::UlawToAlaw);
            [kind(0, 8, to_alaw), kind(8, 8, Via::Relay), event]
        }
    };
    all.into_iter().collect()
}

/// What observers had of a run.
struct Seen {
    /// Packets that listeners were sent.
    copies: usize,
    /// Presses of keys that were told.
    presses: usize,
    /// Packets that were read from tapes.
    taped: usize,
}

/// Both runs.
fn run_twice(seed: u64, privacy: Privacy, steps: &[Step]) -> Seen {
    let start = Instant::now();
    let mut alone = Run::new(seed, privacy, start, false);
    let mut watched = Run::new(seed, privacy, start, true);
    for (n, step) in steps.iter().enumerate() {
        alone.step(step);
        watched.step(step);
        assert_eq!(alone.told, watched.told, "step {n}: {step:?}");
        alone.told.clear();
        watched.told.clear();
    }
    watched.read_all();
    Seen {
        copies: watched.copies,
        presses: watched.presses,
        taped: watched.tapes.packets,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn taps_do_not_touch(
        seed in any::<u64>(),
        masked in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let privacy = match masked {
            true => Privacy::Masked,
            false => Privacy::Transparent,
        };
        run_twice(seed, privacy, &steps);
    }
}

/// The runs differ in something: the listeners hear, and recordings hold what was said.
#[test]
fn listeners_of_the_property_are_sent_copies() {
    let tap = |from, to, how| Step::Observed(Observed::Tap(from, to, how));
    let digits = |on| Step::Observed(Observed::Digits(1, true, on));
    let track = |track, ix, side| Step::Observed(Observed::Track(0, track, Some((ix, side))));
    let steps = [
        tap(0, 4, 0),
        tap(0, 5, 2),
        tap(1, 6, 1),
        Step::Observed(Observed::Record(0, 4, true)),
        track(0, 0, Side::In),
        track(1, 1, Side::In),
        track(2, 1, Side::Out),
        track(3, 5, Side::Out),
        Step::Types(1, 1),
        digits(true),
        Step::Talk(50),
        Step::Observed(Observed::Read(0)),
        Step::Link(0, Some(0)),
        Step::Play(1, true),
        Step::Talk(50),
        Step::Observed(Observed::Read(0)),
        Step::Bridge(0b111),
        Step::Talk(50),
        // Long enough for the call to end, though a listener goes on.
        Step::Quiet(5),
        Step::Observed(Observed::Rtp(4, 20)),
        Step::Quiet(5),
    ];
    for privacy in [Privacy::Transparent, Privacy::Masked] {
        let seen = run_twice(7, privacy, &steps);
        assert!(seen.copies > 380, "{}", seen.copies);
        // A key every 160 ms for three seconds begins and ends, through 3 % loss.
        assert!(seen.presses > 10, "{}", seen.presses);
        // Four tracks of three seconds.
        assert!(seen.taped > 480, "{}", seen.taped);
    }
}

#[test]
fn a_listener_that_hears_nobody_yet_keeps_no_call_alive() {
    let steps = [
        Step::Talk(1),
        Step::Quiet(3),
        Step::Observed(Observed::Rtp(4, 1)),
        Step::Quiet(5),
    ];
    run_twice(0, Privacy::Transparent, &steps);
}
