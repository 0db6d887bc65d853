use super::*;

fn call(n: u64, parties: usize) -> Found {
    Found::Ng(Sketch {
        call_id: format!("call-{n:05}").into(),
        created_at: origin() + Duration::from_millis(n),
        parties,
        answered: n.is_multiple_of(2),
    })
}

/// The same in one test run.
fn origin() -> Instant {
    static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

fn ids(found: &[Found]) -> Vec<String> {
    let rows = found.iter().map(|it| it.row(origin()).sid);
    rows.collect()
}

#[test]
fn a_part_of_a_list_is_that_of_the_whole_list() {
    let shuffled = || {
        (0..1_000_u64)
            .map(|n| call(n * 617 % 1_000, 2))
            .collect::<Vec<_>>()
    };
    for sort in Sort::ALL {
        let all = ids(&part(shuffled(), sort, 0, usize::MAX));
        assert_eq!(all.len(), 1_000);
        for (offset, limit) in [(0, 1), (0, 0), (0, 1_000), (993, 7), (993, 50), (400, 30)] {
            let end = (offset + limit).min(1_000);
            let shown = ids(&part(shuffled(), sort, offset, limit));
            assert_eq!(shown, all[offset..end], "{sort:?} {offset} {limit}");
        }
        assert!(part(shuffled(), sort, 1_000, 10).is_empty());
        assert!(part(shuffled(), sort, usize::MAX, usize::MAX).is_empty());
    }
}

#[test]
fn the_order_is_that_asked_for() {
    let five = || (0..5).map(|n| call(n, 2)).collect::<Vec<_>>();
    let first = |sort| ids(&part(five(), sort, 0, 5)).swap_remove(0);
    assert_eq!(first(Sort::Newest), "call-00004");
    assert_eq!(first(Sort::Oldest), "call-00000");
    assert_eq!(first(Sort::Status), "call-00003", "the newest that rings");
    assert_eq!(
        first(Sort::To),
        "call-00000",
        "by id where there is no number"
    );
}

#[test]
fn a_filter_finds_what_is_shown_in_any_case() {
    assert!(call(7, 2).has("call-00007") && call(7, 2).has("ringing"));
    assert!(!call(7, 2).has("progress") && call(8, 2).has("progress"));
    assert!(
        !call(7, 2).has("CALL"),
        "the filter is in lower case by then"
    );
}

#[test]
fn queries_are_read_as_they_are_spelt() {
    let read = |text: &str| serde_json::from_str::<Query>(text);
    for sort in Sort::ALL {
        let text = format!("{{\"sort\":\"{}\"}}", sort.label());
        assert_eq!(read(&text).expect("it").sort, sort);
    }
    assert!(read("{\"sort\":\"age\"}").is_err() && read("{\"colour\":1}").is_err());
}
