//! What a worker asks of a way to move packets: plain sockets, a kernel flow table, or a ring.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::engine::{CallKey, Component, PortHandle, StreamIx, Verdict};

/// Whom an open port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// The call.
    pub call: CallKey,
    /// The stream inside it.
    pub stream: StreamIx,
    /// RTP or RTCP port.
    pub component: Component,
}

/// Where a driver hands received packets. Generic and not `dyn`, so that the engine's packet path
/// is inlined into the driver's loop.
pub trait Sink {
    /// A packet for this flow is about to come: a hint to load what it will need.
    fn expect(&self, flow: FlowId);

    /// Judges one datagram, editing it in place; the driver executes the verdict at once.
    ///
    /// `now` was read at most [`CLOCK_EVERY`](super::sockets::CLOCK_EVERY) packets ago.
    fn packet(
        &mut self,
        flow: FlowId,
        from: SocketAddr,
        now: Instant,
        packet: &mut [u8],
    ) -> Verdict;
}

/// What one [`Driver::serve`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Datagrams handed to the sink.
    pub packets: u32,
    /// When waiting ended, that is when this turn's work began.
    pub woken: Instant,
}

/// A port could not be opened; its socket comes back with the reason.
#[derive(Debug, thiserror::Error)]
#[error("opening a port in the driver: {source}")]
pub struct OpenError {
    /// The socket that was handed in.
    pub socket: UdpSocket,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What a driver has counted since it was made. All grow only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Datagrams received.
    pub packets_in: u64,
    /// Their UDP payload bytes.
    pub bytes_in: u64,
    /// Datagrams handed to the network.
    pub packets_out: u64,
    /// Their UDP payload bytes.
    pub bytes_out: u64,
    /// Datagrams not sent because the network's queue was full; never waited for.
    pub send_full: u64,
    /// Datagrams not sent for another reason (no route, too long, forbidden).
    pub send_errors: u64,
    /// Datagrams for a port that is no longer open.
    pub send_closed: u64,
    /// ICMP errors that came back for what was sent; they end nothing.
    pub icmp_errors: u64,
    /// Datagrams longer than [`DATAGRAM_MAX`](super::sockets::DATAGRAM_MAX), dropped.
    pub oversize: u64,
    /// Failures to receive that are not ICMP errors.
    pub receive_errors: u64,
    /// Failures to pin a port; it works on unpinned.
    pub pin_errors: u64,
    /// Returns from waiting.
    pub wakes: u64,
    /// Times a port was served more than one datagram at once, for it had a burst.
    pub bursts: u64,
}

/// A way to move packets between the network and a worker. Owned and called by one thread.
///
/// A driver never blocks except inside [`Driver::wait`], and one port's flood never keeps it from
/// serving the others. How it is woken from outside (an eventfd) is given to its constructor.
pub trait Driver {
    /// Starts to receive on a bound socket; whatever already waits in it is received too.
    ///
    /// Bind it to a port by number: Linux takes a port that it chose itself away again when the
    /// socket is unpinned.
    ///
    /// # Errors
    /// The system's registration failed, or the driver's table is full.
    fn open(&mut self, flow: FlowId, socket: UdpSocket) -> Result<PortHandle, OpenError>;

    /// Stops receiving and gives the socket back, still bound. `None` if it was not open. The
    /// handle is dead afterwards: sending on it is counted, not executed.
    fn close(&mut self, port: PortHandle) -> Option<UdpSocket>;

    /// Declares `peer` the only source and destination of interest, or anybody (`None`).
    /// A hint for speed: correctness stays with the sink, which sees every packet's true source.
    fn pin(&mut self, port: PortHandle, peer: Option<SocketAddr>);

    /// Sends one datagram now, or drops and counts it.
    fn send(&mut self, port: PortHandle, to: SocketAddr, packet: &[u8]);

    /// Waits at most `timeout` (`None`: until something comes), taking nothing yet: commands that
    /// were given before a packet came can be carried out before it is served.
    ///
    /// # Errors
    /// Waiting itself failed, which only a programming error can cause.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Serves what had arrived when [`Driver::wait`] returned.
    fn serve<S: Sink>(&mut self, sink: &mut S) -> Polled;

    /// What was counted so far.
    fn counters(&self) -> DriverCounters;
}
