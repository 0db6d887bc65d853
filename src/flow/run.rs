//! Carries calls through their flows: one task per call, which watches the caller and goes from
//! applet to applet.
//!
//! Whatever an applet waits for, it is dropped where it stands when the caller hangs up or the
//! switch stops: its callees are hung up, its place in a queue is given up, and the switch's call
//! is deleted, in that order and after a panic, too.

mod callee;
mod caller;
mod connect;
mod http;
pub mod ledger;
mod live;
mod presence;
pub(crate) mod quality;
mod queue;
mod sdp;
mod seat;
mod talk;
mod target;
mod transfer;
mod voicemail;
mod waiting;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::script::{Flow, Next, Step};
use crate::engine::EarlyMedia;
use crate::seldom::Seldom;
use crate::sip::{Cause, EndedBy, Ending, Incoming, UserAgent};
use crate::switch::Switch;
use ledger::{CallStarted, Ledger, LegStarted};
pub(crate) use live::CALLER;
use live::Live;
use presence::Watch;
use seat::Places;
pub use target::LOCAL_HOPS_MAX;
pub use transfer::TRANSFERS_MAX;
use waiting::Queues;

/// Most applets that one call goes through: a flow that runs in circles without waiting ends.
pub const STEPS_MAX: usize = 10_000;

/// How long a caller that was hung up may take to be gone.
const GOODBYE_MAX: Duration = Duration::from_secs(35);

/// Finds the flow of a number that was called.
pub trait Flows: Send + Sync + 'static {
    /// The flow; `None`: there is no such number.
    fn find(&self, number: &str) -> Option<Arc<Flow>>;
}

impl<F> Flows for F
where
    F: Fn(&str) -> Option<Arc<Flow>> + Send + Sync + 'static,
{
    fn find(&self, number: &str) -> Option<Arc<Flow>> {
        self(number)
    }
}

/// Carries calls through flows. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    desk: Arc<Desk>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

/// What all calls of a runner share.
struct Desk {
    switch: Arc<Switch>,
    agent: Arc<UserAgent>,
    flows: Box<dyn Flows>,
    ledger: Arc<dyn Ledger>,
    queues: Arc<Queues>,
    places: Arc<Places>,
    /// Addresses of which the log was told that their media is refused.
    warned: Seldom<Option<IpAddr>>,
    stop: watch::Sender<bool>,
}

impl Runner {
    /// A runner of calls that `agent` takes and makes, with their media on `switch`.
    pub fn new(
        switch: Arc<Switch>,
        agent: Arc<UserAgent>,
        flows: impl Flows,
        ledger: Arc<dyn Ledger>,
    ) -> Self {
        let desk = Desk {
            switch,
            agent,
            flows: Box::new(flows),
            ledger,
            queues: Arc::default(),
            places: Arc::default(),
            warned: Seldom::default(),
            stop: watch::Sender::new(false),
        };
        Self {
            desk: Arc::new(desk),
        }
    }

    /// Carries a call, in a task of its own.
    pub fn take(&self, call: Incoming) {
        let stop = self.desk.stop.subscribe();
        let desk = Arc::clone(&self.desk);
        match call.replaces {
            Some(replaced) => tokio::spawn(transfer::take_place(desk, call, replaced, stop)),
            None => tokio::spawn(carry(desk, call, stop)),
        };
    }

    /// Hangs up all calls, and waits until they are gone, for at most so long; whether they are.
    pub async fn shutdown(&self, within: Duration) -> bool {
        self.desk.stop.send_replace(true);
        let gone = self.desk.stop.closed();
        tokio::time::timeout(within, gone).await.is_ok()
    }
}

/// Deletes the switch's call, whatever ends its task, and tells that the call has ended.
struct Guard {
    live: Arc<Live>,
    ending: Ending,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (live, ending) = (Arc::clone(&self.live), self.ending);
        // The runner's shutdown waits for it, too.
        let counted = live.desk.stop.subscribe();
        tokio::spawn(async move {
            // Unknown: it never had media.
            let deleted = live.switch().delete(&live.sid, None, None, None).await;
            let snapshot = deleted.ok().flatten();
            live.end(ending, snapshot.as_ref());
            drop(counted);
        });
    }
}

async fn carry(desk: Arc<Desk>, call: Incoming, mut stop: watch::Receiver<bool>) {
    if *stop.borrow() {
        return call.leg.hang_up(Cause(503)).await;
    }
    let Some(flow) = desk.flows.find(&call.to) else {
        return call.leg.hang_up(Cause(404)).await;
    };
    let (live, inbox) = Live::new(desk, flow, call);
    // Dropped after `watch`: when the media goes it can be seen that the call is over.
    let mut guard = Guard {
        live: Arc::clone(&live),
        ending: Ending {
            cause: Cause(500),
            by: EndedBy::Us,
        },
    };
    let mut watch = Watch::new(inbox);
    tell_start(&live);
    let cause = tokio::select! {
        biased;
        ending = watch.until_gone(&live) => {
            guard.ending = ending;
            return;
        }
        () = live.loses_media() => Cause::TIMEOUT,
        // Who was not answered may try elsewhere.
        _stopped = stop.wait_for(|stop| *stop) => match live.is_answered() {
            true => Cause::HANG_UP,
            false => Cause(503),
        },
        cause = run_flow(&live) => cause,
    };
    // Nothing that anybody asked for outlives that.
    live.talks(None);
    watch.close();
    live.caller().0.hang_up(cause).await;
    guard.ending.cause = cause;
    let goodbye = watch.until_gone(&live);
    if let Ok(ending) = tokio::time::timeout(GOODBYE_MAX, goodbye).await {
        guard.ending = ending;
    }
    if cause == Cause::TIMEOUT {
        guard.ending.by = EndedBy::Nobody;
    }
}

fn tell_start(live: &Live) {
    live.desk.ledger.call_started(&CallStarted {
        call: &live.sid,
        from: &live.from,
        to: &live.to,
        flow: &live.flow.name,
        callback: live.flow.callback.as_ref(),
    });
    live.desk.ledger.leg_started(&LegStarted {
        call: &live.sid,
        leg: &live.caller().1,
        inbound: true,
        from: &live.from,
        to: &live.to,
        instead_of: None,
    });
}

/// Why a call does not go on to another applet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Over(Cause);

/// Goes from applet to applet; with what cause the caller is to be hung up.
async fn run_flow(live: &Arc<Live>) -> Cause {
    let mut at = Some(live.flow.start);
    for _ in 0..STEPS_MAX {
        let Some(applet) = at.and_then(|ix| live.flow.applets.get(ix)) else {
            return Cause::HANG_UP;
        };
        tracing::debug!(call_id = %live.sid, applet = %applet.name, "applet");
        live.desk.ledger.applet_begun(&live.sid, &applet.name);
        match take_step(live, &applet.name, &applet.step).await {
            Ok(next) => at = next,
            Err(Over(cause)) => return cause,
        }
        tokio::task::yield_now().await;
    }
    tracing::warn!(call_id = %live.sid, flow = %live.flow.name, "a flow without an end");
    Cause(500)
}

async fn take_step(live: &Arc<Live>, name: &str, step: &Step) -> Result<Next, Over> {
    Ok(match step {
        Step::Greeting { prompt, ring, next } => {
            caller::ring_for(live, *ring).await?;
            live.answer().await?;
            live.say(prompt).await?;
            *next
        }
        Step::Menu(menu) => caller::menu(live, menu).await?,
        Step::Gather(gather) => caller::gather(live, gather).await?,
        Step::Connect(connect) => connect::connect(live, connect).await?,
        Step::Queue(queue) => queue::queue(live, queue).await?,
        Step::Sticky(sticky) => connect::sticky(live, sticky).await?,
        Step::Voicemail(voicemail) => voicemail::voicemail(live, name, voicemail).await?,
        Step::Hours(hours) => caller::hours(hours, &jiff::Timestamp::now()),
        Step::Record { on, next } => {
            caller::record(live, *on).await?;
            *next
        }
        Step::Play {
            prompt,
            times,
            limit,
            next,
        } => {
            live.answer().await?;
            live.repeat(prompt, *times, *limit).await?;
            *next
        }
        Step::Tone { tone, limit, next } => {
            caller::tone(live, tone, *limit).await?;
            *next
        }
        Step::Http(http) => http::http(live, http).await?,
        Step::Echo { limit, next } => {
            caller::echo(live, *limit).await?;
            *next
        }
        Step::Playback { recording, next } => {
            voicemail::playback(live, recording).await?;
            *next
        }
        Step::MissedCall { rings } => return caller::missed_call(live, *rings).await,
        Step::Mask { number, next } => {
            live.mask(number);
            *next
        }
        Step::Hangup { cause } => return Err(Over(cause.unwrap_or(Cause::HANG_UP))),
    })
}

/// What the engine lets a caller hear of those that ring.
fn policy(early: super::script::Early) -> EarlyMedia {
    use super::script::Early;
    match early {
        Early::Ringback | Early::First => EarlyMedia::First,
        Early::Latest => EarlyMedia::Latest,
        Early::Mix => EarlyMedia::Mix,
    }
}
