//! One picture of all of it, on a screen of any size.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row as Cells, Table};

use super::app::App;
use super::rows;
use crate::control::live::view::{Row, Whole};
use crate::tools::text::{clean, length};

/// Where everything goes.
struct Parts {
    head: Rect,
    titles: bool,
    body: Rect,
    foot: Rect,
}

impl Parts {
    /// A small screen shows fewer of the lines that only explain.
    fn of(screen: Rect) -> Self {
        let (head, foot) = match screen.height {
            0..=2 => (0, 0),
            3..=5 => (0, 1),
            6..=9 => (1, 1),
            _ => (4, 1),
        };
        let parts = [
            Constraint::Length(head),
            Constraint::Min(0),
            Constraint::Length(foot),
        ];
        let [head, body, foot] = Layout::vertical(parts).areas(screen);
        Self {
            head,
            titles: screen.height > 2,
            body,
            foot,
        }
    }

    /// Lines below the titles of columns.
    fn lines(&self) -> usize {
        usize::from(self.body.height.saturating_sub(u16::from(self.titles)))
    }
}

/// Draws it; afterwards `app` knows how much there is room for.
pub(super) fn draw(app: &mut App, frame: &mut Frame<'_>) {
    let parts = Parts::of(frame.area());
    app.fit(parts.lines());
    head(app, frame, parts.head);
    match &app.wish.open {
        Some(sid) => call(app, sid, frame, &parts),
        None => calls(app, frame, &parts),
    }
    foot(app, frame, parts.foot);
}

fn head(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let totals = &app.seen.list.totals;
    let [first, ended, media] = rows::totals(&app.address, totals, app.rates.as_ref());
    let mut lines = vec![Line::from(first).style(Modifier::BOLD)];
    if app.seen.at.is_some() {
        lines.extend([Line::from(ended), Line::from(media)]);
    } else {
        lines = vec![Line::from(format!("crosspoint {}", app.address)).style(Modifier::BOLD)];
    }
    frame.render_widget(Text::from(lines), area);
}

/// The line between what is known and the calls: what is shown of them, or why that is old.
fn state(app: &App) -> Line<'static> {
    if let Some(trouble) = &app.trouble {
        let since = app.seen.at.map_or_else(String::new, |at| {
            format!(" (this is {} old)", length(at.elapsed().as_secs()))
        });
        let text = format!("no answer{since}, trying again: {}", clean(trouble));
        return Line::from(text).style(Style::new().fg(Color::Red));
    }
    let list = &app.seen.list;
    let mut text = match app.seen.at {
        None => return Line::from("asking …"),
        Some(_) if list.matched == 0 => "no calls".to_owned(),
        Some(_) => format!("{} of {} calls", app.selected + 1, list.matched),
    };
    if !app.wish.filter.is_empty() {
        text += &format!(" with '{}'", clean(&app.wish.filter));
    }
    if list.partial {
        text += ", more are not looked at";
    }
    text += &format!(", by {}", app.wish.sort.label());
    if app.wish.paused {
        text += ", PAUSED";
    }
    Line::from(text)
}

fn foot(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let keys = match (&app.typed, &app.wish.open) {
        (Some(typed), _) => {
            let line = format!("filter: {}_   Enter keeps it, Esc drops it", clean(typed));
            return frame.render_widget(Line::from(line).style(Modifier::BOLD), area);
        }
        (None, Some(_)) => "q quit  Esc calls  \u{2191}\u{2193} legs  p pause",
        (None, None) => {
            "q quit  \u{2191}\u{2193} PgUp PgDn select  Enter legs  s sort  / filter  p pause"
        }
    };
    frame.render_widget(Line::from(keys).style(Modifier::DIM), area);
}

/// Columns of a table: for each its width, and which text of a row stands there.
type Columns = Vec<(u16, usize)>;

/// As many of the columns as fit; what is left over is the last one's, up to `last_max`.
fn fitting(wanted: &[(u16, usize)], width: u16, last_max: u16) -> Columns {
    let mut left = width;
    let mut columns = Columns::new();
    for (column, ix) in wanted {
        if *column > left {
            break;
        }
        columns.push((*column, *ix));
        left = left.saturating_sub(*column + 1);
    }
    if let Some((last, _)) = columns.last_mut() {
        *last = last.saturating_add(left).min(last_max.max(*last));
    }
    columns
}

/// Columns of the list. Where a proxy controls all calls, there are no numbers to show.
fn columns_of_calls(app: &App, width: u16) -> Columns {
    let has_flows = app.seen.list.calls.iter().any(|row| !row.flow.is_empty());
    let (number, flow) = match width {
        0..=99 => (13, 16),
        100..=149 => (15, 20),
        _ => (26, 36),
    };
    let wanted: &[(u16, usize)] = if has_flows || app.seen.list.calls.is_empty() {
        &[
            (8, 0),
            (11, 1),
            (number, 2),
            (number, 3),
            (flow, 4),
            (4, 5),
            (8, 6),
        ]
    } else {
        &[(8, 0), (11, 1), (4, 5), (8, 6)]
    };
    fitting(wanted, width, if has_flows { 32 } else { 120 })
}

fn columns_of_legs(width: u16) -> Columns {
    let (number, status, lost) = match width {
        0..=99 => (13, 13, 5),
        _ => (28, 15, 14),
    };
    let wanted = [
        (number, 0),
        (status, 1),
        (6, 2),
        (10, 3),
        (7, 4),
        (lost, 5),
        (8, 6),
        (4, 7),
        (6, 8),
        (12, 9),
    ];
    fitting(&wanted, width, 32)
}

fn table<'a>(
    titles: &[&'a str],
    columns: &Columns,
    rows: impl Iterator<Item = (Vec<String>, Style)>,
    show_titles: bool,
) -> Table<'a> {
    let cells = |(mut texts, style): (Vec<String>, Style)| {
        let cell = |(width, ix): &(u16, usize)| {
            let text = texts.get_mut(*ix).map(std::mem::take).unwrap_or_default();
            Cell::from(fitted(text, *width))
        };
        Cells::new(columns.iter().map(cell).collect::<Vec<_>>()).style(style)
    };
    let rows: Vec<_> = rows.map(cells).collect();
    let widths = columns.iter().map(|(width, _)| Constraint::Length(*width));
    let table = Table::new(rows, widths).column_spacing(1);
    if !show_titles {
        return table;
    }
    let title = |(_, ix): &(u16, usize)| titles.get(*ix).copied().unwrap_or_default();
    let titles = Cells::new(columns.iter().map(title).collect::<Vec<_>>());
    table.header(titles.style(Modifier::REVERSED))
}

/// A text that says where it was cut.
fn fitted(mut text: String, width: u16) -> String {
    let room = usize::from(width);
    let (mut used, mut cut) = (0, 0);
    for (at, c) in text.char_indices() {
        used += Span::raw(c.encode_utf8(&mut [0; 4]) as &str).width();
        if used < room {
            cut = at + c.len_utf8();
        } else if used > room {
            text.truncate(cut);
            return text + "…";
        }
    }
    text
}

fn style_of(status: &str) -> Style {
    match status {
        "ringing" => Style::new().fg(Color::Yellow),
        "in-progress" => Style::new().fg(Color::Green),
        _ => Style::new(),
    }
}

fn calls(app: &App, frame: &mut Frame<'_>, parts: &Parts) {
    last_line(frame, parts.head, state(app));
    let columns = columns_of_calls(app, parts.body.width);
    let end = app.first.saturating_add(parts.lines());
    let shown = (app.first..end.min(app.seen.list.matched)).map(|ix| {
        let row: Option<&Row> = app.row(ix);
        // Not known yet: it is asked for.
        let texts = row.map_or_else(Vec::new, |row| rows::of_call(row).to_vec());
        let style = row.map_or_else(Style::new, |row| style_of(&row.status));
        match ix == app.selected {
            true => (texts, style.add_modifier(Modifier::REVERSED)),
            false => (texts, style),
        }
    });
    let table = table(&rows::CALLS, &columns, shown, parts.titles);
    frame.render_widget(table, parts.body);
}

/// Writes over the last line of an area of several.
fn last_line(frame: &mut Frame<'_>, area: Rect, line: Line<'_>) {
    if area.height > 1 {
        let last = Rect {
            y: area.bottom() - 1,
            height: 1,
            ..area
        };
        frame.render_widget(line, last);
    }
}

/// The call that is open, and its legs.
fn call(app: &App, sid: &str, frame: &mut Frame<'_>, parts: &Parts) {
    last_line(frame, parts.head, state(app));
    let Some(whole) = &app.seen.whole else {
        let is_known = app.seen.wish.open.as_deref() == Some(sid);
        let text = match is_known {
            true => format!("{} is over; Esc leads back", clean(sid)),
            false => "asking …".to_owned(),
        };
        return frame.render_widget(Line::from(text), parts.body);
    };
    let about = about(whole, parts.lines());
    let above = u16::try_from(about.len()).unwrap_or(u16::MAX);
    let heights = [Constraint::Length(above), Constraint::Min(0)];
    let [top, below] = Layout::vertical(heights).areas(parts.body);
    frame.render_widget(Text::from(about), top);
    let legs = whole.parties.iter().skip(app.legs_first);
    let shown = legs.map(|leg| (rows::of_leg(leg).to_vec(), style_of(&leg.status)));
    let columns = columns_of_legs(below.width);
    let table = table(&rows::LEGS, &columns, shown, parts.titles);
    frame.render_widget(table, below);
}

/// What is said of a call above its legs, in no more than half of the lines.
fn about(whole: &Whole, lines: usize) -> Vec<Line<'static>> {
    let [age, status, from, to, flow, legs, sid] = rows::of_call(&whole.call);
    let talk = whole.call.talk_ms.map(|ms| length(ms / 1_000));
    let talk = talk.map_or_else(String::new, |talk| format!(", talks {talk}"));
    let mut about = vec![
        Line::from(format!("call {sid}")).style(Modifier::BOLD),
        Line::from(format!("{status}, age {age}{talk}, legs {legs}, {flow}")),
    ];
    if !whole.call.from.is_empty() || !whole.call.to.is_empty() {
        about.push(Line::from(format!("from {from} to {to}")));
    }
    about.extend(whole.recordings.iter().map(|recording| {
        let paused = if recording.paused { " (paused)" } else { "" };
        Line::from(format!("records {}{paused}", clean(&recording.path)))
    }));
    if whole.legs_left_out > 0 {
        about.push(Line::from(format!("{} legs more", whole.legs_left_out)));
    }
    about.truncate(lines / 2);
    about
}
