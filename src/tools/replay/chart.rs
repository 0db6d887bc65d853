//! Delay and losses over time, as a picture.

use super::Moment;
use super::png::{Canvas, Colour};
use crate::engine::playout::Pulled;

const PALETTE: [Colour; 8] = [
    [255, 255, 255],
    [30, 30, 30],
    [225, 225, 225],
    [31, 100, 180],
    [240, 150, 40],
    [200, 40, 40],
    [120, 170, 220],
    [150, 120, 190],
];
const INK: u8 = 1;
const GRID: u8 = 2;
const DELAY: u8 = 3;
const TARGET: u8 = 4;
const CONCEALED: u8 = 5;
const SPAN: u8 = 6;
const PAUSE: u8 = 7;

const SIZE: (usize, usize) = (1_200, 600);

/// Upper left corner and size of the two panels.
const UPPER: Panel = Panel {
    x: 80,
    y: 70,
    width: 1_090,
    height: 300,
};
const LOWER: Panel = Panel {
    x: 80,
    y: 420,
    width: 1_090,
    height: 120,
};

/// Size of a letter with its gap, at scale 2.
const LETTER: (usize, usize) = (12, 14);

#[derive(Clone, Copy)]
struct Panel {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

/// What one column of pixels shows.
#[derive(Clone, Copy, Default)]
struct Column {
    pulls: usize,
    least: u32,
    most: u32,
    mean: u32,
    target: u32,
    concealed: usize,
    pauses: usize,
    missed: u64,
}

/// A PNG of these moments, which are `pull_ms` apart.
pub(super) fn draw(title: &str, moments: &[Moment], pull_ms: u64) -> Vec<u8> {
    let mut canvas = Canvas::new(SIZE.0, SIZE.1, &PALETTE);
    let columns = columns(moments, UPPER.width);
    let seconds = moments.len() as u64 * pull_ms / 1_000;
    canvas.text((UPPER.x, 12), title, 2, INK);
    legend(&mut canvas);
    let highest = columns
        .iter()
        .map(|c| c.most.max(c.target))
        .max()
        .unwrap_or(0);
    let top_ms = u64::from(highest).max(40);
    let step_ms = step(top_ms, 6);
    let top_ms = top_ms.next_multiple_of(step_ms);
    rules(&mut canvas, UPPER, top_ms, step_ms, "ms");
    let shares = columns.iter().map(|c| c.concealed * 100 / c.pulls.max(1));
    let top_percent = step(shares.max().unwrap_or(0).max(4) as u64, 4);
    let top_percent = (top_percent * 4).min(100);
    rules(
        &mut canvas,
        LOWER,
        top_percent,
        top_percent.div_ceil(4),
        "%",
    );
    times(&mut canvas, seconds.max(1));
    for (n, column) in columns.iter().enumerate() {
        delay(&mut canvas, UPPER.x + n, column, top_ms);
        losses(&mut canvas, LOWER.x + n, column, top_percent);
    }
    frame(&mut canvas, UPPER);
    frame(&mut canvas, LOWER);
    canvas.png()
}

fn columns(moments: &[Moment], width: usize) -> Vec<Column> {
    let mut missed_before = 0;
    let span = |n: usize| n * moments.len() / width;
    (0..width)
        .map(|n| {
            // Fewer pulls than pixels: the same pull in several columns, but its losses once.
            let from = span(n).min(moments.len().saturating_sub(1));
            let here = &moments[from..span(n + 1).max(from + 1).min(moments.len())];
            let missed = here.last().map_or(missed_before, |m| m.missed);
            let column = Column {
                missed: missed.saturating_sub(missed_before),
                ..column(here)
            };
            missed_before = missed_before.max(missed);
            column
        })
        .collect()
}

fn column(here: &[Moment]) -> Column {
    let playing = || here.iter().filter(|m| m.is_playing());
    let count = playing().count().max(1);
    let sum: u64 = playing().map(|m| u64::from(m.delay_ms)).sum();
    Column {
        pulls: here.len(),
        least: playing().map(|m| m.delay_ms).min().unwrap_or(0),
        most: playing().map(|m| m.delay_ms).max().unwrap_or(0),
        mean: u32::try_from(sum / count as u64).unwrap_or(u32::MAX),
        target: here.iter().map(|m| m.target_ms).max().unwrap_or(0),
        concealed: here.iter().filter(|m| m.what == Pulled::Concealed).count(),
        pauses: here.iter().filter(|m| m.what <= Pulled::Pause).count(),
        missed: 0,
    }
}

/// A round step so that about `lines` of them make `top`.
fn step(top: u64, lines: u64) -> u64 {
    let mut unit = 1;
    loop {
        for factor in [1, 2, 5] {
            if unit * factor * lines >= top {
                return unit * factor;
            }
        }
        unit *= 10;
    }
}

/// Height of a value over the bottom of a panel.
fn height(panel: Panel, value: u64, top: u64) -> usize {
    let pixels = value.min(top) * panel.height as u64 / top.max(1);
    usize::try_from(pixels).unwrap_or(panel.height)
}

fn rules(canvas: &mut Canvas, panel: Panel, top: u64, step: u64, unit: &str) {
    let mut value = 0;
    while value <= top {
        let y = panel.y + panel.height - height(panel, value, top);
        canvas.fill((panel.x, y), (panel.width, 1), GRID);
        let label = value.to_string();
        let x = panel.x.saturating_sub(10 + label.len() * LETTER.0);
        canvas.text((x, y - LETTER.1 / 2), &label, 2, INK);
        value += step.max(1);
    }
    canvas.text((6, panel.y - 24), unit, 2, INK);
}

/// The time axis, below the lower panel and through both.
fn times(canvas: &mut Canvas, seconds: u64) {
    let step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600]
        .into_iter()
        .find(|step| seconds / step <= 12)
        .unwrap_or(3_600);
    for at in (0..=seconds / step).map(|n| n * step) {
        let across = at * UPPER.width as u64 / seconds;
        let x = UPPER.x + usize::try_from(across).unwrap_or(0);
        for panel in [UPPER, LOWER] {
            canvas.fill((x, panel.y), (1, panel.height), GRID);
        }
        let label = format!("{}:{:02}", at / 60, at % 60);
        let left = x.saturating_sub(label.len() * LETTER.0 / 2);
        let left = left.min(SIZE.0 - label.len() * LETTER.0);
        canvas.text((left, LOWER.y + LOWER.height + 10), &label, 2, INK);
    }
    let text = "time (min:s)";
    canvas.text((UPPER.x, SIZE.1 - 24), text, 2, INK);
}

fn legend(canvas: &mut Canvas) {
    let entries = [
        (DELAY, "delay"),
        (TARGET, "target"),
        (SPAN, "delay, least to most"),
    ];
    let mut x = UPPER.x;
    for (colour, text) in entries {
        canvas.fill((x, 42), (18, 10), colour);
        canvas.text((x + 26, 40), text, 2, INK);
        x += 26 + (text.len() + 2) * LETTER.0;
    }
    let entries = [
        (CONCEALED, "concealed"),
        (PAUSE, "pause"),
        (INK, "packet lost, late or dropped"),
    ];
    let mut x = LOWER.x;
    for (colour, text) in entries {
        canvas.fill((x, 394), (18, 10), colour);
        canvas.text((x + 26, 392), text, 2, INK);
        x += 26 + (text.len() + 2) * LETTER.0;
    }
}

fn delay(canvas: &mut Canvas, x: usize, column: &Column, top: u64) {
    let y = |value: u32| UPPER.y + UPPER.height - height(UPPER, value.into(), top);
    if column.most > 0 {
        let (upper, lower) = (y(column.most), y(column.least));
        canvas.fill((x, upper), (1, lower - upper + 1), SPAN);
        canvas.fill((x, y(column.mean).saturating_sub(1)), (1, 3), DELAY);
    }
    canvas.fill((x, y(column.target).saturating_sub(1)), (1, 2), TARGET);
}

fn losses(canvas: &mut Canvas, x: usize, column: &Column, top: u64) {
    let bottom = LOWER.y + LOWER.height;
    let mut bar = |count: usize, colour: u8| {
        let high = height(LOWER, (count * 100 / column.pulls.max(1)) as u64, top);
        canvas.fill((x, bottom - high), (1, high), colour);
    };
    bar(column.pauses, PAUSE);
    bar(column.concealed, CONCEALED);
    if column.missed > 0 {
        canvas.fill((x.saturating_sub(1), LOWER.y + 2), (3, 12), INK);
    }
}

fn frame(canvas: &mut Canvas, panel: Panel) {
    let (right, bottom) = (panel.x + panel.width, panel.y + panel.height);
    canvas.fill((panel.x, bottom), (panel.width, 2), INK);
    canvas.fill((panel.x - 2, panel.y), (2, panel.height + 2), INK);
    canvas.fill((right, panel.y), (1, panel.height), GRID);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!(
            [1, 7, 41, 160, 400, 999].map(|top| step(top, 6)),
            [1, 2, 10, 50, 100, 200]
        );
    }

    #[test]
    fn every_loss_is_in_exactly_one_column() {
        for pulls in [1, 20, 1_090, 4_000] {
            let moments: Vec<Moment> = (0..pulls)
                .map(|n| Moment {
                    delay_ms: n % 90,
                    target_ms: 40,
                    what: Pulled::Normal,
                    missed: u64::from(n),
                })
                .collect();
            let sum: u64 = columns(&moments, UPPER.width)
                .iter()
                .map(|c| c.missed)
                .sum();
            assert_eq!(sum, u64::from(pulls - 1));
            assert!(draw("a title", &moments, 20).len() > 1_000);
        }
        assert!(draw("nothing", &[], 20).starts_with(b"\x89PNG"));
    }
}
