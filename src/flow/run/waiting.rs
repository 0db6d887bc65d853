//! Who waits in queues, and which agents are free: shared by all calls, without any call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// All queues of a runner, and all agents of those.
#[derive(Debug, Default)]
pub(super) struct Queues {
    lines: Mutex<Lines>,
    /// Something changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Lines {
    /// Who waits in the queue of a name, in the order in which they go.
    waiting: HashMap<String, Vec<Waiting>>,
    /// Agents that are not free, and from when on they are again; `None`: not known yet.
    busy: HashMap<String, Option<Instant>>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    priority: i32,
    /// An agent rings for it.
    served: bool,
}

impl Lines {
    /// Takes a place; `None`: there are `max` already.
    fn enter(&mut self, queue: &str, priority: i32, max: usize) -> Option<u64> {
        let line = self.waiting.entry(queue.to_owned()).or_default();
        if line.len() >= max {
            return None;
        }
        self.next += 1;
        let id = self.next;
        // Behind all of its own priority.
        let at = line.iter().position(|other| other.priority < priority);
        let place = Waiting {
            id,
            priority,
            served: false,
        };
        line.insert(at.unwrap_or(line.len()), place);
        Some(id)
    }

    fn leave(&mut self, queue: &str, id: u64) {
        if let Some(line) = self.waiting.get_mut(queue) {
            line.retain(|other| other.id != id);
            if line.is_empty() {
                self.waiting.remove(queue);
            }
        }
    }

    fn set_served(&mut self, queue: &str, id: u64, served: bool) {
        let line = self.waiting.get_mut(queue).into_iter().flatten();
        for place in line.filter(|place| place.id == id) {
            place.served = served;
        }
    }

    /// The free agent that is to ring for a place, if all before it are served.
    fn claim(&mut self, queue: &str, id: u64, agents: &[String], now: Instant) -> Option<String> {
        self.busy
            .retain(|_, until| until.is_none_or(|until| until > now));
        let line = self.waiting.get(queue)?;
        let first = line.iter().find(|place| !place.served)?;
        if first.id != id {
            return None;
        }
        let free = agents
            .iter()
            .find(|agent| !self.busy.contains_key(*agent))?;
        let agent = free.clone();
        self.busy.insert(agent.clone(), None);
        self.set_served(queue, id, true);
        Some(agent)
    }

    /// When the next of these agents is free again, as far as that is known.
    fn next_free(&self, agents: &[String]) -> Option<Instant> {
        let until = |agent: &String| self.busy.get(agent).copied().flatten();
        agents.iter().filter_map(until).min()
    }
}

/// A place in a queue. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Place {
    queues: Arc<Queues>,
    queue: String,
    id: u64,
}

/// An agent that rings for a place, or talks. Dropping it lets the agent rest.
#[derive(Debug)]
pub(super) struct Claim {
    queues: Arc<Queues>,
    queue: String,
    id: u64,
    pub(super) agent: String,
    /// How long it is not called again.
    pub(super) rest: Duration,
}

impl Queues {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits behind all others of the same or a higher priority; `None`: there are `max`.
    pub(super) fn enter(self: &Arc<Self>, queue: &str, priority: i32, max: usize) -> Option<Place> {
        let id = self.lines().enter(queue, priority, max)?;
        Some(Place {
            queues: Arc::clone(self),
            queue: queue.to_owned(),
            id,
        })
    }
}

impl Place {
    /// The next agent for this place, once it is its turn and somebody is free. `rest` is how long
    /// that agent is left alone if it does not answer.
    pub(super) async fn agent(&self, agents: &[String], rest: Duration) -> Claim {
        loop {
            let changed = self.queues.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let (claimed, free) = {
                let mut lines = self.queues.lines();
                let claimed = lines.claim(&self.queue, self.id, agents, now);
                (claimed, lines.next_free(agents))
            };
            if let Some(agent) = claimed {
                self.queues.changed.notify_waiters();
                return Claim {
                    queues: Arc::clone(&self.queues),
                    queue: self.queue.clone(),
                    id: self.id,
                    agent,
                    rest,
                };
            }
            // Nobody's rest has to be known: then a change is waited for.
            let later = Duration::from_secs(3_600);
            let wait = free.map_or(later, |free| free.saturating_duration_since(now));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queues.lines().leave(&self.queue, self.id);
        self.queues.changed.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let free = Instant::now().checked_add(self.rest);
        let mut lines = self.queues.lines();
        match free {
            Some(free) => lines.busy.insert(self.agent.clone(), Some(free)),
            None => lines.busy.remove(&self.agent),
        };
        lines.set_served(&self.queue, self.id, false);
        drop(lines);
        self.queues.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENTS: [&str; 2] = ["anna", "ben"];

    fn agents() -> Vec<String> {
        AGENTS.map(str::to_owned).to_vec()
    }

    #[test]
    fn who_came_first_goes_first_and_priorities_before_that() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let first = lines.enter("q", 0, 9).unwrap();
        let second = lines.enter("q", 0, 9).unwrap();
        let urgent = lines.enter("q", 5, 9).unwrap();
        assert_eq!(lines.claim("q", first, &agents(), now), None);
        assert_eq!(
            lines.claim("q", urgent, &agents(), now).as_deref(),
            Some("anna")
        );
        assert_eq!(lines.claim("q", second, &agents(), now), None);
        assert_eq!(
            lines.claim("q", first, &agents(), now).as_deref(),
            Some("ben")
        );
        assert_eq!(
            lines.claim("q", second, &agents(), now),
            None,
            "nobody is free"
        );
        lines
            .busy
            .insert("anna".to_owned(), Some(now + Duration::from_secs(5)));
        assert_eq!(lines.claim("q", second, &agents(), now), None, "it rests");
        let later = now + Duration::from_secs(5);
        assert_eq!(
            lines.claim("q", second, &agents(), later).as_deref(),
            Some("anna")
        );
    }

    #[test]
    fn a_queue_is_full_at_its_size_and_empty_when_all_have_left() {
        let mut lines = Lines::default();
        let places: Vec<u64> = (0..3).filter_map(|_| lines.enter("q", 0, 2)).collect();
        assert_eq!(places.len(), 2);
        assert!(
            lines.enter("other", 0, 2).is_some(),
            "another queue has room"
        );
        places.iter().for_each(|id| lines.leave("q", *id));
        assert!(!lines.waiting.contains_key("q"));
        assert!(lines.enter("q", 0, 2).is_some());
    }

    #[tokio::test]
    async fn a_place_that_is_given_up_lets_the_next_one_go() {
        let queues = Arc::new(Queues::default());
        let first = queues.enter("q", 0, 9).unwrap();
        let second = queues.enter("q", 0, 9).unwrap();
        let one = vec!["anna".to_owned()];
        let claim = first.agent(&one, Duration::ZERO).await;
        let waits = tokio::spawn(async move { second.agent(&one, Duration::ZERO).await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(first);
        drop(claim);
        let next = tokio::time::timeout(Duration::from_secs(5), waits).await;
        assert_eq!(next.unwrap().unwrap().agent, "anna");
    }
}
