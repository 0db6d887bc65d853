use super::*;
use crate::flow::run::ledger::Log;
use crate::sip::EndedBy;

const BY_PARTY: EndedBy = EndedBy::Party;

fn board_with_a_call() -> Board {
    let board = Board::before(Arc::new(Log));
    board.call_started(&CallStarted {
        call: "c1",
        from: "ann",
        to: "1000",
        flow: "main",
        callback: None,
    });
    begin(&board, "ann-leg", true);
    board
}

fn begin(board: &Board, leg: &str, inbound: bool) {
    board.leg_started(&LegStarted {
        call: "c1",
        leg,
        inbound,
        from: "ann",
        to: "bob",
        instead_of: None,
    });
}

fn end(board: &Board, leg: &str, cause: u16) {
    let cause = Cause(cause);
    let by = BY_PARTY;
    board.leg_ended("c1", leg, Ending { cause, by }, None);
}

fn end_call(board: &Board, cause: u16, answered: bool) {
    board.call_ended(&CallEnded {
        call: "c1",
        ending: Ending {
            cause: Cause(cause),
            by: BY_PARTY,
        },
        answered,
        digits: 0,
        recordings: &[],
    });
}

#[test]
fn a_call_is_on_the_board_while_it_lives() {
    let board = board_with_a_call();
    let call = board.call("c1").expect("it");
    assert_eq!(call.now().status(), LegStatus::Ringing);
    board.applet_begun("c1", "menu");
    board.answered("c1", "ann-leg");
    begin(&board, "bob-leg", false);
    let now = call.now().clone();
    assert_eq!(now.status(), LegStatus::InProgress);
    assert_eq!(&*now.applet, "menu");
    let legs: Vec<_> = now
        .legs
        .iter()
        .map(|leg| (leg.tag(), leg.status()))
        .collect();
    let (rings, talks) = (LegStatus::Ringing, LegStatus::InProgress);
    assert_eq!(legs, [("caller", talks), ("bob-leg", rings)]);
    end(&board, "bob-leg", 486);
    assert_eq!(call.now().legs[1].status(), LegStatus::Busy);
    end_call(&board, 200, true);
    assert!(board.call("c1").is_none() && board.is_empty());
    assert_eq!((board.started(), board.ended()), (1, [1, 0, 0, 0, 0]));
}

/// Who takes the caller's place is heard there, once it is answered; another is not.
#[test]
fn a_leg_that_was_transferred_has_the_place_of_another() {
    let board = board_with_a_call();
    board.answered("c1", "ann-leg");
    begin(&board, "bob-leg", false);
    for (leg, inbound, instead_of) in [("cid", false, "ann-leg"), ("dan", true, "bob-leg")] {
        board.leg_started(&LegStarted {
            call: "c1",
            leg,
            inbound,
            from: "ann",
            to: "bob",
            instead_of: Some(instead_of),
        });
    }
    let call = board.call("c1").expect("it");
    let tag = |ix: usize| call.now().legs[ix].tag().to_owned();
    assert_eq!((tag(2), tag(3)), ("cid".to_owned(), "dan".to_owned()));
    board.answered("c1", "cid");
    board.answered("c1", "dan");
    assert_eq!((tag(2), tag(3)), ("caller".to_owned(), "dan".to_owned()));
}

#[test]
fn what_comes_after_the_end_leaves_nothing() {
    let board = board_with_a_call();
    end_call(&board, 503, false);
    begin(&board, "late", false);
    board.answered("c1", "late");
    board.applet_begun("c1", "late");
    end(&board, "late", 200);
    assert_eq!(board.len(), 0);
    assert_eq!(board.ended(), [0, 0, 0, 1, 0]);
}

#[test]
fn of_too_many_legs_those_that_ended_give_way() {
    let board = board_with_a_call();
    for n in 1..LEGS_MAX {
        begin(&board, &n.to_string(), false);
    }
    let call = board.call("c1").expect("it");
    let shown = || {
        let now = call.now();
        (now.legs.len(), now.legs_left_out)
    };
    assert_eq!(shown(), (LEGS_MAX, 0));
    begin(&board, "one more", false);
    assert_eq!(shown(), (LEGS_MAX, 1));
    assert!(call.now().legs.iter().all(|leg| &*leg.sid != "one more"));
    end(&board, "7", 480);
    begin(&board, "in its place", false);
    assert_eq!(shown(), (LEGS_MAX, 2));
    let now = call.now();
    assert!(now.legs.iter().all(|leg| &*leg.sid != "7"));
    assert!(now.legs.iter().any(|leg| &*leg.sid == "in its place"));
}

#[test]
fn long_names_are_cut_between_characters() {
    let board = Board::before(Arc::new(Log));
    let just = "x".repeat(TEXT_MAX);
    let wide = "ü".repeat(TEXT_MAX);
    board.call_started(&CallStarted {
        call: "c1",
        from: &just,
        to: &(just.clone() + "y"),
        flow: &wide,
        callback: None,
    });
    let call = board.call("c1").expect("it");
    assert_eq!((&*call.from, &*call.to), (&*just, &*just));
    assert_eq!(call.flow.chars().count(), TEXT_MAX / 2);
}
