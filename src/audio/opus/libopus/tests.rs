#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "test signals are small"
)]

use super::super::Fmtp;
use super::*;

/// Something like a voice: a gliding pitch with six harmonics, fading in and out four times a
/// second.
fn voice(pcm_hz: u32, ms: u32) -> Vec<i16> {
    let (mut phase, rate) = (0f64, f64::from(pcm_hz));
    (0..pcm_hz / 1_000 * ms)
        .map(|n| {
            let t = f64::from(n) / rate;
            phase += std::f64::consts::TAU * (140.0 + 30.0 * (2.0 * t).sin()) / rate;
            let sum: f64 = (1..=6)
                .map(|h| (f64::from(h) * phase).sin() / f64::from(h))
                .sum();
            let syllable = (std::f64::consts::PI * 4.0 * t).sin().abs();
            (4_000.0 * sum * syllable) as i16
        })
        .collect()
}

fn power(pcm: &[i16]) -> f64 {
    pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / pcm.len() as f64
}

/// Best signal-to-difference ratio in dB over all delays up to 20 ms.
fn likeness(original: &[i16], heard: &[i16], pcm_hz: u32) -> f64 {
    let most = pcm_hz as usize / 50;
    let ratio = |delay: usize| {
        let pairs = original.iter().zip(&heard[delay..]);
        let difference: f64 = pairs
            .clone()
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum();
        let signal: f64 = pairs.map(|(a, _)| f64::from(*a).powi(2)).sum();
        10.0 * (signal / difference.max(1.0)).log10()
    };
    (0..most).map(ratio).fold(f64::MIN, f64::max)
}

fn config(pcm_hz: u32) -> OpusConfig {
    OpusConfig::at(pcm_hz)
}

fn both(config: &OpusConfig) -> (Encoder, Decoder) {
    let encoder = Encoder::new(config).expect("a rate of Opus");
    (encoder, Decoder::new(config).expect("a rate of Opus"))
}

/// Packets of 20 ms.
fn packets(encoder: &mut Encoder, pcm: &[i16]) -> Vec<Vec<u8>> {
    let frame = encoder.pcm_hz() as usize / 50;
    let mut out = [0; FRAME_OCTETS_MAX];
    pcm.chunks_exact(frame)
        .map(|frame| {
            let length = encoder.encode(frame, &mut out).expect("fits");
            out[..length].to_vec()
        })
        .collect()
}

#[test]
fn speech_survives_at_every_rate() {
    for pcm_hz in [8_000, 16_000, 24_000, 48_000] {
        let (mut encoder, mut decoder) = both(&OpusConfig {
            bitrate_bps: 40_000,
            ..config(pcm_hz)
        });
        let original = voice(pcm_hz, 400);
        let mut heard = Vec::new();
        for packet in packets(&mut encoder, &original) {
            let mut out = vec![0; decoder_frame(&decoder)];
            assert_eq!(samples(&packet, pcm_hz), Ok(out.len()));
            assert_eq!(decoder.decode(&packet, &mut out), Ok(out.len()));
            heard.extend(out);
        }
        let likeness = likeness(&original, &heard, pcm_hz);
        // Opus keeps what is heard rather than the waveform: 7.7 dB at 8 kHz.
        assert!(likeness > 6.0, "{pcm_hz}: {likeness} dB");
    }
}

fn decoder_frame(decoder: &Decoder) -> usize {
    decoder.pcm_hz() as usize / 50
}

#[test]
fn every_frame_length_is_taken_and_no_other() {
    let (mut encoder, mut decoder) = both(&config(16_000));
    let pcm = voice(16_000, 240);
    let (mut payload, mut out) = ([0; 2_000], [0; 1_920]);
    for tenths_ms in [25, 50, 100, 200, 400, 600, 800, 1_000, 1_200] {
        let length = tenths_ms * 16 / 10;
        let octets = encoder
            .encode(&pcm[..length], &mut payload)
            .expect("a length of Opus");
        assert!(octets <= FRAME_OCTETS_MAX);
        assert_eq!(decoder.decode(&payload[..octets], &mut out), Ok(length));
        let need = CodecError::OutputTooSmall { need: length };
        assert_eq!(
            decoder.decode(&payload[..octets], &mut out[..length - 1]),
            Err(need)
        );
    }
    for length in [0, 1, 39, 41, 120, 321, 480, 2_240, 3_840] {
        assert_eq!(
            encoder.encode(&pcm[..length], &mut payload),
            Err(CodecError::FrameLength)
        );
    }
    let need = CodecError::OutputTooSmall {
        need: OUTPUT_OCTETS_MIN,
    };
    let small = &mut payload[..OUTPUT_OCTETS_MIN - 1];
    assert_eq!(encoder.encode(&pcm[..320], small), Err(need));
    let enough = &mut payload[..OUTPUT_OCTETS_MIN];
    assert!(encoder.encode(&pcm[..320], enough).is_ok());
}

#[test]
fn only_rates_of_opus_are_taken() {
    for pcm_hz in [0, 8_001, 44_100, 96_000] {
        assert_eq!(Encoder::new(&config(pcm_hz)).err(), Some(CodecError::Rate));
        assert_eq!(Decoder::new(&config(pcm_hz)).err(), Some(CodecError::Rate));
    }
    // Everything else is brought into range.
    let wild = OpusConfig {
        bitrate_bps: 0,
        complexity: 255,
        max_playback_rate_hz: 0,
        ..config(48_000)
    };
    assert!(Encoder::new(&wild).is_ok());
    let bitrate_bps = u32::MAX;
    assert!(
        Encoder::new(&OpusConfig {
            bitrate_bps,
            ..wild
        })
        .is_ok()
    );
}

#[test]
fn bit_rate_and_bandwidth_are_kept() {
    let pcm = voice(48_000, 2_000);
    let rate = |config: &OpusConfig| {
        let (mut encoder, _) = both(config);
        let packets = packets(&mut encoder, &pcm);
        let widest = packets.iter().map(|p| p[0] >> 3).max().expect("packets");
        (
            packets.iter().map(Vec::len).sum::<usize>() * 4,
            widest,
            packets,
        )
    };
    let (low, ..) = rate(&OpusConfig {
        bitrate_bps: 12_000,
        ..config(48_000)
    });
    let (high, ..) = rate(&OpusConfig {
        bitrate_bps: 64_000,
        ..config(48_000)
    });
    assert!(
        low < 15_000 && (40_000..80_000).contains(&high),
        "{low} {high}"
    );
    let constant = OpusConfig {
        cbr: true,
        max_playback_rate_hz: 8_000,
        ..config(48_000)
    };
    let (_, widest, packets) = rate(&constant);
    // Configurations 0–3 are SILK in narrow band, 16–19 CELT.
    assert!(widest < 4 || (16..20).contains(&widest), "{widest}");
    assert!(
        packets.iter().all(|p| p.len() == 80),
        "32 kbit/s are 80 octets in 20 ms"
    );
}

#[test]
fn silence_is_not_sent_if_so_asked() {
    for dtx in [true, false] {
        let (mut encoder, _) = both(&OpusConfig {
            dtx,
            ..config(16_000)
        });
        packets(&mut encoder, &voice(16_000, 500));
        let silent = packets(&mut encoder, &[0; 32_000]);
        let unsent = silent.iter().filter(|packet| packet.is_empty()).count();
        // Some are sent now and then, to keep the background alive.
        assert_eq!(unsent > 80, dtx, "{unsent} of {}", silent.len());
        assert!(unsent < silent.len());
    }
}

#[test]
fn redundancy_follows_the_loss() {
    let (mut encoder, _) = both(&config(16_000));
    for (permille, sends) in [
        (0, false),
        (FEC_ON_PERMILLE - 1, false),
        (FEC_ON_PERMILLE, true),
        (FEC_OFF_PERMILLE, true),
        (FEC_OFF_PERMILLE - 1, false),
        (u16::MAX, true),
    ] {
        encoder.set_loss(permille);
        assert_eq!(encoder.sends_fec(), sends, "{permille}");
    }
    for (bitrate_bps, fec, sends) in [
        (FEC_BITRATE_MIN, true, true),
        (FEC_BITRATE_MIN - 1, true, false),
        (FEC_BITRATE_MIN, false, false),
    ] {
        let (mut encoder, _) = both(&OpusConfig {
            bitrate_bps,
            fec,
            ..config(16_000)
        });
        encoder.set_loss(100);
        assert_eq!(encoder.sends_fec(), sends, "{bitrate_bps} {fec}");
    }
}

/// Loses every fifth packet; the ratio in dB of what is heard without loss to the difference that
/// remains after repair.
fn after_loss(pcm_hz: u32, repair: impl Fn(&mut Decoder, &[u8], &mut [i16])) -> f64 {
    let (mut encoder, mut decoder) = both(&config(pcm_hz));
    encoder.set_loss(200);
    let original = voice(pcm_hz, 3_000);
    let packets = packets(&mut encoder, &original);
    let frame = decoder_frame(&decoder);
    let (mut signal, mut difference) = (0.0, 0.0);
    let mut lossless = Decoder::new(&config(pcm_hz)).expect("a rate of Opus");
    for (ix, packet) in packets.iter().enumerate() {
        let (mut out, mut wanted) = (vec![0; frame], vec![0; frame]);
        assert_eq!(lossless.decode(packet, &mut wanted), Ok(frame));
        match packets.get(ix + 1) {
            Some(next) if ix % 5 == 4 => repair(&mut decoder, next, &mut out),
            _ => assert_eq!(decoder.decode(packet, &mut out), Ok(frame)),
        }
        signal += power(&wanted);
        out.iter_mut()
            .zip(&wanted)
            .for_each(|(out, wanted)| *out -= wanted);
        difference += power(&out);
    }
    10.0 * f64::log10(signal / difference)
}

#[test]
fn redundancy_repairs_better_than_concealment_and_that_better_than_silence() {
    for pcm_hz in [8_000, 16_000] {
        // At 8 kHz the default bit rate is too low for redundancy.
        let fec = after_loss(pcm_hz, |decoder, next, out| {
            let repaired = decoder.decode_fec(next, out) || decoder.conceal(out);
            assert!(repaired);
        });
        let concealed = after_loss(pcm_hz, |decoder, _, out| assert!(decoder.conceal(out)));
        let silence = after_loss(pcm_hz, |decoder, _, out| {
            assert!(decoder.conceal(out));
            out.fill(0);
        });
        println!("{pcm_hz}: FEC {fec:.1} dB, PLC {concealed:.1} dB, silence {silence:.1} dB");
        assert!(concealed > silence + 0.5, "{concealed} {silence}");
        if pcm_hz == 16_000 {
            assert!(fec > concealed + 0.5, "{fec} {concealed}");
        }
    }
}

#[test]
fn packets_say_whether_they_carry_redundancy() {
    let (mut encoder, mut decoder) = both(&config(16_000));
    let pcm = voice(16_000, 1_000);
    let without = packets(&mut encoder, &pcm);
    assert!(without.iter().all(|packet| !has_fec(packet)));
    let mut out = [7; 320];
    assert!(!decoder.decode_fec(&without[9], &mut out));
    assert!(out.iter().all(|sample| *sample == 7), "nothing done");
    encoder.set_loss(200);
    let with = packets(&mut encoder, &pcm);
    let count = with.iter().filter(|packet| has_fec(packet)).count();
    assert!(count > with.len() / 2, "{count} of {}", with.len());
    let carrying = with
        .iter()
        .find(|packet| has_fec(packet))
        .expect("one does");
    assert!(
        !decoder.decode_fec(carrying, &mut out[..160]),
        "shorter than a frame"
    );
    assert!(!decoder.decode_fec(carrying, &mut [0; 321]));
    assert!(!decoder.decode_fec(carrying, &mut []));
    assert!(decoder.decode_fec(carrying, &mut out));
    assert!(
        decoder.decode_fec(carrying, &mut [0; 640]),
        "two lost, one known"
    );
}

#[test]
fn concealment_takes_what_libopus_can() {
    let mut decoder = Decoder::new(&config(16_000)).expect("a rate of Opus");
    let mut out = vec![1; 2_000];
    // Before the first packet there is nothing to go on: silence.
    assert!(decoder.conceal(&mut out[..320]));
    assert!(out[..320].iter().all(|sample| *sample == 0));
    for (length, can) in [
        (0, false),
        (39, false),
        (40, true),
        (1_920, true),
        (1_960, false),
    ] {
        assert_eq!(decoder.conceal(&mut out[..length]), can, "{length}");
    }
}

#[test]
fn stereo_is_heard_in_mono() {
    let mut libopus =
        opus2::Encoder::new(48_000, Channels::Stereo, Application::Audio).expect("libopus");
    libopus.set_bitrate(Bitrate::Bits(96_000)).expect("libopus");
    let mut decoder = Decoder::new(&config(16_000)).expect("a rate of Opus");
    let mono = voice(48_000, 500);
    // One side only: half of it must be heard.
    let stereo: Vec<i16> = mono.iter().flat_map(|sample| [*sample, 0]).collect();
    let (mut payload, mut heard) = ([0; 1_275], Vec::new());
    for frame in stereo.chunks_exact(1_920) {
        let octets = libopus.encode(frame, &mut payload).expect("libopus");
        let mut out = [0; 320];
        assert_eq!(decoder.decode(&payload[..octets], &mut out), Ok(320));
        heard.extend(out);
    }
    let ratio = power(&heard) / power(&mono);
    assert!((0.15..0.35).contains(&ratio), "{ratio}");
}

#[test]
fn length_agrees_with_libopus_on_every_first_octet() {
    for toc in 0..=255u8 {
        for count in [0u8, 1, 2, 6, 7, 48, 49, 63, 0x82, 0xc6] {
            let payload = [toc, count, 0, 0];
            for pcm_hz in [8_000, 48_000] {
                let theirs = opus2::packet::get_nb_samples(&payload, pcm_hz).ok();
                let ours = samples(&payload, pcm_hz).ok();
                assert_eq!(ours, theirs.filter(|samples| *samples > 0), "{payload:?}");
            }
        }
    }
}

#[test]
fn hostile_payloads_are_refused_and_do_no_harm() {
    let (mut encoder, mut decoder) = both(&config(48_000));
    let mut out = vec![0; 5_760];
    assert_eq!(decoder.decode(&[], &mut out), Err(CodecError::Empty));
    // A frame of 1,275 octets is the longest; code 0 is one frame.
    let frame = |length: usize| [vec![31 << 3], vec![0x55; length]].concat();
    assert_eq!(decoder.decode(&frame(1_275), &mut out), Ok(960));
    assert_eq!(
        decoder.decode(&frame(1_276), &mut out),
        Err(CodecError::Malformed)
    );
    assert_eq!(
        decoder.decode(&frame(65_000), &mut out),
        Err(CodecError::Malformed)
    );
    // Seven frames of 20 ms, and code 3 without its count.
    assert_eq!(
        decoder.decode(&[31 << 3 | 3, 7, 1, 2], &mut out),
        Err(CodecError::TooLong)
    );
    assert_eq!(
        decoder.decode(&[31 << 3 | 3], &mut out),
        Err(CodecError::Malformed)
    );
    // Only the first octet: an empty frame, as encoders send in silence, in all codes that allow.
    for toc in 0..=255u8 {
        let decoded = decoder.decode(&[toc], &mut out);
        assert_eq!(
            decoded,
            samples(&[toc], 48_000).and_then(|all| match toc & 3 {
                2 => Err(CodecError::Malformed),
                _ => Ok(all),
            })
        );
    }
    let mut random = fastrand::Rng::with_seed(6_716);
    let (mut fine, mut refused) = (0, 0);
    for _ in 0..4_000 {
        let mut payload = vec![0; random.usize(1..400)];
        random.fill(&mut payload);
        match decoder.decode(&payload, &mut out) {
            Ok(length) => {
                assert_eq!(samples(&payload, 48_000), Ok(length));
                fine += 1;
            }
            Err(_) => refused += 1,
        }
        decoder.decode_fec(&payload, &mut out[..960]);
    }
    assert!(fine > 500 && refused > 500, "{fine} {refused}");
    // And it still decodes what is sound.
    decoder.reset();
    let original = voice(48_000, 500);
    let mut heard = Vec::new();
    for packet in packets(&mut encoder, &original) {
        assert_eq!(decoder.decode(&packet, &mut out), Ok(960));
        heard.extend(&out[..960]);
    }
    assert!(likeness(&original, &heard, 48_000) > 5.0);
}

#[test]
fn what_a_peer_wants_reaches_the_encoder() {
    let wants = Fmtp::parse("maxplaybackrate=8000;cbr=1;maxaveragebitrate=16000");
    let (mut encoder, _) = both(&OpusConfig::for_peer(48_000, &wants));
    let packets = packets(&mut encoder, &voice(48_000, 400));
    assert!(
        packets
            .iter()
            .all(|packet| packet.len() == 40 && packet[0] >> 3 < 4)
    );
}

#[test]
fn a_reset_is_a_new_start() {
    let (mut encoder, mut decoder) = both(&config(16_000));
    let pcm = voice(16_000, 200);
    let first = packets(&mut encoder, &pcm);
    encoder.reset();
    assert_eq!(packets(&mut encoder, &pcm), first);
    let mut heard = [[0; 320]; 2];
    for out in &mut heard {
        for packet in &first {
            decoder.decode(packet, out).expect("sound");
        }
        decoder.reset();
    }
    assert_eq!(heard[0], heard[1]);
}
