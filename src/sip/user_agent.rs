//! The endpoint: listens, lets in who may call, and dials.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use rsipstack::EndpointBuilder;
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::platform::CancellationToken;
use rsipstack::transaction::Endpoint;
use rsipstack::transaction::endpoint::EndpointOption;
use rsipstack::transport::transport_layer::TransportLayer;
use tokio::sync::mpsc;

use super::config::{Listen, SipConfig};
use super::connections::Connections;
use super::digest::Digests;
use super::door::{self, Door};
use super::leg::{Incoming, Leg, LegError, LegEvents, LegId, Outgoing};
use super::registrar::Registrar;
use super::repair::Repair;
use super::route::Locator;
use super::session::{self, Session};
use super::shared::{Core, Counters, SipCounters};
use super::transfer::Replaces;
use super::{listen, requests, trunks};

/// Calls that wait to be taken out of the queue.
pub const INCOMING_MAX: usize = 256;
/// The longest that a callee may let us wait after its last provisional response: calls have a
/// ring timeout of their own.
const TIMER_C: Duration = Duration::from_secs(3600);
/// Length of the secret that nonces are sealed with.
const SECRET: usize = 32;

/// Why the signalling layer could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SipError {
    /// An address cannot be bound.
    #[error("cannot listen on {address} for SIP: {why}")]
    Bind {
        /// With its transport, as `udp:127.0.0.1:5060`.
        address: String,
        /// Why.
        why: String,
    },
    /// The authorities for TLS cannot be read.
    #[error("cannot read {path}: {why}")]
    Authorities {
        /// Where they should be.
        path: String,
        /// Why.
        why: String,
    },
    /// The stack's own words.
    #[error("SIP: {0}")]
    Stack(String),
}

/// The SIP endpoint; it stops when it is dropped.
#[derive(Debug)]
pub struct UserAgent {
    pub(super) core: Arc<Core>,
    listens: Vec<Listen>,
    stop: CancellationToken,
}

impl UserAgent {
    /// Starts it. Calls that come in are given out by the queue, of at most `calls_max` at a time;
    /// more are refused with 503 and Retry-After.
    ///
    /// # Errors
    /// [`SipError`].
    pub async fn start(
        config: SipConfig,
        calls_max: usize,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Incoming>), SipError> {
        let stop = CancellationToken::new();
        // Whatever was started stops again should the rest fail.
        let guard = stop.clone().drop_guard();
        let layer = TransportLayer::new(stop.child_token());
        listen::trust(&layer, &config)?;
        let counters = Arc::new(Counters::default());
        let mut listens = listen::bind_datagrams(&layer, &config, &stop, &counters).await?;
        let datagrams = listens.iter().map(|l| l.address).collect();
        let registrar = Arc::new(Mutex::new(Registrar::default()));
        let connections = Connections::new(config.t1, counters.clone());
        let behind = door::Endpoint::default();
        let door = Door::new(
            config.calls_per_second,
            counters.clone(),
            connections.clone(),
            behind.clone(),
            Instant::now(),
        );
        let endpoint = endpoint(layer, &config, &stop, registrar.clone(), door);
        // It was empty.
        let _set_once = behind.set(Arc::downgrade(&endpoint.inner));
        let requests = endpoint
            .incoming_transactions()
            .map_err(|e| SipError::Stack(e.to_string()))?;
        serve(&endpoint).await;
        listens.extend(listen::bind_streams(&endpoint.inner, &config, &stop, &connections).await?);
        let queue = INCOMING_MAX.min(calls_max.max(1));
        let (incoming, given_out) = mpsc::channel(queue);
        let core = Arc::new(core(
            config,
            &endpoint,
            datagrams,
            registrar,
            (incoming, calls_max),
            counters,
            stop.clone(),
        ));
        tokio::spawn(requests::take_all(core.clone(), requests, stop.clone()));
        trunks::register_all(&core, &stop);
        let agent = Self {
            core,
            listens,
            stop: guard.disarm(),
        };
        Ok((Arc::new(agent), given_out))
    }

    /// Calls somebody.
    ///
    /// Redirections (300–302) are followed, five at most: to users of ours, to other numbers of the
    /// trunk that the call went over, and to addresses elsewhere. They lead neither to other trunks
    /// nor, from elsewhere, to this machine: whoever is called could call others at our expense.
    /// One that leads nowhere ends the leg with its status.
    ///
    /// # Errors
    /// [`LegError`] where there is nowhere to send it: an unknown or unregistered user, an unknown
    /// trunk, no such URI; or it has taken as many hops as it may (483).
    pub async fn dial(&self, call: Outgoing) -> Result<(Leg, LegEvents), LegError> {
        let plan = self.core.plan(call)?;
        let (session, leg, events) = Session::new(self.core.clone(), None);
        tokio::spawn(session::dial(session, plan));
        Ok((leg, events))
    }

    /// The leg that a transfer is to take the place of: one that was answered, or one that we
    /// dialled and that rings. `None`: there is no such leg (any more).
    #[must_use]
    pub fn find_replaced(&self, replaces: &Replaces) -> Option<LegId> {
        self.core.replaced(replaces).map(|(leg, _)| leg)
    }

    /// The other end of a leg that has both its ends here, as a call to our own address has.
    /// `None`: it is elsewhere, or there is no such leg.
    #[must_use]
    pub fn other_end(&self, leg: LegId) -> Option<LegId> {
        self.core.other_end(leg)
    }

    /// Whether a user of ours has this name, registered or not.
    #[must_use]
    pub fn has_user(&self, name: &str) -> bool {
        self.core.config.users.iter().any(|user| user.name == name)
    }

    /// Takes no more calls (503), for a switch that drains.
    pub fn drain(&self) {
        self.core.is_draining.store(true, Ordering::Relaxed);
    }

    /// Where it listens, with the ports that it got.
    #[must_use]
    pub fn listens(&self) -> &[Listen] {
        &self.listens
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> SipCounters {
        self.core.counters.read()
    }

    /// What it holds at the moment.
    #[must_use]
    pub fn load(&self) -> SipLoad {
        let stats = self.core.endpoint.get_stats();
        SipLoad {
            calls: self.core.calls.load(Ordering::Relaxed),
            dialogs: self.core.dialogs.len(),
            transactions: stats.running_transactions,
        }
    }
}

/// What the endpoint holds at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipLoad {
    /// Calls that came in and have not ended.
    pub calls: usize,
    /// Dialogs of either direction, with those whose BYE is not answered yet.
    pub dialogs: usize,
    /// Transactions that run.
    pub transactions: usize,
}

impl Drop for UserAgent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn endpoint(
    layer: TransportLayer,
    config: &SipConfig,
    stop: &CancellationToken,
    registrar: Arc<Mutex<Registrar>>,
    door: Door,
) -> Endpoint {
    let t1 = config.t1;
    EndpointBuilder::new()
        .with_user_agent("Crosspoint")
        .with_transport_layer(layer)
        .with_cancel_token(stop.child_token())
        .with_target_locator(Box::new(Locator(registrar)))
        .with_inspector(Box::new(Repair))
        .with_transport_inspector(Box::new(door))
        .with_option(EndpointOption {
            t1,
            t2: t1 * 8,
            t4: t1 * 10,
            t1x64: t1 * 64,
            timerc: TIMER_C,
            ..EndpointOption::default()
        })
        .build()
}

/// Lets the endpoint run. When it is first polled it begins to serve what was bound, and it would
/// serve twice what is bound later; so that happens here.
async fn serve(endpoint: &Endpoint) {
    let inner = endpoint.inner.clone();
    let mut serving = Box::pin(async move { inner.serve().await });
    let begun = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await;
    if begun.is_pending() {
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the SIP endpoint has stopped");
            }
        });
    }
}

fn core(
    config: SipConfig,
    endpoint: &Endpoint,
    datagrams: Vec<SocketAddr>,
    registrar: Arc<Mutex<Registrar>>,
    (incoming, calls_max): (mpsc::Sender<Incoming>, usize),
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Core {
    let now = Instant::now();
    let secret = rsipstack::transaction::random_text(SECRET);
    let (after, length) = (config.lock_out_after, config.lock_out);
    Core {
        digests: Mutex::new(Digests::new(&config.realm, secret, after, length, now)),
        config,
        endpoint: endpoint.inner.clone(),
        datagrams,
        dialogs: Arc::new(DialogLayer::new(endpoint.inner.clone())),
        registrar,
        incoming,
        calls_max,
        calls: AtomicUsize::new(0),
        is_draining: AtomicBool::new(false),
        counters,
        stop,
        reliable: DashMap::new(),
        dialled: DashMap::new(),
        seen: DashMap::new(),
        legs: DashMap::new(),
        legs_made: AtomicU64::new(0),
    }
}
