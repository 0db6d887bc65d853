//! A user agent that keeps to RFC 3264, and its SDP.

use std::collections::HashMap;

use fastrand::Rng;

pub(crate) const LINES_MAX: usize = 4;
/// Its offers name retransmission: several sources share the line, so nothing is renumbered.
pub(crate) const RETRANSMITTED: usize = 3;

/// Name, clock and channels, parameters that make it another codec, usual number.
pub(crate) const AUDIO: [(&str, &str, u8); 7] = [
    ("PCMU/8000", "", 0),
    ("PCMA/8000", "", 8),
    ("G722/8000", "", 9),
    ("opus/48000/2", "useinbandfec=1", 0),
    ("telephone-event/8000", "0-15", 0),
    ("speex/16000", "", 0),
    ("iLBC/8000", "mode=30", 0),
];
pub(crate) const VIDEO: [(&str, &str, u8); 3] = [
    ("VP8/90000", "", 0),
    ("H264/90000", "packetization-mode=1", 0),
    ("H264/90000", "packetization-mode=0", 0),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Audio,
    Video,
    Fax,
}

/// One line of an SDP as its party means it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) rejected: bool,
    pub(crate) zero: bool,
    pub(crate) direction: &'static str,
    /// Number and meaning.
    pub(crate) formats: Vec<(u8, String)>,
}

impl Line {
    pub(crate) fn sends(&self) -> bool {
        ["sendrecv", "sendonly"].contains(&self.direction)
    }

    pub(crate) fn receives(&self) -> bool {
        ["sendrecv", "recvonly"].contains(&self.direction) && !self.zero
    }
}

/// A user agent that keeps to RFC 3264.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) tags: Vec<String>,
    pub(crate) branch: Option<String>,
    pub(crate) ip: String,
    pub(crate) secret: String,
    /// What numbers mean to it, by line.
    pub(crate) numbers: Vec<HashMap<u8, String>>,
    /// Where it was told to send, by line and whether it is a fax.
    pub(crate) told: HashMap<(usize, bool), u16>,
    /// Its own favourite numbers.
    pub(crate) favourites: Vec<u8>,
}

impl Agent {
    pub(crate) fn new(name: &str, ix: usize, random: &mut Rng) -> Self {
        let mut favourites: Vec<u8> = (96..112).collect();
        random.shuffle(&mut favourites);
        Self {
            tags: Vec::new(),
            branch: (ix > 0).then(|| format!("z9hG4bK{name}")),
            ip: format!("198.51.100.{}", 10 + ix),
            secret: format!("secret-of-{name}"),
            numbers: vec![HashMap::new(); LINES_MAX],
            told: HashMap::new(),
            favourites,
        }
    }

    /// The number under which it speaks of a codec, never one that means something else.
    pub(crate) fn number(&mut self, line: usize, meaning: &str, usual: u8, favourite: usize) -> u8 {
        let known = self.numbers[line].iter().filter(|(_, m)| *m == meaning);
        if let Some(pt) = known.map(|(pt, _)| *pt).min() {
            return pt;
        }
        let mut wanted = vec![self.favourites[favourite]];
        if ["PCMU/8000", "PCMA/8000", "G722/8000"].contains(&meaning) {
            wanted.insert(0, usual);
        }
        let free = |pt: &u8| !self.numbers[line].contains_key(pt);
        let pt = wanted.into_iter().chain(96..=127).chain(35..64).find(free);
        let pt = pt.expect("a free number");
        self.numbers[line].insert(pt, meaning.to_owned());
        pt
    }

    pub(crate) fn formats(
        &mut self,
        line: usize,
        kind: Kind,
        random: &mut Rng,
    ) -> Vec<(u8, String)> {
        let codecs: &[_] = match kind {
            Kind::Audio => &AUDIO,
            Kind::Video => &VIDEO,
            Kind::Fax => return Vec::new(),
        };
        let mut chosen: Vec<usize> = (0..codecs.len()).filter(|_| random.bool()).collect();
        if chosen.is_empty() {
            chosen.push(random.usize(0..codecs.len()));
        }
        random.shuffle(&mut chosen);
        let mut formats = Vec::new();
        for ix in chosen {
            let (name, parameters, usual) = codecs[ix];
            let meaning = meaning(name, parameters);
            formats.push((self.number(line, &meaning, usual, ix), meaning));
        }
        formats
    }

    pub(crate) fn sdp(&self, lines: &[Line]) -> String {
        let (ip, secret) = (&self.ip, &self.secret);
        let mut out = format!(
            "v=0\r\no={secret} 77{secret}77 1 IN IP4 {ip}\r\ns={secret}\r\ni={secret}\r\n\
             u=http://{ip}/\r\ne={secret}@x\r\nc=IN IP4 {ip}\r\nt=0 0\r\na=tool:{secret}\r\n"
        );
        for (ix, line) in lines.iter().enumerate() {
            let port = if line.rejected { 0 } else { 4000 + 10 * ix };
            let (kind, transport) = match line.kind {
                Kind::Audio => ("audio", "RTP/AVP"),
                Kind::Video => ("video", "RTP/AVP"),
                Kind::Fax => ("image", "udptl"),
            };
            out += &format!("m={kind} {port} {transport}");
            if line.kind == Kind::Fax {
                out += " t38\r\na=T38FaxVersion:0\r\n";
            } else {
                for (pt, _) in &line.formats {
                    out += &format!(" {pt}");
                }
                out += "\r\n";
            }
            if line.zero {
                out += "c=IN IP4 0.0.0.0\r\n";
            }
            for (pt, meaning) in &line.formats {
                let (name, parameters) = meaning.split_once(' ').unwrap_or((meaning, ""));
                out += &format!("a=rtpmap:{pt} {name}\r\n");
                if !parameters.is_empty() {
                    out += &format!("a=fmtp:{pt} {parameters}\r\n");
                }
            }
            if line.kind != Kind::Fax {
                out += &format!("a=rtcp:{} IN IP4 {ip}\r\n", port + 1);
                out += &format!("a=candidate:1 1 UDP 1 {ip} {port} typ host\r\n");
                out += &format!("a=x-note:{secret}\r\na=ssrc:1 cname:{secret}\r\n");
                if ix == RETRANSMITTED {
                    out += "a=ssrc-group:FID 1 2\r\n";
                }
            }
            out += &format!("a={}\r\n", line.direction);
        }
        out
    }
}

pub(crate) fn meaning(name: &str, parameters: &str) -> String {
    if parameters.starts_with("packetization") {
        format!("{name} {parameters}")
    } else {
        name.to_owned()
    }
}

pub(crate) fn direction(random: &mut Rng) -> &'static str {
    let choice = random.usize(0..8);
    ["sendonly", "recvonly", "inactive"]
        .get(choice)
        .copied()
        .unwrap_or("sendrecv")
}
