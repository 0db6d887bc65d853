//! What changes by command.

use super::*;

impl Call {
    /// Applies one mutation. Drain [`Call::poll_output`] afterwards.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the call is then as it was.
    pub fn apply(&mut self, now: Instant, change: Change) -> Result<(), ChangeError> {
        let now = self.tick(now);
        self.drop_abandoned(now);
        match change {
            Change::AddStream(config) => self.add_stream(now, config)?,
            Change::Remote(ix, remote) => self.set_remote(now, ix, remote)?,
            Change::PayloadTypes(ix, types) => {
                check_types(&types)?;
                self.open_stream(ix)?.types = Types::new(types);
            }
            Change::Direction {
                stream,
                sends,
                receives,
            } => {
                let flags = &mut self.open_stream(stream)?.flags;
                let held = (flags.sends && !sends) || (flags.receives && !receives);
                flags.sends = sends;
                flags.receives = receives;
                if held {
                    self.end_gather(now, stream, GatherEnd::Cancelled);
                }
                if !receives {
                    self.drop_keys(now, stream);
                }
            }
            Change::Link { from, to } => self.link(now, from, to)?,
            Change::Source { listener, source } => self.choose(now, listener, source)?,
            Change::EarlyMedia { listener, policy } => self.early_media(now, listener, policy)?,
            Change::Block(ix, on) => self.open_stream(ix)?.flags.blocked = on,
            Change::Silence(ix, on) => self.open_stream(ix)?.flags.silenced = on,
            Change::Tap(tap) => self.tap(now, *tap)?,
            Change::Untap(ix) => self.untap(ix)?,
            Change::Mask(ix, mask) => self.set_mask(now, ix, mask)?,
            Change::Privacy(ix, privacy) => {
                self.open_stream(ix)?.config.privacy = privacy;
                self.schedule_report(now, ix);
            }
            Change::OwnRtcp(ix, on) => {
                self.open_stream(ix)?.config.own_rtcp = on;
                self.schedule_report(now, ix);
            }
            Change::Voice(ix, voice) => self.set_voice(now, ix, *voice)?,
            Change::Play(play) => self.play(now, *play)?,
            Change::StopPlay { listener, id } => self.stop_play(now, listener, id)?,
            Change::Idle(ix, idle) => self.set_idle(now, ix, idle)?,
            Change::EventType(ix, kind) => self.set_event_type(ix, kind)?,
            Change::SendDigits(digits) => self.send_digits(now, &digits)?,
            Change::StopDigits(ix) => self.stop_digits(now, ix)?,
            Change::Bridge(ix, config) => self.bridge(now, ix, *config)?,
            Change::Digits(ix, config) => self.command_digits(now, ix, config)?,
            Change::Gather(config) => self.gather(now, *config)?,
            Change::StopGather { stream, id } => self.stop_gather(now, stream, id)?,
            Change::TypeAhead(ix, keeps) => self.set_type_ahead(now, ix, keeps)?,
            Change::Key(ix, digit) => self.key_told(now, ix, digit)?,
            Change::Record {
                recorder,
                tape,
                finish,
            } => self.record(recorder, tape, finish)?,
            Change::RecordTrack {
                recorder,
                track,
                from,
            } => self.record_track(now, recorder, track, from)?,
            Change::StopRecord(recorder) => self.stop_record(now, recorder)?,
            Change::Close(ix) => self.close(now, ix)?,
            Change::Timers(timers) => self.config.timers = timers,
        }
        self.schedule();
        Ok(())
    }

    pub(super) fn add_stream(
        &mut self,
        now: Micros,
        config: StreamConfig,
    ) -> Result<(), ChangeError> {
        let ix = u16::try_from(self.streams.len())
            .ok()
            .filter(|&ix| usize::from(ix) < STREAMS_MAX);
        let ix = StreamIx(ix.ok_or(ChangeError::TooManyStreams)?);
        // Two streams are the usual call; more grow one by one, as they are large.
        self.streams
            .reserve_exact(if self.streams.is_empty() { 2 } else { 1 });
        self.streams.push(Stream::new(ix, config, self.config.seed));
        self.schedule_report(now, ix);
        Ok(())
    }

    pub(super) fn set_remote(
        &mut self,
        now: Micros,
        ix: StreamIx,
        remote: Remote,
    ) -> Result<(), ChangeError> {
        let stream = self.open_stream(ix)?;
        if stream.remote == Some(remote) {
            return Ok(());
        }
        stream.latch.remote_changed(stream.remote.as_ref(), &remote);
        stream.remote = Some(remote);
        stream.flags.pin_wanted = false;
        stream.pin_at = now.plus(PIN_DELAY_US);
        self.outputs = true;
        Ok(())
    }

    pub(super) fn link(
        &mut self,
        now: Micros,
        from: StreamIx,
        to: Option<StreamIx>,
    ) -> Result<(), ChangeError> {
        if let Some(to) = to {
            for ix in [from, to] {
                let stream = self.open_stream(ix)?;
                if stream.flags.listens {
                    return Err(ChangeError::Listens(ix));
                }
                if to == from && stream.config.payload != Payload::Rtp {
                    return Err(ChangeError::LinkToSelf(from));
                }
            }
        }
        let before = std::mem::replace(&mut self.open_stream(from)?.to, to);
        if let Some(before) = before.filter(|_| before != to) {
            self.forget(before, from);
            self.count_branches(before);
            // It is not to miss the numbers of what is said to others meanwhile.
            let listener = &mut self.streams[usize::from(before.0)];
            listener.egress.broke(from);
        }
        if let Some(to) = to {
            self.count_branches(to);
        }
        let itself = Some(from);
        if (before == itself) != (to == itself) {
            self.schedule_report(now, from); // RTCP to a party that hears itself is ours
        }
        Ok(())
    }

    pub(super) fn close(&mut self, now: Micros, ix: StreamIx) -> Result<(), ChangeError> {
        self.open_stream(ix)?;
        self.end_gather(now, ix, GatherEnd::Gone);
        self.stop_play(now, ix.into(), None)?;
        self.abandon_keys(now, ix);
        self.quit_bridge(now, ix);
        self.end_digits(now, ix)?;
        let stream = self.open_stream(ix)?;
        stream.gather = None;
        stream.voice = None; // it makes and hears nothing any more
        let flags = &mut stream.flags;
        flags.speaks = false;
        flags.closed = true;
        flags.pin_wanted = false;
        flags.report_due = false;
        let to = self.streams[usize::from(ix.0)].to;
        self.unrecord(now, ix);
        self.dismiss(ix);
        for listener in 0..self.streams.len() {
            // Whoever heard it must not wait for it to fall silent.
            self.forget(self.streams[listener].ix, ix);
        }
        if let Some(to) = to {
            self.count_branches(to);
        }
        self.outputs = true;
        Ok(())
    }

    pub(super) fn open_stream(&mut self, ix: StreamIx) -> Result<&mut Stream, ChangeError> {
        let stream = self.streams.get_mut(usize::from(ix.0));
        let stream = stream.ok_or(ChangeError::UnknownStream(ix))?;
        if stream.flags.closed {
            Err(ChangeError::StreamClosed(ix))
        } else {
            Ok(stream)
        }
    }
}

pub(super) fn check_types(types: &[PayloadType]) -> Result<(), ChangeError> {
    if types.len() > PAYLOAD_TYPES_MAX {
        return Err(ChangeError::TooManyPayloadTypes);
    }
    let valid = |kind: &PayloadType| {
        kind.pt <= 127 && kind.out <= 127 && (1..=CLOCK_HZ_MAX).contains(&kind.clock_hz)
    };
    let broken = types.iter().find(|kind| !valid(kind));
    broken.map_or(Ok(()), |kind| Err(ChangeError::PayloadType(kind.pt)))
}
