//! The keys of one party: kept for later, and gathered by rules.
//!
//! Mutate ([`Collector::key_down`], [`Collector::prompt_ended`] …), then take [`Step`]s out of
//! [`Collector::poll`] until there is none, then sleep until [`Collector::next_timeout`].

use std::collections::VecDeque;

use super::{
    AtPrompt, Digits, GATHER_HELD_MAX, GatherEnd, GatherId, GatherRules, Gathered, OtherKeys,
    TYPE_AHEAD_MAX,
};
use crate::engine::time::{Micros, micros};
use crate::wire::event::Digit;

/// Keys are listened to for so long after the last one of a gathering: longer than a receiver
/// remembers what has ended.
const LASTS_US: u64 = 5_000_000;

/// Keys that wait, and what is being gathered.
#[derive(Debug)]
pub(in crate::engine) struct Collector {
    /// Pressed and not yet taken, oldest first.
    ahead: VecDeque<(Digit, Micros)>,
    /// Keys are kept while nothing is gathered.
    keeps: bool,
    /// The latest press, by its number, and when it was reported; `None` when it is over.
    down: Option<(u32, Micros)>,
    /// Until when keys are of use though nothing is gathered.
    lasts_until: Micros,
    running: Option<Running>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Step {
    /// Play the prompt of this attempt, from 0: say [`Collector::prompt_ended`] when it is over, or
    /// [`Collector::unprompted`] if there is none.
    Prompt(u8),
    /// Stop the prompt.
    Interrupt,
    /// That is all; nothing of it is to be played any more.
    End(Gathered),
}

#[derive(Debug)]
struct Running {
    id: GatherId,
    rules: GatherRules,
    attempts: u8,
    began: Micros,
    /// Which one, from 0.
    attempt: u8,
    phase: Phase,
    digits: Digits,
    prompt_ended: Option<Micros>,
    /// When the first and the last key of this attempt went down.
    pressed: Option<(Micros, Micros)>,
    /// When the next key is late.
    due: Micros,
    /// The latest key that was taken is still down, since then.
    held: Option<Micros>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// An attempt is to begin.
    Begins,
    /// Its prompt is played.
    Prompts,
    /// Keys are taken.
    Takes,
}

impl Collector {
    pub(in crate::engine) fn new() -> Self {
        Self {
            // All that it will ever need: keys arrive with packets, where nothing is allocated.
            ahead: VecDeque::with_capacity(TYPE_AHEAD_MAX),
            keeps: false,
            down: None,
            lasts_until: Micros::ZERO,
            running: None,
        }
    }

    /// Whether keys are kept while nothing is gathered; those that wait are forgotten if not.
    pub(in crate::engine) fn set_type_ahead(&mut self, keeps: bool) {
        self.keeps = keeps;
        if !keeps && self.running.is_none() {
            self.ahead.clear();
        }
    }

    /// Whether it is to be told of keys. What was heard last is listened to for a while after it: a
    /// key that is still down, or whose last packets are under way, is not to be another one for
    /// the next gathering.
    pub(in crate::engine) fn wants_keys(&self, now: Micros) -> bool {
        self.keeps || self.running.is_some() || self.down.is_some() || now < self.lasts_until
    }

    /// Whether a key would stop the prompt now.
    pub(in crate::engine) fn may_interrupt(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| {
            running.phase == Phase::Prompts && running.rules.at_prompt == AtPrompt::Stop
        })
    }

    /// Begins to gather, with so many attempts. Whatever was being gathered must be stopped before.
    pub(in crate::engine) fn begin(
        &mut self,
        now: Micros,
        id: GatherId,
        rules: GatherRules,
        attempts: u8,
    ) {
        if !rules.type_ahead {
            self.ahead.clear();
        }
        self.running = Some(Running {
            id,
            rules,
            attempts,
            began: now,
            attempt: 0,
            phase: Phase::Begins,
            digits: Digits::default(),
            prompt_ended: None,
            pressed: None,
            due: Micros::NEVER,
            held: None,
        });
    }

    /// Ends what is being gathered, whose name this is if one is given. Keys that it leaves are for
    /// the next one only where keys are kept.
    pub(in crate::engine) fn stop(
        &mut self,
        now: Micros,
        id: Option<GatherId>,
        end: GatherEnd,
    ) -> Option<Gathered> {
        let stopped = self
            .running
            .take_if(|running| id.is_none_or(|id| id == running.id))?;
        if !self.keeps {
            self.ahead.clear();
        }
        // Polled once more, even if no key ever came.
        self.lasts_until = self.lasts_until.max(now).max(Micros(1));
        Some(stopped.result(now, end))
    }

    /// A key went down at `began`, and is told of now.
    pub(in crate::engine) fn key_down(
        &mut self,
        now: Micros,
        began: Micros,
        press: u32,
        digit: Digit,
    ) {
        let heeded = self
            .running
            .as_ref()
            .map_or(self.keeps, |it| it.heeds(began));
        if self.running.is_some() {
            self.down = Some((press, now));
            self.lasts_until = now.plus(LASTS_US);
        }
        if !heeded {
            return;
        }
        if self.ahead.len() == TYPE_AHEAD_MAX {
            self.ahead.pop_front();
        }
        self.ahead.push_back((digit, began));
    }

    /// It came up.
    pub(in crate::engine) fn key_up(&mut self, now: Micros, press: u32) {
        if self.down.take_if(|(down, _)| *down == press).is_none() {
            return;
        }
        self.lasts_until = now.plus(LASTS_US);
        if let Some(running) = &mut self.running
            && running.held.take().is_some()
        {
            running.due = now.plus(micros(running.rules.inter_digit));
        }
    }

    /// The prompt that was asked for is over.
    pub(in crate::engine) fn prompt_ended(&mut self, now: Micros) {
        if let Some(running) = &mut self.running
            && running.phase == Phase::Prompts
        {
            running.prompt_ended = Some(now);
            running.take_keys(now);
        }
    }

    /// There is nothing to play at this attempt.
    pub(in crate::engine) fn unprompted(&mut self, now: Micros) {
        if let Some(running) = &mut self.running
            && running.phase == Phase::Prompts
        {
            running.take_keys(now);
        }
    }

    /// When to poll next; the epoch: at once.
    pub(in crate::engine) fn next_timeout(&self) -> Micros {
        let Some(running) = &self.running else {
            return match self.down {
                None if self.lasts_until > Micros::ZERO => self.lasts_until,
                _ => Micros::NEVER,
            };
        };
        let waits = !self.ahead.is_empty();
        match running.phase {
            Phase::Begins => Micros::ZERO,
            Phase::Prompts if waits && running.rules.at_prompt == AtPrompt::Stop => Micros::ZERO,
            Phase::Prompts => Micros::NEVER,
            Phase::Takes if waits => Micros::ZERO,
            Phase::Takes => running.due(),
        }
    }

    /// The next thing to do; `None` when there is no more for now.
    pub(in crate::engine) fn poll(&mut self, now: Micros) -> Option<Step> {
        if self.lasts_until <= now {
            self.lasts_until = Micros::ZERO;
        }
        loop {
            let running = self.running.as_mut()?;
            let stops = running.rules.at_prompt == AtPrompt::Stop && !self.ahead.is_empty();
            match running.phase {
                // Who knows what to press is not told.
                Phase::Begins if stops => running.take_keys(now),
                Phase::Begins => {
                    running.phase = Phase::Prompts;
                    return Some(Step::Prompt(running.attempt));
                }
                Phase::Prompts if stops => {
                    running.prompt_ended = Some(now);
                    running.take_keys(now);
                    return Some(Step::Interrupt);
                }
                Phase::Prompts => return None,
                Phase::Takes => match self.take_one(now) {
                    Taken::Nothing => return None,
                    Taken::Key => {}
                    Taken::End(end) => return self.stop(now, None, end).map(Step::End),
                },
            }
        }
    }

    /// Takes the oldest key that waits, or sees that none came in time.
    fn take_one(&mut self, now: Micros) -> Taken {
        let Some(running) = &mut self.running else {
            return Taken::Nothing;
        };
        let end = match self.ahead.pop_front() {
            Some((digit, began)) => {
                let latest = self.down.filter(|_| self.ahead.is_empty());
                let held = latest.map(|(_, since)| since);
                running.press(now, began, digit, held)
            }
            None if running.due() <= now => Some(running.late()),
            None => return Taken::Nothing,
        };
        match end {
            None => Taken::Key,
            Some(Verdict::Enough(end)) => Taken::End(end),
            Some(Verdict::Failed(end)) => {
                if end == GatherEnd::Invalid {
                    self.ahead.clear(); // what follows belongs to the entry that is refused
                }
                match running.again() {
                    true => Taken::Key,
                    false => Taken::End(end),
                }
            }
        }
    }
}

enum Taken {
    Nothing,
    Key,
    End(GatherEnd),
}

/// What becomes of an attempt.
enum Verdict {
    Enough(GatherEnd),
    Failed(GatherEnd),
}

impl Running {
    fn take_keys(&mut self, now: Micros) {
        self.phase = Phase::Takes;
        self.due = now.plus(micros(self.rules.first_digit));
    }

    /// Whether a key counts that went down now, or just before it began to gather.
    fn heeds(&self, began: Micros) -> bool {
        let taken = self.phase == Phase::Takes || self.rules.at_prompt != AtPrompt::Discard;
        taken && (self.rules.type_ahead || began >= self.began)
    }

    /// When the next key is late. A clock that is held stands still, within bounds: a tone that
    /// never ends must not hold it for ever.
    fn due(&self) -> Micros {
        let held = self.held.map(|since| since.plus(micros(GATHER_HELD_MAX)));
        held.map_or(self.due, |until| self.due.max(until))
    }

    fn press(
        &mut self,
        now: Micros,
        began: Micros,
        digit: Digit,
        held: Option<Micros>,
    ) -> Option<Verdict> {
        let rules = &self.rules;
        if rules.finish.contains(digit) {
            let enough = self.digits.len() >= usize::from(rules.digits_min);
            if enough && rules.keeps_finish {
                self.take(now, began, digit, held);
            }
            return Some(match enough {
                true => Verdict::Enough(GatherEnd::FinishKey),
                false => Verdict::Failed(GatherEnd::Invalid),
            });
        }
        if !rules.accepted.contains(digit) {
            return match rules.others {
                OtherKeys::Ignored => None,
                OtherKeys::Invalid => Some(Verdict::Failed(GatherEnd::Invalid)),
            };
        }
        self.take(now, began, digit, held);
        let full = self.digits.len() >= usize::from(self.rules.digits_max);
        full.then_some(Verdict::Enough(GatherEnd::DigitsMax))
    }

    fn take(&mut self, now: Micros, began: Micros, digit: Digit, held: Option<Micros>) {
        self.digits.push(digit);
        let first = self.pressed.map_or(began, |(first, _)| first);
        self.pressed = Some((first, began));
        self.due = now.plus(micros(self.rules.inter_digit));
        self.held = held;
    }

    /// No key came in time.
    fn late(&self) -> Verdict {
        match self.digits.len() {
            0 => Verdict::Failed(GatherEnd::FirstDigitTimeout),
            n if n >= usize::from(self.rules.digits_min) => {
                Verdict::Enough(GatherEnd::InterDigitTimeout)
            }
            _ => Verdict::Failed(GatherEnd::InterDigitTimeout),
        }
    }

    /// On to the next attempt; `false`: that was the last.
    fn again(&mut self) -> bool {
        if self.attempt + 1 >= self.attempts {
            return false;
        }
        self.attempt += 1;
        self.phase = Phase::Begins;
        self.digits = Digits::default();
        (self.prompt_ended, self.pressed, self.held) = (None, None, None);
        true
    }

    fn result(&self, now: Micros, end: GatherEnd) -> Gathered {
        let ms = |at: Micros| u32::try_from(at.since(self.began) / 1_000).unwrap_or(u32::MAX);
        Gathered {
            id: self.id,
            end,
            attempts: self.attempt + 1,
            digits: self.digits,
            lasted_ms: ms(now),
            prompt_ended_ms: self.prompt_ended.map(ms),
            first_digit_ms: self.pressed.map(|(first, _)| ms(first)),
            last_digit_ms: self.pressed.map(|(_, last)| ms(last)),
        }
    }
}
