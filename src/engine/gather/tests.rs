//! Gathering without a call: keys and the ends of prompts by a script, in virtual time.

use proptest::prelude::*;
use smallvec::smallvec;

use super::*;
use crate::audio::tone::TonePlan;
use crate::engine::time::Micros;
use crate::engine::voice::Sound;

/// How long keys are held down.
const HELD_MS: u64 = 60;

const ID: GatherId = GatherId(7);

fn at(ms: u64) -> Micros {
    Micros(ms * 1_000)
}

fn digit(key: char) -> Digit {
    Digit::from_char(key).unwrap()
}

/// Somebody who plays prompts and presses keys.
struct Desk {
    collector: Collector,
    /// Of each attempt, in milliseconds; 0: there is none.
    prompts: Vec<u64>,
    prompt_ends: Option<u64>,
    /// What was done, and when.
    done: Vec<(u64, Step)>,
    presses: u32,
}

impl Desk {
    fn new(prompts: &[u64]) -> Self {
        Self {
            collector: Collector::new(),
            prompts: prompts.to_vec(),
            prompt_ends: None,
            done: Vec::new(),
            presses: 0,
        }
    }

    fn begin(&mut self, ms: u64, rules: GatherRules) {
        rules.check().unwrap();
        let attempts = u8::try_from(self.prompts.len()).unwrap();
        self.collector.begin(at(ms), ID, rules, attempts);
        self.drain(ms);
    }

    fn drain(&mut self, ms: u64) {
        while let Some(step) = self.collector.poll(at(ms)) {
            self.done.push((ms, step));
            match step {
                Step::Prompt(attempt) => match self.prompts[usize::from(attempt)] {
                    0 => self.collector.unprompted(at(ms)),
                    length => self.prompt_ends = Some(ms + length),
                },
                Step::Interrupt | Step::End(_) => self.prompt_ends = None,
            }
        }
        assert!(self.collector.next_timeout() > at(ms), "time must progress");
    }

    /// Lets time pass.
    fn wait_until(&mut self, until: u64) {
        loop {
            let timeout = self.collector.next_timeout().0.div_ceil(1_000);
            let ends = self.prompt_ends.unwrap_or(u64::MAX);
            let next = timeout.min(ends);
            if next > until {
                return;
            }
            if ends == next {
                self.prompt_ends = None;
                self.collector.prompt_ended(at(next));
            }
            self.drain(next);
        }
    }

    fn down(&mut self, ms: u64, key: char) {
        self.wait_until(ms);
        self.presses += 1;
        let press = self.presses;
        self.collector.key_down(at(ms), at(ms), press, digit(key));
        self.drain(ms);
    }

    fn press(&mut self, ms: u64, key: char) {
        self.down(ms, key);
        self.wait_until(ms + HELD_MS);
        self.collector.key_up(at(ms + HELD_MS), self.presses);
    }

    fn ends(&self) -> Vec<Gathered> {
        let end = |(_, step): &(u64, Step)| match step {
            Step::End(gathered) => Some(*gathered),
            _ => None,
        };
        self.done.iter().filter_map(end).collect()
    }

    fn interrupted(&self) -> Option<u64> {
        let step = self.done.iter().find(|(_, step)| *step == Step::Interrupt);
        step.map(|(ms, _)| *ms)
    }
}

/// Up to four keys, five seconds for the first and two between them.
fn four() -> GatherRules {
    GatherRules {
        digits_max: 4,
        inter_digit: Duration::from_secs(2),
        finish: Keys::from_text("#").unwrap(),
        ..GatherRules::default()
    }
}

struct Case {
    what: &'static str,
    rules: GatherRules,
    prompts: &'static [u64],
    /// When it begins.
    begins: u64,
    keys: &'static [(u64, char)],
    end: GatherEnd,
    digits: &'static str,
    attempts: u8,
    /// When it ends.
    ends: u64,
}

impl Case {
    fn new(
        what: &'static str,
        prompts: &'static [u64],
        keys: &'static [(u64, char)],
        (end, digits, attempts, ends): (GatherEnd, &'static str, u8, u64),
    ) -> Self {
        Self {
            what,
            rules: four(),
            prompts,
            begins: 0,
            keys,
            end,
            digits,
            attempts,
            ends,
        }
    }

    fn with(mut self, set: impl FnOnce(&mut GatherRules)) -> Self {
        set(&mut self.rules);
        self
    }

    fn begins(mut self, ms: u64) -> Self {
        self.begins = ms;
        self
    }

    #[track_caller]
    fn run(&self) -> Desk {
        let mut desk = Desk::new(self.prompts);
        desk.collector.set_type_ahead(true);
        let (before, after): (Vec<_>, Vec<_>) =
            self.keys.iter().partition(|(ms, _)| *ms < self.begins);
        before.iter().for_each(|(ms, key)| desk.press(*ms, *key));
        desk.begin(self.begins, self.rules);
        after.iter().for_each(|(ms, key)| desk.press(*ms, *key));
        desk.wait_until(1_000_000);
        let [gathered] = desk.ends()[..] else {
            panic!("{}: {:?}", self.what, desk.done);
        };
        let ended = desk.done.last().unwrap().0;
        let got = (
            gathered.end,
            gathered.digits.to_string(),
            gathered.attempts,
            ended,
        );
        let expected = (self.end, self.digits.to_owned(), self.attempts, self.ends);
        assert_eq!(got, expected, "{}", self.what);
        assert_eq!(u64::from(gathered.lasted_ms), ended - self.begins);
        desk
    }
}

#[test]
fn entries_end_as_the_rules_say() {
    use GatherEnd::*;
    let invalid = |rules: &mut GatherRules| {
        rules.accepted = Keys::from_text("0123456789").unwrap();
        rules.others = OtherKeys::Invalid;
    };
    let cases = [
        Case::new(
            "enough keys",
            &[0],
            &[(100, '1'), (300, '2'), (500, '3'), (700, '4'), (900, '5')],
            (DigitsMax, "1234", 1, 700),
        ),
        Case::new(
            "the key that ends it is not part of it",
            &[0],
            &[(100, '1'), (300, '#')],
            (FinishKey, "1", 1, 300),
        ),
        Case::new(
            "… unless asked",
            &[0],
            &[(100, '1'), (300, '#')],
            (FinishKey, "1#", 1, 300),
        )
        .with(|rules| rules.keeps_finish = true),
        Case::new(
            "nothing at all, from the end of the prompt",
            &[3_000],
            &[],
            (FirstDigitTimeout, "", 1, 8_000),
        ),
        Case::new(
            "a part, from when the last key came up",
            &[0],
            &[(100, '1'), (1_000, '2')],
            (InterDigitTimeout, "12", 1, 3_060),
        ),
        Case::new(
            "a part that is too short",
            &[0],
            &[(100, '1'), (1_000, '2')],
            (InterDigitTimeout, "12", 1, 3_060),
        )
        .with(|rules| rules.digits_min = 3),
        Case::new(
            "finished too early",
            &[0],
            &[(100, '1'), (300, '#')],
            (Invalid, "1", 1, 300),
        )
        .with(|rules| rules.digits_min = 2),
        Case::new(
            "an empty entry that may be",
            &[0],
            &[(300, '#')],
            (FinishKey, "", 1, 300),
        )
        .with(|rules| rules.digits_min = 0),
        Case::new(
            "a key that is not accepted",
            &[0],
            &[(100, '1'), (300, '*'), (500, '2')],
            (Invalid, "1", 1, 300),
        )
        .with(invalid),
        Case::new(
            "… is passed over, and gives no more time",
            &[0],
            &[(100, '1'), (1_500, '*')],
            (InterDigitTimeout, "1", 1, 2_160),
        )
        .with(|rules| rules.accepted = Keys::from_text("0123456789").unwrap()),
    ];
    cases.iter().for_each(|case| {
        case.run();
    });
}

#[test]
fn another_attempt_has_its_own_prompt() {
    use GatherEnd::*;
    let silent = Case::new(
        "three prompts and no key",
        &[1_000, 2_000, 0],
        &[],
        (FirstDigitTimeout, "", 3, 18_000),
    );
    let done = silent.run().done;
    let expected = [(0, 0), (6_000, 1), (13_000, 2)].map(|(ms, n)| (ms, Step::Prompt(n)));
    assert_eq!(done[..3], expected);
    Case::new(
        "right the second time, though more was typed the first time",
        &[0, 500],
        &[
            (100, '1'),
            (200, '#'),
            (2_000, '2'),
            (2_200, '3'),
            (2_400, '#'),
        ],
        (FinishKey, "23", 2, 2_400),
    )
    .with(|rules| rules.digits_min = 2)
    .run();
    Case::new(
        "wrong to the end",
        &[0, 0],
        &[(100, '#'), (300, '#')],
        (Invalid, "", 2, 300),
    )
    .run();
}

#[test]
fn a_key_stops_the_prompt_or_waits_or_is_lost() {
    use GatherEnd::*;
    let keys = &[(400, '1'), (600, '2'), (5_000, '3')];
    let stops = Case::new(
        "barge-in",
        &[3_000],
        keys,
        (InterDigitTimeout, "12", 1, 2_660),
    )
    .run();
    assert_eq!(stops.interrupted(), Some(400));
    let [gathered] = stops.ends()[..] else {
        unreachable!()
    };
    let times = [
        gathered.prompt_ended_ms,
        gathered.first_digit_ms,
        gathered.last_digit_ms,
    ];
    assert_eq!(times, [Some(400), Some(400), Some(600)]);
    let kept = Case::new("kept", &[3_000], keys, (InterDigitTimeout, "12", 1, 5_000))
        .with(|rules| rules.at_prompt = AtPrompt::Keep)
        .run();
    assert_eq!(kept.interrupted(), None);
    let lost = Case::new("lost", &[3_000], keys, (InterDigitTimeout, "3", 1, 7_060))
        .with(|rules| rules.at_prompt = AtPrompt::Discard)
        .run();
    assert_eq!(lost.interrupted(), None);
}

#[test]
fn keys_typed_ahead_count_or_are_flushed() {
    use GatherEnd::*;
    let keys = &[(100, '1'), (300, '2'), (500, '3'), (700, '#'), (900, '9')];
    let ahead = |rules: &mut GatherRules| rules.type_ahead = true;
    let kept = Case::new("kept", &[3_000], keys, (FinishKey, "123", 1, 1_000))
        .begins(1_000)
        .with(ahead)
        .run();
    assert!(
        matches!(kept.done[..], [(1_000, Step::End(_))]),
        "no prompt"
    );
    assert_eq!(kept.ends()[0].first_digit_ms, Some(0));
    let flushed = Case::new("flushed", &[3_000], keys, (FirstDigitTimeout, "", 1, 9_000))
        .begins(1_000)
        .run();
    assert_eq!(flushed.done[0], (1_000, Step::Prompt(0)));

    // What one gathering leaves is for the next.
    let mut desk = kept;
    desk.done.clear();
    desk.begin(
        2_000,
        GatherRules {
            type_ahead: true,
            ..GatherRules::default()
        },
    );
    let gathered = desk.ends()[0];
    assert_eq!(
        (gathered.end, gathered.digits.to_string()),
        (DigitsMax, "9".into())
    );

    // The prompt is heard to its end where keys do not stop it.
    let heard = Case::new("heard", &[3_000], keys, (FinishKey, "123", 1, 4_000))
        .begins(1_000)
        .with(ahead)
        .with(|rules| rules.at_prompt = AtPrompt::Keep)
        .run();
    assert_eq!(heard.done[0], (1_000, Step::Prompt(0)));
}

#[test]
fn keys_are_kept_only_where_asked_and_only_the_latest() {
    for (keeps, pressed, kept) in [
        (true, TYPE_AHEAD_MAX, TYPE_AHEAD_MAX),
        (true, TYPE_AHEAD_MAX + 1, TYPE_AHEAD_MAX),
        (false, 3, 0),
    ] {
        let mut desk = Desk::new(&[0]);
        desk.collector.set_type_ahead(keeps);
        for n in 0..pressed {
            // The first is another one than all that follow.
            let key = if n == 0 { '*' } else { '1' };
            desk.press(n as u64 * 100, key);
        }
        let rules = GatherRules {
            digits_max: 64,
            type_ahead: true,
            ..GatherRules::default()
        };
        desk.begin(10_000, rules);
        desk.wait_until(100_000);
        let digits = desk.ends()[0].digits;
        assert_eq!(digits.len(), kept);
        let first = digits.iter().next();
        let lost = pressed > kept;
        assert_eq!(first == Some(digit('*')), !lost, "{pressed}");
    }
}

#[test]
fn keys_that_one_gathering_leaves_are_for_the_next_only_where_keys_are_kept() {
    let rules = |at_prompt| GatherRules {
        digits_max: 2,
        type_ahead: true,
        at_prompt,
        ..GatherRules::default()
    };
    for (keeps, left) in [(true, "3"), (false, "")] {
        let mut desk = Desk::new(&[1_000]);
        desk.collector.set_type_ahead(keeps);
        desk.begin(0, rules(AtPrompt::Keep));
        for (ms, key) in [(100, '1'), (300, '2'), (500, '3')] {
            desk.press(ms, key);
        }
        desk.wait_until(1_000);
        desk.begin(20_000, rules(AtPrompt::Stop));
        desk.wait_until(100_000);
        let gathered: Vec<_> = desk.ends().iter().map(|it| it.digits.to_string()).collect();
        assert_eq!(gathered, ["12", left], "{keeps}");
    }
}

#[test]
fn a_key_that_is_held_stops_the_clock_for_a_while() {
    let mut desk = Desk::new(&[0]);
    desk.begin(0, four());
    desk.down(100, '1');
    desk.wait_until(9_000);
    assert!(desk.ends().is_empty());
    desk.collector.key_up(at(9_000), desk.presses);
    desk.down(10_900, '2');
    desk.wait_until(20_899);
    assert!(desk.ends().is_empty());
    desk.wait_until(20_900);
    let gathered = desk.ends()[0];
    assert_eq!(gathered.end, GatherEnd::InterDigitTimeout);
    assert_eq!(gathered.digits.to_string(), "12");
}

#[test]
fn a_key_that_was_down_before_counts_as_typed_ahead() {
    for (type_ahead, digits) in [(false, ""), (true, "5")] {
        let mut desk = Desk::new(&[0]);
        let rules = GatherRules {
            type_ahead,
            ..four()
        };
        desk.begin(1_000, rules);
        desk.collector.key_down(at(1_030), at(999), 1, digit('5'));
        desk.wait_until(100_000);
        assert_eq!(desk.ends()[0].digits.to_string(), digits);
    }
}

#[test]
fn keys_are_listened_to_until_the_last_one_is_over() {
    let mut desk = Desk::new(&[0]);
    assert!(!desk.collector.wants_keys(at(0)));
    desk.begin(0, GatherRules::default());
    desk.down(1_000, '1');
    assert_eq!(desk.ends().len(), 1);
    desk.wait_until(30_000);
    assert!(desk.collector.wants_keys(at(30_000)), "it is still down");
    desk.collector.key_up(at(30_000), desk.presses);
    desk.wait_until(34_999);
    assert!(desk.collector.wants_keys(at(34_999)));
    desk.wait_until(35_000);
    assert!(!desk.collector.wants_keys(at(35_000)));
    assert_eq!(desk.collector.next_timeout(), Micros::NEVER);
}

#[test]
fn it_is_stopped_by_its_name_and_once() {
    let mut desk = Desk::new(&[1_000]);
    desk.begin(0, four());
    let mut stop = |id| desk.collector.stop(at(50), id, GatherEnd::Cancelled);
    assert_eq!(stop(Some(GatherId(8))), None);
    let gathered = stop(Some(ID)).unwrap();
    assert_eq!(
        (gathered.end, gathered.lasted_ms),
        (GatherEnd::Cancelled, 50)
    );
    assert_eq!(stop(None), None);
    assert_eq!(desk.collector.next_timeout(), at(50));
    assert_eq!(desk.collector.poll(at(60)), None);
    assert_eq!(desk.collector.next_timeout(), Micros::NEVER);
}

#[test]
fn limits_hold() {
    let rules = |set: fn(&mut GatherRules)| {
        let mut rules = four();
        set(&mut rules);
        rules.check()
    };
    assert_eq!(rules(|r| (r.digits_max, r.digits_min) = (64, 64)), Ok(()));
    assert_eq!(
        rules(|r| r.digits_max = 65),
        Err(GatherError::DigitsMax(65))
    );
    assert_eq!(rules(|r| r.digits_max = 0), Err(GatherError::DigitsMax(0)));
    let crossed = GatherError::DigitsMin { min: 5, max: 4 };
    assert_eq!(rules(|r| r.digits_min = 5), Err(crossed));
    assert_eq!(rules(|r| r.first_digit = GATHER_WAIT_MAX), Ok(()));
    let longer = Duration::from_micros(600_000_001);
    let refused = Err(GatherError::Wait(longer));
    assert_eq!(
        rules(|r| r.first_digit = Duration::from_micros(600_000_001)),
        refused
    );
    assert_eq!(
        rules(|r| r.inter_digit = Duration::from_micros(600_000_001)),
        refused
    );
    let config = |attempts: usize, sounds: usize| {
        let tone = || Sound::Tone(TonePlan::parse("425/100").unwrap()).into();
        let prompt: SmallVec<[Item; 1]> = (0..sounds).map(|_| tone()).collect();
        let mut prompts = smallvec![prompt];
        prompts.resize_with(attempts, SmallVec::new);
        let config = GatherConfig {
            id: ID,
            stream: StreamIx(0),
            rules: four(),
            prompts,
            gain: Gain::UNITY,
            layer: Layer::Alone,
        };
        config.check()
    };
    assert_eq!(config(GATHER_ATTEMPTS_MAX, SEQUENCE_MAX), Ok(()));
    assert_eq!(config(9, 0), Err(GatherError::Attempts(9)));
    assert_eq!(config(0, 0), Err(GatherError::Attempts(0)));
    assert_eq!(config(1, 33), Err(GatherError::Sounds(33)));
}

#[test]
fn all_64_keys_are_told_and_none_is_printed() {
    let mut desk = Desk::new(&[0]);
    let rules = GatherRules {
        digits_max: 64,
        finish: Keys::from_text("#").unwrap(),
        keeps_finish: true,
        ..GatherRules::default()
    };
    desk.begin(0, rules);
    let typed: String = "0123456789*ABCD"
        .chars()
        .cycle()
        .take(63)
        .chain(['#'])
        .collect();
    for (n, key) in (0..).zip(typed.chars()) {
        desk.press(n * 100, key);
    }
    let gathered = desk.ends()[0];
    assert_eq!(gathered.digits.to_string(), typed);
    assert_eq!(gathered.end, GatherEnd::FinishKey);
    assert_eq!(format!("{:?}", gathered.digits), "Digits(64)");
    assert!(!format!("{gathered:?}").contains(&typed));
    assert_eq!(Keys::from_text("12x"), None);
}

fn rules() -> impl Strategy<Value = GatherRules> {
    let keys = any::<u16>().prop_map(Keys);
    let at_prompt = prop_oneof![
        Just(AtPrompt::Stop),
        Just(AtPrompt::Keep),
        Just(AtPrompt::Discard)
    ];
    let waits = (0_u64..4_000, 0_u64..3_000);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (
        1_u8..=64,
        0_u8..=64,
        waits,
        keys,
        any::<u16>(),
        flags,
        at_prompt,
    )
        .prop_map(
            |(
                max,
                min,
                waits,
                accepted,
                finish,
                (keeps_finish, ignored, type_ahead),
                at_prompt,
            )| {
                GatherRules {
                    digits_max: max,
                    digits_min: min.min(max),
                    first_digit: Duration::from_millis(waits.0),
                    inter_digit: Duration::from_millis(waits.1),
                    finish: Keys(finish & 0x0c00),
                    keeps_finish,
                    accepted,
                    others: [OtherKeys::Invalid, OtherKeys::Ignored][usize::from(ignored)],
                    type_ahead,
                    at_prompt,
                }
            },
        )
}

proptest! {
    /// Whatever is pressed, and whenever: it ends exactly once, with keys that were pressed, in
    /// their order, and by its rules.
    #[test]
    fn it_ends_once_with_keys_in_order(
        rules in rules(),
        prompts in prop::collection::vec(0_u64..3_000, 1..=GATHER_ATTEMPTS_MAX),
        keys in prop::collection::vec((0_u64..700, 0_usize..16, any::<bool>()), 0..100),
        begins in 0_u64..5_000,
    ) {
        let mut desk = Desk::new(&prompts);
        desk.collector.set_type_ahead(true);
        let (mut ms, mut begun, mut pressed) = (0, false, Vec::new());
        for (pause, key, held) in keys {
            ms += pause;
            if ms >= begins && !begun {
                desk.begin(begins, rules);
                begun = true;
            }
            let key = Digit::ALL[key];
            pressed.push(key);
            match held {
                true => desk.down(ms, key.as_char()),
                false => desk.press(ms, key.as_char()),
            }
            ms += if held { 0 } else { HELD_MS };
        }
        if !begun {
            ms = ms.max(begins);
            desk.wait_until(ms);
            desk.begin(ms, rules);
        }
        desk.wait_until(ms + 200_000);
        let ends = desk.ends();
        prop_assert_eq!(ends.len(), 1);
        let gathered = ends[0];
        prop_assert!(gathered.digits.len() <= usize::from(rules.digits_max));
        let mut rest = pressed.iter();
        for digit in gathered.digits.iter() {
            prop_assert!(rest.any(|key| *key == digit), "order");
            prop_assert!(rules.accepted.contains(digit) || rules.finish.contains(digit));
        }
        let complete = matches!(gathered.end, GatherEnd::DigitsMax | GatherEnd::FinishKey);
        if complete {
            prop_assert!(gathered.digits.len() >= usize::from(rules.digits_min));
        } else {
            prop_assert!(usize::from(gathered.attempts) <= prompts.len());
        }
        let asked = desk.done.iter().filter(|(_, step)| matches!(step, Step::Prompt(_)));
        prop_assert!(asked.count() <= prompts.len());
    }
}
