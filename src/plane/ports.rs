//! Which local UDP ports of an address are free, leased, or in quarantine.
//!
//! Control side only, except [`OwnedPorts`], which anybody may ask without waiting.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a released port rests by default. What a party of the ended call still sends must not
/// reach the next one; two seconds outlast queues, jitter and an unanswered BYE's first repeats.
pub const QUARANTINE: Duration = Duration::from_secs(2);

/// The next port is drawn from this many at the front of the ring: unpredictable to outsiders, and
/// still far from the port released last.
const DRAW: usize = 64;

/// Ports that leave quarantine per call at most, as long as there are free ones: keeps one call
/// from paying for a thousand others.
const EXPIRE_MAX: usize = 64;

/// A range of ports to take from, both ends included. RTP takes even ports, RTCP the odd ones
/// above (RFC 3550 §11), so an odd first or an even last port stays unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    min: u16,
    max: u16,
}

/// A range that holds no pair of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("port range {min}-{max} holds no even port with its odd neighbour, or starts below 1024")]
pub struct RangeError {
    min: u16,
    max: u16,
}

/// No port is free now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no free port on {ip} in {min}-{max}: {leased} in use, {resting} in quarantine")]
pub struct OutOfPorts {
    /// The address.
    pub ip: IpAddr,
    /// First port of the range.
    pub min: u16,
    /// Last port of the range.
    pub max: u16,
    /// Ports in use.
    pub leased: usize,
    /// Ports that will be free when their quarantine ends.
    pub resting: usize,
}

/// What was taken: one port, or an even one with its odd neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// An even port and the one above.
    Pair(u16),
    /// Just this one.
    Single(u16),
}

/// The ports of one local address. All operations are O(1), amortised.
#[derive(Debug)]
pub struct PortPool {
    ip: IpAddr,
    range: PortRange,
    quarantine: Duration,
    random: fastrand::Rng,
    states: Vec<State>,
    /// Even ports of free pairs.
    pairs: VecDeque<u16>,
    /// Free halves of broken pairs. An entry is stale if its state is not [`State::Half`].
    halves: VecDeque<u16>,
    /// In order of time, for all rest equally long.
    resting: VecDeque<(Instant, Ports)>,
    leased: usize,
    resting_ports: usize,
    owned: OwnedPorts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Free together with its neighbour.
    Free,
    /// Free, the neighbour is not.
    Half,
    Leased,
    Resting,
}

impl PortRange {
    /// A range from `min` to `max`.
    ///
    /// # Errors
    /// It holds no pair, or reaches into the privileged ports.
    pub fn new(min: u16, max: u16) -> Result<Self, RangeError> {
        let first = u32::from(min) + u32::from(min & 1);
        if min < 1024 || first + 1 > u32::from(max) {
            return Err(RangeError { min, max });
        }
        Ok(Self { min, max })
    }

    /// Even ports with their odd neighbour in the range.
    fn pairs(self) -> impl Iterator<Item = u16> {
        let first = u32::from(self.min) + u32::from(self.min & 1);
        (first..u32::from(self.max))
            .step_by(2)
            .map(|p| u16::try_from(p).expect("below max"))
    }
}

impl Ports {
    /// The port for RTP.
    #[must_use]
    pub fn first(self) -> u16 {
        match self {
            Self::Pair(port) | Self::Single(port) => port,
        }
    }

    /// The port for RTCP, if there is one of its own.
    #[must_use]
    pub fn second(self) -> Option<u16> {
        match self {
            Self::Pair(port) => Some(port + 1), // even, so below 65535
            Self::Single(_) => None,
        }
    }

    fn each(self) -> impl Iterator<Item = u16> {
        std::iter::once(self.first()).chain(self.second())
    }
}

impl PortPool {
    /// All ports of `range` on `ip`, in an order that only who knows `seed` can foretell.
    #[must_use]
    pub fn new(ip: IpAddr, range: PortRange, quarantine: Duration, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pairs: Vec<u16> = range.pairs().collect();
        random.shuffle(&mut pairs);
        Self {
            ip,
            range,
            quarantine,
            random,
            states: vec![State::Free; usize::from(range.max - range.min) + 1],
            pairs: pairs.into(),
            halves: VecDeque::new(),
            resting: VecDeque::new(),
            leased: 0,
            resting_ports: 0,
            owned: OwnedPorts::new(),
        }
    }

    /// Takes an even port and its odd neighbour.
    ///
    /// # Errors
    /// [`OutOfPorts`].
    pub fn take_pair(&mut self, now: Instant) -> Result<Ports, OutOfPorts> {
        self.expire(now);
        let port = self.draw().ok_or_else(|| self.out_of_ports())?;
        Ok(self.lease(Ports::Pair(port)))
    }

    /// Takes one port, the odd half of an earlier single's pair if there is one: pairs are dearer.
    ///
    /// # Errors
    /// [`OutOfPorts`].
    pub fn take_single(&mut self, now: Instant) -> Result<Ports, OutOfPorts> {
        self.expire(now);
        while let Some(port) = self.halves.pop_front() {
            if *self.state(port) == State::Half {
                return Ok(self.lease(Ports::Single(port)));
            }
        }
        let port = self.draw().ok_or_else(|| self.out_of_ports())?;
        *self.state(port + 1) = State::Half;
        self.halves.push_back(port + 1);
        Ok(self.lease(Ports::Single(port)))
    }

    /// Gives back what was taken; it rests from `now` on. Giving back what is not leased is
    /// ignored.
    pub fn release(&mut self, ports: Ports, now: Instant) {
        let inside = |p| (self.range.min..=self.range.max).contains(&p);
        if !ports.each().all(inside) || ports.each().any(|p| *self.state(p) != State::Leased) {
            return;
        }
        for port in ports.each() {
            *self.state(port) = State::Resting;
            self.owned.set(port, false);
            self.leased -= 1;
            self.resting_ports += 1;
        }
        self.resting.push_back((now, ports));
    }

    /// Gives back what was taken and never told to anybody: it is free at once, as nobody sends
    /// there. Giving back what is not leased is ignored.
    pub fn give_back(&mut self, ports: Ports, now: Instant) {
        let leased = self.leased;
        self.release(ports, now);
        if self.leased != leased && self.resting.pop_back().is_some() {
            self.free(ports);
        }
    }

    /// Ports in use.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// Pairs that could be taken now or were free at the last call.
    #[must_use]
    pub fn free_pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Which ports are leased, readable from any thread.
    #[must_use]
    pub fn owned(&self) -> &OwnedPorts {
        &self.owned
    }

    fn lease(&mut self, ports: Ports) -> Ports {
        for port in ports.each() {
            *self.state(port) = State::Leased;
            self.owned.set(port, true);
            self.leased += 1;
        }
        ports
    }

    /// A free pair's even port, from near the front of the ring.
    fn draw(&mut self) -> Option<u16> {
        let near = self.pairs.len().min(DRAW);
        if near == 0 {
            return None;
        }
        let chosen = self.random.usize(0..near);
        self.pairs.swap(0, chosen);
        self.pairs.pop_front()
    }

    /// Ends the quarantine of those that rested long enough.
    fn expire(&mut self, now: Instant) {
        let mut count = 0;
        while let Some(&(since, ports)) = self.resting.front() {
            let rested = now.saturating_duration_since(since) >= self.quarantine;
            if !rested || (count >= EXPIRE_MAX && !self.pairs.is_empty()) {
                return;
            }
            self.resting.pop_front();
            self.free(ports);
            count += 1;
        }
    }

    fn free(&mut self, ports: Ports) {
        match ports {
            Ports::Pair(port) => {
                *self.state(port) = State::Free;
                *self.state(port + 1) = State::Free;
                self.resting_ports -= 2;
                self.pairs.push_back(port);
            }
            Ports::Single(port) => {
                self.resting_ports -= 1;
                if *self.state(port ^ 1) == State::Half {
                    *self.state(port) = State::Free;
                    *self.state(port ^ 1) = State::Free; // leaves a stale entry in `halves`
                    self.pairs.push_back(port & !1);
                } else {
                    *self.state(port) = State::Half;
                    self.push_half(port);
                }
            }
        }
    }

    fn push_half(&mut self, port: u16) {
        if self.halves.len() >= self.states.len() {
            // Only stale entries can make it this long.
            let (min, states) = (self.range.min, &self.states);
            self.halves
                .retain(|&p| states[usize::from(p - min)] == State::Half);
        }
        self.halves.push_back(port);
    }

    fn state(&mut self, port: u16) -> &mut State {
        &mut self.states[usize::from(port - self.range.min)]
    }

    fn out_of_ports(&self) -> OutOfPorts {
        OutOfPorts {
            ip: self.ip,
            min: self.range.min,
            max: self.range.max,
            leased: self.leased,
            resting: self.resting_ports,
        }
    }
}

/// One bit per port: is it leased. Cloning shares the bits; reading and writing never wait.
#[derive(Clone, Debug)]
pub struct OwnedPorts(Arc<[AtomicU64]>);

impl OwnedPorts {
    fn new() -> Self {
        Self((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether the port is leased now.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port) / 64].load(Ordering::Relaxed) >> (port % 64) & 1 == 1
    }

    fn set(&self, port: u16, on: bool) {
        let (word, bit) = (&self.0[usize::from(port) / 64], 1 << (port % 64));
        if on {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// Which addresses with which ports are ours: a party that names one of them would make us send to
/// ourselves. Cloning is cheap; asking never waits.
#[derive(Clone, Debug, Default)]
pub struct OwnedAddresses(Arc<[(IpAddr, OwnedPorts)]>);

impl OwnedAddresses {
    /// Of these addresses (local and advertised ones), with the ports behind each.
    #[must_use]
    pub fn new(addresses: Vec<(IpAddr, OwnedPorts)>) -> Self {
        Self(addresses.into())
    }

    /// Whether `addr` is a port we have open. O(number of our addresses).
    #[must_use]
    pub fn contains(&self, addr: SocketAddr) -> bool {
        self.0
            .iter()
            .any(|(ip, ports)| *ip == addr.ip() && ports.contains(addr.port()))
    }
}

const WORDS: usize = (u16::MAX as usize + 1) / 64;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use super::*;

    fn pool(min: u16, max: u16) -> PortPool {
        let range = PortRange::new(min, max).unwrap();
        PortPool::new(IpAddr::V4(Ipv4Addr::LOCALHOST), range, QUARANTINE, 7)
    }

    #[test]
    fn ranges_need_a_pair() {
        assert!(PortRange::new(10_000, 10_001).is_ok());
        assert!(PortRange::new(10_001, 10_003).is_ok());
        assert!(PortRange::new(10_001, 10_002).is_err());
        assert!(PortRange::new(10_000, 10_000).is_err());
        assert!(PortRange::new(20_000, 10_000).is_err());
        assert!(PortRange::new(1023, 10_000).is_err());
        assert!(PortRange::new(1024, u16::MAX).is_ok());
        assert!(PortRange::new(u16::MAX, u16::MAX).is_err());
    }

    #[test]
    fn gives_each_pair_once_then_refuses() {
        let now = Instant::now();
        let mut pool = pool(10_001, 10_102);
        let mut seen = HashSet::new();
        for _ in 0..50 {
            let pair = pool.take_pair(now).unwrap();
            assert_eq!(pair.first() % 2, 0);
            assert!(pair.first() >= 10_002 && pair.second().unwrap() <= 10_102);
            assert!(seen.insert(pair.first()));
            assert!(pool.owned().contains(pair.first()));
        }
        let error = pool.take_pair(now).unwrap_err();
        assert_eq!((error.leased, error.resting), (100, 0));
        assert!(pool.take_single(now).is_err());
    }

    #[test]
    fn the_order_depends_on_the_seed_and_is_not_the_range_order() {
        let now = Instant::now();
        let order = |seed| {
            let range = PortRange::new(10_000, 10_199).unwrap();
            let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let mut pool = PortPool::new(ip, range, QUARANTINE, seed);
            (0..100)
                .map(|_| pool.take_pair(now).unwrap().first())
                .collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert!(!order(1).is_sorted());
    }

    #[test]
    fn a_released_port_rests_until_its_quarantine_ends() {
        let start = Instant::now();
        let mut pool = pool(10_000, 10_001);
        let pair = pool.take_pair(start).unwrap();
        pool.release(pair, start);
        assert!(!pool.owned().contains(pair.first()));
        let early = pool.take_pair(start + QUARANTINE - Duration::from_millis(1));
        assert_eq!(early.unwrap_err().resting, 2);
        assert_eq!(pool.take_pair(start + QUARANTINE).unwrap(), pair);
    }

    #[test]
    fn what_nobody_was_told_of_is_free_at_once() {
        let now = Instant::now();
        let mut pool = pool(10_000, 10_003);
        let pair = pool.take_pair(now).unwrap();
        let single = pool.take_single(now).unwrap();
        pool.give_back(single, now);
        pool.give_back(pair, now);
        pool.give_back(pair, now);
        assert_eq!((pool.leased(), pool.resting_ports), (0, 0));
        assert!(pool.take_pair(now).is_ok() && pool.take_pair(now).is_ok());
        assert!(pool.take_pair(now).is_err() && pool.take_single(now).is_err());
    }

    #[test]
    fn singles_use_both_halves_and_heal_into_pairs() {
        let start = Instant::now();
        let mut pool = pool(10_000, 10_003);
        let singles: Vec<_> = (0..4).map(|_| pool.take_single(start).unwrap()).collect();
        assert_eq!(
            singles
                .iter()
                .map(|p| p.first())
                .collect::<HashSet<_>>()
                .len(),
            4
        );
        assert!(pool.take_single(start).is_err());
        for single in singles {
            pool.release(single, start);
        }
        let later = start + QUARANTINE;
        assert!(pool.take_pair(later).is_ok());
        assert!(pool.take_pair(later).is_ok());
        assert!(pool.take_single(later).is_err());
    }

    #[test]
    fn releasing_twice_or_what_is_not_ours_changes_nothing() {
        let now = Instant::now();
        let mut pool = pool(10_000, 10_003);
        let pair = pool.take_pair(now).unwrap();
        pool.release(pair, now);
        pool.release(pair, now);
        pool.release(Ports::Pair(9_998), now);
        pool.release(Ports::Single(10_004), now);
        assert_eq!(
            (pool.leased(), pool.resting.len(), pool.resting_ports),
            (0, 1, 2)
        );
    }

    /// Random use against a plain model: never two owners, never early, and all comes back.
    #[test]
    fn random_use_keeps_the_books() {
        let mut random = fastrand::Rng::with_seed(42);
        let mut now = Instant::now();
        let mut pool = pool(10_000, 10_063);
        let mut held: Vec<Ports> = Vec::new();
        let mut rested: Vec<(Instant, u16)> = Vec::new();
        for _ in 0..20_000 {
            now += Duration::from_millis(random.u64(0..50));
            if random.bool() && !held.is_empty() {
                let ports = held.swap_remove(random.usize(0..held.len()));
                rested.extend(ports.each().map(|p| (now, p)));
                pool.release(ports, now);
                continue;
            }
            let taken = if random.bool() {
                pool.take_pair(now)
            } else {
                pool.take_single(now)
            };
            let Ok(taken) = taken else { continue };
            for port in taken.each() {
                assert!(held.iter().all(|h| h.each().all(|p| p != port)));
                assert!(
                    rested
                        .iter()
                        .all(|&(t, p)| p != port || now - t >= QUARANTINE)
                );
            }
            rested.retain(|&(t, _)| now - t < QUARANTINE);
            held.push(taken);
        }
        for ports in held.drain(..) {
            pool.release(ports, now);
        }
        now += QUARANTINE;
        let pairs = (0..32).filter(|_| pool.take_pair(now).is_ok()).count();
        assert_eq!(pairs, 32);
        assert!(pool.halves.len() <= 64);
    }

    #[test]
    fn owned_addresses_cover_local_and_advertised() {
        let mut pool = pool(10_000, 10_001);
        let public: IpAddr = "203.0.113.5".parse().unwrap();
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let owned = OwnedAddresses::new(vec![
            (local, pool.owned().clone()),
            (public, pool.owned().clone()),
        ]);
        assert!(!owned.contains((local, 10_000).into()));
        pool.take_pair(Instant::now()).unwrap();
        assert!(owned.contains((local, 10_000).into()));
        assert!(owned.contains((public, 10_001).into()));
        assert!(!owned.contains((public, 10_002).into()));
        assert!(!owned.contains(("198.51.100.1".parse::<IpAddr>().unwrap(), 10_000).into()));
    }
}
