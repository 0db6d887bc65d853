//! The ng requests of a plain two-party call, as a SIP proxy sends them.

use std::net::SocketAddrV4;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

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

/// The call is over.
pub(crate) fn delete(call_id: &str) -> Request {
    request("delete", call_id)
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
