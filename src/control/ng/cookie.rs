//! Which requests were seen before: clients repeat a request under the same cookie until they
//! have a reply, and each must be carried out once and answered alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest cookie in bytes; clients use about 20.
pub const COOKIE_LEN_MAX: usize = 256;

/// How often the younger generation becomes the older one: a reply is kept for one to two of
/// these. Clients give up after five seconds.
pub const COOKIE_GENERATION: Duration = Duration::from_secs(30);

/// Most cookies kept, unless configured otherwise.
pub const COOKIE_ENTRIES_MAX: usize = 1 << 18;

/// Most bytes kept, unless configured otherwise: cookies, replies, and [`COOKIE_ENTRY_BYTES`] for
/// each of them.
pub const COOKIE_BYTES_MAX: usize = 64 << 20;

/// What an entry is taken to cost besides its cookie and its reply: table, pointers, allocator.
pub const COOKIE_ENTRY_BYTES: usize = 96;

/// How much a [`CookieCache`] may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieLimits {
    /// Cookies.
    pub entries: usize,
    /// Bytes, counted as for [`COOKIE_BYTES_MAX`].
    pub bytes: usize,
}

impl Default for CookieLimits {
    fn default() -> Self {
        Self {
            entries: COOKIE_ENTRIES_MAX,
            bytes: COOKIE_BYTES_MAX,
        }
    }
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Never seen, or too long ago: carry it out, then [`CookieCache::finish`].
    Fresh,
    /// It is being carried out: its reply will be the reply to this one, too.
    Pending,
    /// It was carried out: send this again.
    Replay(Arc<[u8]>),
}

/// How full a [`CookieCache`] is, and what it had to give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CookieStats {
    /// Cookies kept.
    pub entries: usize,
    /// Bytes kept, counted as for [`COOKIE_BYTES_MAX`].
    pub bytes: usize,
    /// Cookies given up before [`COOKIE_GENERATION`] was over, because the cache was full.
    pub dropped: u64,
    /// Replies that were larger than a generation may be, and were not kept.
    pub oversize: u64,
}

/// Cookies and replies of the last 30 to 60 seconds, in two generations.
///
/// Each generation has half of the limits. When the younger one is full it becomes the older one
/// early, and what was the older one is given up and counted: the latest requests, those that
/// may still be repeated, are always kept. Every operation is O(1), save for the release of a
/// generation. The hash is keyed at random, so cookies cannot be chosen to collide.
#[derive(Debug)]
pub struct CookieCache {
    limits: CookieLimits,
    young: Generation,
    old: Generation,
    rotated: Instant,
    dropped: u64,
    oversize: u64,
}

#[derive(Debug, Default)]
struct Generation {
    entries: HashMap<Box<[u8]>, State>,
    bytes: usize,
}

#[derive(Debug)]
enum State {
    InProgress,
    Done(Arc<[u8]>),
}

impl CookieCache {
    /// An empty cache; its first generation begins at `now`.
    pub fn new(now: Instant, limits: CookieLimits) -> Self {
        Self {
            limits,
            young: Generation::default(),
            old: Generation::default(),
            rotated: now,
            dropped: 0,
            oversize: 0,
        }
    }

    /// Looks a request up by its cookie, and notes a fresh one as in progress.
    ///
    /// A cookie longer than [`COOKIE_LEN_MAX`] is always fresh and never kept. A request that is
    /// never finished stays pending until its generation goes.
    pub fn begin(&mut self, now: Instant, cookie: &[u8]) -> Seen {
        self.rotate_when_due(now);
        let state = self
            .young
            .entries
            .get(cookie)
            .or_else(|| self.old.entries.get(cookie));
        match state {
            Some(State::Done(reply)) => return Seen::Replay(Arc::clone(reply)),
            Some(State::InProgress) => return Seen::Pending,
            None => {}
        }
        if cookie.len() <= COOKIE_LEN_MAX {
            self.insert(cookie, State::InProgress);
        }
        Seen::Fresh
    }

    /// Keeps the reply to a request that was begun, from now on for the full time.
    ///
    /// Without effect if the cookie is no longer known.
    pub fn finish(&mut self, cookie: &[u8], reply: Arc<[u8]>) {
        // Into the younger generation, even if the request began in the older one.
        if self.young.remove(cookie) || self.old.remove(cookie) {
            self.insert(cookie, State::Done(reply));
        }
    }

    /// How full the cache is, and what it had to give up so far.
    pub fn stats(&self) -> CookieStats {
        CookieStats {
            entries: self.young.entries.len() + self.old.entries.len(),
            bytes: self.young.bytes + self.old.bytes,
            dropped: self.dropped,
            oversize: self.oversize,
        }
    }

    fn insert(&mut self, cookie: &[u8], state: State) {
        let cost = cost(cookie, &state);
        if cost > self.limits.bytes / 2 || self.limits.entries < 2 {
            self.oversize += 1;
            return;
        }
        let full = self.young.entries.len() == self.limits.entries / 2
            || self.young.bytes + cost > self.limits.bytes / 2;
        if full {
            self.dropped += u64::try_from(self.old.entries.len()).unwrap_or(u64::MAX);
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += cost;
        self.young.entries.insert(cookie.into(), state);
    }

    fn rotate_when_due(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.rotated);
        if age < COOKIE_GENERATION {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= 2 * COOKIE_GENERATION {
            self.old = Generation::default();
        }
        self.rotated = now;
    }
}

impl Generation {
    fn remove(&mut self, cookie: &[u8]) -> bool {
        let Some(state) = self.entries.remove(cookie) else {
            return false;
        };
        self.bytes -= cost(cookie, &state);
        true
    }
}

fn cost(cookie: &[u8], state: &State) -> usize {
    let reply = match state {
        State::InProgress => 0,
        State::Done(reply) => reply.len(),
    };
    COOKIE_ENTRY_BYTES + cookie.len() + reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    fn cache(entries: usize, bytes: usize) -> (CookieCache, Instant) {
        let now = Instant::now();
        (CookieCache::new(now, CookieLimits { entries, bytes }), now)
    }

    #[test]
    fn a_request_runs_once_and_its_reply_is_repeated() {
        let (mut cache, now) = cache(16, 1 << 16);
        assert_eq!(cache.begin(now, b"k1"), Seen::Fresh);
        assert_eq!(cache.begin(now, b"k1"), Seen::Pending);
        cache.finish(b"k1", reply("k1 ok"));
        assert_eq!(cache.begin(now, b"k1"), Seen::Replay(reply("k1 ok")));
        assert_eq!(cache.begin(now, b"k2"), Seen::Fresh);
    }

    #[test]
    fn replies_live_between_one_and_two_generations() {
        let (mut cache, start) = cache(16, 1 << 16);
        let at = |seconds| start + Duration::from_secs(seconds);
        cache.begin(at(29), b"late");
        cache.finish(b"late", reply("r"));
        assert_eq!(cache.begin(at(59), b"late"), Seen::Replay(reply("r")));
        assert_eq!(cache.begin(at(89), b"late"), Seen::Fresh);
    }

    #[test]
    fn a_quiet_cache_forgets_in_time() {
        let (mut cache, start) = cache(16, 1 << 16);
        cache.begin(start, b"k1");
        cache.finish(b"k1", reply("r"));
        assert_eq!(
            cache.begin(start + 2 * COOKIE_GENERATION, b"k1"),
            Seen::Fresh
        );
        assert_eq!(cache.stats().dropped, 0, "age is no loss");
    }

    #[test]
    fn a_long_request_keeps_its_reply_from_its_end() {
        let (mut cache, start) = cache(16, 1 << 16);
        let at = |seconds| start + Duration::from_secs(seconds);
        cache.begin(at(0), b"slow");
        assert_eq!(cache.begin(at(31), b"slow"), Seen::Pending);
        cache.finish(b"slow", reply("r"));
        assert_eq!(cache.begin(at(62), b"slow"), Seen::Replay(reply("r")));
    }

    #[test]
    fn entries_are_bounded_and_the_latest_stay() {
        let (mut cache, now) = cache(8, 1 << 16);
        let cookie = |n: u8| [b'k', n];
        for n in 0..8 {
            cache.begin(now, &cookie(n));
        }
        assert_eq!((cache.stats().entries, cache.stats().dropped), (8, 0));
        cache.begin(now, &cookie(8));
        assert_eq!((cache.stats().entries, cache.stats().dropped), (5, 4));
        assert_eq!(cache.begin(now, &cookie(4)), Seen::Pending);
        assert_eq!(cache.begin(now, &cookie(3)), Seen::Fresh);
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let limit = 2 * 4 * (COOKIE_ENTRY_BYTES + 2 + 100);
        let (mut cache, now) = cache(1000, limit);
        let long = reply(&"x".repeat(100));
        for n in 0..=255 {
            cache.begin(now, &[b'k', n]);
            cache.finish(&[b'k', n], Arc::clone(&long));
            assert!(cache.stats().bytes <= limit);
        }
        assert_eq!(cache.stats().dropped + cache.stats().entries as u64, 256);
        assert_eq!(cache.begin(now, b"k\xff"), Seen::Replay(long));
        cache.begin(now + 2 * COOKIE_GENERATION, b"new");
        assert_eq!(cache.stats().bytes, COOKIE_ENTRY_BYTES + 3);
    }

    #[test]
    fn a_reply_beyond_the_limit_is_not_kept() {
        let room = COOKIE_ENTRY_BYTES + 2 + 10;
        let (mut cache, now) = cache(16, 2 * room);
        cache.begin(now, b"k1");
        cache.finish(b"k1", reply(&"x".repeat(10)));
        assert!(matches!(cache.begin(now, b"k1"), Seen::Replay(_)));
        cache.begin(now, b"k2");
        cache.finish(b"k2", reply(&"x".repeat(11)));
        assert_eq!(cache.begin(now, b"k2"), Seen::Fresh);
        assert_eq!(cache.stats().oversize, 1);
    }

    #[test]
    fn an_overlong_cookie_is_never_kept() {
        let (mut cache, now) = cache(16, 1 << 16);
        cache.begin(now, &[b'c'; COOKIE_LEN_MAX]);
        assert_eq!(cache.begin(now, &[b'c'; COOKIE_LEN_MAX]), Seen::Pending);
        cache.begin(now, &[b'c'; COOKIE_LEN_MAX + 1]);
        assert_eq!(cache.begin(now, &[b'c'; COOKIE_LEN_MAX + 1]), Seen::Fresh);
        cache.finish(&[b'c'; COOKIE_LEN_MAX + 1], reply("r"));
        assert_eq!(cache.stats().entries, 1);
    }

    #[test]
    fn a_clock_that_steps_back_does_no_harm() {
        let (mut cache, start) = cache(16, 1 << 16);
        let later = start + Duration::from_secs(40);
        cache.begin(later, b"k1");
        assert_eq!(cache.begin(start, b"k1"), Seen::Pending);
    }
}
