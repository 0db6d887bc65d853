//! Why a message is not a request.

use thiserror::Error;

use crate::wire::bencode::BencodeError;
use crate::wire::ng::JsonError;

use super::super::mask_triggers::TriggerRefused;

/// Why a message is not a request. Its text is the `error-reason` of the reply, where clients
/// look for these very words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is nothing after the cookie.
    #[error("Invalid data (no payload)")]
    NoPayload,
    /// Neither bencode nor JSON.
    #[error("Invalid NG data format")]
    Format,
    /// Begins like bencode, and is not, or is beyond a limit.
    #[error("Could not decode bencode dictionary")]
    Bencode(#[source] BencodeError),
    /// Begins like JSON, and is not.
    #[error("Failed to parse JSON document")]
    Json(#[source] JsonError),
    /// JSON, but beyond a limit.
    #[error("Could not decode JSON dictionary")]
    JsonDictionary(#[source] JsonError),
    /// No verb.
    #[error("Dictionary contains no key \"command\"")]
    NoCommand,
    /// Not a verb of [`Command`](super::Command).
    #[error("Unrecognized command")]
    UnknownCommand,
    /// The verb needs an SDP. An empty one is none.
    #[error("No SDP body in message")]
    NoSdp,
    /// The verb needs a call-id. An empty one is none.
    #[error("No call-id in message")]
    NoCallId,
    /// The verb needs a from-tag. An empty one is none.
    #[error("No from-tag in message")]
    NoFromTag,
    /// The verb needs a to-tag. An empty one is none.
    #[error("No to-tag in message")]
    NoToTag,
    /// `dtmf-log-dest` is no address of one receiver.
    #[error("dtmf-log-dest is not an address and a port, as 192.0.2.1:9999")]
    LogDestination,
    /// A key of a trigger that cannot be.
    #[error("{key}: {why}")]
    Trigger {
        /// Its name.
        key: &'static str,
        /// What is wrong with it.
        why: TriggerRefused,
    },
    /// An identifier is longer than [`CALL_ID_MAX`](super::CALL_ID_MAX) or
    /// [`TAG_MAX`](super::TAG_MAX).
    #[error("The {key} is longer than {max} bytes")]
    TooLong {
        /// Its key.
        key: &'static str,
        /// How many bytes it may have.
        max: usize,
    },
}
