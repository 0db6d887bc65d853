//! What a switch kept of the calls it recorded.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::super::load::Calls;
use super::super::marked::Sent;
use super::super::rounded;
use crate::record::sidecar::{self, Sidecar, SpanInfo};
use crate::record::span::SpanKind;

/// What is found in the recordings of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Kept {
    /// Files of the calls, that can be read.
    pub(super) files: u32,
    /// Files that do not agree with their sums; and calls without a file.
    pub(super) unverified: u32,
    /// Time of all files for which silence stands, for recorder or disk were too slow.
    pub(super) unwritten: Duration,
    /// Packets of all tracks that did not come, or could not be decoded.
    pub(super) lost: u64,
    /// By how much a file is longer than its call can have been, or shorter, at most.
    pub(super) length_off: Duration,
    /// Packets that were sent and are not in the file of their call.
    pub(super) missing: Option<u64>,
    /// Packets that are there, with samples between those that were sent.
    pub(super) slid: Option<u64>,
    /// By how many samples they are from where they belong, at most.
    pub(super) moved: u32,
    pub(super) bytes: u64,
}

/// Of this program: WAV or Ogg Opus, each with a sidecar.
pub(super) fn of_ours(dir: &Path, calls: &Calls<'_>, sent: Option<&Sent>) -> Result<Kept> {
    let count = calls.names().count();
    let names: HashMap<String, usize> = (0..count).map(|i| (calls.names().call_id(i), i)).collect();
    let mut kept = Kept {
        missing: sent.map(|_| 0),
        slid: sent.map(|_| 0),
        ..Kept::default()
    };
    for file in files(dir, "json")? {
        let file = file.with_extension("");
        let report =
            sidecar::verify(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // Of the call before the others nothing is asked.
        let Some((sidecar, call)) = report
            .sidecar
            .as_ref()
            .and_then(|sidecar| Some((sidecar, *names.get(&sidecar.call_id)?)))
        else {
            continue;
        };
        kept.files += 1;
        kept.unverified += u32::from(!report.is_verified());
        kept.add(sidecar);
        let length = Duration::from_micros(sidecar.length_us);
        let [least, most] = calls.lived(call).context("a call did not end")?;
        let off = least
            .saturating_sub(length)
            .max(length.saturating_sub(most));
        kept.length_off = kept.length_off.max(off);
        if let Some(sent) = sent {
            kept.look_for(sent, &fs::read(&file)?, sidecar, call);
        }
    }
    let expected = u32::try_from(count).unwrap_or(u32::MAX);
    kept.unverified += expected.saturating_sub(kept.files);
    Ok(kept)
}

/// Of rtpengine with its pcap method: a capture of each call.
pub(super) fn of_rtpengine(dir: &Path, calls: &Calls<'_>, sent: &Sent) -> Result<Kept> {
    let count = calls.names().count();
    let expected: u64 = (0..2 * count).map(|party| u64::from(sent.by(party))).sum();
    let mut kept = Kept::default();
    let mut found = 0;
    for file in files(dir, "pcap")? {
        let bytes = fs::read(&file)?;
        let packets = sent.captured_in(&bytes);
        if packets > 0 {
            kept.files += 1;
            kept.bytes += bytes.len() as u64;
            found += u64::from(packets);
        }
    }
    kept.missing = Some(expected.saturating_sub(found));
    Ok(kept)
}

/// Waits until so many files with this ending are there: recordings are closed one by one.
pub(super) fn wait_for(dir: &Path, extension: &str, count: usize) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    loop {
        let found = files(dir, extension)?.len();
        if found >= count {
            return Ok(());
        }
        if waited >= PATIENCE {
            bail!("{found} of {count} recordings were closed in {PATIENCE:?}");
        }
        std::thread::sleep(PAUSE);
        waited += PAUSE;
    }
}

/// All files with this ending below a directory, hidden ones left out.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
            let entry = entry?;
            let path = entry.path();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if !hidden && path.extension().is_some_and(|is| is == extension) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

impl Kept {
    fn add(&mut self, sidecar: &Sidecar) {
        let unwritten =
            |span: &&SpanInfo| matches!(span.kind, SpanKind::Overrun | SpanKind::Unwritten);
        let spans = sidecar.spans.iter().filter(unwritten);
        let us: u64 = spans.map(|span| span.until_us - span.from_us).sum();
        self.unwritten += Duration::from_micros(us);
        let tracks = sidecar.tracks.iter();
        self.lost += tracks
            .map(|t| t.stats.lost + t.stats.undecoded)
            .sum::<u64>();
        self.bytes += sidecar.bytes;
    }

    /// Packets of a call in its WAV file of 16 bits, the caller's on the left.
    fn look_for(&mut self, sent: &Sent, file: &[u8], sidecar: &Sidecar, call: usize) {
        let header = usize::try_from(sidecar.header_len).unwrap_or(usize::MAX);
        let samples = file.get(header..).unwrap_or_default();
        for side in [0, 1] {
            let channel = samples.chunks_exact(4).map(|both| {
                let at = 2 * side;
                i16::from_le_bytes([both[at], both[at + 1]])
            });
            let party = 2 * call + side;
            let heard = sent.heard_in(&channel.collect::<Vec<_>>(), party);
            let missing = sent.by(party).saturating_sub(heard.packets + heard.slid);
            self.missing = self.missing.map(|sum| sum + u64::from(missing));
            self.slid = self.slid.map(|sum| sum + u64::from(heard.slid));
            self.moved = self.moved.max(heard.moved);
        }
    }

    /// For a run's result.
    pub(super) fn describe(&self) -> Value {
        let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3);
        json!({
            "files": self.files,
            "unverified": self.unverified,
            "unwritten_ms": ms(self.unwritten),
            "packets_lost": self.lost,
            "length_off_ms": ms(self.length_off),
            "packets_missing": self.missing,
            "packets_slid": self.slid,
            "moved_ms": rounded(f64::from(self.moved) / 8.0),
            "bytes": self.bytes,
        })
    }
}
