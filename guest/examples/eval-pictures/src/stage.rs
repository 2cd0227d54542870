//! What is done with a frame. All of it is done with whole numbers or by one library, so that every machine makes the same of it.

use anyhow::{Context, Result, bail, ensure};
use image::{ImageBuffer, Luma, Pixel, Rgb};

use crate::frame::Frame;

/// Longest side of what was scaled, in pixels.
const LONGEST: u32 = 320;

/// Sides of a hash, in bits.
const HASH: u32 = 8;

/// Hues that are told apart.
const HUES: usize = 12;

/// One kind of work, with a whole frame or a band of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    work: Work,
    /// Which band, of how many.
    band: (u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Darkest to black, brightest to white.
    Tone,
    /// How steep the brightness is: Sobel's operator, by the sum of both directions.
    Edges,
    /// Smaller, in its proportions.
    Scale,
    /// Whether brightness grows from one ninth of a row to the next: 64 bits.
    Hash,
    /// Which of twelve hues most pixels have, and how bright they are.
    Classify,
    /// Bands become a frame again, which is hashed.
    Collect,
}

impl Stage {
    /// The stage of a function's name: `tone`, `edges`, `scale`, `hash`, `classify` or `collect`; `WORK-I-of-N` is done with band I of N.
    ///
    /// # Errors
    ///
    /// When no work is called so.
    pub fn of(name: &str) -> Result<Self> {
        let (work, band) = match name.split('-').collect::<Vec<_>>()[..] {
            [work] => (work, (0, 1)),
            [work, index, "of", count] => (work, (index.parse()?, count.parse()?)),
            _ => bail!("{name:?} is no stage"),
        };
        ensure!(band.0 < band.1, "{name:?}: there is no such band");
        let work = match work {
            "tone" => Work::Tone,
            "edges" => Work::Edges,
            "scale" => Work::Scale,
            "hash" => Work::Hash,
            "classify" => Work::Classify,
            "collect" => Work::Collect,
            _ => bail!("{name:?} is no stage"),
        };
        Ok(Self { work, band })
    }

    /// Which band of a frame it works with, of how many.
    #[must_use]
    pub fn band(&self) -> (u32, u32) {
        self.band
    }

    /// Whether it waits for all parts of a frame.
    #[must_use]
    pub fn collects(&self) -> bool {
        self.work == Work::Collect
    }

    /// Pixels across and down, and bytes of each, of what it makes of a frame.
    #[must_use]
    pub fn shape(&self, frame: &Frame<'_>) -> (u32, u32, u32) {
        let (width, _, channels) = frame.header.shape();
        let height = self.rows(frame).len() as u32;
        match self.work {
            Work::Tone => (width, height, channels),
            Work::Edges => (width, height, 1),
            Work::Scale => {
                let longest = width.max(height).max(1);
                let scaled = |side: u32| (side * LONGEST.min(longest) / longest).max(1);
                (scaled(width), scaled(height), channels)
            }
            Work::Hash | Work::Collect => (HASH, HASH, 1),
            Work::Classify => (2, 1, 1),
        }
    }

    /// Does it; `output` has as many bytes as the shape.
    ///
    /// # Errors
    ///
    /// When the frame has neither one nor three bytes a pixel.
    pub fn run(&self, frame: &Frame<'_>, output: &mut [u8]) -> Result<()> {
        let (width, _, channels) = frame.header.shape();
        let rows = self.rows(frame);
        let row = width as usize * channels as usize;
        let pixels = &frame.pixels[rows.start * row..rows.end * row];
        let height = rows.len() as u32;
        match channels {
            1 => self.run_on(&view::<Luma<u8>>(width, height, pixels)?, frame, output),
            3 => self.run_on(&view::<Rgb<u8>>(width, height, pixels)?, frame, output),
            other => bail!("pixels of {other} bytes"),
        }
        Ok(())
    }

    fn run_on<P: Pixel<Subpixel = u8> + 'static>(
        &self,
        band: &ImageBuffer<P, &[u8]>,
        frame: &Frame<'_>,
        output: &mut [u8],
    ) {
        match self.work {
            Work::Tone => tone(band.as_raw(), usize::from(P::CHANNEL_COUNT), output),
            Work::Edges => edges(frame, self.rows(frame), output),
            Work::Scale => {
                let (width, height, _) = self.shape(frame);
                output.copy_from_slice(image::imageops::thumbnail(band, width, height).as_raw());
            }
            Work::Hash | Work::Collect => hash(band, output),
            Work::Classify => classify(band, output),
        }
    }

    fn rows(&self, frame: &Frame<'_>) -> std::ops::Range<usize> {
        let height = frame.rows().len();
        let (index, count) = (self.band.0 as usize, self.band.1 as usize);
        height * index / count..height * (index + 1) / count
    }
}

fn view<P: Pixel<Subpixel = u8>>(width: u32, height: u32, pixels: &[u8]) -> Result<ImageBuffer<P, &[u8]>> {
    ImageBuffer::from_raw(width, height, pixels).context("too few pixels")
}

/// Darkest to black, brightest to white, each channel by itself.
fn tone(pixels: &[u8], channels: usize, output: &mut [u8]) {
    let mut scales = [[0; 256]; 3];
    for (channel, scale) in scales.iter_mut().enumerate().take(channels) {
        let values = || pixels.iter().skip(channel).step_by(channels).copied();
        let (low, high) = values().fold((u8::MAX, 0), |(low, high), value| (low.min(value), high.max(value)));
        let range = u32::from(high.saturating_sub(low)).max(1);
        for (value, scaled) in (0..=u8::MAX).zip(scale) {
            *scaled = (u32::from(value.saturating_sub(low)) * 255 / range).min(255) as u8;
        }
    }
    for (from, to) in pixels.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
        for ((value, scaled), scale) in from.iter().zip(to).zip(&scales) {
            *scaled = scale[usize::from(*value)];
        }
    }
}

/// Rows beyond the frame are taken as those on its border, and so are columns.
fn edges(frame: &Frame<'_>, rows: std::ops::Range<usize>, output: &mut [u8]) {
    let (width, height, channels) = frame.header.shape();
    let (width, height, channels) = (width as usize, height as usize, channels as usize);
    let grey = |y: usize| -> Vec<i32> {
        let row = &frame.pixels[y * width * channels..(y + 1) * width * channels];
        row.chunks_exact(channels).map(|pixel| i32::from(brightness(pixel))).collect()
    };
    if rows.is_empty() || width == 0 {
        return;
    }
    let mut above = grey(rows.start.saturating_sub(1));
    let mut here = grey(rows.start);
    for (y, line) in rows.zip(output.chunks_exact_mut(width)) {
        let below = grey((y + 1).min(height - 1));
        for (x, steepness) in line.iter_mut().enumerate() {
            let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
            let across =
                above[right] + 2 * here[right] + below[right] - above[left] - 2 * here[left] - below[left];
            let down = below[left] + 2 * below[x] + below[right] - above[left] - 2 * above[x] - above[right];
            *steepness = (across.abs() + down.abs()).min(255) as u8;
        }
        above = std::mem::replace(&mut here, below);
    }
}

/// Of one pixel, by the weights of ITU-R BT.601 in 256ths.
fn brightness(pixel: &[u8]) -> u8 {
    match *pixel {
        [red, green, blue] => {
            ((u32::from(red) * 77 + u32::from(green) * 150 + u32::from(blue) * 29) >> 8) as u8
        }
        _ => pixel.first().copied().unwrap_or_default(),
    }
}

fn hash<P: Pixel<Subpixel = u8> + 'static>(picture: &ImageBuffer<P, &[u8]>, output: &mut [u8]) {
    if picture.width() == 0 || picture.height() == 0 {
        return output.fill(0);
    }
    let small = image::imageops::thumbnail(picture, HASH + 1, HASH);
    let grey = |x, y| brightness(small.get_pixel(x, y).channels());
    let places = (0..HASH).flat_map(|y| (0..HASH).map(move |x| (x, y)));
    for ((x, y), bit) in places.zip(output) {
        *bit = u8::from(grey(x, y) < grey(x + 1, y));
    }
}

fn classify<P: Pixel<Subpixel = u8> + 'static>(picture: &ImageBuffer<P, &[u8]>, output: &mut [u8]) {
    let (mut hues, mut sum) = ([0_u64; HUES], 0_u64);
    for pixel in picture.pixels() {
        let channels = pixel.channels();
        sum += u64::from(brightness(channels));
        if let [red, green, blue] = *channels {
            hues[hue(red, green, blue)] += 1;
        }
    }
    let most = (0..HUES).max_by_key(|&hue| hues[hue]).unwrap_or_default();
    let count = u64::from(picture.width()) * u64::from(picture.height());
    output.copy_from_slice(&[most as u8, (sum / count.max(1)) as u8]);
}

/// Of twelve around the circle, beginning with red; red, too, for what has no colour.
fn hue(red: u8, green: u8, blue: u8) -> usize {
    let [r, g, b] = [red, green, blue].map(i32::from);
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let range = (high - low).max(1);
    // Sixths of the circle, each of 256 steps.
    let sixths = match high {
        _ if high == low => 0,
        _ if high == r => (g - b) * 256 / range,
        _ if high == g => 512 + (b - r) * 256 / range,
        _ => 1024 + (r - g) * 256 / range,
    };
    (sixths.rem_euclid(1536) / 128) as usize
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::frame::Header;

    fn run(name: &str, shape: (u32, u32, u32), pixels: &[u8]) -> Vec<u8> {
        let frame = Frame { header: Header::new(shape.0, shape.1, shape.2, false), pixels: pixels.into() };
        let stage = Stage::of(name).unwrap();
        let (width, height, channels) = stage.shape(&frame);
        let mut output = vec![0; (width * height * channels) as usize];
        stage.run(&frame, &mut output).unwrap();
        output
    }

    #[test]
    fn tone_uses_all_of_each_channel() {
        assert_eq!(run("tone", (3, 1, 1), &[100, 150, 200]), [0, 127, 255]);
        assert_eq!(run("tone", (2, 1, 3), &[10, 7, 0, 20, 7, 255]), [0, 0, 0, 255, 0, 255]);
    }

    #[test]
    fn edges_are_where_brightness_changes() {
        assert_eq!(run("edges", (4, 2, 1), &[0, 0, 40, 40, 0, 0, 40, 40]), [0, 160, 160, 0, 0, 160, 160, 0]);
    }

    #[test]
    fn bands_of_edges_are_those_of_the_whole() {
        let pixels: Vec<u8> = (0..5 * 7 * 3).map(|i: u32| (i * i % 251) as u8).collect();
        let bands = ["edges-0-of-3", "edges-1-of-3", "edges-2-of-3"];
        let joined: Vec<u8> = bands.iter().flat_map(|name| run(name, (5, 7, 3), &pixels)).collect();
        assert_eq!(joined, run("edges", (5, 7, 3), &pixels));
    }

    #[test]
    fn a_hash_tells_where_it_grows_brighter() {
        let row: Vec<u8> = (0..90).map(|x| if x < 50 { x * 2 } else { 100 - x }).collect();
        let hash = run("hash", (90, 8, 1), &row.repeat(8));
        assert_eq!(hash[..8], [1, 1, 1, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_picture_has_the_hue_of_most_pixels() {
        let [red, green, blue, grey] = [[200, 0, 0], [0, 200, 0], [0, 0, 200], [90, 90, 90]];
        for (pixels, expected) in [([red, red, blue], 0), ([green, blue, green], 4), ([blue, blue, grey], 8)]
        {
            assert_eq!(run("classify", (3, 1, 3), pixels.as_flattened())[0], expected, "{pixels:?}");
        }
    }

    #[test]
    fn what_was_scaled_keeps_its_proportions() {
        assert_eq!(run("scale", (640, 320, 1), &[9; 640 * 320]), [9; 320 * 160]);
        assert_eq!(run("scale", (4, 2, 3), &[9; 24]), [9; 24]);
    }

    #[test]
    fn other_names_are_no_stages() {
        for name in ["", "blur", "edges-1", "edges-4-of-4", "edges-x-of-2"] {
            assert!(Stage::of(name).is_err(), "{name}");
        }
    }
}
