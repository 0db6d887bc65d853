//! What happens by itself: ends, stalls, pins, our own reports.

use super::mask::mask_at;
use super::*;

impl Call {
    /// Notes the time; it never runs backwards.
    #[inline]
    pub(super) fn tick(&mut self, now: Instant) -> Micros {
        self.now = self.now.max(Micros::of(self.epoch, now));
        self.now
    }

    pub(super) fn arm(&mut self, at: Micros) {
        self.next_timeout = self.next_timeout.min(at);
        self.streams_at = self.streams_at.min(at);
    }

    /// Finds the next timeout anew. O(streams).
    pub(super) fn schedule(&mut self) {
        let streams = self.streams.iter().map(next_of).min();
        self.streams_at = streams.unwrap_or(Micros::NEVER);
        self.mouths_at = self.next_mouth();
        self.keys_at = self.next_key();
        self.schedule_frames();
    }

    /// The same while no stream's timeouts have changed, or only those that are known.
    pub(super) fn schedule_frames(&mut self) {
        let call = self.call_timers().map(|(at, _)| at);
        let next = call.filter(|_| self.ended.is_none()).min();
        let frames = match self.ended {
            None => self.next_frame().min(self.keys_at),
            Some(_) => Micros::NEVER,
        };
        self.frames = frames != Micros::NEVER;
        let next = next.unwrap_or(Micros::NEVER);
        let gathers = match self.ended {
            None => self.gathers_at,
            Some(_) => Micros::NEVER,
        };
        self.next_timeout = next.min(self.streams_at).min(frames).min(gathers);
    }

    /// The call's timers and when they end it.
    pub(super) fn call_timers(&self) -> impl Iterator<Item = (Micros, EndReason)> + use<> {
        let timers = self.config.timers;
        let setup = timers.setup.filter(|_| self.last_media.is_none());
        let silence = self.last_media.zip(timers.silence);
        let silence = silence.map(|(last, span)| (last.plus(micros(span)), EndReason::Silence));
        let created = self.created;
        let from_start = |span| created.plus(micros(span));
        let setup = setup.map(|span| (from_start(span), EndReason::Setup));
        let limit = timers
            .limit
            .map(|span| (from_start(span), EndReason::Limit));
        [setup, silence, limit].into_iter().flatten()
    }

    /// Draws when the next own report is due.
    pub(super) fn schedule_report(&mut self, now: Micros, ix: StreamIx) {
        let stream = &mut self.streams[usize::from(ix.0)];
        let spread_us = stream.lot(now).u64(..REPORT_INTERVAL_US);
        stream.report_at = match stream.makes_rtcp() {
            true => now.plus(REPORT_INTERVAL_US / 2 + spread_us),
            false => Micros::NEVER,
        };
        self.streams_at = self.streams_at.min(stream.report_at);
    }

    pub(super) fn stream_timeout(&mut self, now: Micros, ix: usize) {
        let stream = &mut self.streams[ix];
        if stream.flags.closed {
            return;
        }
        let ix = StreamIx(u16::try_from(ix).unwrap_or(u16::MAX));
        if stream.pin_at <= now {
            stream.pin_at = Micros::NEVER;
            stream.flags.pin_wanted = stream.may_pin();
            self.outputs |= stream.flags.pin_wanted != stream.flags.pinned;
        }
        if stall_at(stream) <= now {
            stream.flags.stalled = true;
            if stream.flags.sends {
                self.log.push(now, ix, EventKind::Stalled);
            }
        }
        if digits_at(stream) <= now {
            self.digits_timeout(now, ix);
        }
        if mask_at(&self.streams[usize::from(ix.0)]) <= now {
            self.mask_timeout(now, ix);
        }
        let stream = &mut self.streams[usize::from(ix.0)];
        if stream.report_at <= now {
            stream.flags.report_due = true;
            self.outputs = true;
            self.schedule_report(now, ix);
        }
    }

    pub(super) fn stream_output(&mut self, ix: usize) -> Option<Output> {
        let stream = &mut self.streams[ix];
        let flags = &mut stream.flags;
        if flags.pinned != flags.pin_wanted
            && let Some(port) = stream.ports[Component::Rtp as usize]
        {
            flags.pinned = flags.pin_wanted;
            let peer = stream.latch.source().filter(|_| flags.pinned);
            return Some(Output::Pin { port, peer });
        }
        if std::mem::take(&mut flags.report_due) {
            self.own_report(ix)
        } else {
            None
        }
    }

    /// Our own SR or RR with a random CNAME; nothing where there is nothing to say.
    pub(super) fn own_report(&mut self, ix: usize) -> Option<Output> {
        let now = self.now;
        let stream = &mut self.streams[ix];
        let (seed, leg) = stream.identity;
        let ntp_base = fastrand::Rng::with_seed(seed).u64(..);
        // One CNAME per leg: its audio and video belong together, other legs must not.
        let leg = u64::from(leg.0) + 1;
        let mut random = fastrand::Rng::with_seed(ntp_base ^ leg.wrapping_mul(0x9e37_79b9));
        let own_ssrc = random.u32(..).wrapping_add(u32::from(stream.config.media));
        let cname: [u8; CNAME_LEN] =
            std::array::from_fn(|_| u8::try_from(random.alphanumeric()).unwrap_or(b'x'));
        let (port, to) = stream.rtcp_target()?;
        let block = stream.sources.report_block(now);
        if block.is_none() && !stream.egress.started() {
            return None;
        }
        let ntp = ntp_base.wrapping_add(ntp_of(now));
        let sender = stream
            .egress
            .sender_report(now)
            .map(|(timestamp, packets, octets)| SenderInfo {
                ntp,
                rtp_timestamp: timestamp.0,
                packets,
                octets,
            });
        let ssrc = if stream.egress.started() {
            stream.egress.ssrc
        } else {
            own_ssrc
        };
        let cname = std::str::from_utf8(&cname).unwrap_or("anonymous");
        let packet = Report {
            ssrc,
            sender,
            block,
            cname,
        }
        .write();
        if sender.is_some() {
            stream.sent_sender_report(now, middle(ntp));
        }
        count(&mut stream.rtcp_out, packet.len());
        Some(Output::Transmit { port, to, packet })
    }
}

/// When a stream counts as stalled.
fn stall_at(stream: &Stream) -> Micros {
    let runs = stream.first_packet.is_some() && !stream.flags.stalled;
    if runs {
        stream.last_packet.plus(STALL_US)
    } else {
        Micros::NEVER
    }
}

/// A stream's next timeout.
fn next_of(stream: &Stream) -> Micros {
    if stream.flags.closed {
        return Micros::NEVER;
    }
    let own = stall_at(stream).min(stream.pin_at).min(stream.report_at);
    own.min(digits_at(stream)).min(mask_at(stream))
}

/// When something is due on its party's keys.
fn digits_at(stream: &Stream) -> Micros {
    let digits = stream.digits.as_ref();
    digits.map_or(Micros::NEVER, |digits| digits.next_timeout())
}

/// A time span as NTP 32.32 fixed point.
fn ntp_of(span: Micros) -> u64 {
    let (whole, rest) = (span.0 / 1_000_000, span.0 % 1_000_000);
    (whole << 32) | ((rest << 32) / 1_000_000)
}
