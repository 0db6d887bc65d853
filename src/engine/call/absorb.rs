//! Two calls become one.
//!
//! The streams of the other are put behind our own and keep all that they are: latch, statistics,
//! the numbers their parties receive, ears, mouths, players and bridges. Only their indexes change,
//! all by one offset, and with them the names of streams inside of streams. Time needs no change:
//! both calls count it from one epoch.

use super::*;
use crate::engine::record::RECORDERS_MAX;
use crate::engine::voice::BRIDGES_MAX;

/// Why a call cannot take another one in; both are as they were.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AbsorbError {
    /// The two would have more than [`STREAMS_MAX`] streams.
    #[error("a call holds at most {STREAMS_MAX} streams")]
    TooManyStreams,
    /// The two would have more than [`BRIDGES_MAX`] bridges.
    #[error("a call holds at most {BRIDGES_MAX} bridges")]
    TooManyBridges,
    /// The two would have more than [`RECORDERS_MAX`] recordings, or two of one name.
    #[error("a call has at most {RECORDERS_MAX} recordings, each with its own name")]
    TooManyRecorders,
    /// Legs would be numbered beyond what a [`LegIx`] holds.
    #[error("a call holds at most 65536 legs")]
    TooManyLegs,
    /// The calls count time from different instants ([`Call::since`]).
    #[error("the calls have different epochs")]
    Epoch,
    /// The first stream of the other would not get the index that was expected.
    #[error("the first stream would be {0:?}")]
    Place(StreamIx),
    /// A timer has ended this call.
    #[error("the call has ended")]
    Ended,
}

impl Call {
    /// Takes all streams of `other` in, which is left empty: the first becomes `first`, and leg
    /// numbers grow by `legs`. Ports are not taken along: name them anew ([`Call::set_port`]), for
    /// they are open elsewhere from now on. The timers are those of this call. Drain
    /// [`Call::poll_output`] when the ports are named. O(streams + bridges).
    ///
    /// # Errors
    ///
    /// [`AbsorbError`]; both calls are then as they were.
    pub fn absorb(
        &mut self,
        now: Instant,
        other: &mut Self,
        first: StreamIx,
        legs: u16,
    ) -> Result<(), AbsorbError> {
        self.check_absorb(other, first, legs)?;
        self.tick(now);
        self.now = self.now.max(other.now);
        let bridges = u8::try_from(self.bridges.len()).expect("BRIDGES_MAX fits");
        self.streams.reserve_exact(other.streams.len());
        for mut stream in other.streams.drain(..) {
            stream.renumber(first.0, legs, bridges);
            self.streams.push(stream);
        }
        for mut bridge in other.bridges.drain(..) {
            if let Some(bridge) = &mut bridge {
                bridge.renumber(first.0, bridges);
            }
            self.bridges.push(bridge);
        }
        self.recordings.absorb(&mut other.recordings, first.0);
        self.drop_abandoned(self.now);
        let log = std::mem::replace(&mut other.log, EventLog::new());
        self.log.absorb(log, first.0, bridges);
        self.end_gathers(self.now, usize::from(first.0), GatherEnd::Cancelled);
        self.last_media = self.last_media.max(other.last_media);
        self.late_us = self.late_us.max(other.late_us.take());
        self.presses_ignored += other.take_presses_ignored();
        // Pins were undone with the ports.
        self.outputs = true;
        other.schedule();
        self.schedule();
        Ok(())
    }

    fn check_absorb(&self, other: &Self, first: StreamIx, legs: u16) -> Result<(), AbsorbError> {
        let highest = other.streams.iter().map(|stream| stream.config.leg.0).max();
        let place = u16::try_from(self.streams.len()).unwrap_or(u16::MAX);
        if self.epoch != other.epoch {
            Err(AbsorbError::Epoch)
        } else if self.ended.is_some() {
            Err(AbsorbError::Ended)
        } else if self.streams.len() + other.streams.len() > STREAMS_MAX {
            Err(AbsorbError::TooManyStreams)
        } else if self.bridges.len() + other.bridges.len() > BRIDGES_MAX {
            Err(AbsorbError::TooManyBridges)
        } else if !self.recordings.has_room_for(&other.recordings) {
            Err(AbsorbError::TooManyRecorders)
        } else if highest.is_some_and(|leg| leg.checked_add(legs).is_none()) {
            Err(AbsorbError::TooManyLegs)
        } else if StreamIx(place) != first {
            Err(AbsorbError::Place(StreamIx(place)))
        } else {
            Ok(())
        }
    }
}

impl Stream {
    /// It is in another call from now on, whose streams, legs and bridges come before it.
    fn renumber(&mut self, streams: u16, legs: u16, bridges: u8) {
        let further = |stream: StreamIx| stream.after(streams);
        self.ix = further(self.ix);
        self.config.leg = LegIx(self.config.leg.0.saturating_add(legs));
        self.ports = [None; 2];
        self.flags.pinned = false;
        self.to = self.to.map(further);
        self.chosen = self.chosen.map(further);
        if let Some(heard) = &mut self.heard {
            heard.stream = further(heard.stream);
        }
        self.egress.renumber_source(streams);
        for listener in self.taps.iter_mut().flat_map(|taps| taps.iter_mut()) {
            *listener = further(*listener);
        }
        if let Some(listening) = &mut self.listens {
            listening.source = listening.source.map(further);
        }
        if let Some(represses) = &mut self.represses {
            represses.renumber(further);
        }
        if let Some(keys) = &mut self.keys {
            keys.dialer.renumber(further);
        }
        let heard = self.mask.iter_mut().map(|masked| &mut masked.inband.down);
        for listener in heard.flatten() {
            *listener = further(*listener);
        }
        let Some(voice) = &mut self.voice else {
            return;
        };
        voice.bridge = voice.bridge.map(|ix| ix.after(bridges));
        if let Some(mouth) = &mut voice.mouth {
            mouth.source = mouth.source.map(further);
            mouth.players.renumber(streams, bridges);
        }
    }
}
