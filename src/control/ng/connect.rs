//! `connect`: two parties joined without an SDP, of one call or of two.

use super::request::Request;
use super::service::{Refused, text};
use super::{Value, ok};
use crate::switch::{Connection, Switch, SwitchError};

/// Carries it out and words the reply.
pub(super) fn connect(
    switch: &Switch,
    r: &Request<'_>,
    call_id: &str,
) -> Result<Value<'static>, Refused> {
    if r.flags.directional {
        // A party's media goes to one other party; a copy for a third one is no link.
        return Err(Refused::Text("Not supported: connect directional".into()));
    }
    let to_call_id = text(r.to_call_id.as_ref());
    let (from_tag, to_tag) = (text(r.from_tag.as_ref()), text(r.to_tag.as_ref()));
    let connection = Connection {
        call_id,
        from_tag: from_tag.as_deref().unwrap_or_default(),
        to_call_id: to_call_id.as_deref(),
        to_tag: to_tag.as_deref().unwrap_or_default(),
    };
    let warnings = switch.connect(&connection).map_err(|error| match error {
        // The words of this verb.
        SwitchError::UnknownCall => Refused::Text("Unknown call-ID".into()),
        other => other.into(),
    })?;
    Ok(if warnings.is_empty() {
        ok()
    } else {
        ok().with("warning", warnings.join("; "))
    })
}
