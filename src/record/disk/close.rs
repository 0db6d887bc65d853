//! The end of a recording: summed from what is on the disk, and given its name.

use std::io;
use std::time::Duration;

use super::storage::{Paths, Storage, parent};
use crate::record::event::{RecordingEventKind, StopReason};
use crate::record::sidecar::{Sidecar, Sum, sum};

/// A recording that has its sums, but perhaps not its name.
#[derive(Clone, Debug)]
pub(in crate::record) struct Sealed {
    text: String,
    completion: Completion,
}

/// A recording that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::record) struct Completion {
    reason: StopReason,
    length: Duration,
    bytes: u64,
    sha256: Sum,
    chain: Sum,
}

impl Completion {
    /// Of a recording that has its name, its sidecar and this chain's head.
    pub(in crate::record) fn of(sidecar: &Sidecar, chain: Sum) -> Self {
        Self {
            reason: sidecar.reason,
            length: Duration::from_micros(sidecar.length_us),
            bytes: sidecar.bytes,
            sha256: sidecar.sha256,
            chain,
        }
    }

    /// Time in the file.
    pub(in crate::record) fn length(&self) -> Duration {
        self.length
    }

    pub(in crate::record) fn into_event(self) -> RecordingEventKind {
        RecordingEventKind::Completed {
            reason: self.reason,
            length: self.length,
            bytes: self.bytes,
            sha256: self.sha256.to_string().into(),
            chain: self.chain.to_string().into(),
        }
    }
}

/// Sums a recording, writes its sidecar and gives both their names, never over another file. After
/// an error it can be done again.
///
/// # Errors
/// What the disk says; [`io::ErrorKind::InvalidData`] if the disk does not hold what was written.
pub(in crate::record) fn complete(
    storage: &dyn Storage,
    paths: &Paths,
    sidecar: &Sidecar,
    sealed: &mut Option<Sealed>,
    sync: bool,
) -> io::Result<Completion> {
    let sealed = match sealed {
        Some(sealed) => sealed,
        none => none.insert(seal(storage, paths, sidecar)?),
    };
    storage.write(&paths.sidecar_part, sealed.text.as_bytes(), sync)?;
    storage.link(&paths.sidecar_part, &paths.sidecar)?;
    storage.link(&paths.part, &paths.file)?;
    tidy(storage, paths)?;
    if sync {
        storage.sync_dir(parent(&paths.file))?;
    }
    Ok(sealed.completion.clone())
}

/// Takes the hidden names away. As long as the file has its own, the sidecar keeps its own as well:
/// whoever finds both can still give them their names.
///
/// # Errors
/// What the disk says.
pub(in crate::record) fn tidy(storage: &dyn Storage, paths: &Paths) -> io::Result<()> {
    storage.remove(&paths.part)?;
    storage.remove(&paths.sidecar_part)?;
    storage.remove(&paths.journal)
}

fn seal(storage: &dyn Storage, paths: &Paths, sidecar: &Sidecar) -> io::Result<Sealed> {
    let file = storage.open(&paths.part)?;
    let sums = sum(file, sidecar.header_len, &sidecar.segments)?;
    if let Some(index) = sums.wrong.first() {
        let segment = &sidecar.segments[*index];
        let (from, until) = (segment.from, segment.until);
        let what = format!("bytes {from} to {until} on the disk are not those that were written");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut sidecar = sidecar.clone();
    sidecar.clip();
    sidecar.bytes = sums.bytes;
    sidecar.sha256 = sums.sha256;
    let (text, chain) = sidecar.write();
    let completion = Completion::of(&sidecar, chain);
    Ok(Sealed { text, completion })
}
