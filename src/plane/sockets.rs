//! The driver that runs everywhere and needs no privilege: one UDP socket per port, epoll.
//!
//! The ports are level-triggered and a quiet one is read once per event: a stream of 50 packets a
//! second has one packet waiting, and a second read, only to be told so, costs up to 7 % of all.
//! What is left in a queue raises the next event by itself, so that nothing can be forgotten (an
//! edge-triggered socket that is left undrained never speaks again). A port that comes back at
//! once has a burst: its share doubles each time, up to [`TURN_PACKETS_MAX`], and falls to one
//! when it is found empty. Epoll hands out ready ports in turn, so a flood delays nobody else by
//! more than its share.
//!
//! A pinned port is connected, which saves the route lookup of every send. Its reads still ask
//! for the source: what was queued before connect(2), or was on its way through the kernel in that
//! moment, may come from anybody, and the sink must see who sent it. That costs 28 copied bytes;
//! the measurement at `Ports::receive` could not tell it from noise.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::driver::{Driver, DriverCounters, FlowId, OpenError, Polled, Sink};
use super::notify::Notify;
use super::sys::{self, RawAddr};
use crate::engine::{DATAGRAM_LEN_MAX, PortHandle, Verdict};

/// Longest datagram received, in bytes of UDP payload; longer ones are dropped and counted here.
pub const DATAGRAM_MAX: usize = DATAGRAM_LEN_MAX;

/// Most datagrams one port may have served before the others get their turn.
pub const TURN_PACKETS_MAX: u16 = 16;

/// Most datagrams one [`Driver::serve`] serves before the worker looks at commands and timers: at
/// some 4 µs each that is 2 ms.
pub const POLL_PACKETS_MAX: u32 = 512;

/// Most ports of one driver (a handle's index has 20 bits).
pub const PORTS_MAX: usize = 1 << 20;

/// Packets between two readings of the clock within one poll.
pub const CLOCK_EVERY: u32 = 32;

/// Most epoll events taken at once.
const EVENTS_MAX: usize = 256;

/// ICMP errors taken off one socket in a row before it waits for its next turn.
const ERRORS_IN_A_ROW_MAX: u32 = 8;

/// Epoll's token for the worker's own wake-up call; no port handle has this value, see [`Ports`].
const WAKER: u64 = u64::MAX;

/// UDP sockets behind level-triggered epoll.
#[derive(Debug)]
pub struct SocketDriver {
    epoll: OwnedFd,
    /// Kept open as long as it is registered.
    _waker: Arc<Notify>,
    ports: Ports,
    /// Number of the current wait; wraps.
    turn: u32,
    events: Box<[libc::epoll_event]>,
    /// How many of them wait to be served.
    waiting: usize,
    buffer: Box<[u8]>,
}

/// The open ports by index, and what is needed to send on them.
///
/// A handle is 12 bits of generation above 20 bits of index. Generation 0xFFF is never used.
#[derive(Debug)]
struct Ports {
    table: Vec<Port>,
    free: Vec<u32>,
    counters: DriverCounters,
}

/// One slot of the table.
#[derive(Debug)]
struct Port {
    socket: Option<UdpSocket>,
    /// Whom the socket is connected to.
    peer: Option<SocketAddr>,
    flow: FlowId,
    generation: u16,
    /// Datagrams it may have served at once, 1 to [`TURN_PACKETS_MAX`].
    share: u16,
    /// The turn in which it was last left with something to read, perhaps.
    unfinished: u32,
}

/// What one read gave.
enum Read {
    Packet(usize, SocketAddr),
    /// Something was taken off the socket that is no packet for us.
    Skipped,
    /// An ICMP error was taken off the socket.
    Error,
    Empty,
}

impl SocketDriver {
    /// A driver that [`Notify::notify`] on `waker` wakes up.
    ///
    /// # Errors
    /// The process is out of file descriptors.
    pub fn new(waker: Arc<Notify>) -> io::Result<Self> {
        // SAFETY: no pointers; a non-negative result is a descriptor nobody owns yet.
        let epoll =
            unsafe { OwnedFd::from_raw_fd(sys::check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        // Edge-triggered: each notification is one event, and nobody needs to read the counter.
        control(&epoll, libc::EPOLL_CTL_ADD, EDGES, waker.as_raw_fd(), WAKER)?;
        Ok(Self {
            epoll,
            _waker: waker,
            ports: Ports {
                table: Vec::new(),
                free: Vec::new(),
                counters: DriverCounters::default(),
            },
            turn: 1, // so that turn 0, where a new port was left, is not the one before
            waiting: 0,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX].into(),
            buffer: vec![0; DATAGRAM_MAX].into(),
        })
    }

    /// Waits for ports with something to read; returns how many events there are.
    fn events(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let result = sys::epoll_wait(self.epoll.as_fd(), &mut self.events, timeout);
        self.ports.counters.wakes += 1;
        self.turn = self.turn.wrapping_add(1);
        match result {
            Ok(n) => Ok(n),
            // A signal, or a debugger: an empty turn.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// Serves one port its share and returns the datagrams taken.
    fn serve_port<S: Sink>(&mut self, handle: PortHandle, now: Instant, sink: &mut S) -> u32 {
        let Some((fd, flow, share)) = self.ports.begin(handle, self.turn) else {
            return 0;
        };
        let (mut taken, mut errors) = (0, 0);
        while taken < u32::from(share) && errors < ERRORS_IN_A_ROW_MAX {
            match self.ports.receive(fd, &mut self.buffer) {
                Read::Packet(len, from) => {
                    taken += 1;
                    let packet = &mut self.buffer[..len];
                    let verdict = sink.packet(flow, from, now, packet);
                    if let Verdict::Forward {
                        port,
                        to,
                        start,
                        end,
                    } = verdict
                    {
                        match packet.get(usize::from(start)..usize::from(end)) {
                            Some(packet) => self.ports.send(port, to, packet),
                            None => self.ports.counters.send_errors += 1,
                        }
                    }
                }
                Read::Skipped => taken += 1,
                Read::Error => errors += 1,
                Read::Empty => {
                    self.ports.empty(handle);
                    break;
                }
            }
        }
        taken
    }
}

impl Driver for SocketDriver {
    fn open(&mut self, flow: FlowId, socket: UdpSocket) -> Result<PortHandle, OpenError> {
        let fd = socket.as_raw_fd();
        let handle = match self.ports.insert(flow, socket) {
            Ok(handle) => handle,
            Err(socket) => {
                return Err(OpenError {
                    socket,
                    source: table_full(),
                });
            }
        };
        if let Err(source) = control(
            &self.epoll,
            libc::EPOLL_CTL_ADD,
            LEVEL,
            fd,
            u64::from(handle.0),
        ) {
            let socket = self.ports.remove(handle).expect("inserted above");
            return Err(OpenError { socket, source });
        }
        Ok(handle)
    }

    fn close(&mut self, port: PortHandle) -> Option<UdpSocket> {
        let socket = self.ports.remove(port)?;
        // Without this the socket would go on raising events until its last owner closes it. It can
        // only fail for a socket that is not registered, which is what we want to reach.
        let _ = control(&self.epoll, libc::EPOLL_CTL_DEL, 0, socket.as_raw_fd(), 0);
        Some(socket)
    }

    fn pin(&mut self, port: PortHandle, peer: Option<SocketAddr>) {
        self.ports.pin(port, peer);
    }

    fn send(&mut self, port: PortHandle, to: SocketAddr, packet: &[u8]) {
        self.ports.send(port, to, packet);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.waiting = 0;
        self.waiting = self.events(timeout)?;
        Ok(())
    }

    fn serve<S: Sink>(&mut self, sink: &mut S) -> Polled {
        let count = std::mem::take(&mut self.waiting);
        let woken = Instant::now();
        for event in &self.events[..count] {
            // All their memory is asked for at once, instead of one port after the other.
            if let Some(port) = handle_of(event).and_then(|handle| self.ports.find(handle)) {
                sink.expect(port.flow);
            }
        }
        let (mut now, mut read_at, mut packets) = (woken, 0, 0);
        for ix in 0..count {
            let Some(handle) = handle_of(&self.events[ix]) else {
                continue;
            };
            packets += self.serve_port(handle, now, sink);
            if packets >= POLL_PACKETS_MAX {
                break; // the others are ready still, and will be first
            }
            if packets - read_at >= CLOCK_EVERY {
                (now, read_at) = (Instant::now(), packets);
            }
        }
        Polled { packets, woken }
    }

    fn counters(&self) -> DriverCounters {
        self.ports.counters
    }
}

impl Ports {
    fn insert(&mut self, flow: FlowId, socket: UdpSocket) -> Result<PortHandle, UdpSocket> {
        let index = match self.free.pop() {
            Some(index) => {
                let port = &mut self.table[index as usize];
                (port.socket, port.flow) = (Some(socket), flow);
                index
            }
            None if self.table.len() >= PORTS_MAX => return Err(socket),
            None => {
                let socket = Some(socket);
                self.table.push(Port {
                    socket,
                    peer: None,
                    flow,
                    generation: 0,
                    share: 1,
                    unfinished: 0,
                });
                u32::try_from(self.table.len() - 1).expect("at most PORTS_MAX")
            }
        };
        let generation = u32::from(self.table[index as usize].generation);
        Ok(PortHandle(generation << INDEX_BITS | index))
    }

    /// The open port behind a handle; `None` if closed, or reused by another.
    fn find(&mut self, handle: PortHandle) -> Option<&mut Port> {
        let port = self.table.get_mut((handle.0 & INDEX_MASK) as usize)?;
        let same = u32::from(port.generation) == handle.0 >> INDEX_BITS;
        (same && port.socket.is_some()).then_some(port)
    }

    /// A port's turn: its descriptor, its flow and how many datagrams it may have served.
    fn begin(&mut self, handle: PortHandle, turn: u32) -> Option<(RawFd, FlowId, u16)> {
        let port = self.find(handle)?;
        if port.unfinished.wrapping_add(1) == turn {
            port.share = (port.share * 2).min(TURN_PACKETS_MAX);
        }
        port.unfinished = turn;
        let (fd, flow, share) = (port.fd()?, port.flow, port.share);
        self.counters.bursts += u64::from(share > 1);
        Some((fd, flow, share))
    }

    /// A port was found empty.
    fn empty(&mut self, handle: PortHandle) {
        if let Some(port) = self.find(handle) {
            port.share = 1;
            port.unfinished = port.unfinished.wrapping_sub(1); // it will not have "come back"
        }
    }

    fn remove(&mut self, handle: PortHandle) -> Option<UdpSocket> {
        let port = self.find(handle)?;
        let socket = port.socket.take();
        port.peer = None;
        (port.share, port.unfinished) = (1, 0);
        port.generation = (port.generation + 1) % GENERATIONS;
        self.free.push(handle.0 & INDEX_MASK);
        socket
    }

    /// Connects or disconnects. Failing that (another address family, no route yet) the port works
    /// on unconnected.
    fn pin(&mut self, handle: PortHandle, peer: Option<SocketAddr>) {
        let Some(port) = self.find(handle) else {
            return;
        };
        let Some(fd) = port.fd() else { return };
        if port.peer == peer {
            return;
        }
        let connected = match peer {
            Some(addr) => connect(fd, &addr.into()),
            None => connect(fd, &RawAddr::unspecified()),
        };
        match connected {
            Ok(()) => port.peer = peer,
            Err(_) => {
                // connect(2) leaves an old association in place when it fails.
                if port.peer.take().is_some() {
                    let _ = connect(fd, &RawAddr::unspecified());
                }
                self.counters.pin_errors += 1;
            }
        }
    }

    /// Reads one datagram.
    ///
    /// Measured on one core with 172-byte packets, 2,000 connected ports and 3 of them ready per
    /// wake (median microseconds of CPU per relayed packet, 5 runs, ±6 %): level-triggered with
    /// one recvfrom per event 5.91; edge-triggered and read until EAGAIN 6.38; recvmmsg of 4,
    /// whose short return proves emptiness, 6.20. Not asking for the source (recv) gained nothing;
    /// unconnected ports cost 16 % more. Under a paced load from another core level and edge
    /// were equal within the noise.
    fn receive(&mut self, fd: RawFd, buffer: &mut [u8]) -> Read {
        let mut from = RawAddr::empty();
        let (addr, addr_len) = from.as_out();
        // MSG_TRUNC makes the kernel return the true length of what did not fit.
        // SAFETY: buffer and address are writable for the lengths given and outlive the call.
        let n = unsafe {
            libc::recvfrom(
                fd,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                addr,
                addr_len,
            )
        };
        let Ok(len) = usize::try_from(n) else {
            return self.receive_failed(sys::errno());
        };
        self.counters.packets_in += 1;
        self.counters.bytes_in += len as u64;
        if len > buffer.len() {
            self.counters.oversize += 1;
            return Read::Skipped;
        }
        match from.parse() {
            Some(from) => Read::Packet(len, from),
            None => Read::Skipped,
        }
    }

    fn receive_failed(&mut self, errno: i32) -> Read {
        match errno {
            libc::EAGAIN => Read::Empty,
            libc::EINTR => Read::Error,
            _ if is_icmp(errno) => {
                self.counters.icmp_errors += 1;
                Read::Error
            }
            _ => {
                // ENOMEM and the like: counted as an error in the row, tried again next turn.
                self.counters.receive_errors += 1;
                Read::Error
            }
        }
    }

    fn send(&mut self, handle: PortHandle, to: SocketAddr, packet: &[u8]) {
        let Some((fd, peer)) = self.find(handle).and_then(|p| Some((p.fd()?, p.peer))) else {
            self.counters.send_closed += 1;
            return;
        };
        let connected = peer == Some(to);
        let mut result = transmit(fd, connected, to, packet);
        if result.is_err_and(is_icmp) {
            // The error belongs to an earlier packet and took this one's place: send it again.
            self.counters.icmp_errors += 1;
            result = transmit(fd, connected, to, packet);
        }
        match result {
            Ok(()) => {
                self.counters.packets_out += 1;
                self.counters.bytes_out += packet.len() as u64;
            }
            Err(libc::EAGAIN | libc::ENOBUFS) => self.counters.send_full += 1,
            Err(_) => self.counters.send_errors += 1,
        }
    }
}

impl Port {
    fn fd(&self) -> Option<RawFd> {
        self.socket.as_ref().map(AsRawFd::as_raw_fd)
    }
}

/// Sends one datagram or says why not (errno).
fn transmit(fd: RawFd, connected: bool, to: SocketAddr, packet: &[u8]) -> Result<(), i32> {
    // MSG_NOSIGNAL is not needed for UDP.
    let sent = if connected {
        // SAFETY: the packet is readable for its length and outlives the call.
        unsafe { libc::send(fd, packet.as_ptr().cast(), packet.len(), libc::MSG_DONTWAIT) }
    } else {
        let raw = RawAddr::from(to);
        let (addr, len) = raw.as_in();
        // SAFETY: packet and address are readable for their lengths and outlive the call.
        unsafe {
            libc::sendto(
                fd,
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT,
                addr,
                len,
            )
        }
    };
    if sent < 0 { Err(sys::errno()) } else { Ok(()) }
}

/// Errors that ICMP and the like put on a connected socket for the next call to find.
fn is_icmp(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EPROTO
            | libc::EOPNOTSUPP
    )
}

fn connect(fd: RawFd, addr: &RawAddr) -> io::Result<()> {
    let (addr, len) = addr.as_in();
    // SAFETY: the address is readable for its length and outlives the call.
    sys::check(unsafe { libc::connect(fd, addr, len) }).map(drop)
}

/// The port an event is for; `None` for the waker.
fn handle_of(event: &libc::epoll_event) -> Option<PortHandle> {
    u32::try_from(event.u64).ok().map(PortHandle)
}

/// Adds or removes a descriptor.
fn control(
    epoll: &OwnedFd,
    op: libc::c_int,
    events: libc::c_int,
    fd: RawFd,
    token: u64,
) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: events.cast_unsigned(),
        u64: token,
    };
    // SAFETY: the event is valid and outlives the call.
    sys::check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), op, fd, &raw mut event) }).map(drop)
}

fn table_full() -> io::Error {
    io::Error::other(format!("{PORTS_MAX} ports are open in this worker"))
}

const LEVEL: libc::c_int = libc::EPOLLIN;
const EDGES: libc::c_int = libc::EPOLLIN | libc::EPOLLET;
const INDEX_BITS: u32 = PORTS_MAX.trailing_zeros();
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const GENERATIONS: u16 = (1 << (32 - INDEX_BITS)) - 1;
