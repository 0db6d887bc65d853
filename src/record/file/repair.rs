//! Closes a file that its writer could not close.
//!
//! What is whole stays: a WAV keeps its whole frames, and its header is made to tell them; an Ogg
//! stream keeps its pages up to the last whole one, which is made its end, or gets one if there is
//! no sound yet. Nothing is decoded. A file that is none of ours is left as it is.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use super::ogg::{Head, silent_end};
use super::pages::PageReader;
use super::wav::{DS64_LEN, Sizes};
use crate::audio::clip::wav::{self, HEADER_LEN, TAG_ALAW, TAG_PCM, TAG_ULAW};
use crate::audio::clip::{ClipError, Container, sniff};
use crate::audio::ogg::{FLAG_FIRST, FLAG_LAST, seal};
use crate::audio::opus::CLOCK_HZ;

pub use super::pages::BAD_PAGES_MAX;

/// Furthest place in a file where its sound may begin.
pub const HEAD_LEN_MAX: u64 = 64 << 10;

/// What can be read, written and made shorter.
pub trait Storage: Read + Write + Seek {
    /// Makes it so many bytes long.
    ///
    /// # Errors
    /// Those of [`File::set_len`].
    fn set_len(&mut self, len: u64) -> io::Result<()>;
}

impl Storage for File {
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }
}

impl Storage for Cursor<Vec<u8>> {
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.get_mut().resize(len, 0);
        Ok(())
    }
}

/// What a file holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// WAV or Ogg.
    pub container: Container,
    /// Samples per second of [`frames`](Self::frames): 48,000 for Opus.
    pub rate_hz: u32,
    /// Its channels.
    pub channels: u16,
    /// Samples of each channel.
    pub frames: u64,
    /// Octets.
    pub bytes: u64,
    /// Octets at its end that were no whole frame or page.
    pub cut: u64,
    /// Whether anything was written.
    pub changed: bool,
}

impl Repaired {
    /// Time in the file.
    #[must_use]
    pub fn length(&self) -> Duration {
        let (rate, frames) = (u64::from(self.rate_hz.max(1)), self.frames);
        let nanos = frames % rate * 1_000_000_000 / rate;
        Duration::from_secs(frames / rate) + Duration::from_nanos(nanos)
    }
}

/// Why a file was left as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// It could not be read or written. If written in part, it can be repaired again.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither WAV nor Ogg Opus.
    #[error("not a recording: neither WAV nor Ogg Opus")]
    Unknown,
    /// It ends before its sound begins: there is nothing to keep.
    #[error("ends before its sound begins")]
    Empty,
    /// A WAV header that says nothing that can be followed.
    #[error(transparent)]
    Header(ClipError),
    /// A WAV file in an encoding that recordings do not have.
    #[error("WAV: format tag {tag:#06x} is not one of recordings")]
    Encoding {
        /// `wFormatTag`, of the sub-format in an extensible header.
        tag: u16,
    },
    /// More than 4 GiB, and no room for their sizes in the header.
    #[error("WAV: {bytes} bytes, and no chunk that could hold such a size")]
    TooLong {
        /// How many there are.
        bytes: u64,
    },
    /// More than [`BAD_PAGES_MAX`] damaged places.
    #[error("Ogg: more than {BAD_PAGES_MAX} damaged pages")]
    Damaged,
}

/// Closes a file. A file that is whole is only read; one that was repaired is whole.
///
/// A WAV costs its header, whatever its length; an Ogg file is read from its beginning to its end.
/// Takes 256 KiB of memory at most.
///
/// # Errors
/// [`RepairError`]; but for [`RepairError::Io`], nothing was written.
pub fn repair(file: &mut impl Storage) -> Result<Repaired, RepairError> {
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut head = Vec::new();
    Read::by_ref(file)
        .take(HEAD_LEN_MAX)
        .read_to_end(&mut head)?;
    match sniff(&head) {
        Some(Container::Wav) => repair_wav(file, len, head),
        Some(Container::Ogg) => repair_ogg(file, len),
        _ if head.len() < HEADER_LEN => Err(RepairError::Empty),
        _ => Err(RepairError::Unknown),
    }
}

fn repair_wav(
    file: &mut impl Storage,
    len: u64,
    mut bytes: Vec<u8>,
) -> Result<Repaired, RepairError> {
    let head = wav::Head::parse(&bytes).map_err(|error| match error {
        ClipError::Truncated { .. } if len < HEAD_LEN_MAX => RepairError::Empty,
        error => RepairError::Header(error),
    })?;
    bytes.truncate(head.data_at);
    let format = head.format;
    if ![TAG_PCM, TAG_ALAW, TAG_ULAW].contains(&format.tag) {
        return Err(RepairError::Encoding { tag: format.tag });
    }
    let block = format.sample_bytes() as u64 * u64::from(format.channels);
    if block == 0 {
        return Err(RepairError::Encoding { tag: format.tag });
    }
    let data_at = head.data_at as u64;
    let there = len - data_at;
    let said = head.data_len.filter(|said| said.is_multiple_of(block));
    // As its writer left it; or with chunks after the sound, which are not ours to cut.
    let whole = said.is_some_and(|said| {
        there == said + said % 2 || (there > said && said_len(&bytes) == Some(len))
    });
    let data = match said {
        Some(said) if whole => said,
        _ => there - there % block,
    };
    let sizes = Sizes::of(data_at, data, block);
    let end = if whole { len } else { sizes.riff + 8 };
    if !whole {
        rewrite(&mut bytes, &head, sizes)?;
        file.set_len(data_at + data)?;
        file.set_len(end)?;
        file.rewind()?;
        file.write_all(&bytes)?;
        file.flush()?;
    }
    Ok(Repaired {
        container: Container::Wav,
        rate_hz: format.rate_hz,
        channels: format.channels,
        frames: sizes.frames,
        bytes: end,
        cut: len.saturating_sub(end),
        changed: !whole,
    })
}

/// The length of the file by its header.
fn said_len(head: &[u8]) -> Option<u64> {
    let riff = u64::from(u32::from_le_bytes(*head.get(4..)?.first_chunk()?));
    let long = head.get(12..16) == Some(b"ds64");
    let riff = if long {
        u64::from_le_bytes(*head.get(20..)?.first_chunk()?)
    } else {
        riff
    };
    riff.checked_add(8)
}

/// Makes a header tell these sizes.
fn rewrite(bytes: &mut [u8], head: &wav::Head, sizes: Sizes) -> Result<(), RepairError> {
    let reserved = sizes.reserved();
    let at = HEADER_LEN..HEADER_LEN + reserved.len();
    let has_room = [&b"JUNK"[..], b"ds64"].contains(&&bytes[HEADER_LEN..HEADER_LEN + 4])
        && bytes[HEADER_LEN + 4..HEADER_LEN + 8] == DS64_LEN.to_le_bytes()
        && at.end <= head.data_at;
    if has_room {
        bytes[at].copy_from_slice(&reserved);
    } else if sizes.is_long() || bytes[..4] != *b"RIFF" {
        return Err(RepairError::TooLong {
            bytes: sizes.riff + 8,
        });
    }
    bytes[..4].copy_from_slice(sizes.id());
    bytes[4..8].copy_from_slice(&sizes.field(sizes.riff));
    if let Some(frames) = head.fact_at.and_then(|at| bytes.get_mut(at..at + 4)) {
        frames.copy_from_slice(&sizes.field(sizes.frames));
    }
    bytes[head.data_at - 4..].copy_from_slice(&sizes.field(sizes.data));
    Ok(())
}

/// Pages before the sound, one for each header, as recordings have them.
const HEADER_PAGES: u64 = 2;

/// What is known of an Ogg file's last page.
struct LastPage {
    offset: u64,
    len: usize,
    sequence: u32,
    is_end: bool,
}

fn repair_ogg(file: &mut impl Storage, len: u64) -> Result<Repaired, RepairError> {
    file.rewind()?;
    let mut pages = PageReader::new(&mut *file, 0);
    let mut stream: Option<(u32, Head)> = None;
    let (mut last, mut granule, mut count) = (None, 0_i64, 0_u64);
    while let Some(found) = pages.next()? {
        let page = &found.page;
        match &stream {
            None => {
                let head = Head::parse(page.body).filter(|_| page.has(FLAG_FIRST));
                stream = Some((page.serial, head.ok_or(RepairError::Unknown)?));
            }
            // Of another stream, or what the disk held before.
            Some((serial, _)) if *serial != page.serial || page.has(FLAG_FIRST) => break,
            Some(_) => granule = page.granule.max(granule),
        }
        count += 1;
        last = Some(LastPage {
            offset: found.offset,
            len: found.len,
            sequence: page.sequence,
            is_end: page.has(FLAG_LAST),
        });
        if page.has(FLAG_LAST) {
            break;
        }
    }
    if pages.gave_up() {
        return Err(RepairError::Damaged);
    }
    let (Some((serial, head)), Some(last), true) = (stream, last, count >= HEADER_PAGES) else {
        return Err(RepairError::Empty);
    };
    let mut end = last.offset + last.len as u64;
    let cut = len - end;
    if cut > 0 {
        file.set_len(end)?;
    }
    match last.is_end {
        true => {}
        false if count == HEADER_PAGES && granule == 0 => {
            let mut page = Vec::new();
            silent_end(&head, serial, last.sequence.wrapping_add(1), &mut page);
            file.seek(SeekFrom::Start(end))?;
            file.write_all(&page)?;
            file.flush()?;
            end += page.len() as u64;
        }
        false => mark_end(file, &last)?,
    }
    Ok(Repaired {
        container: Container::Ogg,
        rate_hz: CLOCK_HZ,
        channels: u16::try_from(head.mapping.len()).unwrap_or(u16::MAX),
        frames: granule
            .cast_unsigned()
            .saturating_sub(u64::from(head.pre_skip)),
        bytes: end,
        cut,
        changed: !last.is_end || cut > 0,
    })
}

/// Makes a page its stream's last.
fn mark_end(file: &mut impl Storage, last: &LastPage) -> io::Result<()> {
    let mut page = vec![0; last.len];
    file.seek(SeekFrom::Start(last.offset))?;
    file.read_exact(&mut page)?;
    page[5] |= FLAG_LAST;
    seal(&mut page);
    file.seek(SeekFrom::Start(last.offset))?;
    file.write_all(&page)?;
    file.flush()
}

#[cfg(test)]
mod tests;
