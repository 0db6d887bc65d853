//! WAV files, and raw samples that are all there.

use super::*;

#[test]
fn a_press_is_a_line_with_its_times() {
    let pcm = made::dialled(8_000, "159D");
    let lines = lines(&over("times.wav", &made::wav(8_000, 1, 16, &[&pcm]), &[]));
    assert_eq!(keys(&lines), "159D");
    for (n, line) in lines.iter().enumerate() {
        let (_, [start, end, report], source) = fields(line);
        let pressed = 100 + 200 * n as i64;
        assert!((start - pressed).abs() <= 5, "{line}");
        assert!((end - pressed - 100).abs() <= 5, "{line}");
        // Declared at the end of a frame of 20 ms, at the latest 50 ms after the beginning.
        assert!(
            report % 20 == 0 && (30..=50).contains(&(report - start)),
            "{line}"
        );
        assert_eq!(source, "in-band");
    }
}

#[test]
fn every_rate() {
    for rate_hz in [
        8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
    ] {
        let pcm = made::dialled(rate_hz, "0123456789*#ABCD");
        let file = made::wav(rate_hz, 1, 16, &[&pcm]);
        let lines = lines(&over(&format!("rate-{rate_hz}.wav"), &file, &[]));
        assert_eq!(keys(&lines), "0123456789*#ABCD", "{rate_hz} Hz");
        for (n, line) in lines.iter().enumerate() {
            let (_, [start, end, _], _) = fields(line);
            let pressed = 100 + 200 * n as i64;
            assert!((start - pressed).abs() <= 10, "{rate_hz} Hz: {line}");
            assert!((end - pressed - 100).abs() <= 10, "{rate_hz} Hz: {line}");
        }
    }
}

#[test]
fn every_encoding() {
    let pcm = made::dialled(8_000, "24680");
    for (tag, bits) in [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (6, 8), (7, 8)] {
        let file = made::wav(8_000, tag, bits, &[&pcm]);
        let lines = lines(&over(&format!("encoding-{tag}-{bits}.wav"), &file, &[]));
        assert_eq!(keys(&lines), "24680", "{tag} {bits}");
    }
}

#[test]
fn channels_are_heard_apart_or_one_alone() {
    let (left, right) = (made::dialled(8_000, "12"), made::dialled(8_000, "*#"));
    let file = made::wav(8_000, 7, 8, &[&left, &right]);
    let of = |options: &[&str]| {
        let mut keys: Vec<char> = keys(&lines(&over("stereo.wav", &file, options)))
            .chars()
            .collect();
        keys.sort_unstable();
        keys.into_iter().collect::<String>()
    };
    assert_eq!(of(&[]), "#*12");
    assert_eq!(of(&["--channel", "1"]), "12");
    assert_eq!(of(&["--channel", "2"]), "#*");
    for line in lines(&over("stereo.wav", &file, &[])) {
        let ((key, ..), place) = placed(&line);
        let channel = if "12".contains(&key) {
            "channel-1"
        } else {
            "channel-2"
        };
        assert_eq!(place, Some(channel), "{line}");
    }
    for line in lines(&over("stereo.wav", &file, &["--channel", "1"])) {
        fields(&line);
    }
    for line in lines(&over("stereo.wav", &file, &["--json"])) {
        let line = json(&line);
        let channel = if "12".contains(line["digit"].as_str().unwrap()) {
            1
        } else {
            2
        };
        assert_eq!(line["channel"], channel, "{line}");
    }
    for channel in ["0", "3"] {
        let output = over("stereo-none.wav", &file, &["--channel", channel]);
        let expected = format!("there is no channel {channel}, only 1 to 2");
        assert!(error(&output).contains(&expected));
    }
}

#[test]
fn json_says_more() {
    let file = made::wav(8_000, 1, 16, &[&made::dialled(8_000, "#")]);
    let lines = lines(&over("json.wav", &file, &["--json"]));
    let [line] = &lines[..] else {
        panic!("{lines:?}");
    };
    let line = json(line);
    assert_eq!((&line["digit"], &line["event"]), (&"#".into(), &11.into()));
    assert_eq!(line["source"], "in-band");
    // Two sines of 5,000: each 16.3 dB below full scale, which is 3.14 dBm0; both are 3 dB more.
    let level = line["level_dbm0"].as_f64().unwrap();
    assert!((level + 10.2).abs() < 0.5, "{line}");
    assert!(line["twist_db"].as_f64().unwrap().abs() < 0.5, "{line}");
    assert!(line["confidence"].as_u64() > Some(90), "{line}");
    assert!(
        line.get("ssrc").is_none() && line.get("channel").is_none(),
        "{line}"
    );
}

#[test]
fn pieces_of_any_length_change_only_the_report() {
    let file = made::wav(8_000, 1, 16, &[&made::dialled(8_000, "7")]);
    for frame_ms in [1, 10, 30, 1_000] {
        let name = format!("frame-{frame_ms}.wav");
        let lines = lines(&over(&name, &file, &["--frame-ms", &frame_ms.to_string()]));
        let (key, [start, end, report], _) = fields(&lines[0]);
        assert_eq!(
            (key.as_str(), start / 10, (end + 5) / 10),
            ("7", 10, 20),
            "{lines:?}"
        );
        let end_of_file = 300;
        assert!(report % frame_ms == 0 || report == end_of_file, "{lines:?}");
        assert!(report - start <= 35 + frame_ms, "{lines:?}");
    }
}

#[test]
fn a_press_that_lasts_to_the_end_ends_there() {
    for ms in [60, 75, 500] {
        let mut pcm = made::silence(8_000, 100);
        pcm.extend(made::tone(8_000, '8', ms));
        let lines = lines(&over(
            &format!("lasts-{ms}.wav"),
            &made::wav(8_000, 1, 16, &[&pcm]),
            &[],
        ));
        let (key, [start, end, report], _) = fields(&lines[0]);
        assert_eq!(key, "8");
        assert!((start - 100).abs() <= 5, "{lines:?}");
        assert!(
            (i64::from(ms) + 95..=i64::from(ms) + 100).contains(&end),
            "{lines:?}"
        );
        assert!(report <= i64::from(ms) + 100, "{lines:?}");
    }
}

#[test]
fn a_file_that_was_never_finished_is_heard_to_its_end() {
    let whole = made::wav(8_000, 1, 16, &[&made::dialled(8_000, "36")]);
    // Sizes that were never written, and a recorder that was killed: an odd number of bytes.
    let size_at = whole.windows(4).position(|w| w == b"data").unwrap() + 4;
    for size in [0_u32, u32::MAX] {
        let mut file = whole.clone();
        file[4..8].copy_from_slice(&0_u32.to_le_bytes());
        file[size_at..size_at + 4].copy_from_slice(&size.to_le_bytes());
        file.truncate(file.len() - 401);
        assert_eq!(
            keys(&lines(&over(&format!("unfinished-{size}.wav"), &file, &[]))),
            "36"
        );
    }
    let cut = &whole[..whole.len() - 401];
    assert_eq!(keys(&lines(&over("cut.wav", cut, &[]))), "36");
}

#[test]
fn what_is_no_sound_is_refused_with_its_reason() {
    let whole = made::wav(8_000, 1, 16, &[&[0; 8]]);
    let with = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    for (name, bytes, expected) in [
        ("nothing", Vec::new(), "the file is empty"),
        (
            "text",
            b"hello, world".to_vec(),
            "neither WAV nor a capture (begins with \"hello, world\")",
        ),
        ("short", b"RIFF".to_vec(), "neither WAV nor a capture"),
        ("header", whole[..12].to_vec(), "ends before a format"),
        ("format", whole[..30].to_vec(), "ends inside the format"),
        ("data", whole[..40].to_vec(), "ends before samples"),
        (
            "tag",
            with(20, &[2, 0]),
            "format tag 0x0002 with 16 bits is not known",
        ),
        ("bits", with(34, &[12, 0]), "with 12 bits is not known"),
        ("channels", with(22, &[0, 0]), "0 channels are not 1 to 32"),
        (
            "channels",
            with(22, &[33, 0]),
            "33 channels are not 1 to 32",
        ),
        (
            "rate",
            with(24, &3_999_u32.to_le_bytes()),
            "3999 Hz is not 4000 to 192000",
        ),
        (
            "rate",
            with(24, &192_001_u32.to_le_bytes()),
            "192001 Hz is not 4000 to 192000",
        ),
        (
            "format-size",
            with(16, &4_097_u32.to_le_bytes()),
            "a format chunk of 4097 bytes",
        ),
        (
            "empty",
            whole[..whole.len() - 16].to_vec(),
            "holds no samples",
        ),
    ] {
        let output = over(&format!("wrong-{name}"), &bytes, &[]);
        let text = error(&output);
        assert!(text.contains(expected), "{name}: {text}");
    }
    let output = Command::new(PROGRAM)
        .args(["dtmf", "/nonexistent.wav"])
        .output()
        .unwrap();
    assert!(error(&output).contains("/nonexistent.wav: No such file"));
    let output = Command::new(PROGRAM).args(["dtmf", "/"]).output().unwrap();
    assert!(error(&output).contains("is a folder"));
}

#[test]
fn standard_input_without_samples_is_refused() {
    let mut running = Running::start(&[]);
    drop(running.0.stdin.take());
    let mut errors = String::new();
    running
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert_eq!(errors, "crosspoint: standard input: holds no samples\n");
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
}

#[test]
fn standard_input_may_be_a_file_too() {
    let of = |bytes: &[u8]| {
        let mut running = Running::start(&[]);
        let mut input = running.0.stdin.take().unwrap();
        // One that is refused stops reading.
        let _ = input.write_all(bytes);
        drop(input);
        let mut said = [String::new(), String::new()];
        let (out, errors) = (running.0.stdout.take(), running.0.stderr.take());
        out.unwrap().read_to_string(&mut said[0]).unwrap();
        errors.unwrap().read_to_string(&mut said[1]).unwrap();
        said
    };
    let pcm = made::dialled(44_100, "5#");
    let [told, _] = of(&made::wav(44_100, 1, 16, &[&pcm]));
    assert_eq!(
        keys(&told.lines().map(Into::into).collect::<Vec<_>>()),
        "5#"
    );
    let packets = made::press(0, 1, 101, 7, 8_000);
    let [told, _] = of(&made::pcap(&made::stream(&packets)));
    assert!(told.starts_with("7 "), "{told}");
    for magic in ["ID3", "OggS", "fLaC"] {
        let [_, errors] = of(&[magic.as_bytes(), &[0; 4_000]].concat());
        assert!(errors.contains("neither WAV nor a capture"), "{errors}");
    }
}

#[test]
fn speech_has_no_keys() {
    // Noise that comes and goes, from a small generator.
    let mut state = 1_u32;
    let noise = (0..80_000_u32).map(|n| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let loud = (n / 1_600 % 3) as i32;
        ((state >> 16) as i32 - 32_768).wrapping_mul(loud) as i16 / 4
    });
    let noise: Vec<i16> = noise.collect();
    assert_eq!(
        lines(&over("noise.wav", &made::wav(8_000, 1, 16, &[&noise]), &[])),
        [""; 0]
    );
}
