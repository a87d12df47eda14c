//! A batch: images as a tensor, their boxes, and where they come from.

use candle_core::Tensor;

use super::letterbox::Letterbox;
use crate::boxes::{Centred, Truth};

/// Images with what is known of them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// (n, 3, size, size), f32, RGB in \[0, 1\], on the CPU.
    pub images: Tensor,
    /// All boxes of the batch, ordered by image.
    pub targets: Vec<Target>,
    /// Which sample each image is and, in evaluation, how to map its boxes back.
    pub origins: Vec<Origin>,
}

/// A box of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Index into the batch.
    pub image: usize,
    /// The box, relative to the side of the square image.
    pub truth: Truth<Centred>,
}

/// Where an image of a batch comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Origin {
    /// Index into the split's samples; for a mosaic, of the image it was made for.
    pub sample: usize,
    /// Width of the original image in pixels.
    pub width: usize,
    /// Height of the original image in pixels.
    pub height: usize,
    /// How the image lies in the square. In a training batch, how it lay before augmentation.
    pub letterbox: Letterbox,
}

impl Origin {
    /// Maps left, top, right, bottom from pixels of the square to pixels of the original image, clipped to it.
    pub fn to_image(&self, square: [f32; 4]) -> [f32; 4] {
        let (w, h) = (self.width as f32, self.height as f32);
        let [x1, y1, x2, y2] = self.letterbox.to_image(square);
        [x1.clamp(0., w), y1.clamp(0., h), x2.clamp(0., w), y2.clamp(0., h)]
    }
}
