//! Who answers is heard from its first words on, whatever the caller heard until then.

use crosspoint::flow::script::{Prompt, Step};
use crosspoint::sip::Cause;

use crate::flow_support::*;

/// Tones of the first words of who answers: 100 ms each.
const WORDS_HZ: [f32; 5] = [1_000.0, 1_200.0, 1_400.0, 1_600.0, 1_800.0];
/// Packets of a word.
const WORD: usize = 5;
/// Packets that may be lost: 100 ms.
const LOST_MAX: usize = 5;
/// What it says after that.
const THEN_HZ: f32 = 2_000.0;

/// What a caller hears while it rings.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// Nothing of ours: it was not answered.
    Nothing,
    Ringback,
    Music,
}

const ALL: [Meanwhile; 3] = [Meanwhile::Nothing, Meanwhile::Ringback, Meanwhile::Music];

/// A flow that calls these, and lets the caller hear this.
fn calls(to: &[&str], meanwhile: Meanwhile) -> Vec<Step> {
    let to: Vec<String> = to.iter().map(|to| (*to).to_owned()).collect();
    let mut step = connect(&to);
    (step.answered, step.busy, step.no_answer, step.failed) = (END, END, END, END);
    let mut steps = Vec::new();
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Ringback => steps.push(greeting(700.0, 200, Some(1))),
        Meanwhile::Music => step.music = Some(prompt(600.0, 10_000)),
    }
    steps.push(Step::Connect(Box::new(step)));
    steps
}

/// Fails unless its first words were heard.
async fn hears_the_first_words(caller: &Caller, meanwhile: Meanwhile) {
    caller.voice.hears(THEN_HZ).await;
    let heard = WORDS_HZ.map(|hz| caller.voice.packets_of(0, hz));
    let lost = (WORD * WORDS_HZ.len()).checked_sub(heard.iter().sum());
    assert!(
        lost.is_some_and(|lost| lost <= LOST_MAX),
        "{meanwhile:?}: {heard:?} packets of {WORD} each"
    );
    caller.voice.heard_one_stream();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_heard_from_its_answer_on() {
    for meanwhile in ALL {
        let house = House::new("").await;
        let mut callee = Callee::new(&house, THEN_HZ).await;
        let words = WORDS_HZ.iter().flat_map(|hz| [*hz; WORD]);
        callee.voice.opens_with(words);
        house.flow("1000", calls(&[&callee.uri()], meanwhile));
        let mut caller = Caller::calls(&house, "1000", 500.0).await;
        callee.rings().await;
        if !matches!(meanwhile, Meanwhile::Nothing) {
            caller.is_answered().await;
            caller.voice.next(20).await;
        }
        callee.answers().await;
        if matches!(meanwhile, Meanwhile::Nothing) {
            caller.is_answered().await;
        }
        hears_the_first_words(&caller, meanwhile).await;
        caller.hangs_up().await;
        callee.is_hung_up().await;
        house.leave_empty().await;
    }
}

/// Rings for a while, and says the words.
fn talks(words: &[f32]) -> Step {
    let mut prompt: Prompt = words
        .iter()
        .map(|hz| sound((*hz).into(), WORD * 20))
        .collect();
    prompt.push(sound(THEN_HZ.into(), 10_000));
    Step::Greeting {
        prompt,
        ring: ms(600),
        next: END,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_heard_from_its_answer_on() {
    for to in [
        &["local:2001"][..],
        &["local:2002", "local:2001", "local:2003"],
    ] {
        for meanwhile in ALL {
            let house = House::new("").await;
            house.flow("2001", [talks(&WORDS_HZ)]);
            house.flow("2002", [Step::MissedCall { rings: 2 }]);
            house.flow(
                "2003",
                [Step::Hangup {
                    cause: Some(Cause(486)),
                }],
            );
            house.flow("1000", calls(to, meanwhile));
            let mut caller = Caller::calls(&house, "1000", 500.0).await;
            caller.is_answered().await;
            hears_the_first_words(&caller, meanwhile).await;
            caller.hangs_up().await;
            house.leave_empty().await;
        }
    }
}
