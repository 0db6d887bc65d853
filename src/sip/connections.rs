//! Who is connected over TCP: how many there are from where, and which of them have said anything.
//!
//! The stack would take any number of connections, with 128 KiB for each, and hears one for five
//! minutes whose message never ends. It neither says when a connection has ended nor ends one that
//! is cancelled. So connections are counted here until the token that the stack cancels at their
//! end, and one that says nothing in time is shut down at its socket, of which we keep a second
//! handle until then. TLS and WebSocket connections are accepted inside of the stack.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use rsipstack::platform::CancellationToken;
use rsipstack::transport::SipConnection;

use super::digest::network;
use super::shared::{Counters, Warning, lock};

/// Connections of one endpoint, those that we make counted.
pub(super) const CONNECTIONS_MAX: usize = 1_024;
/// Connections that come from one address, or one IPv6 network of 64 bits.
pub(super) const PER_ADDRESS_MAX: usize = 256;
/// How long the first message on a connection may take to be whole, in T1: 10 s by default.
const FIRST_MESSAGE_T1: u32 = 20;

/// Our end of a connection, and the other one.
type Ends = (SocketAddr, SocketAddr);

/// The connections that came in.
#[derive(Debug)]
pub(super) struct Connections {
    of: Mutex<HashMap<IpAddr, usize>>,
    /// Those that have not said a whole message yet, by their number.
    silent: DashMap<Ends, u64>,
    made: AtomicU64,
    patience: Duration,
    counters: Arc<Counters>,
}

impl Connections {
    pub(super) fn new(t1: Duration, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            of: Mutex::default(),
            silent: DashMap::new(),
            made: AtomicU64::new(0),
            patience: t1 * FIRST_MESSAGE_T1,
            counters,
        })
    }

    /// One more connection, beside so many of the endpoint; `None`: there are as many as may be.
    pub(super) fn enter(
        self: &Arc<Self>,
        here: SocketAddr,
        far: SocketAddr,
        all: usize,
    ) -> Option<Guest> {
        if all >= CONNECTIONS_MAX {
            self.refuse(None, far);
            return None;
        }
        let place = network(far.ip());
        let has_room = {
            let mut of = lock(&self.of);
            let count = of.entry(place).or_default();
            let has_room = *count < PER_ADDRESS_MAX;
            *count += usize::from(has_room);
            has_room
        };
        if !has_room {
            self.refuse(Some(place), far);
            return None;
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.silent.insert((here, far), number);
        Some(Guest {
            connections: Arc::clone(self),
            ends: (here, far),
            number,
        })
    }

    fn refuse(&self, place: Option<IpAddr>, far: SocketAddr) {
        self.counters.floods();
        let warning = Warning::Connections(place);
        if let Some(more) = self.counters.warned.ask(warning, Instant::now()) {
            let whose = if place.is_some() {
                "from there"
            } else {
                "at all"
            };
            tracing::warn!(from = %far, more, "as many SIP connections {whose} as may be: closed");
        }
    }

    /// A whole message came by it.
    pub(super) fn heard(&self, connection: &SipConnection) {
        let SipConnection::Tcp(tcp) = connection else {
            return;
        };
        let (here, far) = (&tcp.inner.local_addr, &tcp.inner.remote_addr);
        if let (Ok(here), Ok(far)) = (here.get_socketaddr(), far.get_socketaddr()) {
            self.silent.remove(&(here, far));
        }
    }
}

/// A connection that came in, until it has ended.
#[derive(Debug)]
pub(super) struct Guest {
    connections: Arc<Connections>,
    ends: Ends,
    number: u64,
}

impl Guest {
    /// Waits until it has `ended`, and ends it itself if nothing is said by it in time.
    pub(super) async fn stay(self, socket: std::net::TcpStream, ended: CancellationToken) {
        let patience = self.connections.patience;
        let in_time = tokio::time::timeout(patience, ended.cancelled()).await;
        if in_time.is_err() && self.is_silent() {
            self.shut_out(&socket);
        }
        drop(socket);
        ended.cancelled().await;
    }

    fn is_silent(&self) -> bool {
        let number = self.connections.silent.get(&self.ends);
        number.is_some_and(|number| *number == self.number)
    }

    fn shut_out(&self, socket: &std::net::TcpStream) {
        let (counters, (_, far)) = (&self.connections.counters, self.ends);
        counters.silent();
        let warning = Warning::Silent(network(far.ip()));
        if let Some(more) = counters.warned.ask(warning, Instant::now()) {
            let seconds = self.connections.patience.as_secs_f32();
            tracing::warn!(from = %far, seconds, more, "no whole SIP message by then: closed");
        }
        // An error is a connection that is gone.
        let _gone = socket.shutdown(Shutdown::Both);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let number = self.number;
        let silent = &self.connections.silent;
        // The same ends may have been connected anew.
        silent.remove_if(&self.ends, |_, newest| *newest == number);
        let (_, far) = self.ends;
        let mut of = lock(&self.connections.of);
        let place = network(far.ip());
        if let Some(count) = of.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                of.remove(&place);
            }
        }
    }
}
