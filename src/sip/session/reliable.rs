//! Reliable provisional responses (RFC 3262), for callers that require them.
//!
//! The stack answers any PRACK with 200, and repeats no 18x: so which response a PRACK is for is
//! decided here, before the stack sees it, and so is when a response is said again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rsipstack::sip::Header;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The reliable responses to one INVITE, one at a time.
#[derive(Debug)]
pub(in crate::sip) struct Reliable {
    /// CSeq of the INVITE.
    cseq: u32,
    waiting: Mutex<Waiting>,
    /// The one that waited was acknowledged.
    pub(in crate::sip) acknowledged: Notify,
}

#[derive(Debug)]
struct Waiting {
    /// The latest RSeq.
    rseq: u32,
    /// It was not acknowledged yet.
    is_open: bool,
}

impl Reliable {
    /// For the INVITE of this CSeq; the first RSeq is one after `start` (section 3: below 2³¹).
    pub(in crate::sip) fn new(cseq: u32, start: u32) -> Self {
        Self {
            cseq,
            waiting: Mutex::new(Waiting {
                rseq: start & 0x3fff_ffff,
                is_open: false,
            }),
            acknowledged: Notify::new(),
        }
    }

    /// Headers of the next response, which waits from now on. `None`: there is one that waits.
    pub(in crate::sip) fn next(&self) -> Option<Vec<Header>> {
        let mut waiting = self.lock();
        if waiting.is_open {
            return None;
        }
        waiting.rseq += 1;
        waiting.is_open = true;
        Some(vec![
            Header::Require("100rel".into()),
            Header::RSeq(waiting.rseq.to_string().into()),
        ])
    }

    /// Whether one waits.
    pub(in crate::sip) fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// A PRACK with this RAck: whether it is for the one that waits, or for one before it.
    pub(in crate::sip) fn acknowledge(&self, rseq: u32, cseq: u32) -> bool {
        let mut waiting = self.lock();
        if cseq != self.cseq || rseq != waiting.rseq || !waiting.is_open {
            return false;
        }
        waiting.is_open = false;
        self.acknowledged.notify_one();
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response that is said again until it is acknowledged, at intervals of T1, 2 T1, 4 T1 … for
/// 64 T1.
#[derive(Debug)]
pub(super) struct Repeat {
    pub(super) headers: Vec<Header>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) next: Instant,
    interval: Duration,
    until: Instant,
}

impl Repeat {
    pub(super) fn new(headers: Vec<Header>, body: Option<Vec<u8>>, t1: Duration) -> Self {
        let now = Instant::now();
        Self {
            headers,
            body,
            next: now + t1,
            interval: t1,
            until: now + t1 * 64,
        }
    }

    /// It is due: whether to say it again, or to give up.
    pub(super) fn again(&mut self) -> bool {
        self.interval *= 2;
        self.next += self.interval;
        self.next < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_response_waits_for_its_own_prack() {
        let reliable = Reliable::new(7, 100);
        assert!(!reliable.acknowledge(101, 7), "nothing was said yet");
        let headers = reliable.next().expect("the first");
        assert!(headers.contains(&Header::RSeq("101".into())));
        assert!(reliable.next().is_none(), "one at a time");
        assert!(!reliable.acknowledge(102, 7), "another response");
        assert!(!reliable.acknowledge(101, 8), "another INVITE");
        assert!(reliable.is_open());
        assert!(reliable.acknowledge(101, 7));
        assert!(!reliable.acknowledge(101, 7), "once");
        assert!(reliable.next().is_some());
    }

    #[test]
    fn responses_are_repeated_for_64_t1() {
        let t1 = Duration::from_millis(500);
        let begun = Instant::now();
        let mut repeat = Repeat::new(Vec::new(), None, t1);
        let mut times = 1;
        while repeat.again() {
            times += 1;
        }
        assert_eq!(times, 6, "at 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s");
        assert!(repeat.next >= begun + t1 * 64);
    }
}
