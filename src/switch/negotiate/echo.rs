//! Parties that hear themselves, or nobody hears (ng `media-echo`).

use super::Plan;
use crate::engine::{Change, Payload, PayloadType, Via};
use crate::switch::dialogue::Dialogue;
use crate::switch::party::EchoSide;
use crate::switch::request::Echo;

/// Takes what a message from `sender` to `receiver` says. It holds once the two are joined, and
/// until a message says otherwise.
pub(super) fn take(draft: &mut Dialogue, sender: usize, receiver: usize, echo: Option<Echo>) {
    let Some(echo) = echo else { return };
    let (to_sender, to_receiver) = match echo {
        Echo::Off => (EchoSide::Off, EchoSide::Off),
        Echo::Blackhole => (EchoSide::Dropped, EchoSide::Dropped),
        Echo::Forward => (EchoSide::Dropped, EchoSide::Echoed),
        Echo::Backward => (EchoSide::Echoed, EchoSide::Dropped),
        Echo::Both => (EchoSide::Echoed, EchoSide::Echoed),
    };
    draft.parties[sender].echo = to_sender;
    draft.parties[receiver].echo = to_receiver;
}

/// Routes line `ix` of a party that is joined with another one back to itself, or to nowhere, if
/// that was asked for.
pub(super) fn route(draft: &mut Dialogue, plan: &mut Plan, party: usize, ix: usize) {
    let echo = draft.parties[party].echo;
    let Some(line) = draft.parties[party].medias.get_mut(ix) else {
        return;
    };
    let Some(stream) = line.stream.filter(|_| echo != EchoSide::Off) else {
        return;
    };
    if echo == EchoSide::Dropped || line.payload == Payload::Opaque {
        if echo == EchoSide::Echoed {
            plan.warn(format!(
                "media {ix}: media-echo: not plain RTP, which is dropped"
            ));
        }
        plan.changes.push(Change::Link {
            from: stream,
            to: None,
        });
        return;
    }
    // It knows what it means by its own numbers.
    for kind in &mut line.types {
        *kind = PayloadType {
            out: kind.pt,
            via: Via::Relay,
            ..*kind
        };
    }
    plan.changes.extend([
        Change::PayloadTypes(stream, line.types.clone()),
        Change::Link {
            from: stream,
            to: Some(stream),
        },
        Change::Source {
            listener: stream,
            source: Some(stream),
        },
    ]);
}
