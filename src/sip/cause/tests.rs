//! The whole table: each code, before and after the answer.

use super::*;

/// What each code means for a leg that was not answered; all others are `failed`.
const UNANSWERED: [(u16, &str); 8] = [
    (200, "canceled"),
    (408, "no-answer"),
    (480, "no-answer"),
    (486, "busy"),
    (487, "canceled"),
    (600, "busy"),
    (603, "busy"),
    (404, "failed"),
];

#[test]
fn every_code_has_its_status_before_the_answer() {
    for code in 200..700 {
        let listed = UNANSWERED.iter().find(|(c, _)| *c == code);
        let wanted = listed.map_or("failed", |(_, label)| label);
        assert_eq!(Cause(code).status(false).label(), wanted, "{code}");
    }
}

#[test]
fn whatever_ends_an_answered_leg_completes_it() {
    for code in 200..700 {
        assert_eq!(Cause(code).status(true), LegStatus::Completed, "{code}");
    }
}

#[test]
fn labels_are_the_platforms_words() {
    let all = [
        (LegStatus::Ringing, "ringing"),
        (LegStatus::InProgress, "in-progress"),
        (LegStatus::Completed, "completed"),
        (LegStatus::Busy, "busy"),
        (LegStatus::NoAnswer, "no-answer"),
        (LegStatus::Failed, "failed"),
        (LegStatus::Canceled, "canceled"),
    ];
    for (status, label) in all {
        assert_eq!(status.label(), label);
    }
}
