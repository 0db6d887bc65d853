//! Captures: telephone-events and tones in RTP.

use crosspoint::audio::g711::{linear_to_alaw, linear_to_ulaw};

use super::made::{Rtp, datagram, pcap, pcapng, press, silence, spoken, stream};
use super::{Duration, Instant, error, fields, json, keys, lines, made, over, placed};

/// Two keys with speech before them and between them.
fn call(pt: u8, clock_hz: u32) -> Vec<Rtp> {
    let quiet = silence(8_000, 200);
    let mut packets = spoken(0, 100, 0, &quiet, linear_to_ulaw);
    packets.extend(press(200, 110, pt, 5, clock_hz));
    packets.extend(spoken(340, 117, 0, &quiet[..480], linear_to_ulaw));
    packets.extend(press(400, 120, pt, 11, clock_hz));
    packets
}

fn assert_call(lines: &[String]) {
    assert_eq!(keys(lines), "5#");
    for (line, pressed) in lines.iter().zip([200, 400]) {
        let (_, times, source) = fields(line);
        // The stream begins with its first packet, 20 ms after what that says.
        assert_eq!(times, [pressed - 20, pressed + 80, pressed], "{line}");
        assert_eq!(source, "telephone-event");
    }
}

fn invite(sdp_port: u16, maps: &str) -> Vec<u8> {
    let types = "0 8 9 96 97 98 101 111";
    format!(
        "INVITE sip:x@192.0.2.2 SIP/2.0\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\
         o=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n\
         m=audio {sdp_port} RTP/AVP {types}\r\n{maps}"
    )
    .into_bytes()
}

#[test]
fn events_are_known_by_their_shape_their_sdp_or_the_command_line() {
    for clock_hz in [8_000, 16_000, 48_000] {
        let frames = stream(&call(101, clock_hz));
        assert_call(&lines(&over(
            &format!("shape-{clock_hz}.pcap"),
            &pcap(&frames),
            &[],
        )));
        assert_call(&lines(&over(
            &format!("shape-{clock_hz}.pcapng"),
            &pcapng(&frames),
            &[],
        )));
        let said = format!("101/{clock_hz}");
        let options = ["--pt", &said, "--audio-pt", "0/8000"];
        assert_call(&lines(&over(
            &format!("said-{clock_hz}.pcap"),
            &pcap(&frames),
            &options,
        )));
        let map = format!("a=rtpmap:101 telephone-event/{clock_hz}\r\n");
        let sip = datagram(5_060, 5_060, &invite(5_000, &map));
        let frames = [vec![(0, sip)], frames].concat();
        assert_call(&lines(&over(
            &format!("sdp-{clock_hz}.pcap"),
            &pcap(&frames),
            &[],
        )));
    }
}

#[test]
fn the_command_line_beats_the_sdp_and_that_the_shape() {
    let frames = stream(&call(101, 8_000));
    let sip = datagram(5_060, 5_060, &invite(5_000, "a=rtpmap:101 iLBC/8000\r\n"));
    let file = pcap(&[vec![(0, sip)], frames].concat());
    assert_eq!(lines(&over("not-event.pcap", &file, &[])), [""; 0]);
    assert_call(&lines(&over(
        "not-event-said.pcap",
        &file,
        &["--pt", "101/8000"],
    )));
}

#[test]
fn payload_types_change_by_another_offer() {
    let mut packets = call(101, 8_000);
    packets.extend(press(600, 130, 97, 0, 8_000));
    let options = ["--pt", "101/8000", "--pt", "97/8000"];
    let file = pcap(&stream(&packets));
    assert_eq!(
        keys(&lines(&over("types-said.pcap", &file, &options))),
        "5#0"
    );
    assert_eq!(keys(&lines(&over("types.pcap", &file, &[]))), "5#0");
}

#[test]
fn lost_doubled_and_swapped_packets_change_nothing() {
    let packets = call(101, 8_000);
    for lost in 0..7 {
        let mut rest = packets.clone();
        rest.retain(|rtp| rtp.pt != 101 || (rtp.seq - 110) % 10 != lost);
        let lines = lines(&over(
            &format!("lost-{lost}.pcap"),
            &pcap(&stream(&rest)),
            &[],
        ));
        assert_eq!(keys(&lines), "5#", "packet {lost}");
    }
    let mut frames = stream(&packets);
    for n in (0..frames.len() - 1).step_by(2) {
        let (first, second) = (frames[n].0, frames[n + 1].0);
        frames.swap(n, n + 1);
        (frames[n].0, frames[n + 1].0) = (first, second);
    }
    let twice: Vec<_> = frames
        .iter()
        .flat_map(|frame| [frame.clone(), frame.clone()])
        .collect();
    assert_eq!(keys(&lines(&over("twice.pcap", &pcap(&twice), &[]))), "5#");
}

#[test]
fn a_press_whose_source_changes_is_one() {
    let mut packets = call(101, 8_000);
    for rtp in packets.iter_mut().filter(|rtp| rtp.at_ms > 240) {
        rtp.ssrc = 8;
    }
    assert_eq!(
        keys(&lines(&over("source.pcap", &pcap(&stream(&packets)), &[]))),
        "5#"
    );
}

#[test]
fn tones_are_heard_in_the_audio_of_each_codec() {
    let pcm = made::dialled(8_000, "147*");
    let ulaw = spoken(0, 1, 0, &pcm, linear_to_ulaw);
    let alaw = spoken(0, 1, 8, &pcm, linear_to_alaw);
    let dynamic = spoken(0, 1, 98, &pcm, linear_to_alaw);
    for (name, packets, options) in [
        ("pcmu", ulaw, &[][..]),
        ("pcma", alaw, &[]),
        ("dynamic", dynamic.clone(), &["--audio-pt", "98/8000/PCMA"]),
    ] {
        let lines = lines(&over(
            &format!("{name}.pcap"),
            &pcap(&stream(&packets)),
            options,
        ));
        assert_eq!(keys(&lines), "147*", "{name}");
        for (n, line) in lines.iter().enumerate() {
            let (_, [start, end, _], source) = fields(line);
            let pressed = 100 + 200 * n as i64;
            assert!(
                (start - pressed).abs() <= 10 && (end - pressed - 100).abs() <= 10,
                "{line}"
            );
            assert_eq!(source, "in-band");
        }
    }
    let sip = datagram(5_060, 5_060, &invite(5_000, "a=rtpmap:98 PCMA/8000\r\n"));
    let frames = [vec![(0, sip)], stream(&dynamic)].concat();
    assert_eq!(
        keys(&lines(&over("dynamic-sdp.pcap", &pcap(&frames), &[]))),
        "147*"
    );
}

#[test]
fn tones_in_g722_and_opus() {
    use crosspoint::audio::codec::{CodecConfig, CodecKind, Encoder};
    for (kind, pt, rate_hz, said) in [
        (CodecKind::G722, 9, 16_000, "9/8000"),
        #[cfg(feature = "opus")]
        (CodecKind::Opus, 96, 16_000, "96/48000/opus"),
    ] {
        let mut encoder = Encoder::new(&CodecConfig::new(kind)).unwrap();
        let pcm = made::dialled(rate_hz, "258");
        let frames = pcm.chunks_exact(rate_hz as usize / 50);
        let packets: Vec<Rtp> = frames
            .enumerate()
            .map(|(n, frame)| {
                let mut payload = vec![0; 1_500];
                let len = encoder.encode(frame, &mut payload).unwrap();
                payload.truncate(len);
                Rtp {
                    at_ms: 20 * n as u64,
                    ssrc: 7,
                    seq: n as u16,
                    timestamp: n as u32 * kind.clock_hz() / 50,
                    marker: n == 0,
                    pt,
                    payload,
                }
            })
            .collect();
        let lines = lines(&over(
            &format!("tones-{pt}.pcap"),
            &pcap(&stream(&packets)),
            &["--audio-pt", said],
        ));
        assert_eq!(keys(&lines), "258", "{kind:?}");
    }
}

#[test]
fn tones_survive_lost_packets() {
    let pcm = made::dialled(8_000, "147*");
    let mut packets = spoken(0, 65_530, 0, &pcm, linear_to_ulaw);
    // The third packet of the second key, and one between keys.
    packets.retain(|rtp| rtp.at_ms != 360 && rtp.at_ms != 480);
    let lines = lines(&over("lost-audio.pcap", &pcap(&stream(&packets)), &[]));
    assert_eq!(keys(&lines), "147*");
    let (_, [start, end, _], _) = fields(&lines[3]);
    assert!(
        (start - 700).abs() <= 10 && (end - 800).abs() <= 10,
        "{lines:?}"
    );
}

#[test]
fn an_event_and_what_is_left_of_its_tone_are_one_press() {
    // A gateway that needed 60 ms to know the key.
    let mut pcm = silence(8_000, 200);
    pcm.extend(made::tone(8_000, '5', 60));
    let mut packets = spoken(0, 100, 0, &pcm, linear_to_ulaw);
    packets.extend(press(260, 113, 101, 5, 8_000));
    let file = pcap(&stream(&packets));
    let output = lines(&over("residue.pcap", &file, &[]));
    assert_eq!(keys(&output), "5");
    let (_, [start, _, report], source) = fields(&output[0]);
    assert!((start - 200).abs() <= 10 && report <= 250, "{output:?}");
    assert_eq!(source, "telephone-event");
    let output = lines(&over("residue-json.pcap", &file, &["--json"]));
    let line = json(&output[0]);
    assert_eq!(line["also_in_band"], true, "{line}");
    assert_eq!((&line["ssrc"], &line["event"]), (&7.into(), &5.into()));
    assert_eq!(
        (&line["from"], &line["to"]),
        (&"192.0.2.1:4000".into(), &"192.0.2.2:5000".into())
    );
    assert_eq!(line["level_dbm0"], -10.0);
}

#[test]
fn streams_are_kept_apart() {
    let mut frames = stream(&call(101, 8_000));
    // The other direction presses the same key at the same time.
    for rtp in press(200, 9, 101, 5, 8_000) {
        frames.push((
            rtp.at_ms,
            datagram(5_000, 4_000, &made::stream(&[rtp])[0].1[28..]),
        ));
    }
    frames.sort_by_key(|(at_ms, _)| *at_ms);
    let lines = lines(&over("both.pcap", &pcap(&frames), &[]));
    assert_eq!(keys(&lines), "55#");
    let mut places: Vec<_> = lines.iter().filter_map(|line| placed(line).1).collect();
    places.sort_unstable();
    let (there, back) = (
        "192.0.2.1:4000>192.0.2.2:5000",
        "192.0.2.1:5000>192.0.2.2:4000",
    );
    assert_eq!(places, [there, there, back]);
}

#[test]
fn what_sipp_sends_is_keys_and_what_it_sends_between_them_is_not() {
    // Some of its packets have the reserved bit set, and others of a further type are all zero.
    let mut packets = press(200, 20, 96, 9, 8_000);
    packets[1].payload[1] |= 0x40;
    let like = packets[0].clone();
    packets.extend((0..10).map(|n| Rtp {
        at_ms: 400 + 20 * n,
        seq: 40 + n as u16,
        timestamp: 8_000 + 20 * n as u32,
        pt: 97,
        payload: vec![0; 4],
        ..like.clone()
    }));
    let output = over("sipp.pcap", &pcap(&stream(&packets)), &[]);
    assert_eq!(keys(&lines(&output)), "9");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "crosspoint: not heard, for nothing says what it is: payload type 97 of \
         192.0.2.1:4000>192.0.2.2:5000, 10 packets; --pt or --audio-pt can\n"
    );
}

#[test]
fn a_capture_that_is_cut_is_read_as_far_as_it_goes() {
    let frames = stream(&call(101, 8_000));
    for (name, file) in [("pcap", pcap(&frames)), ("pcapng", pcapng(&frames))] {
        let output = over(&format!("whole.{name}"), &file, &[]);
        assert!(output.stderr.is_empty(), "{output:?}");
        let output = over(&format!("cut.{name}"), &file[..file.len() - 5], &[]);
        assert_eq!(keys(&lines(&output)), "5#");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("cut short"),
            "{output:?}"
        );
        let output = over(&format!("header.{name}"), &file[..20], &[]);
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn a_capture_without_rtp_is_refused() {
    let sip = [(0, datagram(5_060, 5_060, &invite(5_000, "")))];
    for (name, file) in [("none", pcap(&[])), ("sip", pcap(&sip))] {
        let output = over(&format!("{name}.pcap"), &file, &[]);
        assert!(
            error(&output).contains("the capture holds no RTP stream"),
            "{name}"
        );
    }
    let output = over("channel.pcap", &pcap(&sip), &["--channel", "1"]);
    assert!(error(&output).contains("--channel is for WAV files"));
}

#[test]
fn hostile_captures_end_in_time_and_without_a_panic() {
    let mut packets = call(101, 8_000);
    let speech = spoken(600, 130, 0, &made::dialled(8_000, "1"), linear_to_ulaw);
    // Timestamps and numbers that jump wildly.
    for (n, rtp) in speech.iter().enumerate() {
        packets.push(Rtp {
            timestamp: rtp
                .timestamp
                .wrapping_mul((n as u32).wrapping_mul(0x9e37_79b9)),
            seq: rtp.seq.wrapping_mul((n as u16).wrapping_mul(7_919)),
            ..rtp.clone()
        });
    }
    for pt in [0, 8, 9, 96, 101] {
        for len in [0, 1, 3, 5, 1_400] {
            packets.push(Rtp {
                at_ms: 900,
                pt,
                payload: vec![0xa5; len],
                ..packets[0].clone()
            });
        }
    }
    let options = ["--audio-pt", "96/8000/PCMA", "--pt", "101/8000"];
    let whole = pcap(&stream(&packets));
    let began = Instant::now();
    assert!(keys(&lines(&over("hostile.pcap", &whole, &options))).starts_with("5#"));
    // Damage from a small generator.
    let mut state = 7_u32;
    for n in 0..60 {
        let mut file = whole.clone();
        for _ in 0..=n {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = 4 + (state >> 8) as usize % (file.len() - 4);
            file[at] = state as u8;
        }
        let output = over("damaged.pcap", &file, &options);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(60));
}
