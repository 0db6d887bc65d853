//! Ogg, written: packets into pages, and the two headers of Opus (RFC 7845 section 5).

use crate::audio::ogg::{CAPTURE, FLAG_FIRST, FLAG_LAST, SEGMENTS_MAX, seal};
use crate::audio::opus::CLOCK_HZ;

/// Most octets of comments with their lengths; the header stays on one page.
pub const COMMENTS_LEN_MAX: usize = 32 << 10;

/// Longest packet that is written: it fills a page.
pub(super) const PACKET_LEN_MAX: usize = SEGMENTS_MAX * 255 - 1;

/// An Opus packet of 20 ms without sound: one frame, fullband, which has no octets.
pub(super) const TOC_20_MS: u8 = 31 << 3;

/// Longest time on a page in samples at 48 kHz: a second.
const PAGE_SAMPLES_MAX: u64 = CLOCK_HZ as u64;

/// Cuts one stream into pages.
#[derive(Debug)]
pub(super) struct PageWriter {
    serial: u32,
    sequence: u32,
    lacing: Vec<u8>,
    body: Vec<u8>,
    /// Position at the end of the last packet.
    granule: u64,
    /// Position where the page begins.
    page_from: u64,
}

impl PageWriter {
    pub(super) fn new(serial: u32) -> Self {
        Self {
            serial,
            sequence: 0,
            lacing: Vec::with_capacity(SEGMENTS_MAX),
            body: Vec::new(),
            granule: 0,
            page_from: 0,
        }
    }

    /// The pages of a stream's headers, each packet on its own.
    pub(super) fn headers(&mut self, head: &[u8], tags: &[u8], out: &mut Vec<u8>) {
        self.lace(head);
        self.close(FLAG_FIRST, out);
        self.lace(tags);
        self.close(0, out);
    }

    /// A packet of at most [`PACKET_LEN_MAX`] that ends at `granule`.
    pub(super) fn packet(&mut self, packet: &[u8], granule: u64, out: &mut Vec<u8>) {
        let full = self.lacing.len() + packet.len() / 255 + 1 > SEGMENTS_MAX;
        if full || granule > self.page_from + PAGE_SAMPLES_MAX {
            self.flush(out);
        }
        self.lace(packet);
        self.granule = granule;
    }

    /// Closes the page, if there is anything on it.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        if !self.lacing.is_empty() {
            self.close(0, out);
        }
    }

    /// Position at the end of the last page.
    pub(super) fn closed(&self) -> u64 {
        self.page_from
    }

    /// Whether there is nothing on the page.
    pub(super) fn is_empty(&self) -> bool {
        self.lacing.is_empty()
    }

    /// Closes the last page. The sound ends at `granule`, not before the page begins.
    pub(super) fn finish(&mut self, granule: u64, out: &mut Vec<u8>) {
        self.granule = granule;
        self.close(FLAG_LAST, out);
    }

    fn lace(&mut self, packet: &[u8]) {
        assert!(packet.len() <= PACKET_LEN_MAX);
        self.lacing
            .resize(self.lacing.len() + packet.len() / 255, 255);
        self.lacing
            .push(u8::try_from(packet.len() % 255).expect("below 255"));
        self.body.extend_from_slice(packet);
    }

    fn close(&mut self, flags: u8, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend(CAPTURE);
        out.extend([0, flags]);
        out.extend(self.granule.to_le_bytes());
        out.extend(self.serial.to_le_bytes());
        out.extend(self.sequence.to_le_bytes());
        out.extend([0; 4]);
        out.push(u8::try_from(self.lacing.len()).expect("at most 255 segments"));
        out.extend(&self.lacing);
        out.extend(&self.body);
        seal(&mut out[at..]);
        self.sequence = self.sequence.wrapping_add(1);
        self.page_from = self.granule;
        self.lacing.clear();
        self.body.clear();
    }
}

/// A packet of 20 ms without sound in each stream. All streams but the last say how long they are
/// (RFC 6716 appendix B).
pub(super) fn silence(streams: u8) -> Vec<u8> {
    let mut packet = [TOC_20_MS, 0].repeat(usize::from(streams.saturating_sub(1)));
    packet.push(TOC_20_MS);
    packet
}

/// The last page of a stream without any sound: players want one that has a packet, of which
/// nothing is heard.
pub(super) fn silent_end(head: &Head, serial: u32, sequence: u32, out: &mut Vec<u8>) {
    let mut pages = PageWriter {
        sequence,
        ..PageWriter::new(serial)
    };
    pages.packet(&silence(head.streams), 0, out);
    pages.finish(head.pre_skip.into(), out);
}

/// The identification header of `channels`, each a stream of its own; `joint`: of one or two in
/// one stream.
pub(super) fn head(channels: u8, joint: bool, pre_skip: u16, rate_hz: u32) -> Vec<u8> {
    let family = match channels {
        1 => 0,
        2 if joint => 0,
        2 => 1,
        _ => 255,
    };
    let mut head = b"OpusHead\x01".to_vec();
    head.push(channels);
    head.extend(pre_skip.to_le_bytes());
    head.extend(rate_hz.to_le_bytes());
    // No gain.
    head.extend([0, 0, family]);
    if family != 0 {
        head.extend([channels, 0]);
        head.extend(0..channels);
    }
    head
}

/// An identification header, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) pre_skip: u16,
    /// What it was recorded at; of no meaning to Opus.
    pub(super) rate_hz: u32,
    /// In 1/256 dB.
    pub(super) gain: i16,
    pub(super) streams: u8,
    /// Of those, the first that have two channels each.
    pub(super) coupled: u8,
    /// For each channel of the file the decoded one, or 255.
    pub(super) mapping: Vec<u8>,
}

impl Head {
    /// `None` if it is none, or of a later version.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let rest = packet.strip_prefix(b"OpusHead")?;
        let (
            &[
                version,
                channels,
                skip,
                skip_high,
                r0,
                r1,
                r2,
                r3,
                gain,
                gain_high,
                family,
            ],
            rest,
        ) = rest.split_first_chunk()?;
        if version & 0xf0 != 0 || channels == 0 {
            return None;
        }
        let (streams, coupled, mapping) = match (family, rest) {
            (0, _) if channels <= 2 => (1, channels - 1, (0..channels).collect()),
            (0, _) => return None,
            (_, [streams, coupled, mapping @ ..]) => {
                let mapping = mapping.get(..usize::from(channels))?;
                (*streams, *coupled, mapping.to_vec())
            }
            _ => return None,
        };
        Some(Self {
            pre_skip: u16::from_le_bytes([skip, skip_high]),
            rate_hz: u32::from_le_bytes([r0, r1, r2, r3]),
            gain: i16::from_le_bytes([gain, gain_high]),
            streams,
            coupled,
            mapping,
        })
    }
}

/// The comment header.
pub(super) fn tags(comments: &[String]) -> Vec<u8> {
    let vendor = concat!("crosspoint ", env!("CARGO_PKG_VERSION"));
    let mut lines = Vec::new();
    let mut count = 0_u32;
    for comment in comments {
        if lines.len() + 4 + comment.len() > COMMENTS_LEN_MAX {
            break;
        }
        lines.extend(length(comment));
        lines.extend(comment.as_bytes());
        count += 1;
    }
    let mut tags = b"OpusTags".to_vec();
    tags.extend(length(vendor));
    tags.extend(vendor.as_bytes());
    tags.extend(count.to_le_bytes());
    tags.extend(lines);
    tags
}

fn length(text: &str) -> [u8; 4] {
    u32::try_from(text.len())
        .expect("below COMMENTS_LEN_MAX")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::ogg::{PAGE_LEN_MAX, Page};

    fn pages(mut bytes: &[u8]) -> Vec<(u8, u64, usize)> {
        let mut pages = Vec::new();
        while !bytes.is_empty() {
            let (page, len) = Page::parse(bytes).expect("a whole page");
            assert_eq!(page.sequence as usize, pages.len());
            pages.push((page.flags, page.granule.cast_unsigned(), page.body.len()));
            bytes = &bytes[len..];
        }
        pages
    }

    #[test]
    fn pages_close_after_a_second_and_when_full() {
        let (mut writer, mut out) = (PageWriter::new(7), Vec::new());
        for n in 1..=50 {
            writer.packet(&[0; 10], n * 960, &mut out);
            assert!(out.is_empty());
        }
        // 255 lacing values: the last packet of one fits, one more does not.
        writer.packet(&[0; 254 * 255 - 1], 48_960, &mut out);
        writer.packet(&[0; 254], 49_920, &mut out);
        writer.packet(&[0; 1], 50_880, &mut out);
        writer.flush(&mut out);
        writer.flush(&mut out);
        writer.packet(&[0; PACKET_LEN_MAX], 51_840, &mut out);
        writer.finish(51_000, &mut out);
        let expected = [
            (0, 48_000, 500),
            (0, 49_920, 254 * 255 - 1 + 254),
            (0, 50_880, 1),
            (FLAG_LAST, 51_000, PACKET_LEN_MAX),
        ];
        assert_eq!(pages(&out), expected);
        assert_eq!(PAGE_LEN_MAX, 65_307);
    }

    #[test]
    fn comments_are_kept_up_to_their_limit() {
        let line = |len: usize| "X".repeat(len);
        let at_limit = tags(&[line(COMMENTS_LEN_MAX - 14), line(6)]);
        let above = tags(&[line(COMMENTS_LEN_MAX - 14), line(7), line(1)]);
        let count_at = 12 + "crosspoint ".len() + env!("CARGO_PKG_VERSION").len();
        let count = |tags: &[u8]| tags[count_at];
        assert_eq!((count(&at_limit), count(&above)), (2, 1));
        assert_eq!(at_limit.len(), count_at + 4 + COMMENTS_LEN_MAX);
    }
}
