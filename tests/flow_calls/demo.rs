//! The demo that is built in, as a new user hears it.

use crosspoint::audio::clip::Clip;
use crosspoint::audio::g711::ulaw_to_linear;
use crosspoint::flow::demo;
use crosspoint::sip::LegStatus;

use crate::flow_support::*;
use crate::support::rtp::{Packet, pcmu};

/// Samples of a sound that are looked for: 100 ms.
const PIECE: usize = 800;
/// How alike they have to be, of 1.
const ALIKE: f64 = 0.98;

/// The loudest piece of a sound of the demo; not of its first 2.5 s, for who has just answered may
/// have begun before it is joined, and not after 7.5 s, when music may be interrupted.
fn piece_of(sound: &str) -> Vec<f64> {
    let file = std::fs::read(format!("src/flow/demo/{sound}.wav")).expect("a sound");
    let clip = Clip::decode(&file).expect("audio");
    let samples: Vec<f64> = clip.samples().iter().map(|s| f64::from(*s)).collect();
    let power = |piece: &&[f64]| piece.iter().map(|s| s * s).sum::<f64>();
    let (from, until) = ((samples.len() / 2).min(20_000), samples.len().min(60_000));
    let pieces = samples[from..until].chunks_exact(PIECE);
    let loudest = pieces.max_by(|a, b| power(a).total_cmp(&power(b)));
    loudest.expect("a piece").to_vec()
}

/// Whether the piece is anywhere in what was heard.
fn has(heard: &[f64], piece: &[f64]) -> bool {
    let power: f64 = piece.iter().map(|s| s * s).sum();
    heard.windows(piece.len()).any(|window| {
        let (mut both, mut own) = (0.0, 0.0);
        for (a, b) in window.iter().zip(piece) {
            both += a * b;
            own += a * a;
        }
        both > ALIKE * (own * power).sqrt() && own > power / 4.0
    })
}

/// Waits until the sound was heard; what came before it is not looked at again.
async fn hears(caller: &Caller, mark: &mut usize, sound: &str) {
    let piece = piece_of(sound);
    let mut seen = *mark;
    until(sound, || {
        let packets: Vec<Packet> = caller.voice.since(seen).into_iter().map(|p| p.1).collect();
        let count = packets.len();
        if count < 25 {
            return false;
        }
        let heard = pcmu(&packets);
        let heard: Vec<f64> = heard
            .iter()
            .map(|c| f64::from(ulaw_to_linear(*c)))
            .collect();
        if has(&heard, &piece) {
            *mark = seen + count;
            return true;
        }
        // What is left may begin a piece.
        seen += count - 10;
        false
    })
    .await;
}

async fn calls_demo(house: &House) -> (Caller, usize) {
    house.flows_of(
        &demo::numbers().expect("it is tested"),
        &["1000", "1001", "1002", "1003", "1004"],
    );
    let caller = Caller::talks(house, "1000", 500.0).await;
    let mut mark = 0;
    hears(&caller, &mut mark, "welcome").await;
    hears(&caller, &mut mark, "menu").await;
    (caller, mark)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_agents_answers_and_talks() {
    let house = House::new("").await;
    let (mut caller, mut mark) = calls_demo(&house).await;
    caller.voice.presses(1);
    hears(&caller, &mut mark, "ringing").await;
    hears(&caller, &mut mark, "agent").await;
    caller.hangs_up().await;
    let wanted = [LegStatus::Canceled, LegStatus::Completed, LegStatus::Busy];
    assert_eq!(house.book.called().await, wanted);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_played_back() {
    let house = House::new("").await;
    let (mut caller, mut mark) = calls_demo(&house).await;
    caller.voice.presses(2);
    hears(&caller, &mut mark, "message").await;
    tokio::time::sleep(ms(2_000)).await;
    caller.voice.presses(11);
    hears(&caller, &mut mark, "recorded").await;
    caller.voice.hears(500.0).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_hears_itself_and_comes_back_to_the_menu() {
    let house = House::new("").await;
    let (mut caller, mut mark) = calls_demo(&house).await;
    caller.voice.presses(3);
    hears(&caller, &mut mark, "echo").await;
    caller.voice.hears(500.0).await;
    caller.voice.presses(0);
    hears(&caller, &mut mark, "menu").await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn music_is_played_until_an_agent_answers() {
    let house = House::new("").await;
    let (mut caller, mut mark) = calls_demo(&house).await;
    caller.voice.presses(4);
    hears(&caller, &mut mark, "queue").await;
    hears(&caller, &mut mark, "music").await;
    hears(&caller, &mut mark, "waiting").await;
    hears(&caller, &mut mark, "agent").await;
    caller.hangs_up().await;
    assert_eq!(house.book.called().await, [LegStatus::Completed]);
    house.leave_empty().await;
}
