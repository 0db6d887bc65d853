//! The demo is what it says, and can be heard.

use super::*;
use crate::audio::clip::Clip;
use crate::flow::run::Flows as _;
use crate::flow::script::Step;

/// Octets of all sounds: they are in every program.
const BYTES_MAX: usize = 600_000;
/// Level of a block of speech below which nobody speaks, in dBFS.
const PAUSE_DB: f64 = -40.0;

#[test]
fn the_demo_is_sound_and_every_applet_can_be_reached() {
    for (name, text) in FLOWS {
        let parsed = parse(name, name, text, &[]).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(parsed.warnings, [], "{name}");
    }
    let numbers = numbers().unwrap();
    assert_eq!(numbers.len(), FLOWS.len());
    let main = numbers.find("1000").unwrap();
    for applet in &main.applets {
        let called: &[String] = match &applet.step {
            Step::Connect(connect) => &connect.to,
            Step::Queue(queue) => &queue.agents,
            _ => continue,
        };
        for to in called {
            let number = to.strip_prefix("local:").unwrap();
            assert!(numbers.find(number).is_some(), "{to}");
        }
    }
    assert!(numbers.find("1005").is_none());
}

#[test]
fn every_sound_is_used_and_at_a_level_that_can_be_heard() {
    let texts = FLOWS.map(|(_, text)| text).concat();
    let mut bytes_all = 0;
    for (name, bytes) in SOUNDS {
        bytes_all += bytes.len();
        assert!(texts.contains(&format!("\"{PREFIX}{name}\"")), "{name}");
        let clip = Clip::decode(bytes).unwrap();
        assert_eq!(clip.rate_hz(), 8_000, "{name}");
        let level = active_db(clip.samples());
        let wanted = match name {
            "music" => -27.0..=-18.0,
            _ => -20.0..=-14.0,
        };
        assert!(wanted.contains(&level), "{name} is at {level:.1} dBFS");
        let peak = clip.samples().iter().map(|s| s.unsigned_abs()).max();
        assert!(peak < Some(30_000), "{name} peaks at {peak:?}");
    }
    assert!(bytes_all < BYTES_MAX, "{bytes_all} octets");
}

/// RMS of all blocks of 20 ms in which there is something, 0 dB being that of a full square wave.
fn active_db(samples: &[i16]) -> f64 {
    let power = |block: &[i16]| {
        let sum: f64 = block.iter().map(|s| f64::from(*s).powi(2)).sum();
        sum / f64::from(u32::try_from(block.len()).unwrap()) / f64::from(i16::MAX).powi(2)
    };
    let (mut sum, mut count) = (0.0, 0.0);
    for block in samples.chunks_exact(160) {
        let power = power(block);
        if 10.0 * power.log10() > PAUSE_DB {
            sum += power;
            count += 1.0;
        }
    }
    10.0 * (sum / count).log10()
}
