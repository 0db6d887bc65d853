//! One stream: a party's `m=` line with its ports, source, statistics and what it receives.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::api::{
    Component, DropReason, LegIx, Payload, PayloadType, PortHandle, Privacy, Remote, StreamConfig,
    StreamIx, StreamReport, Traffic, Verdict,
};
use super::call::{Gathering, Recorded, Repressing};
use super::digits::{Digits, DigitsConfig, EventName, EventType, Keys, MaskMode, Masked};
use super::egress::Egress;
use super::fork::{Branch, Law};
use super::latch::Latch;
use super::playout::PlayoutStats;
use super::stats::Sources;
use super::tap::{Listening, Taps};
use super::time::{Micros, low32};
use super::voice::{PlayReport, Via, VoiceState, rate_of};
use crate::audio::progress::Progress;
use crate::wire::rtcp::ReportBlock;

/// While a listener has no chosen source, the one it hears keeps the floor until it was silent
/// for this long.
pub(super) const HEARD_HOLD_US: u64 = 1_000_000;

/// Sender reports that are remembered per listener for round-trip times.
const SENDER_REPORTS_MAX: usize = 4;

/// Static payload type of comfort noise (RFC 3389), and the one it had before.
const COMFORT_NOISE: [u8; 2] = [13, 19];

/// First dynamic payload type (RFC 3551 §6).
const DYNAMIC_PT_MIN: u8 = 96;

/// All there is to know of one stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ix: StreamIx,
    pub(super) config: StreamConfig,
    /// The seed and the leg from which CNAME and NTP time of our own RTCP are made: of the call in
    /// which it was opened, whatever call it is in now.
    pub(super) identity: (u64, LegIx),
    /// Its audio, decoded and made here; `None` where packets only pass.
    pub(super) voice: Option<Box<VoiceState>>,
    /// What of its keys is to be heard by command.
    pub(super) digits_asked: DigitsConfig,
    /// Who listens to its keys; `None` where nobody does.
    pub(super) digits: Option<Box<Digits>>,
    pub(super) ports: [Option<PortHandle>; 2],
    pub(super) remote: Option<Remote>,
    pub(super) latch: Latch,
    pub(super) sources: Sources,
    pub(super) egress: Egress,
    pub(super) types: Types,
    pub(super) to: Option<StreamIx>,
    /// What others get of its keys; `None`: all.
    pub(super) mask: Option<Box<Masked>>,
    /// Who listens to it besides.
    pub(super) taps: Option<Box<Taps>>,
    /// The tracks of recordings that it is on.
    pub(super) recorded: Option<Box<Recorded>>,
    /// As one that only listens: to whom.
    pub(super) listens: Option<Box<Listening>>,
    /// The source chosen by command.
    pub(super) chosen: Option<StreamIx>,
    /// Without a choice: how one is made.
    pub(super) floor: Floor,
    /// Without a choice: the stream heard now.
    pub(super) heard: Option<Heard>,
    /// What it is as a branch, while its listener has chosen none.
    pub(super) branch: Option<Box<Branch>>,
    /// What it last sent as a branch.
    pub(super) progress: Option<Progress>,
    /// Its keys that are pressed anew for others.
    pub(super) represses: Option<Box<Repressing>>,
    /// The latest telephone-event that passed to it.
    pub(super) event_passed: Option<EventName>,
    /// Keys on their way to it.
    pub(super) keys: Option<Box<Keys>>,
    /// What its party is asked to press.
    pub(super) gather: Option<Box<Gathering>>,
    pub(super) flags: Flags,
    pub(super) rtp_in: Traffic,
    pub(super) rtcp_in: Traffic,
    pub(super) rtp_out: Traffic,
    pub(super) rtcp_out: Traffic,
    pub(super) drops: [u32; DropReason::ALL.len()],
    pub(super) rejected: u64,
    pub(super) first_packet: Option<Micros>,
    pub(super) last_packet: Micros,
    pub(super) last_rtcp: Option<Micros>,
    pub(super) pt: Option<u8>,
    pub(super) pt_changes: u32,
    /// Presses of its party that were too many to be told.
    pub(super) presses_ignored: u32,
    pub(super) rtt_us: Option<u32>,
    sender_reports: [(u32, Micros); SENDER_REPORTS_MAX],
    sender_reports_next: u8,
    /// When our next own report is due.
    pub(super) report_at: Micros,
    /// From when on the RTP port may be pinned.
    pub(super) pin_at: Micros,
}

/// Who has the floor of a listener that hears several and has chosen none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    /// Who spoke first.
    First,
    /// Who began last.
    Latest,
    /// Everybody.
    All,
    /// Nobody.
    Nobody,
}

/// Who has the floor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) stream: StreamIx,
    /// When it last was heard.
    pub(super) at: Micros,
    /// It carries nothing that one could hear.
    pub(super) silent: bool,
}

/// Who asks for the floor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    /// It had nothing to say until this packet.
    pub(super) begins: bool,
    /// It is known to carry nothing that one could hear.
    pub(super) silent: bool,
}

/// The stream's switches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags {
    pub(super) sends: bool,
    pub(super) receives: bool,
    pub(super) blocked: bool,
    pub(super) silenced: bool,
    pub(super) closed: bool,
    pub(super) stalled: bool,
    pub(super) bye_logged: bool,
    pub(super) report_due: bool,
    /// What the driver was told, and what it should be told.
    pub(super) pinned: bool,
    pub(super) pin_wanted: bool,
    /// We make what its party hears: it has a mouth, or a seat in a bridge.
    pub(super) speaks: bool,
    /// It has branches and has chosen none.
    pub(super) forks: bool,
    /// What it hears of its branches was commanded.
    pub(super) early_media: bool,
    /// Its telephone-events are looked at before they are relayed: there is a `mask`.
    pub(super) masks: bool,
    /// What it says is decoded, so that keys in it are not heard either.
    pub(super) veiled: bool,
    /// Somebody listens to it: there are `taps`.
    pub(super) tapped: bool,
    /// What its party says is recorded.
    pub(super) said_taped: bool,
    /// What its party is sent is recorded.
    pub(super) sent_taped: bool,
    /// It only listens, or did: what its party sends is nobody's.
    pub(super) listens: bool,
    /// Somebody listens to its keys: there are `digits`.
    pub(super) digits: bool,
    /// It is sent telephone-events of our own, and nothing else.
    pub(super) keyed: bool,
}

impl Stream {
    pub(super) fn new(ix: StreamIx, config: StreamConfig, seed: u64) -> Self {
        Self {
            ix,
            identity: (seed, config.leg),
            config,
            voice: None,
            digits_asked: DigitsConfig::default(),
            digits: None,
            ports: [None; 2],
            remote: None,
            latch: Latch::new(),
            sources: Sources::default(),
            egress: Egress::new(),
            types: Types::default(),
            to: None,
            mask: None,
            taps: None,
            recorded: None,
            listens: None,
            chosen: None,
            floor: Floor::First,
            heard: None,
            branch: None,
            progress: None,
            represses: None,
            event_passed: None,
            keys: None,
            gather: None,
            flags: Flags {
                sends: true,
                receives: true,
                blocked: false,
                silenced: false,
                closed: false,
                stalled: false,
                bye_logged: false,
                report_due: false,
                pinned: false,
                pin_wanted: false,
                speaks: false,
                forks: false,
                early_media: false,
                masks: false,
                veiled: false,
                tapped: false,
                said_taped: false,
                sent_taped: false,
                listens: false,
                digits: false,
                keyed: false,
            },
            rtp_in: Traffic::default(),
            rtcp_in: Traffic::default(),
            rtp_out: Traffic::default(),
            rtcp_out: Traffic::default(),
            drops: [0; DropReason::ALL.len()],
            rejected: 0,
            first_packet: None,
            last_packet: Micros::ZERO,
            last_rtcp: None,
            pt: None,
            pt_changes: 0,
            presses_ignored: 0,
            rtt_us: None,
            sender_reports: [(0, Micros::ZERO); SENDER_REPORTS_MAX],
            sender_reports_next: 0,
            report_at: Micros::NEVER,
            pin_at: Micros::NEVER,
        }
    }

    /// What is drawn for this stream at one moment, and not out of the call's own sequence: so that
    /// who only listens, and what another call brings in, changes nothing of what others get.
    pub(super) fn lot(&self, now: Micros) -> fastrand::Rng {
        let (seed, leg) = self.identity;
        let line = u64::from(leg.0) << 8 | u64::from(self.config.media);
        let line = (line + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        fastrand::Rng::with_seed(seed ^ line ^ now.0.rotate_left(32))
    }

    /// Counts a refusal.
    pub(super) fn refuse(&mut self, reason: DropReason) -> Verdict {
        let count = &mut self.drops[reason as usize];
        *count = count.saturating_add(1);
        if reason == DropReason::LatchRejected {
            self.rejected += 1;
        }
        Verdict::Drop(reason)
    }

    pub(super) fn is_masked(&self) -> bool {
        self.config.privacy == Privacy::Masked
    }

    /// Whether RTCP towards this party is ours alone.
    pub(super) fn makes_rtcp(&self) -> bool {
        let apart = self.flags.listens || self.to == Some(self.ix);
        self.config.payload == Payload::Rtp
            && (self.config.own_rtcp || self.is_masked() || self.flags.speaks || apart)
    }

    /// Port and destination of RTP towards the party.
    #[inline]
    pub(super) fn rtp_target(&self) -> Option<(PortHandle, SocketAddr)> {
        let to = self
            .remote
            .as_ref()
            .and_then(|remote| self.latch.target(remote))?;
        Some((self.ports[Component::Rtp as usize]?, to))
    }

    /// Port and destination of RTCP towards the party.
    pub(super) fn rtcp_target(&self) -> Option<(PortHandle, SocketAddr)> {
        let remote = self.remote.as_ref()?;
        if remote.mux {
            return self.rtp_target();
        }
        let to = self.latch.rtcp_target(remote)?;
        Some((self.ports[Component::Rtcp as usize]?, to))
    }

    /// Whether this listener hears `source` now. Sound comes before silence, then the policy.
    #[inline]
    pub(super) fn hears(&mut self, now: Micros, source: StreamIx, claim: Claim) -> bool {
        if let Some(chosen) = self.chosen {
            return chosen == source;
        }
        let other = self
            .heard
            .filter(|heard| heard.stream != source && now.since(heard.at) < HEARD_HOLD_US);
        let yields = |heard: Heard| match self.floor {
            Floor::Latest if claim.begins => heard.silent || !claim.silent,
            _ => heard.silent && !claim.silent,
        };
        let hears = match self.floor {
            Floor::First | Floor::Latest => other.is_none_or(yields),
            Floor::All => return true,
            Floor::Nobody => return false,
        };
        if hears {
            self.heard = Some(Heard {
                stream: source,
                at: now,
                silent: claim.silent,
            });
        }
        hears
    }

    /// Several branches are heard together, so that they must be decoded.
    #[inline]
    pub(super) fn mixes_branches(&self) -> bool {
        self.floor == Floor::All && self.chosen.is_none()
    }

    /// Whether a payload of its party passes an ear before anybody hears it, because of its mask.
    #[inline]
    pub(super) fn veils(&self, pt: u8) -> bool {
        let voice = self.voice.as_ref().filter(|_| self.flags.veiled);
        voice.is_some_and(|voice| rate_of(&voice.config, pt).is_some())
    }

    /// As [`Self::veils`], for those who only listen.
    #[inline]
    pub(super) fn veils_copies(&self, pt: u8) -> bool {
        self.veils_from_all() && self.veils(pt)
    }

    /// Whether keys in what its party says are hidden from everybody, whoever listens.
    #[inline]
    pub(super) fn veils_from_all(&self) -> bool {
        let masked = self.mask.as_ref().filter(|_| self.flags.veiled);
        masked.is_some_and(|masked| masked.mode != MaskMode::Convert)
    }

    /// How a payload type can be listened to as it arrives.
    pub(super) fn law(&self, kind: &PayloadType) -> Option<Law> {
        let voice = self.voice.as_ref();
        let heard = voice.map(|voice| &voice.config.hears).into_iter().flatten();
        if let Some(heard) = heard.into_iter().find(|heard| heard.pt == kind.pt) {
            return Law::of(heard.codec.kind);
        }
        match (kind.silence, kind.pt) {
            _ if kind.event || kind.clock_hz != 8_000 => None,
            (Some(0xff), _) | (None, 0) => Some(Law::Ulaw),
            (Some(0xd5), _) | (None, 8) => Some(Law::Alaw),
            _ => None,
        }
    }

    /// As [`Stream::hears`], for RTCP, which claims nothing.
    pub(super) fn hears_reports(&self, source: StreamIx) -> bool {
        self.chosen
            .or_else(|| self.heard.map(|heard| heard.stream))
            .is_none_or(|heard| heard == source)
    }

    /// Whether the RTP port may be narrowed to its peer: the SDP's own address speaks, nobody
    /// else must be able to win, and RTCP does not arrive here from elsewhere.
    pub(super) fn may_pin(&self) -> bool {
        let Some(remote) = &self.remote else {
            return false;
        };
        let rtcp_elsewhere = remote.mux
            || self.ports[Component::Rtcp as usize].is_some()
            || self.config.payload == Payload::Opaque;
        !self.flags.closed
            && self.latch.by_sdp()
            && !remote.learn.handover
            && self.latch.target(remote) == self.latch.source()
            && self.ports[Component::Rtp as usize].is_some()
            && rtcp_elsewhere
    }

    /// Remembers that an SR with this `middle` NTP time went out to the party.
    pub(super) fn sent_sender_report(&mut self, now: Micros, middle: u32) {
        let next = usize::from(self.sender_reports_next) % SENDER_REPORTS_MAX;
        self.sender_reports[next] = (middle, now);
        self.sender_reports_next = self.sender_reports_next.wrapping_add(1);
    }

    /// Takes the round-trip time from a report of the party (RFC 3550 §6.4.1, DLSR).
    pub(super) fn observe_report(&mut self, now: Micros, block: &ReportBlock) {
        if block.last_sr == 0 {
            return;
        }
        let sent = self
            .sender_reports
            .iter()
            .find(|(middle, _)| *middle == block.last_sr);
        let delay_us = (u64::from(block.delay_since_last_sr) * 1_000_000) >> 16;
        if let Some(rtt) = sent.and_then(|(_, at)| now.since(*at).checked_sub(delay_us)) {
            self.rtt_us = Some(u32::try_from(rtt).unwrap_or(u32::MAX));
        }
    }

    /// Lets the encoder know how much of it the party loses (RFC 3550 §6.4.1, in 256ths).
    pub(super) fn observe_loss(&mut self, fraction_lost: u8) {
        let permille = u16::from(fraction_lost) * 125 / 32;
        let voice = self.voice.as_mut();
        if let Some(mouth) = voice.and_then(|voice| voice.mouth.as_mut()) {
            mouth.set_loss(permille);
        }
    }

    /// Notes the payload type of an accepted packet.
    #[inline]
    pub(super) fn observe_pt(&mut self, pt: u8, event: bool) {
        if self.pt == Some(pt)
            || event
            || COMFORT_NOISE.contains(&pt)
            || self.types.translate(pt).is_none()
        {
            return;
        }
        if self.pt.replace(pt).is_some() {
            self.pt_changes = self.pt_changes.saturating_add(1);
        }
    }

    fn playout(&self) -> Option<PlayoutStats> {
        let ear = self.voice.as_ref()?.ear.as_ref()?;
        Some(ear.stats())
    }

    pub(super) fn report(&self, epoch: Instant) -> StreamReport {
        let seen = self.first_packet.is_some();
        StreamReport {
            leg: self.config.leg,
            media: self.config.media,
            rtp_in: self.rtp_in,
            rtcp_in: self.rtcp_in,
            rtp_out: self.rtp_out,
            rtcp_out: self.rtcp_out,
            rejected: self.rejected,
            latched: self.latch.source(),
            latched_by_sdp: self.latch.by_sdp(),
            remote: self.remote.and_then(|remote| remote.rtp),
            first_packet: self.first_packet.map(|at| at.instant(epoch)),
            last_packet: seen.then(|| self.last_packet.instant(epoch)),
            last_rtcp: self.last_rtcp.map(|at| at.instant(epoch)),
            ssrc_changes: self.sources.ssrc_changes,
            pt_changes: self.pt_changes,
            pt: self.pt,
            sources: self.sources.report(),
            ssrc_out: self.egress.started().then_some(self.egress.ssrc),
            rtt: self.rtt_us.map(|us| Duration::from_micros(us.into())),
            blocked: self.flags.blocked,
            silenced: self.flags.silenced,
            sends: self.flags.sends,
            receives: self.flags.receives,
            closed: self.flags.closed,
            drops: self.drops,
            playout: self.playout(),
            playing: self.playing(),
            presses_ignored: self.presses_ignored,
            progress: self.progress,
            hears: self.hears_now(),
        }
    }

    fn hears_now(&self) -> Option<StreamIx> {
        let listens = || self.listens.as_ref().and_then(|listening| listening.source);
        let heard = || self.heard.map(|heard| heard.stream);
        self.chosen.or_else(heard).or_else(listens)
    }

    fn playing(&self) -> Vec<PlayReport> {
        let mouth = self.voice.as_ref().and_then(|voice| voice.mouth.as_ref());
        mouth.map_or_else(Vec::new, |mouth| mouth.players.reports().collect())
    }
}

/// Adds one datagram.
#[inline]
pub(super) fn count(traffic: &mut Traffic, len: usize) {
    traffic.packets += 1;
    traffic.bytes += len as u64;
}

/// The payload types a party may send.
#[derive(Debug, Default)]
pub(super) struct Types {
    known: SmallVec<[PayloadType; 4]>,
    /// Bit n: some type leaves as n.
    outs: u128,
}

impl Types {
    pub(super) fn new(known: SmallVec<[PayloadType; 4]>) -> Self {
        let outs = known
            .iter()
            .fold(0, |outs, known| outs | 1 << (known.out & 0x7f));
        Self { known, outs }
    }

    /// Whether a candidate may prove itself with this type.
    pub(super) fn negotiated(&self, pt: u8) -> bool {
        if self.known.is_empty() {
            pt < DYNAMIC_PT_MIN
        } else {
            self.find(pt).is_some()
        }
    }

    /// What to do with a type: a static one that was not negotiated passes if the listener
    /// cannot take it for another.
    #[inline]
    pub(super) fn translate(&self, pt: u8) -> Option<PayloadType> {
        if let Some(known) = self.find(pt) {
            return Some(*known);
        }
        let passes = pt < DYNAMIC_PT_MIN && self.outs & 1 << pt == 0;
        passes.then(|| static_type(pt))
    }

    /// Clock and kind for the statistics, known or not.
    #[inline]
    pub(super) fn describe(&self, pt: u8) -> PayloadType {
        self.find(pt).copied().unwrap_or_else(|| static_type(pt))
    }

    /// The type, if it was negotiated.
    #[inline]
    pub(super) fn listed(&self, pt: u8) -> Option<PayloadType> {
        self.find(pt).copied()
    }

    /// Whether the party may send telephone-events.
    pub(super) fn has_events(&self) -> bool {
        self.known.iter().any(|known| known.event)
    }

    /// The party's own number for telephone-events at this clock.
    pub(super) fn event(&self, clock_hz: u32) -> Option<u8> {
        let mut known = self.known.iter();
        let event = known.find(|known| known.event && known.clock_hz == clock_hz);
        event.map(|event| event.pt)
    }

    /// The party's own telephone-event type.
    pub(super) fn event_kind(&self) -> Option<EventType> {
        let event = self.known.iter().find(|known| known.event)?;
        Some(EventType {
            pt: event.pt,
            clock_hz: event.clock_hz,
        })
    }

    #[inline]
    fn find(&self, pt: u8) -> Option<&PayloadType> {
        self.known.iter().find(|known| known.pt == pt)
    }
}

/// Clock rates of RFC 3551 tables 4 and 5; 8000 Hz for what is not there.
fn static_type(pt: u8) -> PayloadType {
    let clock_hz = match pt {
        6 => 16_000,
        10 | 11 => 44_100,
        16 => 11_025,
        17 => 22_050,
        14 | 25 | 26 | 28 | 31..=34 => 90_000,
        _ => 8_000,
    };
    PayloadType {
        pt,
        out: pt,
        clock_hz,
        silence: None,
        event: false,
        via: Via::Relay,
    }
}

/// Whether a type's timestamps follow its arrival.
#[inline]
pub(super) fn is_timed(kind: &PayloadType) -> bool {
    !kind.event && !COMFORT_NOISE.contains(&kind.pt)
}

/// The middle 32 bits of an NTP time (RFC 3550 §6.4.1, LSR).
pub(super) fn middle(ntp: u64) -> u32 {
    low32(ntp >> 16)
}
