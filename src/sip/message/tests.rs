//! Bodies, keys and names, well and badly written.

use super::*;

fn request(headers: &str, body: &str) -> Request {
    let text = format!(
        "INFO sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5;branch=z9hG4bKa\r\n\
         From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: i\r\nCSeq: 7 INFO\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Request::try_from(text.as_str()).expect("a request")
}

fn pressed(kind: &str, body: &str) -> Option<(char, u128)> {
    let request = request(&format!("Content-Type: {kind}\r\n"), body);
    let pressed = digit(&request).ok()??;
    Some((pressed.0.as_char(), pressed.1.as_millis()))
}

#[test]
fn keys_come_by_info_in_both_usual_forms() {
    let relay = "application/dtmf-relay";
    assert_eq!(
        pressed(relay, "Signal=5\r\nDuration=250\r\n"),
        Some(('5', 250))
    );
    assert_eq!(pressed(relay, "Signal= #\nDuration= x\n"), Some(('#', 160)));
    assert_eq!(pressed(relay, "signal=10"), Some(('*', 160)));
    assert_eq!(
        pressed(relay, "Signal=11\r\nDuration=99999999"),
        Some(('#', 10_000))
    );
    assert_eq!(pressed("Application/DTMF; x=y", "d"), Some(('D', 160)));
    for (kind, body) in [
        (relay, "Signal=E"),
        (relay, "Duration=1"),
        ("text/plain", "5"),
    ] {
        assert_eq!(pressed(kind, body), None, "{kind} {body}");
    }
    assert!(matches!(digit(&request("", "")), Ok(None)));
}

#[test]
fn a_body_is_sdp_or_is_refused_with_what_it_may_be() {
    assert_eq!(sdp(&request("", "")), Ok(None));
    let whole = request("c: application/sdp;charset=x\r\n", "v=0\r\n");
    assert_eq!(sdp(&whole), Ok(Some(b"v=0\r\n".to_vec())));
    let other = request("Content-Type: text/plain\r\n", "v=0\r\n");
    assert_eq!(sdp(&other), Err(vec![accept()]));
    let packed = request("Content-Type: application/sdp\r\ne: gzip\r\n", "x");
    assert_eq!(
        sdp(&packed),
        Err(vec![Header::AcceptEncoding("identity".into())])
    );
}

#[test]
fn a_part_of_a_body_may_be_the_sdp() {
    let text = "--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b \r\n\
                content-type: application/SDP;x=y\r\n\r\nv=0\r\n\r\n--b--\r\n";
    let of = |kind: &str, text: &str| sdp(&request(&format!("c: multipart/{kind}\r\n"), text));
    let found = Ok(Some(b"v=0\r\n".to_vec()));
    for kind in ["mixed;boundary=b", "Related; x=y ; BOUNDARY = \"b\""] {
        assert_eq!(of(kind, text), found, "{kind}");
    }
    assert_eq!(
        of("mixed;boundary=b", &format!("preamble\r\n{text}")),
        found
    );
    let long = "b".repeat(70);
    let bounded = |b: &str| {
        of(
            &format!("mixed;boundary={b}"),
            &text.replace("--b", &format!("--{b}")),
        )
    };
    assert_eq!(bounded(&long), found);
    let none = Err(vec![accept()]);
    assert_eq!(bounded(&(long + "b")), none);
    for kind in ["mixed", "mixed;boundary=", "mixed;boundary=c"] {
        assert_eq!(of(kind, text), none, "{kind}");
    }
    let odd = [
        text.replace("application/SDP", "application/pdf"),
        text.replace("content-type: application/SDP", "x: y"),
        text.replace("SDP;x=y", "sdp\r\nContent-Transfer-Encoding: base64"),
        text.replace("\r\n--b--", ""),
        text.replacen("--b ", "--b--", 1),
        text.replacen("--b ", "--bc", 1),
        "--b".to_owned(),
        "--b\r\n".to_owned(),
    ];
    for text in odd {
        assert_eq!(of("mixed;boundary=b", &text), none, "{text}");
    }
    let part = "--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n";
    assert_eq!(of("mixed;boundary=b", &(part.repeat(14) + text)), found);
    assert_eq!(
        of("mixed;boundary=b", &(part.repeat(15) + text)),
        none,
        "too many parts"
    );
    // What may be left aside is.
    let aside = "c: text/plain\r\nContent-Disposition: x;handling=optional\r\n";
    assert_eq!(sdp(&request(aside, "hi")), Ok(None));
}

#[test]
fn what_is_required_is_known_or_named() {
    assert_eq!(requires_reliable(&request("", "")), Ok(false));
    assert_eq!(
        requires_reliable(&request("Require: timer, 100REL\r\n", "")),
        Ok(true)
    );
    let unknown = request("Require: 100rel, gruu\r\nRequire: path\r\n", "");
    let wanted = vec![Header::Unsupported("gruu, path".into())];
    assert_eq!(requires_reliable(&unknown), Err(wanted));
}

#[test]
fn users_are_read_without_their_escapes() {
    let named = |text: &str| user(&Uri::try_from(text).expect("a URI"));
    assert_eq!(named("sip:%2b49%20x@host"), "+49 x");
    assert_eq!(named("sip:100%@host"), "100%");
    assert_eq!(named("sip:a%0d%0aB@host"), "aB");
    assert_eq!(named("sip:%ff@host"), "\u{fffd}");
    assert_eq!(named("sip:host"), "");
    assert_eq!(named("sip:host;transport=tcp"), "");
    assert_eq!(
        named("sip:+4930;phone-context=de@host:5060;user=phone"),
        "+4930"
    );
}

#[test]
fn nothing_breaks_out_of_a_header() {
    assert_eq!(printable("A \"B\"\r\nEvil: <x>\\"), "A BEvil: x");
}

#[test]
fn methods_that_the_other_end_takes_are_found() {
    let request = request("Allow: INVITE, update\r\n", "");
    assert!(allows(&request, Method::Update));
    assert!(!allows(&request, Method::PRack));
    assert_eq!(cseq(&request), Some(7));
}
