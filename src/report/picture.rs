//! Pictures to files.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};

use super::error::{Error, Result};
use crate::io::atomic_write;

/// Writes a picture as PNG, JPEG, WebP or BMP, whichever the file's ending says. The file appears whole or not at all.
///
/// # Errors
/// Another ending, or a file that cannot be written.
pub fn save_picture(picture: &RgbImage, path: &Path) -> Result<()> {
    let known = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp];
    let format = ImageFormat::from_path(path).ok().filter(|format| known.contains(format));
    let format = format.ok_or_else(|| Error::PictureEnding { path: path.into() })?;
    let mut bytes = Cursor::new(Vec::new());
    let failed = |error: image::ImageError| Error::Draw { path: path.into(), message: error.to_string() };
    picture.write_to(&mut bytes, format).map_err(failed)?;
    Ok(atomic_write(path, |file| file.write_all(bytes.get_ref()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_decides_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_pixel(3, 2, image::Rgb([9, 8, 7]));
        for (name, start) in
            [("a.png", b"\x89PN".as_slice()), ("a.jpg", b"\xff\xd8"), ("a.bmp", b"BM"), ("a.webp", b"RIFF")]
        {
            let path = folder.path().join(name);
            save_picture(&picture, &path).unwrap();
            assert!(std::fs::read(&path).unwrap().starts_with(start), "{name}");
        }
        assert!(save_picture(&picture, &folder.path().join("a.gif")).unwrap_err().to_string().contains(".png"));
    }
}
