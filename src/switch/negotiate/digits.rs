//! Whose keys are listened to.
//!
//! Telephone-events are read wherever somebody would be told of them: the call has a destination
//! for its presses, or events are subscribed to. Tones in the audio cost the decoding of every
//! packet and are listened for only by command.

use super::{Plan, wake};
use crate::engine::{Change, DigitsConfig, Payload};
use crate::switch::dialogue::Dialogue;

/// Tells the engine what to listen for, where that is not what it was told last. `wanted`:
/// somebody subscribes to the events of all calls.
pub(in crate::switch) fn listen(draft: &mut Dialogue, plan: &mut Plan, wanted: bool) {
    let wanted = wanted || draft.digits_to.is_some();
    for party in draft.parties.iter_mut().filter(|party| !party.closed) {
        let digits = DigitsConfig {
            telephone_events: wanted || party.detects,
            in_band: party.detects,
        };
        if digits.in_band {
            // The engine has to know how to decode what the party sends.
            plan.changes.extend(wake(party));
        }
        for line in &mut party.medias {
            let audio = line.payload == Payload::Rtp && *line.kind == *"audio";
            let Some(stream) = line.stream.filter(|_| audio && line.digits != digits) else {
                continue;
            };
            line.digits = digits;
            let digits = digits.listens().then_some(digits);
            plan.changes.push(Change::Digits(stream, digits));
        }
    }
}
