//! The applet `queue`.

use crosspoint::flow::script::{Queue, Step};
use crosspoint::sip::LegStatus;
use crosspoint::wire::event::Digit;

use crate::flow_support::*;

/// What leads on from a queue: answered, left, too long, full.
const ON_HZ: [f32; 4] = BRANCHES_HZ;
const MUSIC_HZ: [f32; 2] = [600.0, 1_900.0];

fn queue(agents: &[String]) -> Queue {
    Queue {
        name: "sales".to_owned(),
        agents: agents.to_vec(),
        music: MUSIC_HZ.iter().map(|hz| sound((*hz).into(), 400)).collect(),
        announce: None,
        announce_every: ms(30_000),
        priority: 0,
        max_wait: ms(60_000),
        max_size: 10,
        leave_key: Digit::from_char('9'),
        ring_timeout: ms(5_000),
        wrap_up: ms(300),
        answered: Some(1),
        on_leave: Some(2),
        on_timeout: Some(3),
        on_full: Some(4),
    }
}

fn queued(queue: Queue) -> Vec<Step> {
    let branches = ON_HZ.map(|hz| greeting(hz.into(), 10_000, END));
    let first = std::iter::once(Step::Queue(Box::new(queue)));
    first.chain(branches).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn music_is_heard_until_an_agent_answers() {
    let house = House::new("").await;
    let mut agent = Callee::new(&house, 800.0).await;
    let mut step = queue(&[agent.uri()]);
    // None of these ends a conversation.
    (step.max_wait, step.announce_every) = (ms(1_500), ms(1_200));
    step.announce = Some(prompt(2_500.0, 200));
    house.flow("1000", queued(step));
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    agent.rings().await;
    caller.voice.hears(MUSIC_HZ[0]).await;
    caller.voice.hears(MUSIC_HZ[1]).await;
    agent.answers().await;
    caller.voice.hears(800.0).await;
    agent.voice.hears(500.0).await;
    let mark = caller.voice.mark();
    caller.voice.presses(9);
    caller.voice.next(100).await;
    let (with, all) = caller.voice.windows_of(mark, 800.0);
    assert_eq!(with, all, "nothing but the agent for two seconds");
    agent.hangs_up().await;
    caller.voice.hears(ON_HZ[0]).await;
    caller.hangs_up().await;
    caller.voice.heard_one_stream();
    assert_eq!(house.book.called().await, [LegStatus::Completed]);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn music_goes_on_at_its_place_after_an_announcement() {
    let house = House::new("").await;
    let mut agent = Callee::new(&house, 800.0).await;
    let mut step = queue(&[agent.uri()]);
    // A chord of its own in each half second, so that every place of it is known.
    let music_hz: Vec<f32> = (0..8_u8).map(|n| 400.0 + 150.0 * f32::from(n)).collect();
    step.music = music_hz.iter().map(|hz| sound((*hz).into(), 500)).collect();
    step.announce = Some(prompt(2_500.0, 300));
    step.announce_every = ms(900);
    house.flow("1000", queued(step));
    let mut caller = Caller::talks(&house, "1000", 300.0).await;
    agent.rings().await;
    caller.voice.next(190).await;
    let sound = caller.voice.sound_since(0);
    // What is heard in each packet: a sound of the music, or the announcement.
    let heard: Vec<Option<usize>> = sound
        .chunks_exact(160)
        .map(|p| loudest(p, &music_hz))
        .collect();
    let runs = runs(&heard);
    // After 900 ms it is within a sound, whose rest follows the announcement.
    let split: Vec<usize> = runs
        .windows(3)
        .filter(|w| w[1].0.is_none() && w[1].1 >= 13)
        .map(|w| {
            assert_eq!(w[0].0, w[2].0, "it goes on where it was: {runs:?}");
            w[0].1 + w[2].1
        })
        .collect();
    assert!(split.len() >= 2, "two announcements: {runs:?}");
    // The rest of a third one may not have been heard.
    for length in split.into_iter().take(2) {
        assert!(
            (23..=27).contains(&length),
            "{length} packets of 25: {runs:?}"
        );
    }
    caller.hangs_up().await;
    agent.is_cancelled().await;
    caller.voice.heard_one_stream();
    house.leave_empty().await;
}

/// Which of these tones is the sound.
fn loudest(packet: &[u8], hz: &[f32]) -> Option<usize> {
    let share = |hz: &f32| tone_share(packet, *hz);
    let (ix, best) = hz
        .iter()
        .map(share)
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    (best > 0.7).then_some(ix)
}

/// Equal neighbours, counted.
fn runs(heard: &[Option<usize>]) -> Vec<(Option<usize>, usize)> {
    let mut runs: Vec<(Option<usize>, usize)> = Vec::new();
    for what in heard {
        match runs.last_mut() {
            Some((last, count)) if last == what => *count += 1,
            _ => runs.push((*what, 1)),
        }
    }
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_leaves_the_queue() {
    let house = House::new("").await;
    let mut agent = Callee::new(&house, 800.0).await;
    house.flow("1000", queued(queue(&[agent.uri()])));
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    agent.rings().await;
    caller.voice.hears(MUSIC_HZ[1]).await;
    caller.voice.presses(5);
    caller.voice.hears(MUSIC_HZ[0]).await;
    caller.voice.presses(9);
    agent.is_cancelled().await;
    caller.voice.hears(ON_HZ[1]).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_it_takes_too_long() {
    let house = House::new("").await;
    let mut agent = Callee::new(&house, 800.0).await;
    let mut step = queue(&[agent.uri()]);
    step.max_wait = ms(600);
    house.flow("1000", queued(step));
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    agent.rings().await;
    agent.is_cancelled().await;
    caller.voice.hears(ON_HZ[2]).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_first_talks_first_and_an_agent_rests() {
    let house = House::new("").await;
    let mut agent = Callee::new(&house, 800.0).await;
    let mut step = queue(&[agent.uri()]);
    step.max_size = 2;
    house.flow("1000", queued(step));
    let mut first = Caller::talks(&house, "1000", 500.0).await;
    agent.rings().await;
    let mut second = Caller::talks(&house, "1000", 1_000.0).await;
    second.voice.hears(MUSIC_HZ[0]).await;
    let mut third = Caller::talks(&house, "1000", 2_000.0).await;
    third.voice.hears(ON_HZ[3]).await;
    third.hangs_up().await;
    agent.answers().await;
    agent.voice.hears(500.0).await;
    first.hangs_up().await;
    agent.is_hung_up().await;
    let free = std::time::Instant::now();
    agent.rings().await;
    assert!(free.elapsed() > ms(250), "it rested");
    agent.answers().await;
    agent.voice.hears(1_000.0).await;
    second.hangs_up().await;
    agent.is_hung_up().await;
    house.leave_empty().await;
}
