//! The least that packets take from sender to tape, as it changes with time: a line below all of
//! them.
//!
//! Jitter only ever delays. So the fastest packets of some seconds show both where the sender's
//! clock stands and how much faster or slower than ours it runs: the line that lies below all of
//! them and touches them in their midst (S. B. Moon, P. Skelly, D. Towsley, "Estimation and removal
//! of clock skew from network delay measurements", INFOCOM 1999). With jitter of 0 to 80 ms in
//! each packet it is within 2 ms of the truth after 8 s, and within 0.5 ms after 80 s, of whatever
//! drift.

/// Fastest packets that are remembered, one for each bucket of time.
const BUCKETS: usize = 32;

/// A bucket's time in seconds, at first and at most: it doubles when all are used.
const BUCKET_S_MIN: f64 = 0.25;
const BUCKET_S_MAX: f64 = 4.0;

/// Packets of so many seconds say something about drift.
const SPAN_S_MIN: f64 = 4.0;

/// Largest drift that is followed: more is not a clock.
const SLOPE_MAX: f64 = 2e-3;

/// A delay that changed by more than this in seconds is another way through the network.
const STEP_S: f64 = 0.010;

/// Seconds, in which packets came, until a longer delay is believed to stay.
const RECENT: usize = 3;

/// The fastest packet of a bucket, all in seconds.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    since: f64,
    at: f64,
    transit: f64,
}

/// The line.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    buckets: Vec<Bucket>,
    bucket_s: f64,
    /// At time `from` it is at `level`; both and the slope in seconds.
    from: f64,
    level: f64,
    slope: f64,
    /// Least distance above the line in each of the latest seconds, latest first.
    recent: [f64; RECENT],
    recent_since: f64,
}

impl Envelope {
    /// Begins with a packet that came `at` and took `transit`, in seconds of whatever origin. A
    /// clock known before may still have its `slope`.
    pub(super) fn new(at: f64, transit: f64, slope: f64) -> Self {
        let mut buckets = Vec::with_capacity(BUCKETS);
        buckets.push(Bucket {
            since: at,
            at,
            transit,
        });
        Self {
            buckets,
            bucket_s: BUCKET_S_MIN,
            from: at,
            level: transit,
            slope,
            recent: [f64::INFINITY; RECENT],
            recent_since: at,
        }
    }

    /// The least transit at a time.
    pub(super) fn at(&self, at: f64) -> f64 {
        self.level + self.slope * (at - self.from)
    }

    /// How much it grows per second: positive where the sender's clock is slow.
    pub(super) fn slope(&self) -> f64 {
        self.slope
    }

    /// Takes a packet in; times do not go back.
    pub(super) fn heard(&mut self, at: f64, transit: f64) {
        let above = transit - self.at(at);
        if above < -STEP_S {
            *self = Self::new(at, transit, self.slope);
            return;
        }
        self.level += above.min(0.0);
        if self.has_risen(at, above) {
            let least = self.recent.iter().copied().fold(f64::INFINITY, f64::min);
            *self = Self::new(at, self.at(at) + least, self.slope);
            return;
        }
        let slope = self.slope;
        match self.buckets.last_mut() {
            Some(last) if at - last.since < self.bucket_s => {
                if transit - slope * (at - last.at) < last.transit {
                    (last.at, last.transit) = (at, transit);
                }
            }
            _ => self.next_bucket(at, transit),
        }
    }

    /// Whether nothing was near the line any more for some seconds.
    fn has_risen(&mut self, at: f64, above: f64) -> bool {
        if at - self.recent_since < 1.0 {
            self.recent[0] = self.recent[0].min(above);
            return false;
        }
        let risen = self.recent.iter().all(|least| {
            // Infinite where there was nothing so far.
            least.is_finite() && *least > STEP_S
        });
        if !risen {
            self.recent.rotate_right(1);
            self.recent[0] = above;
            self.recent_since = at;
        }
        risen
    }

    fn next_bucket(&mut self, at: f64, transit: f64) {
        if self.buckets.len() == BUCKETS {
            if self.bucket_s < BUCKET_S_MAX {
                self.halve();
            } else {
                self.buckets.remove(0);
            }
        }
        self.fit();
        self.buckets.push(Bucket {
            since: at,
            at,
            transit,
        });
    }

    /// Each two buckets become one.
    fn halve(&mut self) {
        for pair in 0..BUCKETS / 2 {
            let (first, second) = (self.buckets[2 * pair], self.buckets[2 * pair + 1]);
            let expected = first.transit + self.slope * (second.at - first.at);
            let mut faster = if second.transit < expected {
                second
            } else {
                first
            };
            faster.since = first.since;
            self.buckets[pair] = faster;
        }
        self.buckets.truncate(BUCKETS / 2);
        self.bucket_s *= 2.0;
    }

    /// Puts the line below all buckets.
    fn fit(&mut self) {
        let (Some(first), Some(last)) = (self.buckets.first(), self.buckets.last()) else {
            return;
        };
        let (start, end) = (first.at, last.at);
        if end - start >= SPAN_S_MIN {
            self.slope = self
                .slope_below(f64::midpoint(start, end))
                .clamp(-SLOPE_MAX, SLOPE_MAX);
        }
        self.from = end;
        let level = |bucket: &Bucket| bucket.transit + self.slope * (end - bucket.at);
        self.level = self.buckets.iter().map(level).fold(f64::INFINITY, f64::min);
    }

    /// Slope of the lower convex hull of all buckets at a time within them.
    fn slope_below(&self, mid: f64) -> f64 {
        let mut hull: Vec<(f64, f64)> = Vec::with_capacity(BUCKETS);
        for bucket in &self.buckets {
            let new = (bucket.at, bucket.transit);
            while let [.., a, b] = hull[..]
                && (b.1 - a.1) * (new.0 - a.0) >= (new.1 - a.1) * (b.0 - a.0)
            {
                hull.pop();
            }
            hull.push(new);
        }
        let edge = hull.windows(2).find(|edge| edge[1].0 >= mid);
        edge.map_or(self.slope, |edge| {
            let run = edge[1].0 - edge[0].0;
            if run > 0.0 {
                (edge[1].1 - edge[0].1) / run
            } else {
                self.slope
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 20 ms over a network with uniform jitter; largest error after the first 10 s.
    fn worst(
        ppm: f64,
        jitter_s: f64,
        step: impl Fn(f64) -> f64,
        judged: impl Fn(f64) -> bool,
    ) -> f64 {
        let mut random = fastrand::Rng::with_seed(7);
        let truth = |sent: f64| sent * ppm * 1e-6 + step(sent);
        let mut packets: Vec<(f64, f64)> = (0..45_000)
            .map(|packet| {
                let sent = f64::from(packet) * 0.02;
                (sent + truth(sent) + random.f64() * jitter_s, sent)
            })
            .collect();
        packets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut envelope = Envelope::new(packets[0].0, packets[0].0 - packets[0].1, 0.0);
        let mut worst: f64 = 0.0;
        for (at, sent) in packets {
            envelope.heard(at, at - sent);
            if judged(sent) {
                worst = worst.max((envelope.at(at) - truth(sent)).abs());
            }
        }
        worst
    }

    #[test]
    fn the_line_follows_any_clock_through_jitter() {
        for ppm in [0.0, 100.0, -100.0, 1_000.0, -1_000.0] {
            for (from_s, most) in [(8.0, 2e-3), (80.0, 0.5e-3)] {
                let error = worst(ppm, 0.08, |_| 0.0, |sent| sent > from_s);
                assert!(error < most, "{ppm} ppm, after {from_s} s: {error} s");
            }
            let error = worst(ppm, 0.0, |_| 0.0, |sent| sent > 12.0);
            assert!(error < 0.05e-3, "{ppm} ppm, no jitter: {error} s");
        }
    }

    #[test]
    fn another_way_through_the_network_is_found_within_seconds() {
        for step_s in [0.03, -0.03, 0.3, -0.3] {
            let step = |sent: f64| if sent > 300.0 { step_s } else { 0.0 };
            let judged = |sent: f64| (20.0..299.0).contains(&sent) || sent > 315.0;
            let error = worst(50.0, 0.02, step, judged);
            assert!(error < 1.5e-3, "{step_s}: {error} s");
        }
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut envelope = Envelope::new(0.0, 0.0, 0.0);
        let mut now = 0.0;
        for _ in 0..100_000 {
            now += random.f64();
            envelope.heard(now, random.f64() * 1e6 - 5e5);
            assert!(envelope.buckets.len() <= BUCKETS && envelope.slope.abs() <= SLOPE_MAX);
            assert!(envelope.at(now).is_finite());
        }
    }
}
