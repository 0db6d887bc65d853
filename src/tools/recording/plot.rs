//! A recording as a picture: a lane for each channel, with what is not simply sound shaded.
//!
//! A lane that several tracks are mixed on has a strip below it for each of them, so that one can
//! see who was silent or lost while others spoke.

mod peaks;

use std::fs::File;
use std::io::{BufWriter, Read, Seek};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::peaks::Column;
use super::show::{clock, clock_to, lasted, name_of};
use crate::record::file::read::{RecordingInfo, RecordingReader};
use crate::record::sidecar::{Sidecar, SpanInfo, TrackInfo};
use crate::record::span::SpanKind;
use crate::tools::canvas::{Canvas, Colour, GLYPH, width_of};

/// From here on there is room for letters of double size.
const WIDE: usize = 1_000;

/// Letters of names, left of the lanes.
const NAME_LETTERS: usize = 12;

/// From a lane's middle to the highest sample, in pixels at scale 1.
const REACH: i32 = 48;

/// Height of a span's mark below a lane, in pixels at scale 1.
const MARK: usize = 5;

/// Height of a track's strip, in pixels at scale 1.
const STRIP: usize = 12;

const PAPER: Colour = [255, 255, 255];
const INK: Colour = [30, 34, 40];
const FAINT: Colour = [110, 116, 125];
const RULE: Colour = [222, 225, 230];
const FRAME: Colour = [160, 166, 175];
const SOUND: Colour = [126, 167, 214];
const LOUD: Colour = [27, 84, 155];

/// How a kind of span is shown.
struct Shade {
    kind: SpanKind,
    name: &'static str,
    /// Behind the sound.
    pale: Colour,
    /// Of its mark.
    full: Colour,
}

const fn shade(kind: SpanKind, name: &'static str, pale: Colour, full: Colour) -> Shade {
    Shade {
        kind,
        name,
        pale,
        full,
    }
}

/// What is drawn first is what may cover most of the picture.
const SHADES: [Shade; 8] = [
    shade(
        SpanKind::Silent,
        "nothing sent",
        [238, 239, 241],
        [178, 183, 190],
    ),
    shade(SpanKind::Paused, "paused", [214, 229, 250], [92, 142, 214]),
    shade(
        SpanKind::Masked,
        "keys masked",
        [230, 218, 247],
        [142, 98, 196],
    ),
    shade(
        SpanKind::Concealed,
        "concealed",
        [255, 236, 196],
        [232, 160, 32],
    ),
    shade(
        SpanKind::Unwritten,
        "not written",
        [240, 205, 190],
        [140, 70, 40],
    ),
    shade(
        SpanKind::Overrun,
        "overrun",
        [246, 206, 228],
        [190, 50, 130],
    ),
    shade(SpanKind::Lost, "lost", [255, 209, 204], [214, 48, 36]),
    shade(
        SpanKind::Pressed,
        "key down",
        [207, 240, 207],
        [44, 150, 60],
    ),
];

/// Draws a recording into a PNG.
pub(super) fn draw(
    recording: &mut RecordingReader<impl Read + Seek>,
    sidecar: Option<&Sidecar>,
    heading: &str,
    width: u32,
    png: &Path,
) -> Result<()> {
    let info = recording.info();
    let plan = Plan::new(info, sidecar, width as usize);
    let lanes = peaks::of(recording, plan.across())?;
    let canvas = plan.drawn(heading, &lanes);
    let named = || png.display().to_string();
    let out = File::create(png).with_context(named)?;
    canvas.write(BufWriter::new(out)).with_context(named)
}

/// A channel's place in the picture.
struct Lane<'a> {
    top: usize,
    /// Who is on it.
    tracks: Vec<&'a TrackInfo>,
}

/// What goes where.
struct Plan<'a> {
    info: RecordingInfo,
    sidecar: Option<&'a Sidecar>,
    scale: usize,
    width: usize,
    left: usize,
    lanes: Vec<Lane<'a>>,
    /// Below the lanes.
    bottom: usize,
    legend: Vec<Vec<Entry>>,
}

/// A kind of span in the legend.
struct Entry {
    shade: &'static Shade,
    text: String,
}

impl<'a> Plan<'a> {
    fn new(info: RecordingInfo, sidecar: Option<&'a Sidecar>, width: usize) -> Self {
        let scale = if width < WIDE { 1 } else { 2 };
        let letter = GLYPH * scale;
        let (mut top, mut lanes) = (5 * letter, Vec::new());
        for channel in 0..info.channels {
            let tracks = sidecar.map_or(&[][..], |sidecar| &sidecar.tracks);
            let on_it = |track: &&TrackInfo| track.channel == channel;
            let lane = Lane {
                top,
                tracks: tracks.iter().filter(on_it).collect(),
            };
            top += lane.height(scale) + letter;
            lanes.push(lane);
        }
        let mut plan = Self {
            info,
            sidecar,
            scale,
            width,
            left: (NAME_LETTERS + 2) * letter,
            lanes,
            bottom: top - letter,
            legend: Vec::new(),
        };
        plan.legend = plan.entries();
        plan
    }

    fn letter(&self) -> usize {
        GLYPH * self.scale
    }

    /// Pixels of the lanes from left to right.
    fn across(&self) -> usize {
        self.width - self.left - 2 * self.letter()
    }

    /// Where a moment is.
    fn x(&self, time: Duration) -> usize {
        let length = self.info.length();
        let part = time.min(length).as_micros() * self.across() as u128;
        self.left + usize::try_from(part / length.as_micros().max(1)).unwrap_or(0)
    }

    fn drawn(&self, heading: &str, peaks: &[Vec<Column>]) -> Canvas {
        let letter = self.letter();
        let height = self.bottom + (5 + 2 * self.legend.len()) * letter;
        let mut canvas = Canvas::new((self.width, height), PAPER);
        let room = (self.width - 2 * letter) / letter;
        for (line, (text, colour)) in heading.lines().zip([INK, FAINT]).enumerate() {
            let at = (letter, letter + line * 3 * letter / 2);
            canvas.text(at, &shortened(text, room), self.scale, colour);
        }
        for (channel, (lane, peaks)) in self.lanes.iter().zip(peaks).enumerate() {
            self.lane(&mut canvas, channel, lane, peaks);
        }
        self.times(&mut canvas);
        self.legend(&mut canvas);
        canvas
    }

    fn lane(&self, canvas: &mut Canvas, channel: usize, lane: &Lane<'_>, peaks: &[Column]) {
        let (scale, across) = (self.scale, self.across());
        let sound = sound_height(scale);
        let middle = lane.top + sound / 2;
        let own = match lane.strips() {
            0 => lane.tracks.first().map(|track| track.track),
            _ => None,
        };
        self.shades(canvas, (lane.top, sound), own, true);
        for quarter in [1, 3] {
            let y = lane.top + quarter * sound / 4;
            canvas.fill((self.left, y), (across, 1), RULE);
        }
        for (column, peak) in peaks.iter().enumerate() {
            let y = |sample: i16| {
                let reach = REACH * i32::try_from(scale).unwrap_or(1);
                let off = i32::from(sample) * reach / i32::from(i16::MAX);
                middle.saturating_add_signed(-off as isize)
            };
            let x = self.left + column;
            for ((low, high), colour) in [(peak.ends, SOUND), (peak.loud(), LOUD)] {
                let (top, bottom) = (y(high), y(low));
                canvas.fill((x, top), (1, bottom - top + 1), colour);
            }
        }
        self.marks(canvas, lane.top + sound, own);
        frame(canvas, (self.left, lane.top), (across, sound), FRAME);
        let (name, who) = self.names(channel, lane);
        let letter = self.letter();
        let name_at = |line: usize| (letter, middle - letter + line * 3 * letter / 2);
        let named = !who.is_empty();
        canvas.text(name_at(0), &who, scale, INK);
        canvas.text(name_at(usize::from(named)), &name, scale, FAINT);
        for (n, track) in lane.tracks.iter().enumerate().take(lane.strips()) {
            let top = lane.top + sound + (MARK + 3) * scale + n * (STRIP + 3) * scale;
            canvas.fill((self.left, top), (across, STRIP * scale), [248, 250, 252]);
            self.shades(canvas, (top, STRIP * scale), Some(track.track), false);
            frame(canvas, (self.left, top), (across, STRIP * scale), RULE);
            let text = shortened(&name_of(track), NAME_LETTERS);
            canvas.text((letter, top + 2 * scale), &text, scale, INK);
        }
    }

    /// What is shown left of a lane: the channel, and who is on it.
    fn names(&self, channel: usize, lane: &Lane<'_>) -> (String, String) {
        let channel = match (self.info.channels, channel) {
            (1, _) => "mono".to_owned(),
            (2, 0) => "left".to_owned(),
            (2, 1) => "right".to_owned(),
            (_, channel) => format!("channel {}", channel + 1),
        };
        let who = match lane.tracks.as_slice() {
            [] if self.sidecar.is_some() => "nobody".to_owned(),
            [] => String::new(),
            [one] => name_of(one),
            more => format!("{} mixed", more.len()),
        };
        (channel, shortened(&who, NAME_LETTERS))
    }

    /// Spans of a track, or where there is none those of all tracks.
    fn spans(&self, track: Option<u8>) -> impl Iterator<Item = (&'static Shade, &SpanInfo)> {
        let spans = self.sidecar.map_or(&[][..], |sidecar| &sidecar.spans);
        SHADES.iter().flat_map(move |shade| {
            let of_kind = spans.iter().filter(|span| span.kind == shade.kind);
            let whose = of_kind.filter(move |span| span.track.is_none() || span.track == track);
            whose.map(move |span| (shade, span))
        })
    }

    /// Where a span is, from left to right; the shortest can be seen, too.
    fn place(&self, span: &SpanInfo) -> (usize, usize) {
        let [from, until] =
            [span.from_us, span.until_us].map(|us| self.x(Duration::from_micros(us)));
        let right = self.left + self.across();
        let from = from.min(right - self.scale);
        (from, (until.max(from) - from).max(self.scale))
    }

    fn shades(
        &self,
        canvas: &mut Canvas,
        (top, height): (usize, usize),
        track: Option<u8>,
        pale: bool,
    ) {
        for (shade, span) in self.spans(track) {
            let (x, width) = self.place(span);
            // What was left out takes no room, and is to be seen all the same.
            let colour = match pale && span.skipped_us == 0 {
                true => shade.pale,
                false => shade.full,
            };
            canvas.fill((x, top), (width, height), colour);
        }
    }

    /// A strong mark below the lane for each span: a short one in a long recording is seen.
    fn marks(&self, canvas: &mut Canvas, top: usize, track: Option<u8>) {
        for (shade, span) in self.spans(track) {
            let (x, width) = self.place(span);
            canvas.fill((x, top), (width, MARK * self.scale), shade.full);
        }
    }

    /// A line and the time at round moments, so far apart that they can be read.
    fn times(&self, canvas: &mut Canvas) {
        let length = self.info.length();
        let letter = self.letter();
        let step = step(length, self.across() / (12 * letter));
        let places = if step < Duration::from_secs(1) { 1 } else { 0 };
        let right = self.left + self.across();
        let mut moment = Duration::ZERO;
        while moment <= length {
            let x = self.x(moment).min(right - 1);
            for lane in &self.lanes {
                let bottom = lane.top + sound_height(self.scale);
                for y in (lane.top..bottom).step_by(4 * self.scale) {
                    canvas.fill((x, y), (1, self.scale), FRAME);
                }
            }
            canvas.fill((x, self.bottom), (1, letter / 2), FRAME);
            let label = clock_to(moment, places);
            let half = width_of(&label, self.scale) / 2;
            let at = x.saturating_sub(half).min(self.width - 2 * half);
            canvas.text((at, self.bottom + letter), &label, self.scale, INK);
            moment += step;
        }
    }

    /// What the shades in the picture mean, in lines.
    fn entries(&self) -> Vec<Vec<Entry>> {
        let spans = self.sidecar.map_or(&[][..], |sidecar| &sidecar.spans);
        let room = self.width - self.left - 2 * self.letter();
        let (mut lines, mut used) = (vec![Vec::new()], 0);
        for shade in &SHADES {
            let of_kind = || spans.iter().filter(|span| span.kind == shade.kind);
            if of_kind().next().is_none() {
                continue;
            }
            let sum = clock(of_kind().map(lasted).sum());
            let text = format!("{} {}x {sum}", shade.name, of_kind().count());
            let width = self.entry_width(&text);
            if used > 0 && used + width > room {
                lines.push(Vec::new());
                used = 0;
            }
            used += width;
            lines.last_mut().expect("one").push(Entry { shade, text });
        }
        lines
    }

    fn entry_width(&self, text: &str) -> usize {
        width_of(text, self.scale) + 5 * self.letter()
    }

    fn legend(&self, canvas: &mut Canvas) {
        let letter = self.letter();
        for (n, line) in self.legend.iter().enumerate() {
            let (mut x, y) = (self.left, self.bottom + (3 + 2 * n) * letter);
            for Entry { shade, text } in line {
                canvas.fill((x, y), (2 * letter, letter), shade.pale);
                let mark = letter / 2;
                canvas.fill((x, y + letter - mark), (2 * letter, mark), shade.full);
                canvas.text((x + 3 * letter, y), text, self.scale, INK);
                x += self.entry_width(text);
            }
        }
    }
}

impl Lane<'_> {
    /// Tracks that have a strip of their own.
    fn strips(&self) -> usize {
        match self.tracks.len() {
            0 | 1 => 0,
            several => several,
        }
    }

    fn height(&self, scale: usize) -> usize {
        sound_height(scale) + (MARK + self.strips() * (STRIP + 3)) * scale
    }
}

/// Height of what is heard in a lane.
fn sound_height(scale: usize) -> usize {
    (2 * REACH.unsigned_abs() as usize + 2) * scale
}

/// The lines around a rectangle.
fn frame(canvas: &mut Canvas, (x, y): (usize, usize), (w, h): (usize, usize), colour: Colour) {
    canvas.fill((x, y), (w, 1), colour);
    canvas.fill((x, y + h), (w, 1), colour);
    canvas.fill((x, y), (1, h), colour);
    canvas.fill((x + w, y), (1, h + 1), colour);
}

/// Round, and so long that at most `most` of them are in a recording of this length.
fn step(length: Duration, most: usize) -> Duration {
    const STEPS_MS: [u64; 19] = [
        100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
        600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 28_800_000,
    ];
    let fits = |step: &Duration| length.as_millis() / step.as_millis() <= most as u128;
    let mut steps = STEPS_MS.into_iter().map(Duration::from_millis);
    steps
        .find(fits)
        .unwrap_or_else(|| length.max(Duration::from_secs(1)))
}

/// At most so many letters of a text.
fn shortened(text: &str, letters: usize) -> String {
    match text.chars().count() > letters {
        false => text.to_owned(),
        true => text
            .chars()
            .take(letters.saturating_sub(2))
            .chain("..".chars())
            .collect(),
    }
}

#[cfg(test)]
mod tests;
