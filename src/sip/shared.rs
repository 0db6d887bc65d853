//! What the endpoint, its legs and its registrar share.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::{DashMap, Entry};
use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::platform::CancellationToken;
use rsipstack::sip::{Auth, HeadersExt, HostWithPort, Param, Request, Scheme, Transport, Uri};
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::SipAddr;
use tokio::sync::mpsc;

use super::config::SipConfig;
use super::digest::Digests;
use super::leg::{Incoming, LegId};
use super::message;
use super::registrar::Registrar;
use super::session::Reliable;
use super::transfer::Stage;
use crate::seldom::Seldom;

/// The endpoint's own.
pub(super) struct Core {
    pub(super) config: SipConfig,
    pub(super) endpoint: EndpointInnerRef,
    /// Where it listens for datagrams, with the ports that it got.
    pub(super) datagrams: Vec<SocketAddr>,
    pub(super) dialogs: Arc<DialogLayer>,
    pub(super) registrar: Arc<Mutex<Registrar>>,
    pub(super) digests: Mutex<Digests>,
    pub(super) incoming: mpsc::Sender<Incoming>,
    pub(super) calls_max: usize,
    pub(super) calls: AtomicUsize,
    pub(super) is_draining: AtomicBool,
    pub(super) counters: Arc<Counters>,
    /// The endpoint stops, and all legs with it.
    pub(super) stop: CancellationToken,
    /// Dialogs whose provisional responses are reliable, by their id.
    pub(super) reliable: DashMap<String, Arc<Reliable>>,
    /// Call-IDs of INVITEs of ours that have no answer yet.
    pub(super) dialled: DashMap<String, ()>,
    /// INVITEs whose calls have not ended: Call-ID, tag of From and CSeq.
    pub(super) seen: DashMap<(String, String, u32), ()>,
    /// Legs that may be replaced, by their dialog.
    pub(super) legs: DashMap<DialogId, (LegId, Stage)>,
    pub(super) legs_made: AtomicU64,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls.load(Ordering::Relaxed);
        f.debug_struct("Core")
            .field("calls", &calls)
            .finish_non_exhaustive()
    }
}

/// A mutex whose holder has panicked is used on: what it guards is whole after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// How long a transaction may take to its end (64 T1), and a little more.
    pub(super) fn patience(&self) -> Duration {
        self.config.t1 * 65
    }

    /// Takes one of the calls that may come in at a time.
    pub(super) fn slot(self: &Arc<Self>) -> Option<Slot> {
        let max = self.calls_max;
        let one_more = |n: usize| (n < max).then_some(n + 1);
        let order = Ordering::Relaxed;
        self.calls.fetch_update(order, order, one_more).ok()?;
        Some(Slot(self.clone()))
    }

    pub(super) fn dialling(self: &Arc<Self>, call_id: String) -> Dialling {
        self.dialled.insert(call_id.clone(), ());
        Dialling(self.clone(), call_id)
    }

    /// Marks an INVITE as seen. `None`: it was seen already, and has come by another path as well
    /// (RFC 3261 section 8.2.2.2).
    pub(super) fn see(self: &Arc<Self>, invite: &Request) -> Option<Seen> {
        let from = invite.from_header().ok().and_then(|f| f.tag().ok());
        let tag = from.flatten().map(|t| t.value().to_owned());
        let call_id = invite.call_id_header().ok().map(|c| c.value().to_owned());
        let key = (
            call_id.unwrap_or_default(),
            tag.unwrap_or_default(),
            message::cseq(invite).unwrap_or_default(),
        );
        match self.seen.entry(key.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(room) => {
                room.insert(());
                Some(Seen(self.clone(), key))
            }
        }
    }

    /// The next leg.
    pub(super) fn leg_id(&self) -> LegId {
        LegId(self.legs_made.fetch_add(1, Ordering::Relaxed))
    }

    /// A leg may be replaced from now on, by its dialog.
    pub(super) fn enter(self: &Arc<Self>, dialog: DialogId, leg: LegId, stage: Stage) -> Entered {
        self.legs.insert(dialog.clone(), (leg, stage));
        Entered(self.clone(), dialog)
    }

    /// Where others reach us who are reached over `transport`.
    pub(super) fn here(&self, transport: Option<Transport>) -> Option<SipAddr> {
        let listens = self.endpoint.transport_layer.get_listen_addrs();
        let wanted = transport.unwrap_or_default();
        let same = |a: &&SipAddr| a.r#type.unwrap_or_default() == wanted;
        listens
            .iter()
            .find(same)
            .or_else(|| listens.first())
            .cloned()
    }

    /// Whether we listen for datagrams at this very address.
    pub(super) fn is_here(&self, address: SocketAddr) -> bool {
        self.datagrams.iter().any(|listen| {
            let is_any = listen.ip().is_unspecified() && address.ip().is_loopback();
            listen.port() == address.port() && (listen.ip() == address.ip() || is_any)
        })
    }

    /// Our Contact for a party that is reached at `far`. To ourselves that is where we are, and not
    /// what others are told.
    pub(super) fn contact(&self, user: &str, far: &SipAddr) -> Uri {
        let address = far.get_socketaddr().ok();
        let here = match address.is_some_and(|address| self.is_here(address)) {
            true => Some(far.clone()),
            false => self.here(far.r#type),
        };
        let transport = here.as_ref().and_then(|h| h.r#type).unwrap_or_default();
        let mut uri = Uri {
            scheme: Some(Scheme::Sip),
            auth: auth(user),
            host_with_port: here.map(|h| h.addr).unwrap_or_default(),
            ..Uri::default()
        };
        if transport != Transport::Udp {
            uri.params.push(Param::Transport(transport));
        }
        uri
    }

    /// Our From for a party that is reached at `far`, in its own domain if it has one.
    pub(super) fn caller(&self, user: &str, domain: Option<HostWithPort>, far: &SipAddr) -> Uri {
        let here = || self.here(far.r#type).map(|h| h.addr).unwrap_or_default();
        Uri {
            scheme: Some(Scheme::Sip),
            auth: auth(user),
            host_with_port: domain.unwrap_or_else(here),
            ..Uri::default()
        }
    }
}

fn auth(user: &str) -> Option<Auth> {
    let user: String = user.chars().filter(|c| !c.is_control()).collect();
    let password = None;
    (!user.is_empty()).then_some(Auth { user, password })
}

/// One of the calls that may come in at a time.
#[derive(Debug)]
pub(super) struct Slot(Arc<Core>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An INVITE of ours without an answer.
#[derive(Debug)]
pub(super) struct Dialling(Arc<Core>, String);

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.dialled.remove(&self.1);
    }
}

/// An INVITE whose call has not ended.
#[derive(Debug)]
pub(super) struct Seen(Arc<Core>, (String, String, u32));

impl Drop for Seen {
    fn drop(&mut self) {
        self.0.seen.remove(&self.1);
    }
}

/// A leg that may be replaced.
#[derive(Debug)]
pub(super) struct Entered(Arc<Core>, DialogId);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.legs.remove(&self.1);
    }
}

/// What the log is told of now and then, however often it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Warning {
    /// More INVITEs than are let in.
    Calls,
    /// More other requests.
    Requests,
    /// An address is locked out.
    LockedOut(IpAddr),
    /// Digests are wrong from more addresses than are remembered.
    Guessing,
    /// There are as many connections as may be, from this address or at all.
    Connections(Option<IpAddr>),
    /// A connection from there said nothing.
    Silent(IpAddr),
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What was counted since the start.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($name: AtomicU64,)*
            /// What of it the log was told of.
            pub(super) warned: Seldom<Warning>,
        }

        /// What was counted since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct SipCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            $(pub(super) fn $name(&self) {
                self.$name.fetch_add(1, Ordering::Relaxed);
            })*

            pub(super) fn read(&self) -> SipCounters {
                SipCounters {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters! {
    /// Calls that came in and were let in.
    let_in,
    /// Calls of the endpoint to itself.
    inner,
    /// INVITEs that we sent.
    dialled,
    /// Calls of either direction that were answered.
    answered,
    /// Calls refused because there were as many as may be, or while draining (503).
    refused_busy,
    /// Calls and registrations refused because nobody knows who it is (403).
    refused_unknown,
    /// Digests that were wrong.
    digests_wrong,
    /// Requests refused from an address that is locked out.
    locked_out,
    /// Requests that were malformed, or too long.
    malformed,
    /// Legs ended because nobody took their events.
    events_lost,
    /// Requests beyond the rate, and connections beyond the most there may be.
    floods,
    /// TCP connections closed because their first message was not whole in time.
    silent,
}
