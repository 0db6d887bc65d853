//! The SDP a party is told.

use super::Desk;
use super::addresses::told_address;
use crate::engine::Privacy;
use crate::switch::dialogue::Dialogue;
use crate::switch::party::LegMedia;
use crate::switch::request::{Options, RtcpAttributeStyle};
use crate::wire::sdp::{
    CodecFilter, Description, Media, MediaRewrite, OriginPolicy, PtMap, Rewrite, RtcpAttribute,
};

pub(super) fn rewrite_line(
    line: &LegMedia,
    media: &Media,
    options: &Options,
    mux: bool,
) -> MediaRewrite {
    let port = if media.rejected() {
        0
    } else {
        line.local.port()
    };
    let address = told_address(line, options);
    let rtcp_port = if mux { port } else { port.saturating_add(1) };
    let rtcp = match options.rtcp_attribute {
        _ if port == 0 || !media.is_rtp() => RtcpAttribute::None,
        RtcpAttributeStyle::Omit => RtcpAttribute::None,
        RtcpAttributeStyle::Port => RtcpAttribute::Port(rtcp_port),
        RtcpAttributeStyle::Full => RtcpAttribute::Full(rtcp_port, address),
    };
    MediaRewrite {
        address,
        port,
        rtcp,
        rtcp_mux: mux,
        hold_zero: media.zero_address,
        pts: PtMap::default(),
        ptime: None,
        direction: media.direction,
        codecs: CodecFilter::All,
        listed: Vec::new(),
        transport: None,
    }
}

/// Writes what `receiver` is told.
pub(super) fn write(
    desk: &Desk<'_>,
    draft: &mut Dialogue,
    (receiver, privacy): (usize, Privacy),
    description: &Description,
    medias: Vec<MediaRewrite>,
    options: &Options,
) -> String {
    let party = &mut draft.parties[receiver];
    let address = party
        .medias
        .iter()
        .find(|m| m.stream.is_some())
        .map_or_else(
            || desk.site.unspecified().ip(),
            |m| told_address(m, options),
        );
    let mut rewrite = Rewrite {
        origin: if options.replace_origin {
            OriginPolicy::Address(address)
        } else {
            OriginPolicy::Keep
        },
        session_address: Some(address),
        medias,
    };
    let mut out = String::with_capacity(SDP_LEN_TYPICAL);
    if privacy == Privacy::Masked {
        let as_of = |session_id, version| OriginPolicy::Masked {
            session_id,
            version,
            address,
        };
        rewrite.origin = as_of(0, 0);
        description.write(&rewrite, &mut out);
        let text = std::mem::take(&mut out);
        let (id, version) = party.origin.next(&text, || desk.site.random());
        rewrite.origin = as_of(id, version);
    }
    description.write(&rewrite, &mut out);
    out
}

/// An answer with two codecs fits without growing.
const SDP_LEN_TYPICAL: usize = 512;
