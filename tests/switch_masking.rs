//! Masked parties who come to talk with others, asked of the switch itself.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint::engine::{Mask, MaskMode};
use crosspoint::switch::{Connection, Negotiation, Options, Participants, Switch};
use support::inside;
use support::party::target;
use support::ports::Ports;

const EVENT_PT: u8 = 101;

/// A party on a socket, and where it sends to.
struct Phone {
    socket: UdpSocket,
    to: SocketAddr,
    seq: u16,
}

impl Phone {
    fn bind() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let patience = Some(Duration::from_millis(300));
        socket.set_read_timeout(patience).expect("a timeout");
        socket
    }

    fn send(&mut self, pt: u8, payload: &[u8]) {
        self.seq += 1;
        let mut packet = vec![0x80, pt];
        packet.extend(self.seq.to_be_bytes());
        packet.extend((u32::from(self.seq) * 160).to_be_bytes());
        packet.extend(7_u32.to_be_bytes());
        packet.extend(payload);
        self.socket.send_to(&packet, self.to).expect("sent");
    }

    /// Payload types of what comes, until nothing does.
    fn heard(&self) -> Vec<u8> {
        let (mut pts, mut packet) = (Vec::new(), [0; 2_048]);
        let until = Instant::now() + Duration::from_secs(5);
        while let Ok(len) = self.socket.recv(&mut packet) {
            assert!(Instant::now() < until, "it never ends");
            if len >= 12 && !(192..224).contains(&packet[1]) {
                pts.push(packet[1] & 0x7f);
            }
        }
        pts
    }
}

fn sdp(socket: &UdpSocket) -> String {
    let port = socket.local_addr().expect("bound").port();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 {EVENT_PT}\r\na=rtpmap:{EVENT_PT} telephone-event/8000\r\n"
    )
}

struct Desk {
    switch: Arc<Switch>,
    runtime: tokio::runtime::Runtime,
    _ports: Ports,
}

impl Desk {
    fn new() -> Self {
        let (switch, runtime, ports) = inside::switch_alone(16);
        Self {
            switch,
            runtime,
            _ports: ports,
        }
    }

    /// A call of two.
    fn call(&self, id: &str, [a, b]: [&str; 2]) -> [Phone; 2] {
        let _inside = self.runtime.enter();
        let sockets = [Phone::bind(), Phone::bind()];
        let sdps = [0, 1].map(|n| sdp(&sockets[n]));
        let negotiation = |sdp: usize, to_tag| Negotiation {
            call_id: id,
            from_tag: a,
            to_tag,
            via_branch: None,
            sdp: sdps[sdp].as_bytes(),
            options: Options::default(),
        };
        let offered = self.switch.offer(&negotiation(0, None));
        let answered = self.switch.answer(&negotiation(1, Some(b)));
        let told_b = target(&offered.expect("an offer").sdp);
        let told_a = target(&answered.expect("an answer").sdp);
        let mut to = [told_a, told_b].into_iter();
        sockets.map(|socket| Phone {
            socket,
            to: to.next().expect("two"),
            seq: 0,
        })
    }
}

/// What was said of a whole call is true of a party of another one from the moment at which it is
/// joined to it: the switch says both in one breath.
#[test]
fn keys_of_who_is_joined_to_a_masked_call_are_masked_at_once() {
    let desk = Desk::new();
    let [a, _b] = desk.call("one", ["a", "b"]);
    let [_c, mut d] = desk.call("two", ["c", "d"]);
    let mask = Mask {
        in_band: false,
        ..Mask::of(MaskMode::Absorb)
    };
    let masked = desk.switch.mask("one", Participants::All, Some(mask));
    assert_eq!(masked.expect("masked"), Vec::<String>::new());
    let joined = desk.switch.connect(&Connection {
        call_id: "one",
        from_tag: "a",
        to_call_id: Some("two"),
        to_tag: "d",
    });
    joined.expect("joined");
    let report = desk.runtime.block_on(desk.switch.query("one"));
    report.expect("the worker has done all that");
    for n in 0..20_u8 {
        d.send(0, &[0x55; 160]);
        d.send(EVENT_PT, &[n % 10, 10, 0, 160]);
    }
    let heard = a.heard();
    assert_eq!(heard, [0; 20]);
}
