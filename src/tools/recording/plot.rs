//! A recording as a picture: a lane for each channel, with what is not simply sound shaded.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use font8x8::legacy::BASIC_LEGACY;

use super::show::clock;
use crate::record::file::read::RecordingReader;
use crate::record::sidecar::{Sidecar, SpanInfo};
use crate::record::span::SpanKind;

/// Height of a channel's lane in pixels.
const LANE: usize = 160;
/// From a lane's middle to the highest sample.
const REACH: i32 = 76;
/// Left of the lanes: their names.
const LEFT: usize = 120;
/// Right of the lanes.
const RIGHT: usize = 16;
/// Above the lanes: what is drawn.
const TOP: usize = 32;
/// Below the lanes: time, and what the shades mean.
const BOTTOM: usize = 64;
/// Side of a character in pixels.
const GLYPH: usize = 8;
/// In the place of characters that the font has not.
const UNKNOWN: &[u8; GLYPH] = &BASIC_LEGACY[b'?' as usize];
/// Samples that are read at once.
const PIECE: usize = 16_384;

type Colour = [u8; 3];

const PAPER: Colour = [255, 255, 255];
const INK: Colour = [40, 40, 40];
const RULE: Colour = [215, 215, 215];
const SOUND: Colour = [31, 94, 168];

/// What is shaded, how, and what it is called.
const SHADES: [(SpanKind, Colour, &str); 8] = [
    (SpanKind::Lost, [255, 179, 171], "lost"),
    (SpanKind::Concealed, [255, 223, 158], "concealed"),
    (SpanKind::Overrun, [230, 140, 190], "overrun"),
    (SpanKind::Unwritten, [200, 120, 120], "unwritten"),
    (SpanKind::Silent, [232, 232, 232], "silent"),
    (SpanKind::Paused, [190, 214, 245], "paused"),
    (SpanKind::Masked, [205, 190, 235], "masked"),
    (SpanKind::Pressed, [190, 230, 190], "key pressed"),
];

/// Draws a recording into a PNG.
pub(super) fn draw(
    recording: &mut RecordingReader<BufReader<File>>,
    sidecar: Option<&Sidecar>,
    width: u32,
    png: &Path,
) -> Result<()> {
    let info = recording.info();
    let channels = usize::from(info.channels);
    let mut canvas = Canvas::new(width as usize, TOP + channels * LANE + BOTTOM);
    let across = width as usize - LEFT - RIGHT;
    let peaks = peaks(recording, across)?;
    let length = info.length();
    let at = |time: Duration| {
        let part = time.min(length).as_micros() * across as u128 / length.as_micros().max(1);
        LEFT + usize::try_from(part).unwrap_or(across)
    };
    if let Some(sidecar) = sidecar {
        canvas.text(
            LEFT,
            12,
            &format!("{}  {}", sidecar.path, sidecar.started),
            INK,
        );
        for span in &sidecar.spans {
            canvas.shade(span, sidecar, channels, &at);
        }
    }
    canvas.times(length, channels, &at);
    for (channel, peaks) in peaks.iter().enumerate() {
        canvas.lane(channel, &name(sidecar, channel), peaks);
    }
    canvas.legend(sidecar, TOP + channels * LANE + 40);
    canvas.write(png).with_context(|| png.display().to_string())
}

/// Lowest and highest sample of each column, for each channel.
fn peaks(
    recording: &mut RecordingReader<BufReader<File>>,
    across: usize,
) -> Result<Vec<Vec<(i16, i16)>>> {
    let info = recording.info();
    let channels = usize::from(info.channels);
    let mut peaks = vec![vec![(0_i16, 0_i16); across]; channels];
    let mut piece = vec![0; PIECE * channels];
    let mut frame = 0_u64;
    loop {
        let read = recording.read(&mut piece)?;
        if read == 0 {
            return Ok(peaks);
        }
        for samples in piece[..read].chunks_exact(channels) {
            let column = frame * across as u64 / info.frames.max(1);
            let column = usize::try_from(column).map_or(across - 1, |at| at.min(across - 1));
            for (peaks, &sample) in peaks.iter_mut().zip(samples) {
                let (low, high) = &mut peaks[column];
                *low = (*low).min(sample);
                *high = (*high).max(sample);
            }
            frame += 1;
        }
    }
}

/// Who is on a channel.
fn name(sidecar: Option<&Sidecar>, channel: usize) -> String {
    let tracks = sidecar.map_or(&[][..], |sidecar| &sidecar.tracks);
    let mut names = tracks
        .iter()
        .filter(|track| usize::from(track.channel) == channel)
        .filter_map(|track| track.legs.last())
        .map(|leg| leg.label.as_ref().unwrap_or(&leg.leg).as_str());
    match (names.next(), names.next()) {
        (Some(one), None) => one.to_owned(),
        (Some(_), Some(_)) => "several".to_owned(),
        (None, _) => format!("channel {}", channel + 1),
    }
}

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: PAPER.repeat(width * height),
        }
    }

    /// Fills from the first corner to before the second; what is outside is left out.
    fn fill(&mut self, from: (usize, usize), until: (usize, usize), colour: Colour) {
        for y in from.1..until.1.min(self.height) {
            let row = y * self.width;
            for x in from.0..until.0.min(self.width) {
                let at = 3 * (row + x);
                self.pixels[at..at + 3].copy_from_slice(&colour);
            }
        }
    }

    /// Characters that the font has not are drawn as `?`.
    fn text(&mut self, x: usize, y: usize, text: &str, colour: Colour) {
        for (at, character) in text.chars().enumerate() {
            let index = usize::try_from(u32::from(character)).unwrap_or(usize::MAX);
            let glyph = BASIC_LEGACY.get(index).unwrap_or(UNKNOWN);
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..GLYPH).filter(|column| bits & 1 << column != 0) {
                    let (x, y) = (x + at * GLYPH + column, y + row);
                    self.fill((x, y), (x + 1, y + 1), colour);
                }
            }
        }
    }

    fn shade(
        &mut self,
        span: &SpanInfo,
        sidecar: &Sidecar,
        channels: usize,
        at: &impl Fn(Duration) -> usize,
    ) {
        let Some((_, colour, _)) = SHADES.iter().find(|(kind, ..)| *kind == span.kind) else {
            return;
        };
        let from = at(Duration::from_micros(span.from_us));
        // The shortest can be seen, too.
        let until = at(Duration::from_micros(span.until_us)).max(from + 1);
        let track = |ix: u8| sidecar.tracks.iter().find(|track| track.track == ix);
        let lanes = match span.track {
            None => 0..channels,
            Some(ix) => match track(ix).map(|track| usize::from(track.channel)) {
                Some(channel) if channel < channels => channel..channel + 1,
                _ => return,
            },
        };
        let [top, bottom] = [lanes.start, lanes.end].map(|lane| TOP + lane * LANE);
        self.fill((from, top), (until, bottom), *colour);
    }

    fn lane(&mut self, channel: usize, name: &str, peaks: &[(i16, i16)]) {
        let middle = TOP + channel * LANE + LANE / 2;
        let name: String = name.chars().take((LEFT - GLYPH) / GLYPH).collect();
        self.text(GLYPH, middle - GLYPH / 2, &name, INK);
        for (column, &(low, high)) in peaks.iter().enumerate() {
            let y = |sample: i16| {
                let off = i32::from(sample) * REACH / i32::from(i16::MAX);
                middle.saturating_add_signed(-off as isize)
            };
            let (x, top, bottom) = (LEFT + column, y(high), y(low));
            self.fill((x, top), (x + 1, bottom + 1), SOUND);
        }
        let edge = TOP + (channel + 1) * LANE;
        self.fill((LEFT, edge), (self.width - RIGHT, edge + 1), RULE);
    }

    /// A line and the time at round moments, so far apart that they can be read.
    fn times(&mut self, length: Duration, channels: usize, at: &impl Fn(Duration) -> usize) {
        const STEPS: [u64; 14] = [
            1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200,
        ];
        let room = (self.width - LEFT - RIGHT) / (13 * GLYPH);
        let fits = |step: &&u64| length.as_secs() / **step <= room as u64;
        let step = STEPS.iter().find(fits).copied();
        let step = step.unwrap_or_else(|| (length.as_secs() / room.max(1) as u64).max(1));
        let bottom = TOP + channels * LANE;
        for moment in (0..=length.as_secs()).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let time = Duration::from_secs(moment);
            let x = at(time);
            for y in (TOP..bottom).step_by(4) {
                self.fill((x, y), (x + 1, y + 2), RULE);
            }
            let label = clock(time);
            let label = label.strip_suffix(".000").unwrap_or(&label).to_owned();
            self.text(x, bottom + 8, &label, INK);
        }
    }

    /// What the shades mean that are in the picture.
    fn legend(&mut self, sidecar: Option<&Sidecar>, y: usize) {
        let spans = sidecar.map_or(&[][..], |sidecar| &sidecar.spans);
        let mut x = LEFT;
        for (kind, colour, name) in SHADES {
            if spans.iter().any(|span| span.kind == kind) {
                self.fill((x, y), (x + 2 * GLYPH, y + GLYPH), colour);
                self.text(x + 3 * GLYPH, y, name, INK);
                x += (5 + name.len()) * GLYPH;
            }
        }
    }

    fn write(&self, png: &Path) -> Result<()> {
        let out = BufWriter::new(File::create(png)?);
        let [width, height] =
            [self.width, self.height].map(|side| u32::try_from(side).unwrap_or(0));
        let mut encoder = png::Encoder::new(out, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        Ok(writer.finish()?)
    }
}
