//! The table: medians side by side, their ratio, and the bars.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use super::process::Subject;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    label: &'static str,
    /// Where the figure stands in a run's result (RFC 6901).
    pointer: &'static str,
    unit: &'static str,
    decimals: usize,
    bar: Option<Bar>,
}

impl Row {
    pub(super) const fn new(
        label: &'static str,
        pointer: &'static str,
        unit: &'static str,
        decimals: usize,
    ) -> Self {
        Self {
            label,
            pointer,
            unit,
            decimals,
            bar: None,
        }
    }

    pub(super) const fn bar(mut self, bar: Bar) -> Self {
        self.bar = Some(bar);
        self
    }
}

/// What is asked of the first subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bar {
    /// Zero in every run, not only in the median.
    Zero,
    /// The median, in the row's unit.
    AtMost(f64),
    /// The median, in the row's unit.
    AtLeast(f64),
    /// First median divided by the peer's.
    RatioAtMost(f64),
    /// First median divided by the peer's.
    RatioAtLeast(f64),
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => write!(f, "0"),
            Self::AtMost(limit) => write!(f, "<= {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::RatioAtMost(limit) => write!(f, "<= {limit:.2} x"),
            Self::RatioAtLeast(limit) => write!(f, ">= {limit:.2} x"),
        }
    }
}

/// The figures of one subject in one row.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(runs: &[Value], pointer: &str) -> Option<Self> {
        let mut values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.pointer(pointer)?.as_f64())
            .collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { min, median, max })
    }

    fn show(&self, decimals: usize) -> String {
        let Self { min, median, max } = self;
        if min == max {
            return format!("{median:.decimals$}");
        }
        format!("{median:.decimals$} ({min:.decimals$}-{max:.decimals$})")
    }
}

/// A row with its figures.
#[derive(Clone, Debug)]
struct Line {
    row: Row,
    spreads: Vec<Option<Spread>>,
    ratio: Option<f64>,
    passed: Option<bool>,
}

impl Line {
    fn new(row: Row, results: &[Vec<Value>], judged: bool) -> Self {
        let spreads: Vec<_> = results
            .iter()
            .map(|runs| Spread::of(runs, row.pointer))
            .collect();
        let ratio = match spreads.as_slice() {
            [Some(first), Some(peer)] if peer.median != 0.0 => Some(first.median / peer.median),
            _ => None,
        };
        let first = spreads.first().copied().flatten();
        let passed = row.bar.filter(|_| judged).and_then(|bar| match bar {
            Bar::Zero => first.map(|spread| spread.max == 0.0),
            Bar::AtMost(limit) => first.map(|spread| spread.median <= limit),
            Bar::AtLeast(limit) => first.map(|spread| spread.median >= limit),
            Bar::RatioAtMost(limit) => ratio.map(|ratio| ratio <= limit),
            Bar::RatioAtLeast(limit) => ratio.map(|ratio| ratio >= limit),
        });
        Self {
            row,
            spreads,
            ratio,
            passed,
        }
    }
}

/// The whole table.
#[derive(Clone, Debug)]
pub(super) struct Report {
    title: String,
    names: Vec<&'static str>,
    lines: Vec<Line>,
}

impl Report {
    /// `results[i]` are the runs of `subjects[i]`; the first subject is the judged one, unless it
    /// is the peer itself or no switch at all.
    pub(super) fn new(
        title: String,
        rows: &[Row],
        subjects: &[Subject],
        results: &[Vec<Value>],
    ) -> Self {
        let judged = matches!(
            subjects.first(),
            Some(Subject::Own(_) | Subject::Existing { .. })
        );
        let lines = rows
            .iter()
            .map(|row| Line::new(*row, results, judged))
            .collect();
        Self {
            title,
            names: subjects.iter().map(Subject::name).collect(),
            lines,
        }
    }

    /// Labels of the bars that were missed.
    pub(super) fn missed(&self) -> Vec<&'static str> {
        let failed = self.lines.iter().filter(|line| line.passed == Some(false));
        failed.map(|line| line.row.label.trim()).collect()
    }

    /// Medians, ratios and verdicts, for the raw results.
    pub(super) fn summary(&self) -> Value {
        let of_line = |line: &Line| {
            let medians: serde_json::Map<String, Value> = self
                .names
                .iter()
                .zip(&line.spreads)
                .map(|(name, spread)| ((*name).to_owned(), json!(spread.map(|s| s.median))))
                .collect();
            json!({
                "figure": line.row.pointer,
                "median": medians,
                "ratio": line.ratio.map(super::rounded),
                "bar": line.row.bar.map(|bar| bar.to_string()),
                "passed": line.passed,
            })
        };
        self.lines.iter().map(of_line).collect()
    }

    fn cells(&self) -> Vec<Vec<String>> {
        let mut header = vec![String::new(), String::new()];
        header.extend(self.names.iter().map(ToString::to_string));
        header.extend(["ratio", "bar", ""].map(str::to_owned));
        let mut cells = vec![header];
        for line in &self.lines {
            let mut row = vec![line.row.label.to_owned(), line.row.unit.to_owned()];
            row.extend(line.spreads.iter().map(|spread| {
                spread.map_or_else(|| "-".to_owned(), |s| s.show(line.row.decimals))
            }));
            row.push(
                line.ratio
                    .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            );
            row.push(line.row.bar.map_or_else(String::new, |bar| bar.to_string()));
            row.push(match (line.passed, line.row.bar) {
                (Some(true), _) => "pass".to_owned(),
                (Some(false), _) => "MISSED".to_owned(),
                (None, Some(_)) => "not judged".to_owned(),
                (None, None) => String::new(),
            });
            cells.push(row);
        }
        cells
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        f.write_str(&align(&self.cells()))
    }
}

/// Columns of equal width: the first two flush left, the others flush right.
pub(in crate::tools) fn align(cells: &[Vec<String>]) -> String {
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| {
        cells
            .iter()
            .filter_map(|row| row.get(column))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let mut out = String::new();
    for row in cells {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 | 1 => write!(line, "{cell:<width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// For the tests of the measurements: a row that points nowhere would show a dash for ever.
#[cfg(test)]
pub(super) fn assert_every_row_points_at_a_number(rows: &[Row], result: &Value) {
    for row in rows {
        let figure = result.pointer(row.pointer);
        assert!(figure.is_some_and(Value::is_number), "{row:?}: {figure:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [Row; 5] = [
        Row::new("lost", "/lost", "", 0).bar(Bar::Zero),
        Row::new("cost", "/cost", "us", 1).bar(Bar::RatioAtMost(0.6)),
        Row::new("rate", "/rate", "", 0).bar(Bar::RatioAtLeast(2.0)),
        Row::new("size", "/deep/size", "kB", 0).bar(Bar::AtMost(16.0)),
        Row::new("roominess", "/deep/size", "kB", 0).bar(Bar::AtLeast(1.0)),
    ];

    fn report(ours: &[Value], peers: &[Value]) -> Report {
        let subjects = [Subject::Own("x".into()), Subject::Rtpengine];
        Report::new(
            "title".into(),
            &ROWS,
            &subjects,
            &[ours.to_vec(), peers.to_vec()],
        )
    }

    fn run(lost: u32, cost: f64, rate: f64, size: f64) -> Value {
        json!({"lost": lost, "cost": cost, "rate": rate, "deep": {"size": size}})
    }

    #[test]
    fn bars_are_met_exactly_at_their_limit() {
        let peer = [run(0, 10.0, 100.0, 99.0)];
        assert!(
            report(&[run(0, 6.0, 200.0, 16.0)], &peer)
                .missed()
                .is_empty()
        );
        assert_eq!(
            report(&[run(1, 6.0, 200.0, 16.0)], &peer).missed(),
            ["lost"]
        );
        assert_eq!(
            report(&[run(0, 6.1, 200.0, 16.0)], &peer).missed(),
            ["cost"]
        );
        assert_eq!(
            report(&[run(0, 6.0, 199.0, 16.0)], &peer).missed(),
            ["rate"]
        );
        assert_eq!(
            report(&[run(0, 6.0, 200.0, 16.1)], &peer).missed(),
            ["size"]
        );
        assert_eq!(
            report(&[run(0, 6.0, 200.0, 0.9)], &peer).missed(),
            ["roominess"]
        );
    }

    #[test]
    fn one_lossy_run_fails_although_the_median_is_zero() {
        let ours = [
            run(0, 1.0, 9.0, 1.0),
            run(3, 1.0, 9.0, 1.0),
            run(0, 1.0, 9.0, 1.0),
        ];
        assert_eq!(report(&ours, &[run(0, 9.0, 1.0, 1.0)]).missed(), ["lost"]);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(&[json!(4), json!(1), json!(2), json!(8)], "").unwrap();
        assert_eq!(
            spread,
            Spread {
                min: 1.0,
                median: 3.0,
                max: 8.0
            }
        );
        assert_eq!(spread.show(1), "3.0 (1.0-8.0)");
        assert_eq!(Spread::of(&[json!({"x": null})], "/x"), None);
    }

    #[test]
    fn nothing_is_judged_without_figures_or_for_the_peer_itself() {
        let none = report(&[json!({})], &[json!({})]);
        assert!(none.missed().is_empty());
        assert!(none.to_string().contains("not judged"));
        let peer = Report::new(
            "t".into(),
            &ROWS,
            &[Subject::Rtpengine],
            &[vec![run(9, 1., 1., 99.)]],
        );
        assert!(peer.missed().is_empty());
    }

    #[test]
    fn the_table_is_aligned() {
        let text = report(&[run(0, 6.0, 200.0, 16.0)], &[run(0, 10.0, 100.0, 99.0)]).to_string();
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(lines.len(), 6);
        let column = lines[0].find("rtpengine").unwrap() + "rtpengine".len();
        assert!(lines[2][..column].ends_with("10.0"), "{text}");
        assert!(lines[2].ends_with("pass"), "{text}");
    }
}
