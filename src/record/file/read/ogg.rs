//! Samples of an Ogg Opus file.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::super::ogg::Head;
use super::super::pages::PageReader;
use super::{ReadError, RecordingInfo, channels};
use crate::audio::clip::Container;
use crate::audio::ogg::{FLAG_CONTINUED, FLAG_FIRST, FLAG_LAST, PAGE_LEN_MAX, Page};
use crate::audio::opus::{self, CLOCK_HZ, MultistreamDecoder, PACKET_MS_MAX};

/// Longest packet, RFC 7845 section 6: 61,440 octets.
const PACKET_LEN_MAX: usize = 61_440;
/// Fewest octets of a packet in a file: its first one, and its length.
const PACKET_OCTETS_MIN: u64 = 2;
/// Samples of each channel that silence is made of at a time.
const SILENCE_SAMPLES: u64 = 4_800;

#[derive(Debug)]
pub(super) struct OggReader<R> {
    pages: PageReader<R>,
    serial: u32,
    /// Of the last page.
    sequence: u32,
    decoder: MultistreamDecoder,
    channels: usize,
    rate_hz: u32,
    /// Pages before the sound that are still to come.
    headers: u8,
    ended: bool,
    /// Octets of the packets of a page, and of one that goes on on the next.
    octets: Vec<u8>,
    packets: VecDeque<Range<usize>>,
    /// What follows the last packet of the page.
    rest: usize,
    /// Samples of each channel at 48 kHz from the first one decoded on, where the next packet
    /// belongs.
    position: u64,
    /// Samples of each channel at our rate that are missing before the next packet.
    silent: u64,
    /// Those to leave out at the beginning, and those to give out after that.
    skip: u64,
    left: u64,
    pcm: Vec<i16>,
    /// What of it is to be given out.
    ready: Range<usize>,
}

impl<R: Read + Seek> OggReader<R> {
    pub(super) fn open(mut file: R, len: u64) -> Result<(RecordingInfo, Self), ReadError> {
        file.rewind()?;
        let (serial, head) = first_page(&mut file)?;
        let end = last_granule(&mut file, len, serial)?.min(longest(len));
        file.rewind()?;
        let channels = channels(head.mapping.len())?;
        let rate_hz = match head.rate_hz {
            8_000 | 16_000 | 24_000 => head.rate_hz,
            _ => CLOCK_HZ,
        };
        let decoder = MultistreamDecoder::new(
            rate_hz,
            head.streams,
            head.coupled,
            &head.mapping,
            head.gain,
        )?;
        let ratio = u64::from(CLOCK_HZ / rate_hz);
        let skip = u64::from(head.pre_skip) / ratio;
        let frames = (end / ratio).saturating_sub(skip);
        let info = RecordingInfo {
            container: Container::Ogg,
            rate_hz,
            channels,
            frames,
        };
        let samples_max = (rate_hz / 1_000 * PACKET_MS_MAX) as usize;
        let reader = Self {
            pages: PageReader::new(file, 0),
            serial,
            sequence: 0,
            decoder,
            channels: usize::from(channels),
            rate_hz,
            headers: 2,
            ended: false,
            octets: Vec::new(),
            packets: VecDeque::new(),
            rest: 0,
            position: 0,
            silent: 0,
            skip,
            left: frames,
            pcm: vec![0; samples_max * usize::from(channels)],
            ready: 0..0,
        };
        Ok((info, reader))
    }

    pub(super) fn read(&mut self, out: &mut [i16]) -> io::Result<usize> {
        let mut samples = 0;
        while samples < out.len() && self.left > 0 {
            if self.ready.is_empty() && !self.decode()? {
                break;
            }
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let most = (out.len() - samples).min(left.saturating_mul(self.channels));
            let count = self.ready.len().min(most);
            let from = self.ready.start;
            out[samples..samples + count].copy_from_slice(&self.pcm[from..from + count]);
            self.ready.start += count;
            self.left -= (count / self.channels) as u64;
            samples += count;
        }
        Ok(samples)
    }

    /// Has sound ready; `false` at the end.
    fn decode(&mut self) -> io::Result<bool> {
        while self.ready.is_empty() {
            let frames = if self.silent > 0 {
                let room = (self.pcm.len() / self.channels) as u64;
                let frames = self.silent.min(room).min(SILENCE_SAMPLES);
                self.silent -= frames;
                #[allow(clippy::cast_possible_truncation, reason = "at most 4,800")]
                let frames = frames as usize;
                self.pcm[..frames * self.channels].fill(0);
                frames
            } else if let Some(packet) = self.packets.pop_front() {
                self.packet(packet)
            } else if self.ended || !self.page()? {
                return Ok(false);
            } else {
                continue;
            };
            let skipped = self.skip.min(frames as u64);
            self.skip -= skipped;
            #[allow(clippy::cast_possible_truncation, reason = "at most `frames`")]
            let skipped = skipped as usize;
            self.ready = skipped * self.channels..frames * self.channels;
        }
        Ok(true)
    }

    /// Decodes a packet, or conceals one that cannot be; returns frames of all channels.
    fn packet(&mut self, packet: Range<usize>) -> usize {
        let octets = &self.octets[packet];
        let expected = opus::samples(octets, self.rate_hz).unwrap_or(0);
        match self.decoder.decode(octets, &mut self.pcm) {
            Ok(frames) => frames,
            Err(_) => {
                let pcm = &mut self.pcm[..expected * self.channels];
                self.decoder.conceal(pcm);
                expected
            }
        }
    }

    /// Takes the packets of the next page; `false` if there is none.
    fn page(&mut self) -> io::Result<bool> {
        let Some(found) = self.pages.next()? else {
            return Ok(false);
        };
        let page = found.page;
        if page.serial != self.serial {
            return Ok(true);
        }
        let is_next = page.sequence == self.sequence.wrapping_add(1);
        self.sequence = page.sequence;
        if self.headers > 0 {
            // A page of the comments' packet that goes on has no position.
            self.headers -= u8::from(page.has(FLAG_FIRST) || page.granule >= 0);
            return Ok(true);
        }
        self.ended = page.has(FLAG_LAST);
        let continues = page.has(FLAG_CONTINUED);
        self.octets.drain(..self.rest.min(self.octets.len()));
        if !continues || !is_next || self.octets.len() > PACKET_LEN_MAX {
            self.octets.clear();
        }
        // The rest of a packet whose beginning is missing is none.
        let broken = continues && self.octets.is_empty();
        (self.packets, self.rest) = packets(&page, &mut self.octets, broken);
        let times = self.packets.iter().map(|packet| {
            opus::samples(&self.octets[packet.clone()], CLOCK_HZ).unwrap_or(0) as u64
        });
        let time: u64 = times.sum();
        let granule = u64::try_from(page.granule).unwrap_or(0);
        if let Some(missing) = granule.checked_sub(self.position + time) {
            self.silent = missing / u64::from(CLOCK_HZ / self.rate_hz);
            self.position += missing;
        }
        self.position += time;
        Ok(true)
    }
}

/// Appends a page to what the last one left; says where packets are that end on it, and where what
/// is left begins.
fn packets(
    page: &Page<'_>,
    octets: &mut Vec<u8>,
    mut broken: bool,
) -> (VecDeque<Range<usize>>, usize) {
    let mut packets = VecDeque::new();
    let (mut from, mut at) = (0, octets.len());
    octets.extend_from_slice(page.body);
    for len in page.lacing {
        at += usize::from(*len);
        if *len < 255 {
            if !broken && at > from {
                packets.push_back(from..at);
            }
            broken = false;
            from = at;
        }
    }
    (packets, from)
}

/// Serial and head of the stream.
fn first_page(file: &mut impl Read) -> Result<(u32, Head), ReadError> {
    let mut pages = PageReader::new(file, 0);
    while let Some(found) = pages.next()? {
        if found.page.has(FLAG_FIRST)
            && let Some(head) = Head::parse(found.page.body)
        {
            return Ok((found.page.serial, head));
        }
    }
    Err(ReadError::Unknown)
}

/// Samples at 48 kHz that a file of so many octets can hold. One that says more would be silence
/// for longer than anybody reads.
fn longest(len: u64) -> u64 {
    (len / PACKET_OCTETS_MIN).saturating_mul(u64::from(CLOCK_HZ / 1_000 * PACKET_MS_MAX))
}

/// Where the stream ends, in samples at 48 kHz. The last two pages' length is looked at.
fn last_granule(file: &mut (impl Read + Seek), len: u64, serial: u32) -> io::Result<u64> {
    let from = len.saturating_sub(2 * PAGE_LEN_MAX as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut pages = PageReader::new(file, from);
    let mut last = 0;
    while let Some(found) = pages.next()? {
        if found.page.serial == serial {
            last = u64::try_from(found.page.granule).unwrap_or(last);
        }
    }
    Ok(last)
}
