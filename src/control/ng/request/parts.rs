//! Parts of a request that are more than one value.

use std::borrow::Cow;

/// Flags without a value that we honour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `all`: every participant.
    pub all: bool,
    /// `allow-transcoding`: a listener may answer with other codecs than it was offered.
    pub allow_transcoding: bool,
    /// `always-transcode`: whatever the offerer offered is accepted from it.
    pub always_transcode: bool,
    /// `asymmetric`: the party does not receive where it sends from.
    pub asymmetric: bool,
    /// `block-DTMF`: others do not get the keys of the party whose SDP this is.
    pub block_dtmf: bool,
    /// `detect-DTMF`: keys are listened for in the audio of the party whose SDP this is.
    pub detect_dtmf: bool,
    /// `directional`: only the selected participant, not the whole call.
    pub directional: bool,
    /// `early-media`.
    pub early_media: bool,
    /// `fast`: no statistics in the reply to `delete`.
    pub fast: bool,
    /// `fatal`: an unknown call is an error.
    pub fatal: bool,
    /// `force-transcoding`: decode and encode even the same codec.
    pub force_transcoding: bool,
    /// `full-rtcp-attribute`: `a=rtcp` with an address.
    pub full_rtcp_attribute: bool,
    /// `inactive`: a listener is offered nothing yet.
    pub inactive: bool,
    /// `media-handover`: a latched source may be taken over.
    pub media_handover: bool,
    /// `no-rtcp-attribute`: no `a=rtcp`.
    pub no_rtcp_attribute: bool,
    /// `original-sendrecv`: directions in the SDP stay as the client wrote them.
    pub original_sendrecv: bool,
    /// `provisional`: the answer does not choose its party yet.
    pub provisional: bool,
    /// `reset`: forget what was learned.
    pub reset: bool,
    /// `single-codec`: the answer names one codec.
    pub single_codec: bool,
    /// `SIPREC`: a listener's lines have labels.
    pub siprec: bool,
    /// `SIP-source-address`: trust `received-from` and not the SDP.
    pub sip_source_address: bool,
    /// `strict-source`: drop what does not come from the latched source.
    pub strict_source: bool,
    /// `to-tag`: the to-tag of `delete` counts.
    pub to_tag: bool,
    /// `trust-address`: the address of the SDP is right.
    pub trust_address: bool,
}

/// What to do about RTP and RTCP on one port (RFC 5761).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcpMux {
    /// Offer it, even if the client did not.
    pub offer: bool,
    /// Offer nothing else.
    pub require: bool,
    /// Do not offer it to the other party.
    pub demux: bool,
    /// Accept it where it is offered.
    pub accept: bool,
    /// Refuse it where it is offered.
    pub reject: bool,
}

/// Which parts of an SDP to replace by our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replace {
    /// The address of `o=`.
    pub origin: bool,
    /// The address of the session's `c=`; obsolete, since it is always replaced.
    pub session_connection: bool,
    /// The version of `o=`.
    pub sdp_version: bool,
    /// The user name of `o=`.
    pub username: bool,
    /// `s=`.
    pub session_name: bool,
    /// `0.0.0.0`, which asks for hold.
    pub zero_address: bool,
}

/// Codecs to take away, to add and to prefer; names as `PCMA`, `opus/48000/2`, `all` or `full`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codecs<'a> {
    /// Take these away (`strip`, `ignore`).
    pub strip: Vec<Cow<'a, str>>,
    /// But not these.
    pub except: Vec<Cow<'a, str>>,
    /// Nor these, and they come first.
    pub offer: Vec<Cow<'a, str>>,
    /// Take these as accepted.
    pub accept: Vec<Cow<'a, str>>,
    /// Hide these from the other party, and decode them (`mask`, `consume`).
    pub mask: Vec<Cow<'a, str>>,
    /// Add these.
    pub transcode: Vec<Cow<'a, str>>,
    /// Options of those that the sender of the SDP is sent.
    pub set: Vec<Cow<'a, str>>,
}

/// Family of an address in SDP (RFC 8866 section 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// `IP4`
    Ip4,
    /// `IP6`
    Ip6,
}

/// What SIP message made the client ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SipMessageType {
    /// A request.
    Request,
    /// A reply, with [`Request::sip_code`](super::Request::sip_code).
    Reply,
}
