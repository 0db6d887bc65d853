//! A canvas of few colours, and PNG (RFC 2083) as far as charts need it: eight-bit palette, rows as
//! differences to the row above, deflate (RFC 1951) with fixed codes and runs only.

/// A colour: red, green, blue.
pub(super) type Colour = [u8; 3];

/// A picture of palette indices.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pixels: Vec<u8>,
    palette: Vec<Colour>,
}

impl Canvas {
    /// All in the first colour.
    pub(super) fn new(width: usize, height: usize, palette: &[Colour]) -> Self {
        let (pixels, palette) = (vec![0; width * height], palette.to_vec());
        Self {
            width,
            height,
            pixels,
            palette,
        }
    }

    /// Colours a rectangle, as much of it as is inside.
    pub(super) fn fill(&mut self, (x, y): (usize, usize), (w, h): (usize, usize), colour: u8) {
        let right = (x + w).min(self.width);
        for row in y..(y + h).min(self.height) {
            if x < right {
                self.pixels[row * self.width + x..row * self.width + right].fill(colour);
            }
        }
    }

    /// Writes text in a font of 5 × 7, `scale` times as large, from this upper left corner.
    pub(super) fn text(&mut self, (x, y): (usize, usize), text: &str, scale: usize, colour: u8) {
        for (n, letter) in text.chars().enumerate() {
            for (column, bits) in glyph(letter).iter().enumerate() {
                for row in (0..7).filter(|row| bits >> row & 1 == 1) {
                    let at = (x + (n * 6 + column) * scale, y + row * scale);
                    self.fill(at, (scale, scale), colour);
                }
            }
        }
    }

    /// As a file.
    pub(super) fn png(&self) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        let size = [self.width, self.height].map(|n| u32::try_from(n).unwrap_or(0).to_be_bytes());
        chunk(
            &mut file,
            b"IHDR",
            &[&size.concat()[..], &[8, 3, 0, 0, 0]].concat(),
        );
        chunk(&mut file, b"PLTE", &self.palette.concat());
        let mut rows = Vec::with_capacity((self.width + 1) * self.height);
        let mut above = vec![0; self.width];
        for row in self.pixels.chunks_exact(self.width) {
            // Filter 2: what differs from the row above, which in charts is little.
            rows.push(2);
            rows.extend(
                row.iter()
                    .zip(&above)
                    .map(|(this, above)| this.wrapping_sub(*above)),
            );
            above.copy_from_slice(row);
        }
        chunk(&mut file, b"IDAT", &zlib(&rows));
        chunk(&mut file, b"IEND", &[]);
        file
    }
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    let crc = crc32(&file[start..]);
    file.extend(crc.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for &byte in bytes {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}

/// One final block of fixed codes.
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut bits = Bits {
        out: vec![0x78, 0x01],
        hold: 0,
        held: 0,
    };
    bits.put(0b011, 3);
    let mut at = 0;
    while at < data.len() {
        let run = match at.checked_sub(1) {
            Some(before) => data[at..]
                .iter()
                .take(258)
                .take_while(|&&b| b == data[before])
                .count(),
            None => 0,
        };
        if run >= 3 {
            bits.run(run);
            at += run;
        } else {
            bits.symbol(u32::from(data[at]));
            at += 1;
        }
    }
    bits.symbol(256);
    bits.put(0, 7);
    let mut out = bits.out;
    out.extend(adler32(data).to_be_bytes());
    out
}

/// Bits, lowest first.
struct Bits {
    out: Vec<u8>,
    hold: u32,
    held: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        self.hold |= value << self.held;
        self.held += count;
        while self.held >= 8 {
            self.out.push(self.hold.to_le_bytes()[0]);
            self.hold >>= 8;
            self.held -= 8;
        }
    }

    /// A literal or length symbol in the fixed code (RFC 1951 §3.2.6), whose codes go highest bit
    /// first.
    fn symbol(&mut self, symbol: u32) {
        let (code, count) = match symbol {
            0..=143 => (0x30 + symbol, 8),
            144..=255 => (0x190 + symbol - 144, 9),
            256..=279 => (symbol - 256, 7),
            _ => (0xc0 + symbol - 280, 8),
        };
        self.put(code.reverse_bits() >> (32 - count), count);
    }

    /// The byte before, 3 to 258 times again.
    fn run(&mut self, len: usize) {
        let len = u32::try_from(len).unwrap_or(3);
        let (symbol, extra, count) = match len {
            258 => (285, 0, 0),
            3..=10 => (254 + len, 0, 0),
            _ => {
                // Four symbols per doubling, each with one more extra bit.
                let count = (len - 3).ilog2() - 2;
                let group = (len - 3) >> count;
                (
                    257 + count * 4 + group,
                    (len - 3) & ((1 << count) - 1),
                    count,
                )
            }
        };
        self.symbol(symbol);
        self.put(extra, count);
        // Distance 1 is code 0 of five bits.
        self.put(0, 5);
    }
}

/// Columns of a letter, lowest bit on top.
fn glyph(letter: char) -> [u8; 5] {
    let at = FONT.iter().position(|(known, _)| *known == letter);
    at.map_or([0x7f, 0x41, 0x41, 0x41, 0x7f], |at| FONT[at].1)
}

#[rustfmt::skip]
const FONT: [(char, [u8; 5]); 52] = [
    (' ', [0x00; 5]),
    ('0', [0x3e, 0x51, 0x49, 0x45, 0x3e]), ('1', [0x00, 0x42, 0x7f, 0x40, 0x00]),
    ('2', [0x42, 0x61, 0x51, 0x49, 0x46]), ('3', [0x21, 0x41, 0x45, 0x4b, 0x31]),
    ('4', [0x18, 0x14, 0x12, 0x7f, 0x10]), ('5', [0x27, 0x45, 0x45, 0x45, 0x39]),
    ('6', [0x3c, 0x4a, 0x49, 0x49, 0x30]), ('7', [0x01, 0x71, 0x09, 0x05, 0x03]),
    ('8', [0x36, 0x49, 0x49, 0x49, 0x36]), ('9', [0x06, 0x49, 0x49, 0x29, 0x1e]),
    ('a', [0x20, 0x54, 0x54, 0x54, 0x78]), ('b', [0x7f, 0x48, 0x44, 0x44, 0x38]),
    ('c', [0x38, 0x44, 0x44, 0x44, 0x20]), ('d', [0x38, 0x44, 0x44, 0x48, 0x7f]),
    ('e', [0x38, 0x54, 0x54, 0x54, 0x18]), ('f', [0x08, 0x7e, 0x09, 0x01, 0x02]),
    ('g', [0x0c, 0x52, 0x52, 0x52, 0x3e]), ('h', [0x7f, 0x08, 0x04, 0x04, 0x78]),
    ('i', [0x00, 0x44, 0x7d, 0x40, 0x00]), ('j', [0x20, 0x40, 0x44, 0x3d, 0x00]),
    ('k', [0x7f, 0x10, 0x28, 0x44, 0x00]), ('l', [0x00, 0x41, 0x7f, 0x40, 0x00]),
    ('m', [0x7c, 0x04, 0x18, 0x04, 0x78]), ('n', [0x7c, 0x08, 0x04, 0x04, 0x78]),
    ('o', [0x38, 0x44, 0x44, 0x44, 0x38]), ('p', [0x7c, 0x14, 0x14, 0x14, 0x08]),
    ('q', [0x08, 0x14, 0x14, 0x18, 0x7c]), ('r', [0x7c, 0x08, 0x04, 0x04, 0x08]),
    ('s', [0x48, 0x54, 0x54, 0x54, 0x20]), ('t', [0x04, 0x3f, 0x44, 0x40, 0x20]),
    ('u', [0x3c, 0x40, 0x40, 0x20, 0x7c]), ('v', [0x1c, 0x20, 0x40, 0x20, 0x1c]),
    ('w', [0x3c, 0x40, 0x30, 0x40, 0x3c]), ('x', [0x44, 0x28, 0x10, 0x28, 0x44]),
    ('y', [0x0c, 0x50, 0x50, 0x50, 0x3c]), ('z', [0x44, 0x64, 0x54, 0x4c, 0x44]),
    ('A', [0x7e, 0x11, 0x11, 0x11, 0x7e]), ('C', [0x3e, 0x41, 0x41, 0x41, 0x22]),
    ('M', [0x7f, 0x02, 0x0c, 0x02, 0x7f]), ('P', [0x7f, 0x09, 0x09, 0x09, 0x06]),
    ('R', [0x7f, 0x09, 0x19, 0x29, 0x46]), ('S', [0x46, 0x49, 0x49, 0x49, 0x31]),
    ('U', [0x3f, 0x40, 0x40, 0x40, 0x3f]), ('%', [0x23, 0x13, 0x08, 0x64, 0x62]),
    ('.', [0x00, 0x60, 0x60, 0x00, 0x00]), (',', [0x00, 0x50, 0x30, 0x00, 0x00]),
    (':', [0x00, 0x36, 0x36, 0x00, 0x00]), ('/', [0x20, 0x10, 0x08, 0x04, 0x02]),
    ('-', [0x08; 5]), ('(', [0x00, 0x1c, 0x22, 0x41, 0x00]), (')', [0x00, 0x41, 0x22, 0x1c, 0x00]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }

    /// Undoes what `zlib` does: fixed codes, distance 1.
    fn inflate(data: &[u8]) -> Vec<u8> {
        let bits: Vec<u32> = data[2..]
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit & 1)))
            .collect();
        let mut at = 3;
        let mut take = |count: usize| {
            at += count;
            bits[at - count..at].to_vec()
        };
        let number = |bits: &[u32]| bits.iter().fold(0, |n, bit| n << 1 | bit);
        let mut out: Vec<u8> = Vec::new();
        loop {
            let mut code = number(&take(7));
            let symbol = if code < 24 {
                256 + code
            } else {
                code = code << 1 | take(1)[0];
                match code {
                    0x30..=0xbf => code - 0x30,
                    0xc0..=0xc7 => code - 0xc0 + 280,
                    _ => (code << 1 | take(1)[0]) - 0x190 + 144,
                }
            };
            match symbol {
                0..=255 => out.push(u8::try_from(symbol).unwrap()),
                256 => return out,
                _ => {
                    let count = if (265..285).contains(&symbol) {
                        (symbol - 261) / 4
                    } else {
                        0
                    };
                    let extra: u32 = take(count as usize)
                        .iter()
                        .enumerate()
                        .map(|(n, bit)| bit << n)
                        .sum();
                    let len = match symbol {
                        285 => 258,
                        257..=264 => symbol - 254,
                        _ => (((symbol - 265) % 4 + 4) << count) + 3 + extra,
                    };
                    assert_eq!(number(&take(5)), 0);
                    let last = *out.last().unwrap();
                    out.extend(std::iter::repeat_n(last, len as usize));
                }
            }
        }
    }

    #[test]
    fn any_run_is_read_back() {
        for run in (0..600).chain([5_000]) {
            let data = [&[9, 200][..], &vec![7; run], &[255, 0, 144, 143]].concat();
            assert_eq!(inflate(&zlib(&data)), data, "{run}");
        }
    }

    #[test]
    fn drawing_stays_inside() {
        let mut canvas = Canvas::new(20, 10, &[[0; 3], [255; 3]]);
        canvas.fill((18, 8), (50, 50), 1);
        canvas.fill((30, 30), (1, 1), 1);
        canvas.text((15, 5), "0%é", 2, 1);
        assert_eq!(canvas.pixels.len(), 200);
        assert!(canvas.png().starts_with(b"\x89PNG"));
    }
}
