//! Boxes with labels on images.

use image::RgbImage;
use plotters::prelude::*;
use plotters::style::FontDesc;

use super::error::{Error, Result};
use super::font;

/// A box to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledBox {
    /// Chooses the colour.
    pub class: usize,
    /// Written at the box's left upper corner; may be empty.
    pub label: String,
    /// Left, top, right, bottom in pixels.
    pub corners: [f32; 4],
}

/// The colour of a class: hues far apart for neighbouring classes, the same in every picture.
pub fn class_colour(class: usize) -> (u8, u8, u8) {
    // Steps by the golden angle never come close to an earlier hue soon.
    let hue = (0.02 + class as f64 * 0.618_033_988_75).fract();
    HSLColor(hue, 0.9, 0.5).to_backend_color().rgb
}

/// Draws boxes, each in its class's colour with its label in a plate of that colour. Lines and letters grow with the
/// image. Later boxes lie on top, labels above all boxes.
///
/// # Errors
/// The drawing library's refusal.
pub fn draw_boxes(image: &mut RgbImage, boxes: &[LabelledBox]) -> Result<()> {
    let (width, height) = image.dimensions();
    let (w, h) = (width as f32, height as f32);
    let shorter = width.min(height);
    let (line, letters) = ((shorter / 240).clamp(1, 8), (shorter / 28).clamp(10, 48));
    let font: FontDesc = (font::family(), letters).into();
    let root = BitMapBackend::with_buffer(image, (width, height)).into_drawing_area();
    let at = |[x1, y1, x2, y2]: [f32; 4]| {
        let (x, y) = (|v: f32| v.clamp(0., w - 1.).round() as i32, |v: f32| v.clamp(0., h - 1.).round() as i32);
        (x(x1), y(y1), x(x2), y(y2))
    };
    for item in boxes {
        let (x1, y1, x2, y2) = at(item.corners);
        let (r, g, b) = class_colour(item.class);
        for inset in 0..line as i32 {
            if x2 - x1 > 2 * inset && y2 - y1 > 2 * inset {
                let corners = [(x1 + inset, y1 + inset), (x2 - inset, y2 - inset)];
                root.draw(&Rectangle::new(corners, RGBColor(r, g, b))).map_err(refused)?;
            }
        }
    }
    for item in boxes.iter().filter(|item| !item.label.is_empty()) {
        let (x1, y1, _, _) = at(item.corners);
        let (r, g, b) = class_colour(item.class);
        let (text_width, _) = font.box_size(&item.label).map_err(refused)?;
        let (plate_width, plate_height) = (text_width as i32 + 4, letters as i32 + 3);
        // Above the box where there is room, else just inside; never over the right edge where it fits.
        let top = if y1 >= plate_height { y1 - plate_height } else { y1 };
        let left = x1.min(width as i32 - plate_width).max(0);
        let plate = [(left, top), (left + plate_width, top + plate_height)];
        root.draw(&Rectangle::new(plate, RGBColor(r, g, b).filled())).map_err(refused)?;
        let light = 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b) > 140.;
        let style = font.color(if light { &BLACK } else { &WHITE });
        root.draw(&Text::new(item.label.as_str(), (left + 2, top + 1), style)).map_err(refused)?;
    }
    root.present().map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::Picture { message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_an_outline_in_the_colour_of_the_class() {
        let mut image = RgbImage::new(100, 80);
        let item = LabelledBox { class: 3, label: String::new(), corners: [20., 30., 60., 70.] };
        draw_boxes(&mut image, &[item]).unwrap();
        let (r, g, b) = class_colour(3);
        for (x, y) in [(20, 30), (60, 70), (40, 30), (20, 50), (60, 50)] {
            assert_eq!(image.get_pixel(x, y).0, [r, g, b], "at {x}, {y}");
        }
        for (x, y) in [(40, 50), (10, 10), (19, 30), (61, 50), (40, 71)] {
            assert_eq!(image.get_pixel(x, y).0, [0, 0, 0], "at {x}, {y}");
        }
    }

    #[test]
    fn writes_the_label_above_the_box_or_inside_it() {
        for (corners, inside) in [([20., 50., 60., 90.], false), ([20., 2., 60., 90.], true)] {
            let mut image = RgbImage::new(120, 100);
            draw_boxes(&mut image, &[LabelledBox { class: 0, label: "cell".into(), corners }]).unwrap();
            let (r, g, b) = class_colour(0);
            let top = if inside { 3 } else { 38 };
            let plate = (top..top + 10).flat_map(|y| (21..40).map(move |x| (x, y)));
            let (mut ground, mut ink) = (0, 0);
            for (x, y) in plate {
                match image.get_pixel(x, y).0 {
                    colour if colour == [r, g, b] => ground += 1,
                    _ => ink += 1,
                }
            }
            assert!(ground > 50 && ink > 20, "{ground} pixels of the plate, {ink} of letters");
        }
    }

    #[test]
    fn boxes_beyond_the_image_are_clipped_and_neighbouring_colours_differ() {
        let mut image = RgbImage::new(50, 40);
        let outside = [-10., -20., 500., 400.];
        draw_boxes(
            &mut image,
            &[LabelledBox { class: 1, label: "a label wider than the image".into(), corners: outside }],
        )
        .unwrap();
        let (r, g, b) = class_colour(1);
        assert_eq!(image.get_pixel(49, 39).0, [r, g, b]);
        for class in 0..20 {
            for other in class + 1..20 {
                assert_ne!(class_colour(class), class_colour(other));
            }
        }
    }
}
