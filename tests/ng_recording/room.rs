//! A room of three: each on a channel of its own, and all in one.

use std::f64::consts::TAU;

use super::*;

/// Far apart, so that the edges of one tone are not on the line of another.
const HZ: [f32; 3] = [600.0, 1_500.0, 2_400.0];

/// How loud a tone is in a second of sound, in dB of full scale.
fn level_db(second: &[i16], hz: f32) -> f64 {
    let len = second.len() as f64;
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in second.iter().enumerate() {
        let hann = 1.0 - (TAU * n as f64 / len).cos();
        let (sin, cos) = (TAU * f64::from(hz) * n as f64 / 8_000.0).sin_cos();
        re += f64::from(*sample) * hann * cos;
        im += f64::from(*sample) * hann * sin;
    }
    20.0 * (2.0 * re.hypot(im) / len / 32_768.0).log10()
}

#[test]
fn of_three_in_a_room_each_is_on_its_own_channel_and_all_are_in_the_mix() {
    let mut desk = Desk::new(&[]);
    let id = format!("room-{:016x}", fastrand::u64(..));
    let tags = ["anna", "bob", "eve"];
    let mut guests: Vec<_> = tags
        .into_iter()
        .zip(HZ)
        .map(|(tag, hz)| {
            let mut party = Party::new("127.0.0.1", hz);
            let sdp = party.sdp();
            let told = desk.ok("publish", &id, json!({"from-tag": tag, "sdp": sdp}));
            let to = target(told["sdp"].as_str().expect("an SDP"));
            (party, to)
        })
        .collect();
    let all = json!([{"from": "anna", "to": ["bob", "eve"]}, {"from": "bob", "to": ["eve"]}]);
    let mesh = json!({"command": "mesh", "calls": [id], "tags": all, "flags": ["bidirectional"]});
    desk.ng.ok(&mesh);
    let [legs, mix] = ["legs-3", "mono"].map(|layout| {
        let keys = json!({
            "recording-layout": layout, "recording-id": layout,
            "recording-pattern": format!("{{call}}-{layout}"),
        });
        let told = desk.ok("start recording", &id, keys);
        told["recording-file"].as_str().expect("a path").to_owned()
    });
    every_20_ms(100, |_| {
        for (party, to) in &mut guests {
            party.speak(*to);
        }
    });
    desk.ok("stop recording", &id, json!({}));
    let channels = desk.channels(&legs);
    assert_eq!(channels.len(), 3);
    let mix = desk.channels(&mix);
    assert_eq!(mix.len(), 1);
    let middle = |channel: &[i16]| {
        let begun = channel.iter().position(|sample| sample.abs() > 500);
        let from = begun.expect("somebody spoke") + 4_000;
        channel[from..from + 8_000].to_vec()
    };
    let levels = |channel: &Vec<i16>| HZ.map(|hz| level_db(&middle(channel), hz));
    let mixed = levels(&mix[0]);
    for (own, channel) in channels.iter().enumerate() {
        let levels = levels(channel);
        println!("channel {own}: {levels:.1?} dB");
        for (other, level) in levels.iter().enumerate() {
            let is_there = *level > -25.0;
            assert_eq!(is_there, own == other, "channel {own}: {levels:?}");
            assert!(is_there || level - levels[own] < -60.0, "{levels:?}");
        }
    }
    println!("all in one: {mixed:.1?} dB");
    assert!(mixed.iter().all(|level| *level > -25.0), "{mixed:?}");
}
