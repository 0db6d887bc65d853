//! Keys heard, pressed, hidden, gathered and recorded in any order, while parties are linked,
//! bridged, held and closed, and their packets are lost, late and hostile.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "test data is built from small counts"
)]

mod engine_support;

use std::collections::HashMap;
use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use crosspoint::audio::clip::Clip;
use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::g711;
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;
use crosspoint::wire::event::{EventCode, TelephoneEvent};
use crosspoint::wire::rtp::RtpPacket;
use engine_support::*;
use proptest::prelude::*;

const PARTIES: u16 = 4;
const EVENT_PT: u8 = 101;

fn types(via: Via) -> [PayloadType; 2] {
    let kind = |pt, event: bool| PayloadType {
        pt,
        out: pt,
        clock_hz: 8_000,
        silence: (!event).then_some(0xff),
        event,
        via: if event { Via::Relay } else { via },
    };
    [kind(0, false), kind(EVENT_PT, true)]
}

fn voice(ptime_ms: u8) -> Box<Voice> {
    let (pt, codec) = (0, CodecConfig::new(CodecKind::Pcmu));
    voice_of(pt, codec, ptime_ms)
}

/// One call, and what must hold of it.
struct Run {
    world: World,
    random: fastrand::Rng,
    /// Of each party: the next number and time, and the key that is down with its start and kind.
    seq: [u16; PARTIES as usize],
    clock: [u32; PARTIES as usize],
    down: [Option<(u8, u32, bool)>; PARTIES as usize],
    asked: u64,
    gathered: HashMap<u64, u32>,
    /// The next press of each party, and those that are down.
    next: [u32; PARTIES as usize],
    open: Vec<(u16, u32)>,
    /// Recordings, with the time of the last packet that was read.
    tapes: Vec<(TapeReader, Duration)>,
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut world = parties(PARTIES, &voice(20), &types(Via::Relay));
        for n in 0..PARTIES {
            let (pt, clock_hz) = (EVENT_PT, 8_000);
            let kind = Some(EventType { pt, clock_hz });
            world.apply(Change::EventType(StreamIx(n), kind));
        }
        Self {
            world,
            random: fastrand::Rng::with_seed(seed),
            seq: [100; PARTIES as usize],
            clock: [0; PARTIES as usize],
            down: [None; PARTIES as usize],
            asked: 0,
            gathered: HashMap::new(),
            next: [0; PARTIES as usize],
            open: Vec::new(),
            tapes: Vec::new(),
            log: vec![format!("seed {seed}")],
        }
    }

    fn party(&mut self) -> StreamIx {
        StreamIx(self.random.u16(..PARTIES))
    }

    fn clip(&mut self) -> Sound {
        let samples = vec![3_000; self.random.usize(80..16_000)];
        Sound::Clip(Arc::new(Clip::new(samples, 8_000).unwrap()))
    }

    fn mask(&mut self) -> Option<Box<Mask>> {
        let mode = match self.random.u8(..8) {
            0 => return None,
            7 => MaskMode::Convert,
            1 => MaskMode::Pass,
            2 => MaskMode::Absorb,
            3 => MaskMode::Silence,
            4 => MaskMode::RandomDigit,
            5 => MaskMode::ZeroDigit,
            _ => MaskMode::Tone {
                hz: [400, 900].into_iter().collect(),
                level: -10,
            },
        };
        Some(Box::new(Mask {
            mode,
            in_band: self.random.bool(),
            look_back_ms: self.random.u16(40..520),
            triggers: None,
        }))
    }

    fn gather(&mut self, stream: StreamIx) -> Change {
        self.asked += 1;
        let attempts = self.random.usize(..4);
        let wait = |random: &mut fastrand::Rng| Duration::from_millis(random.u64(..2_000));
        let rules = GatherRules {
            digits_max: self.random.u8(..5),
            digits_min: self.random.u8(..3),
            first_digit: wait(&mut self.random),
            inter_digit: wait(&mut self.random),
            finish: Keys::from_text("#").unwrap(),
            type_ahead: self.random.bool(),
            at_prompt: [AtPrompt::Stop, AtPrompt::Keep, AtPrompt::Discard][self.random.usize(..3)],
            ..GatherRules::default()
        };
        let prompts = (0..attempts).map(|_| {
            let sounds = self.random.usize(..2);
            (0..sounds).map(|_| self.clip().into()).collect()
        });
        let prompts = prompts.collect();
        Change::Gather(Box::new(GatherConfig {
            id: GatherId(self.asked),
            stream,
            rules,
            prompts,
            gain: Gain::UNITY,
            layer: Layer::Alone,
        }))
    }

    fn dial(&mut self, to: StreamIx) -> Change {
        let keys = self.random.usize(..6);
        let steps = (0..keys).map(|_| match self.random.u8(..5) {
            0 => DialStep::Wait(Duration::from_millis(self.random.u64(..300))),
            _ => DialStep::Key {
                code: EventCode(self.random.u8(..17)),
                duration: Duration::from_millis(self.random.u64(10..200)),
            },
        });
        let steps = steps.collect();
        Change::SendDigits(Box::new(SendDigits {
            steps,
            id: DialId(1),
            to,
            pause: Duration::from_millis(self.random.u64(10..100)),
            volume: self.random.u8(..70),
        }))
    }

    /// Of one of the latest recordings, which may be over, or never have been.
    fn record(&mut self, ix: StreamIx) -> Change {
        let newest = self.tapes.len() as u32;
        let recorder = RecorderId(newest.saturating_sub(self.random.u32(..10)));
        match self.random.u8(..16) {
            0..5 => {
                let tracks = self.random.usize(1..=TRACKS_MAX);
                let (writer, reader) = tape(tracks, self.world.start);
                self.tapes.push((reader, Duration::ZERO));
                let finish = [Keys::NONE, Keys::ALL][self.random.usize(..2)];
                tapes::begin(newest + 1, finish, writer)
            }
            5 => Change::StopRecord(recorder),
            6 if newest > 0 => {
                // Nobody reads it any more.
                let gone = tape(1, self.world.start).1;
                let place = self.random.usize(..self.tapes.len());
                self.tapes[place].0 = gone;
                Change::StopRecord(RecorderId(0))
            }
            _ => Change::RecordTrack {
                recorder,
                track: TrackIx(self.random.u8(..4)),
                from: match self.random.u8(..9) {
                    0 => None,
                    1..3 => Some((ix, Side::Out)),
                    _ => Some((ix, Side::In)),
                },
            },
        }
    }

    fn change(&mut self) -> Change {
        let (ix, other) = (self.party(), self.party());
        let on = self.random.bool();
        match self.random.u8(..32) {
            0..3 => Change::Digits(
                ix,
                Some(DigitsConfig {
                    telephone_events: on,
                    in_band: self.random.bool(),
                }),
            ),
            3..7 => {
                let mask = self.mask();
                Change::Mask(ix, mask)
            }
            7..9 => self.dial(ix),
            9 => Change::StopDigits(ix),
            10..14 => self.gather(ix),
            14 => Change::StopGather {
                stream: ix,
                id: on.then_some(GatherId(self.asked)),
            },
            15 => Change::TypeAhead(ix, on),
            16 => Change::Play(Box::new(Play::new(PlayId(1), ix, [self.clip()]))),
            17 => Change::StopPlay {
                listener: ix.into(),
                id: None,
            },
            18..20 => Change::Link {
                from: ix,
                to: Some(other).filter(|_| self.random.u8(..4) > 0),
            },
            20..22 => {
                let members = (0..PARTIES).filter(|_| self.random.bool());
                let member = |n| Member {
                    stream: StreamIx(n),
                    talks: true,
                    listens: true,
                    gain: Gain::UNITY,
                };
                let members: Vec<_> = members.collect();
                let config = BridgeConfig {
                    members: members.into_iter().map(member).collect(),
                    ..BridgeConfig::default()
                };
                Change::Bridge(BridgeIx(0), Box::new(config))
            }
            22 => Change::Direction {
                stream: ix,
                sends: self.random.u8(..4) > 0,
                receives: self.random.u8(..4) > 0,
            },
            23 => {
                let via = if on { Via::Decode } else { Via::Relay };
                Change::PayloadTypes(ix, types(via).into_iter().collect())
            }
            24 => Change::Voice(ix, voice([10, 20, 30, 60][self.random.usize(..4)])),
            25..31 => self.record(ix),
            _ => match self.random.u8(..8) {
                0 => Change::Close(ix),
                1..4 => Change::Block(ix, on),
                _ => Change::Silence(ix, on),
            },
        }
    }

    fn command(&mut self) {
        let change = self.change();
        self.log.push(format!("{} {change:?}", self.world.ms()));
        let before = self.asked;
        let is_gather = matches!(change, Change::Gather(_));
        let _taken_or_not = self.world.call.apply(self.world.now, change);
        assert!(!is_gather || before == self.asked);
        self.world.drain();
        self.look();
    }

    /// The next packet of a party: talk, a tone, an event, or something else.
    fn packet(&mut self, ix: StreamIx) {
        let at = usize::from(ix.0);
        match (self.down[at], self.random.u8(..12)) {
            (None, 0) => {
                let key = (self.random.u8(..16), self.clock[at], self.random.bool());
                self.down[at] = Some(key);
            }
            (Some(_), 0..2) => self.down[at] = None,
            _ => {}
        }
        let (clock, seq) = (self.clock[at], self.seq[at]);
        self.clock[at] = clock.wrapping_add(160);
        self.seq[at] = seq.wrapping_add(1);
        let ssrc = 7 + u32::from(ix.0);
        let mut bytes = match self.down[at] {
            Some((key, began, true)) => {
                let event = TelephoneEvent {
                    code: EventCode(key),
                    end: self.random.u8(..6) == 0,
                    volume: 10,
                    duration: clock.wrapping_sub(began) as u16,
                };
                rtp(EVENT_PT, seq, began, ssrc, &event.to_bytes())
            }
            Some((key, ..)) => rtp(0, seq, clock, ssrc, &tone(key, clock)),
            None => rtp(0, seq, clock, ssrc, &[0xfe; 160]),
        };
        match self.random.u16(..200) {
            0 => self.seq[at] = self.random.u16(..),
            // Its clock jumps, and where packets pass its listener's with it: forwards.
            1 => self.clock[at] = clock.wrapping_add(self.random.u32(..40_000)),
            2 => bytes[8..12].fill(self.random.u8(..)),
            3 => bytes.truncate(self.random.usize(..bytes.len())),
            4 => bytes[1] = self.random.u8(96..),
            5 => bytes[12..].fill(self.random.u8(..)),
            6..16 => return, // lost
            _ => {}
        }
        self.world.hear(ix, &bytes);
    }

    fn frame(&mut self) {
        for n in 0..PARTIES {
            self.packet(StreamIx(n));
        }
        self.world.wait(20);
        self.look();
        if self.random.u8(..8) == 0 {
            self.look_at_tapes();
        }
    }

    /// What was told: presses without gaps, each begun and ended once, gatherings ended once.
    fn look(&mut self) {
        for output in std::mem::take(&mut self.world.outputs) {
            let Output::Event(event) = output else {
                continue;
            };
            let ix = event.stream.0;
            match event.kind {
                EventKind::DigitBegan(press) => {
                    let next = &mut self.next[usize::from(ix)];
                    // Who is listened to anew presses his first key again.
                    assert!(
                        press.number == *next || press.number == 0,
                        "{}",
                        self.log.join("\n")
                    );
                    *next = press.number + 1;
                    self.open.push((ix, press.number));
                }
                EventKind::DigitEnded(press) => {
                    let open = self.open.len();
                    self.open.retain(|one| *one != (ix, press.number));
                    assert_eq!(self.open.len() + 1, open, "{}", self.log.join("\n"));
                }
                EventKind::Gathered(gathered) => {
                    *self.gathered.entry(gathered.id.0).or_default() += 1;
                }
                _ => {}
            }
        }
    }

    /// What is on tapes: times that do not go back, and of keys and silence nothing but headers.
    fn look_at_tapes(&mut self) {
        for (tape, latest) in &mut self.tapes {
            while let Some(entry) = tape.next() {
                if let Entry::Packet(taped) = entry {
                    let payload = RtpPacket::parse(taped.rtp).map(|it| it.payload().len());
                    let bare = taped.event || taped.silenced;
                    let holds = payload.is_ok_and(|len| !bare || len == 0);
                    assert!(holds && taped.at >= *latest, "{}", self.log.join("\n"));
                    *latest = taped.at;
                }
            }
        }
    }

    /// Everybody leaves: whatever lasts has ended.
    fn finish(mut self) {
        for n in 0..PARTIES {
            let _closed_before = self
                .world
                .call
                .apply(self.world.now, Change::Close(StreamIx(n)));
        }
        self.world.drain();
        self.world.wait(1_000);
        self.look();
        self.look_at_tapes();
        let log = self.log.join("\n");
        assert_eq!(self.open, [], "keys that never come up\n{log}");
        for id in 1..=self.asked {
            assert_eq!(self.gathered.get(&id), Some(&1), "gathering {id}\n{log}");
        }
        for n in 0..PARTIES {
            self.assert_one_clock(StreamIx(n), &log);
        }
    }

    /// One source, numbers without gaps, and audio that runs with the wall's clock.
    fn assert_one_clock(&self, ix: StreamIx, log: &str) {
        let received = self.world.received(ix);
        let mut audio: Option<(u64, u32)> = None;
        for (n, (ms, sent)) in received.iter().enumerate() {
            if let Some((_, before)) = n.checked_sub(1).map(|n| &received[n]) {
                assert_eq!(sent.ssrc(), before.ssrc(), "{ix:?} at {ms}\n{log}");
                let step = sent.seq().wrapping_sub(before.seq());
                // What is lost on the way to the switch is missing where packets pass.
                assert!((1..5_000).contains(&step), "{ix:?} at {ms}: {step}\n{log}");
            }
            if sent.pt() == 0 {
                if let Some((_, before)) = audio {
                    let step = sent.timestamp().wrapping_sub(before) as i32;
                    assert!(step > 0, "{ix:?} at {ms}: {step}\n{log}");
                }
                audio = Some((*ms, sent.timestamp()));
            }
        }
    }
}

fn tone(key: u8, clock: u32) -> [u8; 160] {
    const LOW_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
    const HIGH_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
    let (low, high) = (LOW_HZ[usize::from(key / 4)], HIGH_HZ[usize::from(key % 4)]);
    std::array::from_fn(|n| {
        let at = (clock % 8_000) as f32 / 8_000.0 + n as f32 / 8_000.0;
        let sum = (TAU * low * at).sin() + (TAU * high * at).sin();
        g711::linear_to_ulaw((5_000.0 * sum) as i16)
    })
}

fn live(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..60 {
        for _ in 0..run.random.u8(..4) {
            run.command();
        }
        for _ in 0..run.random.u8(..20) {
            run.frame();
        }
    }
    run.finish();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        max_shrink_iters: 0, // a seed has no smaller one
        ..ProptestConfig::default()
    })]

    /// Whatever is commanded and sent: nothing panics, each listener has one clock, presses are
    /// numbered without gaps, begin and end once, and each gathering ends once.
    #[test]
    fn keys_are_told_once_and_gatherings_end_whatever_happens(seed: u64) {
        live(seed);
    }
}
