//! What is shown and selected, and what keys do about it.

use anyhow::Result;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::ask::{Seen, Wish};
use crate::control::live::view::{Row, Totals};
use crate::control::live::{FILTER_MAX, LIST_MAX, Sort};

/// Everything of which a picture is drawn.
#[derive(Debug, Default)]
pub(super) struct App {
    /// Where the switch is.
    pub(super) address: String,
    /// What was seen last.
    pub(super) seen: Seen,
    /// And how that changed in a second.
    pub(super) rates: Option<Rates>,
    /// Why nothing newer was seen.
    pub(super) trouble: Option<String>,
    /// What is asked for.
    pub(super) wish: Wish,
    /// The filter while it is typed.
    pub(super) typed: Option<String>,
    /// The call that is selected, counted from the first of all that match.
    pub(super) selected: usize,
    /// Its SID, by which it is found again when others come and go.
    selected_sid: Option<String>,
    /// The first that is on the screen.
    pub(super) first: usize,
    /// Legs of the open call that are scrolled away.
    pub(super) legs_first: usize,
    /// So many calls fit on the screen.
    height: usize,
    /// The user has seen enough.
    pub(super) is_over: bool,
}

/// What happened in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) created: f64,
    pub(super) packets_in: f64,
    pub(super) packets_out: f64,
    pub(super) packets_dropped: f64,
}

impl Rates {
    /// `None`: too short a time, or the switch was started anew meanwhile.
    fn between(before: &Totals, after: &Totals) -> Option<Self> {
        let ms = after.uptime_ms.checked_sub(before.uptime_ms)?;
        if ms < 100 {
            return None;
        }
        let rate = |count: fn(&Totals) -> u64| {
            let more = count(after).checked_sub(count(before))?;
            Some(more as f64 * 1e3 / ms as f64)
        };
        Some(Self {
            created: rate(|t| t.created)?,
            packets_in: rate(|t| t.packets_in)?,
            packets_out: rate(|t| t.packets_out)?,
            packets_dropped: rate(|t| t.packets_dropped)?,
        })
    }
}

impl App {
    pub(super) fn new(address: String, wish: Wish) -> Self {
        Self {
            address,
            wish,
            ..Self::default()
        }
    }

    /// Takes what was seen, or why nothing was.
    pub(super) fn take(&mut self, answer: Result<Seen>) {
        let seen = match answer {
            Ok(seen) => seen,
            Err(error) => {
                self.trouble = Some(format!("{error:#}"));
                return;
            }
        };
        self.trouble = None;
        let is_stale = (&seen.wish.filter, seen.wish.sort) != (&self.wish.filter, self.wish.sort);
        if is_stale {
            // Something else was wanted meanwhile: the answer to that comes next.
            return;
        }
        let (before, after) = (&self.seen.list.totals, &seen.list.totals);
        if after.uptime_ms < before.uptime_ms {
            self.rates = None;
        }
        if self.seen.at.is_some() {
            self.rates = Rates::between(before, after).or(self.rates);
        }
        self.seen = seen;
        self.follow();
    }

    /// The row of a call that matches, if it is known.
    pub(super) fn row(&self, ix: usize) -> Option<&Row> {
        let ix = ix.checked_sub(self.seen.wish.offset)?;
        self.seen.list.calls.get(ix)
    }

    /// Finds the selected call again.
    fn follow(&mut self) {
        let rows = &self.seen.list.calls;
        let is_it = |row: &Row| Some(&row.sid) == self.selected_sid.as_ref();
        if let Some(ix) = rows.iter().position(is_it) {
            self.selected = self.seen.wish.offset + ix;
        }
        self.select(self.selected);
    }

    /// So many calls fit on the screen.
    pub(super) fn fit(&mut self, height: usize) {
        self.height = height;
        self.scroll();
    }

    fn select(&mut self, ix: usize) {
        self.selected = ix.min(self.seen.list.matched.saturating_sub(1));
        self.selected_sid = self.row(self.selected).map(|row| row.sid.clone());
        self.scroll();
    }

    /// The selected call is on the screen, and a screen before and after it is asked for.
    fn scroll(&mut self) {
        let height = self.height.max(1);
        let lowest = self.selected.saturating_sub(height - 1);
        let last = self.seen.list.matched.saturating_sub(height);
        self.first = self.first.clamp(lowest, self.selected).min(last);
        self.wish.offset = self.first.saturating_sub(height);
        self.wish.limit = height.saturating_mul(3).min(LIST_MAX);
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            self.is_over |= key.code == KeyCode::Char('c');
        } else if self.typed.is_some() {
            self.type_filter(key.code);
        } else if self.wish.open.is_some() {
            self.key_of_legs(key.code);
        } else {
            self.key_of_calls(key.code);
        }
    }

    fn key_of_calls(&mut self, key: KeyCode) {
        let page = self.height.max(1);
        match key {
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected.saturating_add(1)),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(page)),
            KeyCode::PageDown => self.select(self.selected.saturating_add(page)),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Enter => {
                self.wish.open = self.row(self.selected).map(|row| row.sid.clone());
                self.legs_first = 0;
            }
            KeyCode::Char('s') => {
                let sorts = Sort::ALL.iter().cycle();
                let mut after = sorts.skip_while(|sort| **sort != self.wish.sort).skip(1);
                self.wish.sort = after.next().copied().unwrap_or_default();
                self.begin_anew();
            }
            KeyCode::Esc if !self.wish.filter.is_empty() => self.filter(String::new()),
            other => self.key_of_both(other),
        }
    }

    fn key_of_legs(&mut self, key: KeyCode) {
        match key {
            KeyCode::Up | KeyCode::Char('k') => {
                self.legs_first = self.legs_first.saturating_sub(1);
            }
            KeyCode::Down | KeyCode::Char('j') => {
                let legs = self.seen.whole.as_ref().map_or(0, |it| it.parties.len());
                self.legs_first = (self.legs_first + 1).min(legs.saturating_sub(1));
            }
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace | KeyCode::Enter => {
                self.wish.open = None;
                self.seen.whole = None;
            }
            other => self.key_of_both(other),
        }
    }

    fn key_of_both(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Char('p') => self.wish.paused = !self.wish.paused,
            KeyCode::Char('/') => {
                self.wish.open = None;
                self.typed = Some(self.wish.filter.clone());
            }
            _ => {}
        }
    }

    fn type_filter(&mut self, key: KeyCode) {
        let Some(mut typed) = self.typed.take() else {
            return;
        };
        match key {
            KeyCode::Esc => return self.filter(String::new()),
            KeyCode::Enter => return,
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(c) if typed.len() + c.len_utf8() <= FILTER_MAX => typed.push(c),
            _ => {}
        }
        self.filter(typed.clone());
        self.typed = Some(typed);
    }

    fn filter(&mut self, filter: String) {
        if self.wish.filter != filter {
            self.wish.filter = filter;
            self.begin_anew();
        }
    }

    /// Other calls are shown than before: those at the beginning.
    fn begin_anew(&mut self) {
        self.selected_sid = None;
        (self.selected, self.first) = (0, 0);
        self.scroll();
    }
}
