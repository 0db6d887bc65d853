//! What the control side knows of two calls becomes what it knows of one.

use std::sync::Arc;

use super::SwitchError;
use super::call::{Alias, CallState, HISTORY_MAX};
use super::dialogue::{Agreement, Dialogue, Offer, PARTIES_MAX};
use super::listener::{LISTENERS_MAX, Listener};
use super::party::{LegMedia, Party};
use crate::engine::{LegIx, STREAMS_MAX, StreamIx};

/// How much further on the parties and streams of a call are in the one that took it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) parties: u16,
    pub(super) streams: StreamIx,
}

impl Dialogue {
    /// Takes the parties of another dialogue in, behind its own, with what they offered each other
    /// and agreed on.
    ///
    /// # Errors
    /// [`SwitchError::TagCollision`], [`SwitchError::MergesBridges`],
    /// [`SwitchError::TooManyParties`], [`SwitchError::TooManyListeners`] or
    /// [`SwitchError::TooManyStreams`]; nothing has changed then.
    pub(super) fn absorb(&mut self, other: &Self) -> Result<Offset, SwitchError> {
        let listening = other.listeners.iter().map(|listener| &listener.party);
        let parties = other.parties.iter().chain(listening);
        let is_taken = |tag: &str| self.ever_had_tag(tag) || self.listener_by_tag(tag).is_some();
        if parties
            .flat_map(|party| &party.tags)
            .any(|tag| is_taken(tag))
        {
            return Err(SwitchError::TagCollision);
        }
        if other.bridges.were_used() {
            return Err(SwitchError::MergesBridges);
        }
        let listeners = self.open_listeners().count() + other.open_listeners().count();
        if listeners > LISTENERS_MAX {
            return Err(SwitchError::TooManyListeners { max: LISTENERS_MAX });
        }
        if self.parties.len() + other.parties.len() > PARTIES_MAX {
            return Err(SwitchError::TooManyParties { max: PARTIES_MAX });
        }
        if self.streams + other.streams > STREAMS_MAX {
            return Err(SwitchError::TooManyStreams { max: STREAMS_MAX });
        }
        let first = u16::try_from(self.streams).expect("STREAMS_MAX fits");
        let by = Offset {
            parties: u16::try_from(self.parties.len()).expect("PARTIES_MAX fits"),
            streams: StreamIx(first),
        };
        let parties = other.parties.iter().cloned();
        let mask = self.mask.clone();
        self.parties.extend(parties.map(|party| Party {
            // What was said of a whole call is true of who comes to it.
            mask: party.mask.clone().or_else(|| mask.clone()),
            ..party.moved(by)
        }));
        let listeners = other.listeners.iter().cloned();
        let listeners = listeners.map(|listener| listener.moved(by));
        self.listeners.extend(listeners);
        for offer in &other.offers {
            self.keep_offer(Arc::new(moved(offer, by)));
        }
        for agreed in &other.agreements {
            self.keep_agreement(Agreement {
                offer: Arc::new(moved(&agreed.offer, by)),
                ..agreed.clone()
            });
        }
        self.streams += other.streams;
        // Who comes later may come by the name of either.
        self.mask = mask.or_else(|| other.mask.clone());
        self.digits_to = self.digits_to.or(other.digits_to);
        Ok(by)
    }
}

fn moved(offer: &Offer, by: Offset) -> Offer {
    Offer {
        offerer: offer.offerer + usize::from(by.parties),
        answerer: offer.answerer + usize::from(by.parties),
        ..offer.clone()
    }
}

impl Party {
    fn moved(mut self, by: Offset) -> Self {
        self.leg = LegIx(self.leg.0.saturating_add(by.parties));
        self.peer = self.peer.map(|peer| peer + usize::from(by.parties));
        if let Some(hold) = &mut self.hold {
            hold.listener += usize::from(by.parties);
        }
        for line in &mut self.medias {
            line.move_on(by);
        }
        self
    }
}

impl Listener {
    fn moved(mut self, by: Offset) -> Self {
        self.party = self.party.moved(by);
        for line in &mut self.lines {
            let further = |(party, media)| (party + usize::from(by.parties), media);
            line.source = line.source.map(further);
            if let Some((from, _)) = &mut line.told {
                *from = from.after(by.streams.0);
            }
        }
        self
    }
}

impl LegMedia {
    fn move_on(&mut self, by: Offset) {
        self.stream = self.stream.map(|stream| stream.after(by.streams.0));
        if let Some(other) = &mut self.other {
            other.move_on(by);
        }
    }
}

impl CallState {
    /// Takes over what is left of a call whose dialogue has become part of this one's: ports,
    /// names and history. `name` is its own id.
    pub(super) fn absorb(&mut self, other: &mut Self, name: Box<str>, by: Offset) {
        let leases = other.leases.drain(..);
        let moved = leases.map(|(stream, lease)| (stream.after(by.streams.0), lease));
        self.leases.extend(moved);
        self.aliases.push(Alias {
            id: name,
            place: (other.worker, other.key),
            by: by.streams.0,
        });
        let further = |alias: Alias| Alias {
            by: alias.by.saturating_add(by.streams.0),
            ..alias
        };
        self.aliases.extend(other.aliases.drain(..).map(further));
        self.gathers.append(&mut other.gathers);
        self.digits.append(&mut other.digits, by.streams.0);
        self.history.append(&mut other.history);
        self.history.sort_by_key(|signal| signal.at);
        let excess = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..excess);
        self.history_dropped += other.history_dropped + u32::try_from(excess).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::engine::{CallKey, Mask, MaskMode};
    use crate::switch::registry::new_call;

    fn dialogue(parties: usize, streams: usize, tag: &str) -> Dialogue {
        let mut dialogue = Dialogue {
            streams,
            ..Dialogue::default()
        };
        for n in 0..parties {
            let leg = LegIx(u16::try_from(n).expect("few"));
            let mut party = Party::new(leg, "default", SystemTime::UNIX_EPOCH);
            party.add_tag(&format!("{tag}{n}"));
            party.peer = Some(n ^ 1);
            dialogue.parties.push(party);
        }
        dialogue
    }

    #[test]
    fn parties_move_on_and_keep_whom_they_talk_with() {
        let mut both = dialogue(3, 4, "a");
        let by = both.absorb(&dialogue(2, 2, "b")).expect("room");
        assert_eq!((by.parties, by.streams), (3, StreamIx(4)));
        let party = both.party_by_tag("b1").expect("a party");
        let moved = &both.parties[party];
        assert_eq!((party, moved.leg, moved.peer), (4, LegIx(4), Some(3)));
        assert_eq!(both.streams, 6);
    }

    /// Each call, or none of the two, or both were masked as a whole.
    #[test]
    fn what_was_said_of_a_whole_call_holds_for_its_parties_and_who_comes_later() {
        let mask = |look_back_ms| {
            let mask = Mask {
                look_back_ms,
                ..Mask::of(MaskMode::Absorb)
            };
            Some(Arc::new(mask))
        };
        let masked = |tag: &str, mask: &Option<Arc<Mask>>| {
            let mut call = dialogue(1, 1, tag);
            (call.mask, call.parties[0].mask) = (mask.clone(), mask.clone());
            call
        };
        let (one, two) = (mask(60), mask(70));
        for (first, second, expected) in [
            (&one, &None, [&one, &one, &one]),
            (&None, &two, [&None, &two, &two]),
            (&one, &two, [&one, &two, &one]),
            (&None, &None, [&None, &None, &None]),
        ] {
            let mut both = masked("a", first);
            both.absorb(&masked("b", second)).expect("room");
            let masks = [&both.parties[0].mask, &both.parties[1].mask, &both.mask];
            assert_eq!(masks, expected);
        }
    }

    #[test]
    fn limits_and_tags_are_checked_before_anything_changes() {
        let mut first = dialogue(PARTIES_MAX - 2, STREAMS_MAX - 2, "a");
        let mut refused = |other: &Dialogue| {
            let error = first.absorb(other).expect_err("refused");
            assert_eq!(first.parties.len(), PARTIES_MAX - 2);
            error
        };
        let many = refused(&dialogue(3, 2, "b"));
        assert!(matches!(many, SwitchError::TooManyParties { .. }));
        let many = refused(&dialogue(2, 3, "b"));
        assert!(matches!(many, SwitchError::TooManyStreams { .. }));
        let twice = refused(&dialogue(1, 1, "a"));
        assert!(matches!(twice, SwitchError::TagCollision));
        assert!(first.absorb(&dialogue(2, 2, "b")).is_ok());
    }

    #[test]
    fn what_a_worker_said_before_is_of_the_stream_that_it_is_now() {
        let place = |slot| {
            let generation = 1;
            (0, CallKey { slot, generation })
        };
        let mut calls = [0, 1, 2].map(|slot| new_call(0, place(slot).1));
        let by = |streams| Offset {
            parties: 2,
            streams: StreamIx(streams),
        };
        let [first, second, third] = &mut calls;
        second.absorb(third, "third".into(), by(4));
        first.absorb(second, "second".into(), by(2));
        let now = |slot| first.stream_of(place(slot), StreamIx(1));
        assert_eq!(
            [now(0), now(1), now(2)],
            [1, 3, 7].map(|n| Some(StreamIx(n)))
        );
        assert_eq!(now(3), None);
    }
}
