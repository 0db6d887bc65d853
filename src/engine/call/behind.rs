//! Members of a bridge whose packets leave behind its frames, in step with their own.
//!
//! A bridge has one tick for all, and a prompt that a key may stop goes in step with the packets of
//! the one who hears it (see `gather/beat.rs`). So while such a prompt is played to a member, what
//! is mixed for that one waits for less than a packet, and the prompt is laid over it as it leaves.

use super::voice::room;
use super::*;
use crate::engine::voice::{Behind, Mouth};

impl Call {
    /// At a bridge's tick of `due`, in which a member is made so many samples: whether its packets
    /// are to fall behind, or to leave with the bridge's frames again.
    pub(super) fn keep_step(&mut self, ix: usize, due: Micros, len: usize, mouth: &mut Mouth) {
        let stream = &mut self.streams[ix];
        if !Self::gather_may_interrupt(stream) {
            let sooner_us = mouth.catch_up(due);
            stream.egress.said_early(mouth.ticks(sooner_us));
            return;
        }
        if !mouth.completes(len) {
            return;
        }
        let wait_us = Self::gather_waits_us(Self::gather_beat(stream), mouth, due);
        if wait_us > 0 {
            mouth.fall_behind(due, wait_us);
            stream.egress.pause(mouth.ticks(wait_us));
            self.mouths_at = self.mouths_at.min(mouth.next_at);
        }
    }

    /// Sends the packets that are due behind a bridge's frames, before its next one is made.
    pub(super) fn speak_behind(&mut self, now: Micros, bridge: usize) {
        if self.mouths_at > now {
            return;
        }
        for seat in 0.. {
            let Some(Some(bridge)) = self.bridges.get(bridge) else {
                return;
            };
            let Some(seat) = bridge.seats.get(seat) else {
                return;
            };
            let (ix, until) = (usize::from(seat.member.stream.0), bridge.next_at);
            while let Some(at) = self.behind_due(now, until, ix) {
                self.late_us = self.late_us.max(Some(now.since(at)));
                self.say_behind(now, ix);
            }
        }
    }

    /// When a packet behind a bridge was due, if it was and leaves.
    fn behind_due(&mut self, now: Micros, until: Micros, ix: usize) -> Option<Micros> {
        let stream = &mut self.streams[ix];
        let beat = Self::gather_beat(stream);
        let mouth = stream.voice.as_mut()?.mouth.as_mut()?;
        let due = mouth.next_at;
        if !mouth.is_behind() || due > now || due >= until || mouth.awaits() > 0 {
            return None;
        }
        let wait_us = Self::gather_waits_us(beat, mouth, due);
        match mouth.due_behind(wait_us) {
            Behind::Waits => {
                stream.egress.pause(mouth.ticks(wait_us));
                None
            }
            Behind::Leaves { sooner_us } => {
                stream.egress.said_early(mouth.ticks(sooner_us));
                Some(due)
            }
        }
    }

    fn say_behind(&mut self, now: Micros, ix: usize) {
        let Some(mut mouth) = self.take_mouth(ix) else {
            return;
        };
        let mut space = std::mem::take(&mut self.space);
        let pcm = room(&mut space.pcm, mouth.frame_samples());
        let speaks = mouth.take_packet(pcm, true);
        self.say(now, ix, &mut mouth, speaks, &mut space);
        self.space = space;
        self.give_mouth(ix, mouth);
        self.tell_ended(now, self.streams[ix].ix.into());
    }
}
