//! Session descriptions: what is read, what is sent on, and how payload types translate.
#![allow(clippy::cast_possible_truncation, reason = "test numbers are small")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crosspoint::wire::sdp::{
    CodecFilter, Description, Direction, Encoding, Fault, MediaRewrite, OriginPolicy, PtMap,
    PtMaps, Rewrite, RtcpAttribute, SDP_BYTES_MAX, SDP_FORMATS_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX,
    SdpError, numbers_for, pt_maps,
};
use proptest::prelude::*;

const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const MASKED: OriginPolicy = OriginPolicy::Masked {
    session_id: 7,
    version: 3,
    address: RELAY,
};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sdp")
}

fn sample(name: &str) -> Description {
    let bytes = std::fs::read(folder().join(format!("{name}.sdp"))).expect("a sample");
    Description::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn parse(text: &str) -> Description {
    Description::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Sent on unchanged but for the relay's address and ports 40000, 40002, …
fn relayed(description: &Description, origin: OriginPolicy) -> Rewrite {
    let medias = description
        .medias()
        .iter()
        .enumerate()
        .map(|(index, media)| {
            let port = if media.rejected() {
                0
            } else {
                40_000 + 2 * index as u16
            };
            MediaRewrite::keep(media, RELAY, port)
        });
    Rewrite {
        origin,
        session_address: Some(RELAY),
        medias: medias.collect(),
    }
}

fn written(description: &Description, rewrite: &Rewrite) -> String {
    let mut text = String::new();
    description.write(rewrite, &mut text);
    text
}

fn samples() -> Vec<String> {
    let names = std::fs::read_dir(folder())
        .expect("the samples")
        .filter_map(|entry| {
            let path = entry.expect("a sample").path();
            let is_sample = path.extension().is_some_and(|extension| extension == "sdp");
            is_sample.then(|| {
                path.file_stem()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned()
            })
        });
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert!(names.len() >= 18, "samples are missing: {names:?}");
    names
}

#[test]
fn golden_texts_are_written_byte_for_byte() {
    for name in samples() {
        let description = sample(&name);
        for (suffix, origin) in [("", OriginPolicy::Address(RELAY)), (".masked", MASKED)] {
            let text = written(&description, &relayed(&description, origin));
            let path = folder().join(format!("golden/{name}{suffix}.sdp"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &text).expect("write the golden text");
            }
            let golden = std::fs::read_to_string(&path).expect("a golden text");
            assert_eq!(text, golden, "{}", path.display());
        }
    }
}

#[test]
fn masked_descriptions_say_nothing_of_the_sender() {
    for name in samples() {
        let description = sample(&name);
        let text = written(&description, &relayed(&description, MASKED));
        for secret in [
            "198.51.100.",
            "2001:db8",
            "alice",
            "user1",
            "SBC",
            "12ab",
            "Sales",
            "voice",
        ] {
            assert!(!text.contains(secret), "{name} tells {secret}:\n{text}");
        }
        for secret in [
            "cname",
            "ssrc",
            "candidate",
            "ice-",
            "tool",
            "289084452",
            "extmap:",
            "msid",
        ] {
            assert!(!text.contains(secret), "{name} tells {secret}:\n{text}");
        }
        assert!(
            text.contains("o=- 7 3 IN IP4 203.0.113.7\r\ns=-\r\n"),
            "{text}"
        );
    }
}

#[test]
fn a_masked_description_hides_an_address_in_any_value() {
    let description = parse(
        "v=0\r\no=- 1 1 IN IP6 2001:db8::5\r\nc=IN IP4 host.example\r\nm=audio 4000 RTP/AVP 96\r\n\
         c=IN IP4 192.0.2.1/127\r\na=rtpmap:96 x/8000\r\na=fmtp:96 at=192.0.2.1\r\n\
         a=label:2001:db8::5\r\na=mid:host.example\r\na=rtcp:4001 IN IP4 192.0.2.99\r\n\
         a=content:192.0.2.99\r\na=rtcp-fb:96 192.0.2.1\r\na=setup:passive\r\n",
    );
    let text = written(&description, &relayed(&description, MASKED));
    for secret in ["192.0.2.", "2001:db8", "host.example"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(text.contains("a=setup:passive\r\n") && text.contains("a=rtpmap:96 x/8000\r\n"));
}

#[test]
fn typed_view_of_a_plain_offer() {
    let description = sample("plain");
    let origin = description.origin();
    assert_eq!(
        (origin.username, origin.session_id),
        ("alice", "2890844526")
    );
    assert_eq!(origin.version, 2_890_844_527);
    let [media] = description.medias() else {
        panic!("one media")
    };
    assert_eq!(
        (media.kind.as_str(), media.port, media.port_count),
        ("audio", 30_000, 1)
    );
    assert_eq!(media.address, Some(Ipv4Addr::new(198, 51, 100, 1).into()));
    assert_eq!(
        (media.ptime, media.direction),
        (Some(20), Direction::SendRecv)
    );
    assert_eq!(media.formats().collect::<Vec<_>>(), ["0", "8", "101"]);
    let codecs: Vec<_> = media
        .codecs
        .iter()
        .map(|c| (c.pt, &*c.name, c.clock_hz))
        .collect();
    assert_eq!(
        codecs,
        [
            (0, "PCMU", 8000),
            (8, "PCMA", 8000),
            (101, "telephone-event", 8000)
        ]
    );
    assert_eq!(media.codecs[2].fmtp.as_deref(), Some("0-15"));
    assert_eq!(media.codecs[2].encoding(), Encoding::TelephoneEvent);
}

#[test]
fn sloppy_senders_are_understood() {
    let lines = sample("sloppy-lines");
    assert_eq!(lines.origin().session_id, "12ab");
    let [audio, video] = lines.medias() else {
        panic!("two medias")
    };
    assert_eq!(audio.address, Some(Ipv4Addr::new(198, 51, 100, 5).into()));
    assert_eq!(
        (audio.direction, audio.ptime),
        (Direction::SendOnly, Some(30))
    );
    assert_eq!(audio.codecs.len(), 2);
    assert!(video.rejected());

    let cr = sample("sloppy-cr");
    assert_eq!(
        cr.medias()[0].address,
        Some(Ipv4Addr::new(198, 51, 100, 5).into())
    );

    let lf = sample("sloppy-lf");
    let media = &lf.medias()[0];
    assert!(media.address.is_none() && media.address_is_name);
    assert_eq!((media.port_count, media.codecs.len()), (2, 2));
    assert_eq!(media.codecs[1].clock_hz, 8000);
    assert_eq!(media.codecs[1].fmtp.as_deref(), Some("0-9;10-15"));
}

#[test]
fn holds_are_told_apart() {
    let zero = sample("hold-zero");
    assert!(zero.medias()[0].zero_address);
    let inactive = sample("hold-inactive");
    assert_eq!(inactive.medias()[0].direction, Direction::Inactive);
    assert!(!inactive.medias()[0].zero_address);
    let v6 = parse("v=0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP6 ::\r\n");
    assert!(v6.medias()[0].zero_address);
    let text = written(&zero, &relayed(&zero, OriginPolicy::Keep));
    assert!(
        text.contains("c=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 40000"),
        "{text}"
    );
    assert_eq!(Direction::SendOnly.reversed(), Direction::RecvOnly);
}

#[test]
fn bundle_only_is_not_rejected_and_loses_its_mark_with_a_port() {
    let description = sample("webrtc");
    let video = &description.medias()[1];
    assert!(!video.rejected() && video.port == 0);
    let mut rewrite = relayed(&description, OriginPolicy::Keep);
    assert!(!written(&description, &rewrite).contains("bundle-only"));
    rewrite.medias[1].port = 0;
    assert!(written(&description, &rewrite).contains("a=bundle-only\r\n"));
}

#[test]
fn errors_say_what_and_where() {
    let error = |text: &str| Description::parse(text.as_bytes()).expect_err("refused");
    let port = error("v=0\r\ns=-\r\nm=audio 70000 RTP/AVP 0\r\n");
    let expected = SdpError::Syntax {
        line: 3,
        field: "Media port",
        fault: Fault::Malformed,
    };
    assert_eq!(port, expected);
    assert_eq!(port.to_string(), "line 3: Media port is malformed");
    assert_eq!(error("s=-\r\nv=0\r\n"), SdpError::NoVersion);
    assert_eq!(error(""), SdpError::NoVersion);
    let address = |session: &str, media: &str| {
        let media = format!("c=IN IP4 {session}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n{media}");
        Description::parse(format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n{media}").as_bytes())
    };
    for odd in [
        "999.1.1.1",
        "1.2.3",
        "1",
        "1.2.3.4.",
        "::g",
        "phone.example.7",
        "1.2.3.4:5",
    ] {
        let error = address(odd, "").expect_err(odd).to_string();
        let why = "the address of c= is neither an IP address nor a host name";
        assert_eq!(error, format!("line 4: {why}"), "{odd}");
        let media = format!("c=IN IP4 {odd}\r\n");
        let error = address("192.0.2.1", &media).expect_err(odd).to_string();
        assert_eq!(error, format!("line 7: {why}"), "{odd}");
    }
    for fine in [
        "phone.example",
        "7.phone.example.",
        "a1",
        "192.0.2.1/127",
        "fe80::1%eth0",
    ] {
        assert!(address(fine, "").is_ok(), "{fine}");
    }
    let short = error("v=0\r\nm=audio 4000 RTP/AVP\r\n");
    assert_eq!(short.to_string(), "line 2: Media fmt is missing");
}

#[test]
fn carriage_returns_and_nul_bytes_cannot_make_a_line() {
    for text in [
        "v=0\r\ns=a\rm=audio 1 RTP/AVP 0\r\n",
        "v=0\r\na=x\0y\r\nt=0 0\r\n",
    ] {
        assert!(Description::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    let description = sample("plain");
    let mut rewrite = relayed(&description, OriginPolicy::Keep);
    rewrite.medias[0].transport = Some("RTP/SAVP\r\na=evil: 1".into());
    let text = written(&description, &rewrite);
    assert!(
        text.contains("m=audio 40000 RTP/SAVPa=evil:1 0 8 101\r\n"),
        "{text}"
    );
}

fn with_medias(count: usize) -> String {
    format!("v=0\r\n{}", "m=audio 4000 RTP/AVP 0\r\n".repeat(count))
}

#[test]
fn limits_hold_at_the_limit_and_refuse_one_more() {
    assert_eq!(
        parse(&with_medias(SDP_MEDIA_MAX)).medias().len(),
        SDP_MEDIA_MAX
    );
    let refused = Description::parse(with_medias(SDP_MEDIA_MAX + 1).as_bytes());
    let line = SDP_MEDIA_MAX + 2;
    assert_eq!(refused.expect_err("media"), SdpError::TooManyMedia { line });

    let formats = |count: usize| {
        let list: Vec<String> = (0..count).map(|pt| pt.to_string()).collect();
        format!(
            "v=0\r\nm=audio 0 RTP/AVP 0\r\nm=audio 4000 RTP/AVP {}\r\n",
            list.join(" ")
        )
    };
    let most = parse(&formats(SDP_FORMATS_MAX));
    assert_eq!(most.medias()[1].codecs.len(), SDP_FORMATS_MAX);
    let refused = Description::parse(formats(SDP_FORMATS_MAX + 1).as_bytes());
    assert_eq!(
        refused.expect_err("formats"),
        SdpError::TooManyFormats { line: 3 }
    );

    let lines = |count: usize| format!("v=0\r\n{}", "a=x\r\n".repeat(count - 1));
    parse(&lines(SDP_LINES_MAX));
    let refused = Description::parse(lines(SDP_LINES_MAX + 1).as_bytes());
    let lines = SDP_LINES_MAX + 1;
    assert_eq!(
        refused.expect_err("lines"),
        SdpError::TooManyLines { lines }
    );

    let long = |bytes: usize| format!("v=0\r\na={}", "x".repeat(bytes - 7));
    parse(&long(SDP_BYTES_MAX));
    let refused = Description::parse(long(SDP_BYTES_MAX + 1).as_bytes());
    let bytes = SDP_BYTES_MAX + 1;
    assert_eq!(refused.expect_err("bytes"), SdpError::TooLong { bytes });
}

#[test]
fn media_lines_never_change_in_number_or_order() {
    let description = sample("unknown");
    let mut rewrite = relayed(&description, OriginPolicy::Keep);
    rewrite.medias.truncate(1);
    let text = written(&description, &rewrite);
    let again = parse(&text);
    let kinds: Vec<_> = again
        .medias()
        .iter()
        .map(|m| (m.kind.as_str(), m.port))
        .collect();
    assert_eq!(
        kinds,
        [("message", 40_000), ("application", 0), ("audio", 0)]
    );
    assert!(
        text.contains("m=audio 0 RTP/AVP 3 4 9 18\r\n"),
        "formats stay: {text}"
    );
}

#[test]
fn renumbering_reaches_every_reference() {
    let description = parse(
        "v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 4000 RTP/AVPF 97 98 99\r\na=rtpmap:97 VP8/90000\r\n\
         a=rtpmap:98 rtx/90000\r\na=fmtp:98 apt=97;rtx-time=200\r\na=rtcp-fb:97 nack\r\n\
         a=imageattr:97 send [x=320,y=240]\r\na=rtpmap:99 red/90000\r\na=fmtp:99 97/98\r\n",
    );
    let mut rewrite = relayed(&description, OriginPolicy::Keep);
    rewrite.medias[0].pts = [(97, 100), (98, 97)].into_iter().collect();
    let text = written(&description, &rewrite);
    for line in [
        "m=video 40000 RTP/AVPF 100 97 99\r\n",
        "a=rtpmap:100 VP8/90000\r\n",
        "a=rtpmap:97 rtx/90000\r\n",
        "a=fmtp:97 apt=100;rtx-time=200\r\n",
        "a=rtcp-fb:100 nack\r\n",
        "a=imageattr:100 send [x=320,y=240]\r\n",
        "a=fmtp:99 100/97\r\n",
    ] {
        assert!(text.contains(line), "{line} not in {text}");
    }
}

#[test]
fn codecs_are_filtered_with_what_repeats_them_but_never_all() {
    let description = sample("media-connection");
    let mut rewrite = relayed(&description, OriginPolicy::Keep);
    rewrite.medias[1].codecs = CodecFilter::Drop(vec!["h264".into(), "rtx".into()]);
    assert!(written(&description, &rewrite).contains("m=video 40002 RTP/AVP 97 98\r\n"));
    let two = parse(
        "v=0\r\nm=video 4000 RTP/AVP 96 97 98\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
         a=fmtp:97 apt=96\r\na=rtpmap:98 H264/90000\r\n",
    );
    let mut rewrite = relayed(&two, OriginPolicy::Keep);
    rewrite.medias[0].codecs = CodecFilter::Drop(vec!["VP8".into()]);
    let text = written(&two, &rewrite);
    assert!(
        text.contains("m=video 40000 RTP/AVP 98\r\n") && !text.contains("rtx"),
        "{text}"
    );
}

#[test]
fn rtcp_attribute_forms() {
    let description = sample("plain");
    let mut rewrite = relayed(&description, OriginPolicy::Keep);
    rewrite.medias[0].rtcp = RtcpAttribute::Full(40_001, RELAY);
    rewrite.medias[0].rtcp_mux = true;
    let text = written(&description, &rewrite);
    let expected = "a=sendrecv\r\na=rtcp:40001 IN IP4 203.0.113.7\r\na=rtcp-mux\r\na=ptime:20\r\n";
    assert!(text.contains(expected), "{text}");
    rewrite.medias[0].rtcp = RtcpAttribute::None;
    rewrite.medias[0].rtcp_mux = false;
    assert!(!written(&description, &rewrite).contains("a=rtcp"));
}

/// `96:PCMU/8000 …` as a description with one audio media.
fn audio(codecs: &[(u8, &str)]) -> Description {
    let list: String = codecs.iter().map(|(pt, _)| format!(" {pt}")).collect();
    let named = codecs.iter().filter(|(_, name)| !name.is_empty());
    let maps: String = named
        .map(|(pt, name)| format!("a=rtpmap:{pt} {name}\r\n"))
        .collect();
    parse(&format!(
        "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP{list}\r\n{maps}"
    ))
}

fn maps(offer: &[(u8, &str)], answer: &[(u8, &str)]) -> PtMaps {
    let (offer, answer) = (audio(offer), audio(answer));
    pt_maps(
        &offer.medias()[0],
        &PtMap::default(),
        &CodecFilter::All,
        &answer.medias()[0],
        &[],
    )
}

fn pairs(entries: &[crosspoint::wire::sdp::PtEntry]) -> Vec<(u8, u8)> {
    entries.iter().map(|entry| (entry.from, entry.to)).collect()
}

const EVENT: &str = "telephone-event/8000";

#[test]
fn each_party_meets_its_own_numbers() {
    let maps = maps(&[(0, ""), (8, ""), (96, EVENT)], &[(8, ""), (101, EVENT)]);
    assert_eq!(pairs(&maps.to_answerer), [(8, 8), (96, 101)]);
    // 96 is what RFC 3264 tells the answerer to send, 101 what many send.
    assert_eq!(pairs(&maps.to_offerer), [(8, 8), (101, 96), (96, 96)]);
    assert_eq!((maps.answer.get(101), maps.answer.get(8)), (96, 8));
    assert_eq!(maps.to_answerer[1].encoding, Encoding::TelephoneEvent);
}

#[test]
fn swapped_numbers_are_the_answerers() {
    let maps = maps(
        &[(96, EVENT), (97, "opus/48000/2")],
        &[(96, "opus/48000/2"), (97, EVENT)],
    );
    assert_eq!(pairs(&maps.to_answerer), [(97, 96), (96, 97)]);
    assert_eq!(pairs(&maps.to_offerer), [(96, 97), (97, 96)]);
    assert_eq!((maps.answer.get(96), maps.answer.get(97)), (97, 96));
}

#[test]
fn an_answered_codec_that_was_not_offered_gets_a_free_number() {
    let offer = [(0, ""), (97, "iLBC/8000"), (101, EVENT)];
    let answer = [(0, ""), (97, "speex/8000"), (8, ""), (101, EVENT)];
    let maps = maps(&offer, &answer);
    assert_eq!(pairs(&maps.to_answerer), [(0, 0), (101, 101)]);
    assert_eq!(pairs(&maps.to_offerer), [(0, 0), (101, 101)]);
    assert_eq!(maps.answer.get(97), 96, "97 is iLBC to the offerer");
    assert_eq!(maps.answer.get(8), 8, "nobody else uses 8");
}

#[test]
fn the_clock_tells_two_event_formats_apart() {
    let offer = [
        (111, "opus/48000/2"),
        (110, "telephone-event/48000"),
        (126, EVENT),
    ];
    let maps = maps(
        &offer,
        &[(111, "opus/48000/2"), (126, "telephone-event/48000")],
    );
    assert_eq!(pairs(&maps.to_answerer), [(111, 111), (110, 126)]);
    assert_eq!(maps.to_answerer[1].clock_hz, 48_000);
}

#[test]
fn a_dynamic_number_without_rtpmap_means_what_was_offered() {
    let maps = maps(&[(0, ""), (101, EVENT)], &[(0, ""), (101, "")]);
    assert_eq!(pairs(&maps.to_answerer), [(0, 0), (101, 101)]);
    assert_eq!(maps.to_offerer[1].encoding, Encoding::TelephoneEvent);
}

#[test]
fn codecs_that_were_not_sent_on_are_not_matched() {
    let (offer, answer) = (audio(&[(0, ""), (8, "")]), audio(&[(0, ""), (8, "")]));
    let filter = CodecFilter::Drop(vec!["PCMU".into()]);
    let maps = pt_maps(
        &offer.medias()[0],
        &PtMap::default(),
        &filter,
        &answer.medias()[0],
        &[],
    );
    assert_eq!(pairs(&maps.to_answerer), [(8, 8)]);
    assert_ne!(
        maps.answer.get(0),
        0,
        "the offerer must not think PCMU was agreed"
    );
}

#[test]
fn a_renumbered_offer_is_matched_by_the_numbers_that_were_sent() {
    let (offer, answer) = (
        audio(&[(0, ""), (96, EVENT)]),
        audio(&[(0, ""), (101, EVENT)]),
    );
    let sent: PtMap = [(96, 101)].into_iter().collect();
    let maps = pt_maps(
        &offer.medias()[0],
        &sent,
        &CodecFilter::All,
        &answer.medias()[0],
        &[],
    );
    assert_eq!(pairs(&maps.to_offerer), [(0, 0), (101, 96)]);
    assert_eq!(sent.reversed().get(101), 96);
}

#[test]
fn retransmissions_follow_what_they_repeat() {
    let video = |numbers: [u8; 4]| {
        let [vp8, vp8_rtx, vp9, vp9_rtx] = numbers;
        parse(&format!(
            "v=0\r\nm=video 4000 RTP/AVPF {vp8_rtx} {vp9_rtx} {vp8} {vp9}\r\n\
             a=rtpmap:{vp8} VP8/90000\r\na=rtpmap:{vp9} VP9/90000\r\n\
             a=rtpmap:{vp8_rtx} rtx/90000\r\na=fmtp:{vp8_rtx} apt={vp8}\r\n\
             a=rtpmap:{vp9_rtx} rtx/90000\r\na=fmtp:{vp9_rtx} apt={vp9}\r\n"
        ))
    };
    let (offer, answer) = (video([96, 97, 98, 99]), video([100, 103, 102, 101]));
    let none = PtMap::default();
    let maps = pt_maps(
        &offer.medias()[0],
        &none,
        &CodecFilter::All,
        &answer.medias()[0],
        &[],
    );
    let mut pairs = pairs(&maps.to_answerer);
    pairs.sort_unstable();
    assert_eq!(pairs, [(96, 100), (97, 103), (98, 102), (99, 101)]);
}

#[test]
fn seeds_of_the_fuzz_target_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz/sdp");
    let seeds = std::fs::read_dir(folder).expect("the seeds");
    let count = seeds
        .map(|seed| crosspoint::fuzzing::sdp(&std::fs::read(seed.expect("a seed").path()).unwrap()))
        .count();
    assert!(count >= 7);
}

/// Lines that look like SDP, with noise.
fn line() -> impl Strategy<Value = String> {
    let rtp = "m=(audio|video|image) [0-9]{1,5}(/[0-9])? (RTP/AVP|RTP/SAVPF|udptl|X)\
               ( [0-9]{1,3}){0,5}";
    prop_oneof![
        4 => rtp,
        2 => "a=rtpmap:[ ]?[0-9]{1,3} (PCMU|opus|x\t|rtx)(/[0-9]{0,6}){0,3}",
        2 => "a=fmtp:[0-9]{1,3}[ ]{0,2}(apt=[0-9]{1,3}|0-15|[ -~]{0,8})",
        2 => "a=(sendrecv|sendonly|ptime:[0-9]{0,3}|mid:[ -~]{0,4}|rtcp-mux|bundle-only) ?",
        1 => "a=rtcp-fb:([0-9]{1,3}|\\*) [ -~]{0,6}",
        1 => "c=IN IP[46] [0-9.:/]{1,12}",
        1 => "[osctbkrzaimuep]=[ -~]{0,20}",
        1 => "a=[^\n]{0,12}",
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        crosspoint::fuzzing::sdp(&data);
        let mut prefixed = b"v=0\nm=audio 4000 RTP/AVP 0 96\na=".to_vec();
        prefixed.extend(data);
        crosspoint::fuzzing::sdp(&prefixed);
    }

    #[test]
    fn what_is_written_means_what_was_read(lines in proptest::collection::vec(line(), 0..24)) {
        crosspoint::fuzzing::sdp(format!("v=0\r\n{}\r\n", lines.join("\r\n")).as_bytes());
    }

    #[test]
    fn renumbering_there_and_back_changes_nothing(
        pts in Just((96_u8..128).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let names = ["opus/48000/2", EVENT, "iLBC/8000", "speex/16000"];
        let codecs: Vec<(u8, &str)> = pts.iter().copied().zip(names).collect();
        let description = audio(&codecs);
        let there: PtMap = pts.iter().copied().zip(pts.iter().rev().copied()).collect();
        let mut rewrite = relayed(&description, OriginPolicy::Keep);
        rewrite.medias[0].pts = there.clone();
        let moved = parse(&written(&description, &rewrite));
        let mut rewrite = relayed(&moved, OriginPolicy::Keep);
        rewrite.medias[0].pts = there.reversed();
        let back = parse(&written(&moved, &rewrite));
        prop_assert_eq!(&back.medias()[0].codecs, &description.medias()[0].codecs);
    }

    #[test]
    fn maps_are_functions_and_the_answer_has_no_number_twice(
        offer in any_codecs(),
        answer in any_codecs(),
    ) {
        let maps = maps(&offer, &answer);
        for entries in [&maps.to_answerer, &maps.to_offerer] {
            let mut from: Vec<u8> = entries.iter().map(|entry| entry.from).collect();
            from.sort_unstable();
            from.dedup();
            prop_assert_eq!(from.len(), entries.len());
        }
        let offered: Vec<u8> = offer.iter().map(|codec| codec.0).collect();
        prop_assert!(maps.to_offerer.iter().all(|entry| offered.contains(&entry.to)));
        let mut seen: Vec<u8> = answer.iter().map(|codec| maps.answer.get(codec.0)).collect();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), answer.len());
        // What the offerer sees under one of its numbers is the codec it offered there.
        for codec in &answer {
            let shown = maps.answer.get(codec.0);
            let matched = maps.to_answerer.iter().any(|e| (e.from, e.to) == (shown, codec.0));
            prop_assert!(matched || !offered.contains(&shown));
        }
    }
}

/// Up to 64 codecs with distinct numbers and names that often agree.
fn any_codecs() -> impl Strategy<Value = Vec<(u8, &'static str)>> {
    let names = [
        "PCMU/8000",
        "PCMA/8000",
        EVENT,
        "opus/48000/2",
        "G722/8000",
        "iLBC/8000",
        "x/1",
    ];
    let numbers = Just((0_u8..128).collect::<Vec<_>>()).prop_shuffle();
    let chosen = proptest::collection::vec(0..names.len(), 1..=SDP_FORMATS_MAX);
    (numbers, chosen).prop_map(move |(numbers, chosen)| {
        numbers
            .into_iter()
            .zip(chosen.into_iter().map(|index| names[index]))
            .collect()
    })
}

#[test]
fn a_filter_that_would_drop_everything_drops_nothing() {
    let video = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                 m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    let video = Description::parse(video.as_bytes()).unwrap();
    let filter = CodecFilter::Keep(vec!["PCMU".into()]);
    let (media, none) = (&video.medias()[0], PtMap::default());
    let maps = pt_maps(media, &none, &filter, media, &[]);
    assert_eq!(pairs(&maps.to_answerer), [(96, 96)]);
}

#[test]
fn numbers_are_kept_swapped_and_found_but_never_doubled() {
    let codecs = |formats: &str| {
        let mut sdp = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP".to_owned();
        let pairs: Vec<_> = formats
            .split(' ')
            .map(|f| f.split_once('=').unwrap())
            .collect();
        pairs.iter().for_each(|(pt, _)| sdp += &format!(" {pt}"));
        sdp += "\r\n";
        for (pt, name) in pairs {
            sdp += &match name.strip_prefix("rtx") {
                Some(apt) => format!("a=rtpmap:{pt} rtx/8000\r\na=fmtp:{pt} apt={apt}\r\n"),
                None => format!("a=rtpmap:{pt} {name}/8000\r\n"),
            };
        }
        Description::parse(sdp.as_bytes()).unwrap().medias()[0]
            .codecs
            .clone()
    };
    for (offered, known, want) in [
        ("0=PCMU 96=x", "0=PCMU 96=x", vec![0, 96]),
        ("96=x 97=y", "96=y 97=x", vec![97, 96]),
        ("96=x 97=y", "96=z", vec![98, 97]),
        ("96=x 97=rtx96", "98=x 99=rtx98", vec![98, 99]),
        ("96=x 97=rtx96", "97=x", vec![97, 98]),
    ] {
        let (offered, known) = (codecs(offered), codecs(known));
        let map = numbers_for(&offered, &known);
        let got: Vec<u8> = offered.iter().map(|c| map.get(c.pt)).collect();
        let distinct: std::collections::HashSet<_> = got.iter().collect();
        assert_eq!(distinct.len(), got.len());
        assert_eq!(got, want);
    }
    // 128 numbers in use: the past is forgotten rather than a number doubled.
    let all: Vec<String> = (0..128).map(|pt| format!("{pt}=k{pt}")).collect();
    let full: Vec<_> = all
        .chunks(64)
        .flat_map(|part| codecs(&part.join(" ")))
        .collect();
    assert!(numbers_for(&codecs("96=x 97=y"), &full).is_empty());
}
