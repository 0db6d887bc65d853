//! Named local addresses, and the opening of sockets on them.
//!
//! Written `NAME/ADDRESS!ADVERTISED`: the name by which signalling picks a network, the address to
//! bind, and the address to write into SDP where a NAT stands between. Name and advertised address
//! may be left out.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::ports::{OutOfPorts, OwnedAddresses, PortPool, PortRange, Ports};

/// Name of an interface that was given none.
pub const DEFAULT_NAME: &str = "default";

/// Longest name of an interface, in bytes.
pub const NAME_LEN_MAX: usize = 32;

/// Most interface addresses of one process.
pub const INTERFACES_MAX: usize = 64;

/// Ports tried in a row when the system says that they are busy.
pub const BIND_TRIES_MAX: usize = 16;

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One interface address as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// How signalling calls it: 1 to [`NAME_LEN_MAX`] of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What sockets are bound to.
    pub local: IpAddr,
    /// What SDP says; of the same family.
    pub advertised: IpAddr,
}

/// What is wrong with a configured interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Not 1 to [`NAME_LEN_MAX`] of the allowed characters.
    #[error("interface name `{0}` is not 1 to {NAME_LEN_MAX} of letters, digits, `-`, `_`, `.`")]
    Name(String),
    /// Not an IP address.
    #[error("`{0}` is not an IP address (expected NAME/ADDRESS!ADVERTISED)")]
    Address(String),
    /// Multicast, or a link-local scope, or a broadcast address.
    #[error("{0} is not a unicast address")]
    NotUnicast(IpAddr),
    /// 0.0.0.0 or :: cannot be written into SDP.
    #[error("{0} needs an advertised address (`{0}!ADDRESS`)")]
    NeedsAdvertised(IpAddr),
    /// An IPv4 address advertised as IPv6 or the other way round.
    #[error("{local} cannot be advertised as {advertised}: different address families")]
    Families {
        /// The local address.
        local: IpAddr,
        /// The advertised one.
        advertised: IpAddr,
    },
    /// Two addresses of one family under one name.
    #[error("interface `{name}` has two {family} addresses")]
    Twice {
        /// The name.
        name: String,
        /// The family.
        family: Family,
    },
    /// Nothing to bind to.
    #[error("no interface is configured")]
    None,
    /// More than [`INTERFACES_MAX`].
    #[error("more than {INTERFACES_MAX} interfaces")]
    TooMany,
}

/// No sockets could be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenPortsError {
    /// All ports are in use or rest.
    #[error(transparent)]
    OutOfPorts(#[from] OutOfPorts),
    /// The system holds too many of our ports busy.
    #[error("{BIND_TRIES_MAX} ports in a row on {ip} are used by other programs")]
    Busy {
        /// The address.
        ip: IpAddr,
    },
    /// Another failure, such as too many open files or an address that is not of this machine.
    #[error("opening a UDP socket on {addr}: {source}")]
    System {
        /// Where.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How media sockets are set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Receive queue in bytes (`SO_RCVBUF`); the system's default if `None`.
    pub receive_buffer: Option<usize>,
    /// Send queue in bytes (`SO_SNDBUF`); the system's default if `None`.
    pub send_buffer: Option<usize>,
    /// Differentiated services code point, 0 to 63 (RFC 2474); 46 is expedited forwarding.
    pub dscp: u8,
}

/// All interface addresses, in the order configured.
#[derive(Debug)]
pub struct Interfaces {
    list: Vec<Interface>,
    owned: OwnedAddresses,
}

/// One interface address with its ports. Cloning shares the ports.
#[derive(Clone, Debug)]
pub struct Interface {
    spec: Arc<InterfaceSpec>,
    pool: Arc<Mutex<PortPool>>,
}

/// Bound sockets and the lease of their ports.
#[derive(Debug)]
pub struct OpenPorts {
    /// The RTP socket.
    pub rtp: UdpSocket,
    /// The RTCP socket, if a pair was opened.
    pub rtcp: Option<UdpSocket>,
    /// Keep it as long as the sockets.
    pub lease: PortLease,
}

/// The right to ports; dropping it sends them into quarantine, or frees them at once if nobody was
/// told of them. Drop it after the sockets.
#[derive(Debug)]
pub struct PortLease {
    interface: Interface,
    ports: Ports,
    told: bool,
}

impl FromStr for InterfaceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (name, addresses) = text.split_once('/').unwrap_or((DEFAULT_NAME, text));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(allowed) {
            return Err(SpecError::Name(name.to_owned()));
        }
        let (local, advertised) = match addresses.split_once('!') {
            Some((local, advertised)) => (parse_ip(local)?, Some(parse_ip(advertised)?)),
            None => (parse_ip(addresses)?, None),
        };
        if let Some(bad) = [Some(local), advertised]
            .into_iter()
            .flatten()
            .find(|ip| !unicast(ip))
        {
            return Err(SpecError::NotUnicast(bad));
        }
        let advertised = advertised.unwrap_or(local);
        if Family::of(local) != Family::of(advertised) {
            return Err(SpecError::Families { local, advertised });
        }
        if advertised.is_unspecified() {
            return Err(SpecError::NeedsAdvertised(local));
        }
        Ok(Self {
            name: name.to_owned(),
            local,
            advertised,
        })
    }
}

impl Interfaces {
    /// Sets up the ports of all addresses. Entries with one local address share its ports.
    ///
    /// # Errors
    /// None or too many entries, or two of one name and family.
    pub fn new(
        specs: Vec<InterfaceSpec>,
        range: PortRange,
        quarantine: Duration,
        seed: u64,
    ) -> Result<Self, SpecError> {
        if specs.is_empty() {
            return Err(SpecError::None);
        }
        if specs.len() > INTERFACES_MAX {
            return Err(SpecError::TooMany);
        }
        let mut list: Vec<Interface> = Vec::with_capacity(specs.len());
        let mut seeds = fastrand::Rng::with_seed(seed);
        for spec in specs {
            let family = Family::of(spec.local);
            if list
                .iter()
                .any(|i| i.spec.name == spec.name && i.family() == family)
            {
                return Err(SpecError::Twice {
                    name: spec.name,
                    family,
                });
            }
            let shared = list
                .iter()
                .find(|i| i.spec.local == spec.local)
                .map(|i| i.pool.clone());
            let pool = shared.unwrap_or_else(|| {
                let pool = PortPool::new(spec.local, range, quarantine, seeds.u64(..));
                Arc::new(Mutex::new(pool))
            });
            list.push(Interface {
                spec: Arc::new(spec),
                pool,
            });
        }
        let mut owned = Vec::new();
        for interface in &list {
            let ports = interface.pool().owned().clone();
            owned.push((interface.spec.local, ports.clone()));
            owned.push((interface.spec.advertised, ports));
        }
        Ok(Self {
            list,
            owned: OwnedAddresses::new(owned),
        })
    }

    /// The address of that name and family; without a name the first of the family.
    #[must_use]
    pub fn find(&self, name: Option<&str>, family: Family) -> Option<&Interface> {
        let named = |i: &&Interface| name.is_none_or(|name| i.spec.name == name);
        self.list
            .iter()
            .filter(named)
            .find(|i| i.family() == family)
    }

    /// All of them, in the order configured.
    #[must_use]
    pub fn list(&self) -> &[Interface] {
        &self.list
    }

    /// Which addresses and ports are ours, for any thread to ask.
    #[must_use]
    pub fn owned(&self) -> &OwnedAddresses {
        &self.owned
    }
}

impl Interface {
    /// What was configured.
    #[must_use]
    pub fn spec(&self) -> &InterfaceSpec {
        &self.spec
    }

    /// Its address family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.spec.local)
    }

    /// Ports in use and pairs free, for metrics.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        let pool = self.pool();
        (pool.leased(), pool.free_pairs())
    }

    /// Opens an even port for RTP and its odd neighbour for RTCP. Makes some eight system calls.
    ///
    /// # Errors
    /// [`OpenPortsError`].
    pub fn open_pair(
        &self,
        options: &SocketOptions,
        now: Instant,
    ) -> Result<OpenPorts, OpenPortsError> {
        self.open(options, now, PortPool::take_pair)
    }

    /// Opens a single port, for a stream whose RTCP is multiplexed or that has none.
    ///
    /// # Errors
    /// [`OpenPortsError`].
    pub fn open_single(
        &self,
        options: &SocketOptions,
        now: Instant,
    ) -> Result<OpenPorts, OpenPortsError> {
        self.open(options, now, PortPool::take_single)
    }

    fn open(
        &self,
        options: &SocketOptions,
        now: Instant,
        take: fn(&mut PortPool, Instant) -> Result<Ports, OutOfPorts>,
    ) -> Result<OpenPorts, OpenPortsError> {
        for _ in 0..BIND_TRIES_MAX {
            let ports = take(&mut self.pool(), now)?;
            // From here on dropping the lease rests the ports, busy ones too: they are asked again
            // when the quarantine is over.
            let mut lease = PortLease {
                interface: self.clone(),
                ports,
                told: true,
            };
            let opened = self.bind(ports.first(), options).and_then(|rtp| {
                let rtcp = ports
                    .second()
                    .map(|port| self.bind(port, options))
                    .transpose()?;
                Ok((rtp, rtcp))
            });
            match opened {
                Ok((rtp, rtcp)) => {
                    lease.told = false;
                    return Ok(OpenPorts { rtp, rtcp, lease });
                }
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                Err(source) => {
                    let addr = SocketAddr::new(self.spec.local, ports.first());
                    return Err(OpenPortsError::System { addr, source });
                }
            }
        }
        Err(OpenPortsError::Busy {
            ip: self.spec.local,
        })
    }

    fn bind(&self, port: u16, options: &SocketOptions) -> io::Result<UdpSocket> {
        let domain = match self.family() {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::UDP))?;
        let traffic_class = u32::from(options.dscp & DSCP_MASK) << 2;
        match self.family() {
            Family::V4 if traffic_class != 0 => socket.set_tos_v4(traffic_class)?,
            Family::V4 => {}
            Family::V6 => {
                socket.set_only_v6(true)?;
                if traffic_class != 0 {
                    socket.set_tclass_v6(traffic_class)?;
                }
            }
        }
        if let Some(bytes) = options.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = options.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(&SocketAddr::new(self.spec.local, port).into())?;
        Ok(socket.into())
    }

    /// A panic elsewhere cannot leave the books half written: every method finishes its update.
    fn pool(&self) -> MutexGuard<'_, PortPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PortLease {
    /// Somebody may learn of these ports from now on: they will rest before they are used again.
    /// Without this, dropping the lease frees them at once; the sockets must be closed by then.
    pub fn tell(&mut self) {
        self.told = true;
    }

    /// Where the party shall send RTP, as SDP says it.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        SocketAddr::new(self.interface.spec.advertised, self.ports.first())
    }

    /// Where the RTP socket is bound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.interface.spec.local, self.ports.first())
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The interface they are on.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.interface
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let (mut pool, now) = (self.interface.pool(), Instant::now());
        if self.told {
            pool.release(self.ports, now);
        } else {
            pool.give_back(self.ports, now);
        }
    }
}

impl Family {
    /// Of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// IPv6 addresses may stand in brackets, as in URLs.
fn parse_ip(text: &str) -> Result<IpAddr, SpecError> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let v6 = bare.map(|t| t.parse().map(IpAddr::V6));
    v6.unwrap_or_else(|| text.parse())
        .map_err(|_| SpecError::Address(text.to_owned()))
}

/// Link-local IPv6 addresses are out as well: SDP cannot carry their scope.
fn unicast(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}

const DSCP_MASK: u8 = 0b11_1111;

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<InterfaceSpec, SpecError> {
        text.parse()
    }

    fn interfaces(texts: &[&str], min: u16, max: u16) -> Result<Interfaces, SpecError> {
        let specs = texts.iter().map(|t| t.parse().unwrap()).collect();
        Interfaces::new(
            specs,
            PortRange::new(min, max).unwrap(),
            Duration::from_secs(2),
            1,
        )
    }

    #[test]
    fn parses_all_forms() {
        let full = spec("pub/10.0.0.1!203.0.113.9").unwrap();
        assert_eq!(full.name, "pub");
        assert_eq!(full.local, "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(full.advertised, "203.0.113.9".parse::<IpAddr>().unwrap());
        let bare = spec("10.0.0.1").unwrap();
        assert_eq!(
            (bare.name.as_str(), bare.advertised),
            (DEFAULT_NAME, bare.local)
        );
        let v6 = spec("int/[2001:db8::1]!2001:db8::2").unwrap();
        assert_eq!(v6.local, "2001:db8::1".parse::<IpAddr>().unwrap());
        assert!(spec("any/0.0.0.0!203.0.113.9").is_ok());
    }

    #[test]
    fn refuses_with_the_reason() {
        let longest = "n".repeat(NAME_LEN_MAX);
        assert!(spec(&format!("{longest}/10.0.0.1")).is_ok());
        assert!(matches!(
            spec(&format!("{longest}n/10.0.0.1")),
            Err(SpecError::Name(_))
        ));
        assert!(matches!(spec("/10.0.0.1"), Err(SpecError::Name(_))));
        assert!(matches!(spec("a b/10.0.0.1"), Err(SpecError::Name(_))));
        assert!(matches!(spec("a/10.0.0"), Err(SpecError::Address(_))));
        assert!(matches!(spec("a/[10.0.0.1]"), Err(SpecError::Address(_))));
        assert!(matches!(spec("a/10.0.0.1!"), Err(SpecError::Address(_))));
        assert!(matches!(spec("a/224.0.0.1"), Err(SpecError::NotUnicast(_))));
        assert!(matches!(spec("a/fe80::1"), Err(SpecError::NotUnicast(_))));
        assert!(matches!(spec("a/::"), Err(SpecError::NeedsAdvertised(_))));
        assert!(matches!(
            spec("a/10.0.0.1!::1"),
            Err(SpecError::Families { .. })
        ));
        assert!(matches!(
            interfaces(&["a/127.0.0.1", "a/127.0.0.2"], 40_000, 40_001),
            Err(SpecError::Twice { .. })
        ));
        assert!(matches!(
            interfaces(&[], 40_000, 40_001),
            Err(SpecError::None)
        ));
        let many = vec!["a/127.0.0.1"; INTERFACES_MAX + 1];
        assert!(matches!(
            interfaces(&many, 40_000, 40_001),
            Err(SpecError::TooMany)
        ));
    }

    #[test]
    fn finds_by_name_and_family() {
        let all = interfaces(&["a/127.0.0.1", "a/::1", "b/127.0.0.2"], 40_000, 40_001).unwrap();
        let local = |name, family| all.find(name, family).map(|i| i.spec().local.to_string());
        assert_eq!(local(None, Family::V4).as_deref(), Some("127.0.0.1"));
        assert_eq!(local(Some("a"), Family::V6).as_deref(), Some("::1"));
        assert_eq!(local(Some("b"), Family::V4).as_deref(), Some("127.0.0.2"));
        assert_eq!(local(Some("b"), Family::V6), None);
        assert_eq!(local(Some("c"), Family::V4), None);
    }

    #[test]
    fn opens_a_pair_with_its_options_and_rests_it_afterwards() {
        let all = interfaces(&["a/127.0.0.1!203.0.113.9"], 40_100, 40_101).unwrap();
        let interface = all.find(None, Family::V4).unwrap();
        let options = SocketOptions {
            receive_buffer: Some(65_536),
            send_buffer: None,
            dscp: 46,
        };
        let unused = interface.open_pair(&options, Instant::now()).unwrap();
        drop(unused);
        let mut pair = interface.open_pair(&options, Instant::now()).unwrap();
        pair.lease.tell();
        assert_eq!(pair.rtp.local_addr().unwrap().port(), 40_100);
        assert_eq!(
            pair.rtcp.as_ref().unwrap().local_addr().unwrap().port(),
            40_101
        );
        assert_eq!(
            pair.lease.advertised(),
            "203.0.113.9:40100".parse().unwrap()
        );
        let socket = socket2::SockRef::from(&pair.rtp);
        assert_eq!(socket.tos_v4().unwrap(), 46 << 2);
        assert!(socket.recv_buffer_size().unwrap() >= 65_536);
        assert!(all.owned().contains("203.0.113.9:40101".parse().unwrap()));
        drop(pair);
        assert!(!all.owned().contains("203.0.113.9:40101".parse().unwrap()));
        let now = Instant::now();
        let error = interface.open_pair(&options, now).unwrap_err();
        assert!(matches!(
            error,
            OpenPortsError::OutOfPorts(OutOfPorts { resting: 2, .. })
        ));
        assert!(
            interface
                .open_pair(&options, now + Duration::from_secs(2))
                .is_ok()
        );
    }

    #[test]
    fn steps_over_ports_of_other_programs() {
        let other = UdpSocket::bind("127.0.0.1:40203").unwrap();
        let all = interfaces(&["a/127.0.0.1"], 40_200, 40_205).unwrap();
        let interface = all.find(None, Family::V4).unwrap();
        let now = Instant::now();
        let options = SocketOptions::default();
        let pairs = [
            interface.open_pair(&options, now),
            interface.open_pair(&options, now),
        ];
        let mut ports: Vec<_> = pairs
            .iter()
            .map(|p| p.as_ref().unwrap().lease.ports().first())
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, [40_200, 40_204]);
        assert!(interface.open_pair(&options, now).is_err());
        drop(other);
    }

    #[test]
    fn gives_up_after_a_bounded_number_of_busy_ports() {
        let range = 40_300..40_300 + 2 * u16::try_from(BIND_TRIES_MAX).unwrap() + 8;
        let busy: Vec<_> = range
            .clone()
            .map(|p| UdpSocket::bind(("127.0.0.1", p)).unwrap())
            .collect();
        let all = interfaces(&["a/127.0.0.1"], range.start, range.end - 1).unwrap();
        let interface = all.find(None, Family::V4).unwrap();
        let error = interface
            .open_pair(&SocketOptions::default(), Instant::now())
            .unwrap_err();
        assert!(matches!(error, OpenPortsError::Busy { .. }), "{error}");
        drop(busy);
    }

    #[test]
    fn an_address_of_another_machine_is_a_clear_error() {
        let all = interfaces(&["a/203.0.113.77"], 40_400, 40_401).unwrap();
        let interface = all.find(None, Family::V4).unwrap();
        let error = interface
            .open_single(&SocketOptions::default(), Instant::now())
            .unwrap_err();
        assert!(error.to_string().contains("203.0.113.77:40400"), "{error}");
    }
}
