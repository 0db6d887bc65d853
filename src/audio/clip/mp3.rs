//! MPEG audio, layers I to III, frame by frame.
//!
//! The decoder (`nanomp3`) is safe code and gets at most [`WINDOW`] bytes at a time, so that
//! looking for a frame in garbage costs little; how much garbage is looked through is limited.

use nanomp3::{DecodeError, Decoder, FrameInfo, MAX_SAMPLES_PER_FRAME, VbrTag};

use super::{Clip, ClipError, Collector, Container};

/// Most bytes between frames that are skipped in one file, tags not counted.
pub(super) const MP3_JUNK_BYTES_MAX: usize = 64 << 10;

/// What the decoder is shown at a time: the ten frames it wants to see before it believes in the
/// first, of up to 1.4 kB each.
const WINDOW: usize = 16 << 10;
/// Longer than any frame (2304 bytes in free format): what of a window without one is kept.
const OVERLAP: usize = 4 << 10;
/// Samples a layer III decoder is late by.
const DECODER_DELAY: usize = 529;

/// Whether these bytes begin as MPEG audio does: an ID3v2 tag, or frames that follow each other.
pub(super) fn is_mp3(bytes: &[u8]) -> bool {
    nanomp3::detect(bytes)
}

/// Decodes MPEG audio.
pub(super) fn decode(bytes: &[u8]) -> Result<Clip, ClipError> {
    let frames = nanomp3::strip_tags(bytes);
    let tag = encoder_tag(frames);
    let mut reader = Reader {
        rest: &frames[tag.map_or(0, |tag| tag.frames_at)..],
        junk: 0,
        decoder: Decoder::new(),
    };
    let mut pcm = [0i16; MAX_SAMPLES_PER_FRAME];
    let mut collector: Option<Collector> = None;
    while let Some(info) = reader.next(&mut pcm) {
        let collector = match &mut collector {
            Some(collector) => collector,
            none => none.insert(Collector::new(info.sample_rate)?),
        };
        if info.sample_rate != collector.rate_hz {
            break; // Another recording begins: a clip has one rate.
        }
        let channels = usize::from(info.channels.num());
        collector.append(&pcm[..info.samples_produced * channels], channels)?;
    }
    let container = Container::Mp3;
    let mut collector = collector.ok_or(ClipError::Empty { container })?;
    if let Some(EncoderTag { skip, keep, .. }) = tag {
        collector.trim(0, skip, keep);
    }
    collector.finish(container)
}

/// Finds and decodes one frame after the other.
struct Reader<'a> {
    rest: &'a [u8],
    junk: usize,
    decoder: Decoder,
}

impl Reader<'_> {
    /// The next frame that decodes to samples.
    fn next(&mut self, pcm: &mut [i16; MAX_SAMPLES_PER_FRAME]) -> Option<FrameInfo> {
        while !self.rest.is_empty() && self.junk <= MP3_JUNK_BYTES_MAX {
            let window = &self.rest[..self.rest.len().min(WINDOW)];
            let (used, result) = self.decoder.decode(window, pcm);
            let used = match result {
                // A frame may begin shortly before the window's end.
                Err(DecodeError::NoFrame) if window.len() == WINDOW => WINDOW - OVERLAP,
                _ => used.clamp(1, window.len()),
            };
            self.rest = &self.rest[used..];
            let info = match &result {
                Ok(info) => Some(info),
                Err(error) => error.frame_info(),
            };
            self.junk += used.saturating_sub(info.map_or(0, frame_bytes));
            if let Ok(info) = result
                && info.samples_produced > 0
            {
                return Some(info);
            }
        }
        None
    }
}

/// The length of a frame, or somewhat more.
fn frame_bytes(info: &FrameInfo) -> usize {
    if info.bitrate == 0 || info.sample_rate == 0 {
        return OVERLAP;
    }
    let samples = 1152 * 125;
    samples * info.bitrate as usize / info.sample_rate as usize + 4
}

/// What encoders write instead of a first frame: how much of the audio is not the recording's.
#[derive(Clone, Copy)]
struct EncoderTag {
    /// Where the frames after it begin.
    frames_at: usize,
    /// Samples before the recording.
    skip: usize,
    /// Samples up to its end, the skipped ones included.
    keep: usize,
}

fn encoder_tag(bytes: &[u8]) -> Option<EncoderTag> {
    let first = nanomp3::frames(&bytes[..bytes.len().min(WINDOW)]).next()?;
    let tag = VbrTag::parse(first.data)?;
    let frames_at = first.offset + first.data.len();
    let (skip, keep) = match (tag.encoder_delay_padding, tag.frames) {
        (Some((delay, padding)), Some(frames)) => {
            let total = usize::try_from(frames).ok()?.checked_mul(first.samples)?;
            let end = usize::from(padding).saturating_sub(DECODER_DELAY);
            let skip = usize::from(delay) + DECODER_DELAY;
            (skip, total.saturating_sub(end))
        }
        _ => (0, usize::MAX),
    };
    // A tag that leaves nothing is not believed.
    let (skip, keep) = if keep > skip {
        (skip, keep)
    } else {
        (0, usize::MAX)
    };
    Some(EncoderTag {
        frames_at: frames_at.min(bytes.len()),
        skip,
        keep,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0.3 s of 440 Hz by LAME at different rates; see testdata/clips.
    const MPEG1_STEREO: &[u8] = include_bytes!("../../../testdata/clips/tone-44100-stereo.mp3");
    const MPEG2_MONO: &[u8] = include_bytes!("../../../testdata/clips/tone-22050-mono.mp3");
    const MPEG25_MONO: &[u8] = include_bytes!("../../../testdata/clips/tone-8000-mono.mp3");

    /// Mean magnitude of a 440 Hz tone in it, in samples' units.
    fn tone(clip: &Clip) -> f64 {
        let step = std::f64::consts::TAU * 440.0 / f64::from(clip.rate_hz());
        let (re, im) =
            clip.samples()
                .iter()
                .zip(0u32..)
                .fold((0.0, 0.0), |(re, im), (sample, n)| {
                    let (sin, cos) = (step * f64::from(n)).sin_cos();
                    (re + f64::from(*sample) * cos, im + f64::from(*sample) * sin)
                });
        2.0 * re.hypot(im) / clip.samples().len() as f64
    }

    #[test]
    fn all_three_mpeg_versions_are_decoded_to_the_sample() {
        for (bytes, rate) in [
            (MPEG1_STEREO, 44_100),
            (MPEG2_MONO, 22_050),
            (MPEG25_MONO, 8000),
        ] {
            let clip = Clip::decode(bytes).unwrap();
            assert_eq!(clip.rate_hz(), rate);
            let amplitude = tone(&clip);
            assert!((7500.0..8500.0).contains(&amplitude), "{rate}: {amplitude}");
            // Delay and padding of the encoder are cut off.
            assert_eq!(clip.samples().len(), rate as usize * 3 / 10);
        }
    }

    #[test]
    fn tags_are_skipped() {
        let mut tagged = b"ID3\x04\0\0\0\0\x01\0".to_vec();
        tagged.extend([0xff; 128]);
        tagged.extend(MPEG25_MONO);
        tagged.extend(b"TAG");
        tagged.extend([b' '; 125]);
        assert_eq!(Clip::decode(&tagged), Clip::decode(MPEG25_MONO));
    }

    #[test]
    fn a_file_cut_short_plays_what_is_there() {
        let whole = Clip::decode(MPEG2_MONO).unwrap();
        let mut last = 0;
        for cut in (0..MPEG2_MONO.len()).step_by(97) {
            if let Ok(clip) = Clip::decode(&MPEG2_MONO[..cut]) {
                let n = clip.samples().len();
                assert!(n >= last && n <= whole.samples().len());
                last = n;
            }
        }
        assert!(last > whole.samples().len() / 2);
    }

    #[test]
    fn garbage_is_an_error() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut noise = vec![0; 100_000];
        random.fill(&mut noise);
        assert!(matches!(
            Clip::decode(&noise),
            Err(ClipError::Unknown { .. })
        ));
        let mut tagged = b"ID3\x04\0\0\0\0\0\0".to_vec();
        tagged.extend(&noise[..50_000]);
        let container = Container::Mp3;
        assert_eq!(Clip::decode(&tagged), Err(ClipError::Empty { container }));
    }

    #[test]
    fn junk_is_skipped_up_to_its_limit() {
        let with_junk = |junk: usize| {
            let mut bytes = b"ID3\x04\0\0\0\0\0\0".to_vec();
            bytes.extend(vec![0; junk]);
            bytes.extend(MPEG25_MONO);
            Clip::decode(&bytes)
        };
        assert!(with_junk(MP3_JUNK_BYTES_MAX - WINDOW).is_ok());
        assert!(with_junk(MP3_JUNK_BYTES_MAX + WINDOW).is_err());
    }
}
