//! Recordings of a call in which everything happens: 5 % of the packets lost, clocks 100 ppm off,
//! three holds, silence that is not sent, a callee who comes late and changes its codec. Each party
//! is on its own channel alone, the length is that of the call, and markers are in their places.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test data is far inside every range"
)]

mod engine_support;
mod record_support;
mod recorder_support;

use std::io::Cursor;
use std::time::Duration;

use crosspoint::audio::codec::{CodecConfig, CodecKind};
use crosspoint::audio::opus::OpusConfig;
use crosspoint::engine::*;
use crosspoint::record::config::{Format, Layout};
use crosspoint::record::session::{Command, DiskState, Output, Progress, Session};
use crosspoint::record::sidecar::Sidecar;
use engine_support::{A, B, World, tapes, voice_of};
use record_support::heard::{Heard, Measured};
use record_support::plan::{Happening, Plan, Shape, Turn};
use record_support::{OPUS, PCMA, PCMU};

/// How often a recorder reads its tapes, in milliseconds.
const POLL_MS: u64 = 40;

fn sound(pt: u8, kind: CodecKind) -> TrackType {
    TrackType {
        pt,
        kind: TrackKind::Sound(kind),
    }
}

fn way(pt: u8, out: u8, via: Via) -> PayloadType {
    PayloadType {
        pt,
        out,
        clock_hz: if pt == OPUS { 48_000 } else { 8_000 },
        silence: None,
        event: false,
        via,
    }
}

fn voice(pt: u8, kind: CodecKind) -> Box<Voice> {
    let codec = CodecConfig {
        opus: OpusConfig::at(16_000),
        ..CodecConfig::new(kind)
    };
    voice_of(pt, codec, 20)
}

fn types(ix: StreamIx, kind: PayloadType) -> Change {
    Change::PayloadTypes(ix, [kind].into_iter().collect())
}

/// A call and its recorder in virtual time.
struct Scene {
    world: World,
    session: Session,
    out: Output,
    file: Vec<u8>,
}

impl Scene {
    fn new(format: Format, rate_hz: u32) -> Self {
        let mut world = World::two_party(Privacy::Transparent);
        let [to_a, to_b] = [Companding::AlawToUlaw, Companding::UlawToAlaw].map(Via::Companding);
        world.apply(Change::Voice(A, voice(PCMU, CodecKind::Pcmu)));
        world.apply(Change::Voice(B, voice(PCMA, CodecKind::Pcma)));
        world.apply(types(A, way(PCMU, PCMA, to_b)));
        world.apply(types(B, way(PCMA, PCMU, to_a)));
        let tape = tapes::record(&mut world, 1, &[(A, Side::In), (B, Side::In)]);
        let mut config = recorder_support::config("a", format, Layout::Stereo);
        config.rate_hz = rate_hz;
        config.tracks[0].types = vec![sound(PCMU, CodecKind::Pcmu)];
        config.tracks[1].types = vec![sound(PCMA, CodecKind::Pcma)];
        let mut out = Output::default();
        let started = "2026-01-01T00:00:00.000Z";
        let session = Session::new(config, tape, started, 1, &mut out).expect("a session");
        Self {
            world,
            session,
            out,
            file: Vec::new(),
        }
    }

    fn happens(&mut self, what: Happening<'_>) {
        let party = |n: usize| [A, B][n];
        match what {
            Happening::Packet(from, rtp) => {
                let _taken_or_not = self.world.hear(party(from), rtp);
            }
            // In the engine it was there from the beginning.
            Happening::Turn(Turn::Answer) => {}
            Happening::Turn(Turn::Hold(by, held)) => self.world.apply(Change::Direction {
                stream: party(1 - by),
                sends: !held,
                receives: true,
            }),
            Happening::Turn(Turn::Reoffer) => {
                // The recorder is told at once, and the engine a little later.
                let told = Command::Types(TrackIx(1), vec![sound(OPUS, CodecKind::Opus)]);
                self.session.command(told, self.world.now, &mut self.out);
                let world = &mut self.world;
                world.apply(Change::Voice(B, voice(OPUS, CodecKind::Opus)));
                world.apply(types(A, way(PCMU, OPUS, Via::Decode)));
                world.apply(types(B, way(OPUS, PCMU, Via::Decode)));
            }
        }
    }

    fn poll(&mut self) -> Progress {
        let disk = DiskState {
            room: 1 << 20,
            capacity: 1 << 20,
            error: None,
        };
        let progress = self.session.work(self.world.now, &disk, &mut self.out);
        if self.out.due {
            let out = std::mem::take(&mut self.out);
            self.file.extend(out.bytes);
            if let Some(patch) = out.patch {
                let offset = patch.offset as usize;
                self.file[offset..offset + patch.bytes.len()].copy_from_slice(&patch.bytes);
            }
        }
        progress
    }

    /// The whole call, and what its recording holds.
    fn record(mut self, plan: &Plan) -> (Measured, Sidecar) {
        let mut happenings = plan.happenings().into_iter().peekable();
        let end_ms = (plan.length_s * 1e3) as u64;
        let mut heard = [0; 2];
        while self.world.ms() < end_ms {
            let poll_at = self.world.ms() + POLL_MS;
            while let Some((at_s, what)) =
                happenings.next_if(|(at_s, _)| at_s * 1e3 <= poll_at as f64)
            {
                let at = self.world.start + Duration::from_secs_f64(at_s);
                self.world.wait_until(at);
                self.happens(what);
            }
            self.world
                .wait_until(self.world.start + Duration::from_millis(poll_at));
            for (_, sent) in self.world.heard.drain(..) {
                heard[usize::from(sent.port == engine_support::port(B, Component::Rtp))] += 1;
            }
            self.poll();
        }
        println!("they were sent {heard:?} packets");
        let whole_s = heard.map(|count| f64::from(count) * record_support::FRAME_S);
        assert!(
            whole_s.iter().all(|s| *s > plan.length_s * 0.6),
            "{whole_s:?}"
        );
        let at = self.world.start + Duration::from_millis(end_ms);
        let stop = Command::Stop { at, discard: false };
        self.session.command(stop, self.world.now, &mut self.out);
        while self.poll() == Progress::Running {
            self.world.wait(POLL_MS);
        }
        let sidecar = self.session.sidecar().clone();
        let heard = Heard::read(Cursor::new(self.file));
        (heard.measure(plan, 0.0, plan.length_s), sidecar)
    }
}

/// Records a call and holds it against what recordings are to show.
fn assert_true(format: Format, rate_hz: u32, length_s: f64, markers: usize) {
    let plan = Plan::new(&Shape {
        length_s,
        every_s: 10.0,
        jitter_s: 0.06,
        early: true,
    });
    let (measured, sidecar) = Scene::new(format, rate_hz).record(&plan);
    for (party, track) in sidecar.tracks.iter().enumerate() {
        println!("party {party}: {:?}", track.stats);
        assert_eq!((track.stats.undecoded, track.stats.late), (0, 0));
    }
    measured.assert(markers);
}

#[test]
fn five_minutes_in_virtual_time_are_true() {
    assert_true(Format::Wav, 8_000, 300.0, 20);
}

#[test]
fn an_opus_file_keeps_the_parties_apart() {
    let format = Format::Opus {
        bitrate_bps: 64_000,
    };
    assert_true(format, 16_000, 90.0, 5);
}

#[test]
#[ignore = "minutes: make soak"]
fn half_an_hour_in_virtual_time_is_true() {
    assert_true(Format::Wav, 8_000, 1_800.0, 140);
}
