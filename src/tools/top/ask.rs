//! Asks the switch for what is to be shown: each second, and at once when something else is wanted.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use url::form_urlencoded::byte_serialize;

use crate::control::live::Sort;
use crate::control::live::view::{List, Whole};
use crate::tools::door::{Door, HttpArgs};

/// How long the switch may take for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Least time between two questions, however fast keys are pressed.
const APART: Duration = Duration::from_millis(50);
/// Longest answer that is read: so many calls with the longest texts, each octet escaped.
const ANSWER_MAX: u64 = 4 << 20;

/// What is to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) filter: String,
    pub(super) sort: Sort,
    pub(super) offset: usize,
    pub(super) limit: usize,
    /// SID of the call whose legs are shown.
    pub(super) open: Option<String>,
    /// It is asked for once.
    pub(super) paused: bool,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) wish: Wish,
    pub(super) list: List,
    /// The call whose legs are shown; `None`: it is over, or nobody asked.
    pub(super) whole: Option<Whole>,
    /// When; `None`: never.
    pub(super) at: Option<Instant>,
}

/// Asks.
#[derive(Debug)]
pub(super) struct Asker(Door);

impl Asker {
    pub(super) fn new(args: &HttpArgs) -> Self {
        Self(Door::new(args, PATIENCE))
    }

    /// One question, or two where a call is open.
    pub(super) fn ask(&self, wish: &Wish) -> Result<Seen> {
        let at = Some(Instant::now());
        let request = self.0.get("/calls");
        let request = request
            .query("filter", &wish.filter)
            .query("sort", wish.sort.label())
            .query("offset", wish.offset.to_string())
            .query("limit", wish.limit.to_string());
        let request = request.config().timeout_global(Some(PATIENCE)).build();
        let list = self.0.ask_json(request, ANSWER_MAX)?;
        let whole = wish.open.as_deref().map(|sid| self.whole(sid));
        Ok(Seen {
            wish: wish.clone(),
            list,
            whole: whole.transpose()?.flatten(),
            at,
        })
    }

    fn whole(&self, sid: &str) -> Result<Option<Whole>> {
        let sid: String = byte_serialize(sid.as_bytes()).collect();
        let request = self.0.get(&format!("/calls/{}", sid.replace('+', "%20")));
        let request = request.config().timeout_global(Some(PATIENCE)).build();
        self.0.ask_json_if_there(request, ANSWER_MAX)
    }

    /// Asks until nobody listens any more.
    pub(super) fn watch(&self, wishes: &Wishes, answers: &SyncSender<Result<Seen>>) {
        loop {
            let wish = wishes.latest();
            let answer = self.ask(&wish);
            let rests = wish.paused && answer.is_ok();
            if answers.send(answer).is_err() {
                return;
            }
            std::thread::sleep(APART);
            wishes.wait(&wish, rests);
        }
    }
}

/// What is wanted at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes(Arc<(Mutex<Wish>, Condvar)>);

impl Wishes {
    pub(super) fn set(&self, wish: &Wish) {
        let mut latest = self.locked();
        if *latest != *wish {
            latest.clone_from(wish);
            self.0.1.notify_one();
        }
    }

    fn latest(&self) -> Wish {
        self.locked().clone()
    }

    /// Until something else is wanted than `asked` or, unless that `rests`, it is time to ask
    /// again.
    fn wait(&self, asked: &Wish, rests: bool) {
        let is_same = |latest: &mut Wish| *latest == *asked;
        let (guard, changed) = (self.locked(), &self.0.1);
        if rests {
            drop(changed.wait_while(guard, is_same));
        } else {
            drop(changed.wait_timeout_while(guard, EVERY, is_same));
        }
    }

    fn locked(&self) -> MutexGuard<'_, Wish> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
