//! Log lines that whoever sends enough could fill a disk with: each is said now and then only, with
//! how often it was kept back meanwhile.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most things that are remembered as said; what else there is to say is kept back while as many
/// are.
pub(crate) const KEYS_MAX: usize = 1_000;

/// From one line about the same to the next.
pub(crate) const SAID_EVERY: Duration = Duration::from_secs(60);

/// What was said, and when.
#[derive(Debug)]
pub(crate) struct Seldom<K> {
    said: Mutex<HashMap<K, Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    kept_back: u64,
}

impl<K> Default for Seldom<K> {
    fn default() -> Self {
        Self {
            said: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> Seldom<K> {
    /// Whether a line about `key` is to be said now, which it is every [`SAID_EVERY`] at most; then
    /// how many such were kept back since the last one.
    pub(crate) fn ask(&self, key: K, now: Instant) -> Option<u64> {
        // Whole after every statement.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |said: &Said| now < said.at + SAID_EVERY;
        if let Some(last) = said.get_mut(&key) {
            if is_recent(last) {
                last.kept_back += 1;
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.kept_back));
        }
        if said.len() >= KEYS_MAX {
            said.retain(|_, said| is_recent(said));
        }
        if said.len() >= KEYS_MAX {
            return None;
        }
        let first = Said {
            at: now,
            kept_back: 0,
        };
        said.insert(key, first);
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_in_a_while() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(seldom.ask("a", start), Some(0));
        assert_eq!(seldom.ask("a", at(1)), None);
        assert_eq!(seldom.ask("b", at(1)), Some(0), "another thing");
        assert_eq!(seldom.ask("a", at(59)), None);
        assert_eq!(seldom.ask("a", at(60)), Some(2));
        assert_eq!(seldom.ask("a", at(61)), None);
    }

    #[test]
    fn as_many_things_as_may_be_and_one_more() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        assert!((0..KEYS_MAX).all(|key| seldom.ask(key, start) == Some(0)));
        assert_eq!(seldom.ask(KEYS_MAX, start), None);
        assert_eq!(seldom.ask(KEYS_MAX, start + SAID_EVERY), Some(0));
    }
}
