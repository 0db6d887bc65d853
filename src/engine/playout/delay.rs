//! How long to hold packets back: learned from when they came.
//!
//! A packet's *transit* is its arrival minus its media time: the unknown clock offset, the
//! network's constant delay and its jitter. The fastest transit of the last second is the *base*;
//! it follows clock drift and route changes by itself. A packet's *relative delay* is its transit
//! above the base.
//!
//! The model is NetEQ's (a histogram of relative delay with forgetting, and a quantile of it), with
//! one change that pays for the others: what is counted is not late packets but *ruptures*. When a
//! burst holds up ten packets and the player waits for the first, the other nine are in time, so
//! one burst is one audible event, however many packets it holds. A delay `d` ruptures where
//! relative delay rises from at most `d` to above it. The histogram counts these upward crossings
//! for all `d` at once; two suffix sums over it give, for each `d`, how often the player would run
//! dry and for how long. The target is the smallest delay that keeps both rates below their limits.

/// Width of a histogram bin.
const BIN_US: i64 = 2_000;

/// Bins of the histogram: relative delays to 512 ms; larger ones count as the largest.
const BINS: usize = 256;

/// Ruptures that are accepted, per packet. While a raised delay comes down again no further burst
/// ruptures, so that fewer happen than this.
const RUPTURES_MAX: f32 = 0.009;

/// A lost packet that could have been mended counts as so many ruptures, so that at half a per cent
/// of loss a packet of look-ahead is kept. For G.711 at 1 % it is worth 0.1 of PESQ-LQO and costs
/// 15 ms, which by the E-model (ITU-T G.107) is below 0.02 of MOS in most calls.
const MISSED_COUNTS: u8 = 2;

/// Time without audio that is accepted, as a share of all time.
const DRY_MAX: f32 = 0.013;

/// How fast the past fades, per packet: half is gone after 23 s of 20 ms packets.
const FORGET: f32 = 0.9994;

/// Past packets that are assumed to have come in time, when a stream begins: without them one early
/// hiccup would rule the first half minute.
const PRIOR_PACKETS: f32 = 50.0;

/// What is assumed to be needed at first, and how many ruptures of a lesser delay are assumed: it
/// is let go after some two seconds in which nothing happened.
const START_US: i64 = 40_000;
const PRIOR_RUPTURES: f32 = RUPTURES_MAX * (PRIOR_PACKETS + 100.0);

/// Weights grow instead of the past shrinking; beyond this all are scaled back.
const WEIGHT_MAX: f32 = 1e6;

/// Minima that make the base, and the time each covers. Silence does not age them.
const MINIMA: usize = 10;
const MINIMUM_US: i64 = 100_000;

/// How many of the latest minima say where the network is now.
const MINIMA_RECENT: usize = 3;

/// The target is computed again after this many packets.
const REFRESH_PACKETS: u8 = 4;

/// Learns the target delay of one source.
#[derive(Clone, Debug)]
pub(super) struct DelayEstimator {
    /// Upward crossings as differences: the sum of bins `0..=b` is the weight of crossings of `b`.
    crossings: [f32; BINS],
    /// Weight of the next packet.
    weight: f32,
    /// Weight of all packets.
    packets: f32,
    /// Their media time, weighted, in microseconds.
    media_us: f32,
    /// The previous packet's transit and arrival.
    last: Option<(i64, i64)>,
    /// Fastest transit per 100 ms, latest first.
    minima: [i64; MINIMA],
    minimum_since_us: i64,
    until_refresh: u8,
    /// Above the base.
    target_us: i64,
}

impl DelayEstimator {
    /// Knows nothing yet.
    pub(super) fn new() -> Self {
        // Until more is known, a delay of START_US seems necessary just often enough.
        let mut crossings = [0.0; BINS];
        crossings[0] += PRIOR_RUPTURES;
        crossings[bin(START_US)] -= PRIOR_RUPTURES;
        Self {
            crossings,
            weight: 1.0,
            packets: PRIOR_PACKETS,
            media_us: PRIOR_PACKETS * 20_000.0,
            last: None,
            minima: [i64::MAX; MINIMA],
            minimum_since_us: i64::MIN,
            until_refresh: 0,
            target_us: START_US,
        }
    }

    /// A packet with this transit arrived; it carries so much media.
    pub(super) fn arrived(&mut self, now_us: i64, transit_us: i64, media_us: i64) {
        self.note_minimum(now_us, transit_us);
        let base = self.base_us().unwrap_or(transit_us);
        if let Some((last_transit, _)) = self.last {
            self.count(bin(last_transit - base), bin(transit_us - base));
        }
        self.last = Some((transit_us, now_us));
        self.packets += self.weight;
        self.media_us += self.weight * float(media_us);
        self.grow_weight();
        self.until_refresh = self.until_refresh.saturating_sub(1);
        if self.until_refresh == 0 {
            self.until_refresh = REFRESH_PACKETS;
            self.target_us = self.smallest_good_delay();
        }
    }

    /// A packet of this length never came, and the one behind it could have mended that. It counts
    /// as packets that came together with their successor: a delay that covers those is one that
    /// lets losses be mended.
    pub(super) fn missed(&mut self, media_us: i64) {
        if let (Some((transit_us, _)), Some(base_us)) = (self.last, self.base_us()) {
            let relative_us = transit_us - base_us;
            for _ in 0..MISSED_COUNTS {
                self.count(bin(relative_us), bin(relative_us + media_us));
            }
        }
    }

    /// The fastest transit of the last second in which packets came; `None` before the first.
    pub(super) fn base_us(&self) -> Option<i64> {
        let fastest = self.minima.iter().copied().min();
        fastest.filter(|&transit| transit != i64::MAX)
    }

    /// The fastest transit of the last three tenths of a second: where the network is now, when it
    /// became slower and the base does not know yet.
    pub(super) fn recent_us(&self) -> Option<i64> {
        let fastest = self.minima[..MINIMA_RECENT].iter().copied().min();
        fastest.filter(|&transit| transit != i64::MAX)
    }

    /// The delay above the base that is worth having.
    pub(super) fn target_us(&self) -> i64 {
        self.target_us
    }

    fn note_minimum(&mut self, now_us: i64, transit_us: i64) {
        if now_us.saturating_sub(self.minimum_since_us) >= MINIMUM_US {
            self.minima.rotate_right(1);
            self.minima[0] = transit_us;
            self.minimum_since_us = now_us;
        } else {
            self.minima[0] = self.minima[0].min(transit_us);
        }
    }

    /// Relative delay went from one bin to another.
    fn count(&mut self, from: usize, to: usize) {
        if to > from {
            self.crossings[from] += self.weight;
            self.crossings[to] -= self.weight;
        }
    }

    fn grow_weight(&mut self) {
        self.weight /= FORGET;
        if self.weight > WEIGHT_MAX {
            let scale = 1.0 / self.weight;
            self.crossings.iter_mut().for_each(|bin| *bin *= scale);
            self.packets *= scale;
            self.media_us *= scale;
            self.weight = 1.0;
        }
    }

    /// Walks down from the largest delay while both rates stay below their limits.
    fn smallest_good_delay(&self) -> i64 {
        let ruptures_max = RUPTURES_MAX * self.packets;
        let dry_max = DRY_MAX * self.media_us / float(BIN_US);
        // Differences sum to zero, so the sum from the top with its sign turned is the same count.
        let (mut ruptures, mut dry) = (0.0_f32, 0.0_f32);
        let mut good = BINS;
        for bin in (0..BINS).rev() {
            // `ruptures` is now the weight of crossings of delay `bin`.
            dry += ruptures;
            if ruptures > ruptures_max || dry > dry_max {
                break;
            }
            good = bin;
            ruptures -= self.crossings[bin];
        }
        BIN_US * i64::try_from(good).unwrap_or(0)
    }
}

/// The bin of a relative delay: `b` bins of delay are enough for it.
fn bin(relative_us: i64) -> usize {
    let bins = relative_us.max(0).saturating_add(BIN_US - 1) / BIN_US;
    usize::try_from(bins).map_or(BINS - 1, |bin| bin.min(BINS - 1))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a rate needs no more than 24 bits"
)]
fn float(us: i64) -> f32 {
    us as f32
}
