//! Completed presses of keys, told to whom ng clients named: one datagram of JSON for each to the
//! call's `dtmf-log-dest`, or to the server's own; and, where that is set, a message to every
//! connection of the TCP door.
//!
//! ```text
//! {"callid":"a1","source_tag":"ann","source_label":"","tags":["ann","bob"],"type":"DTMF",
//!  "timestamp":1700000000,"source_ip":"192.0.2.1","event":5,"duration":120,"volume":10}
//! 0123456789abcdef d4:datad6:callid2:a1…e6:notify6:onDTMFe
//! ```
//!
//! What cannot be sent at once is lost and counted: nothing waits here. These messages are the
//! only place that says which key it was; a log line does so only by `log-digits`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{NgService, join_datagram};
use crate::engine::{EventKind, Press};
use crate::switch::CallEvent;
use crate::wire::event::EventCode;
use crate::wire::ng::{Encoding, Value};

/// Where presses are told besides where calls say.
#[derive(Clone, Copy, Debug, Default)]
pub struct DigitLog {
    /// Of calls that name no destination.
    pub to: Option<SocketAddr>,
    /// To every connection of the TCP door, too.
    pub over_tcp: bool,
    /// Write each press into the log, with its key.
    pub in_log: bool,
}

/// Tells presses, for ever.
pub async fn serve(service: Arc<NgService>, log: DigitLog) {
    let switch = service.switch();
    let mut events = match log.to.is_some() || log.over_tcp || log.in_log {
        true => switch.events(),
        false => switch.events_listened_to(),
    };
    let mut sockets = Sockets::default();
    loop {
        let event = events.next().await;
        let EventKind::DigitEnded(press) = event.event.kind else {
            continue;
        };
        if press.code > EventCode::FLASH {
            continue; // no key
        }
        if log.in_log {
            let (call_id, tag, code) = (&event.call_id, &event.tag, press.code.0);
            tracing::info!(%call_id, %tag, code, source = press.source.label(), "key pressed");
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH);
        let at_s = at.map_or(0, |at| at.as_secs());
        if let Some(to) = event.digits_to.or(log.to) {
            let mut datagram = Vec::with_capacity(DATAGRAM_TYPICAL);
            fields(&event, &press, at_s, true).encode(Encoding::Json, &mut datagram);
            let counter = match sockets.send(&datagram, to) {
                true => &service.digits_logged,
                false => &service.digits_unlogged,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if log.over_tcp {
            let cookie = format!("{:016x}", fastrand::u64(..));
            let notice = Value::dict()
                .with("data", fields(&event, &press, at_s, false))
                .with("notify", "onDTMF");
            let notice = join_datagram(cookie.as_bytes(), Encoding::Bencode, &notice);
            service.notify(notice.into());
        }
    }
}

/// What is told of a press. A label that is not set is empty, or not there.
fn fields<'a>(event: &'a CallEvent, press: &Press, at_s: u64, always_label: bool) -> Value<'a> {
    let mut fields = Value::dict()
        .with("callid", &*event.call_id)
        .with("source_tag", &*event.tag);
    let label = event.label.as_deref();
    if let Some(label) = label.or_else(|| always_label.then_some("")) {
        fields.push(b"source_label".as_slice(), label);
    }
    let tags = event.tags.iter().map(|tag| Value::from(&**tag));
    let source = event.source.map_or_else(String::new, |ip| ip.to_string());
    let duration_ms = i64::try_from(press.duration.as_millis()).unwrap_or(i64::MAX);
    // Below 0 dBm0 as in the packets (RFC 4733 §2.3.3).
    let volume = press.level.map_or(0, |level| -i64::from(level.min(0)));
    fields
        .with("tags", tags.collect::<Vec<_>>())
        .with("type", "DTMF")
        .with("timestamp", i64::try_from(at_s).unwrap_or(i64::MAX))
        .with("source_ip", source)
        .with("event", i64::from(press.code.0))
        .with("duration", duration_ms)
        .with("volume", volume)
}

/// Length of most datagrams.
const DATAGRAM_TYPICAL: usize = 256;

/// A socket for each family, made when it is needed.
#[derive(Debug, Default)]
struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Sockets {
    /// Sends without waiting; whether it went.
    fn send(&mut self, datagram: &[u8], to: SocketAddr) -> bool {
        let (slot, any): (_, SocketAddr) = match to {
            SocketAddr::V4(_) => (&mut self.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&mut self.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        if slot.is_none() {
            let bound = UdpSocket::bind(any);
            let bound = bound.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            *slot = bound.ok();
        }
        let sent = slot.as_ref().map(|socket| socket.send_to(datagram, to));
        matches!(sent, Some(Ok(_)))
    }
}

/// The address of a destination: one receiver, with a port.
pub(in crate::control) fn destination(text: &str) -> Option<SocketAddr> {
    let to: SocketAddr = text.parse().ok()?;
    let broadcast = to.ip() == Ipv4Addr::BROADCAST;
    let one = !to.ip().is_unspecified() && !to.ip().is_multicast() && !broadcast;
    (one && to.port() != 0).then_some(to)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::engine::{DigitSource, Event, LegIx, StreamIx};

    #[test]
    fn what_parties_are_called_is_escaped() {
        let press = Press {
            number: 0,
            code: EventCode(11),
            source: DigitSource::InBand,
            level: Some(-12),
            confidence: 90,
            began_before: Duration::ZERO,
            duration: Duration::from_millis(120),
        };
        let mut event = CallEvent {
            call_id: "a\"b\\".into(),
            tag: "ann\n\u{1}".into(),
            label: None,
            leg: LegIx(0),
            source: Some([192, 0, 2, 1].into()),
            tags: vec!["ann\n\u{1}".into(), "\"},{\"x\":\"".into()],
            digits_to: None,
            event: Event {
                seq: 0,
                at: Instant::now(),
                stream: StreamIx(0),
                kind: EventKind::DigitEnded(press),
            },
        };
        let mut json = Vec::new();
        fields(&event, &press, 1_700_000_000, true).encode(Encoding::Json, &mut json);
        let text = String::from_utf8(json).unwrap();
        assert!(text.contains(r#""source_label":"","tags":["#), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["callid"], "a\"b\\");
        assert_eq!(value["source_tag"], "ann\n\u{1}");
        assert_eq!(value["tags"][1], "\"},{\"x\":\"");
        assert_eq!(value["timestamp"], 1_700_000_000);
        assert_eq!(
            (&value["event"], &value["volume"]),
            (&11.into(), &12.into())
        );
        let without = fields(&event, &press, 0, false);
        assert!(without.get("source_label").is_none());
        event.label = Some("desk \"1\"".into());
        let with = fields(&event, &press, 0, false);
        assert_eq!(
            with.get("source_label").and_then(Value::str),
            Some("desk \"1\"")
        );
    }

    #[test]
    fn destinations_are_one_receiver_with_a_port() {
        for good in ["192.0.2.1:9", "[2001:db8::1]:65535", "127.0.0.1:1"] {
            assert_eq!(destination(good), good.parse().ok());
        }
        for bad in [
            "",
            "192.0.2.1",
            "192.0.2.1:0",
            "host:5",
            "192.0.2.1:65536",
            "0.0.0.0:9",
            "224.0.0.1:9",
            "255.255.255.255:9",
            "[::]:9",
            "2001:db8::1:9x",
        ] {
            assert_eq!(destination(bad), None, "{bad}");
        }
    }
}
