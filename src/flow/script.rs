//! Flows as users write them: a TOML file each, of named applets.
//!
//! A flow is checked whole when it is loaded: every applet it names exists, every value is within
//! its limits, every prompt can be found and played. A running call keeps the flow it began with.

mod applets;
mod context;
mod error;
mod fields;
mod graph;
mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sip::Cause;
use crate::switch::prompts::Source;
use crate::wire::event::Digit;

pub use applets::{
    BRANCHES_MAX, HOLIDAYS_MAX, PRIORITY_MAX, QUEUE_AGENTS_MAX, QUEUE_SIZE_MAX, RING_SECONDS_MAX,
    RINGS_MAX, SPANS_MAX, TARGETS_MAX, TIMES_MAX,
};
pub use context::ERRORS_MAX;
pub use error::ScriptError;
pub use fields::{PROMPT_SOUNDS_MAX, SECONDS_MAX, TEXT_LEN_MAX};
pub(super) use read::numbers_of;
pub use read::{ANY_NUMBER, NAME_LEN_MAX, NUMBER_LEN_MAX, NUMBERS_MAX, Parsed, SCRIPT_BYTES_MAX};
pub use read::{is_name, parse};

/// Most applets of a flow.
pub const APPLETS_MAX: usize = 512;
/// Most parties that one [`Connect`] rings at a time.
pub const PARALLEL_MAX: usize = 32;

/// A whole flow.
#[derive(Debug)]
pub struct Flow {
    /// Its name: that of its file, without `.toml`.
    pub name: String,
    /// Numbers that lead to it (`numbers`); `*` is any that has no flow of its own.
    pub numbers: Vec<String>,
    /// Where a call begins (`start`).
    pub start: AppletIx,
    /// What it consists of, in the order of the file; an [`AppletIx`] is a place in it. Behind them
    /// those that a `forward` is made of.
    pub applets: Vec<Applet>,
    /// Whom what becomes of its calls is told (`[status-callback]`).
    pub callback: Option<StatusCallback>,
    /// Who may transfer its calls (`transfer`).
    pub transfer: Transfers,
}

/// Who may transfer a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transfers {
    /// `users`: users of the switch, wherever they may call themselves.
    #[default]
    Users,
    /// `all`: whoever takes part in it; to users, and to numbers that a flow names.
    All,
    /// `none`: nobody.
    Nobody,
}

/// Where it is told by HTTP what becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCallback {
    /// `url`: `http` or `https`.
    pub url: url::Url,
    /// `events`: of `ringing`, `answered` and `terminal`; default all three.
    pub events: CallbackEvents,
    /// `format = "json"` instead of `"form"`.
    pub json: bool,
}

/// Which events a [`StatusCallback`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackEvents {
    /// A leg rings.
    pub ringing: bool,
    /// A leg was answered.
    pub answered: bool,
    /// A leg, or the call, is over.
    pub terminal: bool,
}

/// A place in [`Flow::applets`].
pub type AppletIx = usize;

/// Where a call goes on; `None`: it is hung up.
pub type Next = Option<AppletIx>;

/// One step of a flow: the table `[applet.NAME]`.
#[derive(Debug)]
pub struct Applet {
    /// Its name.
    pub name: String,
    /// What it does.
    pub step: Step,
}

/// What is played: one or more sounds, one after another.
pub type Prompt = Vec<Source>;

/// What an applet does (`applet = "greeting"` …).
#[derive(Debug)]
pub enum Step {
    /// `greeting`: answers, and plays to the end.
    Greeting {
        /// `prompt`.
        prompt: Prompt,
        /// `ring-seconds`, default 0: it rings so long before it is answered.
        ring: Duration,
        /// `next`.
        next: Next,
    },
    /// `menu`: answers; plays, and goes where a key leads.
    Menu(Menu),
    /// `gather`: answers; plays, and keeps the keys that are pressed under a name.
    Gather(GatherStep),
    /// `connect`: calls one or more parties, and joins the one that answers. `forward` is one to a
    /// single party, of which everything becomes what becomes of that party.
    Connect(Box<Connect>),
    /// `queue`: waits until an agent is free.
    Queue(Box<Queue>),
    /// `sticky`: calls the agent with whom this caller talked last.
    Sticky(Box<Sticky>),
    /// `voicemail`: answers; plays, beeps, and records what the caller says.
    Voicemail(Voicemail),
    /// `hours`: goes one way when it is open, and another when it is not.
    Hours(Hours),
    /// `record`: begins or ends the recording of the call.
    Record {
        /// `on`: begin (default), else end.
        on: bool,
        /// `next`.
        next: Next,
    },
    /// `play`: plays over and over, as often or as long as is said.
    Play {
        /// `prompt`.
        prompt: Prompt,
        /// `times`, default 1.
        times: u32,
        /// `seconds`: at most so long.
        limit: Option<Duration>,
        /// `next`.
        next: Next,
    },
    /// `tone`: plays a tone plan.
    Tone {
        /// `tone`: `ringback`, `busy`, `congestion`, `beep`, `silence` … or a plan as ng has it.
        tone: String,
        /// `seconds`.
        limit: Duration,
        /// `next`.
        next: Next,
    },
    /// `http`: asks an application where to go on.
    Http(Box<Http>),
    /// `echo`: the caller hears itself.
    Echo {
        /// `seconds`, default 60; any key ends it, too.
        limit: Duration,
        /// `next`.
        next: Next,
    },
    /// `playback`: plays what a voicemail or gather of this call recorded.
    Playback {
        /// `recording`: the name of the voicemail applet.
        recording: String,
        /// `next`.
        next: Next,
    },
    /// `missed-call`: never answers; hangs up after so many rings.
    MissedCall {
        /// `rings`, default 2, 6 s each.
        rings: u32,
    },
    /// `mask`: whoever is called from here on learns nothing of the caller.
    Mask {
        /// `number`: what both see.
        number: String,
        /// `next`.
        next: Next,
    },
    /// `hangup`.
    Hangup {
        /// `cause`, default 200; before the answer 603.
        cause: Option<Cause>,
    },
}

/// The applet `menu`.
#[derive(Debug)]
pub struct Menu {
    /// `prompt`.
    pub prompt: Prompt,
    /// `retry-prompt`: in the place of `prompt` from the second attempt on.
    pub retry: Option<Prompt>,
    /// `keys`: where each leads.
    pub keys: BTreeMap<char, Next>,
    /// `timeout` in seconds, default 5.
    pub timeout: Duration,
    /// `retries`, default 2: attempts after the first, at most 7.
    pub retries: u8,
    /// `on-timeout`: no key at the last attempt.
    pub on_timeout: Next,
    /// `on-invalid`: another key at the last attempt.
    pub on_invalid: Next,
}

/// The applet `gather`.
#[derive(Debug)]
pub struct GatherStep {
    /// `prompt`.
    pub prompt: Prompt,
    /// `retry-prompt`.
    pub retry: Option<Prompt>,
    /// `digits`: at most so many.
    pub digits_max: u8,
    /// `digits-min`, default 1.
    pub digits_min: u8,
    /// `finish-key`, default `#`; none with `""`.
    pub finish: Option<Digit>,
    /// `timeout` for the first key in seconds, default 5.
    pub timeout: Duration,
    /// `key-timeout` for each further one, default 3.
    pub key_timeout: Duration,
    /// `retries`, default 2.
    pub retries: u8,
    /// `type-ahead`, default true: keys that were pressed before count.
    pub type_ahead: bool,
    /// `next`: with keys.
    pub next: Next,
    /// `on-timeout`: without.
    pub on_timeout: Next,
    /// `on-invalid`: with too few at the last attempt.
    pub on_invalid: Next,
}

/// The applet `connect`.
#[derive(Debug)]
pub struct Connect {
    /// `to`: one or more, see [`Outgoing::to`](crate::sip::Outgoing::to); `local:NUMBER` is a
    /// number of this switch. `{caller}`, `{called}` and `{digits}` stand for the call's own.
    pub to: Vec<String>,
    /// `ring = "parallel"` (default) or `"sequential"`.
    pub parallel: bool,
    /// `ring-timeout` in seconds for all of them at a time, or for each one after another; default
    /// 30.
    pub ring_timeout: Duration,
    /// `early-media`: what the caller hears meanwhile.
    pub early: Early,
    /// `hold-music`: played instead, if there is one; the caller is answered for it.
    pub music: Option<Prompt>,
    /// `whisper`: played to whoever answers before they are joined; the caller does not hear it.
    pub whisper: Option<Prompt>,
    /// `time-limit` in seconds of conversation; default 14,400.
    pub time_limit: Duration,
    /// `caller-id`: what the called see; default the caller's number, or that of `mask`.
    pub caller_id: Option<String>,
    /// `record = true`: the conversation is recorded, the caller left.
    pub record: bool,
    /// `answered`: where the caller goes on when the other hung up.
    pub answered: Next,
    /// `busy`: the last of them was busy, and nobody answered.
    pub busy: Next,
    /// `no-answer`.
    pub no_answer: Next,
    /// `failed`.
    pub failed: Next,
}

/// The applet `sticky`.
#[derive(Debug)]
pub struct Sticky {
    /// `agents`: who may be called, as in [`Connect::to`].
    pub agents: Vec<String>,
    /// How that one is called; [`Connect::to`] is empty.
    pub call: Connect,
    /// `none`: none of them has talked with this caller.
    pub none: Next,
}

/// What a caller hears while others ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Early {
    /// `ringback`: our own ringing tone.
    #[default]
    Ringback,
    /// `first`: the early media of whoever speaks first.
    First,
    /// `latest`: of whoever spoke last.
    Latest,
    /// `mix`: of all.
    Mix,
}

/// The applet `queue`.
#[derive(Debug)]
pub struct Queue {
    /// `name`: calls of one name wait for the same agents.
    pub name: String,
    /// `agents`: users by name.
    pub agents: Vec<String>,
    /// `music`.
    pub music: Prompt,
    /// `announce`: played now and then over the music.
    pub announce: Option<Prompt>,
    /// `announce-every` in seconds, default 30.
    pub announce_every: Duration,
    /// `priority`, default 0: higher ones go first.
    pub priority: i32,
    /// `max-wait` in seconds, default 600.
    pub max_wait: Duration,
    /// `max-size`, default 100.
    pub max_size: usize,
    /// `leave-key`: pressing it leads to `on-leave`.
    pub leave_key: Option<Digit>,
    /// `ring-timeout` of an agent in seconds, default 20.
    pub ring_timeout: Duration,
    /// `wrap-up` of an agent after a call in seconds, default 5.
    pub wrap_up: Duration,
    /// `answered`: where the caller goes on when the agent hung up.
    pub answered: Next,
    /// `on-leave`.
    pub on_leave: Next,
    /// `on-timeout`: `max-wait` is over.
    pub on_timeout: Next,
    /// `on-full`: there are `max-size` already, or no agent at all.
    pub on_full: Next,
}

/// The applet `voicemail`.
#[derive(Debug)]
pub struct Voicemail {
    /// `prompt`.
    pub prompt: Prompt,
    /// `beep`, default true.
    pub beep: bool,
    /// `max-seconds`, default 120.
    pub max: Duration,
    /// `silence` in seconds that end it, default 5.
    pub silence: Duration,
    /// `finish-key`, default `#`.
    pub finish: Option<Digit>,
    /// `next`.
    pub next: Next,
}

/// The applet `hours`.
#[derive(Debug)]
pub struct Hours {
    /// `zone`: an IANA name such as `Asia/Kolkata`.
    pub zone: jiff::tz::TimeZone,
    /// `week`: `{ mon = "09:00-17:30", sat = "10:00-13:00" }`; Monday first, minutes of the day,
    /// each from … until.
    pub week: [Vec<(u16, u16)>; 7],
    /// `holidays`: `["2026-12-25"]`, closed all day.
    pub holidays: Vec<jiff::civil::Date>,
    /// `open`.
    pub open: Next,
    /// `closed`.
    pub closed: Next,
}

/// The applet `http`.
#[derive(Debug)]
pub struct Http {
    /// `url`; call data is its query or its body.
    pub url: url::Url,
    /// `method`: `POST` (default) with a JSON body, or `GET`.
    pub post: bool,
    /// `timeout` in seconds, default 5.
    pub timeout: Duration,
    /// `filler`: what the caller hears meanwhile, over and over; default silence.
    pub filler: Option<Prompt>,
    /// `field`: the member of the JSON answer that decides, default `next`.
    pub field: String,
    /// `branch`: where its values, or status codes, lead.
    pub branch: BTreeMap<String, Next>,
    /// `next`: none of them, and the status was 2xx.
    pub next: Next,
    /// `on-timeout`.
    pub on_timeout: Next,
    /// `on-error`.
    pub on_error: Next,
}

#[cfg(test)]
mod tests;
