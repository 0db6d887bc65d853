//! What the fuzz targets run: compiled with the library, so that no change breaks them unseen.
//! `tests/fuzz_seeds.rs` runs each over its seeds in `testdata/fuzz/`.
//!
//! Each takes any bytes, and panics only if a promise of the code under test is broken.

use crate::audio::clip::{self, CLIP_BYTES_MAX, Clip};
use crate::audio::codec as audio_codec;
use crate::audio::codec::{CodecConfig, CodecKind, Decoder};
use crate::audio::opus::{Fmtp, OpusConfig, PACKET_MS_MAX};
use crate::control::ng::request::Request;
use crate::control::ng::{join_datagram, split_datagram};
use crate::engine::playout::{PacketInfo, Playout, PlayoutConfig};
use crate::engine::{EventEdge, EventPacket, EventReceiver, Micros};
use crate::record::file::read::RecordingReader;
use crate::record::file::repair::repair;
use crate::wire::bencode::{self, Scanner};
use crate::wire::ng::{self, Encoding};
use crate::wire::rtcp::{Compound, ReportedMap, SenderMap};
use crate::wire::rtp::{FIXED_HEADER_LEN, RtpHeader, RtpPacket};
use crate::wire::sdp::{Description, Media, MediaRewrite, OriginPolicy, Rewrite, SdpError};
use crate::wire::seq::{RtpTimestamp, SequenceNumber};
use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr};

/// A SIP message as it comes in: everything that reads it before a call is made of it. It never
/// panics, and nobody gets in without the password.
pub fn sip(data: &[u8]) {
    crate::sip::hostile::read(data);
}

/// Playout: operations of four octets and payloads, on a jitter buffer with PCMU, Opus and comfort
/// noise. It never panics, fills what is pulled, and its books balance.
pub fn playout(data: &[u8]) {
    let config = PlayoutConfig {
        pcm_hz: 8_000,
        ..PlayoutConfig::default()
    };
    let mut playout = Playout::new(config).expect("a usual configuration");
    let mut opus = audio_codec::CodecConfig::new(audio_codec::CodecKind::Opus);
    opus.opus.pcm_hz = 8_000;
    let pcmu = audio_codec::CodecConfig::new(audio_codec::CodecKind::Pcmu);
    for (pt, clock_hz, config) in [(0, 8_000, pcmu), (111, 48_000, opus)] {
        // Opus is missing in builds without that feature.
        if let Ok(decoder) = audio_codec::Decoder::new(&config) {
            playout
                .set_decoder(pt, clock_hz, decoder)
                .expect("the rates agree");
        }
    }
    playout.set_comfort_noise(13, 8_000).expect("in range");
    let (mut now_us, mut pulls, mut seq, mut timestamp) = (0_u64, 0, 0_u16, 0_u32);
    let mut out = [0; 480];
    let mut rest = data;
    while let Some((&[what, a, b, c], after)) = rest.split_first_chunk() {
        rest = after;
        now_us += u64::from(a) * 250;
        if what & 1 == 0 {
            playout.pull(Micros(now_us), &mut out[..80 * usize::from(1 + b % 6)]);
            pulls += 1;
            if pulls > FUZZ_PULLS_MAX {
                break;
            }
            continue;
        }
        let payload = &rest[..usize::from(c).min(rest.len())];
        rest = &rest[payload.len()..];
        seq = seq.wrapping_add(1);
        timestamp = timestamp.wrapping_add(160);
        // The upper bits say what is unusual: another number, time, source or payload type.
        let jump = u32::from(b) << (what >> 3 & 0b1_1000);
        match what >> 1 & 7 {
            1 => seq = seq.wrapping_add(u16::from(b) << (what >> 4 & 8)),
            2 => timestamp = timestamp.wrapping_add(jump),
            3 => timestamp = timestamp.wrapping_sub(jump),
            _ => {}
        }
        let info = PacketInfo {
            ssrc: u32::from(what >> 1 & 7 == 4),
            seq: SequenceNumber(seq),
            timestamp: RtpTimestamp(timestamp),
            pt: [0, 0, 0, 0, 0, 111, 13, 9][usize::from(what >> 1 & 7)],
            marker: what & 0x80 != 0,
        };
        playout.insert(Micros(now_us), &info, payload);
    }
    let s = playout.stats();
    let unheard = s.duplicate + s.late + s.stray + s.unknown_pt + s.discarded + s.undecodable;
    assert!(
        s.played + unheard + u64::from(s.waiting) <= s.received,
        "{s:?}"
    );
}

/// Pulls of one input; more only make the fuzzer slow.
const FUZZ_PULLS_MAX: u32 = 2_000;

/// telephone-events: packets and silences, as a hostile sender and network may give them. Every
/// press that began ends, once, and silence ends the last one in bounded time.
///
/// Each packet is five octets: what is unusual about it, milliseconds that pass, a step of the
/// sequence number, a step of the timestamp in tens of milliseconds, and how many octets of payload
/// follow (the source in the upper bits).
pub fn telephone_event(data: &[u8]) {
    let mut receiver = EventReceiver::new();
    let (mut now_us, mut seq, mut timestamp) = (0_u64, 0_u16, 0_u32);
    let mut open: Vec<(u8, u64)> = Vec::new();
    let mut tell = |edge: EventEdge| match edge {
        EventEdge::Began { code, began_us, .. } => open.push((code.0, began_us)),
        EventEdge::Ended { code, began_us, .. } => {
            let ix = open.iter().position(|press| *press == (code.0, began_us));
            open.remove(ix.expect("what ends has begun"));
            assert!(open.len() <= 1, "one is open besides a late one");
        }
    };
    let mut rest = data;
    while let Some((&[what, ms, seq_step, ticks, source_and_len], after)) = rest.split_first_chunk()
    {
        now_us += u64::from(ms) * 1_000;
        seq = seq.wrapping_add_signed(i16::from(seq_step.cast_signed()) << (what >> 6 << 1));
        let ticks = i32::from(ticks.cast_signed()) * 80;
        timestamp = timestamp.wrapping_add_signed(ticks << (what >> 4 & 0b11));
        let ssrc = u32::from(source_and_len >> 7);
        let len = usize::from(source_and_len & 0x7f).min(after.len());
        let payload;
        (payload, rest) = after.split_at(len);
        if what & 1 != 0 {
            receiver.media(now_us, ssrc, seq, timestamp, &mut tell);
            continue;
        }
        let packet = EventPacket {
            ssrc,
            seq,
            timestamp,
            marker: what & 2 != 0,
            clock_hz: [0, 8_000, 48_000, u32::MAX][usize::from(what >> 2 & 0b11)],
            payload,
        };
        receiver.packet(now_us, &packet, &mut tell);
        if let Some(due_us) = receiver.next_timeout_us() {
            assert!((now_us..now_us + 1_000_000).contains(&due_us), "{due_us}");
        }
    }
    receiver.timeout(now_us + 1_000_000, &mut tell);
    assert!(!receiver.is_down() && open.is_empty());
}

/// Bencode: decoding, encoding and scanning agree.
pub fn bencode(data: &[u8]) {
    let scanned = Scanner::default().advance(data);
    match bencode::decode(data) {
        Ok((value, used)) => {
            assert_eq!(scanned, Ok(Some(used)));
            let mut again = Vec::new();
            bencode::encode(&value, &mut again);
            assert_eq!(bencode::decode(&again), Ok((value, again.len())));
        }
        Err(error) if error.is_incomplete() => assert_eq!(scanned, Ok(None)),
        Err(error) => assert_eq!(scanned, Err(error)),
    }
    request(data);
}

/// JSON of ng: what was read is read again after it was written.
pub fn ng_json(data: &[u8]) {
    if let Ok(value) = ng::decode_json(data) {
        let mut again = Vec::new();
        ng::encode_json(&value, &mut again);
        assert_eq!(ng::decode_json(&again), Ok(value));
    }
    request(data);
}

/// A request, with and without its cookie; its warning fits a reply.
fn request(data: &[u8]) {
    let payload = split_datagram(data).map_or(data, |(_, payload)| payload);
    for payload in [data, payload] {
        let (encoding, request) = Request::decode(payload);
        let text = match request {
            Ok(request) => request.warning().unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert!(text.len() <= WARNING_LEN_MAX);
        join_datagram(b"k", encoding, &crate::control::ng::error(text));
        assert!(encoding == Encoding::Bencode || payload.first() == Some(&b'{'));
    }
}

/// Two lists of 32 names of 64 bytes, and what is between them.
const WARNING_LEN_MAX: usize = 2 * 32 * (64 + 2) + 100;

/// RTP: whatever parses has its payload inside, can be edited and stripped, and parses again.
pub fn rtp(data: &[u8]) {
    let mut bytes = data.to_vec();
    let Ok(mut packet) = RtpPacket::parse(&mut bytes) else {
        return;
    };
    let before = *packet.header();
    let payload = packet.payload().to_vec();
    packet.set_pt(before.pt ^ 1);
    packet.set_marker(!before.marker);
    packet.set_seq(before.seq.next());
    packet.set_timestamp(before.timestamp.plus(1));
    packet.set_ssrc(!before.ssrc);
    let start = packet.strip();
    let after = RtpHeader::parse(&bytes[start..]).expect("an edited packet stays valid");
    assert_eq!(after.payload_start, FIXED_HEADER_LEN);
    assert_eq!(
        bytes[start..][after.payload_start..after.payload_end],
        payload
    );
    assert_eq!((after.pt, after.marker), (before.pt ^ 1, !before.marker));
    assert_eq!(after.seq, SequenceNumber(before.seq.0.wrapping_add(1)));
    assert_eq!(
        after.timestamp,
        RtpTimestamp(before.timestamp.0.wrapping_add(1))
    );
    assert_eq!(after.ssrc, !before.ssrc);
}

/// RTCP: whatever parses can be walked and rewritten, and parses again with the same packets.
pub fn rtcp(data: &[u8]) {
    let mut bytes = data.to_vec();
    let Ok(mut compound) = Compound::parse(&mut bytes) else {
        return;
    };
    let spans: Vec<_> = compound.packets().map(|packet| packet.span()).collect();
    let blocks: usize = compound
        .packets()
        .map(|packet| packet.report_blocks().count())
        .sum();
    let from = compound
        .packets()
        .find_map(|packet| packet.ssrc())
        .unwrap_or(0);
    let sender = SenderMap {
        from,
        to: !from,
        timestamp_offset: 7,
    };
    let reported = ReportedMap {
        from,
        to: !from,
        sequence_offset: 7,
        highest_seq: from,
    };
    compound.rewrite(Some(sender), Some(reported));
    assert!(spans.last().is_some_and(|span| span.end == data.len()));
    let compound = Compound::parse(&mut bytes).expect("a rewritten compound stays valid");
    assert!(compound.packets().map(|packet| packet.span()).eq(spans));
    let after: usize = compound
        .packets()
        .map(|packet| packet.report_blocks().count())
        .sum();
    assert_eq!(blocks, after);
}

/// Any bytes: parses, sends on both openly and masked, and parses the result again, which must
/// succeed and mean the same.
///
/// # Panics
///
/// If it does not.
pub fn sdp(data: &[u8]) {
    let Ok(description) = Description::parse(data) else {
        return;
    };
    let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
    let medias: Vec<_> = description
        .medias()
        .iter()
        .map(|media| MediaRewrite::keep(media, address, media.port))
        .collect();
    let masked = OriginPolicy::Masked {
        session_id: 1,
        version: 1,
        address,
    };
    for origin in [OriginPolicy::Keep, OriginPolicy::Address(address), masked] {
        let rewrite = Rewrite {
            origin,
            session_address: Some(address),
            medias: medias.clone(),
        };
        let mut text = String::new();
        description.write(&rewrite, &mut text);
        let again = match Description::parse(text.as_bytes()) {
            Ok(again) => again,
            // It may grow past the limits: a static type gets its rtpmap.
            Err(SdpError::TooLong { .. } | SdpError::TooManyLines { .. }) => continue,
            Err(error) => panic!("{error}: {text:?}"),
        };
        assert_eq!(again.medias().len(), description.medias().len(), "{text:?}");
        for (before, after) in description.medias().iter().zip(again.medias()) {
            assert_same(before, after, origin == masked);
        }
    }
}

fn assert_same(before: &Media, after: &Media, masked: bool) {
    assert_eq!((&before.kind, before.port), (&after.kind, after.port));
    assert_eq!(before.transport, after.transport);
    if before.rejected() {
        return;
    }
    let rtp_or_udptl = before.is_rtp() || before.is_udptl();
    assert!(!rtp_or_udptl || before.direction == after.direction);
    assert_eq!(before.ptime, after.ptime);
    assert!(!before.is_rtp() || before.rtcp_mux == after.rtcp_mux);
    if !masked {
        assert_eq!(before.codecs, after.codecs);
        assert_eq!(before.mid, after.mid);
    }
}

/// WAV: whatever the sizes say, there is no more audio than bytes.
pub fn wav(data: &[u8]) {
    if clip::sniff(data).is_some() {
        return decoded(data);
    }
    let mut file = b"RIFF\xff\xff\xff\xffWAVE".to_vec();
    file.extend_from_slice(data);
    decoded(&file);
}

/// MPEG audio, found by its frames, or because a tag claims that it is some.
pub fn mp3(data: &[u8]) {
    if clip::sniff(data).is_some() {
        return decoded(data);
    }
    let mut file = b"ID3\x04\0\0\0\0\0\0".to_vec();
    file.extend_from_slice(data);
    decoded(&file);
}

/// Ogg Opus, also with every checksum made right, so that what is behind them is reached.
pub fn ogg_opus(data: &[u8]) {
    decoded(data);
    #[cfg(feature = "opus")]
    {
        let right = clip::with_ogg_checksums(data);
        if right != data {
            decoded(&right);
        }
    }
}

/// Decodes, and converts what is short enough to be quick.
fn decoded(bytes: &[u8]) {
    let Ok(clip) = Clip::decode(bytes) else {
        return;
    };
    assert!(!clip.samples().is_empty() && clip.bytes() <= CLIP_BYTES_MAX);
    // Other rates make filters that take long in a build without optimization.
    if clip.samples().len() <= 1000 && clip.rate_hz() == 8000 {
        let converted = clip.at_rate(16_000).expect("within every limit");
        assert_eq!(converted.samples().len(), 2 * clip.samples().len());
    }
}

/// A file that a recorder left: what was repaired is whole, no longer than it was but for a pad or
/// a last page, and is read to its end. Also with the checksum of every Ogg page made right.
pub fn recording(data: &[u8]) {
    repaired(data);
    let right = clip::with_ogg_checksums(data);
    if right != data {
        repaired(&right);
    }
}

fn repaired(data: &[u8]) {
    /// A page with an empty packet of 255 streams, all but one of two octets.
    const LAST_PAGE_LEN: usize = 27 + 2 + 2 * 255 - 1;
    read(data);
    let mut file = Cursor::new(data.to_vec());
    let Ok(first) = repair(&mut file) else {
        assert!(file.into_inner() == data, "what cannot be repaired stays");
        return;
    };
    let bytes = file.get_ref().clone();
    assert_eq!(bytes.len() as u64, first.bytes);
    assert!(bytes.len() <= data.len() + LAST_PAGE_LEN);
    let again = repair(&mut file).expect("what was repaired can be repaired");
    assert!(!again.changed && again.frames == first.frames);
    assert!(file.into_inner() == bytes);
    read(&bytes);
}

/// Reads a recording, and no more than a minute of what is said to be missing in it.
fn read(bytes: &[u8]) {
    let Ok(mut reader) = RecordingReader::open(Cursor::new(bytes)) else {
        return;
    };
    let info = reader.info();
    let channels = usize::from(info.channels);
    let (mut frames, mut out) = (0, vec![0; 9_600 * channels]);
    while frames < 60 * u64::from(info.rate_hz) {
        let count = reader.read(&mut out).expect("bytes in memory");
        if count == 0 {
            break;
        }
        assert!(count.is_multiple_of(channels));
        frames += (count / channels) as u64;
    }
    assert!(frames <= info.frames);
}

/// Calls of an Opus decoder in any order with any payloads: what `samples` says is what `decode`
/// returns, and nothing is written beyond it. Then the octets as parameters of SDP.
///
/// First an octet that chooses the rate; then calls, each an octet for which, two for the length
/// of its octets (or samples to make up), and those.
///
/// # Panics
///
/// If a promise is broken.
pub fn opus_payload(data: &[u8]) {
    let Some((rate, mut calls)) = data.split_first() else {
        return;
    };
    let pcm_hz = [8_000, 16_000, 24_000, 48_000][usize::from(rate & 3)];
    let config = CodecConfig {
        opus: OpusConfig::at(pcm_hz),
        ..CodecConfig::new(CodecKind::Opus)
    };
    let Ok(mut decoder) = Decoder::new(&config) else {
        return;
    };
    let longest = (pcm_hz / 1_000 * PACKET_MS_MAX) as usize;
    let mut out = vec![0; longest + 1];
    for _ in 0..OPUS_CALLS_MAX {
        let Some(([call, high, low], rest)) = calls.split_first_chunk() else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (octets, rest) = rest.split_at(length.min(rest.len()));
        calls = rest;
        let room = length.min(out.len());
        match call & 7 {
            0..=3 => {
                let expected = decoder.samples(octets);
                assert!(expected.is_ok_and(|n| (1..=longest).contains(&n)) || expected.is_err());
                out[longest] = 0x55;
                let decoded = decoder.decode(octets, &mut out);
                assert!(decoded.is_err() || decoded == expected);
                assert_eq!(out[longest], 0x55);
            }
            4 => {
                let least = usize::from(*low).min(longest);
                assert!(!decoder.decode_fec(octets, &mut out[..least]) || least > 0);
            }
            5 => assert!(!decoder.decode_fec(octets, &mut out[..room]) || !octets.is_empty()),
            6 => assert!(!decoder.conceal(&mut out[..room]) || room > 0),
            _ => decoder.reset(),
        }
    }
    let fmtp = Fmtp::parse(&String::from_utf8_lossy(data));
    assert_eq!(Fmtp::parse(&fmtp.to_string()), fmtp);
}

/// Keeps a run short, however many calls its octets hold.
const OPUS_CALLS_MAX: usize = 64;
