//! The embedded signalling layer: a back-to-back user agent (RFC 3261) for those who have no SIP
//! proxy of their own.
//!
//! It is one more client of [`Switch`](crate::switch::Switch) and adds nothing to the packet path.
//! Here is SIP alone: transactions and dialogs come from `rsipstack`; who may call, what a response
//! means for a call, and what of a message is passed on is decided here. Bodies are opaque: what is
//! in them is between [`flow`](crate::flow) and the switch.
//!
//! [`UserAgent`] hands out [`Incoming`] calls and dials [`Outgoing`] ones; each of both is a
//! [`Leg`] with its [`LegEvents`].
//!
//! | part | what it does |
//! |---|---|
//! | `user_agent`, `listen` | starts and stops the endpoint |
//! | `datagrams`, `connections`, `door` | what is let through to the stack |
//! | `requests`, `sound`, `admission`, `digest` | what comes in, and who may call |
//! | `session`, `transfer` | one task for each leg: ringing, answered, transferred, ended |
//! | `route`, `registrar`, `trunks` | where calls go, where phones are, where we register |
//! | `message`, `repair` | what is read from messages, and what the stack cannot read |

mod admission;
mod cause;
mod config;
mod connections;
mod datagrams;
mod digest;
mod door;
pub(crate) mod hostile;
mod leg;
mod listen;
mod message;
mod registrar;
mod repair;
mod requests;
mod route;
mod session;
mod shared;
mod sound;
mod transfer;
mod trunks;
mod user_agent;

pub use cause::{Cause, EndedBy, LegStatus};
pub use config::{
    Listen, Secret, SipConfig, SipConfigError, SipSettings, Transport, TrunkSettings, UserSettings,
};
pub use leg::{
    Ending, Incoming, LEG_EVENTS_MAX, Leg, LegError, LegEvent, LegEvents, LegId, OfferMade,
    Outgoing,
};
pub use registrar::CONTACTS_MAX;
pub use shared::SipCounters;
pub use transfer::{Replaces, TransferAsked, TransferProgress, TransferReply};
pub use user_agent::{INCOMING_MAX, SipError, SipLoad, UserAgent};
