//! Drawings to files, as vectors or as pixels.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{
    error::{Error, Result},
    picture::save_picture,
};
use crate::io::atomic_write;

/// The drawing library's refusal.
pub(super) type Refusal<B> = DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>;

/// What can be drawn in a rectangle.
pub(super) trait Drawing {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);

    /// Draws itself on a white ground.
    ///
    /// # Errors
    /// The drawing library's refusal.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> std::result::Result<(), Refusal<B>>;
}

/// Draws as vectors, to be part of a page.
///
/// # Errors
/// The drawing library's refusal.
pub(super) fn svg(drawing: &impl Drawing) -> Result<String> {
    let mut text = String::new();
    let failed = |message: String| Error::Picture { message };
    draw(drawing, &SVGBackend::with_string(&mut text, drawing.size()).into_drawing_area(), &failed)?;
    Ok(text)
}

/// Draws into an `.svg` or `.png` file, which appears whole or not at all.
///
/// # Errors
/// Another ending, a file that cannot be written, the drawing library's refusal.
pub(super) fn save_drawing(drawing: &impl Drawing, path: &Path) -> Result<()> {
    let size = drawing.size();
    let failed = |message: String| Error::Draw { path: path.into(), message };
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    match ending.as_deref() {
        Some("svg") => {
            let mut text = String::new();
            draw(drawing, &SVGBackend::with_string(&mut text, size).into_drawing_area(), &failed)?;
            Ok(atomic_write(path, |file| file.write_all(text.as_bytes()))?)
        }
        Some("png") => {
            let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
            draw(drawing, &BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area(), &failed)?;
            let picture = image::RgbImage::from_raw(size.0, size.1, pixels).ok_or(Error::NothingToPlot)?;
            save_picture(&picture, path)
        }
        _ => Err(Error::PictureFormat { path: path.into() }),
    }
}

fn draw<B: DrawingBackend>(
    drawing: &impl Drawing,
    area: &DrawingArea<B, Shift>,
    refused: &dyn Fn(String) -> Error,
) -> Result<()> {
    let failed = |error: Refusal<B>| refused(error.to_string());
    area.fill(&WHITE).map_err(failed)?;
    drawing.draw(area).map_err(failed)?;
    area.present().map_err(failed)
}
