//! Ogg pages (RFC 3533): the frames that files of Opus (RFC 7845) are cut into.
//!
//! ```text
//! 0      4       5     6                 14      18        22   26        27
//! "OggS" version flags granule position  serial  sequence  CRC  segments  lacing values … body
//! ```

/// First bytes of every page.
pub(crate) const CAPTURE: &[u8] = b"OggS";
/// Octets of a page before its lacing values.
pub(crate) const HEADER_LEN: usize = 27;
/// Most lacing values of a page.
pub(crate) const SEGMENTS_MAX: usize = 255;
/// Longest page in octets.
pub(crate) const PAGE_LEN_MAX: usize = HEADER_LEN + SEGMENTS_MAX + 255 * 255;
/// The page begins with the rest of a packet.
pub(crate) const FLAG_CONTINUED: u8 = 1;
/// It is its stream's first.
pub(crate) const FLAG_FIRST: u8 = 2;
/// It is its stream's last.
pub(crate) const FLAG_LAST: u8 = 4;

/// A page whose checksum is right.
pub(crate) struct Page<'a> {
    /// `FLAG_…`.
    pub(crate) flags: u8,
    /// In samples, at the end of the last packet that ends on the page; −1 if none does.
    pub(crate) granule: i64,
    /// Of its stream.
    pub(crate) serial: u32,
    /// Counts the pages of its stream.
    pub(crate) sequence: u32,
    /// A packet ends with the first value below 255.
    pub(crate) lacing: &'a [u8],
    /// As long as the lacing values together.
    pub(crate) body: &'a [u8],
}

impl<'a> Page<'a> {
    /// The page at the beginning of `bytes`, and its length.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let page = &bytes[..page_len(bytes)?];
        let header = page.first_chunk::<HEADER_LEN>()?;
        let is_right = checksum(page) == u32_at(header, 22);
        is_right.then(|| (Self::of(page, header), page.len()))
    }

    fn of(page: &'a [u8], header: &[u8; HEADER_LEN]) -> Self {
        let (lacing, body) = page[HEADER_LEN..].split_at(usize::from(header[26]));
        let (low, high) = (u32_at(header, 6), u32_at(header, 10));
        Self {
            flags: header[5],
            granule: (u64::from(high) << 32 | u64::from(low)).cast_signed(),
            serial: u32_at(header, 14),
            sequence: u32_at(header, 18),
            lacing,
            body,
        }
    }

    /// Whether it has this flag.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The length of the page at the beginning of `bytes`, if all of it is there. Its checksum is not
/// looked at.
pub(crate) fn page_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    if !header.starts_with(CAPTURE) || header[4] != 0 {
        return None;
    }
    let body_at = HEADER_LEN + usize::from(header[26]);
    let lacing = bytes.get(HEADER_LEN..body_at)?;
    let len = body_at + lacing.iter().map(|len| usize::from(*len)).sum::<usize>();
    (len <= bytes.len()).then_some(len)
}

/// Makes the checksum of every page right.
pub(crate) fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let Some(len) = page_len(&bytes[at..]) else {
            at += 1;
            continue;
        };
        seal(&mut bytes[at..][..len]);
        at += len;
    }
    bytes
}

/// Makes the checksum of a whole page right.
pub(crate) fn seal(page: &mut [u8]) {
    let crc = checksum(page).to_le_bytes();
    page[22..26].copy_from_slice(&crc);
}

/// RFC 3533 §6 field 8: no reflection, nothing inverted, the field itself as zero.
fn checksum(page: &[u8]) -> u32 {
    let step = |crc: u32, byte: u8| {
        let [high, ..] = crc.to_be_bytes();
        crc << 8 ^ CRC_TABLE[usize::from(high ^ byte)]
    };
    let crc = page[..22].iter().fold(0, |crc, byte| step(crc, *byte));
    let crc = (0..4).fold(crc, |crc, _| step(crc, 0));
    page[26..].iter().fold(crc, |crc, byte| step(crc, *byte))
}

static CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut n = 0u32;
    while n < 256 {
        let mut crc = n << 24;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000_0000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x04c1_1db7;
            }
            bit += 1;
        }
        table[n as usize] = crc;
        n += 1;
    }
    table
};

fn u32_at(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
