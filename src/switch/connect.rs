//! Parties joined by command, without offer and answer.

use std::time::Instant;

use super::call::CallState;
use super::{Switch, SwitchError, negotiate};

/// Which two parties to join.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Name of the first one's call.
    pub call_id: &'a str,
    /// A tag of the first.
    pub from_tag: &'a str,
    /// A tag of the second.
    pub to_tag: &'a str,
}

impl Switch {
    /// Joins two parties as an answer would, each in the codecs and numbers that it has. Whoever
    /// else they talked with is unlinked from them. Returns what the client should know.
    ///
    /// # Errors
    /// [`SwitchError::UnknownCall`], [`SwitchError::UnknownTag`], [`SwitchError::UnknownToTag`],
    /// [`SwitchError::ConnectToSelf`], [`SwitchError::NothingToConnect`], or an overloaded worker;
    /// nothing has changed then.
    pub fn connect(&self, c: &Connection<'_>) -> Result<Vec<String>, SwitchError> {
        let result = self.with_call(c.call_id, |call| self.connect_within(call, c));
        self.counted(result)
    }

    fn connect_within(
        &self,
        call: &mut CallState,
        c: &Connection<'_>,
    ) -> Result<Vec<String>, SwitchError> {
        let mut draft = call.dialogue.clone();
        let from = draft.party_by_tag(c.from_tag);
        let to = draft.party_by_tag(c.to_tag);
        let from = from.ok_or(SwitchError::UnknownTag)?;
        let to = to.ok_or(SwitchError::UnknownToTag)?;
        let joined = negotiate::connect(&mut draft, [from, to])?;
        self.submit_change(call, joined.changes, Vec::new())?;
        call.dialogue = draft;
        let warnings = joined.warnings.clone();
        call.note_with(Instant::now(), "connect", c.from_tag, None, warnings);
        Ok(joined.warnings)
    }
}
