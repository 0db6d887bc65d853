use super::*;

/// What a request says of recording, and which of its keys had no effect.
fn keys(json: &str) -> (RecordingKeys, Vec<String>) {
    let message = format!(r#"{{"command":"start recording","call-id":"c"{json}}}"#);
    let (_, request) = Request::decode(message.as_bytes());
    let request = request.expect("a request");
    (request.recording.clone(), request.ignored().to_vec())
}

fn ignored(json: &str) -> String {
    keys(json).1.join(",")
}

#[test]
fn keys_say_how_to_record() {
    let (keys, ignored) = keys(
        r##","recording-format":"OPUS","recording-bitrate":32000,"recording-rate":"16000",
        "recording-layout":"legs-4","recording-leg":["a","b"],"recording_side":"both",
        "recording left":"b","recording-pause":"skip","recording-beep":"yes",
        "recording-length-max":60,"recording-silence-max":"5","recording-finish":"#*",
        "recording-id":"two","recording-account":"acme","metadata":"m=1",
        "flags":["recording-trim","recording-early-media"]"##,
    );
    assert_eq!(ignored, Vec::<String>::new());
    let request = keys.request(None).expect("a request");
    assert_eq!(
        request.format,
        Some(Format::Opus {
            bitrate_bps: 32_000
        })
    );
    assert_eq!((request.rate_hz, request.name), (Some(16_000), "two"));
    assert_eq!(request.layout, RecordLayout::PerLeg(Some(4)));
    assert_eq!(request.left, Some(Participants::Tag("b")));
    assert_eq!(request.pause, PauseMode::Skip);
    assert!(request.beep && request.trim && request.early_media);
    assert_eq!(request.length_max, Some(Duration::from_secs(60)));
    assert_eq!(request.silence_max, Some(Duration::from_secs(5)));
    assert_eq!(Keys::from_text("#*"), Some(request.finish.0));
    assert_eq!((request.account, request.metadata), (Some("acme"), "m=1"));
    let Recorded::Legs(legs) = request.what else {
        panic!("{:?}", request.what)
    };
    let both = LegSides::Both;
    let wanted = [
        (Participants::Tag("a"), both),
        (Participants::Tag("b"), both),
    ];
    assert_eq!(legs, wanted);
}

#[test]
fn nothing_said_is_the_whole_call_as_usual() {
    let (keys, _) = keys("");
    assert_eq!(keys, RecordingKeys::default());
    let request = keys.request(None).expect("a request");
    assert!(matches!(request.what, Recorded::Call));
    assert!(matches!(request.path, RecordPath::Usual));
    assert_eq!(
        (request.name, request.metadata, request.format),
        ("", "", None)
    );
}

#[test]
fn values_without_sense_are_named() {
    for (json, names) in [
        (r#","recording-format":"mp3""#, "recording-format"),
        (r#","recording-layout":"legs-17""#, "recording-layout"),
        (r#","recording-layout":"legs-0""#, "recording-layout"),
        (r#","recording-length-max":0"#, "recording-length-max"),
        (r#","recording-length-max":604801"#, "recording-length-max"),
        (r#","recording-finish":"x""#, "recording-finish"),
        (r#","recording-side":"up""#, "recording-side"),
        (r#","recording-leg":[]"#, "recording-leg"),
        (r#","recording-rate":-1"#, "recording-rate"),
        (r#","recording-id":"""#, "recording-id"),
    ] {
        assert_eq!(ignored(json), names, "{json}");
    }
    let legs = |count: usize| format!(r#","recording-leg":[{}]"#, vec![r#""t""#; count].join(","));
    assert_eq!(ignored(&legs(TRACKS_MAX)), "");
    assert_eq!(ignored(&legs(TRACKS_MAX + 1)), "recording-leg");
    let name = |len: usize| format!(r#","recording-id":"{}""#, "n".repeat(len));
    assert_eq!(ignored(&name(RECORDING_NAME_MAX)), "");
    assert_eq!(ignored(&name(RECORDING_NAME_MAX + 1)), "recording-id");
    assert_eq!(ignored(r#","recording-length-max":604800"#), "");
}

#[test]
fn patterns_are_refused_as_a_whole() {
    let (keys, _) = keys(r#","recording-pattern":"{call}/{secret}""#);
    let error = keys.request(None).unwrap_err().to_string();
    assert!(error.contains("unknown placeholder {secret}"), "{error}");
    let long = format!(r#","recording-pattern":"{}""#, "x".repeat(PATTERN_MAX + 1));
    let error = self::keys(&long).0.request(None).unwrap_err().to_string();
    assert!(error.contains("at most 512"), "{error}");
}

#[test]
fn record_call_is_yes_or_no() {
    assert_eq!(keys(r#","record-call":"yes""#).0.record, Some(true));
    assert_eq!(keys(r#","record-call":"off""#).0.record, Some(false));
    assert_eq!(keys(r#","flags":["record-call"]"#).0.record, Some(true));
    assert_eq!(ignored(r#","record-call":"maybe""#), "record-call");
}

#[test]
fn pause_is_of_stop_recording_alone() {
    let said = |command: &str, rest: &str| {
        let message = format!(r#"{{"command":"{command}","call-id":"c",{rest}}}"#);
        let (_, request) = Request::decode(message.as_bytes());
        let request = request.expect("a request");
        (request.recording.pause, request.ignored().join(","))
    };
    let none = String::new;
    assert_eq!(
        said("stop recording", r#""flags":["pause"]"#),
        (true, none())
    );
    assert_eq!(said("stop recording", r#""pause":"yes""#), (true, none()));
    assert_eq!(said("stop recording", r#""pause":"no""#), (false, none()));
    assert_eq!(
        said("query", r#""flags":["pause"]"#),
        (false, "pause".into())
    );
    assert_eq!(said("query", r#""pause":"yes""#), (false, "pause".into()));
}
