//! A contact sheet: some images of a dataset with their boxes.

use image::{Rgb, RgbImage, imageops};

use super::draw::{LabelledBox, draw_boxes};
use super::error::Result;
use crate::data::{Dataset, Letterbox};

/// Side of an image on the sheet, and the gap between two, in pixels.
const CELL: usize = 320;
const GAP: usize = 4;

/// `count` images (at least 1, at most 64) spread evenly over the split, in a square grid, with boxes in the colours
/// and with the names of their classes. Images that can't be decoded are left out.
///
/// # Errors
/// A split that isn't there; the drawing library's refusal.
pub fn contact_sheet(data: &Dataset, split: &str, count: usize) -> Result<RgbImage> {
    let split = data.split(split)?;
    let total = split.samples.len();
    let count = count.clamp(1, 64).min(total);
    let mut pictures = Vec::with_capacity(count);
    for index in (0..count).map(|i| i * total / count) {
        let sample = &split.samples[index];
        let Some(image) = split.fitted(index, CELL) else { continue };
        let fit = Letterbox::new(sample.width, sample.height, CELL);
        let mut picture = RgbImage::from_pixel(CELL as u32, CELL as u32, Rgb([114; 3]));
        imageops::replace(&mut picture, &*image, fit.left as i64, fit.top as i64);
        let boxes = sample.boxes.iter().map(|label| LabelledBox {
            class: label.class,
            label: data.names[label.class].clone(),
            corners: fit.to_square(label.in_pixels(sample.width as f32, sample.height as f32).bounds),
        });
        draw_boxes(&mut picture, &boxes.collect::<Vec<_>>())?;
        pictures.push(picture);
    }
    let columns = (pictures.len() as f64).sqrt().ceil().max(1.) as usize;
    let rows = pictures.len().div_ceil(columns).max(1);
    let side = |cells: usize| (cells * (CELL + GAP) + GAP) as u32;
    let mut sheet = RgbImage::from_pixel(side(columns), side(rows), Rgb([255; 3]));
    for (place, picture) in pictures.iter().enumerate() {
        let corner = |cell: usize| (cell * (CELL + GAP) + GAP) as i64;
        imageops::replace(&mut sheet, picture, corner(place % columns), corner(place / columns));
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ShapesOptions, shapes};
    use crate::report::{Error, class_colour};

    #[test]
    fn shows_images_with_their_boxes() {
        let data = shapes(&ShapesOptions { train: 10, val: 1, size: 100, ..Default::default() }).unwrap();
        let sheet = contact_sheet(&data, "train", 5).unwrap();
        assert_eq!(sheet.dimensions(), (3 * 324 + 4, 2 * 324 + 4));
        let first = &data.splits[0].samples[0];
        let (r, g, b) = class_colour(first.boxes.last().unwrap().class);
        assert!(sheet.pixels().filter(|p| p.0 == [r, g, b]).count() > 100);
        assert_eq!(sheet.get_pixel(3 * 324 - 100, 2 * 324 - 100).0, [255; 3], "the sixth place is empty");
    }

    #[test]
    fn more_than_there_are_and_a_split_that_is_not_there() {
        let data = shapes(&ShapesOptions { train: 2, val: 1, size: 64, ..Default::default() }).unwrap();
        assert_eq!(contact_sheet(&data, "val", 100).unwrap().dimensions(), (328, 328));
        let error = contact_sheet(&data, "tset", 4).unwrap_err();
        assert!(matches!(error, Error::Data(_)));
        assert_eq!(error.to_string(), "shapes has no split 'tset'; it has train, val");
    }
}
