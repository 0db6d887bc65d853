//! A ledger that keeps everything.

use std::sync::Mutex;

use futures_util::future::{BoxFuture, FutureExt as _, ready};

use crosspoint::flow::run::ledger::{CallEnded, CallStarted, Ledger, LegStarted, Quality};
use crosspoint::sip::{Ending, LegStatus};

use super::until;

/// What a ledger was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    CallStarted {
        call: String,
        from: String,
        to: String,
    },
    LegStarted {
        call: String,
        leg: String,
        inbound: bool,
        from: String,
        to: String,
        instead_of: Option<String>,
    },
    Ringing(String),
    Answered(String),
    LegEnded {
        leg: String,
        ending: Ending,
        quality: Option<Quality>,
    },
    CallEnded {
        call: String,
        ending: Ending,
        answered: bool,
        digits: u32,
        recordings: Vec<String>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Book {
    told: Mutex<Vec<Told>>,
    /// Caller and agent.
    last: Mutex<Option<(String, String)>>,
}

impl Ledger for Book {
    fn call_started(&self, call: &CallStarted<'_>) {
        self.write(Told::CallStarted {
            call: call.call.to_owned(),
            from: call.from.to_owned(),
            to: call.to.to_owned(),
        });
    }

    fn leg_started(&self, leg: &LegStarted<'_>) {
        self.write(Told::LegStarted {
            call: leg.call.to_owned(),
            leg: leg.leg.to_owned(),
            inbound: leg.inbound,
            from: leg.from.to_owned(),
            to: leg.to.to_owned(),
            instead_of: leg.instead_of.map(str::to_owned),
        });
    }

    fn ringing(&self, _call: &str, leg: &str) {
        self.write(Told::Ringing(leg.to_owned()));
    }

    fn answered(&self, _call: &str, leg: &str) {
        self.write(Told::Answered(leg.to_owned()));
    }

    fn leg_ended(&self, _call: &str, leg: &str, ending: Ending, quality: Option<&Quality>) {
        self.write(Told::LegEnded {
            leg: leg.to_owned(),
            ending,
            quality: quality.copied(),
        });
    }

    fn call_ended(&self, call: &CallEnded<'_>) {
        self.write(Told::CallEnded {
            call: call.call.to_owned(),
            ending: call.ending,
            answered: call.answered,
            digits: call.digits,
            recordings: call.recordings.to_vec(),
        });
    }

    fn last_agent<'a>(
        &'a self,
        caller: &'a str,
        agents: Vec<String>,
    ) -> BoxFuture<'a, Option<String>> {
        let last = self.last.lock().expect("a book").clone();
        let is_known = |(of, agent): &(String, String)| of == caller && agents.contains(agent);
        ready(last.filter(is_known).map(|(_, agent)| agent)).boxed()
    }
}

impl Book {
    /// The caller talked with this agent last.
    pub(crate) fn talked_last(&self, caller: &str, agent: &str) {
        let last = (caller.to_owned(), agent.to_owned());
        *self.last.lock().expect("a book") = Some(last);
    }

    fn write(&self, told: Told) {
        self.told.lock().expect("a book").push(told);
    }

    pub(crate) fn all(&self) -> Vec<Told> {
        self.told.lock().expect("a book").clone()
    }

    /// SIDs of legs, in the order in which they began; those that called us, or those we called.
    pub(crate) fn legs(&self, were_inbound: bool) -> Vec<String> {
        let all = self.all().into_iter();
        let legs = all.filter_map(|told| match told {
            Told::LegStarted { leg, inbound, .. } if inbound == were_inbound => Some(leg),
            _ => None,
        });
        legs.collect()
    }

    /// How a leg ended, and what was received of it.
    pub(crate) fn ending(&self, of: &str) -> Option<(Ending, Option<Quality>)> {
        self.all().into_iter().find_map(|told| match told {
            Told::LegEnded {
                leg,
                ending,
                quality,
            } if leg == of => Some((ending, quality)),
            _ => None,
        })
    }

    /// What a leg came to, once it has ended.
    pub(crate) async fn status(&self, leg: &str) -> LegStatus {
        until("a leg has ended", || self.ending(leg).is_some()).await;
        let (ending, _) = self.ending(leg).expect("it has ended");
        let was_answered = self.all().contains(&Told::Answered(leg.to_owned()));
        ending.cause.status(was_answered)
    }

    /// What the legs that we called came to.
    pub(crate) async fn called(&self) -> Vec<LegStatus> {
        let mut found = Vec::new();
        for leg in self.legs(false) {
            found.push(self.status(&leg).await);
        }
        found
    }

    /// How the only call ended: its cause, and the rest of what was told of it.
    pub(crate) async fn call(&self) -> (u16, Told) {
        let ended = || {
            let all = self.all().into_iter();
            all.filter(|told| matches!(told, Told::CallEnded { .. }))
                .collect::<Vec<_>>()
        };
        until("the call has ended", || !ended().is_empty()).await;
        let mut all = ended();
        let (Some(told), true) = (all.pop(), all.is_empty()) else {
            panic!("more than one call");
        };
        let Told::CallEnded { ending, .. } = &told else {
            unreachable!("filtered above");
        };
        (ending.cause.0, told)
    }

    /// Fails unless every call and every leg ended, once, and nothing was told of one that had.
    pub(crate) fn is_closed(&self) {
        let mut open: Vec<String> = Vec::new();
        for told in self.all() {
            let (leg, ends) = match &told {
                Told::CallStarted { call: id, .. } | Told::LegStarted { leg: id, .. } => {
                    assert!(!open.contains(id), "{id} began twice");
                    open.push(id.clone());
                    continue;
                }
                Told::Ringing(leg) | Told::Answered(leg) => (leg, false),
                Told::LegEnded { leg: id, .. } | Told::CallEnded { call: id, .. } => (id, true),
            };
            assert!(open.contains(leg), "{told:?} of what is not there");
            open.retain(|known| known != leg || !ends);
        }
        assert!(open.is_empty(), "without an end: {open:?}");
    }
}
