//! A timer wheel of call slots: 1 ms per bucket, one bit of occupancy for each of 1,024 buckets.

use std::time::{Duration, Instant};

/// Length of one bucket, and so the resolution of call timers.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Timers that need not be exact share buckets this many ticks apart, to wake the worker rarely.
const COARSE_TICKS: u64 = 10;

/// Farthest a timer is scheduled; a later one is looked at then and scheduled again.
pub(super) const HORIZON_TICKS: u64 = 1_000;

const BUCKETS: usize = 1_024;

const WORDS: usize = BUCKETS / 64;

/// Which call slots are due when. The owner remembers each slot's due tick; entries that do not
/// match it any more are stale and skipped by the owner.
#[derive(Debug)]
pub(super) struct Wheel {
    start: Instant,
    /// The next tick to fire.
    next: u64,
    buckets: [Vec<u32>; BUCKETS],
    occupied: [u64; WORDS],
    /// The bucket being fired, kept for its allocation.
    firing: Vec<u32>,
}

impl Wheel {
    pub(super) fn new(start: Instant) -> Self {
        let buckets = std::array::from_fn(|_| Vec::new());
        Self {
            start,
            next: 0,
            buckets,
            occupied: [0; WORDS],
            firing: Vec::new(),
        }
    }

    /// The tick at which a timer due at `at` fires (never before `at`): not earlier than the next
    /// to fire, not later than the horizon. One that is not `exact` may fire up to
    /// [`COARSE_TICKS`] later.
    pub(super) fn tick_of(&self, at: Option<Instant>, exact: bool) -> u64 {
        let far = self.next + HORIZON_TICKS;
        let Some(at) = at else { return far };
        let elapsed = at.saturating_duration_since(self.start).as_nanos();
        let tick = u64::try_from(elapsed.div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX);
        let tick = if exact {
            tick
        } else {
            tick.checked_next_multiple_of(COARSE_TICKS).unwrap_or(far)
        };
        tick.clamp(self.next, far)
    }

    /// Schedules `slot` at a tick that [`Wheel::tick_of`] gave.
    pub(super) fn schedule(&mut self, slot: u32, tick: u64) {
        let bucket = bucket_of(tick);
        self.buckets[bucket].push(slot);
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Takes the slots of the next tick that has passed at `now`. Give the vector back with
    /// [`Wheel::recycle`]. After a long stall it catches up one tick per call.
    pub(super) fn fire(&mut self, now: Instant) -> Option<(u64, Vec<u32>)> {
        let current = self.elapsed_ticks(now);
        let tick = self.next_occupied().filter(|&t| t <= current);
        let Some(tick) = tick else {
            self.next = self.next.max(current + 1);
            return None;
        };
        self.next = tick + 1;
        let bucket = bucket_of(tick);
        self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        std::mem::swap(&mut self.firing, &mut self.buckets[bucket]);
        Some((tick, std::mem::take(&mut self.firing)))
    }

    pub(super) fn recycle(&mut self, mut fired: Vec<u32>) {
        fired.clear();
        self.firing = fired;
    }

    /// When the next occupied bucket fires.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let ticks = u32::try_from(self.next_occupied()?).ok()?;
        self.start.checked_add(TICK * ticks)
    }

    /// All entries lie within [next, next + BUCKETS), so the occupied bits say which comes first.
    fn next_occupied(&self) -> Option<u64> {
        let (word, bit) = (bucket_of(self.next) / 64, bucket_of(self.next) % 64);
        // The first word is looked at twice: first the bits from here on, last those before.
        for step in 0..=WORDS {
            let mut bits = self.occupied[(word + step) % WORDS];
            if step == 0 {
                bits &= u64::MAX << bit;
            }
            if step == WORDS {
                bits &= !(u64::MAX << bit);
            }
            if bits != 0 {
                let ahead = step * 64 + bits.trailing_zeros() as usize;
                return Some(self.next + (ahead - bit) as u64);
            }
        }
        None
    }

    fn elapsed_ticks(&self, now: Instant) -> u64 {
        let ticks = now.saturating_duration_since(self.start).as_nanos() / TICK.as_nanos();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

fn bucket_of(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS as u64).expect("below 1,024")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(wheel: &mut Wheel, now: Instant) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        while let Some((tick, slots)) = wheel.fire(now) {
            all.extend(slots.iter().map(|&s| (tick, s)));
            wheel.recycle(slots);
        }
        all
    }

    #[test]
    fn fires_at_its_time_never_before() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let at = start + Duration::from_millis(55);
        wheel.schedule(7, wheel.tick_of(Some(at), false));
        assert_eq!(wheel.next_due(), Some(start + Duration::from_millis(60)));
        assert!(drain(&mut wheel, start + Duration::from_millis(59)).is_empty());
        assert_eq!(
            drain(&mut wheel, start + Duration::from_millis(60)),
            [(60, 7)]
        );
        assert_eq!(wheel.next_due(), None);
        let at = start + Duration::from_micros(71_001);
        wheel.schedule(7, wheel.tick_of(Some(at), true));
        assert_eq!(wheel.next_due(), Some(start + Duration::from_millis(72)));
    }

    #[test]
    fn clamps_to_past_and_horizon() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        drain(&mut wheel, start + Duration::from_secs(10));
        let (now, later) = (10_001, start + Duration::from_secs(3600));
        assert_eq!(wheel.tick_of(Some(start), true), now);
        assert_eq!(wheel.tick_of(None, false), now + HORIZON_TICKS);
        assert_eq!(wheel.tick_of(Some(later), false), now + HORIZON_TICKS);
    }

    #[test]
    fn catches_up_in_order_after_a_stall() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for slot in (0..100).rev() {
            let at = start + TICK * slot;
            wheel.schedule(slot, wheel.tick_of(Some(at), true));
        }
        let fired = drain(&mut wheel, start + Duration::from_secs(60));
        assert_eq!(fired.len(), 100);
        assert!(fired.is_sorted());
    }
}
