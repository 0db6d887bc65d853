//! What is let through to the stack: floods and what is malformed end here, before anything is
//! kept for them.
//!
//! The stack makes a transaction for every request, remembers it for 64 T1, and has no bounds of
//! its own. So a request beyond the rate is answered from here and forgotten; one that is said
//! again is let through, for it costs nothing more.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use rsipstack::sip::{Header, HeadersExt, Method, Request, SipMessage, StatusCode, Version};
use rsipstack::transaction::endpoint::{EndpointInner, TransportEventInspector};
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::make_tag;
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};

use super::admission::Rate;
use super::connections::Connections;
use super::repair;
use super::requests::RETRY_AFTER;
use super::shared::{Counters, Warning, lock};

/// Other requests than INVITEs that are let through, for each INVITE that may be.
const OTHERS_PER_CALL: u32 = 10;
/// Fewest other requests that are let through in a second.
const OTHERS_MIN: u32 = 1_000;

/// The door, for whoever comes by any transport.
pub(super) struct Door {
    calls: Mutex<Rate>,
    others: Mutex<Rate>,
    counters: Arc<Counters>,
    connections: Arc<Connections>,
    endpoint: Endpoint,
}

/// The stack behind the door; it is made after it.
pub(super) type Endpoint = Arc<OnceLock<Weak<EndpointInner>>>;

/// What becomes of a message.
enum Judgement {
    Pass,
    Drop,
    /// It is answered with this code, and forgotten.
    Refuse(StatusCode),
}

impl Door {
    pub(super) fn new(
        calls_per_second: u32,
        counters: Arc<Counters>,
        connections: Arc<Connections>,
        endpoint: Endpoint,
        now: Instant,
    ) -> Self {
        let others = calls_per_second.saturating_mul(OTHERS_PER_CALL);
        Self {
            calls: Mutex::new(Rate::new(calls_per_second, now)),
            others: Mutex::new(Rate::new(others.max(OTHERS_MIN), now)),
            counters,
            connections,
            endpoint,
        }
    }

    fn judge(&self, message: &SipMessage, from: &SipAddr) -> Judgement {
        let request = match message {
            SipMessage::Request(request) => request,
            SipMessage::Response(response) => {
                let key = TransactionKey::from_response(response, TransactionRole::Client);
                return match key.is_ok() {
                    true => Judgement::Pass,
                    false => self.unreadable(None),
                };
            }
        };
        let Ok(key) = TransactionKey::from_request(request, TransactionRole::Server) else {
            return self.unreadable(Some(request));
        };
        if request.method == Method::Ack || self.is_known(&key) {
            return Judgement::Pass;
        }
        let now = Instant::now();
        let is_call = request.method == Method::Invite && is_initial(request);
        let rate = if is_call { &self.calls } else { &self.others };
        if lock(rate).take(now) {
            return Judgement::Pass;
        }
        self.counters.floods();
        self.warn(is_call, from, now);
        match is_call {
            true => Judgement::Refuse(StatusCode::ServiceUnavailable),
            false => Judgement::Drop,
        }
    }

    /// Says, once in a while, that there are more requests than are let through, and where one of
    /// them came from.
    fn warn(&self, is_call: bool, from: &SipAddr, now: Instant) {
        let (warning, what) = match is_call {
            true => (
                Warning::Calls,
                "more calls by SIP than calls-per-second: 503",
            ),
            false => (Warning::Requests, "a flood of SIP requests: dropped"),
        };
        if let Some(more) = self.counters.warned.ask(warning, now) {
            tracing::warn!(from = %from.addr, more, "{what}");
        }
    }

    /// What the stack cannot tell apart from others is refused, as far as it can be answered.
    fn unreadable(&self, request: Option<&Request>) -> Judgement {
        self.counters.malformed();
        match request {
            Some(request)
                if request.method != Method::Ack
                    && request.via_header().is_ok()
                    && lock(&self.others).take(Instant::now()) =>
            {
                Judgement::Refuse(StatusCode::BadRequest)
            }
            _ => Judgement::Drop,
        }
    }

    /// Whether the stack has a transaction for it already.
    fn is_known(&self, key: &TransactionKey) -> bool {
        let endpoint = self.endpoint.get().and_then(Weak::upgrade);
        endpoint.is_some_and(|e| {
            e.transactions.get(key).is_some() || e.finished_transactions.get(key).is_some()
        })
    }

    /// Answers without remembering it.
    async fn refuse(&self, request: &Request, code: StatusCode, connection: &SipConnection) {
        let Some(endpoint) = self.endpoint.get().and_then(Weak::upgrade) else {
            return;
        };
        let is_busy = code == StatusCode::ServiceUnavailable;
        let mut response = endpoint.make_response(request, code, None);
        response.version = Version::V2;
        for header in response.headers.iter_mut() {
            if let Header::To(to) = header {
                *to = to.with_tag(make_tag());
            }
        }
        if is_busy {
            let after = Header::RetryAfter(RETRY_AFTER.into());
            response.headers.push(after);
        }
        // An error is a connection that is gone.
        let _gone = connection.send(response.into(), None).await;
    }
}

fn is_initial(request: &Request) -> bool {
    let to = request.to_header().ok().and_then(|t| t.tag().ok());
    to.flatten().is_none()
}

#[async_trait::async_trait]
impl TransportEventInspector for Door {
    async fn handle(&self, mut event: TransportEvent) -> Option<TransportEvent> {
        let TransportEvent::Incoming(message, connection, from) = &mut event else {
            return Some(event);
        };
        self.connections.heard(connection);
        repair::addresses(message);
        match (self.judge(message, from), message) {
            (Judgement::Pass, _) => Some(event),
            (Judgement::Refuse(code), SipMessage::Request(request)) => {
                self.refuse(request, code, connection).await;
                None
            }
            (Judgement::Refuse(_) | Judgement::Drop, _) => None,
        }
    }
}
