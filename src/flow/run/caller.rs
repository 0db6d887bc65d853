//! Applets for the caller alone: keys, tones, hours, echo.

use std::time::Duration;

use super::Over;
use super::live::{CALLER, Live};
use crate::engine::{
    GATHER_ATTEMPTS_MAX, GATHER_WAIT_MAX, GatherEnd, GatherRules, Gathered, Keys, OtherKeys,
};
use crate::flow::script::{GatherStep, Hours, Menu, Next, Prompt};
use crate::sip::Cause;
use crate::switch::{
    Gather, LegSides, Participants, RecordLayout, RecordRequest, Recorded, SwitchError, Track,
};

/// How long one ring is.
const RING: Duration = Duration::from_secs(6);
/// Name of what the applet `record` records.
const RECORDING: &str = "call";

/// A prompt at each attempt.
fn prompts(first: &Prompt, again: Option<&Prompt>, retries: u8) -> Vec<Vec<Track>> {
    let tracks = |prompt: &Prompt| prompt.iter().cloned().map(Track::from).collect();
    let attempts = usize::from(retries).saturating_add(1);
    (0..attempts.min(GATHER_ATTEMPTS_MAX))
        .map(|attempt| match again.filter(|_| attempt > 0) {
            Some(again) => tracks(again),
            None => tracks(first),
        })
        .collect()
}

/// Gathers keys of the caller; `None` if it cannot be done, which the log says.
pub(super) async fn keys(live: &Live, wanted: &Gather) -> Result<Option<Gathered>, Over> {
    let who = Participants::Tag(CALLER);
    match live.switch().gather(&live.sid, who, wanted).await {
        Ok(gathering) => Ok(Some(gathering.result().await)),
        Err(SwitchError::UnknownCall) => Err(Over(Cause(500))),
        Err(error) => {
            tracing::warn!(call_id = %live.sid, %error, "no keys gathered");
            Ok(None)
        }
    }
}

/// Rules for one key of these, without a prompt.
pub(super) fn one_of(keys: Keys, wait: Duration) -> Gather {
    let rules = GatherRules {
        accepted: keys,
        first_digit: wait.min(GATHER_WAIT_MAX),
        ..GatherRules::default()
    };
    Gather {
        prompts: vec![Vec::new()],
        ..Gather::of(rules, [])
    }
}

pub(super) async fn menu(live: &Live, menu: &Menu) -> Result<Next, Over> {
    live.answer().await?;
    let text: String = menu.keys.keys().collect();
    let rules = GatherRules {
        accepted: Keys::from_text(&text).unwrap_or(Keys::ALL),
        others: OtherKeys::Invalid,
        first_digit: menu.timeout.min(GATHER_WAIT_MAX),
        type_ahead: true,
        ..GatherRules::default()
    };
    let mut wanted = Gather::of(rules, []);
    wanted.prompts = prompts(&menu.prompt, menu.retry.as_ref(), menu.retries);
    let Some(gathered) = keys(live, &wanted).await? else {
        return Ok(menu.on_timeout);
    };
    let pressed = gathered.digits.to_string();
    live.pressed(&pressed, false);
    let key = pressed.chars().next();
    Ok(
        match (gathered.end, key.and_then(|key| menu.keys.get(&key))) {
            (GatherEnd::DigitsMax, Some(next)) => *next,
            (GatherEnd::Invalid, _) => menu.on_invalid,
            _ => menu.on_timeout,
        },
    )
}

pub(super) async fn gather(live: &Live, step: &GatherStep) -> Result<Next, Over> {
    live.answer().await?;
    let rules = GatherRules {
        digits_max: step.digits_max,
        digits_min: step.digits_min,
        first_digit: step.timeout.min(GATHER_WAIT_MAX),
        inter_digit: step.key_timeout.min(GATHER_WAIT_MAX),
        finish: step.finish.into_iter().collect(),
        type_ahead: step.type_ahead,
        ..GatherRules::default()
    };
    let mut wanted = Gather::of(rules, []);
    wanted.prompts = prompts(&step.prompt, step.retry.as_ref(), step.retries);
    let Some(gathered) = keys(live, &wanted).await? else {
        return Ok(step.on_timeout);
    };
    let pressed = gathered.digits.to_string();
    let enough = pressed.len() >= usize::from(step.digits_min);
    live.pressed(&pressed, enough);
    Ok(match gathered.end {
        GatherEnd::DigitsMax | GatherEnd::FinishKey => step.next,
        GatherEnd::InterDigitTimeout if enough => step.next,
        GatherEnd::Invalid | GatherEnd::InterDigitTimeout => step.on_invalid,
        _ => step.on_timeout,
    })
}

/// Where a call goes at this moment.
pub(super) fn hours(hours: &Hours, now: &jiff::Timestamp) -> Next {
    let there = now.to_zoned(hours.zone.clone());
    let day = usize::try_from(there.weekday().to_monday_zero_offset()).unwrap_or(0);
    let minutes = |part: i8| u16::try_from(part).unwrap_or(0);
    let minute = minutes(there.hour()) * 60 + minutes(there.minute());
    let spans = hours.week.get(day).map_or(&[][..], Vec::as_slice);
    let within = |(from, until): &(u16, u16)| (*from..*until).contains(&minute);
    let open = spans.iter().any(within) && !hours.holidays.contains(&there.date());
    if open { hours.open } else { hours.closed }
}

/// Begins or ends the recording of the call.
pub(super) async fn record(live: &Live, on: bool) -> Result<(), Over> {
    if !on {
        // It may have ended by itself.
        let _ended = live
            .switch()
            .stop_recording(&live.sid, Some(RECORDING), false);
        return Ok(());
    }
    live.answer().await?;
    // On the left what it says, on the right what it hears: of the flow, or of whom it talks with.
    let request = RecordRequest {
        name: RECORDING,
        what: Recorded::Legs(vec![(Participants::Tag(CALLER), LegSides::Both)]),
        layout: RecordLayout::Stereo,
        ..RecordRequest::default()
    };
    match live.switch().start_recording(&live.sid, &request).await {
        Ok(started) => live.recorded(RECORDING, &started.path),
        Err(error) => live.warn("not recorded", &error),
    }
    Ok(())
}

pub(super) async fn tone(live: &Live, tone: &str, limit: Duration) -> Result<(), Over> {
    live.answer().await?;
    sound(live, tone, Some(limit));
    tokio::time::sleep(limit).await;
    Ok(())
}

/// Begins a tone for the caller.
pub(super) fn sound(live: &Live, tone: &str, limit: Option<Duration>) {
    live.tone_to(CALLER, tone, limit);
}

/// The caller hears itself, until a key or for so long.
pub(super) async fn echo(live: &Live, limit: Duration) -> Result<(), Over> {
    live.answer().await?;
    let who = Participants::Tag(CALLER);
    let switch = live.switch();
    if let Err(error) = switch.echo(&live.sid, who, true) {
        live.warn("no echo", &error);
        return Ok(());
    }
    let pressed = keys(live, &one_of(Keys::ALL, limit)).await?;
    if let Some(gathered) = pressed {
        live.pressed(&gathered.digits.to_string(), false);
    }
    // The call may be gone.
    let _gone = switch.echo(&live.sid, who, false);
    live.fill();
    Ok(())
}

/// Rings for so long, if the caller is not answered yet.
pub(super) async fn ring_for(live: &Live, time: Duration) -> Result<(), Over> {
    if time.is_zero() || live.is_answered() {
        return Ok(());
    }
    live.ring(false).await?;
    tokio::time::sleep(time).await;
    Ok(())
}

/// Rings, and does not answer.
pub(super) async fn missed_call(live: &Live, rings: u32) -> Result<Next, Over> {
    live.ring(false).await?;
    tokio::time::sleep(RING.saturating_mul(rings)).await;
    Err(Over(Cause(480)))
}
