//! Keys in a party's audio that those who hear it get as keys of our own.
//!
//! The veil over its ear takes the tones out, and says when one would have been heard: then the key
//! goes down for its listeners, and comes up when the tone would have ended. So a press is where it
//! was in the talk, and as long, whatever the delay is.

use super::*;
use crate::engine::digits::Tone;
use crate::engine::voice::Pressed;
use crate::wire::event::EventCode;

impl Call {
    /// After frames: presses what was heard in them. The mouths they were made for are back.
    pub(super) fn press_heard(&mut self, now: Micros) {
        if self.pressed.is_empty() {
            return;
        }
        let mut pressed = std::mem::take(&mut self.pressed);
        for (ix, what) in pressed.drain(..) {
            match what {
                Pressed::Down { digit, level_dbm0 } => {
                    self.tone_begins(now, ix, digit.code(), level_dbm0);
                }
                Pressed::Held => {
                    let masked = self.streams[usize::from(ix.0)].mask.as_deref_mut();
                    masked
                        .into_iter()
                        .for_each(|masked| masked.inband.held(now));
                }
                Pressed::Up { duration_us } => self.tone_ends(now, ix, Some(duration_us)),
            }
        }
        self.pressed = pressed;
        self.keys_at = self.next_key();
        self.schedule_frames();
    }

    fn tone_begins(&mut self, now: Micros, ix: StreamIx, code: EventCode, level_dbm0: f32) {
        let Some(masked) = self.streams[usize::from(ix.0)].mask.as_deref_mut() else {
            return;
        };
        if masked.inband.begins(now, code) == Tone::Known {
            return;
        }
        let mut down = std::mem::take(&mut masked.inband.down);
        for to in down.drain(..) {
            self.key_up(now, (ix, to), None, None); // its end was missed
        }
        self.listeners_of(ix, &mut down);
        down.retain(|to| self.key_down(now, (ix, *to), code, Some(whole(level_dbm0))));
        self.note_down(ix, down);
    }

    /// For whom a party's key is down; room for more is kept.
    fn note_down(&mut self, ix: StreamIx, down: Vec<StreamIx>) {
        if let Some(masked) = self.streams[usize::from(ix.0)].mask.as_deref_mut() {
            masked.inband.down = down;
        }
    }

    /// A tone of a party has ended; `None`: nobody knows when.
    pub(super) fn tone_ends(&mut self, now: Micros, ix: StreamIx, duration_us: Option<u64>) {
        let stream = self.streams.get_mut(usize::from(ix.0));
        let Some(masked) = stream.and_then(|stream| stream.mask.as_deref_mut()) else {
            return;
        };
        let duration_us = masked.inband.ends(duration_us);
        let mut down = std::mem::take(&mut masked.inband.down);
        for to in down.drain(..) {
            self.key_up(now, (ix, to), None, duration_us);
        }
        self.note_down(ix, down);
    }

    /// When a key comes up that nothing is heard of any more.
    pub(super) fn next_rested(stream: &Stream) -> Micros {
        let masked = stream.mask.as_ref();
        masked.map_or(Micros::NEVER, |masked| masked.inband.rests_at())
    }

    pub(super) fn rest_due(&mut self, now: Micros, ix: usize) {
        if Self::next_rested(&self.streams[ix]) <= now {
            self.tone_ends(now, self.streams[ix].ix, None);
        }
    }

    /// Whether a party's telephone-event of this key is a press that its listeners got already.
    pub(super) fn presses_inband(&self, ix: StreamIx, code: EventCode) -> bool {
        let masked = self.streams[usize::from(ix.0)].mask.as_ref();
        masked.is_some_and(|masked| masked.inband.presses(code))
    }
}

/// A level in whole dB.
#[allow(clippy::cast_possible_truncation, reason = "clamped before")]
fn whole(level_dbm0: f32) -> i8 {
    level_dbm0.round().clamp(-63.0, 0.0) as i8
}
