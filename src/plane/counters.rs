//! What a worker counts. One writer (the worker), any number of readers (the metrics scrape).

use std::sync::atomic::{AtomicU64, Ordering};

use super::driver::DriverCounters;
use crate::engine::DropReason;

/// A number that one thread writes and others read; neither ever waits.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Its value now, which becomes zero; for maxima that restart with each scrape.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// For the single writer only.
    pub(super) fn raise_to(&self, value: u64) {
        if value > self.get() {
            self.set(value);
        }
    }

    /// For counters that several threads write.
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A worker's counters, on cache lines of their own. All grow only, except where said.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Datagrams received.
    pub packets_in: Counter,
    /// Their UDP payload bytes.
    pub bytes_in: Counter,
    /// Datagrams sent, the calls' own RTCP included.
    pub packets_out: Counter,
    /// Their UDP payload bytes.
    pub bytes_out: Counter,
    /// Datagrams not sent because the network's queue was full.
    pub send_full: Counter,
    /// Datagrams not sent for another reason.
    pub send_errors: Counter,
    /// Datagrams for a port that was closed meanwhile.
    pub send_closed: Counter,
    /// ICMP errors that came back.
    pub icmp_errors: Counter,
    /// Datagrams too long to receive.
    pub oversize: Counter,
    /// Other failures to receive.
    pub receive_errors: Counter,
    /// Failures to connect a latched port.
    pub pin_errors: Counter,
    /// Returns from waiting; packets per wake is `packets_in` divided by this.
    pub wakes: Counter,
    /// Times a port was served more than one datagram at once, for it had a burst.
    pub bursts: Counter,
    /// Datagrams dropped by the engine, by [`DropReason`] (index is the discriminant).
    pub drops: [Counter; DropReason::ALL.len()],
    /// Commands carried out.
    pub commands: Counter,
    /// Commands waiting now (a level, not a count).
    pub commands_waiting: Counter,
    /// Turns in which commands had to wait because nobody took the reports.
    pub reports_stuck: Counter,
    /// Events of calls, such as key presses, that nobody took in time.
    pub events_lost: Counter,
    /// Key presses that were more than anybody can press.
    pub presses_ignored: Counter,
    /// Calls in the table now (a level).
    pub calls: Counter,
    /// Calls lost to a defect of ours, caught.
    pub calls_broken: Counter,
    /// Nanoseconds spent working, that is not waiting for packets.
    pub busy_ns: Counter,
    /// Longest turn in microseconds since [`Counter::take`]: a packet may have waited that long.
    pub turn_us_max: Counter,
    /// How late frames of audio were made.
    pub lateness: Lateness,
    /// What the control side writes: apart, so that it does not disturb the worker's lines.
    pub submit: SubmitCounters,
}

/// How late ticks were: each counts in the first bucket whose bound it does not exceed.
#[derive(Debug, Default)]
pub struct Lateness {
    buckets: [Counter; LATENESS_BOUNDS_US.len() + 1],
    sum_us: Counter,
}

/// Upper bounds of the buckets of [`Lateness`] in microseconds; the last bucket has none.
pub const LATENESS_BOUNDS_US: [u64; 9] =
    [100, 250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];

impl Lateness {
    /// For the worker alone.
    pub(super) fn record(&self, late_us: u64) {
        let bucket = LATENESS_BOUNDS_US.partition_point(|bound| *bound < late_us);
        let counter = &self.buckets[bucket];
        counter.set(counter.get() + 1);
        self.sum_us.set(self.sum_us.get() + late_us);
    }

    /// Ticks per bucket, not cumulative.
    #[must_use]
    pub fn counts(&self) -> [u64; LATENESS_BOUNDS_US.len() + 1] {
        std::array::from_fn(|bucket| self.buckets[bucket].get())
    }

    /// All lateness together, in microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }
}

/// Counters written by the threads that submit commands.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct SubmitCounters {
    /// Commands refused because the queue was full.
    pub refused: Counter,
}

impl WorkerCounters {
    pub(super) fn publish_driver(&self, driver: &DriverCounters) {
        self.packets_in.set(driver.packets_in);
        self.bytes_in.set(driver.bytes_in);
        self.packets_out.set(driver.packets_out);
        self.bytes_out.set(driver.bytes_out);
        self.send_full.set(driver.send_full);
        self.send_errors.set(driver.send_errors);
        self.send_closed.set(driver.send_closed);
        self.icmp_errors.set(driver.icmp_errors);
        self.oversize.set(driver.oversize);
        self.receive_errors.set(driver.receive_errors);
        self.pin_errors.set(driver.pin_errors);
        self.wakes.set(driver.wakes);
        self.bursts.set(driver.bursts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_counts_up_to_and_including_each_bound() {
        let lateness = Lateness::default();
        for late_us in [0, 100, 101, 50_000, 50_001] {
            lateness.record(late_us);
        }
        assert_eq!(lateness.counts(), [2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(lateness.sum_us(), 100_202);
    }
}
