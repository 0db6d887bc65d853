//! What a recording holds, as text.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::record::file::read::RecordingInfo;
use crate::record::file::repair::Repaired;
use crate::record::finish::Finished;
use crate::record::sidecar::{Report, Sidecar, SpanInfo, TrackInfo};

/// Most spans of one kind and track that are listed; more are added up.
const LISTED_MAX: usize = 12;

/// All there is to say of a recording.
pub(super) fn text(file: &Path, info: &RecordingInfo, report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _written = writeln!(text, "{name:<10}{value}");
    };
    line("file", &file.display().to_string());
    line("length", &clock(info.length()));
    let form = match &report.sidecar {
        Some(sidecar) => sidecar.format.clone(),
        None => format!("{:?}", info.container).to_lowercase(),
    };
    let channels = match info.channels {
        1 => "1 channel".to_owned(),
        channels => format!("{channels} channels"),
    };
    line(
        "format",
        &format!("{form}, {} Hz, {channels}", info.rate_hz),
    );
    if let Some(sidecar) = &report.sidecar {
        line("call", &sidecar.call_id);
        line("started", &sidecar.started);
        line("ended", &said(&sidecar.reason));
        if !sidecar.metadata.is_empty() {
            line("metadata", &sidecar.metadata.escape_debug().to_string());
        }
    }
    line("checks", &checked(report));
    for problem in &report.problems {
        line("", &problem.to_string());
    }
    if let Some(sidecar) = &report.sidecar {
        tracks(&mut text, sidecar);
        spans(&mut text, sidecar);
    }
    text
}

/// One line for each recording that is verified.
pub(super) fn verdict(file: &Path, report: &Report, other: bool) -> String {
    let file = file.display();
    if other {
        return format!("{file}: whole, but its chain is not the one that was told\n");
    }
    if report.is_verified() {
        let head = report
            .chain
            .map_or_else(String::new, |head| head.to_string());
        return format!("{file}: ok, chain {head}\n");
    }
    let problems = report.problems.iter().map(ToString::to_string);
    let problems: Vec<_> = problems.collect();
    format!("{file}: {}\n", problems.join("; "))
}

/// What a repair came to.
pub(super) fn repaired(file: &Path, repaired: &Repaired) -> String {
    let is_part = file.extension().is_some_and(|ending| ending == "part");
    let file = file.display();
    let length = clock(repaired.length());
    let said = match (repaired.changed, repaired.cut) {
        (false, _) => format!("{file}: whole already, {length}\n"),
        (true, 0) => format!("{file}: closed, {length}\n"),
        (true, cut) => format!("{file}: closed, {length}; {cut} bytes at its end were cut off\n"),
    };
    match is_part {
        true => said + "no journal is beside it: it keeps its name, and gets no sidecar\n",
        false => said,
    }
}

/// What became of a file in progress.
pub(super) fn finished(part: &Path, finished: &Finished) -> String {
    let part = part.display();
    match finished {
        Finished::Empty => format!("{part}: its sound had not begun; it was removed\n"),
        Finished::Complete(file, length) => {
            let (file, length) = (file.display(), clock(*length));
            format!("{part}: closed, {length}; it is {file} now, with {file}.json\n")
        }
    }
}

fn checked(report: &Report) -> String {
    match report.chain {
        Some(head) if report.is_verified() => format!("ok, chain {head}"),
        _ => "failed:".to_owned(),
    }
}

fn tracks(text: &mut String, sidecar: &Sidecar) {
    for track in &sidecar.tracks {
        let _written = writeln!(
            text,
            "\ntrack {} on {}: {}",
            track.track,
            channel(sidecar, track),
            legs(track)
        );
        let stats = &track.stats;
        let _written = writeln!(
            text,
            "          {} packets ({}), {} lost, {} of them late, {} not decoded, {} new sources, \
             clock {:+.0} ppm",
            stats.packets,
            stats.codecs.join(", "),
            stats.lost,
            stats.late,
            stats.undecoded,
            stats.ssrc_changes,
            stats.drift_ppm,
        );
    }
}

fn channel(sidecar: &Sidecar, track: &TrackInfo) -> String {
    match (sidecar.channels, track.channel) {
        (1, _) => "the one channel".to_owned(),
        (2, 0) => "the left channel".to_owned(),
        (2, 1) => "the right channel".to_owned(),
        (_, channel) => format!("channel {}", channel + 1),
    }
}

fn legs(track: &TrackInfo) -> String {
    let legs = track.legs.iter().map(|leg| {
        let name = leg.label.as_ref().unwrap_or(&leg.leg);
        let side = if leg.side == "out" {
            "what {} hears"
        } else {
            "{}"
        };
        side.replace("{}", &name.escape_debug().to_string())
    });
    let legs: Vec<String> = legs.collect();
    match legs.is_empty() {
        true => "nobody".to_owned(),
        false => legs.join(", then "),
    }
}

fn spans(text: &mut String, sidecar: &Sidecar) {
    let mut kinds: Vec<(Option<u8>, String)> = Vec::new();
    for span in &sidecar.spans {
        let kind = (span.track, said(&span.kind));
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.sort();
    for (track, kind) in kinds {
        let of_kind = |span: &&SpanInfo| (span.track, said(&span.kind)) == (track, kind.clone());
        let all: Vec<_> = sidecar.spans.iter().filter(of_kind).collect();
        let sum: u64 = all
            .iter()
            .map(|span| span.until_us - span.from_us.min(span.until_us))
            .sum();
        let whose = track.map_or_else(|| "all tracks".to_owned(), |track| format!("track {track}"));
        let sum = Duration::from_micros(sum);
        let count = all.len();
        let _written = writeln!(
            text,
            "\n{kind}, {whose}: {count} times, {} in all",
            clock(sum)
        );
        for span in all.iter().take(LISTED_MAX) {
            let [from, until] = [span.from_us, span.until_us].map(Duration::from_micros);
            let _written = writeln!(text, "          {} to {}", clock(from), clock(until));
        }
        if count > LISTED_MAX {
            let _written = writeln!(text, "          and {} more", count - LISTED_MAX);
        }
    }
    let presses = sidecar.presses.len();
    if presses > 0 {
        let _written = writeln!(
            text,
            "\nkeys were pressed {presses} times (which ones is not kept)"
        );
    }
    let dropped = sidecar.spans_dropped + sidecar.presses_dropped;
    if dropped > 0 {
        let _written = writeln!(
            text,
            "\n{dropped} more spans or presses were too many to be listed"
        );
    }
    if sidecar.notes_lost > 0 {
        let _written = writeln!(
            text,
            "\n{} notes of spans and presses were lost to a slow disk before the crash",
            sidecar.notes_lost
        );
    }
}

/// A name of the sidecar, as a person says it.
fn said(name: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(name).ok();
    let name = name.as_ref().and_then(|name| name.as_str());
    name.unwrap_or("?").replace('_', " ")
}

/// `h:mm:ss.mmm`, without the hours where there are none.
pub(super) fn clock(time: Duration) -> String {
    let (seconds, ms) = (time.as_secs(), time.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}.{ms:03}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}.{ms:03}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!(clock(Duration::from_millis(59_999)), "0:59.999");
        assert_eq!(clock(Duration::from_millis(3_661_005)), "1:01:01.005");
    }
}
