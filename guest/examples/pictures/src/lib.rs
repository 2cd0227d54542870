//! What the demo's functions do with pictures, and the header before their payloads.
//!
//! Nothing here knows of WebAssembly or of the hose: the same code runs in the native twins that the demo compares with.

mod header;

use std::fmt;
use std::path::Path;

pub use header::{HEADER_LEN, Header, checksum, unix_nanoseconds};
use image::{GrayImage, ImageBuffer, ImageReader, Rgb, RgbImage};

/// Longest side of a thumbnail in pixels.
const THUMBNAIL: u32 = 320;

/// A picture whose pixels are somebody else's: three bytes a pixel, row by row.
pub type Picture<'a> = ImageBuffer<Rgb<u8>, &'a [u8]>;

/// Why a picture, or a payload that should be one, is none.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read, decoded or written: its name, and why.
    File(String, image::ImageError),
    /// The payload is not what its header says: how.
    Payload(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, error) => write!(f, "{name}: {error}"),
            Self::Payload(how) => write!(f, "payload: {how}"),
        }
    }
}

impl std::error::Error for Error {}

/// Decodes a JPEG or PNG file into a payload: room for the header, then three bytes a pixel, row by row. The header's
/// `sent_at` is 0 until [`Header::stamp`].
pub fn decode(path: &Path) -> Result<(Header, Vec<u8>), Error> {
    let failed = |e| Error::File(path.display().to_string(), e);
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let picture = reader.map_err(|e| failed(e.into()))?.decode().map_err(failed)?.into_rgb8();
    let (width, height) = picture.dimensions();
    let pixels = picture.into_raw();
    let header = Header::new(&pixels, width, height);
    // One copy, in the sender: decoders have no way to leave room in front.
    let mut payload = Vec::with_capacity(HEADER_LEN + pixels.len());
    payload.resize(HEADER_LEN, 0);
    payload.extend_from_slice(&pixels);
    header.write(&mut payload);
    Ok((header, payload))
}

/// The picture in a payload, checked against its header. No pixel is copied.
pub fn open(payload: &[u8]) -> Result<(Header, Picture<'_>), Error> {
    let (header, pixels) = Header::check(payload)?;
    let size = u64::from(header.width()) * u64::from(header.height()) * 3;
    if size != pixels.len() as u64 {
        let (width, height) = (header.width(), header.height());
        let how = format!("{} bytes of pixels for a picture of {width}x{height}", pixels.len());
        return Err(Error::Payload(how));
    }
    let picture = Picture::from_raw(header.width(), header.height(), pixels);
    picture.map(|picture| (header, picture)).ok_or_else(|| Error::Payload("too few pixels".into()))
}

/// The picture, smaller, in its proportions.
pub fn thumbnail(picture: &Picture<'_>) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height).max(1);
    let scale =
        |side: u32| (u64::from(side) * u64::from(THUMBNAIL.min(longest)) / u64::from(longest)).max(1) as u32;
    image::imageops::thumbnail(picture, scale(width), scale(height))
}

/// How steep the picture's brightness is at each pixel: Sobel's operator, pixels beyond the border taken as those on it.
pub fn edges(picture: &Picture<'_>) -> GrayImage {
    let gray = image::imageops::grayscale(picture);
    let (width, height) = gray.dimensions();
    GrayImage::from_fn(width, height, |x, y| {
        let at = |dx: i32, dy: i32| {
            let x = x.saturating_add_signed(dx).min(width - 1);
            let y = y.saturating_add_signed(dy).min(height - 1);
            i32::from(gray.get_pixel(x, y).0[0])
        };
        let across = at(1, -1) + 2 * at(1, 0) + at(1, 1) - at(-1, -1) - 2 * at(-1, 0) - at(-1, 1);
        let down = at(-1, 1) + 2 * at(0, 1) + at(1, 1) - at(-1, -1) - 2 * at(0, -1) - at(1, -1);
        let steepness = f64::from(across * across + down * down).sqrt();
        image::Luma([steepness.min(255.0) as u8])
    })
}

/// Writes `thumbnail.png` and `edges.png` into a folder.
pub fn write(folder: &Path, picture: &Picture<'_>) -> Result<(), Error> {
    let save = |name: &str, save: &dyn Fn(&Path) -> image::ImageResult<()>| {
        let path = folder.join(name);
        save(&path).map_err(|e| Error::File(path.display().to_string(), e))
    };
    save("thumbnail.png", &|path| thumbnail(picture).save(path))?;
    save("edges.png", &|path| edges(picture).save(path))
}

/// Fills a payload with pseudo-random bytes, the same each time: xorshift64*, eight bytes a step, quick even where it is
/// interpreted.
pub fn fill(bytes: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for chunk in bytes.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// `12.345 ms, 678 MB/s`.
pub fn rate(bytes: usize, milliseconds: f64) -> String {
    format!("{milliseconds:.3} ms, {:.0} MB/s", bytes as f64 / 1e3 / milliseconds)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// White on the left, black on the right.
    fn halves(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, _| image::Rgb(if x < width / 2 { [255; 3] } else { [0; 3] }))
    }

    fn view(picture: &RgbImage) -> Picture<'_> {
        Picture::from_raw(picture.width(), picture.height(), picture.as_raw()).unwrap()
    }

    #[test]
    fn a_picture_survives_its_payload() {
        let folder = std::env::temp_dir().join(format!("pictures-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("halves.png");
        let picture = halves(33, 7);
        picture.save(&path).unwrap();
        let (header, payload) = decode(&path).unwrap();
        assert_eq!((header.width(), header.height()), (33, 7));
        assert_eq!(payload.len(), HEADER_LEN + 33 * 7 * 3);
        let (again, opened) = open(&payload).unwrap();
        assert_eq!(again.checksum(), header.checksum());
        assert_eq!(opened.as_raw(), picture.as_raw());
        write(&folder, &opened).unwrap();
        assert_eq!(image::open(folder.join("edges.png")).unwrap().width(), 33);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_damaged_payload_is_refused() {
        let pixels = halves(4, 4).into_raw();
        let mut payload = vec![0; HEADER_LEN];
        payload.extend_from_slice(&pixels);
        Header::new(&pixels, 4, 4).write(&mut payload);
        assert!(open(&payload).is_ok());
        assert!(open(&payload[..20]).unwrap_err().to_string().contains("too short"));
        assert!(open(&payload[..payload.len() - 3]).unwrap_err().to_string().contains("checksum"));
        Header::new(&pixels, 5, 4).write(&mut payload);
        assert!(open(&payload).unwrap_err().to_string().contains("5x4"));
    }

    #[test]
    fn edges_are_where_brightness_changes() {
        let edges = edges(&view(&halves(8, 3)));
        let row: Vec<u8> = (0..8).map(|x| edges.get_pixel(x, 1).0[0]).collect();
        assert_eq!(row, [0, 0, 0, 255, 255, 0, 0, 0]);
    }

    #[test]
    fn a_thumbnail_keeps_the_proportions_and_grows_nothing() {
        assert_eq!(thumbnail(&view(&halves(1600, 400))).dimensions(), (320, 80));
        assert_eq!(thumbnail(&view(&halves(40, 80))).dimensions(), (40, 80));
        assert_eq!(thumbnail(&view(&halves(1000, 1))).dimensions(), (320, 1));
    }
}
