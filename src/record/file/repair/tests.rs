use super::*;
use crate::record::config::Format;
use crate::record::file::FileWriter;
use crate::record::file::tests::{WAVS, heard, tones, written};

fn repaired(bytes: &[u8]) -> Result<(Repaired, Vec<u8>), RepairError> {
    let mut file = Cursor::new(bytes.to_vec());
    let repaired = repair(&mut file)?;
    let bytes = file.into_inner();
    assert_eq!(repaired.bytes, bytes.len() as u64);
    let again = Repaired {
        changed: false,
        cut: 0,
        ..repaired
    };
    assert_eq!(repair(&mut Cursor::new(bytes.clone())).unwrap(), again);
    Ok((repaired, bytes))
}

#[test]
fn a_wav_cut_anywhere_keeps_its_whole_frames() {
    for format in WAVS {
        for channels in [1, 2, 3] {
            let pcm = tones(8_000, channels, 33);
            let file = written(format, 8_000, channels, &pcm);
            let (_, all) = heard(&file);
            let writer = FileWriter::new(format, 8_000, channels, 0, &[]).unwrap();
            let header = usize::try_from(writer.header_len()).unwrap();
            let octets = if format == Format::Wav { 2 } else { 1 };
            let block = octets * usize::from(channels);
            for cut in 0..=file.len() {
                let result = repaired(&file[..cut]);
                if cut < header {
                    assert!(matches!(result, Err(RepairError::Empty)), "{cut}");
                    continue;
                }
                let (repaired, bytes) = result.unwrap();
                let frames = ((cut - header) / block).min(33);
                assert_eq!(repaired.frames, frames as u64, "{cut}");
                assert_eq!(heard(&bytes).1, all[..frames * usize::from(channels)]);
            }
        }
    }
}

/// What was written after the last patch of the header is found; so is a header that was patched
/// before its sound reached the disk.
#[test]
fn a_wav_that_its_header_does_not_know_is_kept() {
    for format in WAVS {
        let pcm = tones(8_000, 1, 801);
        let mut writer = FileWriter::new(format, 8_000, 1, 0, &[]).unwrap();
        let mut file = Vec::new();
        writer.begin(&mut file);
        writer.push(&pcm[..300], &mut file);
        let early = writer.patch().unwrap().bytes;
        writer.push(&pcm[300..], &mut file);
        let late = writer.patch().unwrap().bytes;
        let len = file.len();
        for (header, len, frames) in [
            (early, len, 801),
            (late.clone(), len, 801),
            (
                late,
                len - 400,
                if format == Format::Wav { 601 } else { 401 },
            ),
        ] {
            file[..header.len()].copy_from_slice(&header);
            let (repaired, bytes) = repaired(&file[..len]).unwrap();
            assert_eq!(
                (repaired.frames, heard(&bytes).1.len() as u64),
                (frames, frames)
            );
            assert_eq!(repaired.length(), Duration::from_micros(frames * 125));
        }
    }
}

/// Only its first octets are there; the rest is said to be.
#[derive(Debug)]
struct Sparse {
    head: Vec<u8>,
    len: u64,
    at: u64,
}

impl Read for Sparse {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let at = usize::try_from(self.at).unwrap();
        for (octet, at) in out.iter_mut().zip(at..) {
            *octet = self.head.get(at).copied().unwrap_or(0);
        }
        self.at += out.len() as u64;
        Ok(out.len())
    }
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert_eq!(self.at, 0, "only the header is written");
        self.head[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(0) => self.len,
            other => panic!("{other:?}"),
        };
        Ok(self.at)
    }
}

impl Storage for Sparse {
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.len = len;
        Ok(())
    }
}

#[test]
fn a_long_wav_becomes_rf64_at_its_limit() {
    let file = written(Format::Wav, 48_000, 1, &[]);
    let limit = super::super::wav::RIFF_SIZE_MAX + 8;
    // An odd octet at the end is no frame.
    for (len, id) in [(limit, b"RIFF"), (limit + 1, b"RIFF"), (limit + 2, b"RF64")] {
        let head = file.clone();
        let mut sparse = Sparse { head, len, at: 0 };
        let repaired = repair(&mut sparse).unwrap();
        let frames = (len - file.len() as u64) / 2;
        assert_eq!((repaired.frames, &sparse.head[..4]), (frames, &id[..]));
        assert_eq!((repaired.bytes, sparse.len), (len & !1, len & !1));
        assert!(!repair(&mut sparse).unwrap().changed);
    }
    // A header of another writer has no room for such sizes, and stays as it is.
    let mut head = file.clone();
    head[12..16].copy_from_slice(b"LIST");
    for (len, fits) in [(limit, true), (limit + 2, false)] {
        let head = head.clone();
        let mut sparse = Sparse { head, len, at: 0 };
        assert_eq!(repair(&mut sparse).is_ok(), fits);
        assert_eq!(sparse.len, len);
    }
}

#[test]
fn chunks_after_the_sound_stay() {
    let mut file = written(Format::Wav, 8_000, 1, &[1, 2, 3]);
    file.extend(b"LIST\x04\0\0\0abcd");
    let size = u32::try_from(file.len() - 8).unwrap();
    file[4..8].copy_from_slice(&size.to_le_bytes());
    let (repaired, bytes) = repaired(&file).unwrap();
    assert_eq!((repaired.changed, repaired.frames, bytes), (false, 3, file));
}

#[test]
fn what_is_no_recording_stays_as_it_is() {
    let text = b"This is a text of some length, and no sound.";
    assert!(matches!(repaired(text), Err(RepairError::Unknown)));
    assert!(matches!(repaired(b""), Err(RepairError::Empty)));
    let mut float = written(Format::Wav, 8_000, 1, &[1, 2]);
    float[56] = 3;
    assert!(matches!(
        repaired(&float),
        Err(RepairError::Encoding { tag: 3 })
    ));
}

#[cfg(feature = "opus")]
mod ogg {
    use super::*;
    use crate::audio::ogg::Page;

    const OPUS: Format = Format::Opus {
        bitrate_bps: 16_000,
    };

    /// Pages of 40 ms.
    fn file(channels: u8) -> (Vec<u8>, u64) {
        let pcm = tones(8_000, channels, 1_600);
        let mut writer = FileWriter::new(OPUS, 8_000, channels, 7, &[]).unwrap();
        let mut file = Vec::new();
        writer.begin(&mut file);
        for part in pcm.chunks(320 * usize::from(channels)) {
            writer.push(part, &mut file);
            writer.flush(&mut file);
        }
        writer.finish(&mut file);
        (file, writer.header_len())
    }

    /// Samples at 48 kHz up to the last whole page.
    fn position(mut bytes: &[u8]) -> u64 {
        let mut position = 0;
        while let Some((page, len)) = Page::parse(bytes) {
            position = page.granule.cast_unsigned();
            bytes = &bytes[len..];
        }
        position
    }

    #[test]
    fn an_ogg_stream_cut_anywhere_keeps_its_whole_pages() {
        for channels in [1, 2, 3] {
            let (file, header) = file(channels);
            let (_, all) = heard(&file);
            for cut in 0..=file.len() {
                let result = repaired(&file[..cut]);
                if cut < usize::try_from(header).unwrap() {
                    assert!(matches!(
                        result,
                        Err(RepairError::Empty | RepairError::Unknown)
                    ));
                    continue;
                }
                let (repaired, bytes) = result.unwrap();
                let frames = position(&file[..cut]).saturating_sub(312);
                assert_eq!(
                    (repaired.frames, repaired.channels),
                    (frames, channels.into())
                );
                assert_eq!(repaired.changed, cut < file.len());
                let back = heard(&bytes).1;
                assert_eq!(back.len() as u64, frames / 6 * u64::from(channels));
                assert_eq!(back, all[..back.len()]);
            }
        }
    }

    #[test]
    fn a_damaged_page_costs_itself_alone() {
        let (mut file, header) = file(1);
        let at = usize::try_from(header).unwrap() + 40;
        file[at] ^= 1;
        let whole = repaired(&file).unwrap().0;
        assert_eq!((whole.frames, whole.changed), (9_600, false));
        let (info, back) = heard(&file);
        assert_eq!((info.frames, back.len()), (1_600, 1_600));
        // The page stood for 40 ms, less what is skipped.
        assert!(back[..320 - 52].iter().all(|sample| *sample == 0));
        assert!(back[320..].iter().any(|sample| sample.abs() > 4_000));
    }

    #[test]
    fn what_the_disk_held_before_is_cut_off() {
        let (mut file, header) = file(1);
        let (len, mut stale) = (file.len(), file.clone());
        for page_at in [0, 47] {
            stale[page_at + 14] ^= 1;
        }
        let stale = crate::audio::ogg::with_checksums(&stale);
        file.extend(&stale);
        assert_eq!(repaired(&file).unwrap().1.len(), len);
        // Also where it was not closed.
        let open = &file[..usize::try_from(header).unwrap()];
        let (repaired, _) = repaired(&[open, &stale].concat()).unwrap();
        // A page with an empty packet of one octet.
        assert_eq!((repaired.bytes, repaired.frames), (header + 29, 0));
    }

    /// Players do not open a stream of headers alone.
    #[test]
    fn a_stream_without_sound_gets_an_end() {
        for channels in [1, 2, 3, 16] {
            let (file, header) = file(channels);
            let header = usize::try_from(header).unwrap();
            let (repaired, bytes) = repaired(&file[..header]).unwrap();
            assert_eq!((repaired.frames, repaired.changed), (0, true));
            assert_eq!(bytes[..header], file[..header]);
            let (page, len) = Page::parse(&bytes[header..]).unwrap();
            assert_eq!(header + len, bytes.len());
            assert!(page.has(FLAG_LAST));
            assert_eq!((page.sequence, page.granule), (2, 312));
            assert_eq!(page.body.len(), 2 * usize::from(channels) - 1);
            assert!(heard(&bytes).1.is_empty());
        }
    }

    #[test]
    fn damaged_places_are_tried_up_to_a_limit() {
        let (file, header) = file(1);
        let (head, sound) = file.split_at(usize::try_from(header).unwrap());
        let with = |bad: usize| {
            let bytes = [head, &b"OggS ".repeat(bad), sound].concat();
            repaired(&bytes).map(|(repaired, _)| repaired.frames)
        };
        assert_eq!(with(BAD_PAGES_MAX).unwrap(), 9_600);
        assert!(matches!(with(BAD_PAGES_MAX + 1), Err(RepairError::Damaged)));
    }
}
