//! Codecs allocate when they are made and never after. (What libopus itself takes is not seen
//! here: it says that it takes nothing but stack.)

use crosspoint::audio::codec::{CodecConfig, CodecKind, Decoder, Encoder};
use crosspoint::audio::comfort::{Analyser, Generator};

use crate::CALLS;

/// Everything a codec does in a call, from the first frame on.
fn work(encoder: &mut Encoder, decoder: &mut Decoder, pcm: &[i16]) {
    let (mut payload, mut out) = ([0; 4_000], [0; 960]);
    for round in 0u16..20 {
        encoder.set_loss(round * 10);
        let octets = encoder.encode(pcm, &mut payload).expect("a frame");
        if round % 5 == 4 {
            let repaired = decoder.decode_fec(&payload[..octets], &mut out[..pcm.len()]);
            let _ = repaired || decoder.conceal(&mut out[..pcm.len()]);
        }
        decoder.decode(&payload[..octets], &mut out).expect("sound");
        decoder.decode(&[], &mut out).expect_err("empty");
    }
    encoder.reset();
    decoder.reset();
}

#[test]
fn frames_allocate_nothing() {
    for name in [
        "PCMU/8000",
        "PCMA/8000",
        "G722/8000",
        "L16/48000/2",
        "opus/48000/2",
    ] {
        let kind = CodecKind::from_rtpmap(name).expect("known");
        let config = CodecConfig::new(kind);
        let before = CALLS.get();
        let (Ok(mut encoder), Ok(mut decoder)) = (Encoder::new(&config), Decoder::new(&config))
        else {
            assert!(kind == CodecKind::Opus && !cfg!(feature = "opus"));
            continue;
        };
        assert!(
            kind != CodecKind::G722 || CALLS.get() > before,
            "the counter counts"
        );
        let pcm = vec![1_234; (encoder.pcm_hz() / 50) as usize];
        let before = CALLS.get();
        work(&mut encoder, &mut decoder, &pcm);
        assert_eq!(CALLS.get(), before, "{name}");
    }
}

#[test]
fn comfort_noise_allocates_nothing() {
    let (pcm, mut out, mut payload) = ([100; 160], [0; 160], [0; 16]);
    let before = CALLS.get();
    let (mut generator, mut analyser) = (Generator::new(8_000, 1), Analyser::new(10));
    for _ in 0..10 {
        analyser.hear(&pcm);
        let noise = analyser.noise().expect("heard");
        noise.write(&mut payload);
        generator.set(&noise);
        generator.fill(&mut out);
    }
    assert_eq!(CALLS.get(), before);
}
