//! Decoders that remember, after a loss.

use super::{Packet, Playout, Voice, room_len};

/// Most samples of a loss that a decoder is told: of a longer one what it remembers is gone.
pub(super) const FOLLOWED_MAX: usize = 1_024;

impl<V: Voice> Playout<V> {
    /// Before a packet behind a loss is decoded: tells a decoder that wants to know it what is
    /// played in place of what is missing.
    ///
    /// Not before, as a wait may end with the packet that was waited for, and that goes on where
    /// the decoder stands.
    pub(super) fn catch_up(&mut self, packet: &Packet) {
        if !self.started || packet.key <= self.next_key || packet.fresh || self.pausing {
            return;
        }
        let speaker = self.speaking.and_then(|at| self.speakers.get_mut(at));
        let Some(speaker) = speaker.filter(|speaker| speaker.pt == packet.pt) else {
            return;
        };
        let Some(voice) = &mut speaker.voice else {
            return;
        };
        let Some(beyond) = voice.follows() else {
            return;
        };
        let lost = (packet.key - self.next_key).saturating_mul(self.frame);
        // What is still to be filled in, once the packet is decoded.
        let ahead = self.bridged.as_ref().map_or(0, ExactSizeIterator::len);
        let before = room_len(lost).saturating_sub(ahead);
        let mut played = [0; FOLLOWED_MAX];
        let count = self.concealer.foresee(before, ahead + beyond, &mut played);
        voice.follow(&played[..count]);
    }
}
