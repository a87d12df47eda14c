//! Opening image files: what the header says, and the pixels as RGB.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::error::DataError;

/// The largest image that is opened, in pixels: a header that claims more is a mistake or an attack.
const MAX_PIXELS: u64 = 100_000_000;
/// How much of a file is enough to read its header, nearly always.
const HEADER_BYTES: u64 = 64 * 1024;
/// The longest image file that is read.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Decodes a JPEG, PNG, BMP or WebP file to 8-bit RGB, upright (EXIF orientation applied); transparency is dropped.
/// The kind of file is told by its content, not by its name.
pub fn read_image(path: impl AsRef<Path>) -> Result<RgbImage, DataError> {
    let path = path.as_ref();
    let read = |why| DataError::Read { file: path.into(), why };
    let wrong = |what| DataError::Image { file: path.into(), what };
    let file = File::open(path).map_err(read)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong("the file is longer than 1 GiB".into()));
    }
    decode(&bytes).map_err(wrong)
}

/// Width and height of the upright image, from the header alone; also notices a JPEG cut short.
pub(crate) fn probe(path: &Path) -> Result<(usize, usize), DataError> {
    let read = |why| DataError::Read { file: path.into(), why };
    let wrong = |what| DataError::Image { file: path.into(), what };
    let mut file = File::open(path).map_err(read)?;
    let length = file.metadata().map_err(read)?.len();
    if length == 0 {
        return Err(wrong("the file is empty".into()));
    }
    let mut head = Vec::new();
    (&mut file).take(HEADER_BYTES).read_to_end(&mut head).map_err(read)?;
    let format = format_of(&head).map_err(wrong)?;
    if format == ImageFormat::Jpeg {
        let tail_bytes = length.div_ceil(2).min(HEADER_BYTES);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length - tail_bytes)).map_err(read)?;
        (&mut file).take(tail_bytes).read_to_end(&mut tail).map_err(read)?;
        check_end(&tail).map_err(wrong)?;
    }
    match dimensions(Cursor::new(&head), format) {
        Ok(size) => Ok(size),
        Err(_) if length > HEADER_BYTES => {
            file.seek(SeekFrom::Start(0)).map_err(read)?;
            dimensions(BufReader::new(file), format).map_err(wrong)
        }
        Err(what) => Err(wrong(what)),
    }
}

fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let format = format_of(bytes)?;
    if format == ImageFormat::Jpeg {
        check_end(&bytes[bytes.len() / 2..])?;
    }
    let mut decoder = reader(Cursor::new(bytes), format).into_decoder().map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    check_size(decoder.dimensions())?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

fn dimensions(source: impl std::io::BufRead + Seek, format: ImageFormat) -> Result<(usize, usize), String> {
    let mut decoder = reader(source, format).into_decoder().map_err(|e| e.to_string())?;
    check_size(decoder.dimensions())?;
    let (w, h) = decoder.dimensions();
    // EXIF orientations 5 to 8 turn the image by a quarter.
    let quarter = decoder.orientation().map_err(|e| e.to_string())?.to_exif() >= 5;
    Ok(if quarter { (h as usize, w as usize) } else { (w as usize, h as usize) })
}

fn reader<R: std::io::BufRead + Seek>(source: R, format: ImageFormat) -> ImageReader<R> {
    let mut reader = ImageReader::with_format(source, format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    reader.limits(limits);
    reader
}

fn format_of(head: &[u8]) -> Result<ImageFormat, String> {
    let format = image::guess_format(head).map_err(|_| {
        let text = head.iter().take(64).all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
        let found = if text { "text" } else { "unknown bytes" };
        format!("not an image: expected JPEG, PNG, BMP or WebP, found {found}")
    })?;
    match format {
        ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Bmp | ImageFormat::WebP => Ok(format),
        other => Err(format!("{other:?} images are not supported: expected JPEG, PNG, BMP or WebP")),
    }
}

fn check_size((w, h): (u32, u32)) -> Result<(), String> {
    if w == 0 || h == 0 {
        return Err(format!("the header says {w}x{h} pixels"));
    }
    if u64::from(w) * u64::from(h) > MAX_PIXELS {
        return Err(format!("the header says {w}x{h} pixels; at most {MAX_PIXELS} are read"));
    }
    Ok(())
}

/// A JPEG ends with the marker FF D9, which cannot occur within its compressed data; `tail` is the end of the file.
/// The decoder itself would fill what is missing with grey without a word.
fn check_end(tail: &[u8]) -> Result<(), String> {
    if tail.windows(2).any(|w| w == [0xff, 0xd9]) {
        Ok(())
    } else {
        Err("the JPEG is cut short (its end marker is missing)".into())
    }
}
