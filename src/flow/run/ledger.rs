//! Who is told what becomes of calls and legs.

use futures_util::future::{BoxFuture, FutureExt as _, ready};

use crate::flow::script::StatusCallback;
use crate::sip::Ending;

/// A call came in.
#[derive(Clone, Copy, Debug)]
pub struct CallStarted<'a> {
    /// Its SID.
    pub call: &'a str,
    /// Who calls.
    pub from: &'a str,
    /// What was called.
    pub to: &'a str,
    /// Name of its flow.
    pub flow: &'a str,
    /// Whom its flow wants to be told.
    pub callback: Option<&'a StatusCallback>,
}

/// A leg began to be.
#[derive(Clone, Copy, Debug)]
pub struct LegStarted<'a> {
    /// SID of its call.
    pub call: &'a str,
    /// Its own SID.
    pub leg: &'a str,
    /// It called us.
    pub inbound: bool,
    /// Who calls.
    pub from: &'a str,
    /// Who is called.
    pub to: &'a str,
    /// SID of the leg whose place it takes by a transfer, or is to take should it be answered.
    pub instead_of: Option<&'a str>,
}

/// What was received of a leg, over all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// RTP packets that came.
    pub received: u64,
    /// Those that never came (RFC 3550 section 6.4.1).
    pub lost: u64,
    /// Interarrival jitter in microseconds (RFC 3550 section 6.4.1).
    pub jitter_us: u32,
    /// Estimated mean opinion score, 1 to 5 (ITU-T G.107); `None`: too little came.
    pub mos: Option<f32>,
}

impl Quality {
    /// What came after `before`, which is of the same party. Of a score it is not known which of
    /// both it is of.
    pub(super) fn since(self, before: Self) -> Self {
        match before == Self::default() {
            true => self,
            false => Self {
                received: self.received.saturating_sub(before.received),
                lost: self.lost.saturating_sub(before.lost),
                jitter_us: self.jitter_us,
                mos: None,
            },
        }
    }
}

/// A call is over.
#[derive(Clone, Copy, Debug)]
pub struct CallEnded<'a> {
    /// Its SID.
    pub call: &'a str,
    /// How its caller's leg ended.
    pub ending: Ending,
    /// It had been answered.
    pub answered: bool,
    /// How many keys were gathered in it.
    pub digits: u32,
    /// Paths of what was recorded of it.
    pub recordings: &'a [String],
}

/// Learns what becomes of calls and legs, at once and in order; must not wait.
pub trait Ledger: Send + Sync + 'static {
    /// A call came in, and has a flow.
    fn call_started(&self, call: &CallStarted<'_>);
    /// A leg: that of the caller, or of somebody who is called.
    fn leg_started(&self, leg: &LegStarted<'_>);
    /// A call's flow has come to this applet.
    fn applet_begun(&self, _call: &str, _applet: &str) {}
    /// A leg rings.
    fn ringing(&self, call: &str, leg: &str);
    /// A leg was answered.
    fn answered(&self, call: &str, leg: &str);
    /// A leg is over; what was received of it, if it ever had media.
    fn leg_ended(&self, call: &str, leg: &str, ending: Ending, quality: Option<&Quality>);
    /// A call is over; legs of it may still be on their way out.
    fn call_ended(&self, call: &CallEnded<'_>);
    /// With whom of these agents this caller talked last: the target of the leg that was answered
    /// last in its earlier calls. `None`: with none of them, or that is not known in time.
    fn last_agent<'a>(
        &'a self,
        _caller: &'a str,
        _agents: Vec<String>,
    ) -> BoxFuture<'a, Option<String>> {
        ready(None).boxed()
    }
}

/// Writes all of it into the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Ledger for Log {
    fn call_started(&self, call: &CallStarted<'_>) {
        tracing::info!(call_id = %call.call, flow = %call.flow, "call started");
    }

    fn leg_started(&self, leg: &LegStarted<'_>) {
        tracing::info!(call_id = %leg.call, leg = %leg.leg, inbound = leg.inbound,
            instead_of = leg.instead_of, "leg started");
    }

    fn ringing(&self, call: &str, leg: &str) {
        tracing::info!(call_id = %call, %leg, "leg rings");
    }

    fn answered(&self, call: &str, leg: &str) {
        tracing::info!(call_id = %call, %leg, "leg answered");
    }

    fn leg_ended(&self, call: &str, leg: &str, ending: Ending, quality: Option<&Quality>) {
        let (cause, by) = (ending.cause.0, ending.by);
        tracing::info!(call_id = %call, %leg, cause, ?by, ?quality, "leg ended");
    }

    fn call_ended(&self, call: &CallEnded<'_>) {
        let (cause, digits) = (call.ending.cause.0, call.digits);
        tracing::info!(call_id = %call.call, cause, digits, "call ended");
    }
}
