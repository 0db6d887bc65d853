//! The worker thread's loop: packets, then what calls want done, commands, timers, reports.

use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::handover::Waiting;
use super::owed::Owed;
use super::table::{Entry, NEVER, Table};
use super::{
    COMMANDS_PER_TURN, Command, Placed, Refusal, Remains, Report, STOP_PATIENCE, Shared,
    WorkerConfig,
};
use crate::engine::{Call, CallKey, Change, Component, Output, PortHandle, StreamIx};
use crate::plane::driver::{Driver, FlowId, Polled};
use crate::plane::wheel::Wheel;

/// Longest wait while reports lie undelivered, or a call is to come from another worker: how often
/// it is tried again.
const STUCK_RETRY: Duration = Duration::from_millis(10);

/// Timer buckets fired per turn at most; after a stall the rest follows in the next turns.
const BUCKETS_PER_TURN: usize = 32;

/// Timers without urgency are spread over this many ticks before the horizon, by slot, so that
/// calls inserted together are not looked at together.
const SPREAD_TICKS: u64 = 320;

/// The state of a worker thread.
pub(super) struct Turn<D> {
    pub(super) driver: D,
    pub(super) table: Table,
    pub(super) wheel: Wheel,
    commands: rtrb::Consumer<Command>,
    reports: rtrb::Producer<Report>,
    /// Reports the queue had no room for. Bounded: while an answer waits no command is taken, calls
    /// end at most once in their life, and events have a bound of their own.
    pub(super) owed: Owed,
    /// A call that is to come from another worker; no command is taken before.
    pub(super) awaited: Option<Waiting>,
    /// Reports were queued in this turn.
    reported: bool,
    shared: Shared,
    commands_done: u64,
    broken: u64,
    busy_ns: u64,
    stuck: u64,
}

impl<D: Driver> Turn<D> {
    pub(super) fn new(
        config: WorkerConfig,
        driver: D,
        shared: Shared,
        commands: rtrb::Consumer<Command>,
        reports: rtrb::Producer<Report>,
    ) -> Self {
        Self {
            driver,
            table: Table::new(config.calls_max),
            wheel: Wheel::new(Instant::now()),
            commands,
            reports,
            owed: Owed::default(),
            awaited: None,
            reported: false,
            shared,
            commands_done: 0,
            broken: 0,
            busy_ns: 0,
            stuck: 0,
        }
    }

    /// Works until told to stop, then lets the reader of reports know that there will be no more.
    pub(super) fn run(mut self) {
        let ready = self.shared.reports_ready.clone();
        self.work();
        drop(self); // abandons the queues, which the reader then sees
        ready.notify();
    }

    fn work(&mut self) {
        let mut stopped_at = None;
        let mut now = Instant::now();
        loop {
            let timeout = self.timeout(now);
            if let Err(error) = self.driver.wait(timeout) {
                // Only a closed or wrong descriptor can do that: our own defect.
                tracing::error!(%error, "a media worker cannot wait for packets and ends");
                return;
            }
            // Read before the commands: what was submitted before stopping is then visible.
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            // Commands before packets: who was told that a command is done may send at once.
            if self.has_commands() || !self.owed.is_empty() {
                self.take_commands(Instant::now());
            }
            let polled = self.driver.serve(&mut self.table);
            self.drain_touched();
            now = Instant::now();
            self.fire_timers(now);
            self.deliver();
            now = self.publish(polled);
            if stopping {
                let since = *stopped_at.get_or_insert(now);
                let done = !self.has_commands() && self.owed.is_all_told();
                if done || now.duration_since(since) >= STOP_PATIENCE {
                    return;
                }
            }
        }
    }

    fn has_commands(&self) -> bool {
        !self.commands.is_empty() || self.awaited.is_some()
    }

    /// How long the driver may wait.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let timer = self
            .wheel
            .next_due()
            .map(|at| at.saturating_duration_since(now));
        if !self.owed.is_all_told() || self.awaited.is_some() {
            return Some(timer.map_or(STUCK_RETRY, |t| t.min(STUCK_RETRY)));
        }
        if self.commands.is_empty() {
            timer
        } else {
            Some(Duration::ZERO)
        }
    }

    fn drain_touched(&mut self) {
        while let Some(slot) = self.table.next_touched() {
            if let Some((key, entry)) = self.table.at(slot) {
                let mut out = Outlet {
                    driver: &mut self.driver,
                    reports: &mut self.owed,
                };
                out.drain(key, entry);
                reschedule(&mut self.wheel, key.slot, entry);
            }
        }
    }

    fn take_commands(&mut self, now: Instant) {
        for _ in 0..COMMANDS_PER_TURN {
            self.deliver();
            if !self.owed.is_empty() {
                self.stuck += 1;
                return;
            }
            if self.awaits(now) {
                return;
            }
            let Ok(command) = self.commands.pop() else {
                return;
            };
            self.commands_done += 1;
            match command {
                Command::Insert { key, call, sockets } => self.insert(key, call, sockets),
                Command::Change {
                    key,
                    changes,
                    sockets,
                } => {
                    self.change(now, key, changes, sockets);
                }
                Command::Query { key, ticket } => {
                    let entry = self.table.find(key);
                    let report = entry.and_then(|e| e.guarded(|call| call.report(now)));
                    self.owed.push_back(Report::Query {
                        ticket,
                        report: report.map(Box::new),
                    });
                }
                Command::Remove { key, ticket } => self.remove(now, key, ticket),
                Command::Surrender { key, to } => self.surrender(key, to),
                Command::Absorb(absorption) => {
                    self.awaited = Some(Waiting {
                        absorption,
                        since: now,
                    });
                }
            }
        }
    }

    fn insert(&mut self, key: CallKey, call: Box<Call>, sockets: Vec<Placed>) {
        let refusal = match self.table.vacancy(key.slot) {
            None => Refusal::SlotTooHigh(self.table.calls_max()),
            Some(false) => Refusal::SlotTaken,
            Some(true) => {
                self.insert_vacant(key, call, sockets);
                return;
            }
        };
        self.refuse(key, refusal, Some(call), bare(sockets));
    }

    fn insert_vacant(&mut self, key: CallKey, call: Box<Call>, sockets: Vec<Placed>) {
        let mut entry = Entry::new(call);
        let mut out = Outlet {
            driver: &mut self.driver,
            reports: &mut self.owed,
        };
        match out.open(key, &mut entry, sockets) {
            Ok(_) => {
                out.drain(key, &mut entry);
                reschedule(&mut self.wheel, key.slot, &mut entry);
                self.table.insert(key, entry);
            }
            Err((refusal, mut unused)) => {
                unused.extend(out.close(&mut entry, |_| true));
                self.refuse(key, refusal, Some(entry.call), unused);
            }
        }
    }

    pub(super) fn change(
        &mut self,
        now: Instant,
        key: CallKey,
        changes: Vec<Change>,
        sockets: Vec<Placed>,
    ) {
        let Some(entry) = self.table.find(key) else {
            self.refuse(key, Refusal::UnknownCall, None, bare(sockets));
            return;
        };
        let mut out = Outlet {
            driver: &mut self.driver,
            reports: &mut self.owed,
        };
        let mut closed = Vec::new();
        let mut refusal = None;
        for (index, change) in changes.into_iter().enumerate() {
            let closes = match change {
                Change::Close(stream) => Some(stream),
                _ => None,
            };
            if let Some(Err(source)) = entry.guarded(|call| call.apply(now, change)) {
                refusal = Some(Refusal::Change { index, source });
                break;
            }
            if let Some(stream) = closes {
                // First what the stream still has to say, then its ports.
                out.drain(key, entry);
                closed.extend(out.close(entry, |s| s == stream));
            }
        }
        let mut unused = Vec::new();
        if refusal.is_some() {
            unused = bare(sockets);
        } else {
            match out.open(key, entry, sockets) {
                Ok(replaced) => closed.extend(replaced),
                Err((why, sockets)) => (refusal, unused) = (Some(why), sockets),
            }
        }
        out.drain(key, entry);
        reschedule(&mut self.wheel, key.slot, entry);
        if !closed.is_empty() {
            self.owed.push_back(Report::Closed {
                key,
                sockets: closed,
            });
        }
        if let Some(refusal) = refusal {
            self.refuse(key, refusal, None, unused);
        }
    }

    fn remove(&mut self, now: Instant, key: CallKey, ticket: u64) {
        let Some(mut entry) = self.table.remove(key) else {
            self.owed.push_back(Report::Removed {
                ticket,
                report: None,
                remains: None,
            });
            return;
        };
        let mut out = Outlet {
            driver: &mut self.driver,
            reports: &mut self.owed,
        };
        let report = entry.guarded(|call| {
            call.end_recordings(now);
            Box::new(call.report(now))
        });
        let sockets = out.close(&mut entry, |_| true);
        let remains = Some(Remains {
            call: Some(entry.call),
            sockets,
        });
        self.owed.push_back(Report::Removed {
            ticket,
            report,
            remains,
        });
    }

    pub(super) fn refuse(
        &mut self,
        key: CallKey,
        refusal: Refusal,
        call: Option<Box<Call>>,
        sockets: Vec<UdpSocket>,
    ) {
        self.owed.push_back(Report::Refused {
            key,
            refusal,
            remains: Remains { call, sockets },
        });
    }

    fn fire_timers(&mut self, now: Instant) {
        for _ in 0..BUCKETS_PER_TURN {
            let Some((tick, slots)) = self.wheel.fire(now) else {
                return;
            };
            for &slot in &slots {
                let Some((key, entry)) = self.table.at(slot) else {
                    continue;
                };
                if entry.due != tick {
                    continue; // rescheduled meanwhile, or another call by now
                }
                entry.due = NEVER;
                entry.guarded(|call| call.handle_timeout(now));
                if let Some(late_us) = entry.call.take_lateness_us() {
                    self.shared.counters.lateness.record(late_us);
                }
                let mut out = Outlet {
                    driver: &mut self.driver,
                    reports: &mut self.owed,
                };
                out.drain(key, entry);
                reschedule(&mut self.wheel, slot, entry);
            }
            self.wheel.recycle(slots);
        }
    }

    /// Moves owed reports into the queue as far as it has room.
    fn deliver(&mut self) {
        let (broken, reported) = (&mut self.broken, &mut self.reported);
        self.owed.deliver(&mut self.reports, |report| {
            *broken += u64::from(matches!(report, Report::Broken { .. }));
            *reported = true;
        });
    }

    /// Ends the turn: wakes the reader once for all its reports, and shows the counters. Returns
    /// when that was.
    fn publish(&mut self, polled: Polled) -> Instant {
        if std::mem::take(&mut self.reported) {
            self.shared.reports_ready.notify();
        }
        let counters = &*self.shared.counters;
        counters.publish_driver(&self.driver.counters());
        for (counter, count) in counters.drops.iter().zip(self.table.drops) {
            counter.set(count);
        }
        counters.commands.set(self.commands_done);
        counters.commands_waiting.set(self.commands.slots() as u64);
        counters.reports_stuck.set(self.stuck);
        counters.events_lost.set(self.owed.lost);
        counters.presses_ignored.set(self.owed.presses_ignored);
        counters.calls.set(self.table.calls);
        counters.calls_broken.set(self.broken);
        let now = Instant::now();
        let busy = now.duration_since(polled.woken);
        self.busy_ns += u64::try_from(busy.as_nanos()).unwrap_or(0);
        counters.busy_ns.set(self.busy_ns);
        counters
            .turn_us_max
            .raise_to(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX));
        now
    }
}

/// Where a call's wishes go.
pub(super) struct Outlet<'a, D> {
    pub(super) driver: &'a mut D,
    pub(super) reports: &'a mut Owed,
}

impl<D: Driver> Outlet<'_, D> {
    /// Does what the call wants done.
    pub(super) fn drain(&mut self, key: CallKey, entry: &mut Entry) {
        while let Some(Some(output)) = entry.guarded(Call::poll_output) {
            match output {
                Output::Transmit { port, to, packet } => self.driver.send(port, to, &packet),
                Output::Media { port, to, bytes } => {
                    self.driver.send(port, to, entry.call.media(bytes));
                }
                Output::Pin { port, peer } => self.driver.pin(port, peer),
                Output::Event(event) => self.reports.push_back(Report::Event { key, event }),
                Output::Ended(reason) => self.reports.push_back(Report::Ended { key, reason }),
            }
        }
        self.reports.presses_ignored += entry.call.take_presses_ignored();
        if entry.broken && !entry.broken_told {
            entry.broken_told = true;
            self.reports.push_back(Report::Broken { key });
        }
    }

    /// Opens sockets for a call; gives back those they replace, or why not and those not opened.
    pub(super) fn open(
        &mut self,
        key: CallKey,
        entry: &mut Entry,
        sockets: Vec<Placed>,
    ) -> Result<Vec<UdpSocket>, (Refusal, Vec<UdpSocket>)> {
        let mut replaced = Vec::new();
        let mut sockets = sockets.into_iter();
        while let Some((stream, component, socket)) = sockets.next() {
            match self.open_one(key, entry, stream, component, socket) {
                Ok(old) => replaced.extend(old),
                Err((refusal, socket)) => {
                    let mut unused = replaced;
                    unused.extend(socket);
                    unused.extend(sockets.map(|(_, _, socket)| socket));
                    return Err((refusal, unused));
                }
            }
        }
        Ok(replaced)
    }

    fn open_one(
        &mut self,
        key: CallKey,
        entry: &mut Entry,
        stream: StreamIx,
        component: Component,
        socket: UdpSocket,
    ) -> Result<Option<UdpSocket>, (Refusal, Option<UdpSocket>)> {
        let flow = FlowId {
            call: key,
            stream,
            component,
        };
        let opened = self.driver.open(flow, socket);
        let port = opened.map_err(|e| (Refusal::Open(e.source), Some(e.socket)))?;
        if let Some(Err(why)) = entry.guarded(|call| call.set_port(stream, component, port)) {
            return Err((Refusal::Port(why), self.driver.close(port)));
        }
        let same = |&(s, c, _): &(StreamIx, Component, PortHandle)| (s, c) == (stream, component);
        let old = entry
            .ports
            .iter()
            .position(same)
            .map(|ix| entry.ports.swap_remove(ix).2);
        entry.ports.push((stream, component, port));
        Ok(old.and_then(|old| self.driver.close(old)))
    }

    /// Closes the ports of the streams that `which` names.
    fn close(&mut self, entry: &mut Entry, which: impl Fn(StreamIx) -> bool) -> Vec<UdpSocket> {
        let mut sockets = Vec::new();
        entry.ports.retain(|&mut (stream, _, port)| {
            let closes = which(stream);
            if closes {
                sockets.extend(self.driver.close(port));
            }
            !closes
        });
        sockets
    }
}

/// Puts a call's next timer into the wheel, if it is earlier than what is there. Timers that a
/// packet brought forward without other effect are seen at most [`HORIZON_TICKS`] later, one
/// second.
///
/// [`HORIZON_TICKS`]: crate::plane::wheel::HORIZON_TICKS
fn reschedule(wheel: &mut Wheel, slot: u32, entry: &mut Entry) {
    let Some(at) = entry.guarded(|call| call.poll_timeout()) else {
        return;
    };
    let far = wheel.tick_of(None, false);
    let mut tick = wheel.tick_of(at, entry.call.makes_frames());
    if tick == far {
        tick -= u64::from(slot) % SPREAD_TICKS;
    }
    if tick < entry.due {
        entry.due = tick;
        wheel.schedule(slot, tick);
    }
}

/// The sockets alone.
fn bare(sockets: Vec<Placed>) -> Vec<UdpSocket> {
    sockets.into_iter().map(|(_, _, socket)| socket).collect()
}
