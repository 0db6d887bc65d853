//! ng over UDP and TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::service::NgService;
use crate::wire::bencode::Scanner;

/// Requests of the UDP door that may be under way at a time; more are dropped, and come again by
/// the client's retransmission.
pub const NG_INFLIGHT_MAX: usize = 4096;
/// Connections of the TCP door at a time.
pub const NG_TCP_CONNECTIONS_MAX: usize = 64;
/// Longest message over TCP.
pub const NG_TCP_MESSAGE_MAX: usize = 256 * 1024;
/// A TCP connection must bring its first complete message within so long.
pub const NG_TCP_FIRST: Duration = Duration::from_secs(30);
/// A client that takes nothing of a reply for so long is let go.
pub const NG_TCP_WRITE: Duration = Duration::from_secs(10);
/// A TCP connection without any further complete message for so long is closed.
pub const NG_TCP_IDLE: Duration = Duration::from_secs(3600);
/// Bytes without a complete cookie after which a TCP connection is closed as junk.
pub const NG_TCP_JUNK_MAX: usize = 1024;

const DATAGRAM_MAX: usize = 65_535;
const UDP_BUFFER: usize = 4 << 20;

/// Binds the UDP door with a receive buffer that holds a burst of offers.
///
/// # Errors
/// What the system says of the address.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // The kernel caps it at rmem_max; a smaller buffer only means more retransmissions.
    let _capped = socket.set_recv_buffer_size(UDP_BUFFER);
    let _capped = socket.set_send_buffer_size(UDP_BUFFER);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Serves the UDP door for ever.
pub async fn serve_udp(service: Arc<NgService>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let inflight = Arc::new(Semaphore::new(NG_INFLIGHT_MAX));
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // ICMP of an earlier reply, or memory pressure: neither ends the door.
                tracing::debug!(%error, "ng receive");
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&inflight).try_acquire_owned() else {
            service.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let message: Box<[u8]> = buffer[..len].into();
        let (service, socket) = (Arc::clone(&service), Arc::clone(&socket));
        tokio::spawn(async move {
            if let Some(reply) = service.datagram(&message).await
                && let Err(error) = socket.send_to(&reply, from).await
            {
                tracing::debug!(%error, %from, len = reply.len(), "ng reply not sent");
            }
            drop(permit);
        });
    }
}

/// Serves the TCP door for ever: a stream of `cookie SP bencode` without delimiters.
pub async fn serve_tcp(service: Arc<NgService>, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(NG_TCP_CONNECTIONS_MAX));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "ng accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            tracing::warn!(%from, limit = NG_TCP_CONNECTIONS_MAX, "ng connection refused");
            continue;
        };
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            if let Err(error) = converse(&service, stream).await {
                tracing::debug!(%error, %from, "ng connection ended");
            }
            drop(permit);
        });
    }
}

async fn converse(service: &Arc<NgService>, mut stream: TcpStream) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut deadline = Instant::now() + NG_TCP_FIRST;
    let mut held: Vec<u8> = Vec::with_capacity(4096);
    let mut framer = Framer::default();
    loop {
        let read = timeout_at(deadline, stream.read_buf(&mut held)).await;
        if read.map_err(late)?? == 0 {
            return Ok(());
        }
        while let Some(len) = framer.message_len(&held)? {
            let message: Vec<u8> = held.drain(..len).collect();
            framer = Framer::default();
            if let Some(reply) = service.message(&message).await {
                let written = timeout(NG_TCP_WRITE, stream.write_all(&reply)).await;
                written.map_err(late)??;
            }
            deadline = Instant::now() + NG_TCP_IDLE;
        }
    }
}

/// Finds the end of the first message in a growing buffer, looking at each byte once.
#[derive(Debug, Default)]
struct Framer {
    cookie_len: Option<usize>,
    scanner: Scanner,
}

impl Framer {
    fn message_len(&mut self, held: &[u8]) -> io::Result<Option<usize>> {
        let junk = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
        let cookie_len = match self.cookie_len {
            Some(len) => len,
            None => match held.iter().take(NG_TCP_JUNK_MAX).position(|b| *b == b' ') {
                Some(len) => *self.cookie_len.insert(len),
                None if held.len() >= NG_TCP_JUNK_MAX => return junk("no cookie"),
                None => return Ok(None),
            },
        };
        match self.scanner.advance(&held[cookie_len + 1..]) {
            Ok(Some(len)) => Ok(Some(cookie_len + 1 + len)),
            Ok(None) if held.len() > NG_TCP_MESSAGE_MAX => junk("message too long"),
            Ok(None) => Ok(None),
            Err(error) => junk(&error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_the_stream_is_cut() {
        let stream = b"c1 d7:command4:pingec2 d7:command4:pinge";
        for cut in 0..stream.len() {
            let (mut framer, mut held, mut found) = (Framer::default(), Vec::new(), Vec::new());
            for part in [&stream[..cut], &stream[cut..]] {
                held.extend_from_slice(part);
                while let Some(len) = framer.message_len(&held).unwrap() {
                    found.push(held.drain(..len).collect::<Vec<u8>>());
                    framer = Framer::default();
                }
            }
            assert_eq!(found, [&stream[..20], &stream[20..]], "cut at {cut}");
        }
    }

    #[test]
    fn junk_is_told_from_a_slow_sender() {
        let mut framer = Framer::default();
        assert!(
            framer
                .message_len(&[b'x'; NG_TCP_JUNK_MAX - 1])
                .unwrap()
                .is_none()
        );
        assert!(framer.message_len(&[b'x'; NG_TCP_JUNK_MAX]).is_err());
        assert!(Framer::default().message_len(b"c x").is_err());
    }
}
