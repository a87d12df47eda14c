//! Fitting an image into a square without distortion, grey around it, and mapping boxes there and back.

use candle_core::{Device, Tensor};
use image::RgbImage;

use super::error::DataError;
use super::resize;

/// The grey of the border, as YOLO models are trained with.
pub(crate) const GREY: f32 = 114. / 255.;

/// How an image lies in the square: `x_square = x_image · scale + left`, and likewise for y with `top`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// Pixels of the square for a pixel of the image.
    pub scale: f32,
    /// Width of the resized image in the square.
    pub width: usize,
    /// Height of the resized image in the square.
    pub height: usize,
    /// Columns of grey left of the image.
    pub left: usize,
    /// Rows of grey above the image.
    pub top: usize,
}

impl Letterbox {
    /// How an image of `width` × `height` pixels lies, centred, in a square of `size` pixels. An odd row or column of
    /// grey goes below or to the right.
    pub fn new(width: usize, height: usize, size: usize) -> Self {
        let scale = (size as f64 / width as f64).min(size as f64 / height as f64);
        let fit = |pixels: usize| ((pixels as f64 * scale).round_ties_even() as usize).clamp(1, size);
        let (w, h) = (fit(width), fit(height));
        Self { scale: scale as f32, width: w, height: h, left: (size - w) / 2, top: (size - h) / 2 }
    }

    /// Maps left, top, right, bottom from pixels of the original image to pixels of the square.
    pub fn to_square(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let (left, top) = (self.left as f32, self.top as f32);
        [x1 * self.scale + left, y1 * self.scale + top, x2 * self.scale + left, y2 * self.scale + top]
    }

    /// Maps left, top, right, bottom from pixels of the square back to pixels of the original image (not clipped).
    pub fn to_image(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let (left, top) = (self.left as f32, self.top as f32);
        [(x1 - left) / self.scale, (y1 - top) / self.scale, (x2 - left) / self.scale, (y2 - top) / self.scale]
    }
}

/// Fits `image` into a square of `size` pixels: planar RGB in \[0, 1\], (3, size, size), written to `output`, whose
/// length must be 3·size².
pub fn letterbox(image: &RgbImage, size: usize, output: &mut [f32]) -> Letterbox {
    let fit = Letterbox::new(image.width() as usize, image.height() as usize, size);
    if image.dimensions() == (fit.width as u32, fit.height as u32) {
        place(image, &fit, size, output);
    } else {
        place(&resize::resize_bilinear(image, fit.width as u32, fit.height as u32), &fit, size, output);
    }
    fit
}

/// As [`letterbox`], as a tensor (1, 3, size, size) on the CPU.
pub fn letterbox_tensor(image: &RgbImage, size: usize) -> Result<(Tensor, Letterbox), DataError> {
    let mut pixels = vec![0f32; 3 * size * size];
    let fit = letterbox(image, size, &mut pixels);
    Ok((Tensor::from_vec(pixels, (1, 3, size, size), &Device::Cpu)?, fit))
}

/// Writes an image that has the fitted size already, and the grey around it.
pub(crate) fn place(image: &RgbImage, fit: &Letterbox, size: usize, output: &mut [f32]) {
    let plane = size * size;
    let (right, bottom) = (fit.left + fit.width, fit.top + fit.height);
    for (channel, plane) in output.chunks_exact_mut(plane).enumerate() {
        plane[..fit.top * size].fill(GREY);
        plane[bottom * size..].fill(GREY);
        let rows = plane[fit.top * size..bottom * size].chunks_exact_mut(size);
        for (row, pixels) in rows.zip(image.as_raw().chunks_exact(fit.width * 3)) {
            row[..fit.left].fill(GREY);
            row[right..].fill(GREY);
            for (out, rgb) in row[fit.left..right].iter_mut().zip(pixels.chunks_exact(3)) {
                *out = f32::from(rgb[channel]) / 255.;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_border_is_larger_right_and_below() {
        let fit = Letterbox::new(640, 481, 320);
        assert_eq!((fit.width, fit.height, fit.left, fit.top), (320, 240, 0, 40));
        let fit = Letterbox::new(101, 200, 100);
        assert_eq!((fit.width, fit.height, fit.left, fit.top), (50, 100, 25, 0));
        let fit = Letterbox::new(103, 200, 100);
        assert_eq!((fit.width, fit.left), (52, 24));
        let fit = Letterbox::new(1, 5000, 64);
        assert_eq!((fit.width, fit.height, fit.left, fit.top), (1, 64, 31, 0));
    }

    #[test]
    fn boxes_map_there_and_back() {
        for (width, height) in [(640, 480), (33, 500), (320, 320)] {
            let fit = Letterbox::new(width, height, 256);
            let corners = [3., 5., width as f32 - 1., height as f32 / 2.];
            for (a, b) in fit.to_image(fit.to_square(corners)).iter().zip(corners) {
                assert!((a - b).abs() < 1e-3);
            }
            let [x1, y1, x2, y2] = fit.to_square([0., 0., width as f32, height as f32]);
            assert!(x1 >= 0. && y1 >= 0. && x2 <= 257. && y2 <= 257.);
        }
    }

    #[test]
    fn the_image_is_centred_in_grey() {
        let image = RgbImage::from_pixel(40, 20, image::Rgb([255, 51, 0]));
        let (tensor, fit) = letterbox_tensor(&image, 20).unwrap();
        assert_eq!((fit.top, fit.height, fit.scale), (5, 10, 0.5));
        let planes: Vec<Vec<Vec<f32>>> = tensor.squeeze(0).unwrap().to_vec3().unwrap();
        for (plane, value) in planes.iter().zip([1., 0.2, 0.]) {
            for (y, row) in plane.iter().enumerate() {
                let expected = if (5..15).contains(&y) { value } else { 114. / 255. };
                assert!(row.iter().all(|v| (v - expected).abs() < 1e-6), "row {y}");
            }
        }
    }
}
