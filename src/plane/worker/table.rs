//! The worker's calls by slot, and what happens to a packet between driver and call.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use smallvec::SmallVec;

use crate::engine::{Call, CallKey, Component, DropReason, PortHandle, StreamIx, Verdict};
use crate::plane::driver::{FlowId, Sink};

/// A port that a call has open in the driver.
pub(super) type OpenPort = (StreamIx, Component, PortHandle);

/// Not scheduled in the timer wheel.
pub(super) const NEVER: u64 = u64::MAX;

/// Calls by slot. No hashing: the driver knows the slot of each port.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    /// Slots whose call wants something done; each at most once (`Slot::touched`).
    pub(super) touched: Vec<u32>,
    /// Packets dropped, by reason.
    pub(super) drops: [u64; DropReason::ALL.len()],
    pub(super) calls: u64,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u16,
    touched: bool,
    entry: Option<Entry>,
}

/// A call with its ports.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) call: Box<Call>,
    pub(super) ports: SmallVec<[OpenPort; 4]>,
    /// The wheel's tick at which its timers are looked at.
    pub(super) due: u64,
    /// A panic left it in an unknown state: it is never asked again.
    pub(super) broken: bool,
    /// [`Entry::broken`] has been reported.
    pub(super) broken_told: bool,
}

impl Entry {
    pub(super) fn new(call: Box<Call>) -> Self {
        Self {
            call,
            ports: SmallVec::new(),
            due: NEVER,
            broken: false,
            broken_told: false,
        }
    }

    /// Lets a call work, and catches a defect in it: one call must not take down the others.
    /// A broken call does nothing any more (`None`).
    pub(super) fn guarded<T>(&mut self, work: impl FnOnce(&mut Call) -> T) -> Option<T> {
        if self.broken {
            return None;
        }
        let call = &mut *self.call;
        // Unwind safety: after a panic the call is never entered again, only dropped.
        let result = catch_unwind(AssertUnwindSafe(|| work(call)));
        self.broken = result.is_err();
        result.ok()
    }

    /// The call has output to drain, or a defect to report.
    fn wants_attention(&self) -> bool {
        self.call.has_output() || self.broken
    }
}

impl Table {
    pub(super) fn new(calls_max: u32) -> Self {
        let slots = (0..calls_max).map(|_| Slot::default()).collect();
        Self {
            slots,
            touched: Vec::new(),
            drops: [0; DropReason::ALL.len()],
            calls: 0,
        }
    }

    pub(super) fn calls_max(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("made from a u32")
    }

    /// Whether the slot exists, and if so whether it is free.
    pub(super) fn vacancy(&self, slot: u32) -> Option<bool> {
        self.slots.get(slot as usize).map(|s| s.entry.is_none())
    }

    /// Fills a free slot.
    pub(super) fn insert(&mut self, key: CallKey, entry: Entry) {
        let Some(slot) = self.slots.get_mut(key.slot as usize) else {
            return;
        };
        slot.generation = key.generation;
        slot.entry = Some(entry);
        self.calls += 1;
    }

    pub(super) fn find(&mut self, key: CallKey) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation {
            slot.entry.as_mut()
        } else {
            None
        }
    }

    pub(super) fn remove(&mut self, key: CallKey) -> Option<Entry> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        self.calls -= 1;
        Some(entry)
    }

    /// The call in a slot, whoever it is.
    pub(super) fn at(&mut self, slot: u32) -> Option<(CallKey, &mut Entry)> {
        let found = self.slots.get_mut(slot as usize)?;
        let key = CallKey {
            slot,
            generation: found.generation,
        };
        found.entry.as_mut().map(|entry| (key, entry))
    }

    /// Takes a slot off the list of touched ones.
    pub(super) fn next_touched(&mut self) -> Option<u32> {
        let slot = self.touched.pop()?;
        if let Some(found) = self.slots.get_mut(slot as usize) {
            found.touched = false;
        }
        Some(slot)
    }

    #[inline]
    fn judge(
        &mut self,
        flow: FlowId,
        from: SocketAddr,
        now: Instant,
        packet: &mut [u8],
    ) -> Verdict {
        let closed = Verdict::Drop(DropReason::Closed);
        let Some(slot) = self.slots.get_mut(flow.call.slot as usize) else {
            return closed;
        };
        let Some(entry) = slot.entry.as_mut() else {
            return closed;
        };
        if slot.generation != flow.call.generation || entry.broken {
            return closed;
        }
        let (stream, component) = (flow.stream, flow.component);
        let verdict =
            entry.guarded(|call| call.handle_packet(now, stream, component, from, packet));
        if entry.wants_attention() && !slot.touched {
            slot.touched = true;
            self.touched.push(flow.call.slot);
        }
        verdict.unwrap_or(closed)
    }
}

impl Sink for Table {
    #[inline]
    fn expect(&self, flow: FlowId) {
        let entry = self
            .slots
            .get(flow.call.slot as usize)
            .and_then(|slot| slot.entry.as_ref());
        // Reading a field of the call pulls it into the cache; the processor does not wait for a
        // value that nobody uses, so the misses of a whole batch overlap.
        std::hint::black_box(entry.is_some_and(|entry| entry.call.has_output()));
    }

    #[inline]
    fn packet(
        &mut self,
        flow: FlowId,
        from: SocketAddr,
        now: Instant,
        packet: &mut [u8],
    ) -> Verdict {
        let verdict = self.judge(flow, from, now, packet);
        if let Verdict::Drop(reason) = verdict {
            self.drops[reason as usize] += 1;
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{CallConfig, Timers};

    fn entry(key: CallKey) -> Entry {
        let config = CallConfig {
            key,
            seed: 0,
            timers: Timers::default(),
        };
        Entry::new(Box::new(Call::new(config, Instant::now())))
    }

    #[test]
    fn a_panic_breaks_one_call_only_and_drops_its_packets() {
        let mut table = Table::new(2);
        let keys = [0, 1].map(|slot| CallKey {
            slot,
            generation: 5,
        });
        for key in keys {
            table.insert(key, entry(key));
        }
        let broken = table
            .find(keys[0])
            .unwrap()
            .guarded(|_| panic!("as a defect would"));
        assert_eq!(broken, None::<()>);
        assert!(table.find(keys[0]).unwrap().guarded(|_| ()).is_none());
        assert!(table.find(keys[1]).unwrap().guarded(|_| ()).is_some());
        let flow = FlowId {
            call: keys[0],
            stream: StreamIx(0),
            component: Component::Rtp,
        };
        let from = "127.0.0.1:5000".parse().unwrap();
        let verdict = table.packet(flow, from, Instant::now(), &mut [0; 12]);
        assert_eq!(verdict, Verdict::Drop(DropReason::Closed));
        assert_eq!(table.drops[DropReason::Closed as usize], 1);
        assert!(table.remove(keys[0]).is_some());
        assert_eq!(table.calls, 1);
    }

    #[test]
    fn an_old_generation_finds_nothing() {
        let mut table = Table::new(1);
        let (old, new) = (
            CallKey {
                slot: 0,
                generation: 1,
            },
            CallKey {
                slot: 0,
                generation: 2,
            },
        );
        assert_eq!((table.vacancy(0), table.vacancy(1)), (Some(true), None));
        table.insert(new, entry(new));
        assert_eq!(table.vacancy(0), Some(false));
        assert!(table.find(old).is_none());
        assert!(table.remove(old).is_none());
        let flow = FlowId {
            call: old,
            stream: StreamIx(0),
            component: Component::Rtp,
        };
        let from = "127.0.0.1:5000".parse().unwrap();
        let verdict = table.packet(flow, from, Instant::now(), &mut [0; 12]);
        assert_eq!(verdict, Verdict::Drop(DropReason::Closed));
        assert!(table.remove(new).is_some());
    }
}
