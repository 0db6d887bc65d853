//! What the person at the terminal sees.

use std::fmt::Write as _;
use std::time::Duration;

use super::keys::Outcome;
use super::likeness::{Verdict, level_dbfs};
use super::{Party, SideView, SwitchView};
use crate::tools::bench::align;

/// Between two refreshes on a terminal.
const REFRESH: Duration = Duration::from_millis(200);

/// Between two lines in a log.
const LOG_EVERY: Duration = Duration::from_secs(2);

/// Samples the level meter looks back: 200 ms.
const METER_SAMPLES: usize = 1_600;

/// Cells of the level meter, 5 dB each.
const METER_CELLS: usize = 10;

/// Who hears whom, listener first as in the parties' order.
const LEGS: [&str; 2] = ["caller hears callee", "callee hears caller"];

/// One line per leg: redrawn in place on a terminal, repeated now and then elsewhere.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    next: Duration,
    drawn: bool,
}

impl Progress {
    pub(super) fn new(terminal: bool) -> Self {
        Self {
            terminal,
            next: Duration::ZERO,
            drawn: false,
        }
    }

    /// Shows where the call stands, if it is time to.
    pub(super) fn show(&mut self, elapsed: Duration, parties: &[Party; 2], seen: &SwitchView) {
        if elapsed >= self.next {
            self.next = elapsed + if self.terminal { REFRESH } else { LOG_EVERY };
            self.draw(elapsed, parties, seen);
        }
    }

    /// Shows how it ended.
    pub(super) fn last(&mut self, elapsed: Duration, parties: &[Party; 2], seen: &SwitchView) {
        self.draw(elapsed, parties, seen);
    }

    fn draw(&mut self, elapsed: Duration, parties: &[Party; 2], seen: &SwitchView) {
        let mut text = String::new();
        if self.terminal && self.drawn {
            text += "\x1b[2A";
        }
        for (listener, leg) in LEGS.iter().enumerate() {
            let speaker = 1 - listener;
            let line = leg_line(&parties[listener], &parties[speaker], &seen.sides[speaker]);
            let end = if self.terminal { "\x1b[K\n" } else { "\n" };
            let _ = write!(text, "{leg}  {:5.1} s  {line}{end}", elapsed.as_secs_f64());
        }
        eprint!("{text}");
        self.drawn = true;
    }
}

fn leg_line(hearer: &Party, speaker: &Party, switch: &SideView) -> String {
    let ear = &hearer.ear;
    let recent = ear.samples().len().saturating_sub(METER_SAMPLES);
    format!(
        "{}  sent {:>5}  heard {:>5}  lost {:>3}  jitter {:5.2} ms | \
         switch: {} in, lost {}, jitter {}",
        meter(level_dbfs(&ear.samples()[recent..])),
        speaker.sent_ns.len(),
        ear.packets,
        ear.lost(),
        ear.jitter_ms,
        known(switch.received),
        known(switch.lost),
        switch
            .jitter_ms
            .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms")),
    )
}

/// A bar from -50 to 0 dBFS.
fn meter(level_dbfs: f64) -> String {
    let lit = (0..METER_CELLS).map(|cell| -50.0 + 5.0 * f64::from(u8::try_from(cell).unwrap_or(0)));
    lit.map(|threshold| if level_dbfs > threshold { '#' } else { '.' })
        .collect()
}

fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The final table.
pub(super) fn table(
    parties: &[Party; 2],
    verdicts: &[Verdict],
    keys: Option<&Outcome>,
    seen: &SwitchView,
    set_up: Duration,
) -> String {
    let mut rows: Vec<Vec<String>> = vec![vec![String::new(), String::new()]];
    rows[0].extend(LEGS.map(str::to_owned));
    let mut row = |label: &str, unit: &str, cell: &dyn Fn(usize) -> String| {
        rows.push(vec![label.to_owned(), unit.to_owned(), cell(0), cell(1)]);
    };
    let ear = |listener: usize| &parties[listener].ear;
    row("packets sent", "", &|l| {
        parties[1 - l].sent_ns.len().to_string()
    });
    row("  received by the switch", "", &|l| {
        known(seen.sides[1 - l].received)
    });
    row("  sent on by the switch", "", &|l| {
        known(seen.sides[l].sent)
    });
    row("packets heard", "", &|l| ear(l).packets.to_string());
    row("  never came", "", &|l| {
        let sent = parties[1 - l].sent_ns.len() as u64;
        (sent + ear(l).duplicate)
            .saturating_sub(ear(l).packets)
            .to_string()
    });
    row("  twice, out of order", "", &|l| {
        format!("{}, {}", ear(l).duplicate, ear(l).reordered)
    });
    row("  from others, unusable", "", &|l| {
        format!("{}, {}", ear(l).strangers, ear(l).unusable)
    });
    row("  changes of source", "", &|l| {
        ear(l).ssrc_changes.to_string()
    });
    row("jitter, now and highest", "ms", &|l| {
        format!("{:.2}, {:.2}", ear(l).jitter_ms, ear(l).jitter_ms_max)
    });
    row("latency p50, p99, highest", "us", &|l| {
        verdicts[l]
            .latency_us
            .map(|us| format!("{us:.0}"))
            .join(", ")
    });
    row("level said, heard", "dBFS", &|l| {
        format!(
            "{:.1}, {:.1}",
            verdicts[l].said_dbfs, verdicts[l].heard_dbfs
        )
    });
    row("frames heard bit by bit", "%", &|l| {
        format!("{:.1}", verdicts[l].exact_pct)
    });
    row("correlation with the other", "", &|l| {
        format!("{:.4}", verdicts[l].likeness)
    });
    row("correlation with oneself", "", &|l| {
        format!("{:.4}", verdicts[l].echo)
    });
    if let Some(keys) = keys {
        let how = ["as tones", "as telephone-event"];
        row("keys pressed", "", &|l| {
            format!("{} {}", keys.pressed, how[l])
        });
        row("  told by the switch", "", &|l| keys.told[1 - l].clone());
        row("  heard", "", &|l| keys.heard[l].clone());
    }
    row("heard the other side", "", &|l| {
        if verdicts[l].heard() { "yes" } else { "NO" }.to_owned()
    });
    let seconds = parties[0].said.len() / 8_000;
    let ms = set_up.as_secs_f64() * 1e3;
    format!(
        "a call of {seconds} s, set up in {ms:.1} ms\n\n{}",
        align(&rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_goes_from_silence_to_full() {
        assert_eq!(meter(-99.0), "..........");
        assert_eq!(meter(-27.0), "#####.....");
        assert_eq!(meter(0.0), "##########");
    }

    #[test]
    fn unknown_is_shown_as_such() {
        assert_eq!(known(Some(0)), "0");
        assert_eq!(known::<u64>(None), "-");
    }
}
