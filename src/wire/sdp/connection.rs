//! `c=`: where a party is (RFC 8866 section 5.7).

use std::net::IpAddr;

use sdp_types::{Connection, Session};

use super::description::media_line_number;
use super::error::{Fault, SdpError};

/// The address without `/ttl`, `/count` and zone; `None` for a name.
pub(super) fn address_of(connection: &Connection) -> Option<IpAddr> {
    host_of(connection).parse().ok()
}

fn host_of(connection: &Connection) -> &str {
    let text = connection.connection_address.as_str();
    let text = text.split_once('/').map_or(text, |(address, _)| address);
    text.split_once('%').map_or(text, |(address, _)| address)
}

/// Refuses what looks like an address and is none, as `999.1.1.1`: the last label of a host name is
/// not all digits (RFC 1123 section 2.1), and no label has a colon.
pub(super) fn check_addresses(
    session: &Session,
    medias: &[sdp_types::Media],
    text: &[u8],
) -> Result<(), SdpError> {
    let is_wrong = |connection: &&Connection| {
        let host = host_of(connection);
        let last = host.trim_end_matches('.').rsplit('.').next();
        let is_number = last.is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        address_of(connection).is_none() && (is_number || host.contains(':'))
    };
    let used = medias.iter().map(|media| media.connections.first());
    let of_medias = used.enumerate().map(|(ix, used)| (Some(ix), used));
    let mut all = [(None, session.connection.as_ref())]
        .into_iter()
        .chain(of_medias);
    match all.find(|(_, connection)| connection.as_ref().is_some_and(is_wrong)) {
        Some((media, _)) => Err(SdpError::Syntax {
            line: connection_line_number(text, media),
            field: "the address of c=",
            fault: Fault::NoAddress,
        }),
        None => Ok(()),
    }
}

/// The line of the first `c=` of the session, or of a media.
fn connection_line_number(text: &[u8], media: Option<usize>) -> usize {
    let begins = media.map_or(0, |index| media_line_number(text, index));
    let lines = text.split(|byte| *byte == b'\n').enumerate().skip(begins);
    let mut found = lines.filter(|(_, line)| line.starts_with(b"c="));
    found.next().map_or(begins, |(ix, _)| ix + 1)
}
