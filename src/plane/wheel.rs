//! A timer wheel of call slots: 10 ms per bucket, one word of occupancy for 128 buckets.

use std::time::{Duration, Instant};

/// Length of one bucket, and so the resolution of call timers.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Farthest a timer is scheduled; a later one is looked at then and scheduled again.
pub(super) const HORIZON_TICKS: u64 = 100;

const BUCKETS: usize = 128;

/// Which call slots are due when. The owner remembers each slot's due tick; entries that do not
/// match it any more are stale and skipped by the owner.
#[derive(Debug)]
pub(super) struct Wheel {
    start: Instant,
    /// The next tick to fire.
    next: u64,
    buckets: [Vec<u32>; BUCKETS],
    occupied: u128,
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
            occupied: 0,
            firing: Vec::new(),
        }
    }

    /// The tick at which a timer due at `at` fires (never before `at`): not earlier than the next
    /// to fire, not later than the horizon.
    pub(super) fn tick_of(&self, at: Option<Instant>) -> u64 {
        let far = self.next + HORIZON_TICKS;
        let Some(at) = at else { return far };
        let elapsed = at.saturating_duration_since(self.start).as_nanos();
        let tick = u64::try_from(elapsed.div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX);
        tick.clamp(self.next, far)
    }

    /// Schedules `slot` at a tick that [`Wheel::tick_of`] gave.
    pub(super) fn schedule(&mut self, slot: u32, tick: u64) {
        let bucket = bucket_of(tick);
        self.buckets[bucket].push(slot);
        self.occupied |= 1 << bucket;
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
        self.occupied &= !(1 << bucket);
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
        if self.occupied == 0 {
            return None;
        }
        let shift = u32::try_from(bucket_of(self.next)).expect("below 128");
        Some(self.next + u64::from(self.occupied.rotate_right(shift).trailing_zeros()))
    }

    fn elapsed_ticks(&self, now: Instant) -> u64 {
        let ticks = now.saturating_duration_since(self.start).as_nanos() / TICK.as_nanos();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

fn bucket_of(tick: u64) -> usize {
    usize::try_from(tick % BUCKETS as u64).expect("below 128")
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
        wheel.schedule(7, wheel.tick_of(Some(at)));
        assert_eq!(wheel.next_due(), Some(start + Duration::from_millis(60)));
        assert!(drain(&mut wheel, start + Duration::from_millis(59)).is_empty());
        assert_eq!(
            drain(&mut wheel, start + Duration::from_millis(60)),
            [(6, 7)]
        );
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn clamps_to_past_and_horizon() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        drain(&mut wheel, start + Duration::from_secs(10)); // next is tick 1001
        assert_eq!(wheel.tick_of(Some(start)), 1001);
        assert_eq!(wheel.tick_of(None), 1101);
        assert_eq!(wheel.tick_of(Some(start + Duration::from_secs(3600))), 1101);
    }

    #[test]
    fn catches_up_in_order_after_a_stall() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for slot in (0..100).rev() {
            let at = start + TICK * slot;
            wheel.schedule(slot, wheel.tick_of(Some(at)));
        }
        let fired = drain(&mut wheel, start + Duration::from_secs(60));
        assert_eq!(fired.len(), 100);
        assert!(fired.is_sorted());
    }
}
