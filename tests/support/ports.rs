//! Blocks of loopback ports that belong to one test.

use std::net::UdpSocket;

/// Below the ephemeral range of Linux (32768), so that no other program's port 0 lands here.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;
/// All blocks start at a multiple of this and their locks cover every such step.
const STEP: u16 = 40;
/// The address on which a block is locked; media and signalling use 127.0.0.1.
const LOCK_IP: [u8; 4] = [127, 0, 0, 77];

/// Consecutive free ports. A socket per [`STEP`] on another loopback address is the lock: it goes
/// with the process, however that ends.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    count: u16,
    taken: u16,
    _locks: Vec<UdpSocket>,
}

impl Ports {
    /// Reserves at least `count` ports; the first one is even.
    pub fn reserve(count: u16) -> Self {
        let steps = count.div_ceil(STEP);
        let blocks = (LAST - FIRST) / STEP - steps;
        let offset = fastrand::u16(0..blocks);
        for try_nr in 0..blocks {
            let first = FIRST + (offset + try_nr) % blocks * STEP;
            if let Some(locks) = lock(first, steps) {
                return Self {
                    first,
                    count: steps * STEP,
                    taken: 0,
                    _locks: locks,
                };
            }
        }
        panic!("no {count} consecutive free UDP ports between {FIRST} and {LAST}");
    }

    /// The next port of the block.
    pub fn next(&mut self) -> u16 {
        self.next_range(1).0
    }

    /// The next `count` ports of the block, starting at an even one: (first, last).
    pub fn next_range(&mut self, count: u16) -> (u16, u16) {
        if count > 1 {
            self.taken += self.taken % 2;
        }
        assert!(
            self.taken + count <= self.count,
            "the test reserved too few ports"
        );
        let first = self.first + self.taken;
        self.taken += count;
        (first, first + count - 1)
    }
}

/// Locks the steps from `first` on; `None` if another test has one or a port is in use.
fn lock(first: u16, steps: u16) -> Option<Vec<UdpSocket>> {
    let locks: Result<Vec<_>, _> = (0..steps)
        .map(|step| UdpSocket::bind((std::net::Ipv4Addr::from(LOCK_IP), first + step * STEP)))
        .collect();
    let locks = locks.ok()?;
    let free = (first..first + steps * STEP).all(|port| {
        UdpSocket::bind(("127.0.0.1", port)).is_ok()
            && std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
    });
    free.then_some(locks)
}

/// Held by tests that load the machine or measure its timing: one at a time, over all processes.
#[derive(Debug)]
pub struct OneAtATime {
    _lock: UdpSocket,
}

impl OneAtATime {
    /// Waits for its turn, for at most five minutes.
    pub fn wait() -> Self {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(300);
        loop {
            match UdpSocket::bind("127.0.0.78:11999") {
                Ok(lock) => return Self { _lock: lock },
                Err(error) => assert!(std::time::Instant::now() < end, "no turn came: {error}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
