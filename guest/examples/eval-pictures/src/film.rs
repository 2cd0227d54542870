//! Motion JPEG: pictures one behind the other in a file, of which a photograph has one.

use std::io::Cursor;
use std::ops::DerefMut;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use image::ImageDecoder;
use image::codecs::jpeg::JpegDecoder;

use crate::frame::Header;

/// A file in memory, and where its pictures begin and end.
pub struct Film {
    bytes: Vec<u8>,
    pictures: Vec<std::ops::Range<usize>>,
}

/// JPEG markers (ITU T.81, table B.1).
const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

/// Columns on the left of each picture that are drawn from a seed, so that nobody knows its answers beforehand.
const STRIPE: usize = 16;

impl Film {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it is not of JPEG pictures.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let pictures = pictures(&bytes).with_context(|| format!("{} is no film", path.display()))?;
        Ok(Self { bytes, pictures })
    }

    /// Decodes a picture, counted from 0 over and over again, and draws its stripe. `allocate` makes the memory for a frame of that many bytes.
    ///
    /// # Errors
    ///
    /// When it cannot be decoded, or has no three bytes a pixel.
    pub fn decode<M: DerefMut<Target = [u8]>>(
        &self,
        index: usize,
        seed: u64,
        check: bool,
        allocate: impl FnOnce(usize) -> M,
    ) -> Result<M> {
        let picture = &self.bytes[self.pictures[index % self.pictures.len()].clone()];
        let decoder = JpegDecoder::new(Cursor::new(picture)).context("a picture")?;
        let (width, height) = decoder.dimensions();
        ensure!(decoder.color_type() == image::ColorType::Rgb8, "a picture without colours");
        let header = Header::new(width, height, 3, check);
        let mut frame = allocate(header.frame());
        header.write(&mut frame);
        let pixels = &mut frame[Header::LEN..];
        decoder.read_image(pixels).context("a picture")?;
        let mut state = seed;
        for row in pixels.chunks_exact_mut(width as usize * 3) {
            let stripe = (STRIPE * 3).min(row.len());
            for byte in &mut row[..stripe] {
                // Knuth's generator: its high bits, to a middle brightness.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = 64 + (state >> 58) as u8;
            }
        }
        Ok(frame)
    }
}

/// Where pictures begin and end.
fn pictures(bytes: &[u8]) -> Result<Vec<std::ops::Range<usize>>> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        ensure!(bytes[at..].starts_with(&[0xff, START]), "no picture begins at byte {at}");
        at += 2;
        loop {
            let marker = bytes.get(at..at + 2).context("it ends within a picture")?;
            ensure!(marker[0] == 0xff, "no marker is at byte {at}");
            at += 2;
            if marker[1] == END {
                break;
            }
            let length = bytes.get(at..at + 2).context("it ends within a segment")?;
            at += usize::from(u16::from_be_bytes([length[0], length[1]]));
            if marker[1] == SCAN {
                // Its data last until a marker that is neither a stuffed byte nor a restart.
                let is_data = |pair: &[u8]| pair[0] != 0xff || matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
                let rest = bytes.get(at..).context("it ends within a scan")?;
                at += rest.windows(2).position(|pair| !is_data(pair)).context("it ends within a scan")?;
            }
        }
        all.push(start..at);
    }
    ensure!(!all.is_empty(), "it is empty");
    Ok(all)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use super::*;
    use crate::frame::Frame;

    /// Two grey pictures of different sizes.
    pub(crate) fn film() -> Film {
        let bytes = [film_of(64, 50), film_of(96, 200)].concat();
        let pictures = pictures(&bytes).unwrap();
        Film { bytes, pictures }
    }

    fn film_of(side: u32, grey: u8) -> Vec<u8> {
        let mut one = Vec::new();
        let picture = image::RgbImage::from_pixel(side, side, image::Rgb([grey; 3]));
        picture.write_to(&mut Cursor::new(&mut one), image::ImageFormat::Jpeg).unwrap();
        one
    }

    #[test]
    fn pictures_follow_each_other() {
        let film = film();
        let side = |index| {
            let frame = film.decode(index, 1, false, |size| vec![0; size]).unwrap();
            Frame::of(&frame).unwrap().header.shape().0
        };
        assert_eq!([0, 1, 2].map(side), [64, 96, 64]);
    }

    #[test]
    fn a_seed_draws_a_stripe_and_nothing_else() {
        let film = film();
        let [one, two] = [1, 2].map(|seed| film.decode(0, seed, false, |size| vec![0; size]).unwrap());
        let rows = |frame| Frame::of(frame).unwrap().rows().map(<[u8]>::to_vec).collect::<Vec<_>>();
        for (one, two) in rows(&one).iter().zip(rows(&two)) {
            assert_ne!(one[..STRIPE * 3], two[..STRIPE * 3]);
            assert_eq!(one[STRIPE * 3..], two[STRIPE * 3..]);
        }
    }

    #[test]
    fn what_is_no_film_is_refused() {
        let whole = film_of(16, 9);
        for bytes in [&[][..], b"GIF89a", &whole[..whole.len() - 1], &[whole.as_slice(), b"x"].concat()] {
            assert!(pictures(bytes).is_err(), "{} bytes", bytes.len());
        }
    }
}
