//! Ogg Opus: RFC 3533 pages, RFC 6716 packets, as RFC 7845 puts them together.
//!
//! With the whole file in memory, reading copies nothing, and its work is bounded for any input.
//! Pages whose checksum is wrong are left out.

use opus2::{Channels, Decoder};

use super::{Clip, ClipError, Collector, Container};
use crate::audio::ogg::{CAPTURE, FLAG_CONTINUED, FLAG_FIRST, FLAG_LAST, HEADER_LEN, Page};

/// Most places that look like a page and are none, or are damaged, in one file: each may cost the
/// checksum of 65 kB.
pub(super) const OGG_BAD_PAGES_MAX: usize = 1024;
/// Most streams one after the other in one file.
pub(super) const OGG_LINKS_MAX: usize = 256;
/// Longest packet, RFC 7845 §6: 61 440 octets.
pub(super) const OPUS_PACKET_MAX: usize = 61_440;

/// Rate of granule positions and pre-skip, RFC 7845 §4, at which everything is decoded: what it
/// was recorded at does not matter to Opus.
const RATE_HZ: u32 = 48_000;
/// Samples of the longest packet: 120 ms.
const PACKET_SAMPLES_MAX: usize = 5760;
/// Shortest identification header, RFC 7845 §5.1.
const OPUS_HEAD_LEN: usize = 19;

/// Decodes the Opus streams of an Ogg file, one after the other.
pub(super) fn decode(bytes: &[u8]) -> Result<Clip, ClipError> {
    let mut collector = Collector::new(RATE_HZ)?;
    let mut link: Option<Link> = None;
    let mut links = 0;
    let mut other = None;
    for page in Pages::new(bytes) {
        if page.has(FLAG_FIRST) {
            match Head::parse(page.body) {
                // Streams beside the one that is played begin before its second page.
                Ok(head) if link.as_ref().is_none_or(|link| link.packets > 0) => {
                    if let Some(link) = link.take() {
                        link.finish(&mut collector);
                    }
                    links += 1;
                    if links > OGG_LINKS_MAX {
                        break;
                    }
                    link = Some(Link::new(head, &page, collector.samples.len())?);
                }
                Ok(_) => {}
                Err(error) => other = other.or(Some(error)),
            }
            continue;
        }
        if let Some(link) = link.as_mut().filter(|link| link.serial == page.serial) {
            link.page(&page, &mut collector)?;
        }
    }
    if links == 0 {
        return Err(other.unwrap_or(ClipError::Empty {
            container: Container::Ogg,
        }));
    }
    if let Some(link) = link {
        link.finish(&mut collector);
    }
    collector.finish(Container::Ogg)
}

/// Walks the pages, over what is none.
struct Pages<'a> {
    rest: &'a [u8],
    bad: usize,
}

impl<'a> Pages<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, bad: 0 }
    }
}

impl<'a> Iterator for Pages<'a> {
    type Item = Page<'a>;

    fn next(&mut self) -> Option<Page<'a>> {
        loop {
            let at = self
                .rest
                .windows(CAPTURE.len())
                .position(|window| window == CAPTURE)?;
            self.rest = &self.rest[at..];
            if let Some((page, len)) = Page::parse(self.rest) {
                self.rest = &self.rest[len..];
                return Some(page);
            }
            self.bad += 1;
            if self.bad > OGG_BAD_PAGES_MAX {
                return None;
            }
            self.rest = &self.rest[CAPTURE.len()..];
        }
    }
}

/// What an identification header says that matters here.
struct Head {
    pre_skip: u16,
    /// In 1/256 dB.
    gain: i16,
}

impl Head {
    fn parse(packet: &[u8]) -> Result<Self, ClipError> {
        let unsupported = |what| Err(ClipError::OggStream { what });
        if !packet.starts_with(b"OpusHead") {
            return match packet {
                [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => unsupported("Vorbis"),
                [0x7f, b'F', b'L', b'A', b'C', ..] => unsupported("FLAC"),
                [b'S', b'p', b'e', b'e', b'x', ..] => unsupported("Speex"),
                _ => unsupported("an unknown codec"),
            };
        }
        if packet.len() < OPUS_HEAD_LEN {
            return Err(ClipError::Truncated {
                container: Container::Ogg,
                what: "the Opus header",
                at: HEADER_LEN + 1 + packet.len(),
            });
        }
        if packet[8] & 0xf0 != 0 {
            return unsupported("a later version of Opus in Ogg");
        }
        let single = match packet[18] {
            0 => true,
            1 => packet.get(19) == Some(&1),
            _ => false,
        };
        if !single || !(1..=2).contains(&packet[9]) {
            return unsupported("Opus with more than two channels");
        }
        Ok(Self {
            pre_skip: u16::from_le_bytes([packet[10], packet[11]]),
            gain: i16::from_le_bytes([packet[16], packet[17]]),
        })
    }
}

/// One stream, from its first page to its last.
struct Link {
    serial: u32,
    sequence: u32,
    decoder: Decoder,
    pre_skip: usize,
    /// Packets seen, the comment header included.
    packets: u64,
    packet: Vec<u8>,
    /// The packet being collected is damaged, too long, or its beginning is missing.
    broken: bool,
    /// Samples of the collector when it began.
    from: usize,
    /// Granule position of its first sample.
    start: Option<i64>,
    /// Samples from there to its end, if its last page said so.
    keep: usize,
    /// Samples of the last good packet.
    packet_samples: usize,
}

impl Link {
    fn new(head: Head, page: &Page<'_>, from: usize) -> Result<Self, ClipError> {
        let malformed = |_| ClipError::Malformed {
            container: Container::Ogg,
            rule: "no Opus decoder can be made for this stream",
            at: 0,
        };
        // A decoder of one channel mixes two down.
        let mut decoder = Decoder::new(RATE_HZ, Channels::Mono).map_err(malformed)?;
        decoder.set_gain(i32::from(head.gain)).map_err(malformed)?;
        Ok(Self {
            serial: page.serial,
            sequence: page.sequence,
            decoder,
            pre_skip: usize::from(head.pre_skip),
            packets: 0,
            packet: Vec::new(),
            broken: false,
            from,
            start: None,
            keep: usize::MAX,
            packet_samples: 960,
        })
    }

    fn page(&mut self, page: &Page<'_>, collector: &mut Collector) -> Result<(), ClipError> {
        let missing = page.sequence != self.sequence.wrapping_add(1);
        self.sequence = page.sequence;
        let continues = page.has(FLAG_CONTINUED);
        if !continues {
            self.packet.clear();
            self.broken = false;
        } else if missing || self.packet.is_empty() {
            self.broken = true;
        }
        let mut completed = false;
        let mut body = page.body;
        for len in page.lacing {
            let (segment, rest) = body.split_at(usize::from(*len).min(body.len()));
            body = rest;
            if self.packet.len() + segment.len() > OPUS_PACKET_MAX {
                self.broken = true;
            } else {
                self.packet.extend_from_slice(segment);
            }
            if *len < 255 {
                self.packet_ends(collector)?;
                completed = true;
            }
        }
        if completed {
            self.note_position(page, collector.samples.len() - self.from);
        }
        Ok(())
    }

    fn packet_ends(&mut self, collector: &mut Collector) -> Result<(), ClipError> {
        let comment = self.packets == 0;
        self.packets += 1;
        let mut pcm = [0; PACKET_SAMPLES_MAX];
        // An empty packet would mean a lost one to the decoder; RFC 6716 §3.1 forbids it.
        let result = match (comment, self.broken || self.packet.is_empty()) {
            (true, _) => Ok(0),
            (false, true) => Err(()),
            (false, false) => self
                .decoder
                .decode(&self.packet, &mut pcm, false)
                .map_err(drop),
        };
        let samples = match result {
            Ok(0) => 0,
            Ok(samples) => {
                self.packet_samples = samples;
                samples
            }
            // As on a network: conceal what is lost.
            Err(()) => {
                let lost = &mut pcm[..self.packet_samples];
                self.decoder.decode(&[], lost, false).unwrap_or(0)
            }
        };
        self.packet.clear();
        self.broken = false;
        collector.append(&pcm[..samples.min(pcm.len())], 1)
    }

    /// Granule positions count samples up to the end of the last packet completed on a page. The
    /// first tells where the stream begins (RFC 7845 §4.5), the last where it ends (§4.4).
    fn note_position(&mut self, page: &Page<'_>, decoded: usize) {
        if page.granule < 0 || decoded == 0 {
            return;
        }
        let decoded = i64::try_from(decoded).unwrap_or(i64::MAX);
        let start = *self
            .start
            .get_or_insert_with(|| page.granule.saturating_sub(decoded).max(0));
        if page.has(FLAG_LAST) {
            let keep = page.granule.saturating_sub(start).max(0);
            self.keep = usize::try_from(keep).unwrap_or(usize::MAX);
        }
    }

    fn finish(self, collector: &mut Collector) {
        collector.trim(self.from, self.pre_skip, self.keep);
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small test files"
)]
mod tests {
    use super::*;
    use crate::audio::ogg::seal;
    use opus2::{Application, Encoder};

    /// 0.3 s of 440 Hz, stereo; see testdata/clips.
    const FILE: &[u8] = include_bytes!("../../../testdata/clips/tone-stereo.opus");
    const FRAME: usize = 960;

    fn page(flags: u8, granule: i64, serial: u32, sequence: u32, packets: &[&[u8]]) -> Vec<u8> {
        let mut lacing = Vec::new();
        for packet in packets {
            lacing.extend(std::iter::repeat_n(255, packet.len() / 255));
            lacing.push((packet.len() % 255) as u8);
        }
        raw_page(flags, granule, serial, sequence, &lacing, &packets.concat())
    }

    fn raw_page(
        flags: u8,
        granule: i64,
        serial: u32,
        sequence: u32,
        lacing: &[u8],
        body: &[u8],
    ) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend(granule.to_le_bytes());
        page.extend(serial.to_le_bytes());
        page.extend(sequence.to_le_bytes());
        page.extend([0; 4]);
        page.push(lacing.len() as u8);
        page.extend(lacing);
        page.extend(body);
        seal(&mut page);
        page
    }

    fn head(channels: u8, pre_skip: u16, gain: i16) -> Vec<u8> {
        let mut head = b"OpusHead\x01".to_vec();
        head.push(channels);
        head.extend(pre_skip.to_le_bytes());
        head.extend(48_000u32.to_le_bytes());
        head.extend(gain.to_le_bytes());
        head.push(0);
        head
    }

    /// Frames of a loud tone.
    fn packets(count: usize) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Audio).unwrap();
        (0..count)
            .map(|frame| {
                let pcm: Vec<i16> = (0..FRAME)
                    .map(|n| {
                        let t = (frame * FRAME + n) as f64 / 48_000.0;
                        ((t * 440.0 * std::f64::consts::TAU).sin() * 8000.0) as i16
                    })
                    .collect();
                encoder.encode_vec(&pcm, 1500).unwrap()
            })
            .collect()
    }

    /// A stream of `count` frames, one to a page, that begins at `start` and ends `cut` samples
    /// before its last frame does.
    fn stream(serial: u32, count: usize, start: i64, cut: i64, head: &[u8]) -> Vec<Vec<u8>> {
        let mut pages = vec![
            page(FLAG_FIRST, 0, serial, 0, &[head]),
            page(0, 0, serial, 1, &[b"OpusTags\0\0\0\0\0\0\0\0"]),
        ];
        for (n, packet) in packets(count).iter().enumerate() {
            let last = n + 1 == count;
            let granule = start + ((n + 1) * FRAME) as i64 - if last { cut } else { 0 };
            let flags = if last { FLAG_LAST } else { 0 };
            pages.push(page(flags, granule, serial, n as u32 + 2, &[packet]));
        }
        pages
    }

    fn len(bytes: &[u8]) -> usize {
        Clip::decode(bytes).unwrap().samples().len()
    }

    fn peak(bytes: &[u8]) -> i32 {
        let clip = Clip::decode(bytes).unwrap();
        let middle = &clip.samples()[clip.samples().len() / 4..];
        middle.iter().map(|s| i32::from(*s).abs()).max().unwrap()
    }

    #[test]
    fn a_file_of_another_encoder_is_decoded_to_the_sample() {
        let clip = Clip::decode(FILE).unwrap();
        assert_eq!((clip.rate_hz(), clip.samples().len()), (48_000, 14_400));
        assert!((7000..9000).contains(&peak(FILE)), "{}", peak(FILE));
    }

    #[test]
    fn pre_skip_and_end_are_trimmed() {
        let whole = |start, cut, skip| len(&stream(7, 10, start, cut, &head(1, skip, 0)).concat());
        assert_eq!(whole(0, 0, 0), 10 * FRAME);
        assert_eq!(whole(0, 0, 312), 10 * FRAME - 312);
        assert_eq!(whole(0, 700, 312), 10 * FRAME - 1012);
        // A recording that began in the middle of something.
        assert_eq!(whole(1_000_000, 700, 312), 10 * FRAME - 1012);
        // One page, trimmed: it begins at zero.
        let one = stream(7, 1, 0, 700, &head(1, 100, 0)).concat();
        assert_eq!(len(&one), FRAME - 800);
        let all_skipped = stream(7, 1, 0, 0, &head(1, u16::MAX, 0)).concat();
        assert!(Clip::decode(&all_skipped).is_err());
    }

    #[test]
    fn the_output_gain_is_applied() {
        let at = |gain| peak(&stream(7, 10, 0, 0, &head(1, 312, gain)).concat());
        let (plain, quiet) = (at(0), at(-6 * 256));
        let ratio = f64::from(quiet) / f64::from(plain);
        assert!((0.48..0.52).contains(&ratio), "{quiet} of {plain}");
    }

    #[test]
    fn chained_streams_follow_each_other() {
        let mut bytes = stream(7, 10, 0, 100, &head(1, 312, 0)).concat();
        bytes.extend(stream(8, 5, 0, 50, &head(2, 100, 0)).concat());
        assert_eq!(len(&bytes), 15 * FRAME - 412 - 150);
        let links = |n| stream(7, 1, 0, 0, &head(1, 0, 0)).concat().repeat(n);
        assert_eq!(len(&links(OGG_LINKS_MAX)), OGG_LINKS_MAX * FRAME);
        assert_eq!(len(&links(OGG_LINKS_MAX + 1)), OGG_LINKS_MAX * FRAME);
    }

    #[test]
    fn streams_beside_it_are_left_alone() {
        let played = stream(7, 4, 0, 0, &head(1, 0, 0));
        let beside = stream(9, 4, 0, 0, &head(1, 0, 0));
        let mixed: Vec<u8> = played
            .iter()
            .zip(&beside)
            .flat_map(|(a, b)| [a, b])
            .flatten()
            .copied()
            .collect();
        assert_eq!(len(&mixed), 4 * FRAME);
        let vorbis = page(FLAG_FIRST, 0, 3, 0, &[b"\x01vorbis"]);
        assert_eq!(len(&[vorbis.clone(), mixed].concat()), 4 * FRAME);
        assert_eq!(
            Clip::decode(&vorbis),
            Err(ClipError::OggStream { what: "Vorbis" })
        );
        let surround = page(FLAG_FIRST, 0, 3, 0, &[&head(6, 0, 0)]);
        assert!(matches!(
            Clip::decode(&surround),
            Err(ClipError::OggStream { .. })
        ));
    }

    #[test]
    fn packets_go_on_over_pages() {
        let packets = packets(3);
        let mut padded = packets[1].clone();
        padded.resize(1600, 0);
        opus2::packet::pad(&mut padded, packets[1].len()).unwrap();
        let (first, second) = padded.split_at(510);
        let mut bytes = stream(7, 1, 0, 0, &head(1, 0, 0))[..2].concat();
        bytes.extend(page(0, 960, 7, 2, &[&packets[0]]));
        bytes.extend(raw_page(0, -1, 7, 3, &[255, 255], first));
        let mut end = page(
            FLAG_CONTINUED | FLAG_LAST,
            2880,
            7,
            4,
            &[second, &packets[2]],
        );
        assert_eq!(len(&[&bytes[..], &end].concat()), 3 * FRAME);
        // Its first page missing, the rest of the packet is concealed.
        end = page(
            FLAG_CONTINUED | FLAG_LAST,
            2880,
            7,
            5,
            &[second, &packets[2]],
        );
        assert_eq!(len(&[&bytes[..], &end].concat()), 3 * FRAME);
    }

    #[test]
    fn damaged_pages_are_left_out_up_to_a_limit() {
        let mut pages = stream(7, 10, 0, 0, &head(1, 0, 0));
        *pages[5].last_mut().unwrap() ^= 1;
        assert_eq!(len(&pages.concat()), 9 * FRAME);
        let good = stream(7, 2, 0, 0, &head(1, 0, 0)).concat();
        let after = |bad: usize| Clip::decode(&[b"OggS ".repeat(bad), good.clone()].concat());
        assert!(after(OGG_BAD_PAGES_MAX).is_ok());
        assert!(after(OGG_BAD_PAGES_MAX + 1).is_err());
    }

    #[test]
    fn broken_packets_are_concealed() {
        let good = packets(2);
        let mut bytes = stream(7, 1, 0, 0, &head(1, 0, 0))[..2].concat();
        // Code 3 with no frame in it, and nothing at all.
        let packets: [&[u8]; 4] = [&good[0], &[0xff, 0], &[], &good[1]];
        bytes.extend(page(FLAG_LAST, 4 * 960, 7, 2, &packets));
        assert_eq!(len(&bytes), 4 * FRAME);
    }

    #[test]
    fn packets_are_kept_up_to_their_limit() {
        let audio = packets(1).remove(0);
        let file = |size: usize| {
            let mut padded = audio.clone();
            padded.resize(size, 0);
            opus2::packet::pad(&mut padded, audio.len()).unwrap();
            let mut link = Link::new(
                Head {
                    pre_skip: 0,
                    gain: 0,
                },
                &Page::parse(&page(2, 0, 7, 0, &[])).unwrap().0,
                0,
            )
            .unwrap();
            let mut collector = Collector::new(RATE_HZ).unwrap();
            link.packets = 1;
            let mut broken = false;
            for (n, part) in padded.chunks(255 * 200).enumerate() {
                let last = part.len() < 255 * 200;
                let mut lacing = vec![255; part.len() / 255];
                if last {
                    broken = broken || link.packet.len() + part.len() > OPUS_PACKET_MAX;
                    lacing.push((part.len() % 255) as u8);
                }
                let flags = if n > 0 { FLAG_CONTINUED } else { 0 };
                let bytes = raw_page(flags, -1, 7, n as u32 + 1, &lacing, part);
                link.page(&Page::parse(&bytes).unwrap().0, &mut collector)
                    .unwrap();
            }
            (broken, collector.samples.iter().any(|s| *s != 0))
        };
        assert_eq!(file(OPUS_PACKET_MAX), (false, true));
        // Concealment of a stream that never had audio is silence.
        assert_eq!(file(OPUS_PACKET_MAX + 1), (true, false));
    }

    #[test]
    fn a_file_cut_short_plays_what_is_there() {
        let whole = Clip::decode(FILE).unwrap().samples().len();
        let mut played = 0;
        for cut in (0..FILE.len()).step_by(61) {
            if let Ok(clip) = Clip::decode(&FILE[..cut]) {
                played = played.max(clip.samples().len());
            }
        }
        let pages = stream(7, 10, 0, 0, &head(1, 312, 0)).concat();
        assert_eq!(len(&pages[..pages.len() - 1]), 9 * FRAME - 312);
        assert!(played <= whole);
    }
}
