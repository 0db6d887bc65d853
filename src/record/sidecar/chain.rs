//! Sums of a recording's segments, each bound to all before it.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Most segments of a recording: a day of them. The last one goes on to the end.
pub const SEGMENTS_MAX: usize = 8_640;

/// What a chain begins with: SHA-256 of this text.
const ORIGIN: &[u8] = b"crosspoint recording 1";

/// Octets read from a file at a time.
const READ_LEN: usize = 64 << 10;

/// A SHA-256; in text, 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sum(pub(super) [u8; 32]);

impl Sum {
    /// The sum of some octets.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// What a chain's head becomes by one more link.
    #[must_use]
    pub fn link(self, next: Self) -> Self {
        let hash = Sha256::new().chain_update(self.0).chain_update(next.0);
        Self(hash.finalize().into())
    }

    /// From 64 hexadecimal digits in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut sum = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != sum.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in sum.iter_mut().zip(pairs) {
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(sum))
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no SHA-256 in hexadecimal"))
    }
}

/// A stretch of the file with its link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// First octet in the file.
    pub from: u64,
    /// Behind its last octet.
    pub until: u64,
    /// Time in the file that is over with it, in microseconds. What an encoder still holds back
    /// is in the next segment.
    pub until_us: u64,
    /// `SHA-256(link before it ‖ SHA-256(its octets))`.
    pub chain: Sum,
}

/// Makes the chain of a file while its octets come.
#[derive(Clone, Debug)]
pub struct Chain {
    from: u64,
    until: u64,
    hash: Sha256,
    head: Sum,
}

impl Chain {
    /// Of a file whose segments begin behind so many octets.
    #[must_use]
    pub fn new(header_len: u64) -> Self {
        Self {
            from: header_len,
            until: header_len,
            hash: Sha256::new(),
            head: Sum::of(ORIGIN),
        }
    }

    /// The next octets.
    pub fn push(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.until += bytes.len() as u64;
    }

    /// Where the last segment ends, or the chain begins.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.from
    }

    /// Ends a segment here; `None` if nothing came since the last one.
    pub fn cut(&mut self, until_us: u64) -> Option<Segment> {
        if self.from == self.until {
            return None;
        }
        self.head = self.head.link(Sum(self.hash.finalize_reset().into()));
        let from = std::mem::replace(&mut self.from, self.until);
        Some(Segment {
            from,
            until: self.until,
            until_us,
            chain: self.head,
        })
    }

    /// The last link, or where the chain begins.
    #[must_use]
    pub fn head(&self) -> Sum {
        self.head
    }
}

impl io::Write for Chain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a file's octets add up to, and how they agree with segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Length of the file in octets.
    pub bytes: u64,
    /// Of the whole file.
    pub sha256: Sum,
    /// Indices of segments whose octets are not those that were summed, or are missing.
    pub wrong: Vec<usize>,
    /// The chain over all octets behind the header, cut where the segments are.
    pub chain: Chain,
}

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        (self.from, self.until, self.head) == (other.from, other.until, other.head)
    }
}

impl Eq for Chain {}

/// Reads a file from its beginning to its end, and sums it. A segment is judged by its own octets:
/// a wrong one does not make those after it wrong.
///
/// # Errors
/// What the file says.
pub fn sum(mut file: impl Read, header_len: u64, segments: &[Segment]) -> io::Result<Sums> {
    let mut whole = Sha256::new();
    let mut chain = Chain::new(header_len);
    let mut wrong = Vec::new();
    let mut buffer = vec![0; READ_LEN];
    let mut at: u64 = 0;
    let mut next = 0;
    loop {
        let ends = match segments.get(next) {
            _ if at < header_len => header_len,
            Some(segment) => segment.until.max(at),
            None => u64::MAX,
        };
        if at >= header_len && next < segments.len() && ends == at {
            judge(&mut chain, segments, next, &mut wrong);
            next += 1;
            continue;
        }
        let most = usize::try_from(ends - at).unwrap_or(READ_LEN).min(READ_LEN);
        let len = match file.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        whole.update(&buffer[..len]);
        if at >= header_len {
            chain.push(&buffer[..len]);
        }
        at += len as u64;
    }
    wrong.extend(next..segments.len());
    Ok(Sums {
        bytes: at,
        sha256: Sum(whole.finalize().into()),
        wrong,
        chain,
    })
}

/// Ends a segment, and goes on from the link it should have.
fn judge(chain: &mut Chain, segments: &[Segment], index: usize, wrong: &mut Vec<usize>) {
    let expected = &segments[index];
    let is = chain.cut(expected.until_us);
    if is.as_ref() != Some(expected) {
        wrong.push(index);
        chain.head = expected.chain;
    }
}
