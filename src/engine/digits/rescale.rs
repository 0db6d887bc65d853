//! Telephone-events from one clock to another: what passes between two parties whose audio has
//! different clocks says the same time in other ticks.
//!
//! Durations are 16 bits. What fits in one clock may need several segments in the other (RFC 4733
//! §2.5.1.3): 8 s at 8 kHz are six of them at 48 kHz, and all those segments become one again on
//! the way back. A packet in is a packet out, so a segment's last packet is told once and not three
//! times: the packets of the next one follow at once, and say all that it said.

use crate::wire::event::{EVENT_LEN, EventCode, TelephoneEvent};
use crate::wire::seq::RtpTimestamp;

/// Longest segment in ticks.
const SEGMENT_TICKS: u32 = u16::MAX as u32;

/// The event that passes to one listener.
#[derive(Debug, Default)]
pub(in crate::engine) struct Rescaler {
    passing: Option<Passing>,
}

struct Passing {
    ssrc: u32,
    code: EventCode,
    /// When it began, and how far behind that its newest segment is, by its sender.
    first: RtpTimestamp,
    behind: u32,
    ended: bool,
    /// Ticks of our segments that are closed, and whether that of the present one was told.
    closed: u64,
    told: bool,
}

/// Does not say which key: logs do not hold what people dial.
impl std::fmt::Debug for Passing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passing").finish_non_exhaustive()
    }
}

/// Where a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Rescaled {
    /// The sender's timestamp of the moment at which the event began.
    pub(in crate::engine) first: RtpTimestamp,
    /// How far behind that moment the packet's segment is, in our ticks.
    pub(in crate::engine) offset_ticks: u32,
}

impl Rescaler {
    /// Counts the durations of a payload in another clock, in place. `None`: it holds no event.
    pub(in crate::engine) fn rescale(
        &mut self,
        (ssrc, timestamp): (u32, RtpTimestamp),
        [from_hz, to_hz]: [u32; 2],
        payload: &mut [u8],
    ) -> Option<Rescaled> {
        let event = TelephoneEvent::parse(payload)?;
        let passing = self.find(ssrc, timestamp, event);
        let behind = timestamp.0.wrapping_sub(passing.first.0);
        let scale = |ticks: u64| ticks * u64::from(to_hz) / u64::from(from_hz.max(1));
        let whole = scale(u64::from(behind) + u64::from(event.duration));
        let (offset, duration, end) = passing.place(whole, event.end);
        let duration = match event.duration {
            0 => 0, // a state (§2.3.5)
            _ => u16::try_from(duration).unwrap_or(u16::MAX).max(1),
        };
        let events = payload.chunks_exact_mut(EVENT_LEN);
        for (ix, octets) in events.enumerate() {
            let Some(packed) = TelephoneEvent::parse(octets) else {
                continue;
            };
            let scaled = u16::try_from(scale(packed.duration.into())).unwrap_or(u16::MAX);
            let told = match ix {
                0 => TelephoneEvent {
                    duration,
                    end,
                    ..packed
                },
                _ => TelephoneEvent {
                    duration: scaled,
                    ..packed
                },
            };
            octets.copy_from_slice(&told.to_bytes());
        }
        Some(Rescaled {
            first: passing.first,
            offset_ticks: u32::try_from(offset).unwrap_or(u32::MAX),
        })
    }

    /// The event a packet is of: the one that passes, one of its segments, or a new one.
    fn find(&mut self, ssrc: u32, timestamp: RtpTimestamp, event: TelephoneEvent) -> &mut Passing {
        let known = self.passing.take().filter(|passing| {
            let behind = timestamp.0.wrapping_sub(passing.first.0);
            let next = if passing.ended { 0 } else { SEGMENT_TICKS };
            let most = passing.behind.saturating_add(next);
            let whole = behind.is_multiple_of(SEGMENT_TICKS) && behind <= most;
            whole && passing.ssrc == ssrc && passing.code == event.code
        });
        let passing = self.passing.insert(known.unwrap_or(Passing {
            ssrc,
            code: event.code,
            first: timestamp,
            behind: 0,
            ended: false,
            closed: 0,
            told: false,
        }));
        let behind = timestamp.0.wrapping_sub(passing.first.0);
        passing.behind = passing.behind.max(behind);
        passing.ended |= event.end;
        passing
    }
}

impl Passing {
    /// Offset and duration in our segments of so many ticks since the event began, and whether it
    /// ends there.
    fn place(&mut self, whole: u64, end: bool) -> (u64, u64, bool) {
        let segment = u64::from(SEGMENT_TICKS);
        if whole <= self.closed && self.closed > 0 {
            // From before the present segment.
            let offset = whole.saturating_sub(1) / segment * segment;
            return (offset, whole - offset, false);
        }
        let inside = whole - self.closed;
        if inside <= segment {
            return (self.closed, inside, end);
        }
        if !std::mem::replace(&mut self.told, true) {
            return (self.closed, segment, false);
        }
        self.closed += (inside - 1) / segment * segment;
        self.told = false;
        (self.closed, whole - self.closed, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A press of so many ticks, told every `step` ticks with three ends, as an RFC sender does.
    fn press(whole: u32, step: u32) -> Vec<(u32, TelephoneEvent)> {
        let event = |told: u32, end: bool| {
            let offset = told.saturating_sub(1) / SEGMENT_TICKS * SEGMENT_TICKS;
            let duration = u16::try_from(told - offset).unwrap();
            let (code, volume) = (EventCode(7), 10);
            let event = TelephoneEvent {
                code,
                end,
                volume,
                duration,
            };
            (offset, event)
        };
        let growing = (1..).map(|n| n * step).take_while(|told| *told < whole);
        let growing = growing.map(|told| event(told, false));
        growing.chain([event(whole, true); 3]).collect()
    }

    fn passed(events: &[(u32, TelephoneEvent)], clocks: [u32; 2]) -> Vec<(u32, TelephoneEvent)> {
        let mut rescaler = Rescaler::default();
        let base = RtpTimestamp(u32::MAX - 100);
        let pass = |(offset, event): &(u32, TelephoneEvent)| {
            let mut payload = event.to_bytes();
            let at = (9, base.plus(*offset));
            let placed = rescaler.rescale(at, clocks, &mut payload).unwrap();
            assert_eq!(placed.first, base);
            (
                placed.offset_ticks,
                TelephoneEvent::parse(&payload).unwrap(),
            )
        };
        events.iter().map(pass).collect()
    }

    #[test]
    fn durations_are_counted_in_the_listeners_clock() {
        for (clocks, whole) in [
            ([48_000, 8_000], 400),
            ([8_000, 48_000], 14_400),
            ([16_000, 8_000], 1_200),
            ([8_000, 16_000], 4_800),
        ] {
            let sent = press(2_400, 160);
            let heard = passed(&sent, clocks);
            assert_eq!(heard.len(), sent.len());
            let ends: Vec<_> = heard.iter().filter(|(_, event)| event.end).collect();
            assert_eq!(ends.len(), 3);
            assert!(
                ends.iter()
                    .all(|(offset, e)| *offset == 0 && e.duration == whole)
            );
            assert!(heard.is_sorted_by_key(|(_, event)| event.duration));
            assert!(heard.iter().all(|(_, e)| (e.code.0, e.volume) == (7, 10)));
        }
    }

    #[test]
    fn segments_are_made_where_it_does_not_fit_and_joined_where_it_does() {
        // Eight seconds.
        let heard = passed(&press(64_000, 160), [8_000, 48_000]);
        let offsets: Vec<u32> = heard.iter().map(|(offset, _)| *offset).collect();
        assert!(offsets.is_sorted());
        let mut segments = offsets.clone();
        segments.dedup();
        assert_eq!(segments, (0..6).map(|n| n * 65_535).collect::<Vec<u32>>());
        for segment in 0..5 {
            let mut last = heard.iter().filter(|(at, _)| *at == segment * 65_535);
            let (_, last) = last.next_back().unwrap();
            assert_eq!((last.duration, last.end), (u16::MAX, false));
        }
        let (offset, last) = *heard.last().unwrap();
        assert_eq!(offset + u32::from(last.duration), 384_000);
        assert!(last.end);
        // And back.
        let again = passed(&heard, [48_000, 8_000]);
        assert!(again.iter().all(|(offset, _)| *offset == 0));
        let (_, last) = *again.last().unwrap();
        assert_eq!((last.duration, last.end), (64_000, true));
    }

    #[test]
    fn packed_events_and_short_payloads_are_no_trouble() {
        let mut rescaler = Rescaler::default();
        let at = (1, RtpTimestamp(0));
        assert_eq!(rescaler.rescale(at, [48_000, 8_000], &mut [5, 0, 0]), None);
        let mut payload = [5, 0x80, 0x12, 0xc0, 6, 0x80, 0x12, 0xc0, 1];
        assert!(
            rescaler
                .rescale(at, [48_000, 8_000], &mut payload)
                .is_some()
        );
        assert_eq!(payload, [5, 0x80, 3, 0x20, 6, 0x80, 3, 0x20, 1]);
        let mut state = [5, 0, 0, 0];
        assert!(rescaler.rescale(at, [0, 48_000], &mut state).is_some());
        assert_eq!(state, [5, 0, 0, 0]);
    }

    #[test]
    fn segments_without_an_end_run_around_the_clock() {
        let mut rescaler = Rescaler::default();
        for segment in 0..=65_540_u32 {
            let at = RtpTimestamp(segment.wrapping_mul(SEGMENT_TICKS));
            let placed = rescaler.rescale((1, at), [8_000, 16_000], &mut [5, 0, 0xff, 0xff]);
            assert!(placed.is_some(), "{segment}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_arrives_makes_it_panic(
            packets in proptest::collection::vec(
                (proptest::prelude::any::<(u8, bool, u16)>(), 0u32..5, 0..3u32), 1..60,
            ),
            clocks in proptest::array::uniform2(1u32..=1_000_000),
        ) {
            let mut rescaler = Rescaler::default();
            for ((code, end, duration), segment, jump) in packets {
                let event = TelephoneEvent { code: EventCode(code % 3), end, volume: 0, duration };
                let at = RtpTimestamp((segment * SEGMENT_TICKS).wrapping_sub(jump));
                let placed = rescaler.rescale((1, at), clocks, &mut event.to_bytes());
                proptest::prop_assert!(placed.is_some());
            }
        }
    }
}
