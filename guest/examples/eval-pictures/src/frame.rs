//! A frame on its way: a header, and its pixels row by row. Either as they lie in memory, or as JSON in which the pixels are text.

use std::borrow::Cow;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eval::sink::Form;
use serde::{Deserialize, Serialize};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 8] = *b"rr-frame";

/// What stands before the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    magic: [u8; 8],
    /// Whether every byte goes into receipts; 0 or 1.
    check: U32,
    part: U32,
    parts: U32,
    width: U32,
    height: U32,
    channels: U32,
}

impl Header {
    /// Bytes of it.
    pub const LEN: usize = size_of::<Self>();

    /// Of a whole frame.
    #[must_use]
    pub fn new(width: u32, height: u32, channels: u32, check: bool) -> Self {
        Self {
            magic: MAGIC,
            check: u32::from(check).into(),
            part: 0.into(),
            parts: 1.into(),
            width: width.into(),
            height: height.into(),
            channels: channels.into(),
        }
    }

    /// Of what is made of a frame, or of one of so many parts of it.
    #[must_use]
    pub fn of_result(&self, (part, parts): (u32, u32), (width, height, channels): (u32, u32, u32)) -> Self {
        Self { part: part.into(), parts: parts.into(), ..Self::new(width, height, channels, self.check()) }
    }

    /// Whether every byte goes into receipts, and no time counts.
    #[must_use]
    pub fn check(&self) -> bool {
        self.check.get() != 0
    }

    /// Which part of a frame this is, of how many.
    #[must_use]
    pub fn part(&self) -> (u32, u32) {
        (self.part.get(), self.parts.get())
    }

    /// Pixels across and down, and bytes of each.
    #[must_use]
    pub fn shape(&self) -> (u32, u32, u32) {
        (self.width.get(), self.height.get(), self.channels.get())
    }

    /// Bytes of all pixels.
    #[must_use]
    pub fn pixels(&self) -> usize {
        let (width, height, channels) = self.shape();
        width as usize * height as usize * channels as usize
    }

    /// Bytes of the frame.
    #[must_use]
    pub fn frame(&self) -> usize {
        Self::LEN + self.pixels()
    }

    /// Writes it to the beginning of a frame.
    pub fn write(&self, frame: &mut [u8]) {
        frame[..Self::LEN].copy_from_slice(self.as_bytes());
    }
}

/// A frame that can be read.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// What it is.
    pub header: Header,
    /// Its pixels.
    pub pixels: Cow<'a, [u8]>,
}

#[derive(Deserialize, Serialize)]
struct Message<'a> {
    check: bool,
    part: (u32, u32),
    shape: (u32, u32, u32),
    #[serde(borrow)]
    pixels: Cow<'a, str>,
}

impl<'a> Frame<'a> {
    /// The frame that lies here. No pixel is copied.
    ///
    /// # Errors
    ///
    /// When it is none, or has another length than it says.
    pub fn of(bytes: &'a [u8]) -> Result<Self> {
        let (header, pixels) = Header::read_from_prefix(bytes).ok().context("too short for a frame")?;
        ensure!(header.magic == MAGIC, "this is no frame");
        Self::checked(header, Cow::Borrowed(pixels))
    }

    /// The frame of a body.
    ///
    /// # Errors
    ///
    /// Those of [`Frame::of`], and when the body has another form.
    pub fn parse(form: Form, body: &'a [u8]) -> Result<Self> {
        match form {
            Form::Raw => Self::of(body),
            Form::Json => {
                let message: Message<'_> = serde_json::from_slice(body).context("JSON")?;
                let (width, height, channels) = message.shape;
                let whole = Header::new(width, height, channels, message.check);
                let pixels = STANDARD.decode(&*message.pixels).context("the pixels")?;
                Self::checked(whole.of_result(message.part, message.shape), Cow::Owned(pixels))
            }
        }
    }

    fn checked(header: Header, pixels: Cow<'a, [u8]>) -> Result<Self> {
        let (width, height, channels) = header.shape();
        let bytes = [height, channels].iter().try_fold(width, |product, &side| product.checked_mul(side));
        ensure!(
            bytes.is_some_and(|bytes| bytes as usize == pixels.len()),
            "{} bytes of pixels in a frame of {width}x{height}x{channels}",
            pixels.len()
        );
        Ok(Self { header, pixels })
    }

    /// The body that carries it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn serialize(form: Form, frame: Vec<u8>) -> Result<Vec<u8>> {
        match form {
            Form::Raw => Ok(frame),
            Form::Json => {
                let Frame { header, pixels } = Frame::of(&frame)?;
                let pixels: Cow<'_, str> = Cow::Owned(STANDARD.encode(&pixels));
                let mut body = Vec::with_capacity(pixels.len() + 128);
                let (check, part, shape) = (header.check(), header.part(), header.shape());
                serde_json::to_writer(&mut body, &Message { check, part, shape, pixels }).context("JSON")?;
                Ok(body)
            }
        }
    }

    /// Its rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let (width, _, channels) = self.header.shape();
        self.pixels.chunks_exact((width as usize * channels as usize).max(1))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_the_same_by_each_form() {
        let header = Header::new(2, 3, 3, true).of_result((1, 4), (2, 3, 3));
        let mut frame = vec![7; header.frame()];
        header.write(&mut frame);
        for form in [Form::Raw, Form::Json] {
            let body = Frame::serialize(form, frame.clone()).unwrap();
            let parsed = Frame::parse(form, &body).unwrap();
            assert_eq!((parsed.header, &*parsed.pixels), (header, &[7; 18][..]), "{form:?}");
            assert_eq!(parsed.rows().len(), 3);
        }
    }

    #[test]
    fn what_has_other_pixels_than_it_says_is_refused() {
        let header = Header::new(u32::MAX, u32::MAX, 3, false);
        let mut frame = vec![0; Header::LEN + 3];
        header.write(&mut frame);
        assert!(Frame::of(&frame).unwrap_err().to_string().contains("3 bytes of pixels"));
        assert!(Frame::of(&frame[..9]).is_err() && Frame::of(&[0; 64]).is_err());
    }
}
