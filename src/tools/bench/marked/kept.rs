//! Packets that carry their number, looked for in recordings.

use super::super::heard::Numbers;
use super::{MAGIC, MARK_BYTES, PAYLOAD_BYTES, read_packet};
use crate::audio::g711;
use crate::tools::replay::capture;

/// Both of them are silence to µ-law, and become the second where they were samples.
const ZEROS: [u8; 2] = [0x7F, g711::ULAW_SILENCE];

/// What follows a mark in a packet.
const FILLING: u8 = 0xD5;

const LENGTH: isize = PAYLOAD_BYTES.cast_signed();

/// Samples on either side of a mark that are not looked at where a packet slid: its own reach so
/// far. And by how much its place may be another than 20 ms from the one before.
const SLACK: usize = 8;

/// What all parties sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(super) run: u32,
    /// By each party, until the end of the window.
    pub(super) packets: Vec<u32>,
}

/// What is there of the packets of one party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Those that are there to the sample.
    pub(crate) packets: u32,
    /// Those in whose place is what a packet looks like when its samples lie between its own ones.
    pub(crate) slid: u32,
    /// By how many samples packets are from where their number puts them, at most.
    pub(crate) moved: u32,
}

impl Sent {
    /// Packets that a party sent.
    pub(crate) fn by(&self, party: usize) -> u32 {
        self.packets.get(party).copied().unwrap_or(0)
    }

    /// Looks for what `party` said in sound of 8 kHz that went through µ-law and nothing else.
    pub(crate) fn heard_in(&self, pcm: &[i16], party: usize) -> Kept {
        let octets: Vec<u8> = pcm
            .iter()
            .map(|s| one_zero(g711::linear_to_ulaw(*s)))
            .collect();
        let found = self.found_in(&octets, party);
        let place = |(number, at): &(u32, usize)| at.cast_signed() - LENGTH * *number as isize;
        let origin = found.first().map(place);
        let off = |packet| Some(place(packet).abs_diff(origin?));
        let moved = found.iter().filter_map(off).max().unwrap_or(0);
        Kept {
            packets: u32::try_from(found.len()).unwrap_or(u32::MAX),
            slid: slid(&octets, &found, self.by(party)),
            moved: u32::try_from(moved).unwrap_or(u32::MAX),
        }
    }

    /// Numbers of packets and where they begin, in order.
    fn found_in(&self, octets: &[u8], party: usize) -> Vec<(u32, usize)> {
        let mut found = Vec::new();
        let (mut next, mut at) = (0, 0);
        while let Some(packet) = octets.get(at..at + PAYLOAD_BYTES) {
            let Some(number) = self.number(packet, party, next) else {
                at += 1;
                continue;
            };
            found.push((number, at));
            next = number + 1;
            at += PAYLOAD_BYTES;
        }
        found
    }

    /// The number, from `next` on, of the packet of `party` that this is.
    fn number(&self, packet: &[u8], party: usize, next: u32) -> Option<u32> {
        if !packet.starts_with(MAGIC) || packet[MARK_BYTES..].iter().any(|octet| *octet != FILLING)
        {
            return None;
        }
        let reads = |at: usize, word: u32| packet[at..at + 4] == word.to_be_bytes().map(one_zero);
        let of_party = reads(4, self.run) && reads(8, u32::try_from(party).ok()?);
        let mut numbers = next..self.by(party);
        numbers.find(|number| of_party && reads(12, *number))
    }

    /// Counts packets of all parties in a capture, each once.
    pub(crate) fn captured_in(&self, file: &[u8]) -> u32 {
        let mut seen: Vec<(usize, Numbers)> = Vec::new();
        let mut packets = 0;
        let _ = capture::datagrams(file, |datagram| {
            let Some(mark) = read_packet(datagram.payload, self.run) else {
                return;
            };
            let party = mark.stream as usize;
            if mark.sequence >= self.by(party) {
                return;
            }
            let at = seen
                .iter()
                .position(|(of, _)| *of == party)
                .unwrap_or_else(|| {
                    seen.push((party, Numbers::default()));
                    seen.len() - 1
                });
            packets += u32::from(seen[at].1.is_first(mark.sequence.into()));
        });
        packets
    }
}

/// Counts packets that slid before, between and behind those that are found, of `sent` ones.
fn slid(octets: &[u8], found: &[(u32, usize)], sent: u32) -> u32 {
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        return 0;
    };
    let mut slid = walk(&octets[..first.1], first.1, first.0, -LENGTH);
    for pair in found.windows(2) {
        let [(from, begin), (until, end)] = [pair[0], pair[1]];
        slid += walk(&octets[..end], begin, until - from - 1, LENGTH);
    }
    slid + walk(octets, last.1, sent.saturating_sub(last.0 + 1), LENGTH)
}

/// The same in so many steps from one that was found: each slid one says where the next is to be.
fn walk(octets: &[u8], from: usize, steps: u32, step: isize) -> u32 {
    let (mut at, mut slid) = (Some(from), 0);
    for _ in 0..steps {
        at = at.and_then(|at| at.checked_add_signed(step));
        let Some(expected) = at else { break };
        let near = expected.saturating_sub(SLACK)..=expected + SLACK;
        let mut fits = near.filter(|at| is_slid(octets, *at));
        if let Some(first) = fits.next() {
            at = Some(usize::midpoint(first, fits.next_back().unwrap_or(first)));
            slid += 1;
        }
    }
    slid
}

/// Whether a packet lies near here, of which no sample needs to be its own: a mark, and the same
/// octet for as long as behind a mark. Its end may be missing.
fn is_slid(octets: &[u8], at: usize) -> bool {
    let until = octets.len().min(at + PAYLOAD_BYTES);
    let packet = octets.get(at..until).unwrap_or_default();
    if packet.len() < PAYLOAD_BYTES - SLACK {
        return false;
    }
    let fills = |octet: &&u8| **octet == FILLING;
    let (mark, filling) = packet.split_at(MARK_BYTES);
    let mark = &mark[SLACK..MARK_BYTES - SLACK];
    let filling_len = PAYLOAD_BYTES - MARK_BYTES - 2 * SLACK;
    let mut filling = filling[SLACK..].iter().take(filling_len);
    filling.all(|octet| fills(&octet)) && mark.iter().filter(fills).count() < mark.len() / 2
}

fn one_zero(octet: u8) -> u8 {
    if octet == ZEROS[0] { ZEROS[1] } else { octet }
}

#[cfg(test)]
mod tests {
    use super::super::super::generator::Sender;
    use super::super::write_packet;
    use super::*;

    const SENT: Sent = Sent {
        run: 0x7F_FF_01_02,
        packets: Vec::new(),
    };

    fn payload(number: u32, party: usize) -> Vec<i16> {
        let sender = Sender::new(0, 160, &mut fastrand::Rng::with_seed(1));
        let packet = write_packet(&sender, number, SENT.run, party, 0x7F7F_0102_0304);
        packet[12..]
            .iter()
            .map(|octet| g711::ulaw_to_linear(*octet))
            .collect()
    }

    #[test]
    fn packets_are_found_in_sound() {
        let sent = Sent {
            packets: vec![0, 0, 0, 300],
            ..SENT
        };
        let mut pcm = vec![0; 77];
        for number in 0..300 {
            pcm.extend(payload(number, 3));
        }
        let all = sent.heard_in(&pcm, 3);
        assert_eq!((all.packets, all.slid, all.moved), (300, 0, 0));
        assert_eq!(sent.heard_in(&pcm, 2), Kept::default());
        // Samples that are others, a packet that is gone, and one sample too many.
        pcm[77 + 160 * 5 + 100] += 100;
        pcm[77 + 160 * 6..77 + 160 * 7].fill(0);
        pcm.drain(77 + 160 * 127..77 + 160 * 128);
        pcm.insert(77 + 160 * 200, 0);
        let some = sent.heard_in(&pcm, 3);
        assert_eq!((some.packets, some.slid, some.moved), (297, 0, 160));
    }

    #[test]
    fn packets_that_slid_are_told_from_those_that_are_gone() {
        let sent = Sent {
            packets: vec![40, 0],
            ..SENT
        };
        let sound: Vec<i16> = (0..40).flat_map(|number| payload(number, 0)).collect();
        // From a packet on, samples are half way to the one before.
        let between = |from: usize, until: usize| {
            let mut slid = sound.clone();
            for at in 160 * from..160 * until {
                slid[at] = i16::midpoint(sound[at.saturating_sub(1)], sound[at]);
            }
            slid
        };
        for (from, until) in [(0, 3), (10, 14), (37, 40)] {
            let kept = sent.heard_in(&between(from, until), 0);
            let slid = u32::try_from(until - from).unwrap();
            assert_eq!((kept.packets, kept.slid), (40 - slid, slid), "{from}");
            // One of them is silence, or not there at all.
            let mut silent = between(from, until);
            silent[160 * (from + 1)..160 * (from + 2)].fill(0);
            assert_eq!(sent.heard_in(&silent, 0).slid, slid - 1, "{from}");
            let mut gone = between(from, until);
            gone.drain(160 * (from + 1)..160 * (from + 2));
            assert!(sent.heard_in(&gone, 0).slid < slid, "{from}");
        }
    }
}
