//! Applets for the caller alone: keys, sounds, recordings.

use crosspoint::flow::script::{GatherStep, Step, Voicemail};
use crosspoint::sip::LegStatus;
use crosspoint::wire::event::Digit;

use crate::flow_support::*;

fn gather(digits_max: u8, prompt_hz: f64) -> GatherStep {
    GatherStep {
        prompt: prompt(prompt_hz, 2_000),
        retry: Some(prompt(750.0, 2_000)),
        digits_max,
        digits_min: 1,
        finish: Digit::from_char('#'),
        timeout: ms(400),
        key_timeout: ms(400),
        retries: 1,
        type_ahead: true,
        next: Some(1),
        on_timeout: Some(2),
        on_invalid: Some(3),
    }
}

/// A gather, and what leads on from it: with keys, without, with wrong ones.
fn gathered(step: GatherStep) -> Vec<Step> {
    let branches = BRANCHES_HZ.iter().take(3);
    let branches = branches.map(|hz| greeting((*hz).into(), 10_000, END));
    std::iter::once(Step::Gather(step))
        .chain(branches)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_gathered_and_stand_for_a_number_to_call() {
    let house = House::new("").await;
    let mut callee = Callee::new(&house, 800.0).await;
    let port = callee.sip.own().port().to_string();
    let to = "sip:callee@127.0.0.1:{digits}".to_owned();
    let steps = [
        Step::Gather(gather(6, 700.0)),
        Step::Connect(Box::new(connect(&[to]))),
    ];
    house.flow("1000", steps);
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    caller.voice.hears(700.0).await;
    for key in port.bytes() {
        caller.voice.presses(key - b'0');
    }
    // By the finish key, before there are six.
    caller.voice.presses(11);
    callee.rings().await;
    callee.answers().await;
    caller.voice.hears(800.0).await;
    caller.hangs_up().await;
    callee.is_hung_up().await;
    let (_, told) = house.book.call().await;
    let count = u32::try_from(port.len()).expect("few");
    assert!(
        matches!(told, Told::CallEnded { digits, .. } if digits == count),
        "{told:?}"
    );
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_by_info_are_keys() {
    let house = House::with(gathered(gather(2, 700.0))).await;
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    caller.voice.hears(700.0).await;
    for key in ["4", "2"] {
        let body = format!("Signal={key}\r\nDuration=160\r\n");
        let headers = "Content-Type: application/dtmf-relay\r\n";
        let info = caller.sip.request("INFO", headers, body.as_bytes());
        caller.sip.say(&info).await;
        caller.sip.response_to("INFO", 200).await;
    }
    caller.voice.hears(BRANCHES_HZ[0]).await;
    caller.hangs_up().await;
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_it_asks_again_and_goes_on() {
    let mut step = gather(2, 700.0);
    step.prompt = prompt(700.0, 300);
    step.retry = Some(prompt(750.0, 300));
    let house = House::with(gathered(step)).await;
    let mut caller = Caller::talks(&house, "1000", 500.0).await;
    caller.voice.hears(BRANCHES_HZ[1]).await;
    caller.hangs_up().await;
    for hz in [700.0, 750.0] {
        let (with, _) = caller.voice.windows_of(0, hz);
        assert!((3..=5).contains(&with), "{with} windows of {hz} Hz");
    }
    caller.voice.heard_one_stream();
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sounds_are_played_as_often_and_as_long_as_is_said() {
    let house = House::with([
        Step::Play {
            prompt: prompt(700.0, 300),
            times: 3,
            limit: None,
            next: Some(1),
        },
        Step::Play {
            prompt: prompt(800.0, 300),
            times: 100,
            limit: Some(ms(500)),
            next: Some(2),
        },
        Step::Tone {
            tone: "busy".to_owned(),
            limit: ms(500),
            next: Some(3),
        },
        greeting(900.0, 300, END),
    ])
    .await;
    let caller = Caller::talks(&house, "1000", 500.0).await;
    caller.is_hung_up().await;
    for (hz, windows) in [
        (700.0, 8..=11),
        (800.0, 4..=7),
        (400.0, 4..=7),
        (900.0, 2..=5),
    ] {
        let (with, _) = caller.voice.windows_of(0, hz);
        assert!(windows.contains(&with), "{with} windows of {hz} Hz");
    }
    caller.voice.heard_one_stream();
    assert!(
        caller.voice.longest_gap(0) < ms(120),
        "{:?}",
        caller.voice.longest_gap(0)
    );
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_is_heard_until_a_key_or_for_so_long() {
    for by_key in [true, false] {
        let limit = if by_key { ms(20_000) } else { ms(600) };
        let echo = Step::Echo {
            limit,
            next: Some(1),
        };
        let house = House::with([echo, greeting(900.0, 5_000, END)]).await;
        let mut caller = Caller::talks(&house, "1000", 500.0).await;
        caller.voice.hears(500.0).await;
        if by_key {
            caller.voice.presses(1);
        }
        caller.voice.hears(900.0).await;
        assert!(caller.voice.share_now(500.0) < 0.05, "no echo any more");
        caller.hangs_up().await;
        caller.voice.heard_one_stream();
        house.leave_empty().await;
    }
}

fn voicemail(silence: u64) -> Voicemail {
    Voicemail {
        prompt: prompt(700.0, 200),
        beep: true,
        max: ms(20_000),
        silence: ms(silence),
        finish: Digit::from_char('#'),
        next: Some(1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voicemail_is_kept_and_played_back() {
    for by_key in [true, false] {
        let house = House::with([
            Step::Voicemail(voicemail(1_000)),
            Step::Playback {
                recording: "applet-0".to_owned(),
                next: Some(2),
            },
            greeting(900.0, 5_000, END),
        ])
        .await;
        let mut caller = Caller::calls(&house, "1000", 500.0).await;
        caller.is_answered().await;
        caller.voice.hears(700.0).await;
        caller.voice.next(75).await;
        let mark = caller.voice.mark();
        match by_key {
            true => caller.voice.presses(11),
            false => caller.voice.mute(true),
        }
        caller.voice.hears(500.0).await;
        caller.voice.mute(true);
        caller.voice.hears(900.0).await;
        let (with, _) = caller.voice.windows_of(mark, 500.0);
        assert!(with >= 8, "{with} windows of its own voice");
        caller.hangs_up().await;
        let (_, told) = house.book.call().await;
        let Told::CallEnded { recordings, .. } = told else {
            unreachable!("it has ended");
        };
        let [path] = &recordings[..] else {
            panic!("{recordings:?}");
        };
        let file = house.samples_of(path);
        assert!(tone_in(&file, 500.0) > 0.7, "{}", tone_in(&file, 500.0));
        caller.voice.heard_one_stream();
        house.leave_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voicemail_is_kept_when_the_caller_hangs_up() {
    let house = House::with([
        Step::Voicemail(voicemail(5_000)),
        Step::Hangup { cause: None },
    ])
    .await;
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    caller.is_answered().await;
    caller.voice.hears(700.0).await;
    caller.voice.next(75).await;
    caller.hangs_up().await;
    let (_, told) = house.book.call().await;
    let Told::CallEnded { recordings, .. } = told else {
        unreachable!("it has ended");
    };
    assert_eq!(recordings.len(), 1, "the book knows of it");
    let path = house.recordings.join(&recordings[0]);
    until("the recording is a file", || path.is_file()).await;
    let file = house.samples_of(&recordings[0]);
    assert!(tone_in(&file, 500.0) > 0.7, "{}", tone_in(&file, 500.0));
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_leaves_no_voicemail() {
    let steps = [
        Step::Voicemail(voicemail(500)),
        Step::Playback {
            recording: "applet-0".to_owned(),
            next: Some(2),
        },
        greeting(900.0, 300, END),
    ];
    let house = House::with(steps).await;
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    caller.voice.mute(true);
    caller.is_answered().await;
    caller.is_hung_up().await;
    assert!(caller.voice.windows_of(0, 900.0).0 >= 2, "the flow goes on");
    let (_, told) = house.book.call().await;
    let Told::CallEnded { recordings, .. } = told else {
        unreachable!("it has ended");
    };
    for path in recordings {
        assert!(house.recordings.join(&path).is_file(), "{path} is there");
    }
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_recorded_from_one_applet_to_another() {
    let record = |on, next| Step::Record {
        on,
        next: Some(next),
    };
    let house = House::with([
        record(true, 1),
        greeting(700.0, 600, Some(2)),
        record(false, 3),
        greeting(900.0, 600, END),
    ])
    .await;
    let caller = Caller::talks(&house, "1000", 500.0).await;
    caller.is_hung_up().await;
    let (_, told) = house.book.call().await;
    let Told::CallEnded { recordings, .. } = told else {
        unreachable!("it has ended");
    };
    let path = house.recordings.join(&recordings[0]);
    until("the recording is a file", || path.is_file()).await;
    let [said, heard] = house.channels_of(&recordings[0]);
    assert!(tone_in(&said, 500.0) > 0.7, "what it said");
    assert!(tone_in(&heard, 700.0) > 0.7, "what it heard");
    assert!(tone_in(&heard, 900.0) < 0.02, "what came after it");
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_call_rings_and_is_never_answered() {
    let house = House::with([Step::MissedCall { rings: 1 }]).await;
    let began = std::time::Instant::now();
    let mut caller = Caller::calls(&house, "1000", 500.0).await;
    assert_eq!(caller.sip.response().await.code(), 180);
    assert_eq!(house.switch.calls(), 0, "it needs no media");
    assert_eq!(caller.is_refused().await, 480);
    assert!((ms(5_500)..ms(8_000)).contains(&began.elapsed()));
    let leg = &house.book.legs(true)[0];
    assert_eq!(house.book.status(leg).await, LegStatus::NoAnswer);
    house.leave_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_hung_up_with_any_cause() {
    for (cause, code) in [(Some(486), 486), (Some(404), 404), (None, 603)] {
        let cause = cause.map(crosspoint::sip::Cause);
        let house = House::with([Step::Hangup { cause }]).await;
        let mut caller = Caller::calls(&house, "1000", 500.0).await;
        assert_eq!(caller.is_refused().await, code);
        house.leave_empty().await;
    }
}
