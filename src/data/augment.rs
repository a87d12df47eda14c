//! What training does to images: mosaic, scale and translation, flips, colour jitter. This file decides; `render` draws.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::batch::Target;
use super::dataset::Split;
use super::letterbox::Letterbox;
use super::random::{Purpose, rng};
use super::render::{self, Colour, Tile, View};
use crate::boxes::{Centred, Truth};
use crate::options::options;

options! {
    /// How strongly training images are varied. The names and defaults are YOLOv5's (`hyp.scratch-low.yaml`).
    #[derive(Copy)]
    #[serde(deny_unknown_fields, default)]
    pub struct Augment {
        /// Probability of composing an image of four.
        pub mosaic: f32 = 1.0, 0.0..=1.0;
        /// Size varies by a factor in 1 ± this.
        pub scale: f32 = 0.5, 0.0..=0.9;
        /// Shift in each direction, as a share of the image's size, at most.
        pub translate: f32 = 0.1, 0.0..=0.9;
        /// Probability of a left-right flip.
        pub fliplr: f32 = 0.5, 0.0..=1.0;
        /// Probability of an upside-down flip.
        pub flipud: f32 = 0.0, 0.0..=1.0;
        /// Hue is multiplied by a factor in 1 ± this.
        pub hsv_h: f32 = 0.015, 0.0..=1.0;
        /// Saturation is multiplied by a factor in 1 ± this.
        pub hsv_s: f32 = 0.7, 0.0..=1.0;
        /// Value (brightness) is multiplied by a factor in 1 ± this.
        pub hsv_v: f32 = 0.4, 0.0..=1.0;
    }
}

impl Augment {
    /// Images as they are, letterboxed.
    pub fn none() -> Self {
        Self { mosaic: 0., scale: 0., translate: 0., fliplr: 0., flipud: 0., hsv_h: 0., hsv_s: 0., hsv_v: 0. }
    }

    /// The same without mosaic, as for the last epochs of a training.
    pub fn without_mosaic(self) -> Self {
        Self { mosaic: 0., ..self }
    }
}

/// Composes the training image of sample `index` into `output` (planar RGB, 3·size²) and returns its boxes; `None`
/// where the sample's image can't be read. The outcome depends on the arguments alone.
pub(crate) fn compose(
    split: &Split,
    index: usize,
    size: usize,
    augment: &Augment,
    seed: u64,
    epoch: u64,
    output: &mut [f32],
) -> Option<Vec<Target>> {
    let mut rng = rng(seed, Purpose::Augment, epoch, index as u64);
    let mosaic = chance(&mut rng, augment.mosaic);
    let (tiles, canvas) = if mosaic {
        mosaic_tiles(split, index, size, &mut rng)?
    } else {
        (single_tile(split, index, size)?, size as f32)
    };
    let scale = vary(&mut rng, augment.scale);
    let mut shift = || size as f32 * (0.5 + augment.translate * rng.random_range(-1.0..=1.0));
    let (x, y) = (shift(), shift());
    let view = View {
        scale,
        x: x - scale * canvas / 2.,
        y: y - scale * canvas / 2.,
        mirror_x: chance(&mut rng, augment.fliplr),
        mirror_y: chance(&mut rng, augment.flipud),
    };
    let colour = Colour {
        hue: vary(&mut rng, augment.hsv_h),
        saturation: vary(&mut rng, augment.hsv_s),
        value: vary(&mut rng, augment.hsv_v),
    };
    let images: Vec<Tile> = tiles.iter().map(|t| t.tile.clone()).collect();
    render::render(&images, canvas, &view, &colour, size, output);
    Some(tiles.iter().flat_map(|t| t.targets(split, canvas, &view, size as f32)).collect())
}

/// One of the images of a canvas, and which sample it is.
struct Placed {
    sample: usize,
    scale: f32,
    tile: Tile,
}

impl Placed {
    /// The sample's boxes after clipping and warping, without those that are too small, too thin or mostly lost.
    fn targets(&self, split: &Split, canvas: f32, view: &View, size: f32) -> Vec<Target> {
        let sample = &split.samples[self.sample];
        let (width, height) = (sample.width as f32 * self.scale, sample.height as f32 * self.scale);
        let boxes = sample.boxes.iter().filter_map(|label| {
            let [x1, y1, x2, y2] = label.in_pixels(width, height).bounds;
            let (left, top) = (self.tile.x as f32, self.tile.y as f32);
            let whole = [x1 + left, y1 + top, x2 + left, y2 + top].map(|v| v.clamp(0., canvas));
            let seen = view.map(whole, size).map(|v| v.clamp(0., size));
            worth_keeping(whole.map(|v| v * view.scale), seen).then(|| {
                let Centred { cx, cy, w, h } = Centred::of(seen);
                let bounds = Centred { cx: cx / size, cy: cy / size, w: w / size, h: h / size };
                Target { image: 0, truth: Truth { class: label.class, bounds } }
            })
        });
        boxes.collect()
    }
}

/// YOLOv5's rule for a box before and after clipping: more than 2 px wide and high, more than a tenth of its area
/// left, less than 100 times as long as wide.
fn worth_keeping([ax1, ay1, ax2, ay2]: [f32; 4], [bx1, by1, bx2, by2]: [f32; 4]) -> bool {
    const TINY: f32 = 1e-16;
    let (w1, h1, w2, h2) = (ax2 - ax1, ay2 - ay1, bx2 - bx1, by2 - by1);
    let aspect = (w2 / (h2 + TINY)).max(h2 / (w2 + TINY));
    w2 > 2. && h2 > 2. && w2 * h2 / (w1 * h1 + TINY) > 0.1 && aspect < 100.
}

/// The image alone, letterboxed.
fn single_tile(split: &Split, index: usize, size: usize) -> Option<Vec<Placed>> {
    let fit = fit(split, index, size);
    let image = split.fitted(index, size)?;
    Some(vec![Placed { sample: index, scale: fit.scale, tile: Tile { image, x: fit.left as i32, y: fit.top as i32 } }])
}

/// Four images around a random centre of a canvas of twice the size (Bochkovskiy et al. 2020, YOLOv4): this one and three
/// others, in random order. An unreadable one of the others leaves its quarter grey.
fn mosaic_tiles(split: &Split, index: usize, size: usize, rng: &mut ChaCha8Rng) -> Option<(Vec<Placed>, f32)> {
    let (low, high) = (size as i32 / 2, 2 * size as i32 - size as i32 / 2);
    let (x, y) = (rng.random_range(low..=high), rng.random_range(low..=high));
    let mut samples = [index, 0, 0, 0];
    for other in &mut samples[1..] {
        *other = rng.random_range(0..split.samples.len());
    }
    samples.shuffle(rng);
    split.fitted(index, size)?;
    let placed = samples.into_iter().enumerate().filter_map(|(quarter, sample)| {
        let fit = fit(split, sample, size);
        let image = split.fitted(sample, size)?;
        let (w, h) = (fit.width as i32, fit.height as i32);
        let (left, top) = (if quarter % 2 == 0 { x - w } else { x }, if quarter < 2 { y - h } else { y });
        Some(Placed { sample, scale: fit.scale, tile: Tile { image, x: left, y: top } })
    });
    Some((placed.collect(), 2. * size as f32))
}

fn fit(split: &Split, index: usize, size: usize) -> Letterbox {
    let sample = &split.samples[index];
    Letterbox::new(sample.width, sample.height, size)
}

fn chance(rng: &mut ChaCha8Rng, probability: f32) -> bool {
    rng.random::<f32>() < probability
}

/// A factor in 1 ± `by`.
fn vary(rng: &mut ChaCha8Rng, by: f32) -> f32 {
    1. + by * rng.random_range(-1.0..=1.0)
}
