//! How a worker gives a call away and takes one in.

use std::time::Instant;

use super::handover::{Absorption, Giver, HANDOVER_PATIENCE, Moved, Taken};
use super::table::Entry;
use super::turn::{Outlet, Turn};
use super::{Placed, Refusal, Remains, Report};
use crate::engine::CallKey;
use crate::plane::driver::Driver;

impl<D: Driver> Turn<D> {
    /// Takes a call out for another worker, which is woken, whether it gets it or not.
    pub(super) fn surrender(&mut self, key: CallKey, to: Giver) {
        let mut remains = Remains::default();
        if let Some(mut entry) = self.table.remove(key) {
            let mut out = Outlet {
                driver: &mut self.driver,
                reports: &mut self.owed,
            };
            // First what it still has to say here.
            out.drain(key, &mut entry);
            let sockets = out.take_sockets(&mut entry);
            let broken = entry.broken;
            let moved = Moved {
                call: entry.call,
                sockets,
            };
            let left = if broken {
                Some(moved)
            } else {
                to.give(moved).err()
            };
            if let Some(left) = left {
                let (call, sockets) = left.apart();
                remains = Remains {
                    call: Some(call),
                    sockets,
                };
            }
        }
        self.owed.push_back(Report::Surrendered { key, remains });
    }

    /// Takes the call in that is awaited, if it is there; whether it is still awaited.
    pub(super) fn awaits(&mut self, now: Instant) -> bool {
        let Some(mut waiting) = self.awaited.take() else {
            return false;
        };
        match waiting.absorption.from.take() {
            Taken::Here(moved) => self.absorb(now, waiting.absorption, moved),
            Taken::NotYet if now.duration_since(waiting.since) < HANDOVER_PATIENCE => {
                self.awaited = Some(waiting);
                return true;
            }
            Taken::NotYet | Taken::Never => {
                let key = waiting.absorption.key;
                self.refuse(key, Refusal::NotHandedOver, None, Vec::new());
            }
        }
        false
    }

    fn absorb(&mut self, now: Instant, absorption: Absorption, mut moved: Moved) {
        let Absorption {
            key,
            first,
            legs,
            changes,
            ..
        } = absorption;
        let Some(entry) = self.table.find(key) else {
            let (call, sockets) = moved.apart();
            self.refuse(key, Refusal::UnknownCall, Some(call), sockets);
            return;
        };
        let other = &mut moved.call;
        let absorbed = entry.guarded(|call| call.absorb(now, other, first, legs));
        let refusal = match absorbed {
            Some(Ok(())) => None,
            Some(Err(why)) => Some(Refusal::Absorb(why)),
            None => Some(Refusal::Broken),
        };
        if let Some(refusal) = refusal {
            let (call, sockets) = moved.apart();
            self.refuse(key, refusal, Some(call), sockets);
            return;
        }
        let moved_on = |(stream, component, socket): Placed| {
            let stream = crate::engine::StreamIx::after(stream, first.0);
            (stream, component, socket)
        };
        let sockets = moved.sockets.into_iter().map(moved_on).collect();
        let mut out = Outlet {
            driver: &mut self.driver,
            reports: &mut self.owed,
        };
        let opened = out.open(key, entry, sockets);
        let shell = Some(moved.call);
        match opened {
            Ok(_) => {
                let remains = Remains {
                    call: shell,
                    sockets: Vec::new(),
                };
                self.owed.push_back(Report::Absorbed { key, remains });
                self.change(now, key, changes, Vec::new());
            }
            Err((refusal, unused)) => self.refuse(key, refusal, shell, unused),
        }
    }
}

impl<D: Driver> Outlet<'_, D> {
    /// Closes all ports of a call; their sockets, with their places.
    fn take_sockets(&mut self, entry: &mut Entry) -> Vec<Placed> {
        let mut sockets = Vec::with_capacity(entry.ports.len());
        for (stream, component, port) in entry.ports.drain(..) {
            if let Some(socket) = self.driver.close(port) {
                sockets.push((stream, component, socket));
            }
        }
        sockets
    }
}
