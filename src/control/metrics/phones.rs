//! What the embedded signalling layer and the records of its calls count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{counter, family, gauge};
use crate::control::http::Phones;
use crate::flow::board::ENDINGS;
use crate::flow::records::Store;

/// Reads what answers the phone at each scrape.
#[derive(Debug)]
pub(super) struct Phone(pub(super) Phones);

impl Collector for Phone {
    fn encode(&self, mut e: DescriptorEncoder<'_>) -> std::fmt::Result {
        let (agent, board) = (&self.0.agent, &self.0.board);
        let (load, c) = (agent.load(), agent.counters());
        let now = [
            ("sip_calls", "Calls that came in by SIP", load.calls),
            ("sip_dialogs", "SIP dialogs", load.dialogs),
            ("sip_transactions", "SIP transactions", load.transactions),
        ];
        for (name, help, count) in now {
            gauge(&mut e, name, help, count as u64)?;
        }
        let counts = [
            ("sip_let_in", "SIP calls that were let in", c.let_in),
            ("sip_inner", "SIP calls of the switch to itself", c.inner),
            ("sip_dialled", "INVITEs sent", c.dialled),
            (
                "sip_answered",
                "SIP calls answered, of either direction",
                c.answered,
            ),
            (
                "sip_refused_busy",
                "SIP calls refused with 503",
                c.refused_busy,
            ),
            (
                "sip_refused_unknown",
                "SIP requests of nobody known",
                c.refused_unknown,
            ),
            ("sip_digests_wrong", "Wrong digests", c.digests_wrong),
            (
                "sip_locked_out",
                "Requests of locked-out addresses",
                c.locked_out,
            ),
            (
                "sip_malformed",
                "SIP messages malformed or too long",
                c.malformed,
            ),
            (
                "sip_events_lost",
                "SIP legs ended as nobody heeded them",
                c.events_lost,
            ),
            (
                "sip_floods",
                "SIP requests and connections beyond the limits",
                c.floods,
            ),
            (
                "sip_connections_silent",
                "SIP connections closed as no whole message came in time",
                c.silent,
            ),
        ];
        for (name, help, count) in counts {
            counter(&mut e, name, help, count)?;
        }
        let help = "Calls of flows at the moment";
        gauge(&mut e, "flow_calls", help, board.len() as u64)?;
        let help = "Calls that came in to a flow";
        counter(&mut e, "flow_calls_started", help, board.started())?;
        let labels = ENDINGS.map(|ending| ending.label());
        let ended: Vec<_> = labels.into_iter().zip(board.ended()).collect();
        let help = "Calls of flows that are over, by status";
        family(&mut e, "flow_calls_ended", help, "status", &ended)
    }
}

/// Reads what the store of call records did, at each scrape.
#[derive(Debug)]
pub(super) struct Records(pub(super) Arc<Store>);

impl Collector for Records {
    fn encode(&self, mut e: DescriptorEncoder<'_>) -> std::fmt::Result {
        let c = self.0.counters();
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let counts = [
            (
                "call_records_written",
                "Events of calls written",
                &c.written,
            ),
            (
                "call_records_lost",
                "Events of calls lost as too many waited",
                &c.dropped,
            ),
            (
                "call_records_refused",
                "Events of calls that could not be written at all",
                &c.skipped,
            ),
            (
                "call_record_write_errors",
                "Failures to write events of calls, which then wait",
                &c.failed,
            ),
            (
                "call_records_expired",
                "Calls deleted from the records for their age or number",
                &c.expired,
            ),
            (
                "status_callbacks_queued",
                "Status callbacks put into the outbox",
                &c.callbacks_queued,
            ),
            (
                "status_callbacks_refused",
                "Status callbacks for which the outbox had no room, or whose URL is of no use",
                &c.callbacks_refused,
            ),
            (
                "status_callbacks_delivered",
                "Status callbacks that were taken",
                &c.callbacks_delivered,
            ),
            (
                "status_callback_failures",
                "Attempts at status callbacks that were not taken",
                &c.callbacks_failed,
            ),
            (
                "status_callbacks_retried",
                "Status callbacks to be sent again after a failure",
                &c.callbacks_retried,
            ),
            (
                "status_callbacks_given_up",
                "Status callbacks that were never taken",
                &c.callbacks_given_up,
            ),
        ];
        for (name, help, count) in counts {
            counter(&mut e, name, help, load(count))?;
        }
        let help = "Status callbacks that wait in the outbox";
        gauge(
            &mut e,
            "status_callbacks_waiting",
            help,
            load(&c.callbacks_waiting),
        )
    }
}
