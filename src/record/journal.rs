//! The journal of a recording in progress: what its sidecar will say, noted as it happens.
//!
//! JSON, a [`Note`] to a line, only ever appended to; the first one is [`Note::Begin`]. A line is
//! written after the octets it speaks of. What a crash leaves is the sidecar of what was written
//! until then.

use super::sidecar::{Note, Sidecar};

/// Longest journal that is read, in octets.
pub const JOURNAL_LEN_MAX: u64 = 16 << 20;

/// What a journal tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    /// All notes taken together.
    pub sidecar: Sidecar,
    /// The recording had ended: nothing was to come.
    pub ended: bool,
}

/// Appends a line.
pub fn append(note: &Note, out: &mut Vec<u8>) {
    let begin = out.len();
    match serde_json::to_writer(&mut *out, note) {
        Ok(()) => out.push(b'\n'),
        Err(_) => out.truncate(begin),
    }
}

/// Reads a journal up to its end, or to the first line that is none: the last one may be torn.
/// `None`: it does not even begin.
#[must_use]
pub fn read(text: &[u8]) -> Option<Journal> {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let Some(Note::Begin(sidecar)) = lines.next().and_then(parse) else {
        return None;
    };
    let mut journal = Journal {
        sidecar: *sidecar,
        ended: false,
    };
    for note in lines.map_while(parse) {
        journal.ended = matches!(note, Note::End { .. });
        journal.sidecar.note(note);
    }
    Some(journal)
}

fn parse(line: &[u8]) -> Option<Note> {
    serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
}

#[cfg(test)]
mod tests;
