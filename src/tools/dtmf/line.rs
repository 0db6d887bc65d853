//! One press, as a line of text or JSON.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::engine::DigitSource;
use crate::wire::event::EventCode;

/// A press that has ended. Times are those of its stream, from its first sample or packet.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) code: EventCode,
    pub(super) source: DigitSource,
    pub(super) start_us: u64,
    pub(super) end_us: u64,
    /// Position of the stream when the press was declared.
    pub(super) report_us: u64,
    /// Of both tones together, or what an event's volume says.
    pub(super) level_dbm0: Option<f32>,
    /// High minus low tone.
    pub(super) twist_db: Option<f32>,
    /// In percent.
    pub(super) confidence: u8,
    /// Of a file of several, from 1.
    pub(super) channel: Option<usize>,
    pub(super) stream: Option<Place>,
    /// Tones of the same press were in the audio, too.
    pub(super) also_in_band: bool,
}

/// Which stream of a capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) ssrc: u32,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// When its first packet came, from the beginning of the capture.
    pub(super) offset_us: u64,
}

impl Place {
    /// Whether both are between the same addresses.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (self.from, self.to) == (other.from, other.to)
    }
}

/// Prints presses.
#[derive(Debug)]
pub(super) struct Printer {
    json: bool,
    names_places: bool,
}

/// Nobody reads standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(super) struct ReaderGone;

#[derive(Serialize)]
struct Json<'a> {
    digit: &'a str,
    event: u8,
    source: &'static str,
    start_ms: f64,
    end_ms: f64,
    report_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    level_dbm0: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    twist_db: Option<f64>,
    confidence: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<usize>,
    #[serde(flatten)]
    stream: Option<Stream>,
}

#[derive(Serialize)]
struct Stream {
    ssrc: u32,
    from: SocketAddr,
    to: SocketAddr,
    stream_offset_ms: f64,
    also_in_band: bool,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            names_places: false,
        }
    }

    /// Several channels or streams are heard: lines of text say which, too.
    pub(super) fn name_places(&mut self) {
        self.names_places = true;
    }

    /// Prints one line, at once.
    pub(super) fn print(&mut self, line: &Line) -> Result<()> {
        let mut text = if self.json { line.json()? } else { line.text() };
        if self.names_places && !self.json {
            text += &line.place();
        }
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
            other => other.context("cannot write to standard output"),
        }
    }
}

impl Line {
    fn text(&self) -> String {
        let ms = |us: u64| (us + 500) / 1_000;
        let (start, end, report) = (ms(self.start_us), ms(self.end_us), ms(self.report_us));
        let (name, source) = (name(self.code), self.source.label());
        format!("{name} {start} {end} {report} {source}")
    }

    /// One field more, with the space before it.
    fn place(&self) -> String {
        match (self.channel, self.stream) {
            (Some(channel), _) => format!(" channel-{channel}"),
            (None, Some(Place { from, to, .. })) => format!(" {from}>{to}"),
            (None, None) => String::new(),
        }
    }

    fn json(&self) -> Result<String> {
        let json = Json {
            digit: &name(self.code),
            event: self.code.0,
            source: self.source.label(),
            start_ms: ms(self.start_us),
            end_ms: ms(self.end_us),
            report_ms: ms(self.report_us),
            level_dbm0: self.level_dbm0.map(tenths),
            twist_db: self.twist_db.map(tenths),
            confidence: self.confidence,
            channel: self.channel,
            stream: self.stream.map(|place| Stream {
                ssrc: place.ssrc,
                from: place.from,
                to: place.to,
                stream_offset_ms: ms(place.offset_us),
                also_in_band: self.also_in_band,
            }),
        };
        Ok(serde_json::to_string(&json)?)
    }
}

/// The key, or what the event is called.
fn name(code: EventCode) -> String {
    match code.digit() {
        Some(digit) => digit.to_string(),
        None if code == EventCode::FLASH => "flash".into(),
        None => format!("event-{}", code.0),
    }
}

/// Milliseconds with microseconds behind the point.
#[allow(
    clippy::cast_precision_loss,
    reason = "2^53 microseconds are three centuries"
)]
fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn tenths(value: f32) -> f64 {
    // Adding zero leaves no negative one.
    (f64::from(value) * 10.0).round() / 10.0 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_people_and_programs_read() {
        let line = Line {
            code: EventCode(11),
            source: DigitSource::InBand,
            start_us: 1_000_400,
            end_us: 1_100_500,
            report_us: 1_040_000,
            level_dbm0: Some(-9.96),
            twist_db: Some(-0.04),
            confidence: 97,
            channel: Some(2),
            stream: None,
            also_in_band: false,
        };
        assert_eq!(
            line.text() + &line.place(),
            "# 1000 1101 1040 in-band channel-2"
        );
        assert_eq!(
            line.json().unwrap(),
            r##"{"digit":"#","event":11,"source":"in-band","start_ms":1000.4,"end_ms":1100.5,"##
                .to_owned()
                + r#""report_ms":1040.0,"level_dbm0":-10.0,"twist_db":0.0,"confidence":97,"#
                + r#""channel":2}"#
        );
        assert_eq!(name(EventCode::FLASH), "flash");
        assert_eq!(name(EventCode(36)), "event-36");
    }
}
