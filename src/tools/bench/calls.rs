//! The ng requests of a two-party call, as a SIP proxy sends them.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::audio::codec::CodecKind;
use crate::tools::ng_client::Request;
use crate::tools::sdp;

/// What the caller offers: the G.711 pair and telephone-event (RFC 4733).
const OFFERED: [(u8, &str); 3] = [
    (0, "PCMU/8000"),
    (8, "PCMA/8000"),
    (101, "telephone-event/8000"),
];

/// What the callee takes of it.
const ANSWERED: [(u8, &str); 2] = [(0, "PCMU/8000"), (101, "telephone-event/8000")];

/// The caller's tag in every call.
pub(crate) const CALLER: &str = "caller";

/// The callee's tag in every call.
pub(crate) const CALLEE: &str = "callee";

fn request(command: &str, call_id: &str) -> Request {
    Request::new(command)
        .list("supports", &["load limit"])
        .text("call-id", call_id)
        .text("from-tag", CALLER)
}

fn with_sdp(request: Request, sdp: &str) -> Request {
    request
        .list("replace", &["origin"])
        .text("ICE", "remove")
        .text("sdp", sdp)
}

/// The caller at `at` invites.
pub(crate) fn offer(call_id: &str, at: SocketAddrV4) -> Request {
    with_sdp(
        request("offer", call_id),
        &sdp::audio(at, &OFFERED, "a=ptime:20\r\n"),
    )
}

/// The callee at `at` accepts.
pub(crate) fn answer(call_id: &str, at: SocketAddrV4) -> Request {
    let request = request("answer", call_id).text("to-tag", CALLEE);
    with_sdp(request, &sdp::audio(at, &ANSWERED, "a=ptime:20\r\n"))
}

/// The party of this offer or answer is listened to for keys, which are told to `log`.
pub(crate) fn with_keys(request: Request, log: Option<SocketAddr>) -> Request {
    match log {
        Some(log) => request
            .list("flags", &["detect-DTMF"])
            .text("dtmf-log-dest", &log.to_string()),
        None => request,
    }
}

/// The call of this offer is recorded from now on, in the way that `keys` say. A switch that
/// knows none of them ignores them.
pub(crate) fn recorded(offer: Request, keys: &[(&'static str, String)]) -> Request {
    let offer = offer.text("record-call", "yes");
    keys.iter()
        .fold(offer, |offer, (key, value)| offer.text(key, value))
}

/// The caller at `at` invites with PCMU alone; the callee is to see `codec` alone.
pub(crate) fn offer_for(call_id: &str, at: SocketAddrV4, codec: CodecKind) -> Request {
    let sdp = sdp::audio(at, &[(0, "PCMU/8000")], "a=ptime:20\r\n");
    let wanted = codec.to_string();
    with_sdp(request("offer", call_id), &sdp)
        .lists("codec", &[("mask", &["PCMU"]), ("transcode", &[&wanted])])
}

/// The callee at `at` accepts `codec` under the payload type it was offered with.
pub(crate) fn answer_with(call_id: &str, at: SocketAddrV4, codec: (u8, CodecKind)) -> Request {
    let (payload_type, kind) = codec;
    let rtpmap = kind.to_string();
    let sdp = sdp::audio(at, &[(payload_type, &rtpmap)], "a=ptime:20\r\n");
    with_sdp(request("answer", call_id).text("to-tag", CALLEE), &sdp)
}

/// The payload type of `kind`, which must be the only codec the SDP of this reply has.
pub(crate) fn only_payload_type(reply: &Value, kind: CodecKind) -> Result<u8> {
    let text = reply["sdp"].as_str().context("the reply has no SDP")?;
    let media = text.lines().find_map(|line| line.strip_prefix("m=audio "));
    let formats: Vec<&str> = media
        .context("the reply's SDP has no audio")?
        .split_whitespace()
        .skip(2)
        .collect();
    let &[format] = formats.as_slice() else {
        return Err(anyhow!("{kind} alone was asked for, this came: {text}"));
    };
    let payload_type: u8 = format.parse().with_context(|| format!("format {format}"))?;
    // The numbers below 35 are assigned (RFC 3551 section 6) and need no map.
    let map = format!("a=rtpmap:{payload_type} ");
    let named = match text.lines().find_map(|line| line.strip_prefix(&map)) {
        Some(rtpmap) => CodecKind::from_rtpmap(rtpmap),
        None => match payload_type {
            0 => Some(CodecKind::Pcmu),
            8 => Some(CodecKind::Pcma),
            9 => Some(CodecKind::G722),
            _ => None,
        },
    };
    ensure!(
        named == Some(kind),
        "{kind} was asked for, this came: {text}"
    );
    Ok(payload_type)
}

/// A participant at `at` comes alone, with PCMU.
pub(crate) fn publish(call_id: &str, tag: &str, at: SocketAddrV4) -> Request {
    Request::new("publish")
        .text("call-id", call_id)
        .text("from-tag", tag)
        .text(
            "sdp",
            &sdp::audio(at, &[(0, "PCMU/8000")], "a=ptime:20\r\n"),
        )
}

/// Everybody in the call hears everybody else, or the loudest of them.
pub(crate) fn mesh_all(call_id: &str, loudest: Option<u8>) -> Request {
    let request = Request::new("mesh")
        .list("calls", &[call_id])
        .list("flags", &["all"]);
    match loudest {
        Some(loudest) => request.text("loudest", &loudest.to_string()),
        None => request,
    }
}

/// A file is played to everybody in the call for an hour.
pub(crate) fn play_all(call_id: &str, file: &str) -> Request {
    Request::new("play media")
        .text("call-id", call_id)
        .list("flags", &["all"])
        .text("file", file)
        .text("repeat-duration", "3600000")
}

/// The call is over.
pub(crate) fn delete(call_id: &str) -> Request {
    request("delete", call_id)
}

/// The whole call is over, whoever is in it; no statistics of hundreds, please.
pub(crate) fn delete_all(call_id: &str) -> Request {
    Request::new("delete")
        .text("call-id", call_id)
        .list("flags", &["fast"])
}

/// How the call stands.
pub(crate) fn query(call_id: &str) -> Request {
    Request::new("query").text("call-id", call_id)
}

/// Where the switch wants the media of the party that will see the SDP of this reply.
pub(crate) fn media_address(reply: &Value) -> Result<SocketAddrV4> {
    let text = reply["sdp"].as_str().context("the reply has no SDP")?;
    sdp::media_address(text).ok_or_else(|| anyhow!("no usable media address in: {text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(media: &str) -> Value {
        json!({"sdp": format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/AVP {media}")})
    }

    #[test]
    fn the_codec_is_read_from_its_map_or_its_number() {
        let opus = reply("96\r\na=rtpmap:96 opus/48000/2\r\n");
        assert_eq!(only_payload_type(&opus, CodecKind::Opus).unwrap(), 96);
        assert_eq!(
            only_payload_type(&reply("9\r\n"), CodecKind::G722).unwrap(),
            9
        );
        let mapped = reply("8\r\na=rtpmap:8 PCMA/8000\r\n");
        assert_eq!(only_payload_type(&mapped, CodecKind::Pcma).unwrap(), 8);
    }

    #[test]
    fn a_switch_that_offers_something_else_is_not_measured() {
        for (media, kind) in [
            ("0\r\n", CodecKind::Pcma),
            ("0 8\r\n", CodecKind::Pcmu),
            ("96\r\n", CodecKind::Opus),
            ("x\r\n", CodecKind::Pcmu),
            ("", CodecKind::Pcmu),
        ] {
            assert!(only_payload_type(&reply(media), kind).is_err(), "{media}");
        }
        assert!(only_payload_type(&json!({"sdp": "v=0\r\n"}), CodecKind::Pcmu).is_err());
    }

    #[test]
    fn the_offer_asks_for_one_codec_in_place_of_the_other() {
        let at = "192.0.2.7:4000".parse().unwrap();
        let bytes = offer_for("c", at, CodecKind::Opus).encode();
        let text = String::from_utf8(bytes).unwrap();
        let asked = "5:codecd4:maskl4:PCMUe9:transcodel12:opus/48000/2ee";
        assert!(text.contains(asked), "{text}");
    }
}
