//! What a recording holds, as text.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::record::event::StopReason;
use crate::record::file::read::RecordingInfo;
use crate::record::file::repair::Repaired;
use crate::record::finish::Finished;
use crate::record::sidecar::{LegInfo, Report, Sidecar, SpanInfo, StatsInfo, TrackInfo};
use crate::record::span::SpanKind;

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
    line("format", &form(info, report.sidecar.as_ref()));
    if let Some(sidecar) = &report.sidecar {
        line("call", &plain(&sidecar.call_id));
        line("started", &plain(&sidecar.started));
        line("ended", reason(sidecar.reason));
        if !sidecar.metadata.is_empty() {
            line("metadata", &plain(&sidecar.metadata));
        }
    }
    line("checks", &checked(file, report));
    for problem in report.problems.iter().filter(|_| report.was_checked()) {
        line("", &problem.to_string());
    }
    if let Some(sidecar) = &report.sidecar {
        tracks(&mut text, sidecar);
        spans(&mut text, sidecar);
    }
    text
}

/// Two lines over a picture of it.
pub(super) fn heading(file: &Path, info: &RecordingInfo, sidecar: Option<&Sidecar>) -> String {
    let name = file.file_name().unwrap_or(file.as_os_str());
    let name = sidecar.map_or_else(|| name.to_string_lossy().into_owned(), |s| plain(&s.path));
    let mut facts = vec![clock(info.length()), form(info, sidecar)];
    if let Some(sidecar) = sidecar {
        let started = sidecar.started.replacen('T', " ", 1);
        facts.insert(0, plain(started.trim_end_matches('Z')) + " UTC");
        facts.push(format!("call {}", plain(&sidecar.call_id)));
    }
    format!("{name}\n{}", facts.join("   "))
}

fn form(info: &RecordingInfo, sidecar: Option<&Sidecar>) -> String {
    let form = match sidecar {
        Some(sidecar) => plain(&sidecar.format),
        None => format!("{:?}", info.container).to_lowercase(),
    };
    let channels = match info.channels {
        1 => "1 channel".to_owned(),
        channels => format!("{channels} channels"),
    };
    format!("{form}, {} Hz, {channels}", info.rate_hz)
}

/// A line for each recording that is verified, and one for each problem.
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
    let problems = report.problems.iter();
    problems
        .map(|problem| format!("{file}: {problem}\n"))
        .collect()
}

/// What a repair came to.
pub(super) fn repaired(file: &Path, repaired: &Repaired) -> String {
    let is_part = file.extension().is_some_and(|ending| ending == "part");
    let file = file.display();
    let length = clock(repaired.length());
    let said = match (repaired.changed, repaired.cut) {
        (false, _) => format!("{file}: whole already, {length}\n"),
        (true, 0) => format!("{file}: closed, {length}\n"),
        (true, 1) => format!("{file}: closed, {length}; 1 byte at its end was cut off\n"),
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

fn checked(file: &Path, report: &Report) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if report.sidecar.is_none() && name.starts_with('.') && name.ends_with(".part") {
        return "none yet: it is being recorded, or was when the switch was killed".to_owned();
    }
    match report.chain {
        Some(head) if report.is_verified() => format!("ok, chain {head}"),
        _ if report.was_checked() => "failed:".to_owned(),
        _ => {
            let why = report.problems.iter().map(ToString::to_string);
            let why: Vec<String> = why.collect();
            format!("none: {}", why.join("; "))
        }
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
        let until = match sidecar.reason {
            // What came is noted when a segment ends.
            StopReason::Recovered => " (as of the last whole segment)",
            _ => "",
        };
        let _written = writeln!(text, "          {}{until}", stats(&track.stats));
    }
}

/// What came on a track; of what seldom happens only what did.
fn stats(stats: &StatsInfo) -> String {
    let mut text = format!("{} packets", stats.packets);
    if !stats.codecs.is_empty() {
        text += &format!(" of {}", plain(&stats.codecs.join(", ")));
    }
    text += &format!(", {} lost", stats.lost);
    if stats.late > 0 {
        text += &format!(" ({} came too late)", stats.late);
    }
    if stats.undecoded > 0 {
        text += &format!(", {} not decoded", stats.undecoded);
    }
    if stats.ssrc_changes > 0 {
        text += &format!(", {} new sources", stats.ssrc_changes);
    }
    if stats.packets > 0 {
        text += &format!(", clock {:+.0} ppm", stats.drift_ppm);
    }
    text
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
    let legs: Vec<String> = track.legs.iter().map(leg).collect();
    match legs.is_empty() {
        true => "nobody".to_owned(),
        false => legs.join(", then "),
    }
}

/// Who was on a track last.
pub(super) fn name_of(track: &TrackInfo) -> String {
    track.legs.last().map_or_else(|| "nobody".to_owned(), leg)
}

fn leg(leg: &LegInfo) -> String {
    let name = leg.label.as_ref().unwrap_or(&leg.leg);
    let name = match name.is_empty() {
        true => "a party without a tag".to_owned(),
        false => plain(name),
    };
    match leg.side == "out" {
        true => format!("to {name}"),
        false => name,
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
        let whose = track.map_or_else(|| "all tracks".to_owned(), |track| format!("track {track}"));
        let sum = clock(all.iter().map(|span| lasted(span)).sum());
        let _written = match all.len() {
            1 => writeln!(text, "\n{kind}, {whose}: once, {sum}"),
            count => writeln!(text, "\n{kind}, {whose}: {count} times, {sum} in all"),
        };
        for span in all.iter().take(LISTED_MAX) {
            let _written = writeln!(text, "          {}", stretch(span));
        }
        if all.len() > LISTED_MAX {
            let _written = writeln!(text, "          and {} more", all.len() - LISTED_MAX);
        }
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

/// What of the call it stands for, be it in the file or not.
pub(super) fn lasted(span: &SpanInfo) -> Duration {
    let kept_us = span.until_us.saturating_sub(span.from_us);
    Duration::from_micros(kept_us.saturating_add(span.skipped_us))
}

fn stretch(span: &SpanInfo) -> String {
    let [from, until] = [span.from_us, span.until_us].map(Duration::from_micros);
    match span.skipped_us {
        0 => format!("{} to {}", clock(from), clock(until)),
        us => format!(
            "at {}: {} left out",
            clock(from),
            clock(Duration::from_micros(us))
        ),
    }
}

fn reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Commanded => "by command",
        StopReason::CallEnded => "with its call",
        StopReason::LengthMax => "at its greatest length",
        StopReason::Silence => "after silence",
        StopReason::FinishKey => "by a key",
        StopReason::Recovered => "by a crash; closed later",
    }
}

/// A kind of span, as a person says it.
fn said(kind: &SpanKind) -> String {
    let kind = serde_json::to_value(kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str());
    kind.unwrap_or("?").replace('_', " ")
}

/// What strangers wrote, on one line, without what a terminal would obey.
fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(plain).collect()
}

/// `h:mm:ss.mmm`, without the hours where there are none.
pub(super) fn clock(time: Duration) -> String {
    clock_to(time, 3)
}

/// The same with so many places behind the seconds, 0 to 3; the rest is left out.
pub(super) fn clock_to(time: Duration, places: usize) -> String {
    let (seconds, ms) = (time.as_secs(), time.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let mut text = match hours {
        0 => format!("{minutes}:{seconds:02}.{ms:03}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}.{ms:03}"),
    };
    let left_out = if places == 0 { 4 } else { 3 - places.min(3) };
    text.truncate(text.len() - left_out);
    text
}

#[cfg(test)]
mod tests;
