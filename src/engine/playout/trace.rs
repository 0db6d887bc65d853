//! Network traces and reference policies, to compare delay policies on equal terms.
//!
//! A trace is what five minutes of 20 ms packets met: for each packet sent at `20 ms × n`, its
//! transit, or nothing if it was lost. All are made from a seed, in integers and `f64` arithmetic
//! that repeats on one machine type.

/// Media in a packet.
pub(super) const PTIME_US: i64 = 20_000;

/// Five minutes.
pub(super) const PACKETS: usize = 15_000;

/// What packets met, by order of sending.
pub(super) struct Trace {
    pub(super) name: &'static str,
    /// Transit in microseconds; `None`: lost.
    pub(super) transit_us: Vec<Option<i64>>,
}

/// A small generator of random numbers (splitmix64), so that traces never change.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Over 0 and at most 1.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Exponential with this mean.
    pub(super) fn exp(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }
}

/// Transits in milliseconds by a rule of the packet's number, in order of sending or not.
fn trace(name: &'static str, in_order: bool, mut rule: impl FnMut(usize) -> f64) -> Trace {
    let mut latest = i64::MIN;
    let transit_us = (0..PACKETS)
        .map(|n| {
            let sent = n as i64 * PTIME_US;
            let mut arrival = sent + (rule(n) * 1_000.0) as i64;
            if in_order {
                arrival = arrival.max(latest + 100);
            }
            latest = latest.max(arrival);
            Some(arrival - sent)
        })
        .collect();
    Trace { name, transit_us }
}

/// Half a millisecond of jitter, a few milliseconds at times.
pub(super) fn lan(seed: u64) -> Trace {
    let mut dice = Dice(seed);
    trace("lan", true, move |_| 5.0 + dice.exp(0.6))
}

/// The channel is taken for a while, then everything held up comes at once. Such bursts come in
/// busy spells of some seconds between calm ones.
pub(super) fn wifi(seed: u64) -> Trace {
    let mut dice = Dice(seed);
    let (mut busy, mut until, mut free_at, mut next) = (false, 0.0, 0.0, f64::MAX);
    trace("wifi bursts", true, move |n| {
        let now = n as f64 * 20.0;
        if now >= until {
            busy = !busy && n > 0;
            until = now + dice.exp(if busy { 10_000.0 } else { 15_000.0 });
            next = now + dice.exp(if busy { 1_200.0 } else { 9_000.0 });
        }
        if now >= next {
            free_at = now + 25.0 + dice.exp(45.0);
            next = free_at + dice.exp(if busy { 1_200.0 } else { 9_000.0 });
        }
        5.0 + dice.exp(2.5) + (free_at - now).max(0.0)
    })
}

/// Some jitter of the scheduler; every twelve seconds or so an outage, then another base delay.
pub(super) fn lte(seed: u64) -> Trace {
    let mut dice = Dice(seed);
    let (mut next, mut free_at, mut base) = (8_000.0, 0.0, 25.0);
    trace("lte handover", true, move |n| {
        let now = n as f64 * 20.0;
        if now >= next {
            free_at = now + 40.0 + dice.exp(70.0);
            base = 20.0 + 15.0 * dice.unit();
            next = now + 4_000.0 + dice.exp(8_000.0);
        }
        base + dice.exp(6.0).min(40.0) + (free_at - now).max(0.0)
    })
}

/// The sender's clock differs, and there is some jitter.
pub(super) fn drift(seed: u64, name: &'static str, ppm: f64) -> Trace {
    let mut dice = Dice(seed);
    trace(name, true, move |n| {
        70.0 + n as f64 * 20.0 * ppm / 1e6 + dice.exp(4.0) + dice.exp(4.0)
    })
}

/// The way becomes 60 ms longer for the middle of the trace.
pub(super) fn route(seed: u64) -> Trace {
    let mut dice = Dice(seed);
    trace("route change", true, move |n| {
        let detour = (PACKETS / 3..PACKETS * 2 / 3).contains(&n);
        10.0 + dice.exp(4.0) + dice.exp(4.0) + if detour { 60.0 } else { 0.0 }
    })
}

/// Heavy independent jitter, so that a packet in three overtakes another.
pub(super) fn heavy(seed: u64) -> Trace {
    let mut dice = Dice(seed);
    trace("heavy jitter", false, move |_| {
        10.0 + dice.exp(15.0) + dice.exp(15.0)
    })
}

/// All of them.
pub(super) fn all(seed: u64) -> Vec<Trace> {
    vec![
        lan(seed),
        wifi(seed),
        lte(seed),
        drift(seed, "+200 ppm drift", 200.0),
        drift(seed, "-200 ppm drift", -200.0),
        route(seed),
        heavy(seed),
    ]
}

/// How a policy did on a trace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Score {
    /// Mean delay over the fastest packet, in milliseconds.
    pub(super) delay_ms: f64,
    /// Packets that were not there when their turn came, per hundred.
    pub(super) late_percent: f64,
    /// Audio that had to be invented, per hundred.
    pub(super) dry_percent: f64,
    /// Changes of the delay per minute.
    pub(super) changes: f64,
}

impl Score {
    /// Adds a share of another, for a mean.
    pub(super) fn add(&mut self, other: &Self, shares: f64) {
        self.delay_ms += other.delay_ms / shares;
        self.late_percent += other.late_percent / shares;
        self.dry_percent += other.dry_percent / shares;
        self.changes += other.changes / shares;
    }
}

impl Trace {
    /// The fastest packet's transit.
    pub(super) fn fastest_us(&self) -> i64 {
        self.transit_us.iter().flatten().copied().min().unwrap_or(0)
    }

    /// Packet numbers and arrival times, by arrival.
    pub(super) fn arrivals(&self) -> Vec<(i64, usize)> {
        let sent = self.transit_us.iter().enumerate();
        let mut arrivals: Vec<_> = sent
            .filter_map(|(n, transit)| Some((n as i64 * PTIME_US + (*transit)?, n)))
            .collect();
        arrivals.sort_unstable();
        arrivals
    }
}

/// A policy that only says by how much media is delayed; every packet later than that is lost.
pub(super) trait Schedule {
    fn arrived(&mut self, now_us: i64, transit_us: i64);
    /// Media time to playout.
    fn playout_us(&self) -> i64;
}

/// Plays a trace by a schedule that may change at any packet, at no cost.
pub(super) fn score(trace: &Trace, policy: &mut dyn Schedule) -> Score {
    let arrivals = trace.arrivals();
    let mut next = 0;
    let (mut sum, mut late, mut changes, mut before) = (0.0, 0, 0, 0);
    for (n, transit) in trace.transit_us.iter().enumerate() {
        let sent = n as i64 * PTIME_US;
        while next < arrivals.len() && (next == 0 || arrivals[next].0 <= sent + policy.playout_us())
        {
            let (at, which) = arrivals[next];
            policy.arrived(at, at - which as i64 * PTIME_US);
            next += 1;
        }
        let playout = policy.playout_us();
        changes += i32::from((playout - before).abs() >= 1_000 && n > 0);
        before = playout;
        sum += (playout - trace.fastest_us()) as f64;
        late += i32::from(transit.is_some_and(|transit| transit > playout));
    }
    let packets = trace.transit_us.len() as f64;
    let late_percent = 100.0 * f64::from(late) / packets;
    Score {
        delay_ms: sum / packets / 1e3,
        late_percent,
        dry_percent: late_percent,
        changes: f64::from(changes) * 60e6 / (packets * PTIME_US as f64),
    }
}

/// Sixty milliseconds after the first packet, for ever.
#[derive(Default)]
pub(super) struct Fixed60(Option<i64>);

impl Schedule for Fixed60 {
    fn arrived(&mut self, _: i64, transit_us: i64) {
        self.0.get_or_insert(transit_us + 60_000);
    }

    fn playout_us(&self) -> i64 {
        self.0.unwrap_or(0)
    }
}

/// NetEQ's delay manager by its published constants: relative delay over the fastest packet of the
/// last two seconds, 20 ms bins, forgetting .983 (faster at first), quantile .95. Of each 500 ms
/// the largest delay enters the histogram; or, as it was in earlier versions, every packet's.
pub(super) struct NetEqLike {
    resample_us: i64,
    history: std::collections::VecDeque<(i64, i64)>,
    histogram: [f64; 100],
    added: u32,
    slot_since_us: i64,
    slot_max_us: i64,
    target_us: i64,
}

impl NetEqLike {
    pub(super) fn new(resample_us: i64) -> Self {
        Self {
            resample_us,
            history: std::collections::VecDeque::new(),
            histogram: [0.0; 100],
            added: 0,
            slot_since_us: i64::MIN,
            slot_max_us: 0,
            target_us: 80_000,
        }
    }

    fn add(&mut self, relative_us: i64) {
        // The factor starts small, so that the first values count: .983 only after a while.
        let forget = 0.983_f64.min(1.0 - 2.0 / f64::from(self.added + 2));
        self.added += 1;
        self.histogram.iter_mut().for_each(|bin| *bin *= forget);
        self.histogram[(relative_us / 20_000).clamp(0, 99) as usize] += 1.0 - forget;
        let (mut sum, mut at) = (0.0, 0);
        let all: f64 = self.histogram.iter().sum();
        while at < 99 && sum + self.histogram[at] < 0.95 * all {
            sum += self.histogram[at];
            at += 1;
        }
        self.target_us = (at as i64 + 1) * 20_000;
    }
}

impl Schedule for NetEqLike {
    fn arrived(&mut self, now_us: i64, transit_us: i64) {
        self.history.push_back((now_us, transit_us));
        while self
            .history
            .front()
            .is_some_and(|old| now_us - old.0 > 2_000_000)
        {
            self.history.pop_front();
        }
        let base = self.history.iter().map(|h| h.1).min().unwrap_or(transit_us);
        self.slot_max_us = self.slot_max_us.max(transit_us - base);
        if self.slot_since_us == i64::MIN {
            self.slot_since_us = now_us;
        }
        if now_us - self.slot_since_us >= self.resample_us {
            self.add(self.slot_max_us);
            self.slot_since_us = now_us;
            self.slot_max_us = 0;
        }
    }

    fn playout_us(&self) -> i64 {
        self.history.iter().map(|h| h.1).min().unwrap_or(0) + self.target_us
    }
}
