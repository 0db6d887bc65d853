use super::*;
use crate::record::config::{Format, Layout, PauseMode, RecordingConfig};
use crate::record::event::StopReason;
use crate::record::sidecar::{PressInfo, SpanInfo};
use crate::record::span::SpanKind;

fn notes() -> Vec<Note> {
    let config = RecordingConfig {
        call_id: "call\nwith a line end".into(),
        path: "a.wav".into(),
        format: Format::Wav,
        rate_hz: 8_000,
        layout: Layout::Mono,
        tracks: Vec::new(),
        pause: PauseMode::Silence,
        length_max: None,
        silence_max: None,
        trim: false,
        metadata: "".into(),
    };
    let sidecar = Sidecar::new(&config, "2026-01-01T00:00:00.000Z", 44);
    let span = SpanInfo {
        track: None,
        kind: SpanKind::Paused,
        from_us: 5,
        until_us: 10_000,
        skipped_us: 0,
    };
    let press = PressInfo {
        track: 1,
        from_us: 7,
        until_us: None,
    };
    vec![
        Note::Begin(Box::new(sidecar)),
        Note::Span(span),
        Note::Press(press),
        Note::End {
            reason: StopReason::Silence,
            length_us: 12_000,
        },
    ]
}

/// However much of it is there: whole lines count, and no more.
#[test]
fn a_journal_that_is_cut_anywhere_tells_its_whole_lines() {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for note in notes() {
        append(&note, &mut text);
        ends.push(text.len());
    }
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 4);
    for len in 0..=text.len() {
        let journal = read(&text[..len]);
        let lines = ends.iter().filter(|end| **end <= len).count();
        let Some(journal) = journal else {
            assert_eq!(lines, 0);
            continue;
        };
        let spans = usize::from(lines > 1);
        assert_eq!(journal.sidecar.spans.len(), spans);
        assert_eq!(journal.sidecar.presses.len(), usize::from(lines > 2));
        assert_eq!(journal.ended, lines == 4);
    }
}

#[test]
fn what_is_no_journal_is_none() {
    let mut late = Vec::new();
    append(&notes()[1], &mut late);
    append(&notes()[0], &mut late);
    assert_eq!(read(&late), None);
    for text in [&b""[..], b"\n", b"{}\n", b"\0\0\0\0", &[0xff; 100]] {
        assert_eq!(read(text), None);
    }
}

#[test]
fn lines_behind_a_broken_one_do_not_count() {
    let mut text = Vec::new();
    append(&notes()[0], &mut text);
    text.extend_from_slice(b"\0\0\0\n");
    append(&notes()[1], &mut text);
    assert_eq!(read(&text).expect("it begins").sidecar.spans, []);
}
