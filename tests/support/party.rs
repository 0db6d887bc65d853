//! One end of a call: two sockets, an SDP, a voice made of a tone, and two of them on a switch.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::{Value, json};

use super::ng::Ng;
use super::rtp::{self, Packet};
use super::{audio, every_20_ms, wait_until};

/// A datagram and where it came from.
pub type Datagram = (SocketAddr, Vec<u8>);

#[derive(Debug)]
pub struct Party {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    /// The next packet's numbers.
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub hz: f32,
    /// Payload type of telephone-events in its SDP.
    pub event_pt: u8,
    /// The SDP's own version number, one more with every SDP.
    sdp_version: u32,
}

impl Party {
    /// A party on `ip` whose voice is a sine of `hz`.
    pub fn new(ip: &str, hz: f32) -> Self {
        let (rtp, rtcp) = socket_pair(ip);
        Self {
            rtp,
            rtcp,
            seq: fastrand::u16(..),
            timestamp: fastrand::u32(..),
            ssrc: fastrand::u32(..),
            hz,
            event_pt: 101,
            sdp_version: 0,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.rtp.local_addr().expect("bound")
    }

    /// An honest SDP.
    pub fn sdp(&mut self) -> String {
        let address = self.address();
        self.sdp_at(address, "sendrecv")
    }

    /// An SDP that claims to be at `address`.
    pub fn sdp_at(&mut self, address: SocketAddr, direction: &str) -> String {
        self.sdp_version += 1;
        let (ip, port, event) = (address.ip(), address.port(), self.event_pt);
        let version = self.sdp_version;
        format!(
            "v=0\r\no=- 4711 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 {event}\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:{event} telephone-event/8000\r\na=fmtp:{event} 0-15\r\na={direction}\r\n"
        )
    }

    /// 20 ms of its tone.
    pub fn speak(&mut self, to: SocketAddr) {
        let payload = audio::tone(self.hz, self.timestamp);
        self.send(to, 0, payload);
        self.timestamp = self.timestamp.wrapping_add(160);
    }

    /// As [`Self::speak`], with silence instead of a tone: for bursts, where the sine costs more
    /// than the sending.
    pub fn speak_fast(&mut self, to: SocketAddr) {
        self.send(to, 0, vec![0xFF; 160]);
        self.timestamp = self.timestamp.wrapping_add(160);
    }

    /// One packet at the current timestamp.
    pub fn send(&mut self, to: SocketAddr, pt: u8, payload: Vec<u8>) {
        let (seq, timestamp, ssrc) = (self.seq, self.timestamp, self.ssrc);
        let packet = Packet {
            marker: false,
            pt,
            seq,
            timestamp,
            ssrc,
            payload,
        };
        self.seq = self.seq.wrapping_add(1);
        // An ICMP error of an earlier packet surfaces here; the send after it goes out again.
        let bytes = packet.write();
        if self.rtp.send_to(&bytes, to).is_err() {
            let _ = self.rtp.send_to(&bytes, to);
        }
    }

    /// Every datagram on the RTP port that has come so far.
    pub fn datagrams(&self) -> Vec<Datagram> {
        drain(&self.rtp)
    }

    /// Every RTP packet that has come so far.
    pub fn heard(&self) -> Vec<Packet> {
        self.datagrams()
            .iter()
            .filter_map(|(_, bytes)| Packet::read(bytes))
            .collect()
    }
}

/// Everything in a socket's queue.
pub fn drain(socket: &UdpSocket) -> Vec<Datagram> {
    let mut buffer = [0; 65_536];
    let mut found = Vec::new();
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => found.push((from, buffer[..length].to_vec())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return found,
            // ICMP errors of our own sends.
            Err(_) => {}
        }
    }
}

/// An even port for RTP and the odd one above it for RTCP, both non-blocking.
fn socket_pair(ip: &str) -> (UdpSocket, UdpSocket) {
    let ip: IpAddr = ip.parse().expect("an address");
    for _ in 0..200 {
        let rtp = UdpSocket::bind((ip, 0)).expect("a local address");
        let port = rtp.local_addr().expect("bound").port();
        if !port.is_multiple_of(2) {
            continue;
        }
        let Ok(rtcp) = UdpSocket::bind((ip, port + 1)) else {
            continue;
        };
        rtp.set_nonblocking(true).expect("a socket");
        rtcp.set_nonblocking(true).expect("a socket");
        return (rtp, rtcp);
    }
    panic!("no even port with a free odd one above it on {ip}");
}

/// Where an SDP wants its audio.
pub fn target(sdp: &str) -> SocketAddr {
    let line = |start: &str| {
        let found = sdp.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no {start} in {sdp}"))
    };
    let ip = line("c=IN IP4 ").trim().parse().expect("an IPv4 address");
    let port = line("m=audio ")
        .split(' ')
        .next()
        .expect("a port")
        .parse()
        .expect("a port");
    SocketAddr::new(ip, port)
}

/// An offer as Kamailio words it.
pub fn offer(id: &str, from: &str, sdp: &str) -> Value {
    json!({
        "command": "offer", "call-id": id, "from-tag": from, "sdp": sdp,
        "supports": ["load limit"], "flags": ["trust-address"], "replace": ["origin"],
    })
}

/// Its answer: `from` is still the offerer, `to` the party whose SDP this is.
pub fn answer(id: &str, from: &str, to: &str, sdp: &str) -> Value {
    let mut request = offer(id, from, sdp);
    request["command"] = json!("answer");
    request["to-tag"] = json!(to);
    request
}

/// Two parties on a switch.
#[derive(Debug)]
pub struct Call {
    pub id: String,
    pub a: Party,
    pub b: Party,
    /// Where `a` sends: the switch's port that the answer named.
    pub a_to: SocketAddr,
    /// Where `b` sends: the switch's port that the offer named.
    pub b_to: SocketAddr,
}

impl Call {
    /// A (600 Hz) calls B (1000 Hz), both on 127.0.0.1 with honest SDP.
    pub fn new(ng: &mut Ng) -> Self {
        Self::between(
            ng,
            Party::new("127.0.0.1", 600.0),
            Party::new("127.0.0.1", 1000.0),
        )
    }

    pub fn between(ng: &mut Ng, mut a: Party, b: Party) -> Self {
        let sdp = a.sdp();
        Self::with_offer(ng, a, b, &sdp)
    }

    /// As [`Self::between`], but A's SDP says something else.
    pub fn with_offer(ng: &mut Ng, a: Party, mut b: Party, sdp: &str) -> Self {
        let id = format!("call-{:016x}", fastrand::u64(..));
        let reply = ng.ok(&offer(&id, "tag-a", sdp));
        let b_to = target(reply["sdp"].as_str().expect("an SDP"));
        let sdp_b = b.sdp();
        let reply = ng.ok(&answer(&id, "tag-a", "tag-b", &sdp_b));
        let a_to = target(reply["sdp"].as_str().expect("an SDP"));
        Self {
            id,
            a,
            b,
            a_to,
            b_to,
        }
    }

    /// Both speak until both hear each other, then the queues are emptied.
    pub fn connect(&mut self) {
        let (mut a_hears, mut b_hears) = (false, false);
        wait_until("both parties hear each other", || {
            self.a.speak(self.a_to);
            self.b.speak(self.b_to);
            std::thread::sleep(super::PTIME);
            a_hears |= self
                .a
                .heard()
                .iter()
                .any(|p| p.ssrc == self.b.ssrc || p.pt == 0);
            b_hears |= self
                .b
                .heard()
                .iter()
                .any(|p| p.ssrc == self.a.ssrc || p.pt == 0);
            a_hears && b_hears
        });
        self.quiet();
        self.a.datagrams();
        self.b.datagrams();
    }

    /// Both speak for `count` packets; what A heard, what B heard.
    pub fn talk(&mut self, count: u32) -> (Vec<Packet>, Vec<Packet>) {
        let (mut at_a, mut at_b) = (Vec::new(), Vec::new());
        every_20_ms(count, |_| {
            self.a.speak(self.a_to);
            self.b.speak(self.b_to);
            at_a.extend(self.a.heard());
            at_b.extend(self.b.heard());
        });
        // What is under way still arrives.
        for _ in 0..200 {
            if at_a.len() >= count as usize && at_b.len() >= count as usize {
                break;
            }
            std::thread::sleep(super::PTIME / 2);
            at_a.extend(self.a.heard());
            at_b.extend(self.b.heard());
        }
        (at_a, at_b)
    }

    /// Fails unless 50 packets pass each way, every one of them, as the tones they were.
    pub fn assert_works(&mut self, when: &str) {
        let (at_a, at_b) = self.talk(50);
        for (who, packets, hz) in [("A", &at_a, self.b.hz), ("B", &at_b, self.a.hz)] {
            assert_eq!(
                packets.len(),
                50,
                "{when}: {who} does not hear exactly what was sent"
            );
            let share = audio::share_of_tone(&rtp::pcmu(packets), hz);
            assert!(
                share > 0.95,
                "{when}: only {share:.2} of what {who} hears is {hz} Hz"
            );
            assert_eq!(rtp::gaps(packets), (0, true), "{when}: numbers at {who}");
        }
    }

    /// Waits until nothing more is under way to either party.
    pub fn quiet(&self) {
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            if self.a.datagrams().is_empty() && self.b.datagrams().is_empty() {
                return;
            }
        }
        panic!("packets keep coming though nobody sends");
    }

    /// Waits half a second for what is under way, and shows what both parties heard so far.
    pub fn quiet_or(&self, check: impl FnOnce(&[Packet], &[Packet])) {
        std::thread::sleep(std::time::Duration::from_millis(500));
        check(&self.a.heard(), &self.b.heard());
    }

    pub fn delete(&self, ng: &mut Ng) -> Value {
        ng.ok(&json!({"command": "delete", "call-id": self.id, "from-tag": "tag-a"}))
    }
}
