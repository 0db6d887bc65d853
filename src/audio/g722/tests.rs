use super::band::quotient;
use super::tables::{LOW_CODES, LOW_DECISIONS, LOW_STEPS};
use super::*;

/// Integers only, so that every machine makes the same: two triangles of gliding frequency
/// and noise, each second at another loudness, up to clipping.
fn synthetic(samples: usize) -> Vec<i16> {
    let (mut random, mut phases) = (1u32, [0u32; 2]);
    let triangle = |phase: u32| {
        let folded = i64::from(phase.cast_signed()).abs();
        (folded - (1 << 30)) >> 15
    };
    (0..samples)
        .map(|n| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let glide = (n as u32 % 40_000) * 40_000;
            phases[0] = phases[0].wrapping_add(50_000_000 + glide / 16);
            phases[1] = phases[1].wrapping_add(900_000_000 + glide);
            let noise = i64::from((random >> 16) as u16) - 32_768;
            let all = 2 * triangle(phases[0]) + triangle(phases[1]) / 2 + noise / 16;
            let loudness = [1, 60, 300, 1_000, 3][n / 16_000 % 5];
            short(saturate((all * loudness / 1_000) as i32))
        })
        .collect()
}

fn tone(hz: f64, amplitude: f64, samples: usize) -> Vec<i16> {
    let step = std::f64::consts::TAU * hz / f64::from(PCM_HZ);
    (0..samples)
        .map(|n| (amplitude * (step * n as f64).sin()) as i16)
        .collect()
}

fn encoded(pcm: &[i16]) -> Vec<u8> {
    let mut out = vec![0; pcm.len() / 2];
    assert_eq!(Encoder::new().encode(pcm, &mut out), out.len());
    out
}

fn decoded(octets: &[u8]) -> Vec<i16> {
    let mut out = vec![0; octets.len() * 2];
    assert_eq!(Decoder::new().decode(octets, &mut out), out.len());
    out
}

/// Both filters together delay by 22 samples (section 6.2).
const DELAY: usize = 22;

fn snr_db(original: &[i16], heard: &[i16]) -> f64 {
    let pairs = || original[1_600..].iter().zip(&heard[1_600 + DELAY..]);
    let signal: f64 = pairs().map(|(a, _)| f64::from(*a).powi(2)).sum();
    let noise: f64 = pairs()
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    10.0 * (signal / noise.max(1e-9)).log10()
}

/// FNV-1a.
fn checksum(octets: impl IntoIterator<Item = u8>) -> u64 {
    octets
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, octet| {
            (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        })
}

fn octets(pcm: &[i16]) -> impl Iterator<Item = u8> {
    pcm.iter().flat_map(|sample| sample.to_le_bytes())
}

/// Ten seconds, compared with FFmpeg 5.1.9 in both directions and found equal octet by octet:
/// `ffmpeg -f s16le -ar 16000 -ac 1 -i in.s16 -f g722 out.g722`, and back. The same holds for
/// random octets, which no encoder sends.
#[test]
fn output_is_that_of_an_independent_implementation() {
    let encoded = encoded(&synthetic(160_000));
    assert_eq!(checksum(encoded.iter().copied()), 0xd8f4_acc4_845a_a2a1);
    assert_eq!(checksum(octets(&decoded(&encoded))), 0x89b8_658b_a217_7670);
    let mut random = fastrand::Rng::with_seed(722);
    let random: Vec<u8> = (0..80_000).map(|_| random.u8(..)).collect();
    assert_eq!(checksum(octets(&decoded(&random))), 0x05eb_d98a_f940_b3df);
}

#[test]
fn tones_come_back() {
    // Measured 62, 47, 41, 27 and 36 dB: the high band has two bits.
    for (hz, amplitude, least_db) in [
        (300.0, 10_000.0, 60.0),
        (1_000.0, 10_000.0, 45.0),
        (3_000.0, 10_000.0, 39.0),
        (6_000.0, 10_000.0, 25.0),
        (1_000.0, 300.0, 34.0),
    ] {
        let pcm = tone(hz, amplitude, 32_000);
        let snr_db = snr_db(&pcm, &decoded(&encoded(&pcm)));
        assert!(snr_db > least_db, "{hz} Hz at {amplitude}: {snr_db} dB");
    }
}

#[test]
fn silence_stays_silent_and_the_loudest_clips() {
    let silence = decoded(&encoded(&[0; 3_200]));
    assert!(silence.iter().all(|sample| sample.abs() <= 8));
    let square: Vec<i16> = (0..3_200)
        .map(|n| [i16::MAX, i16::MIN][n / 20 % 2])
        .collect();
    let heard = decoded(&encoded(&square));
    assert!(heard.iter().any(|sample| *sample > 32_000));
}

#[test]
fn frames_join_without_a_seam_and_a_reset_starts_anew() {
    let pcm = synthetic(3_200);
    let whole = encoded(&pcm);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let (mut pieces, mut heard) = (Vec::new(), Vec::new());
    for frame in pcm.chunks(320) {
        let (mut octets, mut out) = ([0; 160], [0; 320]);
        assert_eq!(encoder.encode(frame, &mut octets), 160);
        assert_eq!(decoder.decode(&octets, &mut out), 320);
        pieces.extend(octets);
        heard.extend(out);
    }
    assert_eq!(pieces, whole);
    assert_eq!(heard, decoded(&whole));
    encoder.reset();
    decoder.reset();
    let (mut octets, mut out) = ([0; 1_600], [0; 3_200]);
    assert_eq!(encoder.encode(&pcm, &mut octets), 1_600);
    assert_eq!(octets[..], whole[..]);
    assert_eq!(decoder.decode(&whole, &mut out), 3_200);
    assert_eq!(out[..], heard[..]);
}

#[test]
fn slices_are_kept_to() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    assert_eq!(encoder.encode(&[1; 5], &mut [0; 9]), 2);
    assert_eq!(encoder.encode(&[1; 6], &mut [0; 2]), 2);
    assert_eq!(encoder.encode(&[1], &mut [0; 2]), 0);
    assert_eq!(decoder.decode(&[1; 5], &mut [0; 9]), 8);
    assert_eq!(decoder.decode(&[1; 5], &mut [0; 1]), 0);
    assert_eq!(decoder.decode(&[1; 2], &mut [0; 9]), 4);
}

/// Amplitude of the part of `heard` at `hz`, from `skip` on.
fn level(heard: &[i16], hz: f64, rate_hz: f64, skip: usize) -> f64 {
    let step = std::f64::consts::TAU * hz / rate_hz;
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in heard.iter().enumerate().skip(skip) {
        re += f64::from(*sample) * (step * n as f64).cos();
        im += f64::from(*sample) * (step * n as f64).sin();
    }
    2.0 * re.hypot(im) / (heard.len() - skip) as f64
}

fn tone_at(hz: f64, rate_hz: f64, samples: usize) -> Vec<i16> {
    let step = std::f64::consts::TAU * hz / rate_hz;
    let tone = (0..samples).map(|n| 8_000.0 * (step * n as f64).sin());
    tone.map(|sample| sample.round() as i16).collect()
}

fn narrow_encoded(pcm: &[i16]) -> Vec<u8> {
    let mut out = vec![0; pcm.len()];
    assert_eq!(Encoder::new().encode_narrow(pcm, &mut out), out.len());
    out
}

fn narrow_decoded(octets: &[u8]) -> Vec<i16> {
    let mut out = vec![0; octets.len()];
    assert_eq!(Decoder::new().decode_narrow(octets, &mut out), out.len());
    out
}

/// One filter instead of two lies between the rates, and it is 0.4 dB down at 3.4 kHz.
#[test]
fn tones_of_a_telephone_keep_their_level_between_the_rates() {
    for hz in [300.0, 440.0, 1_000.0, 1_700.0, 2_400.0, 3_000.0, 3_400.0] {
        let (narrow, wide) = (tone_at(hz, 8e3, 8_000), tone_at(hz, 16e3, 16_000));
        let ways = [
            (decoded(&narrow_encoded(&narrow)), 16e3),
            (narrow_decoded(&encoded(&wide)), 8e3),
            (narrow_decoded(&narrow_encoded(&narrow)), 8e3),
        ];
        for (way, (heard, rate_hz)) in ways.iter().enumerate() {
            let db = 20.0 * (level(heard, hz, *rate_hz, 800) / 8_000.0).log10();
            assert!(db.abs() < 0.5, "way {way}, {hz} Hz: {db} dB");
        }
        // What the missing band would have cancelled.
        let image = level(&ways[0].0, 8_000.0 - hz, 16e3, 800);
        let db = 20.0 * (image / 8_000.0).log10();
        let least_db = if hz < 3_200.0 { -20.0 } else { -10.0 };
        assert!(db < least_db, "{hz} Hz: image at {db} dB");
    }
}

/// Half of [`DELAY`] between the rates, and none where both are narrow.
#[test]
fn telephone_quality_comes_back_in_time() {
    let smooth = |at: f64| 6_000.0 * (at * 0.11).sin() + 3_000.0 * (at * 0.037).cos();
    let sound = |samples: usize, scale: f64| -> Vec<i16> {
        let at = (0..samples).map(|n| smooth(n as f64 * scale) as i16);
        at.collect()
    };
    let (narrow, wide) = (sound(8_000, 2.0), sound(16_000, 1.0));
    let ratio_db = |wanted: &dyn Fn(usize) -> f64, heard: &[i16]| {
        let pairs = || heard.iter().enumerate().skip(800);
        let signal: f64 = pairs().map(|(n, _)| wanted(n).powi(2)).sum();
        let noise: f64 = pairs()
            .map(|(n, s)| (f64::from(*s) - wanted(n)).powi(2))
            .sum();
        10.0 * (signal / noise).log10()
    };
    // 24 taps delay by 11.5 samples of 16 kHz; the samples of 8 kHz lie where pairs end.
    let half = DELAY as f64 / 2.0 + 0.5;
    let up = decoded(&narrow_encoded(&narrow));
    let up_db = ratio_db(&|n| smooth(n as f64 - half), &up);
    let down = narrow_decoded(&encoded(&wide));
    let down_db = ratio_db(&|n| smooth(2.0 * n as f64 + 1.0 - half), &down);
    let both = narrow_decoded(&narrow_encoded(&narrow));
    let both_db = ratio_db(&|n| smooth(2.0 * n as f64), &both);
    for (way, db) in [("up", up_db), ("down", down_db), ("both", both_db)] {
        assert!(db > 40.0, "{way}: {db} dB");
    }
}

#[test]
fn nothing_above_four_kilohertz_has_one_code_forever() {
    let mut encoder = Band::new();
    for _ in 0..100 {
        let mut all = encoder.open();
        for at in 0..BLOCK {
            assert_eq!(encoder.encode_high(0, &mut all, at) << 6, SILENT_HIGH);
        }
        encoder.close(&all, BLOCK);
    }
    let (mut decoder, mut out) = (Band::new(), [1; BLOCK]);
    decoder.decode_high(&[SILENT_HIGH; BLOCK], &mut out);
    assert_eq!(out, [0; BLOCK]);
}

/// Thirty comparisons, as the Recommendation has it, against the division and its table.
#[test]
fn magnitudes_fall_into_the_intervals_of_the_recommendation() {
    for (place, step) in LOW_STEPS.iter().enumerate() {
        let reached = |level: u16| (i32::from(level) * i32::from(*step)) >> 12;
        let near = LOW_DECISIONS.iter().map(|level| reached(*level));
        let near = near.flat_map(|at| [at - 1, at, at + 1]);
        for magnitude in near.chain([0, 32_767]).filter(|at| *at >= 0) {
            let interval = LOW_DECISIONS.iter().filter(|l| reached(**l) <= magnitude);
            let code = 61 - interval.count() as u8;
            assert_eq!(
                LOW_CODES[0][quotient(magnitude, place)],
                code,
                "{magnitude} {step}"
            );
        }
    }
}

/// Energy of the difference of two sounds.
fn distance(one: &[i16], other: &[i16]) -> f64 {
    let pairs = one.iter().zip(other);
    pairs
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum()
}

#[test]
fn a_decoder_that_followed_what_was_played_is_nearer_afterwards() {
    let pcm: Vec<i16> = synthetic(80_000).split_off(40_000);
    let narrow: Vec<i16> = pcm.iter().step_by(2).copied().collect();
    let whole = [
        decoded(&encoded(&pcm)),
        narrow_decoded(&narrow_encoded(&narrow)),
    ];
    let (mut stale, mut followed) = ([0.0; 2], [0.0; 2]);
    for lost in (10..120).step_by(7) {
        let codes = encoded(&pcm);
        let [mut one, mut two] = [Decoder::new(), Decoder::new()];
        let mut out = vec![0; 2 * 160 * lost];
        one.decode(&codes[..160 * lost], &mut out);
        two.decode(&codes[..160 * lost], &mut out);
        two.follow(&whole[0][320 * lost..][..320 + FOLLOW_AHEAD]);
        for (decoder, off) in [(&mut one, &mut stale), (&mut two, &mut followed)] {
            let mut next = [0; 320];
            decoder.decode(&codes[160 * (lost + 1)..][..160], &mut next);
            off[0] += distance(&next, &whole[0][320 * (lost + 1)..][..320]);
        }
        let codes = narrow_encoded(&narrow);
        let [mut one, mut two] = [Decoder::new(), Decoder::new()];
        one.decode_narrow(&codes[..160 * lost], &mut out);
        two.decode_narrow(&codes[..160 * lost], &mut out);
        two.follow_narrow(&whole[1][160 * lost..][..160]);
        for (decoder, off) in [(&mut one, &mut stale), (&mut two, &mut followed)] {
            let mut next = [0; 160];
            decoder.decode_narrow(&codes[160 * (lost + 1)..][..160], &mut next);
            off[1] += distance(&next, &whole[1][160 * (lost + 1)..][..160]);
        }
    }
    assert!(
        followed[0] * 3.0 < stale[0] && followed[1] * 3.0 < stale[1],
        "{followed:?} {stale:?}"
    );
}
