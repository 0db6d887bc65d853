use super::command::COMMANDS;
use super::*;
use crate::audio::tone::{ToneKind, TonePlan};
use crate::engine::SEQUENCE_MAX;

fn decode(payload: &[u8]) -> Result<Request<'_>, RequestError> {
    Request::decode(payload).1
}

/// An offer in JSON with `more` keys, each with a comma before it.
fn offer(more: &str) -> String {
    format!(r#"{{"command":"offer","call-id":"c","from-tag":"a","sdp":"v=0"{more}}}"#)
}

#[track_caller]
fn with_offer(more: &str, check: impl Fn(&Request<'_>)) {
    let text = offer(more);
    check(&decode(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")));
}

fn warning(more: &str) -> Option<String> {
    decode(offer(more).as_bytes()).unwrap().warning()
}

/// As Kamailio sends it when the daemon is to parse the flags.
#[track_caller]
fn with_rtpp(flags: &str, check: impl Fn(&Request<'_>)) {
    with_offer(&format!(r#","rtpp-flags":"{flags}""#), check);
}

fn error_text(payload: &[u8]) -> String {
    decode(payload).unwrap_err().to_string()
}

#[test]
fn every_command_has_one_row_and_is_found_in_any_spelling() {
    for (n, (command, name, _)) in COMMANDS.iter().enumerate() {
        assert!(
            COMMANDS[..n]
                .iter()
                .all(|row| row.0 != *command && row.1 != *name)
        );
        assert_eq!(command.name(), *name);
        assert_eq!(Command::find(name.as_bytes()), Some(*command));
        let other = name.to_uppercase().replace(' ', "_");
        assert_eq!(Command::find(other.as_bytes()), Some(*command));
    }
    // `row` cannot fail: every variant is in the table, up to the last of the enum.
    assert_eq!(COMMANDS.len(), Command::Cli as usize + 1);
    assert_eq!(Command::find(b"frobnicate"), None);
    assert_eq!(Command::find(&[b'x'; 1000]), None);
}

#[test]
fn errors_have_the_words_of_the_protocol() {
    let texts: [(&[u8], &str); 16] = [
        (b"", "Invalid data (no payload)"),
        (b"xyz", "Invalid NG data format"),
        (b"l4:pinge", "Invalid NG data format"),
        (b"d7:command", "Could not decode bencode dictionary"),
        (b"di1ei2ee", "Could not decode bencode dictionary"),
        (b"{\"command\"", "Failed to parse JSON document"),
        (
            b"{\"a\":99999999999999999999}",
            "Could not decode JSON dictionary",
        ),
        (b"de", "Dictionary contains no key \"command\""),
        (
            b"{\"command\":[]}",
            "Dictionary contains no key \"command\"",
        ),
        (b"{\"command\":\"frobnicate\"}", "Unrecognized command"),
        (b"d7:command5:offer7:call-id1:ce", "No SDP body in message"),
        (
            b"{\"command\":\"offer\",\"sdp\":\"v=0\"}",
            "No call-id in message",
        ),
        (
            b"{\"command\":\"offer\",\"sdp\":\"v=0\",\"call-id\":\"c\"}",
            "No from-tag in message",
        ),
        (
            b"{\"command\":\"answer\",\"sdp\":\"v=0\",\"call-id\":\"c\",\"from-tag\":\"a\"}",
            "No to-tag in message",
        ),
        (b"{\"command\":\"delete\"}", "No call-id in message"),
        (
            b"{\"command\":\"delete\",\"call-id\":\"\"}",
            "No call-id in message",
        ),
    ];
    for (payload, text) in texts {
        assert_eq!(error_text(payload), text, "{}", payload.escape_ascii());
    }
}

#[test]
fn replies_are_in_the_encoding_of_the_request_even_if_it_is_broken() {
    assert_eq!(Request::decode(b"{").0, Encoding::Json);
    assert_eq!(Request::decode(b"d").0, Encoding::Bencode);
    assert_eq!(Request::decode(b"?").0, Encoding::Bencode);
}

#[test]
fn identifiers_are_bounded() {
    let limits: [(&str, usize); 7] = [
        ("call-id", CALL_ID_MAX),
        ("from-tag", TAG_MAX),
        ("to-tag", TAG_MAX),
        ("via-branch", TAG_MAX),
        ("set-label", TAG_MAX),
        ("label", TAG_MAX),
        ("to-label", TAG_MAX),
    ];
    for (key, max) in limits {
        let more = |len: usize| format!(r#","{key}":"{}""#, "x".repeat(len));
        with_offer(&more(max), |_| {});
        let error = decode(offer(&more(max + 1)).as_bytes()).unwrap_err();
        assert_eq!(error, RequestError::TooLong { key, max });
        assert_eq!(
            error.to_string(),
            format!("The {key} is longer than {max} bytes")
        );
    }
}

#[test]
fn the_ping_of_the_protocol() {
    let request = decode(b"d7:command4:pinge").unwrap();
    assert_eq!((request.command, request.warning()), (Command::Ping, None));
}

#[test]
fn the_offer_of_the_protocol() {
    let payload = br#"{"command":"offer","call-id":"cid-9a","from-tag":"ann",
        "flags":["trust-address"],"supports":["load limit"],
        "sdp":"v=0\r\no=ann 1 1 IN IP4 h\r\n"}"#;
    let request = decode(payload).unwrap();
    assert_eq!(request.command, Command::Offer);
    assert_eq!(request.call_id.as_deref(), Some(&b"cid-9a"[..]));
    assert_eq!(request.from_tag.as_deref(), Some(&b"ann"[..]));
    assert_eq!(
        request.sdp.as_deref(),
        Some(&b"v=0\r\no=ann 1 1 IN IP4 h\r\n"[..])
    );
    assert!(request.flags.trust_address && request.supports_load_limit);
    assert_eq!(request.warning(), None);
}

#[test]
fn the_other_requests_of_the_protocol() {
    let answer = br#"{"command":"answer","call-id":"cid-9a","from-tag":"ann","to-tag":"bob",
        "sdp":"v=0"}"#;
    let answer = decode(answer).unwrap();
    assert_eq!(answer.command, Command::Answer);
    assert_eq!(answer.to_tag.as_deref(), Some(&b"bob"[..]));
    let dtmf = br#"{"command":"play DTMF","call-id":"cid-9a","from-tag":"ann","code":"5",
        "duration":200}"#;
    let dtmf = decode(dtmf).unwrap();
    assert_eq!(dtmf.command, Command::PlayDtmf);
    assert_eq!(dtmf.warning(), None);
    assert_eq!(dtmf.key_press.duration_ms, Some(200));
    let delete = decode(br#"{"command":"delete","call-id":"nope"}"#).unwrap();
    assert_eq!((delete.command, delete.warning()), (Command::Delete, None));
    let subscribe = br#"{"command":"subscribe request","call-id":"cid-9a",
        "from-tags":["ann","bob"],"flags":["siprec"]}"#;
    let subscribe = decode(subscribe).unwrap();
    assert_eq!(subscribe.command, Command::SubscribeRequest);
    assert_eq!(subscribe.from_tags, [&b"ann"[..], b"bob"]);
    assert_eq!((subscribe.flags.siprec, subscribe.warning()), (true, None));
}

#[test]
fn identifiers_borrow_from_the_message() {
    let payload = b"d7:command6:delete7:call-id3:cide";
    assert!(matches!(
        decode(payload).unwrap().call_id,
        Some(Cow::Borrowed(b"cid"))
    ));
}

#[test]
fn keys_are_known_in_any_spelling() {
    for key in [
        "call-id", "call id", "call_id", "call-ID", "Call-ID", "CALL_ID", "callid",
    ] {
        let text = format!(r#"{{"Command":"Delete","{key}":"c"}}"#);
        let request = decode(text.as_bytes()).unwrap();
        assert_eq!(request.call_id.as_deref(), Some(&b"c"[..]), "{key}");
    }
    for flag in ["trust-address", "trust address", "Trust_Address"] {
        with_offer(&format!(r#","flags":["{flag}"]"#), |r| {
            assert!(r.flags.trust_address)
        });
    }
}

#[test]
fn the_last_of_two_keys_counts_and_lists_add_up() {
    with_offer(
        r#","to-tag":"x","to tag":"y","flags":["reset"],"flags":["fatal"]"#,
        |r| {
            assert_eq!(r.to_tag.as_deref(), Some(&b"y"[..]));
            assert!(r.flags.reset && r.flags.fatal);
        },
    );
}

#[test]
fn what_is_the_case_anyway_is_no_warning() {
    let silent = [
        r#","replace":["origin","session-connection"]"#,
        r#","ICE":"remove""#,
        r#","ICE":["default"]"#,
        r#","flags":["trust-address","symmetric","debug","no-redis-update","SDES-off"]"#,
        r#","supports":["load limit","whatever"]"#,
        r#","sip-message-type":"sip_request","sip-code":180"#,
        r#","record call":"off","record-call":"no""#,
        r#","DTLS":"off","SDES":["off"],"SDES":"no""#,
        r#","repacketize":20"#,
        r#","received-from":[],"flags":[],"replace":[],"rtcp-mux":[],"direction":[]"#,
        r#","codec":{},"codec":{"mask":[]}"#,
        r#","passthrough":"on""#,
    ];
    for more in silent {
        assert_eq!(warning(more), None, "{more}");
    }
}

#[test]
fn what_is_not_honoured_is_named() {
    let named = [
        (r#","DTLS":"passive""#, "ignored: DTLS"),
        (r#","SDES":["off","pad"]"#, "ignored: SDES"),
        (r#","ICE":"force""#, "ignored: ICE=force"),
        (
            r#","replace":["origin","SDP-version","force-increment-sdp-ver"]"#,
            "ignored: replace=force-increment-sdp-ver",
        ),
        (
            r#","OSRTP":["offer"],"T.38":["decode"]"#,
            "ignored: OSRTP, T.38",
        ),
        (
            r#","codec":{"frob":["PCMA"],"strip":["G722"]}"#,
            "ignored: codec-frob",
        ),
        (
            r#","flags":["codec-frob-PCMA","OSRTP-offer"]"#,
            "ignored: codec-frob-PCMA, OSRTP-offer",
        ),
        (
            r#","flags":["frob",3],"nicate":1"#,
            "ignored: flags; unknown: frob, nicate",
        ),
        (
            r#","TOS":256,"ptime":0,"sip-code":99"#,
            "ignored: TOS, ptime, sip-code",
        ),
        (
            r#","media-address":"nowhere","received-from":["IP4"]"#,
            "ignored: media-address, received-from",
        ),
        (
            r#","call-id":{},"rtpp-flags":7"#,
            "ignored: call-id, rtpp-flags",
        ),
        (r#","direction":["a","b","c"]"#, "ignored: direction"),
    ];
    for (more, text) in named {
        assert_eq!(warning(more).as_deref(), Some(text), "{more}");
    }
}

#[test]
fn warnings_are_bounded_and_printable() {
    let flags = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("\"x{n}\"")).collect();
        format!(r#","flags":[{}]"#, names.join(","))
    };
    with_offer(&flags(WARNING_NAMES_MAX), |r| {
        assert_eq!(r.unknown().len(), WARNING_NAMES_MAX);
        assert!(r.warning().unwrap().ends_with("x31"));
    });
    with_offer(&flags(WARNING_NAMES_MAX + 2), |r| {
        assert_eq!(r.unknown().len(), WARNING_NAMES_MAX);
        assert!(r.warning().unwrap().ends_with("x31 and 2 more"));
    });
    with_offer(
        &format!(r#","flags":["a\r\nb\u00e9","{}"]"#, "y".repeat(1000)),
        |r| {
            assert_eq!(
                r.unknown(),
                ["a??b??".to_owned(), "y".repeat(WARNING_NAME_MAX)]
            );
        },
    );
    assert_eq!(
        warning(r#","flags":["frob","frob"]"#).as_deref(),
        Some("unknown: frob")
    );
}

#[test]
fn the_switch_can_add_to_the_warning() {
    let text = offer("");
    let mut request = decode(text.as_bytes()).unwrap();
    request.ignore("transport-protocol");
    assert_eq!(
        request.warning().as_deref(),
        Some("ignored: transport-protocol")
    );
}

#[test]
fn addresses_are_read_as_both_clients_write_them() {
    let v4: IpAddr = "192.0.2.1".parse().unwrap();
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    with_offer(
        r#","received-from":["IP4","192.0.2.1"],"media-address":"[2001:db8::1]",
        "address":"192.0.2.1""#,
        |r| {
            assert_eq!((r.received_from, r.media_address), (Some(v4), Some(v6)));
            assert_eq!(r.address, Some(v4));
        },
    );
    with_offer(r#","received-from":"IP6 2001:db8::1""#, |r| {
        assert_eq!(r.received_from, Some(v6))
    });
    with_offer(r#","address family":"IP6""#, |r| {
        assert_eq!(r.address_family, Some(AddressFamily::Ip6));
    });
}

#[test]
fn interfaces_come_by_direction_or_by_name() {
    let pair = |r: &Request<'_>| {
        [&r.from_interface, &r.to_interface].map(|name| name.as_deref().map(str::to_owned))
    };
    let both = [Some("in".to_owned()), Some("out".to_owned())];
    with_offer(r#","direction":["in","out"]"#, |r| {
        assert_eq!(pair(r), both)
    });
    with_offer(r#","direction":"in""#, |r| {
        assert_eq!(pair(r), [Some("in".to_owned()), None])
    });
    with_offer(r#","from-interface":"in","to interface":"out""#, |r| {
        assert_eq!(pair(r), both)
    });
    with_offer(r#","interface":"x""#, |r| {
        assert_eq!(pair(r), [Some("x".to_owned()), Some("x".to_owned())]);
    });
    with_rtpp("direction=in direction=out", |r| assert_eq!(pair(r), both));
    with_rtpp("direction=[in out]", |r| assert_eq!(pair(r), both));
    let named = |len: usize| format!(r#","interface":"{}""#, "i".repeat(len));
    assert_eq!(warning(&named(INTERFACE_NAME_MAX)), None);
    assert_eq!(
        warning(&named(INTERFACE_NAME_MAX + 1)).as_deref(),
        Some("ignored: interface")
    );
}

#[test]
fn flags_set_what_they_name() {
    let all = r#","flags":["all","asymmetric","directional","early-media","fast","fatal",
        "full-rtcp-attribute","media-handover","no-rtcp-attribute","original-sendrecv","reset",
        "SIP-source-address","strict-source","to-tag","trust-address","always-transcode",
        "force-transcoding","provisional","single-codec","allow-transcoding","inactive",
        "SIPREC","block-DTMF","detect-DTMF"]"#;
    with_offer(all, |r| {
        let expected = Flags {
            all: true,
            allow_transcoding: true,
            always_transcode: true,
            asymmetric: true,
            block_dtmf: true,
            detect_dtmf: true,
            directional: true,
            early_media: true,
            fast: true,
            fatal: true,
            force_transcoding: true,
            full_rtcp_attribute: true,
            inactive: true,
            media_handover: true,
            no_rtcp_attribute: true,
            original_sendrecv: true,
            provisional: true,
            reset: true,
            single_codec: true,
            sip_source_address: true,
            siprec: true,
            strict_source: true,
            to_tag: true,
            trust_address: true,
        };
        assert_eq!((r.flags, r.warning()), (expected, None));
    });
    with_offer(r#","flags":["asymmetric","symmetric"]"#, |r| {
        assert!(!r.flags.asymmetric)
    });
    with_offer(r#","flags":["no-port-latching"]"#, |r| {
        assert_eq!(r.port_latching, Some(false))
    });
    with_offer(r#","flags":["port latching"]"#, |r| {
        assert_eq!(r.port_latching, Some(true))
    });
    with_offer(r#","flags":["generate-RTCP"]"#, |r| {
        assert_eq!(r.generate_rtcp, Some(true))
    });
    with_offer(r#","generate RTCP":"off""#, |r| {
        assert_eq!(r.generate_rtcp, Some(false))
    });
    with_offer(r#","flags":["masked"]"#, |r| {
        assert_eq!(r.privacy, Some(Privacy::Masked))
    });
    with_offer(r#","privacy":"transparent""#, |r| {
        assert_eq!(r.privacy, Some(Privacy::Transparent));
    });
    with_offer(r#","all":"all""#, |r| assert!(r.flags.all));
    assert_eq!(
        warning(r#","all":"flows""#).as_deref(),
        Some("ignored: all")
    );
}

#[test]
fn tags_to_listen_to_come_as_a_list_or_as_flags() {
    with_offer(r#","from-tags":["a",5,"b"]"#, |r| {
        assert_eq!(r.from_tags, [&b"a"[..], b"5", b"b"]);
    });
    with_offer(r#","from-tags":"a","flags":["from-tags-b"]"#, |r| {
        assert_eq!((r.from_tags.len(), r.warning()), (2, None));
    });
    let many = |n: usize| format!(r#","from-tags":[{}]"#, vec!["\"t\""; n].join(","));
    with_offer(&many(FROM_TAGS_MAX), |r| {
        assert_eq!((r.from_tags.len(), r.warning()), (FROM_TAGS_MAX, None));
    });
    with_offer(&many(FROM_TAGS_MAX + 1), |r| {
        assert_eq!(r.from_tags.len(), FROM_TAGS_MAX);
        assert_eq!(r.ignored(), ["from-tags"]);
    });
    for odd in [r#"[""]"#, r#"[["a"]]"#, r#"{"a":"b"}"#] {
        with_offer(&format!(r#","from-tags":{odd}"#), |r| {
            assert_eq!((r.from_tags.len(), r.ignored().len()), (0, 1), "{odd}");
        });
    }
    let long = format!(
        r#"{{"command":"ping","from-tags":["{}"]}}"#,
        "x".repeat(TAG_MAX + 1)
    );
    let key = "from-tags";
    let refused = decode(long.as_bytes());
    assert_eq!(refused, Err(RequestError::TooLong { key, max: TAG_MAX }));
}

#[test]
fn an_echo_is_asked_for_in_the_words_of_rtpengine() {
    let words = [
        ("blackhole", Echo::Blackhole),
        ("sinkhole", Echo::Blackhole),
        ("forward", Echo::Forward),
        ("backwards", Echo::Backward),
        ("Backward", Echo::Backward),
        ("both", Echo::Both),
        ("no", Echo::Off),
    ];
    for (word, echo) in words {
        with_offer(&format!(r#","media-echo":"{word}""#), |r| {
            assert_eq!((r.media_echo, r.warning()), (Some(echo), None), "{word}");
        });
    }
    assert_eq!(
        warning(r#","media-echo":"sideways""#).as_deref(),
        Some("ignored: media-echo")
    );
}

#[test]
fn flags_with_a_prefix_are_values_of_a_key() {
    let more = r#","flags":["codec-strip-PCMA","codec-strip-opus/48000/2","codec-except-PCMU",
        "codec-accept-G722","replace-origin","rtcp-mux-demux","endpoint-learning-immediate"]"#;
    with_offer(more, |r| {
        assert_eq!(r.codecs.strip, ["PCMA", "opus/48000/2"]);
        assert_eq!(
            (r.codecs.except.as_slice(), r.codecs.accept.as_slice()),
            (&[Cow::Borrowed("PCMU")][..], &[Cow::Borrowed("G722")][..],)
        );
        assert!(r.replace.origin && r.rtcp_mux.demux);
        assert_eq!(r.endpoint_learning, Some(LearnPace::Immediate));
        assert_eq!(r.warning(), None);
    });
    assert_eq!(
        warning(r#","flags":["replace-frob"]"#).as_deref(),
        Some("ignored: replace=frob")
    );
    assert_eq!(
        warning(r#","flags":["replace-"]"#).as_deref(),
        Some("unknown: replace-")
    );
}

#[test]
fn values_are_sets_of_words() {
    with_offer(
        r#","rtcp-mux":["offer","require","demux","accept","reject"]"#,
        |r| {
            let all = RtcpMux {
                offer: true,
                require: true,
                demux: true,
                accept: true,
                reject: true,
            };
            assert_eq!(r.rtcp_mux, all);
        },
    );
    with_offer(
        r#","replace":["username","session name","zero address","SDP version"]"#,
        |r| {
            let expected = Replace {
                origin: false,
                session_connection: false,
                sdp_version: true,
                username: true,
                session_name: true,
                zero_address: true,
            };
            assert_eq!(r.replace, expected);
        },
    );
    with_offer(r#","endpoint learning":"delayed","ICE":"remove""#, |r| {
        assert_eq!(
            (r.endpoint_learning, r.ice_remove),
            (Some(LearnPace::Delayed), true)
        );
    });
}

#[test]
fn numbers_may_be_strings() {
    with_offer(
        r#","ptime":"20","ptime-reverse":30,"TOS":"184","delete delay":"5",
        "sip-code":"183","limit":-1"#,
        |r| {
            assert_eq!((r.ptime_ms, r.ptime_reverse_ms), (Some(20), Some(30)));
            assert_eq!((r.tos, r.delete_delay_s), (Some(184), Some(5)));
            assert_eq!((r.sip_code, r.limit), (Some(183), Some(-1)));
        },
    );
    with_offer(r#","via-branch":17"#, |r| {
        assert_eq!(r.via_branch.as_deref(), Some(&b"17"[..]));
    });
    let delay = |s: u32| format!(r#","delete-delay":{s}"#);
    for s in [DELETE_DELAY_MAX_S, DELETE_DELAY_MAX_S + 1] {
        with_offer(&delay(s), |r| {
            assert_eq!(r.delete_delay_s, Some(DELETE_DELAY_MAX_S))
        });
    }
}

#[test]
fn codec_lists_are_bounded() {
    let list = |count: usize| {
        format!(
            r#","codec":{{"strip":[{}]}}"#,
            vec!["\"x\""; count].join(",")
        )
    };
    assert_eq!(warning(&list(CODECS_MAX)), None);
    with_offer(&list(CODECS_MAX + 1), |r| {
        assert_eq!(r.codecs.strip.len(), CODECS_MAX);
        assert_eq!(r.warning().as_deref(), Some("ignored: codec-strip"));
    });
    let named = |len: usize| format!(r#","codec":{{"strip":"{}"}}"#, "x".repeat(len));
    assert_eq!(warning(&named(CODEC_NAME_MAX)), None);
    assert_eq!(
        warning(&named(CODEC_NAME_MAX + 1)).as_deref(),
        Some("ignored: codec-strip")
    );
}

#[test]
fn rtpp_flags_are_read_as_the_script_wrote_them() {
    let flags = "replace-origin ICE=remove RTP/AVP via-branch=z9 received-from=192.0.2.1 \
        rtcp-mux=[demux accept] codec=[strip=[PCMA speex/8000] except=opus/48000/2//a--1] \
        codec-strip=G722 strict-source TOS=184 frob";
    with_rtpp(flags, |r| {
        assert!(r.replace.origin && r.ice_remove && r.flags.strict_source);
        assert_eq!(r.transport_protocol.as_deref(), Some("RTP/AVP"));
        assert_eq!(r.via_branch.as_deref(), Some(&b"z9"[..]));
        assert_eq!(r.received_from, "192.0.2.1".parse().ok());
        assert!(r.rtcp_mux.demux && r.rtcp_mux.accept);
        assert_eq!(r.codecs.strip, ["PCMA", "speex/8000", "G722"]);
        assert_eq!(r.codecs.except, ["opus/48000/2//a=1"]);
        assert_eq!(r.tos, Some(184));
        assert_eq!(r.warning().as_deref(), Some("unknown: frob"));
    });
    with_offer(r#","flags":"trust-address ICE=remove""#, |r| {
        assert!(r.flags.trust_address && r.ice_remove);
    });
}

#[test]
fn rtpp_flags_cannot_replace_the_message() {
    with_rtpp("command=delete sdp=x rtpp-flags=fast flags=fatal", |r| {
        assert_eq!(r.command, Command::Offer);
        assert_eq!(r.sdp.as_deref(), Some(&b"v=0"[..]));
        assert!(!r.flags.fast && r.flags.fatal);
        assert_eq!(r.unknown(), ["command", "sdp", "rtpp-flags"]);
    });
}

#[test]
fn hostile_rtpp_flags_neither_recurse_nor_last() {
    with_rtpp(&"flags=".repeat(10_000), |_| {});
    with_rtpp(&"a=[".repeat(20_000), |r| {
        assert_eq!(r.ignored(), ["the rest of rtpp-flags"])
    });
    with_rtpp(&"x ".repeat(30_000), |r| {
        assert_eq!(r.ignored(), ["the rest of rtpp-flags"])
    });
}

#[test]
fn every_list_of_codecs_is_read_in_any_form() {
    let dictionary = r#","codec":{"strip":["a"],"ignore":["b"],"mask":["c"],"consume":["d"],
        "except":["e"],"offer":["f"],"accept":["g"],"transcode":["h/8000/1///x--1"],
        "set":["i/48000/2/16000"]}"#;
    let flags = r#","flags":["codec-strip-a","codec-ignore-b","codec-mask-c","codec-consume-d",
        "codec-except-e","codec-offer-f","codec-accept-g","transcode-h/8000/1///x--1",
        "codec-set-i/48000/2/16000"]"#;
    for form in [dictionary, flags] {
        with_offer(form, |r| {
            let c = &r.codecs;
            assert_eq!(c.strip, ["a", "b"]);
            assert_eq!(c.mask, ["c", "d"]);
            assert_eq!(
                (&*c.except[0], &*c.offer[0], &*c.accept[0]),
                ("e", "f", "g")
            );
            assert_eq!(c.transcode, ["h/8000/1///x=1"]);
            assert_eq!(c.set, ["i/48000/2/16000"]);
            assert_eq!(r.warning(), None);
        });
    }
    with_rtpp(
        "codec-transcode-PCMA transcode=opus always-transcode single-codec",
        |r| {
            assert_eq!(r.codecs.transcode, ["PCMA", "opus"]);
            assert!(r.flags.always_transcode && r.flags.single_codec);
        },
    );
}

#[test]
fn early_media_policies_are_read() {
    let of = |text: &str| {
        let more = format!(r#","early-media-policy":"{text}""#);
        let text = offer(&more);
        decode(text.as_bytes()).unwrap().early_media_policy
    };
    assert_eq!(of("latest"), Some(EarlyMedia::Latest));
    assert_eq!(of("Mix"), Some(EarlyMedia::Mix));
    let ringback = |country| {
        let plan = TonePlan::named(country, ToneKind::Ringback).unwrap();
        Some(EarlyMedia::Ringback(plan))
    };
    assert_eq!(of("ringback"), ringback("in"));
    assert_eq!(of("ringback=us"), ringback("us"));
    assert_eq!(
        of("ringback=440/1000/2000"),
        Some(EarlyMedia::Ringback(
            TonePlan::parse("440/1000/2000").unwrap()
        ))
    );
    assert_eq!(of("ringback=xx"), None);
    assert_eq!(
        warning(r#","early-media-policy":"sometimes""#).as_deref(),
        Some("ignored: early-media-policy")
    );
}

#[test]
fn what_to_play_is_read() {
    let play = |more: &str| {
        let text = format!(r#"{{"command":"play media","call-id":"c","from-tag":"a"{more}}}"#);
        Request::decode(text.as_bytes()).1.map(|r| {
            let blob = r.blob.as_ref().map(|blob| blob.to_vec());
            (
                r.files.as_ref().map(|files| files.join("|")),
                blob,
                r.repeat_times,
                r.warning(),
            )
        })
    };
    let (file, blob, times, warning) = play(r#","file":"/x.wav","repeat-times":3"#).unwrap();
    assert_eq!(
        (file.as_deref(), blob, times, warning),
        (Some("/x.wav"), None, Some(3), None)
    );
    for (text, bytes) in [
        ("aGk=", "hi"),
        ("aGk", "hi"),
        ("aGkh\\nYWJj", "hi!abc"),
        ("_-8=", ""),
    ] {
        let (_, blob, _, warning) = play(&format!(r#","blob64":"{text}""#)).unwrap();
        let expected = if text == "_-8=" {
            vec![0xFF, 0xEF]
        } else {
            bytes.as_bytes().to_vec()
        };
        assert_eq!((blob, warning), (Some(expected), None), "{text}");
    }
    for text in ["a", "aGk=x", "a Gk!", ""] {
        let (_, blob, _, warning) = play(&format!(r#","blob64":"{text}""#)).unwrap();
        assert_eq!(
            (blob, warning.as_deref()),
            (None, Some("ignored: blob64")),
            "{text}"
        );
    }
    let name = |len: usize| format!(r#","file":"{}""#, "x".repeat(len));
    assert!(play(&name(FILE_NAME_MAX)).unwrap().0.is_some());
    assert!(play(&name(FILE_NAME_MAX + 1)).unwrap().0.is_none());
    let listed = |count: usize, last: &str| {
        let names = [vec!["\"a\""; count - 1], vec![last]].concat().join(",");
        let (files, _, _, warning) = play(&format!(r#","file":[{names}]"#)).unwrap();
        (files.map(|files| files.len()), warning.is_some())
    };
    assert_eq!(listed(2, r#""b.wav""#), (Some("a|b.wav".len()), false));
    assert_eq!(
        listed(SEQUENCE_MAX, r#""b""#),
        (Some(2 * SEQUENCE_MAX - 1), false)
    );
    assert_eq!(listed(SEQUENCE_MAX + 1, r#""b""#), (None, true));
    assert_eq!(listed(2, "{}"), (None, true));
    assert!(play(r#","file":[]"#).unwrap().0.is_none());
}
