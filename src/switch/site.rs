//! Where the switch stands: its interfaces, their ports, and which addresses media may go to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::plane::interface::{
    Interface, InterfaceSpec, Interfaces, OpenPorts, OpenPortsError, SocketOptions, SpecError,
};
use crate::plane::ports::{PortRange, RangeError};

use super::SwitchError;
use super::request::Family;

/// What a site is made of.
#[derive(Clone, Debug)]
pub struct SiteConfig<'a> {
    /// `NAME/ADDRESS!ADVERTISED` each; the first is the default.
    pub interfaces: &'a [String],
    /// First and last media port of each.
    pub ports: (u16, u16),
    /// How long a freed port rests.
    pub quarantine: Duration,
    /// Type of service octet of media.
    pub tos: u8,
    /// Socket buffer in bytes; `None`: the kernel's default.
    pub socket_buffer: Option<usize>,
}

/// A site that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// An interface.
    #[error("interface: {0}")]
    Interface(#[from] SpecError),
    /// The port range.
    #[error("ports: {0}")]
    Ports(#[from] RangeError),
    /// An address that is not of this machine, or no ports on it.
    #[error("interface '{name}': {source}")]
    Unusable {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: OpenPortsError,
    },
}

/// Interfaces and ports.
#[derive(Debug)]
pub struct Site {
    interfaces: Interfaces,
    socket: SocketOptions,
}

/// Ports of one interface address.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The interface's name.
    pub name: String,
    /// Its local address.
    pub address: IpAddr,
    /// Ports in use.
    pub used: usize,
    /// Ports free.
    pub free: usize,
}

impl Site {
    /// Parses the interfaces and proves each by opening a pair of ports on it.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn new(config: SiteConfig<'_>) -> Result<Self, SiteError> {
        let specs: Result<Vec<InterfaceSpec>, SpecError> =
            config.interfaces.iter().map(|text| text.parse()).collect();
        let range = PortRange::new(config.ports.0, config.ports.1)?;
        let seed = fastrand::u64(..);
        let interfaces = Interfaces::new(specs?, range, config.quarantine, seed)?;
        let socket = SocketOptions {
            receive_buffer: config.socket_buffer,
            send_buffer: config.socket_buffer,
            dscp: config.tos >> 2,
        };
        for interface in interfaces.list() {
            interface
                .open_pair(&socket, Instant::now())
                .map_err(|source| SiteError::Unusable {
                    name: interface.spec().name.clone(),
                    source,
                })?;
        }
        Ok(Self { interfaces, socket })
    }

    /// The configured name, or the first interface's without one.
    pub(super) fn interface_name(&self, asked: Option<&str>) -> Result<Box<str>, SwitchError> {
        let mut names = self
            .interfaces
            .list()
            .iter()
            .map(|i| i.spec().name.as_str());
        match asked {
            None => Ok(names.next().expect("a site has an interface").into()),
            Some(name) => names
                .find(|known| *known == name)
                .map(Into::into)
                .ok_or_else(|| SwitchError::UnknownInterface(name.to_owned())),
        }
    }

    /// Opens RTP and RTCP ports on a named interface, of the family asked for if it has one.
    pub(super) fn open_pair(
        &self,
        name: &str,
        family: Option<Family>,
        tos: Option<u8>,
        now: Instant,
    ) -> Result<OpenPorts, SwitchError> {
        let interface = self.pick(name, family)?;
        let socket = SocketOptions {
            dscp: tos.map_or(self.socket.dscp, |t| t >> 2),
            ..self.socket
        };
        interface
            .open_pair(&socket, now)
            .map_err(|error| match error {
                OpenPortsError::System { source, .. } if out_of_descriptors(&source) => {
                    tracing::warn!(%source, "no media port");
                    SwitchError::OutOfPorts
                }
                OpenPortsError::System { source, .. } => SwitchError::Socket(source),
                full => {
                    tracing::warn!(%full, "no media port");
                    SwitchError::OutOfPorts
                }
            })
    }

    fn pick(&self, name: &str, family: Option<Family>) -> Result<&Interface, SwitchError> {
        use crate::plane::interface::Family as Plane;
        let find = |family| self.interfaces.find(Some(name), family);
        match family {
            Some(Family::Ip4) => find(Plane::V4).or_else(|| find(Plane::V6)),
            Some(Family::Ip6) => find(Plane::V6).or_else(|| find(Plane::V4)),
            None => find(Plane::V4).or_else(|| find(Plane::V6)),
        }
        .ok_or_else(|| SwitchError::UnknownInterface(name.to_owned()))
    }

    /// Whether `address` is a port the switch has open.
    pub(super) fn owns(&self, address: SocketAddr) -> bool {
        self.interfaces.owned().contains(address)
    }

    /// The address of a line that has none.
    pub(super) fn unspecified(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    }

    /// A random number for what must not be guessed by peers, but is no key.
    pub(super) fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    /// How full each interface is.
    pub fn usage(&self) -> Vec<Usage> {
        let usage = |i: &Interface| {
            let (used, free_pairs) = i.usage();
            let spec = i.spec();
            Usage {
                name: spec.name.clone(),
                address: spec.local,
                used,
                free: 2 * free_pairs,
            }
        };
        self.interfaces.list().iter().map(usage).collect()
    }
}

fn out_of_descriptors(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(EMFILE | ENFILE | ENOBUFS | ENOMEM)
    )
}

const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Loopback,
    LinkLocal,
    Private,
    Public,
    /// Multicast, broadcast or unspecified: nobody's own address.
    Nobody,
}

/// How far `ip` reaches (RFC 6890): 10/8, 172.16/12, 192.168/16, 100.64/10 and fc00::/7 are
/// private.
pub(super) fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            match () {
                () if v4.is_loopback() => Scope::Loopback,
                () if v4.is_link_local() => Scope::LinkLocal,
                () if a == 0 || a >= 224 => Scope::Nobody,
                () if v4.is_private() || (a == 100 && (64..128).contains(&b)) => Scope::Private,
                () => Scope::Public,
            }
        }
        IpAddr::V6(v6) => match () {
            () if v6.is_loopback() => Scope::Loopback,
            () if v6.is_unicast_link_local() => Scope::LinkLocal,
            () if v6.is_unspecified() || v6.is_multicast() => Scope::Nobody,
            () if v6.is_unique_local() => Scope::Private,
            () => Scope::Public,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_follow_rfc_6890() {
        let of = |text: &str| scope(text.parse().unwrap());
        for (text, want) in [
            ("127.0.0.2", Scope::Loopback),
            ("::1", Scope::Loopback),
            ("::ffff:127.0.0.1", Scope::Loopback),
            ("169.254.1.1", Scope::LinkLocal),
            ("fe80::1", Scope::LinkLocal),
            ("10.0.0.1", Scope::Private),
            ("172.31.255.255", Scope::Private),
            ("172.32.0.0", Scope::Public),
            ("100.64.0.1", Scope::Private),
            ("100.128.0.1", Scope::Public),
            ("fd00::1", Scope::Private),
            ("192.0.2.1", Scope::Public),
            ("2001:db8::1", Scope::Public),
            ("224.0.0.1", Scope::Nobody),
            ("255.255.255.255", Scope::Nobody),
            ("0.0.0.0", Scope::Nobody),
            ("::", Scope::Nobody),
        ] {
            assert_eq!(of(text), want, "{text}");
        }
    }
}
