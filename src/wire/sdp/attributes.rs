//! What happens to each attribute on its way through a relay.

/// What the relay does with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Never sent on: ICE and everything else that names an address past the relay, or promises
    /// what the relay does not do.
    Stripped,
    /// We understand it and write it ourselves.
    Typed(Typed),
    /// Sent on, also to a party that must not learn who the other one is.
    Harmless,
    /// Sent on only to a party that may learn who the other one is. Every attribute we do not know
    /// belongs here.
    Revealing,
}

/// An attribute with a place in the typed model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    BundleOnly,
    Direction(super::Direction),
    Fmtp,
    Mid,
    Ptime,
    Rtcp,
    RtcpFb,
    RtcpMux,
    RtcpMuxOnly,
    Rtpmap,
}

/// Decides by name (case-insensitive, as senders disagree about the case).
pub(super) fn fate(name: &str) -> Fate {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        fate_lowercase(&name.to_ascii_lowercase())
    } else {
        fate_lowercase(name)
    }
}

fn fate_lowercase(name: &str) -> Fate {
    use super::Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    match name {
        "rtpmap" => Fate::Typed(Typed::Rtpmap),
        "fmtp" => Fate::Typed(Typed::Fmtp),
        "sendrecv" => Fate::Typed(Typed::Direction(SendRecv)),
        "sendonly" => Fate::Typed(Typed::Direction(SendOnly)),
        "recvonly" => Fate::Typed(Typed::Direction(RecvOnly)),
        "inactive" => Fate::Typed(Typed::Direction(Inactive)),
        "ptime" => Fate::Typed(Typed::Ptime),
        "rtcp" => Fate::Typed(Typed::Rtcp),
        "rtcp-fb" => Fate::Typed(Typed::RtcpFb),
        "rtcp-mux" => Fate::Typed(Typed::RtcpMux),
        "rtcp-mux-only" => Fate::Typed(Typed::RtcpMuxOnly),
        "mid" => Fate::Typed(Typed::Mid),
        "bundle-only" => Fate::Typed(Typed::BundleOnly),
        _ if is_stripped(name) => Fate::Stripped,
        _ if is_harmless(name) => Fate::Harmless,
        _ => Fate::Revealing,
    }
}

/// ICE (RFC 8839), its drafts (`alt`), and other ways to say an address (RFC 4570, 6871, 6947).
fn is_stripped(name: &str) -> bool {
    name.starts_with("ice-")
        || matches!(
            name,
            "candidate"
                | "remote-candidates"
                | "end-of-candidates"
                | "ice2"
                | "alt"
                | "altc"
                | "ccap"
                | "source-filter"
        )
}

/// Media properties only. Header extensions are not here because a masked leg carries none.
fn is_harmless(name: &str) -> bool {
    name.starts_with("t38")
        || matches!(
            name,
            "conf"
                | "content"
                | "crypto"
                | "curr"
                | "des"
                | "fingerprint"
                | "framerate"
                | "framesize"
                | "group"
                | "imageattr"
                | "label"
                | "lang"
                | "max-message-size"
                | "maxptime"
                | "maxprate"
                | "orient"
                | "quality"
                | "rtcp-rsize"
                | "rtcp-xr"
                | "sctp-port"
                | "sctpmap"
                | "sdplang"
                | "setup"
                | "silencesupp"
        )
}

/// Attributes whose value begins with a payload type, besides the typed ones (RFC 6064, 6236).
pub(super) fn begins_with_pt(name: &str) -> bool {
    matches!(name, "framesize" | "imageattr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_is_stripped_in_any_case_and_unknown_attributes_reveal() {
        for name in [
            "candidate",
            "ICE-ufrag",
            "ice-pwd",
            "ice-lite",
            "End-Of-Candidates",
        ] {
            assert_eq!(fate(name), Fate::Stripped, "{name}");
        }
        for name in [
            "ssrc",
            "msid",
            "tool",
            "x-anything",
            "extmap",
            "path",
            "identity",
        ] {
            assert_eq!(fate(name), Fate::Revealing, "{name}");
        }
        assert_eq!(fate("T38FaxVersion"), Fate::Harmless);
        assert_eq!(fate("PTIME"), Fate::Typed(Typed::Ptime));
    }
}
