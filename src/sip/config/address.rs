//! Addresses in settings: of listeners, of networks, of trunks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use rsipstack::sip::{Host, Scheme, Uri};

/// What carries SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `udp`.
    Udp,
    /// `tcp`.
    Tcp,
    /// `tls`.
    Tls,
    /// `ws` (RFC 7118).
    Ws,
}

impl Transport {
    const ALL: [(&'static str, Self); 4] = [
        ("udp", Self::Udp),
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("ws", Self::Ws),
    ];
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(_, t)| t == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// Where to listen: `udp:127.0.0.1:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// How.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.address)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text
            .split_once(':')
            .ok_or_else(|| format!("'{text}' is not TRANSPORT:ADDR:PORT"))?;
        let (_, transport) = Transport::ALL
            .iter()
            .find(|(n, _)| *n == name)
            .ok_or_else(|| format!("'{name}' is not udp, tcp, tls or ws"))?;
        let address = address
            .parse()
            .map_err(|_| format!("'{address}' is not ADDR:PORT"))?;
        Ok(Self {
            transport: *transport,
            address,
        })
    }
}

/// An address, or all that share its first bits: `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether it is one of them; an IPv4 address in IPv6 clothes is that IPv4 address.
    pub(in crate::sip) fn contains(&self, address: IpAddr) -> bool {
        let shared = |a: u128, b: u128, width: u32| {
            let ignored = width - u32::from(self.bits);
            a.checked_shr(ignored).unwrap_or(0) == b.checked_shr(ignored).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => shared(u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.into(), b.into(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("'{text}' is not an address or a network"))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|b| *b <= width)
                .ok_or_else(|| format!("'/{bits}' is not /0 to /{width}"))?,
        };
        Ok(Self { address, bits })
    }
}

/// A SIP URI that names a host.
pub(super) fn uri(text: &str) -> Result<Uri, String> {
    let uri = Uri::try_from(text).map_err(|e| format!("'{text}' is not a SIP URI: {e}"))?;
    if !matches!(uri.scheme, Some(Scheme::Sip | Scheme::Sips)) {
        return Err(format!("'{text}' begins with neither sip: nor sips:"));
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    match &uri.host_with_port.host {
        Host::Domain(domain) if !domain.0.chars().all(is_host) => {
            Err(format!("'{}' is not a host", domain.0))
        }
        _ => Ok(uri),
    }
}
