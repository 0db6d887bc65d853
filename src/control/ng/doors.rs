//! ng over UDP and TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
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

/// How long the TCP door waits for a client.
#[derive(Clone, Copy, Debug)]
struct Patience {
    first: Duration,
    idle: Duration,
    write: Duration,
}

const PATIENCE: Patience = Patience {
    first: NG_TCP_FIRST,
    idle: NG_TCP_IDLE,
    write: NG_TCP_WRITE,
};

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
            if let Err(error) = converse(&service, stream, PATIENCE).await {
                tracing::debug!(%error, %from, "ng connection ended");
            }
            drop(permit);
        });
    }
}

async fn converse(
    service: &Arc<NgService>,
    mut stream: TcpStream,
    patience: Patience,
) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut deadline = Instant::now() + patience.first;
    let mut held: Vec<u8> = Vec::with_capacity(4096);
    let mut framer = Framer::default();
    let mut notices = service.notices();
    loop {
        let read = tokio::select! {
            biased;
            read = timeout_at(deadline, stream.read_buf(&mut held)) => read,
            notice = notices.recv() => {
                match notice {
                    Ok(notice) => {
                        let written = timeout(patience.write, stream.write_all(&notice)).await;
                        written.map_err(late)??;
                    }
                    Err(RecvError::Lagged(lost)) => {
                        service.notices_lost.fetch_add(lost, Ordering::Relaxed);
                    }
                    Err(RecvError::Closed) => return Ok(()),
                }
                continue;
            }
        };
        if read.map_err(late)?? == 0 {
            return Ok(());
        }
        while let Some(len) = framer.message_len(&held)? {
            let message: Vec<u8> = held.drain(..len).collect();
            framer = Framer::default();
            if let Some(reply) = service.message(&message).await {
                let written = timeout(patience.write, stream.write_all(&reply)).await;
                written.map_err(late)??;
            }
            deadline = Instant::now() + patience.idle;
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

    const PING: &[u8] = b"c1 d7:command4:pinge";
    const PONG: &[u8] = b"c1 d6:result4:ponge";

    /// A conversation under `patience`, and the client's end of it.
    async fn talk(patience: Patience) -> (tokio::task::JoinHandle<io::Result<()>>, TcpStream) {
        let service = super::super::service::tests::service();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let stream = listener.accept().await.unwrap().0;
        let talk = tokio::spawn(async move { converse(&service, stream, patience).await });
        (talk, client)
    }

    async fn ping(client: &mut TcpStream) {
        client.write_all(PING).await.unwrap();
        let mut reply = [0; PONG.len()];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, PONG);
    }

    #[tokio::test]
    async fn the_first_message_has_its_time_and_no_more() {
        let short = Patience {
            first: Duration::from_millis(300),
            ..PATIENCE
        };
        let begin = Instant::now();
        let (talk, mut client) = talk(short).await;
        // A message that trickles in is none before it is complete.
        client.write_all(&PING[..5]).await.unwrap();
        tokio::time::sleep(short.first / 2).await;
        client.write_all(&PING[5..8]).await.unwrap();
        assert!(!talk.is_finished());
        let error = talk.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= short.first);
    }

    #[tokio::test]
    async fn each_message_gives_a_connection_its_idle_time_anew() {
        let short = Patience {
            idle: Duration::from_millis(600),
            ..PATIENCE
        };
        let (talk, mut client) = talk(short).await;
        let begin = Instant::now();
        for _ in 0..4 {
            ping(&mut client).await;
            tokio::time::sleep(short.idle / 3).await;
        }
        assert!(begin.elapsed() > short.idle && !talk.is_finished());
        let error = talk.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_takes_no_reply_is_let_go() {
        let short = Patience {
            write: Duration::from_millis(300),
            ..PATIENCE
        };
        let (talk, mut client) = talk(short).await;
        let flood = PING.repeat(1000);
        // Until both directions are full.
        tokio::spawn(async move { while client.write_all(&flood).await.is_ok() {} });
        let error = talk.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_connection_more_than_the_limit_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = super::super::service::tests::service();
        tokio::spawn(serve_tcp(service, listener));
        let mut held = Vec::new();
        for _ in 0..NG_TCP_CONNECTIONS_MAX {
            let mut client = TcpStream::connect(address).await.unwrap();
            ping(&mut client).await;
            held.push(client);
        }
        let mut refused = TcpStream::connect(address).await.unwrap();
        let read = timeout(Duration::from_secs(20), refused.read_u8()).await;
        assert!(read.unwrap().is_err(), "closed without a word");
        drop(held.pop());
        // The place is free once the switch has seen that it was left.
        loop {
            let mut client = TcpStream::connect(address).await.unwrap();
            let _refused_yet = client.write_all(PING).await;
            if client.read_u8().await.is_ok() {
                break;
            }
        }
    }

    #[test]
    fn a_message_may_have_its_length_and_no_byte_more() {
        let filler = |len: usize| {
            let digits = len.to_string().len();
            format!(
                "c {}:{}",
                len - digits - 3,
                "x".repeat(len - digits - 3 - 1)
            )
        };
        // Incomplete by one byte each.
        let fits = filler(NG_TCP_MESSAGE_MAX + 1);
        assert_eq!(fits.len(), NG_TCP_MESSAGE_MAX);
        assert!(
            Framer::default()
                .message_len(fits.as_bytes())
                .unwrap()
                .is_none()
        );
        let long = filler(NG_TCP_MESSAGE_MAX + 2);
        assert!(Framer::default().message_len(long.as_bytes()).is_err());
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
