//! A caller and its ringing branches: what the caller hears before the choice, and the choice.
//!
//! The choice is one mutation: after it nothing of a loser is anywhere on the way to the listener.
//! Its packets are refused, its ear and what was held of it are gone, its player does not exist.
//! What the winner said before, and nobody heard, is played by the listener's mouth out of the
//! winner's ear, faster than it comes until nothing waits; then packets are relayed again.

use std::sync::LazyLock;

use super::voice::{Workspace, info_of, room};
use super::*;
use crate::audio::mix::{self, Gain};
use crate::engine::fork::Branch;
use crate::engine::stream::{Claim, Floor};
use crate::engine::voice::{Ear, EarlyMedia, FRAME_SAMPLES_MAX, Mouth, Play, RINGBACK, Via};

/// A winner's sound that cannot be shortened (music, noise) is relayed after this long all the
/// same: rather one short clip than a delay for ever.
pub const HAND_BACK_US_MAX: u64 = 5_000_000;

/// How much lower several branches are mixed than one: 3 dB.
static SEVERAL: LazyLock<Gain> = LazyLock::new(|| Gain::from_db(-3.0));

/// Commands.
impl Call {
    /// What a listener hears of its branches while none is chosen.
    pub(super) fn early_media(
        &mut self,
        now: Micros,
        ix: StreamIx,
        policy: EarlyMedia,
    ) -> Result<(), ChangeError> {
        let chosen = self.open_stream(ix)?.chosen;
        let floor = match policy {
            EarlyMedia::First => Floor::First,
            EarlyMedia::Latest => Floor::Latest,
            EarlyMedia::Mix => Floor::All,
            EarlyMedia::Ringback(_) => Floor::Nobody,
        };
        if floor == Floor::All {
            self.voice_of(ix)?;
        }
        if let (EarlyMedia::Ringback(plan), None) = (policy, chosen) {
            self.play(now, Play::ringback(ix, plan))?;
        } else {
            self.stop_play(now, ix.into(), Some(RINGBACK))?;
        }
        let stream = self.open_stream(ix)?;
        stream.flags.early_media = true;
        let before = std::mem::replace(&mut stream.floor, floor);
        if before == floor || chosen.is_some() {
            self.count_branches(ix);
            return Ok(());
        }
        stream.heard = None;
        let voice = stream.voice.as_deref_mut();
        if let Some(mouth) = voice.and_then(|voice| voice.mouth.as_deref_mut()) {
            mouth.source = None;
            mouth.recodes &= before != Floor::All;
        }
        self.hush_branches(ix, None);
        self.count_branches(ix);
        Ok(())
    }

    /// The one stream a listener hears from this moment on.
    pub(super) fn choose(
        &mut self,
        now: Micros,
        listener: StreamIx,
        source: Option<StreamIx>,
    ) -> Result<(), ChangeError> {
        if let Some(source) = source {
            self.open_stream(source)?;
        }
        let stream = self.open_stream(listener)?;
        let mixed = stream.mixes_branches();
        let before = std::mem::replace(&mut stream.chosen, source);
        // Every provisional answer says that none is chosen: whoever is heard goes on.
        if before != source {
            stream.heard = None;
            if let Some(voice) = &mut stream.voice {
                voice.catches_up = None;
                if let Some(mouth) = &mut voice.mouth {
                    mouth.source = mouth.source.filter(|heard| Some(*heard) == source);
                }
            }
        }
        let Some(winner) = source else {
            self.count_branches(listener);
            return Ok(());
        };
        self.stop_play(now, listener.into(), Some(RINGBACK))?;
        if before != source {
            self.hush_branches(listener, Some(winner));
            self.catch_up(now, listener, winner, mixed);
        }
        self.count_branches(listener);
        Ok(())
    }

    /// Nothing that the branches of a listener said is left in any ear, but in that of the winner.
    fn hush_branches(&mut self, listener: StreamIx, winner: Option<StreamIx>) {
        for branch in &mut self.streams {
            if branch.to != Some(listener) || Some(branch.ix) == winner {
                continue;
            }
            if let Some(voice) = branch.voice.as_mut().filter(|v| v.bridge.is_none()) {
                voice.ear = None;
                voice.converter = None;
            }
        }
    }

    /// Notes whether a stream has branches and has chosen none; its branches are watched then.
    pub(super) fn count_branches(&mut self, listener: StreamIx) {
        let links = |stream: &&Stream| stream.to == Some(listener) && !stream.flags.closed;
        let branches = self.streams.iter().filter(links).count();
        let Some(stream) = self.streams.get_mut(usize::from(listener.0)) else {
            return;
        };
        let open = stream.chosen.is_none() && !stream.flags.closed;
        stream.flags.forks = open && (branches > 1 || stream.flags.early_media);
        if stream.flags.forks {
            return;
        }
        for branch in &mut self.streams {
            if branch.to == Some(listener) {
                branch.branch = None;
            }
        }
    }

    /// A listener hears nothing of a stream any more.
    pub(super) fn forget(&mut self, listener: StreamIx, source: StreamIx) {
        let stream = &mut self.streams[usize::from(source.0)];
        stream.branch = None;
        if let Some(voice) = stream.voice.as_mut().filter(|v| v.bridge.is_none()) {
            voice.ear = None;
        }
        let Some(stream) = self.streams.get_mut(usize::from(listener.0)) else {
            return;
        };
        stream.heard = stream.heard.filter(|heard| heard.stream != source);
        let voice = stream.voice.as_deref_mut();
        if let Some(mouth) = voice.and_then(|voice| voice.mouth.as_deref_mut())
            && mouth.source == Some(source)
        {
            mouth.source = None;
        }
    }
}

/// The winner's first words.
impl Call {
    /// What the winner said and nobody heard is played to the listener, if there is any.
    fn catch_up(&mut self, now: Micros, listener: StreamIx, winner: StreamIx, mixed: bool) {
        let Some((live, relayed)) = self.prepare(now, listener, winner, mixed) else {
            return;
        };
        let Ok(mouth) = self.open_mouth(now, listener) else {
            return; // it speaks nothing that we can encode
        };
        // While a prompt is played nobody would hear it.
        if mouth.players.replace() {
            return;
        }
        mouth.recodes = true;
        mouth.source = Some(winner);
        let kind = EventKind::SourceChanged(winner);
        self.log.push(now, listener, kind);
        if !live {
            self.hear_held(now, winner);
        }
        if !relayed {
            return; // it is decoded for good: its playout finds its own delay
        }
        let winner = self.streams[usize::from(winner.0)].voice.as_mut();
        if let Some(ear) = winner.and_then(|voice| voice.ear.as_mut()) {
            ear.hurry();
        }
        if let Some(voice) = &mut self.streams[usize::from(listener.0)].voice {
            voice.catches_up = Some(now.plus(HAND_BACK_US_MAX));
        }
    }

    /// Whether there is something to catch up with: in an ear that was listened to until now
    /// (first), or held. Second: whether the winner's packets are relayed.
    fn prepare(
        &mut self,
        now: Micros,
        listener: StreamIx,
        winner: StreamIx,
        mixed: bool,
    ) -> Option<(bool, bool)> {
        let may = |voice: &crate::engine::voice::VoiceState| voice.bridge.is_none();
        let sink = &self.streams[usize::from(listener.0)];
        let speaks = |voice: &&Box<_>| may(voice) && voice.config.speaks.is_some();
        sink.voice.as_ref().filter(speaks)?;
        if !sink.flags.receives || sink.rtp_target().is_none() {
            return None;
        }
        let stream = &mut self.streams[usize::from(winner.0)];
        let linked = stream.to == Some(listener) && stream.flags.sends;
        if !linked || stream.flags.blocked || stream.flags.silenced {
            return None;
        }
        let voice = stream.voice.as_ref().filter(|voice| may(voice))?;
        let pending = |ear: &Ear| ear.pending_us() > 0;
        let live = mixed && voice.ear.as_deref().is_some_and(pending);
        let branch = stream.branch.as_mut()?;
        branch.held.trim(now);
        let pt = match branch.held.iter().last() {
            Some((last, _)) if !live => last.info.pt,
            _ if live => stream.pt?,
            _ => return None,
        };
        let relayed = stream.types.describe(pt).via != Via::Decode;
        Some((live, relayed))
    }

    /// Puts what was held of a branch into a new ear, as if it had been there all the time.
    fn hear_held(&mut self, now: Micros, ix: StreamIx) {
        let stream = &mut self.streams[usize::from(ix.0)];
        let (Some(voice), Some(branch)) = (&mut stream.voice, stream.branch.take()) else {
            return;
        };
        voice.ear = None;
        for (packet, payload) in branch.held.iter() {
            let voice = self.streams[usize::from(ix.0)].voice.as_ref();
            if voice.is_some_and(|voice| voice.ear.is_none()) {
                self.make_ear(now, ix, packet.info.pt);
            }
            let voice = self.streams[usize::from(ix.0)].voice.as_mut();
            if let Some(ear) = voice.and_then(|voice| voice.ear.as_mut()) {
                ear.insert(packet.at, &packet.info, payload);
            }
        }
    }

    /// After a frame: whether nothing of the winner waits any more, so that its packets can be
    /// relayed from now on.
    pub(super) fn hand_back(
        &mut self,
        now: Micros,
        ix: usize,
        mouth: &mut Mouth,
        space: &mut Workspace,
    ) {
        let until = self.streams[ix].voice.as_ref().and_then(|v| v.catches_up);
        let Some(until) = until.filter(|_| mouth.players.is_empty()) else {
            return;
        };
        let chosen = self.streams[ix].chosen;
        let source = mouth.source.filter(|s| chosen.is_none_or(|c| c == *s));
        let voice = source.and_then(|s| self.streams[usize::from(s.0)].voice.as_ref());
        let pending_us = voice
            .and_then(|voice| voice.ear.as_ref())
            .map_or(0, |ear| ear.pending_us());
        let period_us = mouth.period_us();
        let whole = pending_us == period_us;
        if pending_us > 0 && !whole && now < until {
            return;
        }
        if let Some(source) = source.filter(|_| whole) {
            // One frame, which the next relayed packet would cut off.
            let pcm = room(&mut space.pcm, mouth.frame_samples());
            let speaks = self.pull(now, source, mouth, pcm);
            self.say(now, ix, mouth, speaks, space);
            self.streams[ix].egress.said_early(mouth.frame_ticks());
        }
        mouth.recodes = false;
        if let Some(voice) = &mut self.streams[ix].voice {
            voice.catches_up = None;
        }
        if let Some(source) = source
            && let Some(voice) = &mut self.streams[usize::from(source.0)].voice
        {
            voice.ear = None; // it would wait for nothing, which is no way to listen
            voice.converter = None;
        }
    }
}

/// Early media.
impl Call {
    /// One frame of all branches that carry sound, each a little lower where several do.
    pub(super) fn pull_branches(
        &mut self,
        now: Micros,
        ix: usize,
        mouth: &Mouth,
        pcm: &mut [i16],
    ) -> bool {
        let listener = self.streams[ix].ix;
        let mut sum = [0_i32; FRAME_SAMPLES_MAX];
        let sum = &mut sum[..pcm.len()];
        let mut branches = 0;
        for from in 0..self.streams.len() {
            let branch = &self.streams[from];
            if branch.to != Some(listener) || branch.flags.closed {
                continue;
            }
            let from = branch.ix;
            if self.pull(now, from, mouth, pcm) && self.sounds(now, from, mouth.rate_hz(), pcm) {
                mix::add(sum, pcm);
                branches += 1;
            }
        }
        mix::all(sum, pcm);
        if branches > 1 {
            mix::gain(pcm, *SEVERAL);
        }
        branches > 0
    }

    /// Whether a branch carries sound; listens to those that only their ear can tell of.
    fn sounds(&mut self, now: Micros, ix: StreamIx, rate_hz: u32, pcm: &[i16]) -> bool {
        let stream = &mut self.streams[usize::from(ix.0)];
        let pt = stream.pt.unwrap_or(u8::MAX);
        let judged = stream.law(&stream.types.describe(pt)).is_some();
        let Some(branch) = &mut stream.branch else {
            return true;
        };
        if !judged && let Some(verdict) = branch.hear_decoded(now, rate_hz, pcm).verdict {
            stream.progress = Some(verdict);
            self.log.push(now, ix, EventKind::Progress(verdict));
        }
        !branch.is_silent(now)
    }
}

/// Listens to a packet of a branch.
#[cold]
pub(super) fn observe(
    log: &mut EventLog,
    now: Micros,
    stream: &mut Stream,
    packet: &RtpPacket<'_>,
    claim: &mut Claim,
) {
    let kind = stream.types.describe(packet.header().pt);
    let law = stream.law(&kind);
    let branch = stream
        .branch
        .get_or_insert_with(|| Box::new(Branch::new(now)));
    if let Some(law) = law {
        let noticed = branch.hear(now, law, &info_of(packet), packet.payload());
        claim.begins |= noticed.onset;
        if let Some(verdict) = noticed.verdict {
            log.push(now, stream.ix, EventKind::Progress(verdict));
        }
    }
    stream.progress = Some(branch.verdict());
    claim.silent = branch.is_silent(now);
}

/// Keeps a packet that nobody hears until a branch is chosen.
#[cold]
pub(super) fn hold(now: Micros, stream: &mut Stream, packet: &RtpPacket<'_>, hears: bool) {
    let kind = stream.types.describe(packet.header().pt);
    let Some(branch) = &mut stream.branch else {
        return;
    };
    if hears {
        branch.held.clear();
    } else if !kind.event {
        let silent = branch.is_quiet();
        branch
            .held
            .push(now, info_of(packet), packet.payload(), silent);
    }
}
