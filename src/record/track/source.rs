//! Whatever senders number, as one order and one time.
//!
//! Sequence numbers and timestamps wrap, stop and start anew. Here each packet gets an order key
//! that does neither, and a media time in samples of the recording. Media time is the sender's
//! clock; how far the recording's is ahead of it, the *shift*, follows the fastest packets slowly
//! ([`Envelope`]). Where a timestamp disagrees with the arrival by more than the network can
//! explain, a new *relation* between the two begins, at the arrival.

use super::envelope::Envelope;
use crate::wire::seq::{RtpTimestamp, SequenceNumber};

/// Largest step forward of a sequence number that is loss and not a restart (RFC 3550 A.1).
const DROPOUT_MAX: i16 = 3_000;

/// Largest step backward that is reordering and not a restart (RFC 3550 A.1).
const MISORDER_MAX: i16 = 100;

/// An overtaken packet that comes so many seconds behind its moment is too late, whenever the
/// recording is read: the settling time, and a look at the tape.
const OVERTAKEN_S_MAX: f64 = 0.25;

/// So many old packets in a row, each after the other, are a sender that started anew.
const BEHIND_MAX: u8 = 8;

/// Between the keys of two sources: more than any reordering.
const SOURCE_KEYS: i64 = 1 << 17;

/// A timestamp that disagrees by more with the arrival, in seconds, counts other than before. More
/// than the jitter that the settling time lets pass for a packet of 100 ms, and less than a hold
/// or a restart.
const DISAGREE_S: f64 = 0.1;

/// After so long without a packet one that disagrees is believed at once: nothing can have been
/// held up for so long and then be alone. Before, later ones must say the same for as long as
/// `BELIEVE_S`.
const QUIET_S: f64 = 0.5;
const BELIEVE_S: f64 = 1.0;

/// Longest packet in seconds, and how long one is until it is known.
const FRAME_S_MAX: f64 = 0.24;
const FRAME_S: f64 = 0.02;

/// What identifies a packet on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) ssrc: u32,
    pub(super) seq: SequenceNumber,
    pub(super) timestamp: RtpTimestamp,
    /// `None`: its timestamp says nothing about when it was sent, as that of an event.
    pub(super) clock_hz: Option<u32>,
}

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) key: i64,
    pub(super) source: u32,
    pub(super) relation: u32,
    /// Media time in samples of the recording.
    pub(super) media: f64,
    /// A relation ended: packets of it that wait are shifted by this for good.
    pub(super) ended: Option<(u32, f64)>,
    /// It was overtaken, and nobody has waited for it.
    pub(super) missed: bool,
}

/// The packet with the highest key.
#[derive(Clone, Copy, Debug)]
struct Newest {
    ssrc: u32,
    seq: SequenceNumber,
    key: i64,
    at_s: f64,
}

/// A timestamp and its media time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    timestamp: RtpTimestamp,
    clock_hz: u32,
    media: f64,
    key: i64,
}

/// The sender or senders of a track.
#[derive(Debug)]
pub(super) struct Source {
    rate_hz: f64,
    newest: Option<Newest>,
    mark: Option<Mark>,
    /// Length of a packet in samples of the recording.
    frame: f64,
    /// A sequence number that would confirm a jump.
    confirm: Option<SequenceNumber>,
    /// The old packet that would go on a row of them, and the row's length.
    behind: (SequenceNumber, u8),
    sources: u32,
    relation: u32,
    envelope: Option<Envelope>,
    /// Since when packets are later than they should be.
    late_since: Option<f64>,
    /// Recording's time less media time, in samples.
    shift: f64,
    /// A packet stands where this shift says: from now on it only slides.
    settled: bool,
}

impl Source {
    pub(super) fn new(rate_hz: u32) -> Self {
        let rate_hz = f64::from(rate_hz);
        Self {
            rate_hz,
            newest: None,
            mark: None,
            frame: FRAME_S * rate_hz,
            confirm: None,
            behind: (SequenceNumber(0), 0),
            sources: 0,
            relation: 0,
            envelope: None,
            late_since: None,
            shift: 0.0,
            settled: false,
        }
    }

    /// Places a packet that came now; `None`: its numbers fit nothing.
    pub(super) fn place(&mut self, at_s: f64, stamp: Stamp) -> Option<Place> {
        let Some(newest) = self.newest else {
            return Some(self.begin(at_s, stamp, 0));
        };
        let step = stamp.seq.ahead_of(newest.seq);
        let starts_anew = stamp.ssrc != newest.ssrc
            || match (-MISORDER_MAX..=DROPOUT_MAX).contains(&step) {
                false if self.confirm.replace(stamp.seq.next()) != Some(stamp.seq) => return None,
                in_order => !in_order || self.is_row_behind(stamp.seq, step),
            };
        if starts_anew {
            self.sources += 1;
            return Some(self.begin(at_s, stamp, newest.key + SOURCE_KEYS));
        }
        self.confirm = None;
        let key = newest.key + i64::from(step);
        let (media, ended) = match stamp.clock_hz {
            Some(clock_hz) => self.time(at_s, stamp.timestamp, clock_hz, key)?,
            None => (self.mark.map_or(0.0, |mark| mark.media), None),
        };
        if step > 0 {
            self.newest = Some(Newest {
                ssrc: stamp.ssrc,
                seq: stamp.seq,
                key,
                at_s,
            });
        }
        let position = self.position(self.relation, media);
        let missed = step < 0 && at_s - position / self.rate_hz > OVERTAKEN_S_MAX;
        Some(Place {
            missed,
            ..self.placed(key, media, ended)
        })
    }

    /// Where media time of a relation stands in the recording, in samples.
    pub(super) fn position(&self, relation: u32, media: f64) -> f64 {
        match relation == self.relation {
            true => media + self.shift,
            false => media,
        }
    }

    /// Samples by which a packet that came `at_s` should stand later than the shift says; 0 for
    /// other relations than the latest.
    pub(super) fn error(&self, relation: u32, at_s: f64) -> f64 {
        let envelope = self.envelope.as_ref().filter(|_| relation == self.relation);
        envelope.map_or(0.0, |envelope| {
            envelope.at(at_s) * self.rate_hz - self.shift
        })
    }

    /// Media time of a relation does stand there: at so many samples of the recording.
    pub(super) fn settle(&mut self, relation: u32, media: f64, position: f64) {
        if relation == self.relation {
            self.shift = position - media;
            self.settled = true;
        }
    }

    /// Whether sound of a relation stands somewhere already.
    pub(super) fn is_settled(&self, relation: u32) -> bool {
        relation != self.relation || self.settled
    }

    /// Length of a packet in samples of the recording, as far as known.
    pub(super) fn frame(&self) -> f64 {
        self.frame
    }

    /// Senders after the first.
    pub(super) fn changes(&self) -> u32 {
        self.sources
    }

    /// Parts per million by which the sender's clock is too fast.
    pub(super) fn drift_ppm(&self) -> f64 {
        -1e6 * self.envelope.as_ref().map_or(0.0, Envelope::slope)
    }

    /// Media time of a packet of the source that is known.
    fn time(
        &mut self,
        at_s: f64,
        timestamp: RtpTimestamp,
        clock_hz: u32,
        key: i64,
    ) -> Option<(f64, Option<(u32, f64)>)> {
        let Some(mark) = self.mark else {
            return Some(self.relate(at_s, timestamp, clock_hz, key, 0.0));
        };
        let forward = key > mark.key;
        let ratio = self.rate_hz / f64::from(clock_hz);
        let ticks = timestamp.ahead_of(mark.timestamp);
        let same_clock = mark.clock_hz == clock_hz;
        let media = match same_clock {
            true => mark.media + f64::from(ticks) * ratio,
            // Timestamps of two clocks have nothing in common: its number is what is known.
            false => mark.media + self.frame * float(key - mark.key),
        };
        let transit = at_s - media / self.rate_hz;
        let late = transit - self.envelope.as_ref().map_or(transit, |e| e.at(at_s));
        if !forward {
            return (late > -DISAGREE_S).then_some((media, None));
        }
        // Between two clocks numbers tell nothing of a pause.
        let unknown = !same_clock || ticks <= 0;
        if self.is_other(at_s, late, unknown) {
            let slope = self.envelope.as_ref().map_or(0.0, Envelope::slope);
            return Some(self.relate(at_s, timestamp, clock_hz, key, slope));
        }
        let frame = f64::from(ticks) * ratio;
        let usual = 0.0..=FRAME_S_MAX * self.rate_hz;
        if same_clock && key == mark.key + 1 && usual.contains(&frame) {
            self.frame = frame.max(1.0);
        }
        self.mark = Some(Mark {
            timestamp,
            clock_hz,
            media,
            key,
        });
        if let Some(envelope) = &mut self.envelope {
            envelope.heard(at_s, transit);
            if !self.settled {
                self.shift = envelope.at(at_s) * self.rate_hz;
            }
        }
        Some((media, None))
    }

    /// Whether a packet so much later than the fastest has another origin of its timestamp;
    /// `unknown`: nothing says that it has the same one.
    fn is_other(&mut self, at_s: f64, late: f64, unknown: bool) -> bool {
        if late <= DISAGREE_S {
            self.late_since = None;
            return late < -DISAGREE_S;
        }
        let since = *self.late_since.get_or_insert(at_s);
        let quiet = self
            .newest
            .is_none_or(|newest| at_s - newest.at_s >= QUIET_S);
        quiet || unknown || at_s - since >= BELIEVE_S
    }

    fn is_row_behind(&mut self, seq: SequenceNumber, step: i16) -> bool {
        let row = if self.behind.0 == seq {
            self.behind.1
        } else {
            0
        };
        self.behind = (seq.next(), if step < 0 { row + 1 } else { 0 });
        self.behind.1 >= BEHIND_MAX
    }

    /// Another sender begins.
    fn begin(&mut self, at_s: f64, stamp: Stamp, key: i64) -> Place {
        self.confirm = None;
        self.behind.1 = 0;
        self.newest = Some(Newest {
            ssrc: stamp.ssrc,
            seq: stamp.seq,
            key,
            at_s,
        });
        self.mark = None;
        let (media, ended) = match stamp.clock_hz {
            Some(clock_hz) => self.relate(at_s, stamp.timestamp, clock_hz, key, 0.0),
            None => (at_s * self.rate_hz - self.shift, None),
        };
        self.placed(key, media, ended)
    }

    /// Media time begins anew with a packet: as if it had taken no time.
    fn relate(
        &mut self,
        at_s: f64,
        timestamp: RtpTimestamp,
        clock_hz: u32,
        key: i64,
        slope: f64,
    ) -> (f64, Option<(u32, f64)>) {
        let ended = (self.relation, self.shift);
        self.relation = self.relation.wrapping_add(1);
        (self.shift, self.settled, self.late_since) = (0.0, false, None);
        let media = at_s * self.rate_hz;
        self.mark = Some(Mark {
            timestamp,
            clock_hz,
            media,
            key,
        });
        self.envelope = Some(Envelope::new(at_s, 0.0, slope));
        (media, Some(ended))
    }

    fn placed(&self, key: i64, media: f64, ended: Option<(u32, f64)>) -> Place {
        Place {
            key,
            source: self.sources,
            relation: self.relation,
            media,
            ended,
            missed: false,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a few thousand packets at most")]
fn float(packets: i64) -> f64 {
    packets as f64
}
