//! Members of a bridge who are asked for keys: their packets leave a little behind its frames, and
//! nothing of what the others say is lost by that.

use std::ops::Range;
use std::time::Duration;

use crosspoint::audio::codec::CodecConfig;
use crosspoint::audio::mix::Gain;
use crosspoint::engine::*;

use crate::engine_support::*;
use crate::{AUDIO_PT, ID, L16, clip, config, join, l16};

const PACKET_MS: u64 = 20;

/// What one says is known by its samples: they count, and are never 0.
const SAMPLES: u64 = 9_000;

/// A call of parties of L16 at 8 kHz in a bridge, each talking in packets of 20 ms.
struct Room {
    world: World,
    random: fastrand::Rng,
    /// Packets of each so far, and where within 20 ms they come.
    sent: Vec<(u64, u64)>,
}

fn sample(n: u64) -> i16 {
    (n % SAMPLES) as i16 + 1
}

impl Room {
    fn new(seed: u64, ptimes_ms: &[u8]) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(Timers::default());
        for ptime_ms in ptimes_ms {
            let ix = join(&mut world, *ptime_ms);
            speak(&mut world, ix, *ptime_ms);
        }
        let sent = ptimes_ms.iter().map(|_| (0, random.u64(..PACKET_MS)));
        let mut room = Self {
            world,
            sent: sent.collect(),
            random,
        };
        room.pass(0, 100);
        room.meet(0..ptimes_ms.len());
        room
    }

    /// These are in the bridge, and nobody else.
    fn meet(&mut self, members: Range<usize>) {
        let members = members.map(|n| Member {
            stream: StreamIx(n as u16),
            talks: true,
            listens: true,
            gain: Gain::UNITY,
        });
        let bridge = BridgeConfig {
            members: members.collect(),
            ..BridgeConfig::default()
        };
        self.world
            .apply(Change::Bridge(BridgeIx(0), Box::new(bridge)));
    }

    /// Time passes, in which the party of index `talker` talks, and the others say nothing aloud.
    fn pass(&mut self, talker: usize, ms: u64) {
        for _ in 0..ms {
            self.world.wait(1);
            self.say(talker);
        }
    }

    /// What is due by now comes.
    fn say(&mut self, talker: usize) {
        let now = self.world.ms();
        for (n, (packets, phase)) in self.sent.iter_mut().enumerate() {
            while *packets * PACKET_MS + *phase <= now {
                let first = *packets * 160;
                let pcm = (first..first + 160).map(sample);
                let pcm = pcm.map(|said| if n == talker { said } else { 0 });
                let payload: Vec<u8> = pcm.flat_map(i16::to_be_bytes).collect();
                let ssrc = 100 + n as u32;
                let (seq, timestamp) = (*packets as u16, *packets as u32 * 160);
                let packet = rtp(AUDIO_PT, seq, timestamp, ssrc, &payload);
                self.world.hear(StreamIx(n as u16), &packet);
                *packets += 1;
            }
        }
    }

    /// Asks the first party for keys, beside what the others say, with a prompt of silence.
    fn ask(&mut self, ms: usize) {
        let mut silent = config([Some(clip(ms, 0))]);
        silent.layer = Layer::Beside;
        crate::gather(&mut self.world, silent);
    }

    fn stop_asking(&mut self) {
        self.world.apply(Change::StopGather {
            stream: A,
            id: Some(ID),
        });
    }

    /// The packets that the first party was sent since some millisecond.
    fn received(&self, since: u64) -> Vec<(u64, Sent)> {
        let received = self.world.received(A).into_iter();
        received.filter(|(ms, _)| *ms >= since).collect()
    }
}

/// A party speaks in packets of so many milliseconds, and is heard 40 ms later.
fn speak(world: &mut World, ix: StreamIx, ptime_ms: u8) {
    let mut voice = voice_of(AUDIO_PT, CodecConfig::new(L16), ptime_ms);
    voice.playout.fixed_ms = Some(40);
    world.apply(Change::Voice(ix, voice));
}

/// Where within 20 ms packets left, in order, each once.
fn phases(received: &[(u64, Sent)]) -> Vec<u64> {
    let mut phases: Vec<_> = received.iter().map(|(ms, _)| ms % PACKET_MS).collect();
    phases.dedup();
    phases
}

/// One SSRC, numbers without a gap, and timestamps that never claim a moment twice; by how many
/// ticks the clock was ahead of where it was before, at most.
#[track_caller]
fn assert_one_clock(received: &[(u64, Sent)]) -> i64 {
    let late = |(ms, sent): &(u64, Sent)| {
        let since = sent.timestamp().wrapping_sub(received[0].1.timestamp());
        *ms as i64 * 8 - i64::from(since)
    };
    for pair in received.windows(2) {
        let [(_, before), (_, after)] = pair else {
            unreachable!()
        };
        assert_eq!(after.ssrc(), before.ssrc());
        assert_eq!(after.seq(), before.seq().wrapping_add(1));
        let ticks = after.timestamp().wrapping_sub(before.timestamp());
        assert!(
            ticks >= l16(before).len() as u32 && ticks < 1 << 20,
            "{ticks}"
        );
        assert!(ticks == l16(before).len() as u32 || after.marker());
    }
    let least = received.iter().map(late).min().unwrap();
    received.iter().map(late).max().unwrap() - least
}

/// Whatever the packets of all are: of what another one says every sample is heard, once and in
/// order, as a gathering begins, goes on and ends, twenty times.
#[test]
fn what_the_others_say_goes_on_to_the_sample() {
    const PTIMES_MS: [[u8; 3]; 7] = [
        [20, 20, 20],
        [20, 20, 20],
        [20, 20, 30],
        [40, 20, 20],
        [10, 20, 20],
        [30, 20, 20],
        [60, 20, 40],
    ];
    for (ptimes_ms, seed) in PTIMES_MS.into_iter().cycle().zip(0..28) {
        let mut room = Room::new(seed, &ptimes_ms);
        room.pass(1, 1_000); // until its playout has settled
        let started = room.world.ms();
        for _ in 0..20 {
            room.ask(5_000);
            let ms = room.random.u64(100..400);
            room.pass(1, ms);
            room.stop_asking();
            let ms = room.random.u64(60..200);
            room.pass(1, ms);
        }
        let received = room.received(started);
        let said: Vec<i16> = received.iter().flat_map(|(_, sent)| l16(sent)).collect();
        let first = u64::try_from(said[0] - 1).expect("something was said");
        let expected = (first..).map(sample);
        let differs = said.iter().zip(expected).position(|(a, b)| *a != b);
        assert_eq!(differs, None, "{seed} {ptimes_ms:?} of {}", said.len());
        // It moves by less than a packet, however often it is asked.
        let moves = assert_one_clock(&received);
        assert!(moves <= 160, "{seed} {ptimes_ms:?}: {moves}");
    }
}

/// While the prompt is played packets leave 2 to 6 ms behind the party's own, and before and after
/// it with everybody's.
#[test]
fn packets_are_behind_while_a_prompt_may_be_stopped() {
    let mut moved = 0;
    for seed in 0..40 {
        let mut room = Room::new(seed, &[20, 20, 20]);
        room.pass(1, 300);
        let at = room.world.ms();
        room.pass(1, 200);
        let tick = phases(&room.received(at));
        assert_eq!(tick.len(), 1, "{seed}");
        let ms = room.random.u64(..20);
        room.pass(1, ms);
        room.ask(1_000);
        room.pass(1, 60);
        let at = room.world.ms();
        room.pass(1, 500);
        let asked = phases(&room.received(at));
        let behind = (asked[0] + PACKET_MS - room.sent[0].1) % PACKET_MS;
        assert!(
            asked.len() == 1 && (2..=6).contains(&behind),
            "{seed}: {behind}"
        );
        moved += u64::from(asked != tick);
        // The prompt ends by itself.
        room.pass(1, 500);
        let at = room.world.ms();
        room.pass(1, 200);
        assert_eq!(phases(&room.received(at)), tick, "{seed}");
    }
    assert!(moved > 20, "{moved}");
}

/// Twenty times it leaves the bridge while it is behind, and comes back: its clock does not run
/// away.
#[test]
fn who_leaves_the_bridge_meanwhile_keeps_its_clock() {
    for seed in 0..20 {
        let mut room = Room::new(seed, &[20, 20, 20]);
        room.pass(1, 300);
        let started = room.world.ms();
        for _ in 0..20 {
            room.ask(5_000);
            let ms = room.random.u64(60..150);
            room.pass(1, ms);
            room.meet(1..3);
            let ms = room.random.u64(1..100);
            room.pass(1, ms);
            room.stop_asking();
            room.meet(0..3);
            let ms = room.random.u64(60..150);
            room.pass(1, ms);
        }
        let moves = assert_one_clock(&room.received(started));
        assert!(moves <= 160, "{seed}: {moves}");
    }
}

/// Whatever else happens to a bridge meanwhile, its member's clock is one. Members that come and go
/// and other packets move it, with or without a prompt, and so do timers that are late.
#[test]
fn whatever_happens_the_clock_is_one() {
    for seed in 0..60 {
        let late_ms = if seed % 2 == 0 { 0 } else { 100 };
        let mut room = Room::new(seed, &[20, 20, 20]);
        room.pass(1, 300);
        let started = room.world.ms();
        for _ in 0..60 {
            match room.random.u8(..10) {
                0..3 => room.ask(2_000),
                3 => room.stop_asking(),
                4 => room.meet(0..3),
                5 => room.meet(0..2),
                8 => room.meet(1..3),
                6 => room.sent[0].1 = room.random.u64(..PACKET_MS),
                7 => {
                    let ms = room.random.u64(..=late_ms);
                    room.world.now += Duration::from_millis(ms);
                    let now = room.world.now;
                    room.world.call.handle_timeout(now);
                    room.world.drain();
                }
                _ => {
                    let ptime_ms = [10, 20, 30, 40][room.random.usize(..4)];
                    let other = StreamIx(room.random.u16(..3));
                    speak(&mut room.world, other, ptime_ms);
                }
            }
            let ms = room.random.u64(..150);
            room.pass(1, ms);
        }
        let moves = assert_one_clock(&room.received(started));
        // Of 200 seeds each, prompts that no key may stop: 640, and 1,176 with late timers.
        let most = if late_ms == 0 { 640 } else { 1_320 };
        assert!(moves <= most, "{seed}: {moves}");
    }
}
