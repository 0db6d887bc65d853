//! What a user sees, on screens of any size.

mod keys;

use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::ask::Seen;
use super::draw::draw;
use super::*;
use crate::control::live::view::{Leg, List, Media, Recording, Row, Totals, Whole};

const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\r\n\u{7f}\u{202e}\u{2066}\u{200b}b";

fn new_app() -> App {
    App::new("127.0.0.1:8080".to_owned(), Wish::default())
}

fn row(n: usize) -> Row {
    Row {
        sid: format!("{n:032x}"),
        status: if n == 0 { "ringing" } else { "in-progress" }.to_owned(),
        from: format!("+9180{n:05}"),
        to: "1000".to_owned(),
        flow: "main".to_owned(),
        applet: "menu".to_owned(),
        age_ms: 61_000,
        talk_ms: Some(60_000),
        legs: 1,
    }
}

/// What a switch with so many calls answers to what the app asks for.
fn answer(app: &App, calls: usize) -> Seen {
    let wish = app.wish.clone();
    let shown = (wish.offset..calls).take(wish.limit);
    let totals = Totals {
        calls: calls as u64,
        calls_max: 20_000,
        completed: 55,
        ports_used: 48,
        uptime_ms: 3_600_000,
        ..Totals::default()
    };
    Seen {
        list: List {
            totals,
            matched: calls,
            partial: false,
            calls: shown.map(row).collect(),
        },
        wish,
        whole: None,
        at: Some(Instant::now()),
    }
}

fn screen(app: &mut App, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
    terminal.draw(|frame| draw(app, frame)).expect("in memory");
    let buffer = terminal.backend().buffer();
    let cells = buffer.content().chunks(usize::from(width.max(1)));
    let line = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    cells.map(line).collect()
}

/// An app that was told of so many calls, and has drawn them once.
fn with_calls(calls: usize) -> App {
    let mut app = new_app();
    screen(&mut app, 80, 24);
    app.take(Ok(answer(&app, calls)));
    app
}

fn press(app: &mut App, keys: &[KeyCode]) {
    for key in keys {
        app.key(KeyEvent::new(*key, KeyModifiers::NONE));
    }
}

#[test]
fn the_calls_are_on_the_screen() {
    let lines = screen(&mut with_calls(3), 80, 24);
    assert_eq!(
        lines[..8],
        [
            "crosspoint 127.0.0.1:8080  up 1:00:00  calls 3 of 20000  new -/s",
            "ended: completed 55  busy 0  no-answer 0  failed 0  canceled 0",
            "ports 48 used, 0 free  packets in -/s  out -/s  dropped -/s",
            "1 of 3 calls, by newest",
            "AGE      STATUS      FROM          TO            FLOW             LEGS CALL",
            "1:01     ringing     +918000000    1000          main/menu        1    0000000…",
            "1:01     in-progress +918000001    1000          main/menu        1    0000000…",
            "1:01     in-progress +918000002    1000          main/menu        1    0000000…",
        ]
    );
    assert!(lines[23].starts_with("q quit"), "{}", lines[23]);
    let wide = screen(&mut with_calls(3), 200, 50);
    assert!(wide[7].ends_with(&row(2).sid), "{}", wide[7]);
}

#[test]
fn wide_characters_take_the_room_of_two() {
    let mut app = with_calls(3);
    let mut seen = answer(&app, 3);
    seen.list.calls[0].from = "北京北京北京".to_owned();
    seen.list.calls[1].from = "北京北京北京北京".to_owned();
    seen.list.calls[2].from = "+918000000000".to_owned();
    app.take(Ok(seen));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("in memory");
    terminal
        .draw(|frame| draw(&mut app, frame))
        .expect("in memory");
    let buffer = terminal.backend().buffer();
    let from = |y: u16| {
        (21..35)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    // The second half of a wide character is a blank cell.
    assert_eq!(from(5).replace(' ', ""), "北京北京北京");
    assert_eq!(from(6).replace(' ', ""), "北京北京北京…");
    assert_eq!(from(7), "+918000000000 ");
}

#[test]
fn calls_of_a_proxy_show_their_ids_whole() {
    let mut app = new_app();
    let mut seen = answer(&app, 1);
    seen.list.matched = 1;
    seen.list.calls = vec![Row {
        sid: "a84b4c76e66710@pc33.atlanta.example.com".to_owned(),
        status: "in-progress".to_owned(),
        legs: 2,
        ..Row::default()
    }];
    app.take(Ok(seen));
    let lines = screen(&mut app, 80, 24);
    assert!(
        lines[5].ends_with("a84b4c76e66710@pc33.atlanta.example.com"),
        "{}",
        lines[5]
    );
}

#[test]
fn rates_are_of_the_time_between_two_answers() {
    let mut app = with_calls(1);
    let mut later = answer(&app, 1);
    let totals = &mut later.list.totals;
    totals.uptime_ms += 2_000;
    (totals.created, totals.packets_in, totals.packets_out) = (3, 2_400, 2_401);
    app.take(Ok(later.clone()));
    let lines = screen(&mut app, 80, 24);
    assert!(lines[0].ends_with("new 1.5/s"), "{}", lines[0]);
    assert!(lines[2].contains("in 1200/s  out 1200/s"), "{}", lines[2]);
    // Started anew: what went before says nothing.
    later.list.totals = Totals::default();
    app.take(Ok(later));
    assert!(screen(&mut app, 80, 24)[0].ends_with("new -/s"));
}

#[test]
fn a_switch_that_is_away_is_told_of_and_what_was_seen_stays() {
    let mut app = new_app();
    assert!(screen(&mut app, 80, 24)[3].starts_with("asking"));
    app.take(Err(anyhow::anyhow!("is a switch listening?")));
    let lines = screen(&mut app, 80, 24);
    assert_eq!(lines[3], "no answer, trying again: is a switch listening?");
    app.take(Ok(answer(&app, 2)));
    app.take(Err(anyhow::anyhow!(HOSTILE)));
    let lines = screen(&mut app, 80, 24);
    assert!(
        lines[3].starts_with("no answer (this is 0:00 old)"),
        "{}",
        lines[3]
    );
    assert!(lines[6].contains("+918000001"), "{}", lines[6]);
    app.take(Ok(answer(&app, 2)));
    assert_eq!(screen(&mut app, 80, 24)[3], "1 of 2 calls, by newest");
}

#[test]
fn the_legs_of_a_call_are_shown_with_their_quality() {
    let mut app = with_calls(3);
    press(&mut app, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!(app.wish.open, Some(row(1).sid));
    let mut seen = answer(&app, 3);
    let talks = Leg {
        sid: row(9).sid,
        direction: "inbound".to_owned(),
        number: "ann".to_owned(),
        status: "in-progress".to_owned(),
        talk_ms: Some(60_000),
        media: Some(Media {
            codec: "PCMU/8000".to_owned(),
            received: 3_000,
            lost: 12,
            jitter_us: 1_250,
            mos: Some(4.21),
            sent: 3_000,
            quiet_ms: Some(20),
        }),
        ..Leg::default()
    };
    let refused = Leg {
        direction: "outbound-dial".to_owned(),
        number: "sip:bob@192.0.2.7".to_owned(),
        status: "busy".to_owned(),
        cause: Some(486),
        ..Leg::default()
    };
    seen.whole = Some(Whole {
        call: row(1),
        parties: vec![talks, refused],
        legs_left_out: 0,
        recordings: vec![Recording {
            path: "2026-11-24/a.wav".to_owned(),
            paused: true,
        }],
    });
    app.take(Ok(seen));
    let lines = screen(&mut app, 80, 24);
    assert_eq!(lines[4], format!("call {}", row(1).sid));
    assert_eq!(
        lines[5],
        "in-progress, age 1:01, talks 1:00, legs 1, main/menu"
    );
    assert_eq!(lines[7], "records 2026-11-24/a.wav (paused)");
    assert_eq!(
        lines[9],
        "← ann         in-progress   1:00   PCMU/8000  3000    12 (… 1.2 ms   4.21"
    );
    assert!(
        lines[10].starts_with("→ sip:bob@19… busy 486"),
        "{}",
        lines[10]
    );
    let wide = screen(&mut app, 200, 50);
    assert!(
        wide[9].contains("12 (0.3 %)") && wide[9].ends_with(&row(9).sid),
        "{}",
        wide[9]
    );
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.wish.open, None);
    assert!(screen(&mut app, 80, 24)[3].starts_with("2 of 3 calls"));
}

#[test]
fn an_open_call_that_ends_is_said_to_be_over() {
    let mut app = with_calls(1);
    press(&mut app, &[KeyCode::Enter]);
    assert_eq!(screen(&mut app, 80, 24)[4], "asking …");
    app.take(Ok(answer(&app, 0)));
    let lines = screen(&mut app, 80, 24);
    assert_eq!(lines[4], format!("{} is over; Esc leads back", row(0).sid));
}

#[test]
fn nothing_a_terminal_obeys_is_ever_drawn_or_printed() {
    let hostile = || HOSTILE.to_owned();
    let row = Row {
        sid: hostile(),
        status: hostile(),
        from: hostile(),
        to: hostile(),
        flow: hostile(),
        applet: hostile(),
        ..Row::default()
    };
    let leg = Leg {
        sid: hostile(),
        direction: hostile(),
        number: hostile(),
        status: hostile(),
        media: Some(Media {
            codec: hostile(),
            ..Media::default()
        }),
        ..Leg::default()
    };
    let whole = Whole {
        call: row.clone(),
        parties: vec![leg],
        recordings: vec![Recording {
            path: hostile(),
            paused: false,
        }],
        ..Whole::default()
    };
    let mut app = new_app();
    let mut seen = answer(&app, 1);
    seen.list.calls = vec![row];
    let plain = rows::plain(&seen.list);
    app.take(Ok(seen.clone()));
    let mut shown = screen(&mut app, 200, 50);
    press(&mut app, &[KeyCode::Enter]);
    shown.extend(screen(&mut app, 200, 50));
    (seen.whole, seen.wish) = (Some(whole), app.wish.clone());
    app.take(Ok(seen));
    shown.extend(screen(&mut app, 200, 50));
    app.take(Err(anyhow::anyhow!(HOSTILE)));
    shown.extend(screen(&mut app, 200, 50));
    shown.extend(plain.lines().map(str::to_owned));
    // Of the list, the legs twice (with an error the second time), and the table.
    let (list, legs, table) = (6, 6 + 1 + 4, 5);
    let count = shown.join("\n").matches("a?[2J").count();
    assert_eq!(count, list + legs * 2 + 1 + table, "{shown:#?}");
    for wrong in HOSTILE.chars().filter(|c| !c.is_ascii_graphic()) {
        assert!(!shown.iter().any(|line| line.contains(wrong)), "{wrong:?}");
    }
}

#[test]
fn every_size_of_a_screen_can_be_drawn() {
    let mut app = with_calls(50);
    let mut open = with_calls(50);
    press(&mut open, &[KeyCode::Enter]);
    let mut seen = answer(&open, 50);
    seen.whole = Some(Whole {
        call: row(0),
        parties: vec![Leg::default(); 40],
        recordings: vec![Recording::default(); 40],
        ..Whole::default()
    });
    open.take(Ok(seen));
    let mut typing = with_calls(50);
    press(&mut typing, &[KeyCode::Char('/'), KeyCode::Char('x')]);
    for (width, height) in (0..=40).flat_map(|w| (0..=14).map(move |h| (w, h))) {
        for app in [&mut app, &mut open, &mut typing] {
            screen(app, width, height);
            app.take(Ok(Seen {
                whole: app.seen.whole.clone(),
                ..answer(app, 50)
            }));
        }
    }
    assert!(screen(&mut app, 80, 24)[6].contains("+918000001"));
}
