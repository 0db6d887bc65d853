//! One press as telephone-event packets: what each of them says (RFC 4733 §2.5.1).
//!
//! Packets come one per packet interval, from the moment the key goes down. All keep the timestamp
//! of that moment, until the duration does not fit in 16 bits: then a new segment begins 65,535
//! ticks later. The last packet of the press, and of each segment, is sent three times, at the
//! packet interval and not in a burst, so that one burst of loss does not take all of them.

use crate::engine::time::{low32, ticks};
use crate::wire::event::{EVENT_LEN, EventCode, TelephoneEvent};

/// How often the last packet is sent (§2.5.1.4).
pub(in crate::engine) const ENDS: u8 = 3;

/// Longest segment in ticks.
const SEGMENT_TICKS: u64 = u16::MAX as u64;

/// One packet of a press.
#[derive(Clone, Copy)]
pub(in crate::engine) struct PressPacket {
    /// Its payload.
    pub(in crate::engine) payload: [u8; EVENT_LEN],
    /// How far its timestamp is behind that of the press, in ticks.
    pub(in crate::engine) offset_ticks: u32,
    /// It is the first.
    pub(in crate::engine) marker: bool,
}

/// The packets of one press.
pub(in crate::engine) struct PressSender {
    code: EventCode,
    volume: u8,
    clock_hz: u32,
    /// How long it is in ticks, once that is known.
    whole: Option<u64>,
    /// Ticks that were told so far.
    told: u64,
    /// Ticks of the segments that are closed.
    closed: u64,
    /// How often the last packet of this segment, and of the press, is still to be sent.
    closings: u8,
    ends: u8,
    begun: bool,
}

/// Does not say which key: logs do not hold what people dial.
impl std::fmt::Debug for PressSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PressSender")
            .field("whole", &self.whole)
            .field("told", &self.told)
            .finish_non_exhaustive()
    }
}

impl PressSender {
    /// A key goes down, for `duration_us` if that is known.
    pub(in crate::engine) fn new(
        code: EventCode,
        volume: u8,
        clock_hz: u32,
        duration_us: Option<u64>,
    ) -> Self {
        Self {
            code,
            volume,
            clock_hz,
            whole: duration_us.map(|us| ticks_of(us, clock_hz)),
            told: 0,
            closed: 0,
            closings: 0,
            ends: ENDS,
            begun: false,
        }
    }

    /// The key comes up: it was down for so long, or for as long as was told already.
    pub(in crate::engine) fn release(&mut self, duration_us: u64) {
        if self.whole.is_none() {
            self.whole = Some(ticks_of(duration_us, self.clock_hz).max(self.told));
        }
    }

    /// It ends now, whatever was intended, after so long or after what was told already.
    pub(in crate::engine) fn cut(&mut self, duration_us: u64) {
        let now = ticks_of(duration_us, self.clock_hz).max(self.told);
        self.whole = Some(self.whole.map_or(now, |whole| whole.min(now)));
    }

    /// Its last packet was sent as often as it has to be.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.ends == 0
    }

    /// The next packet, which tells of the press until `until_us` after its beginning: the end of
    /// the packet interval that begins now. `None`: there are no more.
    pub(in crate::engine) fn next(&mut self, until_us: u64) -> Option<PressPacket> {
        if self.is_over() {
            return None;
        }
        let marker = !std::mem::replace(&mut self.begun, true);
        let until = ticks_of(until_us, self.clock_hz);
        self.told = self.told.max(until.min(self.whole.unwrap_or(u64::MAX)));
        if self.closings == 0 && self.told - self.closed > SEGMENT_TICKS {
            self.closings = ENDS;
        }
        let offset_ticks = low32(self.closed);
        let (duration, end) = match self.closings {
            0 => (self.told - self.closed, self.whole == Some(self.told)),
            _ => (SEGMENT_TICKS, false),
        };
        match self.closings {
            0 => self.ends -= u8::from(end),
            1 => (self.closings, self.closed) = (0, self.closed + SEGMENT_TICKS),
            _ => self.closings -= 1,
        }
        let event = TelephoneEvent {
            code: self.code,
            end,
            volume: self.volume,
            duration: u16::try_from(duration).unwrap_or(u16::MAX).max(1), // 0 is for states
        };
        Some(PressPacket {
            payload: event.to_bytes(),
            offset_ticks,
            marker,
        })
    }
}

/// Does not wrap: a press is bounded, and far shorter than 2^32 ticks of any clock.
fn ticks_of(span_us: u64, clock_hz: u32) -> u64 {
    ticks(span_us, clock_hz).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// Offset, duration and E of all packets of a press, 20 ms apart.
    fn told(clock_hz: u32, ms: u64) -> Vec<(u32, u16, bool)> {
        let mut press = PressSender::new(EventCode(5), 8, clock_hz, Some(ms * MS));
        let packets = std::iter::successors(Some(20 * MS), |until| Some(until + 20 * MS));
        let packets = packets.map_while(|until| press.next(until)).enumerate();
        let event = |(n, packet): (usize, PressPacket)| {
            assert_eq!(packet.marker, n == 0);
            let event = TelephoneEvent::parse(&packet.payload).unwrap();
            assert_eq!((event.code, event.volume), (EventCode(5), 8));
            (packet.offset_ticks, event.duration, event.end)
        };
        packets.map(event).collect()
    }

    #[test]
    fn the_duration_grows_to_just_what_was_asked_for() {
        let growing = (1..10).map(|n| (0, 160 * n, false));
        let expected: Vec<_> = growing.chain([(0, 1_600, true); 3]).collect();
        assert_eq!(told(8_000, 200), expected);
        assert_eq!(
            told(8_000, 20),
            [(0, 160, true); 3],
            "one packet tells it all"
        );
        let odd = told(48_000, 50);
        assert_eq!(
            odd[..3],
            [(0, 960, false), (0, 1_920, false), (0, 2_400, true)]
        );
        assert_eq!(odd.len(), 5);
    }

    #[test]
    fn what_does_not_fit_goes_on_in_another_segment() {
        // 65,535 ticks at 48 kHz are 1,365.3 ms.
        let all = told(48_000, 1_500);
        let closed: Vec<_> = all.iter().filter(|(_, d, _)| *d == u16::MAX).collect();
        assert_eq!(closed, [&(0, u16::MAX, false); 3]);
        let rest = 6_465; // of 72,000
        assert_eq!(all[all.len() - 3..], [(65_535, rest, true); 3]);
        let second = all.iter().find(|(offset, ..)| *offset > 0).unwrap();
        // The last packet of the first segment took three intervals, from 1,380 ms on.
        assert_eq!(*second, (65_535, 3_585, false)); // 1,440 ms
    }

    #[test]
    fn a_press_that_just_fits_is_one_segment() {
        let clock_hz = 1_000_000; // one tick is a microsecond
        for (ticks, segments) in [(65_535, 1), (65_536, 2), (131_070, 2), (131_071, 3)] {
            let mut press = PressSender::new(EventCode(0), 0, clock_hz, Some(ticks));
            let mut offsets = Vec::new();
            let mut whole = 0;
            for n in 1.. {
                let Some(packet) = press.next(n * 10 * MS) else {
                    break;
                };
                offsets.push(packet.offset_ticks);
                let event = TelephoneEvent::parse(&packet.payload).unwrap();
                whole = u64::from(packet.offset_ticks) + u64::from(event.duration);
            }
            offsets.dedup();
            assert_eq!((offsets.len(), whole), (segments, ticks));
        }
    }

    #[test]
    fn a_key_that_comes_up_is_as_long_as_it_was_down_and_no_shorter_than_told() {
        for (down_ms, last) in [(70, 560), (30, 480), (0, 480)] {
            let mut press = PressSender::new(EventCode(1), 8, 8_000, None);
            (1..=3).for_each(|n| assert!(press.next(n * 20 * MS).is_some()));
            press.release(down_ms * MS);
            press.release(9_000 * MS); // once is enough
            let ends: Vec<_> = (4..).map_while(|n| press.next(n * 20 * MS)).collect();
            let ends: Vec<_> = ends
                .iter()
                .filter_map(|end| TelephoneEvent::parse(&end.payload))
                .collect();
            assert_eq!(ends.len(), usize::from(ENDS), "{down_ms}");
            assert!(
                ends.iter().all(|end| end.end && end.duration == last),
                "{ends:?}"
            );
        }
    }
}
