//! Who is the party: the state machine that settles a stream's source address.
//!
//! The SDP's address is taken at its word and always wins. Anybody else is a candidate, must be
//! eligible by [`Learn`](super::Learn), and must prove itself with packets of one sequence while
//! the SDP's address stays silent. A candidate's packets are neither forwarded nor counted, and
//! nothing is sent to it. Once a source holds, the window is closed.
//!
//! ```text
//!            SDP address speaks                    SDP address speaks
//!   open ──────────────────────► by SDP ◄───────────────────────── by candidate
//!    │                             │  silent and `handover`: ▲          ▲   │ same
//!    └── eligible ──► candidate ───┴──────── proof ──────────┴──────────┘ ◄─┘
//! ```

use std::net::SocketAddr;

use super::api::{LearnPace, Remote};
use super::time::Micros;
use crate::wire::seq::SequenceNumber;

/// A candidate that was silent for this long frees its place.
pub(super) const CANDIDATE_STALE_US: u64 = 1_000_000;

/// A candidate that did not get through in this time frees its place: three seconds are the
/// slowest pace, and a source that never completes its proof must not keep others out.
pub(super) const CANDIDATE_HELD_US: u64 = 5_000_000;

/// How far a candidate's sequence may jump between two packets that still count.
pub(super) const CANDIDATE_GAP_MAX: i16 = 5;

/// How late a candidate's packet may be without breaking its sequence.
pub(super) const CANDIDATE_LATE_MAX: i16 = 8;

/// Packets that end the proof at the default pace.
pub(super) const PROOF_PACKETS: u8 = 8;

/// Fewest packets that are a proof at any pace.
pub(super) const PROOF_PACKETS_MIN: u8 = 3;

/// The default pace's way for slow senders: this long with at least [`PROOF_PACKETS_MIN`].
pub(super) const PROOF_HEURISTIC_US: u64 = 1_000_000;

/// The slow pace.
pub(super) const PROOF_DELAYED_US: u64 = 3_000_000;

/// With `handover`, a latched source must be silent for this long before another may take over.
pub(super) const HANDOVER_SILENCE_US: u64 = 500_000;

/// A learned RTCP source that was silent for this long may be replaced: six report intervals.
pub(super) const RTCP_STALE_US: u64 = 30_000_000;

/// Distinct strangers that are reported per window; more are only counted.
pub(super) const STRANGERS_MAX: usize = 8;

/// What a stranger's packet shows besides its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A valid RTP packet.
    Rtp {
        /// Its SSRC.
        ssrc: u32,
        /// Its sequence number.
        seq: SequenceNumber,
        /// Whether the stream negotiated its payload type.
        negotiated: bool,
    },
    /// Something this stream carries but nobody parses: only its count is a proof.
    Opaque,
    /// Nothing that this stream carries.
    None,
}

/// What the latch says about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// From the settled source.
    Source,
    /// From a source that this packet settled.
    Latched {
        /// It is the SDP's address.
        by_sdp: bool,
    },
    /// From a source that may become settled.
    Candidate {
        /// Its first packet, and worth an event.
        new: bool,
    },
    /// From a source that may not.
    Refused {
        /// Its first packet, and worth an event.
        new: bool,
    },
}

/// The one candidate that is watched.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: SocketAddr,
    held_since: Micros,
    proof_since: Micros,
    last: Micros,
    ssrc: u32,
    seq: SequenceNumber,
    count: u8,
}

/// A stream's settled source, or the way to it.
#[derive(Debug)]
pub(super) struct Latch {
    source: Option<SocketAddr>,
    by_sdp: bool,
    heard: Micros,
    candidate: Option<Candidate>,
    /// The last usable RTP address of the SDP: outlives a hold by 0.0.0.0.
    sdp: Option<SocketAddr>,
    rtcp_source: Option<SocketAddr>,
    rtcp_heard: Micros,
    strangers: [u32; STRANGERS_MAX],
    strangers_len: u8,
}

impl Latch {
    pub(super) fn new() -> Self {
        Self {
            source: None,
            by_sdp: false,
            heard: Micros::ZERO,
            candidate: None,
            sdp: None,
            rtcp_source: None,
            rtcp_heard: Micros::ZERO,
            strangers: [0; STRANGERS_MAX],
            strangers_len: 0,
        }
    }

    /// The settled source.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// Whether the settled source is the SDP's address.
    pub(super) fn by_sdp(&self) -> bool {
        self.source.is_some() && self.by_sdp
    }

    /// Whether a packet that proves nothing would be listened to: the source, or the SDP's word.
    pub(super) fn trusts(&self, remote: Option<&Remote>, from: SocketAddr) -> bool {
        self.source == Some(from) || remote.is_some_and(|remote| remote.rtp == Some(from))
    }

    /// A new SDP: reopens the window if the RTP address really changed. Without a usable
    /// address (hold by 0.0.0.0) the source stays settled: the party may go on sending.
    pub(super) fn remote_changed(&mut self, old: Option<&Remote>, new: &Remote) {
        if new.rtp.is_some() && new.rtp != self.sdp {
            *self = Self {
                sdp: new.rtp,
                ..Self::new()
            };
        } else if old.is_some_and(|old| old.rtcp != new.rtcp) {
            self.rtcp_source = None;
        }
        if new.learn.pace == LearnPace::Off {
            self.candidate = None;
        }
    }

    /// Judges a packet that arrived on the RTP port.
    #[inline]
    pub(super) fn judge(
        &mut self,
        now: Micros,
        remote: Option<&Remote>,
        from: SocketAddr,
        proof: Proof,
    ) -> Judgement {
        if self.source == Some(from) {
            self.heard = now;
            self.candidate = None;
            return Judgement::Source;
        }
        self.judge_stranger(now, remote, from, proof)
    }

    /// Where media goes: the SDP's address until the latch says otherwise.
    #[inline]
    pub(super) fn target(&self, remote: &Remote) -> Option<SocketAddr> {
        if remote.learn.asymmetric {
            return remote.rtp;
        }
        let learned = if remote.rtp.is_some() || remote.learn.anyone {
            self.source
        } else {
            None
        };
        learned.or(remote.rtp)
    }

    /// Where RTCP goes if it has its own port: the SDP's address, unless RTP turned out to come
    /// from elsewhere and RTCP too.
    pub(super) fn rtcp_target(&self, remote: &Remote) -> Option<SocketAddr> {
        if remote.learn.asymmetric || self.source.is_none() || self.by_sdp {
            return remote.rtcp;
        }
        self.rtcp_source.or(remote.rtcp)
    }

    /// Whether RTCP that arrived on its own port is the party's: from the SDP's RTCP address, or
    /// from the settled RTP source's IP, where the first such source is the only one.
    pub(super) fn admits_rtcp(
        &mut self,
        now: Micros,
        remote: Option<&Remote>,
        from: SocketAddr,
    ) -> bool {
        let Some(remote) = remote else {
            return false;
        };
        if remote.rtcp == Some(from) {
            return true;
        }
        if self.source.is_none_or(|source| source.ip() != from.ip()) {
            return false;
        }
        let taken = self.rtcp_source.is_some_and(|source| source != from);
        if taken && now.since(self.rtcp_heard) < RTCP_STALE_US {
            return false;
        }
        self.rtcp_source = Some(from);
        self.rtcp_heard = now;
        true
    }

    /// Whether this stranger was not reported yet in this window.
    pub(super) fn is_new_stranger(&mut self, from: SocketAddr) -> bool {
        let hash = fingerprint(from);
        let len = usize::from(self.strangers_len);
        if self.strangers[..len].contains(&hash) || len == STRANGERS_MAX {
            return false;
        }
        self.strangers[len] = hash;
        self.strangers_len += 1;
        true
    }

    #[cold]
    fn judge_stranger(
        &mut self,
        now: Micros,
        remote: Option<&Remote>,
        from: SocketAddr,
        proof: Proof,
    ) -> Judgement {
        let Some(remote) = remote else {
            return self.refuse(from);
        };
        if proof != Proof::None && remote.rtp == Some(from) {
            return self.settle(now, from, true);
        }
        let taken = self.source.is_some()
            && !(remote.learn.handover && now.since(self.heard) >= HANDOVER_SILENCE_US);
        if taken || !is_eligible(remote, from) || !proof.is_plausible() {
            return self.refuse(from);
        }
        let held = self.candidate.filter(|candidate| !candidate.is_stale(now));
        match held {
            Some(candidate) if candidate.from == from => {
                let candidate = candidate.advanced(now, proof);
                self.candidate = Some(candidate);
                if candidate.is_proven(now, remote.learn.pace) {
                    return self.settle(now, from, false);
                }
                Judgement::Candidate { new: false }
            }
            Some(_) => Judgement::Candidate {
                new: self.is_new_stranger(from),
            },
            None => {
                self.candidate = Some(Candidate::new(now, from, proof));
                Judgement::Candidate {
                    new: self.is_new_stranger(from),
                }
            }
        }
    }

    fn settle(&mut self, now: Micros, from: SocketAddr, by_sdp: bool) -> Judgement {
        self.source = Some(from);
        self.by_sdp = by_sdp;
        self.heard = now;
        self.candidate = None;
        self.rtcp_source = None;
        self.strangers_len = 0;
        Judgement::Latched { by_sdp }
    }

    fn refuse(&mut self, from: SocketAddr) -> Judgement {
        Judgement::Refused {
            new: self.is_new_stranger(from),
        }
    }
}

impl Proof {
    fn is_plausible(self) -> bool {
        matches!(
            self,
            Self::Rtp {
                negotiated: true,
                ..
            } | Self::Opaque
        )
    }

    fn numbers(self) -> (u32, SequenceNumber) {
        match self {
            Self::Rtp { ssrc, seq, .. } => (ssrc, seq),
            Self::Opaque | Self::None => (0, SequenceNumber(0)),
        }
    }
}

impl Candidate {
    fn new(now: Micros, from: SocketAddr, proof: Proof) -> Self {
        let (ssrc, seq) = proof.numbers();
        Self {
            from,
            held_since: now,
            proof_since: now,
            last: now,
            ssrc,
            seq,
            count: 1,
        }
    }

    fn is_stale(&self, now: Micros) -> bool {
        now.since(self.last) >= CANDIDATE_STALE_US || now.since(self.held_since) > CANDIDATE_HELD_US
    }

    /// With one more packet: in sequence it counts, late it is ignored, else the proof restarts.
    fn advanced(self, now: Micros, proof: Proof) -> Self {
        let (ssrc, seq) = proof.numbers();
        let step = match proof {
            Proof::Opaque => 1,
            Proof::Rtp { .. } | Proof::None if ssrc != self.ssrc => i16::MAX,
            Proof::Rtp { .. } | Proof::None => seq.ahead_of(self.seq),
        };
        match step {
            1..=CANDIDATE_GAP_MAX => Self {
                last: now,
                seq,
                count: self.count.saturating_add(1),
                ..self
            },
            step if (-CANDIDATE_LATE_MAX..=0).contains(&step) => Self { last: now, ..self },
            _ => Self {
                held_since: self.held_since,
                ..Self::new(now, self.from, proof)
            },
        }
    }

    fn is_proven(&self, now: Micros, pace: LearnPace) -> bool {
        let elapsed_us = now.since(self.proof_since);
        self.count >= PROOF_PACKETS_MIN
            && match pace {
                LearnPace::Off => false,
                LearnPace::Immediate => true,
                LearnPace::Heuristic => {
                    self.count >= PROOF_PACKETS || elapsed_us >= PROOF_HEURISTIC_US
                }
                LearnPace::Delayed => elapsed_us >= PROOF_DELAYED_US,
            }
    }
}

/// Whether an address that is not the SDP's may be learned at all.
fn is_eligible(remote: &Remote, from: SocketAddr) -> bool {
    let learn = &remote.learn;
    if learn.pace == LearnPace::Off {
        return false;
    }
    let Some(sdp) = remote.rtp else {
        return learn.anyone;
    };
    learn.anyone || from.ip() == sdp.ip() || learn.likely == Some(from.ip())
}

/// FNV-1a of an address. A collision costs one event, never a decision.
fn fingerprint(from: SocketAddr) -> u32 {
    let fold = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = from
        .port()
        .to_be_bytes()
        .into_iter()
        .fold(0x811c_9dc5, fold);
    match from {
        SocketAddr::V4(from) => from.ip().octets().into_iter().fold(hash, fold),
        SocketAddr::V6(from) => from.ip().octets().into_iter().fold(hash, fold),
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::Learn;
    use super::*;

    const MS: u64 = 1_000;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn sdp() -> SocketAddr {
        addr("192.0.2.1:4000")
    }

    fn remote(pace: LearnPace) -> Remote {
        let learn = Learn {
            pace,
            likely: None,
            anyone: false,
            handover: false,
            asymmetric: false,
        };
        Remote {
            rtp: Some(sdp()),
            rtcp: Some(addr("192.0.2.1:4001")),
            mux: false,
            learn,
        }
    }

    fn rtp(seq: u16) -> Proof {
        Proof::Rtp {
            ssrc: 7,
            seq: SequenceNumber(seq),
            negotiated: true,
        }
    }

    fn latch(remote: &Remote) -> Latch {
        let mut latch = Latch::new();
        latch.remote_changed(None, remote);
        latch
    }

    /// Packets of one sequence, 20 ms apart from `at_ms` on, until the latch settles; how many.
    fn until_latched(latch: &mut Latch, remote: &Remote, from: SocketAddr, at_ms: u64) -> u16 {
        for n in 0..1_000u16 {
            let now = Micros((at_ms + 20 * u64::from(n)) * MS);
            match latch.judge(now, Some(remote), from, rtp(n.wrapping_add(65_530))) {
                Judgement::Latched { by_sdp: false } => return n + 1,
                Judgement::Candidate { .. } | Judgement::Refused { .. } => {}
                other => panic!("packet {n}: {other:?}"),
            }
        }
        0
    }

    #[test]
    fn sdp_address_latches_at_once_at_any_pace() {
        for pace in [
            LearnPace::Off,
            LearnPace::Immediate,
            LearnPace::Heuristic,
            LearnPace::Delayed,
        ] {
            let remote = remote(pace);
            let mut latch = latch(&remote);
            let first = latch.judge(Micros(0), Some(&remote), sdp(), rtp(1));
            assert_eq!(first, Judgement::Latched { by_sdp: true });
            assert_eq!(
                latch.judge(Micros(0), Some(&remote), sdp(), rtp(9)),
                Judgement::Source
            );
        }
    }

    #[test]
    fn without_sdp_nobody_is_accepted() {
        let mut latch = Latch::new();
        for n in 0..100 {
            let judgement = latch.judge(Micros(n * 20 * MS), None, sdp(), rtp(1));
            assert!(matches!(judgement, Judgement::Refused { .. }));
        }
    }

    #[test]
    fn each_pace_wants_its_packets() {
        let other_port = addr("192.0.2.1:4002");
        for (pace, packets) in [
            (LearnPace::Off, 0),
            (LearnPace::Immediate, 3),
            (LearnPace::Heuristic, 8),
            (LearnPace::Delayed, 151),
        ] {
            let remote = remote(pace);
            let mut latch = latch(&remote);
            assert_eq!(
                until_latched(&mut latch, &remote, other_port, 0),
                packets,
                "{pace:?}"
            );
            assert_eq!(latch.source(), (packets > 0).then_some(other_port));
            assert!(!latch.by_sdp());
        }
    }

    #[test]
    fn slow_sender_latches_after_a_second() {
        let remote = remote(LearnPace::Heuristic);
        let mut latch = latch(&remote);
        let from = addr("192.0.2.1:4002");
        for (n, at_ms) in [(0, 0), (1, 400), (2, 800)] {
            let judgement = latch.judge(Micros(at_ms * MS), Some(&remote), from, rtp(n));
            assert!(matches!(judgement, Judgement::Candidate { .. }), "{n}");
        }
        let last = latch.judge(Micros(1_000 * MS), Some(&remote), from, rtp(3));
        assert_eq!(last, Judgement::Latched { by_sdp: false });
    }

    #[test]
    fn only_eligible_addresses_become_candidates() {
        let strange = addr("203.0.113.9:4000");
        let mut remote = remote(LearnPace::Immediate);
        assert_eq!(until_latched(&mut latch(&remote), &remote, strange, 0), 0);
        remote.learn.likely = Some(strange.ip());
        assert_eq!(until_latched(&mut latch(&remote), &remote, strange, 0), 3);
        remote.learn.likely = None;
        remote.learn.anyone = true;
        assert_eq!(until_latched(&mut latch(&remote), &remote, strange, 0), 3);
        remote.rtp = None;
        assert_eq!(
            until_latched(&mut latch(&remote), &remote, strange, 0),
            3,
            "early media"
        );
        remote.learn.anyone = false;
        remote.learn.likely = Some(strange.ip());
        assert_eq!(
            until_latched(&mut latch(&remote), &remote, strange, 0),
            0,
            "no SDP, no media"
        );
    }

    #[test]
    fn proof_restarts_when_the_sequence_breaks() {
        let remote = remote(LearnPace::Immediate);
        let from = addr("192.0.2.1:4002");
        let last = |packets: &[(u32, u16, bool)]| {
            let mut latch = latch(&remote);
            let mut judgement = Judgement::Source;
            for &(ssrc, seq, negotiated) in packets {
                let proof = Proof::Rtp {
                    ssrc,
                    seq: SequenceNumber(seq),
                    negotiated,
                };
                judgement = latch.judge(Micros(0), Some(&remote), from, proof);
            }
            judgement
        };
        let latched = Judgement::Latched { by_sdp: false };
        let waits = Judgement::Candidate { new: false };
        assert_eq!(
            last(&[(1, 10, true), (1, 11, true), (1, 12, true)]),
            latched
        );
        assert_eq!(
            last(&[(1, 10, true), (1, 15, true), (1, 20, true)]),
            latched,
            "gap at limit"
        );
        assert_eq!(
            last(&[(1, 10, true), (1, 16, true), (1, 17, true)]),
            waits,
            "limit + 1"
        );
        assert_eq!(
            last(&[(1, 10, true), (1, 11, true), (2, 12, true)]),
            waits,
            "another SSRC"
        );
        assert_eq!(
            last(&[(1, 10, true), (1, 10, true), (1, 10, true)]),
            waits,
            "copies"
        );
        let late = [(1, 20, true), (1, 21, true), (1, 13, true), (1, 22, true)];
        assert_eq!(last(&late), latched, "a late packet does no harm");
        let older = [(1, 20, true), (1, 21, true), (1, 12, true), (1, 22, true)];
        assert_eq!(last(&older), waits, "one that is too late does");
        let refused = last(&[(1, 10, true), (1, 11, true), (1, 12, false)]);
        assert!(
            matches!(refused, Judgement::Refused { .. }),
            "payload type not negotiated"
        );
    }

    #[test]
    fn opaque_candidates_prove_by_count() {
        let remote = remote(LearnPace::Heuristic);
        let mut latch = latch(&remote);
        let from = addr("192.0.2.1:4002");
        let mut judge =
            |n: u64| latch.judge(Micros(n * 20 * MS), Some(&remote), from, Proof::Opaque);
        assert!((0..7).all(|n| matches!(judge(n), Judgement::Candidate { .. })));
        assert_eq!(judge(7), Judgement::Latched { by_sdp: false });
    }

    #[test]
    fn sdp_address_beats_a_candidate_and_a_latched_candidate() {
        let remote = remote(LearnPace::Heuristic);
        let from = addr("192.0.2.1:4002");
        for before in [4, 20] {
            let mut latch = latch(&remote);
            for n in 0..before {
                latch.judge(Micros(0), Some(&remote), from, rtp(n));
            }
            assert_eq!(latch.source().is_some(), before == 20);
            let won = latch.judge(Micros(1), Some(&remote), sdp(), rtp(500));
            assert_eq!(won, Judgement::Latched { by_sdp: true });
            assert_eq!(
                until_latched(&mut latch, &remote, from, 5_000),
                0,
                "window is closed"
            );
        }
    }

    #[test]
    fn noise_from_the_sdp_address_settles_nothing() {
        let remote = remote(LearnPace::Heuristic);
        let mut latch = latch(&remote);
        let judgement = latch.judge(Micros(0), Some(&remote), sdp(), Proof::None);
        assert!(matches!(judgement, Judgement::Refused { .. }));
        assert_eq!(latch.source(), None);
    }

    #[test]
    fn one_candidate_at_a_time_until_it_is_stale_or_too_slow() {
        let remote = remote(LearnPace::Heuristic);
        let (first, second) = (addr("192.0.2.1:4002"), addr("192.0.2.1:4004"));
        let mut slot = latch(&remote);
        slot.judge(Micros(0), Some(&remote), first, rtp(0));
        for n in 0..40 {
            let judgement = slot.judge(Micros(n * 20 * MS), Some(&remote), second, Proof::Opaque);
            assert_eq!(judgement, Judgement::Candidate { new: n == 0 });
        }
        assert_eq!(
            until_latched(&mut slot, &remote, second, 1_000),
            8,
            "the first was silent"
        );
        let mut slot = latch(&remote);
        for n in 0..=260u16 {
            // Never in sequence, never silent.
            slot.judge(
                Micros(u64::from(n) * 20 * MS),
                Some(&remote),
                first,
                rtp(n * 100),
            );
        }
        assert_eq!(until_latched(&mut slot, &remote, second, 10_300), 8);
    }

    #[test]
    fn handover_needs_the_flag_silence_and_a_proof() {
        let mut remote = remote(LearnPace::Heuristic);
        let from = addr("192.0.2.1:4002");
        let mut closed = latch(&remote);
        closed.judge(Micros(0), Some(&remote), sdp(), rtp(0));
        assert_eq!(until_latched(&mut closed, &remote, from, 10_000), 0);
        remote.learn.handover = true;
        let mut open = latch(&remote);
        open.judge(Micros(0), Some(&remote), sdp(), rtp(0));
        let early = open.judge(Micros(499 * MS), Some(&remote), from, rtp(0));
        assert!(matches!(early, Judgement::Refused { .. }));
        assert_eq!(until_latched(&mut open, &remote, from, 500), 8);
        let back = open.judge(Micros(2_000 * MS), Some(&remote), sdp(), rtp(77));
        assert_eq!(back, Judgement::Latched { by_sdp: true });
    }

    #[test]
    fn a_source_that_speaks_again_ends_the_handover() {
        let mut remote = remote(LearnPace::Heuristic);
        remote.learn.handover = true;
        let from = addr("192.0.2.1:4002");
        let mut latch = latch(&remote);
        latch.judge(Micros(0), Some(&remote), sdp(), rtp(0));
        for n in 0..7 {
            let judgement = latch.judge(Micros(600 * MS), Some(&remote), from, rtp(n));
            assert!(matches!(judgement, Judgement::Candidate { .. }));
        }
        latch.judge(Micros(700 * MS), Some(&remote), sdp(), rtp(1));
        let eighth = latch.judge(Micros(720 * MS), Some(&remote), from, rtp(7));
        assert!(matches!(eighth, Judgement::Refused { .. }));
    }

    #[test]
    fn same_address_keeps_the_latch_and_a_new_one_reopens_it() {
        let old = remote(LearnPace::Immediate);
        let mut latch = latch(&old);
        let from = addr("192.0.2.1:4002");
        assert_eq!(until_latched(&mut latch, &old, from, 0), 3);
        latch.remote_changed(Some(&old), &old);
        assert_eq!(latch.source(), Some(from));
        assert_eq!(latch.target(&old), Some(from));
        let hold = Remote { rtp: None, ..old };
        latch.remote_changed(Some(&old), &hold);
        assert_eq!(
            latch.target(&hold),
            None,
            "on hold by 0.0.0.0 nothing is sent"
        );
        assert_eq!(
            latch.judge(Micros(9), Some(&hold), from, rtp(9)),
            Judgement::Source
        );
        latch.remote_changed(Some(&hold), &old);
        assert_eq!(
            latch.source(),
            Some(from),
            "the same address as before the hold"
        );
        let new = Remote {
            rtp: Some(addr("198.51.100.7:4000")),
            ..old
        };
        latch.remote_changed(Some(&old), &new);
        assert_eq!(latch.source(), None);
        assert_eq!(latch.target(&new), new.rtp);
    }

    #[test]
    fn asymmetric_sends_to_the_sdp_address() {
        let mut remote = remote(LearnPace::Immediate);
        remote.learn.asymmetric = true;
        let mut latch = latch(&remote);
        let from = addr("192.0.2.1:4002");
        assert_eq!(until_latched(&mut latch, &remote, from, 0), 3);
        assert_eq!(latch.target(&remote), Some(sdp()));
        assert!(latch.admits_rtcp(Micros(0), Some(&remote), addr("192.0.2.1:4003")));
        assert_eq!(latch.rtcp_target(&remote), remote.rtcp);
    }

    #[test]
    fn rtcp_follows_rtp_and_never_leads_it() {
        let mut remote = remote(LearnPace::Immediate);
        remote.learn.likely = Some(addr("203.0.113.9:0").ip());
        let (nat_rtp, nat_rtcp) = (addr("203.0.113.9:7000"), addr("203.0.113.9:7001"));
        let mut latch = latch(&remote);
        assert!(!latch.admits_rtcp(Micros(0), Some(&remote), nat_rtcp));
        assert!(latch.admits_rtcp(Micros(0), Some(&remote), remote.rtcp.unwrap()));
        assert_eq!(latch.source(), None);
        until_latched(&mut latch, &remote, nat_rtp, 0);
        assert_eq!(latch.rtcp_target(&remote), remote.rtcp);
        assert!(latch.admits_rtcp(Micros(0), Some(&remote), nat_rtcp));
        assert_eq!(latch.rtcp_target(&remote), Some(nat_rtcp));
        let third = addr("203.0.113.9:7003");
        assert!(!latch.admits_rtcp(Micros(RTCP_STALE_US - 1), Some(&remote), third));
        assert!(latch.admits_rtcp(Micros(RTCP_STALE_US), Some(&remote), third));
        assert!(!latch.admits_rtcp(Micros(0), Some(&remote), addr("198.51.100.1:7001")));
        assert!(!latch.admits_rtcp(Micros(0), None, nat_rtcp));
    }

    #[test]
    fn strangers_are_reported_once_and_bounded() {
        let remote = remote(LearnPace::Heuristic);
        let mut latch = latch(&remote);
        latch.judge(Micros(0), Some(&remote), sdp(), rtp(0));
        let mut events = 0;
        for port in 1..=STRANGERS_MAX + 1 {
            let from = SocketAddr::new(addr("203.0.113.9:0").ip(), u16::try_from(port).unwrap());
            for _ in 0..3 {
                let judgement = latch.judge(Micros(0), Some(&remote), from, rtp(0));
                events += usize::from(judgement == Judgement::Refused { new: true });
            }
        }
        assert_eq!(events, STRANGERS_MAX);
    }
}
