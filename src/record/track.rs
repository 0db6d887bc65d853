//! One track: packets in, samples where they belong in time out.
//!
//! Sample `n` belongs to the moment `n / rate` since the tape's origin. A packet stands where its
//! timestamp says, in a time that follows the fastest packets of some seconds (`track/source.rs`,
//! `track/envelope.rs`): jitter moves nothing, and a sender's clock that is not ours is followed
//! by packets that are a sample longer or shorter (`track/warp.rs`). Sound is made when it is
//! asked for, [`SETTLE`] after its moment, when what was overtaken on the way is there and both
//! ends of a loss are known (`track/render.rs`).

mod envelope;
mod gap;
mod hush;
mod mask;
mod queue;
mod ready;
mod render;
mod slide;
mod source;
mod types;
mod voice;
mod warp;

use std::time::Duration;

use super::span::Span;
use crate::engine::{Taped, TrackKind, TrackType};
use crate::wire::rtp::RtpHeader;
use queue::Waiting;
pub use queue::{WAITING_BYTES_MAX, WAITING_MAX};
pub use ready::MARKS_MAX;
pub(super) use types::Types;
pub use voice::CONCEALED_MS_MAX;

use queue::What;
use render::Renderer;
use source::Stamp;

/// How long after its moment a sample is final: later packets are lost to the recording.
pub const SETTLE: Duration = Duration::from_millis(200);

/// RTP's clock where a payload type is not known.
const CLOCK_HZ: u32 = 8_000;

/// The flag of padding in an RTP header (RFC 3550 section 5.1).
const PADDING: u8 = 0x20;

/// What came, and what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrackStats {
    /// Packets of sound that were decoded.
    pub packets: u64,
    /// Packets that never came, or came later than [`SETTLE`].
    pub lost: u64,
    /// Of those, the ones that came too late.
    pub late: u64,
    /// Packets that nobody could decode.
    pub undecoded: u64,
    /// Sources (SSRC) after the first.
    pub ssrc_changes: u32,
    /// Latest estimate of the sender's clock against ours, in parts per million; positive: it is
    /// too fast.
    pub drift_ppm: f32,
    /// Names of the codecs that were heard, in order of their coming.
    pub codecs: Vec<String>,
}

/// One track.
///
/// Holds at most [`WAITING_MAX`] packets and [`WAITING_BYTES_MAX`] octets of payload, about a
/// packet of sound more than was read, and four decoders.
#[derive(Debug)]
pub struct Track {
    types: Types,
    renderer: Renderer,
}

impl Track {
    /// Of a recording at `rate_hz`, one of
    /// [`RECORDING_RATES_HZ`](super::config::RECORDING_RATES_HZ); silent until its first packet.
    #[must_use]
    pub fn new(rate_hz: u32) -> Self {
        Self {
            types: Types::default(),
            renderer: Renderer::new(rate_hz),
        }
    }

    /// What payload types mean from now on; numbers that are not among them keep their meaning.
    /// Decoders of types that stay, stay.
    pub fn set_types(&mut self, types: &[TrackType]) {
        self.types.agree(types);
        self.renderer.keep(|kind| {
            let same = |known: &TrackType| known.kind == TrackKind::Sound(kind);
            types.iter().any(same)
        });
    }

    /// Somebody else is on it from now on: no payload type means anything until it is said.
    pub fn forget_types(&mut self) {
        self.types.forget();
    }

    /// A packet of the tape; times do not go back.
    pub fn packet(&mut self, taped: Taped<'_>) {
        let is_bare = taped.event || taped.silenced;
        if is_bare && let Some(flags) = taped.rtp.first_mut() {
            // Its padding went with its payload.
            *flags &= !PADDING;
        }
        let Ok(header) = RtpHeader::parse(taped.rtp) else {
            self.renderer.stats.undecoded += 1;
            return;
        };
        let payload = match is_bare {
            true => &[],
            false => &taped.rtp[header.payload_start..header.payload_end],
        };
        let (what, clock_hz) = self.meaning(header.pt);
        let what = match what {
            _ if taped.event => What::Nothing,
            _ if taped.silenced => What::Silence,
            _ if payload.is_empty() => What::Nothing,
            what => what,
        };
        let stamp = Stamp {
            ssrc: header.ssrc,
            seq: header.seq,
            timestamp: header.timestamp,
            // An event's timestamp is that of its beginning.
            clock_hz: (!taped.event).then_some(clock_hz),
        };
        let at_s = taped.at.as_secs_f64();
        let Some(place) = self.renderer.source.place(at_s, stamp) else {
            return;
        };
        if place.missed {
            self.renderer.stats.late += 1;
            return;
        }
        let packet = Waiting {
            key: place.key,
            source: place.source,
            relation: place.relation,
            media: place.media,
            at_s,
            what,
            veiled: taped.veiled,
            payload: Vec::new(),
        };
        self.renderer.packet(packet, payload, place.ended);
    }

    /// Packets that did not fit on the tape, of whatever track.
    pub fn overrun(&mut self, from: Duration, until: Duration) {
        self.renderer.overrun(from, until);
    }

    /// The next samples, one after the other from the recording's beginning. Asked for when they
    /// are final: the last one's moment is [`SETTLE`] ago, or nothing more will come. Spans are
    /// told once they are over, or `out` ends within them; the next piece is then adjacent. Whose
    /// they are is left out: the caller knows.
    ///
    /// A stretch in which nothing came for longer than [`SETTLE`] is told as `Silent`; if the next
    /// packet shows that some are missing, it is told again, as `Lost`.
    pub fn read(&mut self, out: &mut [i16], spans: &mut Vec<Span>) {
        self.renderer.read(out, spans);
    }

    /// What came until now.
    #[must_use]
    pub fn stats(&self) -> &TrackStats {
        &self.renderer.stats
    }

    /// What a payload type carries, and its clock.
    fn meaning(&self, pt: u8) -> (What, u32) {
        match self.types.kind(pt) {
            Some(TrackKind::Sound(kind)) => (What::Sound(kind), kind.clock_hz().max(1)),
            Some(TrackKind::Noise { clock_hz }) => (What::Noise(clock_hz), clock_hz.max(1)),
            Some(TrackKind::Opaque { clock_hz }) => (What::Opaque, clock_hz.max(1)),
            None => (What::Opaque, CLOCK_HZ),
        }
    }
}

#[cfg(test)]
mod tests;
