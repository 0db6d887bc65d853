//! Decoded clips by where they came from; the least recently used goes first.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::fetch::Validators;
use super::{FileState, Freshness};
use crate::audio::clip::Clip;

/// Bytes an entry costs beside its samples, roughly; so that a million empty clips are not free.
const ENTRY_BYTES: usize = 1024;

/// What a clip is kept under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A path as it was given.
    File(PathBuf),
    /// A URL without fragment.
    Url(String),
    /// Two hashes of the content, and its length.
    Bytes([u64; 2], usize),
    /// The clip of this id at another rate.
    Converted { id: u64, rate_hz: u32 },
}

/// A clip, and what is known about where it came from.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) clip: Arc<Clip>,
    /// Never used twice.
    pub(super) id: u64,
    pub(super) origin: Origin,
}

/// How to find out whether an entry is still right.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// It always is.
    Constant,
    /// Its file may change.
    File {
        state: FileState,
        fresh_until: Instant,
    },
    /// Its URL may change.
    Url {
        validators: Validators,
        fresh_until: Instant,
        /// Until when it may be played although its URL fails.
        stale_until: Instant,
    },
}

impl Origin {
    pub(super) fn url(validators: Validators, freshness: Freshness) -> Self {
        let now = Instant::now();
        Self::Url {
            validators,
            fresh_until: now + freshness.fresh,
            stale_until: now + freshness.fresh + freshness.stale,
        }
    }

    /// After the server said that nothing changed.
    pub(super) fn refreshed(self, freshness: Freshness) -> Self {
        match self {
            Self::Url { validators, .. } => Self::url(validators, freshness),
            other => other,
        }
    }

    /// After the server failed.
    pub(super) fn retry_at(mut self, at: Instant) -> Self {
        if let Self::Url { fresh_until, .. } = &mut self {
            *fresh_until = at;
        }
        self
    }
}

impl Entry {
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        match &self.origin {
            Origin::Constant => true,
            Origin::File { fresh_until, .. } | Origin::Url { fresh_until, .. } => {
                now < *fresh_until
            }
        }
    }

    pub(super) fn may_be_stale(&self) -> bool {
        match &self.origin {
            Origin::Url { stale_until, .. } => Instant::now() < *stale_until,
            _ => false,
        }
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.clip.bytes()
    }
}

/// The cache: bounded in bytes.
#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    entries: HashMap<Key, (u64, Entry)>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, Key>,
    turn: u64,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry, which is now the last to go.
    pub(super) fn get(&mut self, key: &Key) -> Option<Entry> {
        let (used, entry) = self.entries.get_mut(key)?;
        let key = self.order.remove(used)?;
        self.turn += 1;
        *used = self.turn;
        self.order.insert(self.turn, key);
        Some(entry.clone())
    }

    /// Puts an entry in the place of an older one, and drops others until all fit. Says whether
    /// it was kept at all, and how many were dropped.
    pub(super) fn insert(&mut self, key: Key, entry: Entry) -> (bool, usize) {
        self.remove(&key);
        let bytes = entry.bytes();
        if bytes > self.bytes_max {
            return (false, 0);
        }
        let mut evicted = 0;
        while self.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some((_, entry)) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes();
                evicted += 1;
            }
        }
        self.turn += 1;
        self.bytes += bytes;
        self.order.insert(self.turn, key.clone());
        self.entries.insert(key, (self.turn, entry));
        (true, evicted)
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some((used, entry)) = self.entries.remove(key) {
            self.order.remove(&used);
            self.bytes -= entry.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u64) -> Key {
        Key::Converted { id, rate_hz: 8000 }
    }

    fn entry(id: u64, samples: usize) -> Entry {
        Entry {
            clip: Arc::new(Clip::new(vec![0; samples], 8000).unwrap()),
            id,
            origin: Origin::Constant,
        }
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let one = ENTRY_BYTES + 200;
        let mut cache = Cache::new(3 * one);
        for id in 0..3 {
            assert_eq!(cache.insert(key(id), entry(id, 100)), (true, 0));
        }
        assert!(cache.get(&key(0)).is_some());
        assert_eq!(cache.insert(key(3), entry(3, 100)), (true, 1));
        assert!(cache.get(&key(1)).is_none() && cache.get(&key(0)).is_some());
        // One of twice the size makes two go.
        assert_eq!(cache.insert(key(4), entry(4, 101)), (true, 2));
        assert_eq!((cache.len(), cache.bytes()), (2, 2 * one + 2));
    }

    #[test]
    fn bytes_are_kept_to_the_limit() {
        let mut cache = Cache::new(ENTRY_BYTES + 200);
        assert_eq!(cache.insert(key(0), entry(0, 100)), (true, 0));
        // Too large to be kept at all: nothing goes for it, but the older one of its key.
        assert_eq!(cache.insert(key(1), entry(1, 101)), (false, 0));
        assert_eq!(cache.len(), 1);
        assert_eq!(cache.insert(key(0), entry(0, 101)), (false, 0));
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
        assert!(cache.order.is_empty());
    }
}
