//! What keys do.

use super::*;

#[test]
fn ten_thousand_calls_are_asked_for_by_the_screen() {
    let mut app = with_calls(10_000);
    let lines = 24 - 6;
    assert_eq!((app.wish.offset, app.wish.limit), (0, 3 * lines));
    press(&mut app, &[KeyCode::End]);
    let last = screen(&mut app, 80, 24);
    assert!(last[3].starts_with("10000 of 10000"), "{}", last[3]);
    assert_eq!(last[5], "", "not known yet");
    app.take(Ok(answer(&app, 10_000)));
    let last = screen(&mut app, 80, 24);
    assert!(last[22].contains("+918009999"), "{}", last[22]);
    press(&mut app, &[KeyCode::PageUp, KeyCode::Up]);
    let lines_before = screen(&mut app, 80, 24);
    assert!(
        lines_before[5].contains("+918009980"),
        "{}",
        lines_before[5]
    );
    assert!(app.wish.limit <= 3 * lines && app.wish.offset < 9_980);
    press(&mut app, &[KeyCode::Home]);
    app.take(Ok(answer(&app, 10_000)));
    assert!(screen(&mut app, 80, 24)[5].contains("+918000000"));
}

#[test]
fn a_huge_screen_asks_for_no_more_than_the_switch_gives() {
    let mut app = with_calls(10_000);
    app.fit(5_000);
    assert_eq!(app.wish.limit, LIST_MAX);
}

#[test]
fn the_selected_call_stays_selected_when_others_come_and_go() {
    let mut app = with_calls(5);
    press(&mut app, &[KeyCode::Down, KeyCode::Down]);
    let mut seen = answer(&app, 5);
    seen.list.calls.insert(0, row(77));
    seen.list.matched = 6;
    app.take(Ok(seen.clone()));
    assert_eq!(app.row(app.selected), Some(&row(2)));
    // It is over: the one that took its place.
    seen.list.calls.remove(3);
    seen.list.matched = 5;
    app.take(Ok(seen));
    assert_eq!(app.row(app.selected), Some(&row(3)));
    app.take(Ok(answer(&app, 0)));
    assert_eq!((app.selected, app.row(0)), (0, None));
    press(&mut app, &[KeyCode::Enter, KeyCode::End, KeyCode::PageDown]);
    assert_eq!(app.wish.open, None, "there is none to open");
}

#[test]
fn a_filter_is_asked_for_as_it_is_typed() {
    let mut app = with_calls(5);
    press(
        &mut app,
        &[KeyCode::Down, KeyCode::Char('/'), KeyCode::Char('q')],
    );
    assert_eq!((app.wish.filter.as_str(), app.selected), ("q", 0));
    assert!(!app.is_over, "what is typed is no command");
    // What was under way when it was typed is not taken for an answer to it.
    let stale = Seen {
        wish: Wish::default(),
        ..answer(&app, 1)
    };
    app.take(Ok(stale));
    assert_eq!(app.seen.list.matched, 5);
    assert!(screen(&mut app, 80, 24)[23].starts_with("filter: q_"));
    press(&mut app, &[KeyCode::Char('x'); FILTER_MAX]);
    assert_eq!(app.wish.filter.len(), FILTER_MAX, "and no more");
    press(&mut app, &[KeyCode::Backspace, KeyCode::Char('é')]);
    assert_eq!(
        app.wish.filter.len(),
        FILTER_MAX - 1,
        "two octets have no room"
    );
    press(&mut app, &[KeyCode::Enter]);
    assert!(app.typed.is_none() && !app.wish.filter.is_empty());
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.wish.filter, "");
}

#[test]
fn keys_sort_pause_and_end() {
    let mut app = with_calls(5);
    let mut sorts = Vec::new();
    for _ in Sort::ALL {
        press(&mut app, &[KeyCode::Char('s')]);
        sorts.push(app.wish.sort);
    }
    sorts.rotate_right(1);
    assert_eq!(sorts, Sort::ALL);
    press(&mut app, &[KeyCode::Char('p')]);
    assert!(app.wish.paused && screen(&mut app, 80, 24)[3].ends_with("PAUSED"));
    press(&mut app, &[KeyCode::Char('p')]);
    assert!(!app.wish.paused && !app.is_over);
    press(&mut app, &[KeyCode::Char('q')]);
    assert!(app.is_over);
    let mut app = with_calls(5);
    press(&mut app, &[KeyCode::Char('/')]);
    app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(app.is_over, "even while a filter is typed");
}
