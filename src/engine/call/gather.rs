//! Gathering keys in a call: who presses them, and what is played to whom meanwhile.
//!
//! Keys and the ends of prompts are noted where they happen, which may be in the middle of a frame,
//! and acted upon by [`Call::gather_due`] with the timers: before the next frame is made, and again
//! after it.

use smallvec::SmallVec;

use super::*;
use crate::audio::mix::Gain;
use crate::engine::digits::{DigitsConfig, Press};
use crate::engine::gather::{Beat, Collector, Step};
use crate::engine::voice::{Item, Layer, Mouth, Play, PlayEnd, Players};
use crate::wire::event::Digit;

/// Parties whose gatherings are looked after at once: what they have to tell must fit into the
/// call's timeline until it is taken out.
const GATHERS_AT_ONCE: usize = 4;

/// What is gathered of one party, and its keys for later.
#[derive(Debug)]
pub(in crate::engine) struct Gathering {
    collector: Collector,
    /// Of the attempts that have not begun, each taken as its attempt begins.
    prompts: SmallVec<[SmallVec<[Item; 1]>; 1]>,
    gain: Gain,
    layer: Layer,
}

impl Gathering {
    fn new() -> Self {
        Self {
            collector: Collector::new(),
            prompts: SmallVec::new(),
            gain: Gain::UNITY,
            layer: Layer::Alone,
        }
    }
}

/// Commands.
impl Call {
    /// Begins to gather. A refusal is told of as a result, too, for whoever waits for one.
    pub(super) fn gather(&mut self, now: Micros, config: GatherConfig) -> Result<(), ChangeError> {
        let (id, ix) = (config.id, config.stream);
        let begun = self.begin_gather(now, config);
        if begun.is_err() && usize::from(ix.0) < self.streams.len() {
            let refused = Gathered::nothing(id, GatherEnd::Refused);
            self.log.push(now, ix, EventKind::Gathered(refused));
            self.outputs = true;
        }
        begun
    }

    fn begin_gather(&mut self, now: Micros, config: GatherConfig) -> Result<(), ChangeError> {
        let ix = config.stream;
        config.check()?;
        self.check_gather(&config)?;
        self.end_gather(now, ix, GatherEnd::Cancelled);
        let attempts = u8::try_from(config.prompts.len()).unwrap_or(u8::MAX);
        let stream = &mut self.streams[usize::from(ix.0)];
        let gathering = stream
            .gather
            .get_or_insert_with(|| Box::new(Gathering::new()));
        gathering.prompts = config.prompts;
        (gathering.gain, gathering.layer) = (config.gain, config.layer);
        gathering
            .collector
            .begin(now, config.id, config.rules, attempts);
        self.hear_keys(now, ix)?;
        self.run_gather(now, ix);
        self.schedule_gathers();
        Ok(())
    }

    /// Whether its party may be asked, and be played the prompts.
    fn check_gather(&mut self, config: &GatherConfig) -> Result<(), ChangeError> {
        let ix = config.stream;
        let stream = self.open_stream(ix)?;
        if stream.flags.listens {
            return Err(ChangeError::Listens(ix));
        }
        if stream.config.payload != Payload::Rtp {
            return Err(ChangeError::Digits(ix));
        }
        if config.prompts.iter().all(SmallVec::is_empty) {
            return Ok(());
        }
        let voice = self.voice_of(ix)?;
        if voice.config.speaks.is_none() {
            return Err(ChangeError::Codec(ix));
        }
        match self.prompters(ix) {
            Some(players) if !players.have_room(GATHER_PROMPT) => Err(ChangeError::Play(ix.into())),
            _ => Ok(()),
        }
    }

    pub(super) fn stop_gather(
        &mut self,
        now: Micros,
        ix: StreamIx,
        id: Option<GatherId>,
    ) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        let gathering = stream.gather.as_mut();
        let stopped = gathering.and_then(|it| it.collector.stop(now, id, GatherEnd::Cancelled));
        if let Some(gathered) = stopped {
            self.gathered(now, ix, gathered);
        }
        Ok(())
    }

    /// Whether a party's keys are kept for its next gathering.
    pub(super) fn set_type_ahead(
        &mut self,
        now: Micros,
        ix: StreamIx,
        keeps: bool,
    ) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        if stream.config.payload != Payload::Rtp {
            return Err(ChangeError::Digits(ix));
        }
        if keeps || stream.gather.is_some() {
            let gathering = stream
                .gather
                .get_or_insert_with(|| Box::new(Gathering::new()));
            gathering.collector.set_type_ahead(keeps);
        }
        self.hear_keys(now, ix)
    }

    /// A key that came by signalling, as short as can be.
    pub(super) fn key_told(
        &mut self,
        now: Micros,
        ix: StreamIx,
        digit: Digit,
    ) -> Result<(), ChangeError> {
        /// No press that is heard has this number before four thousand million others.
        const TOLD: u32 = u32::MAX;
        if let Some(gathering) = &mut self.open_stream(ix)?.gather {
            gathering.collector.key_down(now, now, TOLD, digit);
            gathering.collector.key_up(now, TOLD);
            self.schedule_gathers();
        }
        Ok(())
    }

    /// What others than a gathering want to hear of a party's keys.
    pub(super) fn command_digits(
        &mut self,
        now: Micros,
        ix: StreamIx,
        config: Option<DigitsConfig>,
    ) -> Result<(), ChangeError> {
        let asked = config.unwrap_or_default();
        let before = std::mem::replace(&mut self.open_stream(ix)?.digits_asked, asked);
        let heard = self.hear_keys(now, ix);
        if heard.is_err() {
            self.open_stream(ix)?.digits_asked = before;
        }
        heard
    }

    /// Listens for what anybody wants to hear of a party's keys: a gathering, all there is; a mask
    /// with triggers, what it masks; a recording, telephone-events, and all where a key ends it. A
    /// mask with triggers is to see no more keys than without the recording, though.
    pub(super) fn hear_keys(&mut self, now: Micros, ix: StreamIx) -> Result<(), ChangeError> {
        self.open_stream(ix)?;
        let stream = &self.streams[usize::from(ix.0)];
        let (recorded, ends) = self.recorded_keys(stream);
        let gathering = stream.gather.as_ref();
        let gathers = gathering.is_some_and(|it| it.collector.wants_keys(now));
        let masked = stream.mask.as_ref().filter(|masked| masked.wants_keys());
        let wanted = stream.digits_asked.or(DigitsConfig {
            telephone_events: gathers || recorded || masked.is_some(),
            in_band: gathers || masked.map_or(ends, |masked| masked.in_band),
        });
        let wary = gathering.is_some_and(|it| it.collector.may_interrupt());
        self.set_digits(now, ix, Some(wanted))?;
        let digits = self.streams[usize::from(ix.0)].digits.as_mut();
        digits.into_iter().for_each(|digits| digits.set_wary(wary));
        Ok(())
    }

    /// Its party is gone, or does not talk with us any more.
    pub(super) fn end_gather(&mut self, now: Micros, ix: StreamIx, end: GatherEnd) {
        let gathering = self.streams[usize::from(ix.0)].gather.as_mut();
        let stopped = gathering.and_then(|it| it.collector.stop(now, None, end));
        if let Some(gathered) = stopped {
            self.gathered(now, ix, gathered);
        }
    }

    /// The same for everybody.
    pub(super) fn end_gathers(&mut self, now: Micros, from: usize, end: GatherEnd) {
        for ix in from..self.streams.len() {
            self.end_gather(now, self.streams[ix].ix, end);
        }
    }
}

/// What happens meanwhile.
impl Call {
    pub(super) fn gather_key_down(&mut self, now: Micros, ix: StreamIx, press: &Press) {
        let Some(gathering) = self.streams[usize::from(ix.0)].gather.as_mut() else {
            return;
        };
        if let Some(digit) = press.code.digit() {
            let before_us = micros(press.began_before);
            let began = Micros(now.0.saturating_sub(before_us));
            let collector = &mut gathering.collector;
            collector.key_down(now, began, press.number, digit);
            self.schedule_gathers();
        }
    }

    pub(super) fn gather_key_up(&mut self, now: Micros, ix: StreamIx, press: &Press) {
        if let Some(gathering) = &mut self.streams[usize::from(ix.0)].gather {
            gathering.collector.key_up(now, press.number);
            self.schedule_gathers();
        }
    }

    /// What a party says may become a key, which would stop its prompt: the prompt waits until that
    /// is known, so that nothing of it is heard over a key.
    pub(super) fn gather_suspects(&mut self, ix: StreamIx) {
        if Self::gather_may_interrupt(&self.streams[usize::from(ix.0)])
            && let Some(players) = self.prompters(ix)
        {
            players.hold(GATHER_PROMPT);
        }
    }

    /// Whether a party is played a prompt that a key of its own may stop.
    pub(super) fn gather_may_interrupt(stream: &Stream) -> bool {
        let gathering = stream.gather.as_ref();
        gathering.is_some_and(|it| it.collector.may_interrupt())
    }

    /// What such a prompt is to be in step with: its party's packets.
    pub(super) fn gather_beat(stream: &Stream) -> Option<Beat> {
        let digits = stream.digits.as_ref();
        let digits = digits.filter(|_| Self::gather_may_interrupt(stream));
        digits.and_then(|digits| digits.beat())
    }

    /// How much later a frame leaves that is due, so that the prompt is in step; 0: it may not.
    pub(super) fn gather_waits_us(beat: Option<Beat>, mouth: &mut Mouth, due: Micros) -> u64 {
        match beat.map(|beat| beat.wait_us(due, mouth.period_us())) {
            Some(us) if us > 0 && mouth.players.may_be_late(GATHER_PROMPT) => us,
            _ => 0,
        }
    }

    /// A prompt of a gathering has ended, by itself or not.
    pub(super) fn gather_prompt_ended(&mut self, now: Micros, ix: StreamIx) {
        if let Some(gathering) = &mut self.streams[usize::from(ix.0)].gather {
            gathering.collector.prompt_ended(now);
            self.schedule_gathers();
        }
    }

    /// Whether a party is about to be played something, or not, by what it pressed.
    pub(super) fn gather_waits(&self, now: Micros, ix: usize) -> bool {
        let gathering = self.streams[ix].gather.as_ref();
        gathering.is_some_and(|it| it.collector.next_timeout() <= now)
    }

    /// Does what is due by `now`, of some parties: what is left is due at once. O(streams) where
    /// something is.
    pub(super) fn gather_due(&mut self, now: Micros) {
        if now < self.gathers_at {
            return;
        }
        let mut left = GATHERS_AT_ONCE;
        for ix in 0..self.streams.len() {
            if left > 0 && self.gather_waits(now, ix) {
                self.run_gather(now, self.streams[ix].ix);
                left -= 1;
            }
        }
        self.schedule_gathers();
    }

    /// Finds anew when something is due. O(streams).
    fn schedule_gathers(&mut self) {
        let gatherings = self.streams.iter().filter_map(|s| s.gather.as_ref());
        let next = gatherings.map(|it| it.collector.next_timeout()).min();
        self.gathers_at = next.unwrap_or(Micros::NEVER);
        self.next_timeout = self.next_timeout.min(self.gathers_at);
        self.outputs = true; // so that the owner asks when it wants to be called next
    }

    /// Does what one gathering wants done: at most three steps per attempt. Nobody listens to its
    /// party's keys any more once they are of no use.
    fn run_gather(&mut self, now: Micros, ix: StreamIx) {
        while let Some(step) = self.next_step(now, ix) {
            match step {
                Step::Prompt(attempt) => self.prompt(now, ix, attempt),
                Step::Interrupt => self.cut_prompt(now, ix),
                Step::End(gathered) => self.gathered(now, ix, gathered),
            }
        }
        let heard = self.hear_keys(now, ix);
        debug_assert!(heard.is_ok(), "no more than before");
    }

    fn next_step(&mut self, now: Micros, ix: StreamIx) -> Option<Step> {
        let gathering = self.streams[usize::from(ix.0)].gather.as_mut()?;
        gathering.collector.poll(now)
    }

    /// Plays the prompt of an attempt; one that cannot be played is told of as such, and is over.
    fn prompt(&mut self, now: Micros, ix: StreamIx, attempt: u8) {
        let Some(gathering) = self.streams[usize::from(ix.0)].gather.as_mut() else {
            return;
        };
        let sounds = gathering.prompts.get_mut(usize::from(attempt));
        let sounds = sounds.map(std::mem::take).unwrap_or_default();
        let play = Play {
            gain: gathering.gain,
            layer: gathering.layer,
            limit: Some(GATHER_PROMPT_MAX),
            ..Play::new(GATHER_PROMPT, ix, sounds)
        };
        if play.sounds.is_empty() {
            gathering.collector.unprompted(now);
        } else if self.play(now, play).is_err() {
            self.gather_prompt_ended(now, ix);
        } else if self.is_bridged(ix)
            && let Ok(mouth) = self.open_mouth(now, ix)
        {
            mouth.make_room();
        }
    }

    /// That was all: it is told of, and nothing of it is heard any more.
    fn gathered(&mut self, now: Micros, ix: StreamIx, gathered: Gathered) {
        self.cut_prompt(now, ix);
        let stream = &mut self.streams[usize::from(ix.0)];
        if let Some(gathering) = &mut stream.gather {
            gathering.prompts = SmallVec::new();
        }
        self.log.push(now, ix, EventKind::Gathered(gathered));
        self.schedule_gathers();
    }

    /// No frame that is made from here on has any of the prompt. It is not faded out: that would
    /// take one packet more, and who has pressed a key hears his own key.
    fn cut_prompt(&mut self, now: Micros, ix: StreamIx) {
        if let Some(players) = self.prompters(ix) {
            players.stop(Some(GATHER_PROMPT), PlayEnd::Interrupted);
            self.tell_ended(now, ix.into());
        }
    }

    fn prompters(&mut self, ix: StreamIx) -> Option<&mut Players> {
        let voice = self.streams[usize::from(ix.0)].voice.as_deref_mut()?;
        Some(&mut voice.mouth.as_deref_mut()?.players)
    }
}
