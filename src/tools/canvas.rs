//! A picture to draw charts on, written as PNG.

use std::io::Write;

use font8x8::legacy::BASIC_LEGACY;

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// Side of a letter in pixels, its gap to the next one included, at scale 1.
pub(super) const GLYPH: usize = 8;

/// In the place of characters that the font has not.
const UNKNOWN: &[u8; GLYPH] = &BASIC_LEGACY[b'?' as usize];

/// Pixels, all in one colour at first.
#[derive(Debug)]
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new((width, height): (usize, usize), paper: Colour) -> Self {
        Self {
            width,
            height,
            pixels: paper.repeat(width * height),
        }
    }

    /// Colours a rectangle of this corner and size, as much of it as is inside.
    pub(super) fn fill(&mut self, (x, y): (usize, usize), (w, h): (usize, usize), colour: Colour) {
        let right = x.saturating_add(w).min(self.width);
        for row in y..y.saturating_add(h).min(self.height) {
            let row = row * self.width;
            for x in x..right {
                let at = 3 * (row + x);
                self.pixels[at..at + 3].copy_from_slice(&colour);
            }
        }
    }

    /// Writes text, `scale` times as large as the font, from this upper left corner on. Characters
    /// that the font has not are `?`.
    pub(super) fn text(
        &mut self,
        (x, y): (usize, usize),
        text: &str,
        scale: usize,
        colour: Colour,
    ) {
        for (at, character) in text.chars().enumerate() {
            let index = usize::try_from(u32::from(character)).unwrap_or(usize::MAX);
            let glyph = BASIC_LEGACY.get(index).unwrap_or(UNKNOWN);
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..GLYPH).filter(|column| bits & 1 << column != 0) {
                    let corner = (x + (at * GLYPH + column) * scale, y + row * scale);
                    self.fill(corner, (scale, scale), colour);
                }
            }
        }
    }

    /// As a file.
    pub(super) fn write(&self, out: impl Write) -> Result<(), png::EncodingError> {
        let [width, height] =
            [self.width, self.height].map(|side| u32::try_from(side).unwrap_or(0));
        let mut encoder = png::Encoder::new(out, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()
    }

    /// The colour of a pixel.
    #[cfg(test)]
    pub(super) fn at(&self, x: usize, y: usize) -> Colour {
        let at = 3 * (y * self.width + x);
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }
}

/// Pixels that a text takes from left to right.
pub(super) fn width_of(text: &str, scale: usize) -> usize {
    text.chars().count() * GLYPH * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_stays_inside() {
        let mut canvas = Canvas::new((20, 10), [255; 3]);
        canvas.fill((18, 8), (50, 50), [1, 2, 3]);
        canvas.fill((30, 30), (1, usize::MAX), [0; 3]);
        canvas.text((15, 5), "0%é\u{1f600}", 2, [0; 3]);
        assert_eq!((canvas.at(19, 9), canvas.at(0, 0)), ([1, 2, 3], [255; 3]));
        let mut file = Vec::new();
        canvas.write(&mut file).expect("a picture");
        let decoder = png::Decoder::new(std::io::Cursor::new(file));
        let reader = decoder.read_info().expect("a picture");
        let info = reader.info();
        assert_eq!((info.width, info.height), (20, 10));
    }
}
