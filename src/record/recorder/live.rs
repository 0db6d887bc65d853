//! A recording on its recorder thread.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::COMMANDS_MAX;
use crate::record::disk::{Closing, Item, Writers, add, lock};
use crate::record::session::{Command, Output, Progress, Session};

/// Commands that wait for a recording.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    commands: Vec<Command>,
    stop: Option<(Instant, bool)>,
}

impl Inbox {
    /// `false`: there is no room.
    pub(super) fn push(&self, command: Command) -> bool {
        let mut waiting = lock(&self.0);
        let fits = waiting.commands.len() < COMMANDS_MAX;
        if fits {
            waiting.commands.push(command);
        }
        fits
    }

    /// The earliest moment counts, and whether any of them throws it away.
    pub(super) fn stop(&self, at: Instant, discard: bool) {
        let mut waiting = lock(&self.0);
        let (before, discards) = waiting.stop.unwrap_or((at, false));
        waiting.stop = Some((at.min(before), discard || discards));
    }

    pub(super) fn take(&self) -> Vec<Command> {
        let mut waiting = lock(&self.0);
        let mut commands = std::mem::take(&mut waiting.commands);
        let stop = waiting.stop.take();
        commands.extend(stop.map(|(at, discard)| Command::Stop { at, discard }));
        commands
    }
}

/// One recording.
#[derive(Debug)]
pub(super) struct Live {
    /// `None`: all is given to the disk.
    session: Option<Session>,
    inbox: Arc<Inbox>,
    item: Arc<Item>,
    output: Output,
}

impl Live {
    pub(super) fn new(session: Session, inbox: Arc<Inbox>, item: Arc<Item>) -> Self {
        Self {
            session: Some(session),
            inbox,
            item,
            output: Output::default(),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.item.reporter().path
    }

    /// Does what can be done by now; all recordings end when the recorder is `over`. `false`: it
    /// is closed.
    pub(super) fn poll(&mut self, now: Instant, over: bool, writers: &Arc<Writers>) -> bool {
        if self.item.is_over() {
            return false;
        }
        let Some(session) = &mut self.session else {
            return true;
        };
        if over {
            self.inbox.stop(now, false);
        }
        for command in self.inbox.take() {
            session.command(command, now, &mut self.output);
        }
        let progress = session.work(now, &self.item.state(writers), &mut self.output);
        for event in self.output.events.drain(..) {
            self.item.reporter().tell(event);
        }
        let lost = std::mem::take(&mut self.output.samples_lost);
        add(&writers.counters.samples_lost, lost);
        let closing = match progress {
            Progress::Running => None,
            Progress::Ended { discard: true } => Some(Closing::Discard),
            Progress::Ended { discard: false } => {
                Some(Closing::Keep(Box::new(session.sidecar().clone())))
            }
        };
        if closing.is_some() {
            self.session = None;
        }
        if self.output.due || closing.is_some() {
            let output = std::mem::take(&mut self.output);
            self.item.give(output, closing, writers);
        }
        true
    }
}
