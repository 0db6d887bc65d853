//! What a party says, as samples.

use super::api::{PlayoutBounds, Voice};
use super::veil::{Cover, Pressed, Said, Veil};
use crate::audio::codec::Decoder;
use crate::engine::playout::{PacketInfo, Playout, PlayoutConfig, PlayoutStats, Pulled};
use crate::engine::time::Micros;

/// The static payload type of comfort noise and its clock (RFC 3389 §4).
const COMFORT_NOISE_PT: u8 = 13;
const COMFORT_NOISE_HZ: u32 = 8_000;

/// An ear of one rate lives at least this long; until then packets of another rate are not heard.
pub const EAR_LIFE_US_MIN: u64 = 500_000;

/// A party's decoders behind its playout buffer.
#[derive(Debug)]
pub(in crate::engine) struct Ear {
    playout: Playout,
    rate_hz: u32,
    made_at: Micros,
    /// It plays its first packet at once, and from then on as these bounds say.
    begins_at_once: Option<PlayoutBounds>,
    /// What hides keys in what it says.
    veil: Option<Box<Veil>>,
    /// The same, for when a key begins it; `stands_by`: one may do so at any time.
    spare: Option<Box<Veil>>,
    stands_by: bool,
    /// The last sample it gave; `None`: nobody heard one.
    last: Option<i16>,
}

impl Ear {
    /// An ear for what `voice` may send, at the rate of the codec that `pt` names; `None` if that
    /// cannot be decoded.
    pub(in crate::engine) fn new(voice: &Voice, pt: u8, now: Micros) -> Option<Self> {
        let rate_hz = rate_of(voice, pt)?;
        let mut playout = Playout::new(PlayoutConfig {
            min_ms: voice.playout.min_ms,
            max_ms: voice.playout.max_ms,
            fixed_ms: voice.playout.fixed_ms,
            pcm_hz: rate_hz,
        })
        .ok()?;
        for heard in &voice.hears {
            let (pt, clock_hz) = (heard.pt, heard.codec.kind.clock_hz());
            // One of another rate is heard by another ear, made when its first packet comes.
            if heard.codec.pcm_hz() == rate_hz {
                let decoder = Decoder::new(&heard.codec).ok()?;
                playout.set_decoder(pt, clock_hz, decoder).ok()?;
            }
        }
        playout
            .set_comfort_noise(COMFORT_NOISE_PT, COMFORT_NOISE_HZ)
            .ok()?;
        Some(Self {
            playout,
            rate_hz,
            made_at: now,
            begins_at_once: None,
            veil: None,
            spare: None,
            stands_by: false,
            last: None,
        })
    }

    pub(in crate::engine) fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Whether it may give way to an ear of another rate: a party that changes codecs with every
    /// packet must not have an ear made for each.
    pub(in crate::engine) fn may_go(&self, now: Micros) -> bool {
        now.since(self.made_at) >= EAR_LIFE_US_MIN
    }

    pub(in crate::engine) fn insert(&mut self, now: Micros, info: &PacketInfo, payload: &[u8]) {
        self.playout.insert(now, info, payload);
    }

    /// What comes next follows, with this sample, the last one that its listeners were sent.
    pub(in crate::engine) fn go_on(&mut self, first: i16) {
        self.last = Some(first);
        self.veil.iter_mut().for_each(|veil| veil.go_on(first));
    }

    /// Its listeners are sent packets from now on.
    pub(in crate::engine) fn lose_track(&mut self) {
        self.last = None;
        let veils = self.veil.iter_mut().chain(&mut self.spare);
        veils.for_each(|veil| veil.lose_track());
    }

    /// One frame; `false`: there is nothing to hear.
    pub(in crate::engine) fn pull(&mut self, now: Micros, pcm: &mut [i16]) -> bool {
        let pulled = self.playout.pull(now, pcm);
        let heard = pulled != Pulled::Idle;
        if heard && let Some(bounds) = self.begins_at_once.take() {
            self.take_time(&bounds);
        }
        let said = self.veil.as_mut().map_or(heard, |veil| {
            if matches!(pulled, Pulled::Concealed | Pulled::Idle) {
                veil.make_up(pcm.len());
            }
            veil.pass(pcm, heard)
        });
        // Masking may follow masking at once: it goes on from what was heard, not from what came.
        self.last = pcm.last().copied().filter(|_| said).or(Some(0));
        said
    }

    /// After a frame: what has become of keys in it that are pressed anew.
    pub(in crate::engine) fn tell(&mut self, tell: &mut impl FnMut(Pressed)) {
        if let Some(veil) = &mut self.veil {
            veil.tell(tell);
            if veil.is_gone() {
                self.spare = self.veil.take().filter(|_| self.stands_by);
            }
        }
    }

    /// Hides the keys in what it gives from now on.
    pub(in crate::engine) fn veil(&mut self, cover: &Cover) {
        if let Some(veil) = &mut self.veil {
            veil.set(cover);
        } else if let Some(mut veil) = self.spare.take() {
            veil.resume(cover, self.last);
            self.veil = Some(veil);
        } else {
            // A rate at which no key can be heard is none of an ear.
            let veil = Veil::new(self.rate_hz, cover, self.last);
            self.veil = veil.ok().map(Box::new);
        }
    }

    /// Whether a key may begin to hide others at any time, with this look-back: all that takes is
    /// made now, as keys come with packets.
    pub(in crate::engine) fn stand_by(&mut self, look_back_ms: Option<u16>) {
        self.stands_by = look_back_ms.is_some();
        let cover = look_back_ms.map(Cover::nothing);
        match cover.filter(|_| self.veil.is_none()) {
            Some(cover) if self.spare.is_none() => {
                let veil = Veil::new(self.rate_hz, &cover, self.last);
                self.spare = veil.ok().map(Box::new);
            }
            Some(_) => {}
            None => self.spare = None,
        }
    }

    /// Nothing is hidden any more, once what waits is said.
    pub(in crate::engine) fn unveil(&mut self) {
        self.veil.iter_mut().for_each(|veil| veil.leave());
    }

    /// A telephone-event was said that its listeners are not to get.
    pub(in crate::engine) fn key_event(&mut self, said: &Said) {
        let waits_us = self.playout.pending_us();
        if let Some(veil) = &mut self.veil {
            veil.key_event(said, waits_us);
        }
    }

    /// What comes first is played at once, as its listener heard the packet before it already; the
    /// delay that the network asks for grows afterwards.
    pub(in crate::engine) fn begin_at_once(&mut self, bounds: PlayoutBounds) {
        self.playout.hurry();
        self.begins_at_once = Some(bounds);
    }

    /// What was said so far was not for those who will listen.
    pub(in crate::engine) fn forget(&mut self) {
        self.playout.forget();
        self.veil.iter_mut().for_each(|veil| veil.forget());
        self.last = None;
    }

    /// Plays what is there as fast as it can without harm, and then with no delay at all.
    pub(in crate::engine) fn hurry(&mut self) {
        self.playout.hurry();
    }

    /// No hurry any more: what comes waits as these bounds say.
    pub(in crate::engine) fn take_time(&mut self, bounds: &PlayoutBounds) {
        self.playout.bound(bounds.max_ms, bounds.fixed_ms);
    }

    /// Audio that came and was not pulled, in microseconds.
    pub(in crate::engine) fn pending_us(&self) -> u64 {
        let waiting = self.veil.as_ref().map_or(0, |veil| veil.waiting());
        let waiting_us = waiting as u64 * 1_000_000 / u64::from(self.rate_hz.max(1));
        self.playout.pending_us() + waiting_us
    }

    pub(in crate::engine) fn stats(&self) -> PlayoutStats {
        self.playout.stats()
    }
}

/// The sample rate at which a payload type is decoded.
pub(in crate::engine) fn rate_of(voice: &Voice, pt: u8) -> Option<u32> {
    let heard = voice.hears.iter().find(|heard| heard.pt == pt)?;
    Some(heard.codec.pcm_hz())
}

/// Whether a payload type describes noise (RFC 3389).
pub(in crate::engine) fn is_noise(pt: u8) -> bool {
    pt == COMFORT_NOISE_PT
}
