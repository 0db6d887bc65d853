//! The applet `queue`: music and announcements until an agent is free and answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Over;
use super::caller::one_of;
use super::connect::{Rang, Ring, ring_all};
use super::live::{CALLER, Live};
use super::talk::Talk;
use super::waiting::{Claim, Place};
use crate::engine::{GATHER_ATTEMPTS_MAX, GatherEnd, Keys};
use crate::flow::script::{Early, Next, Queue};
use crate::switch::{Gathering, Participants};

/// How long an agent that did not answer is left alone: another one is tried before.
const UNANSWERED_REST: Duration = Duration::from_secs(2);
/// Longest conversation with an agent.
const TALK_MAX: Duration = Duration::from_secs(14_400);

/// What ended the waiting.
enum Waited {
    Served(Claim, Box<Talk>),
    Left,
    TooLong,
}

pub(super) async fn queue(live: &Arc<Live>, queue: &Queue) -> Result<Next, Over> {
    let place = match queue.agents.is_empty() {
        true => None,
        false => {
            let queues = &live.desk.queues;
            queues.enter(&queue.name, queue.priority, queue.max_size)
        }
    };
    let Some(place) = place else {
        return Ok(queue.on_full);
    };
    live.answer().await?;
    let waited = wait(live, queue, &place).await?;
    drop(place);
    live.hush().await;
    let who = Participants::Tag(CALLER);
    // It may be over, or never have begun.
    let _over = live.switch().cancel_gather(&live.sid, who, None);
    Ok(match waited {
        Waited::Served(mut claim, talk) => {
            claim.rest = queue.wrap_up;
            talk.until_over(live, TALK_MAX, Some(claim)).await;
            queue.answered
        }
        Waited::Left => queue.on_leave,
        Waited::TooLong => queue.on_timeout,
    })
}

/// Waits for whatever comes first; what is left of the others is dropped, and so hung up.
async fn wait(live: &Arc<Live>, queue: &Queue, place: &Place) -> Result<Waited, Over> {
    let leave = leave_key(live, queue).await;
    live.fill();
    live.play_on(&queue.music, Duration::ZERO).await?;
    let end = Instant::now() + queue.max_wait;
    tokio::select! {
        biased;
        served = served(live, queue, place) => served,
        left = pressed(live, leave) => Ok(left),
        over = announced(live, queue) => Err(over),
        () = sleep_until(end) => Ok(Waited::TooLong),
    }
}

/// Begins to listen for the key that leaves the queue.
async fn leave_key(live: &Live, queue: &Queue) -> Option<Gathering> {
    let keys: Keys = queue.leave_key.into_iter().collect();
    if keys == Keys::NONE {
        return None;
    }
    let mut wanted = one_of(keys, queue.max_wait);
    wanted.prompts = vec![Vec::new(); GATHER_ATTEMPTS_MAX];
    let who = Participants::Tag(CALLER);
    let begun = live.switch().gather(&live.sid, who, &wanted).await;
    begun
        .inspect_err(|error| live.warn("no key to leave by", error))
        .ok()
}

async fn pressed(live: &Live, leave: Option<Gathering>) -> Waited {
    if let Some(gathering) = leave {
        let gathered = gathering.result().await;
        if gathered.end == GatherEnd::DigitsMax {
            live.pressed(&gathered.digits.to_string(), false);
            return Waited::Left;
        }
    }
    std::future::pending().await
}

/// Lets agents ring, one after another, until one answers.
async fn served(live: &Arc<Live>, queue: &Queue, place: &Place) -> Result<Waited, Over> {
    let ring = Ring {
        early: Early::Ringback,
        has_music: true,
        timeout: queue.ring_timeout,
        caller_id: None,
        whisper: None,
    };
    loop {
        let claim = place.agent(&queue.agents, UNANSWERED_REST).await;
        let agent = [claim.agent.clone()];
        if let Rang::Answered(talk) = ring_all(live, &agent, &ring).await? {
            return Ok(Waited::Served(claim, talk));
        }
    }
}

/// Plays announcements now and then; the music goes on where it was.
async fn announced(live: &Live, queue: &Queue) -> Over {
    let Some(announce) = &queue.announce else {
        return std::future::pending().await;
    };
    let mut music = queue.music.clone();
    loop {
        tokio::time::sleep(queue.announce_every).await;
        let mut start = Duration::ZERO;
        if let Some(stopped) = live.interrupt().await {
            let item = usize::from(stopped.item).min(music.len());
            music.rotate_left(item);
            start = stopped.position;
        }
        let said = live.say(announce).await;
        let on = match said {
            Ok(()) => live.play_on(&music, start).await,
            Err(over) => Err(over),
        };
        if let Err(over) = on {
            return over;
        }
    }
}
