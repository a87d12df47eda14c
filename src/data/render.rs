//! Draws tiles on a grey canvas, seen through a scaled and shifted window, with changed colours: straight from the tiles'
//! bytes to planar floats, a row at a time, without the canvas ever existing.

use std::sync::Arc;

use image::RgbImage;

use super::letterbox::GREY;

/// An image and where its left upper corner lies on the canvas. Tiles do not overlap.
#[derive(Clone)]
pub(crate) struct Tile {
    pub image: Arc<RgbImage>,
    pub x: i32,
    pub y: i32,
}

/// Maps the canvas to the output: `out = canvas · scale + (x, y)`, then mirrored within the output.
pub(crate) struct View {
    pub scale: f32,
    pub x: f32,
    pub y: f32,
    pub mirror_x: bool,
    pub mirror_y: bool,
}

impl View {
    /// A box (left, top, right, bottom) of the canvas, in the output of `size` pixels.
    pub(crate) fn map(&self, [x1, y1, x2, y2]: [f32; 4], size: f32) -> [f32; 4] {
        let mut b =
            [x1 * self.scale + self.x, y1 * self.scale + self.y, x2 * self.scale + self.x, y2 * self.scale + self.y];
        if self.mirror_x {
            (b[0], b[2]) = (size - b[2], size - b[0]);
        }
        if self.mirror_y {
            (b[1], b[3]) = (size - b[3], size - b[1]);
        }
        b
    }
}

/// Factors on hue, saturation and value.
pub(crate) struct Colour {
    pub hue: f32,
    pub saturation: f32,
    pub value: f32,
}

/// Draws what the view shows of a canvas of `canvas` × `canvas` pixels into `output` (planar RGB in \[0, 1\], 3·size²).
pub(crate) fn render(tiles: &[Tile], canvas: f32, view: &View, colour: &Colour, size: usize, output: &mut [f32]) {
    pulp::Arch::new().dispatch(Render { tiles, canvas, view, colour, size, output });
}

/// The work of [`render`], compiled for each instruction set and chosen at run time.
struct Render<'a> {
    tiles: &'a [Tile],
    canvas: f32,
    view: &'a View,
    colour: &'a Colour,
    size: usize,
    output: &'a mut [f32],
}

impl pulp::WithSimd for Render<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { tiles, canvas, view, colour, size, output } = self;
        let spans: Vec<Span> = tiles.iter().map(|tile| Span::new(tile, canvas, view, size)).collect();
        let widest = spans.iter().map(|s| s.to.saturating_sub(s.from)).max().unwrap_or(0);
        let mut blended = vec![0f32; 3 * widest];
        let (red, rest) = output.split_at_mut(size * size);
        let (green, blue) = rest.split_at_mut(size * size);
        let planes = red.chunks_exact_mut(size).zip(green.chunks_exact_mut(size)).zip(blue.chunks_exact_mut(size));
        for (y, ((r, g), b)) in planes.enumerate() {
            let seen = if view.mirror_y { size - 1 - y } else { y };
            let at = (seen as f32 + 0.5 - view.y) / view.scale;
            for row in [&mut *r, &mut *g, &mut *b] {
                row.fill(GREY);
            }
            for (tile, span) in tiles.iter().zip(&spans) {
                span.draw(tile, at, canvas, &mut blended, [&mut *r, &mut *g, &mut *b]);
            }
            colour.apply(r, g, b);
        }
    }
}

/// The output columns that one tile covers, each with its place in the tile's row.
struct Span {
    start: usize,
    /// The columns of the tile that are looked at.
    from: usize,
    to: usize,
    /// For each output column: where its pixel begins among the floats of those columns, and the next one's weight.
    taps: Vec<(u32, f32)>,
}

impl Span {
    fn new(tile: &Tile, canvas: f32, view: &View, size: usize) -> Self {
        let width = tile.image.width() as usize;
        let (left, right) = ((tile.x as f32).max(0.), (tile.x as f32 + width as f32).min(canvas));
        let mut span = Self { start: 0, from: usize::MAX, to: 0, taps: Vec::new() };
        for x in 0..size {
            let seen = if view.mirror_x { size - 1 - x } else { x };
            let at = (seen as f32 + 0.5 - view.x) / view.scale;
            if at < left || at >= right {
                continue;
            }
            if span.taps.is_empty() {
                span.start = x;
            }
            let (first, part) = tap(at - tile.x as f32, width);
            span.from = span.from.min(first);
            span.to = span.to.max(first + 2);
            span.taps.push((first as u32, part));
        }
        for (first, _) in &mut span.taps {
            *first = (*first - span.from as u32) * 3;
        }
        span
    }

    /// Draws the tile's part of an output row; `at` is the row's position on the canvas.
    #[inline(always)]
    fn draw(&self, tile: &Tile, at: f32, canvas: f32, blended: &mut [f32], [r, g, b]: [&mut [f32]; 3]) {
        let (width, height) = (tile.image.width() as usize, tile.image.height() as usize);
        let (top, bottom) = ((tile.y as f32).max(0.), (tile.y as f32 + height as f32).min(canvas));
        if self.taps.is_empty() || at < top || at >= bottom {
            return;
        }
        let (row, part) = tap(at - tile.y as f32, height);
        let source = tile.image.as_raw();
        let line = |row: usize| &source[row * width * 3..][..width * 3][self.from * 3..self.to.min(width) * 3];
        let (above, below) = (line(row), line((row + 1).min(height - 1)));
        let used = above.len();
        for ((out, &a), &b) in blended.iter_mut().zip(above).zip(below) {
            let (a, b) = (f32::from(a), f32::from(b));
            *out = (a + (b - a) * part) * (1. / 255.);
        }
        if self.to > width {
            // The last column blends with itself.
            blended.copy_within(used - 3..used, used);
        }
        let range = self.start..self.start + self.taps.len();
        let outputs = r[range.clone()].iter_mut().zip(&mut g[range.clone()]).zip(&mut b[range]);
        for (((r, g), b), &(first, part)) in outputs.zip(&self.taps) {
            let six: &[f32; 6] = blended[first as usize..].first_chunk().unwrap_or(&[0.; 6]);
            *r = six[0] + (six[3] - six[0]) * part;
            *g = six[1] + (six[4] - six[1]) * part;
            *b = six[2] + (six[5] - six[2]) * part;
        }
    }
}

/// The pixel before the continuous position `at` of a line of `length` pixels, and the weight of the one after it.
fn tap(at: f32, length: usize) -> (usize, f32) {
    let centre = (at - 0.5).clamp(0., (length - 1) as f32);
    let first = centre.floor();
    (first as usize, centre - first)
}

impl Colour {
    /// Multiplies hue, saturation and value of a row of pixels; hue is in turns, so that a factor of 1.015 moves red, at
    /// 0, not at all, and violet by a few degrees, as YOLOv5 does.
    #[inline(always)]
    pub(crate) fn apply(&self, r: &mut [f32], g: &mut [f32], b: &mut [f32]) {
        if self.hue == 1. && self.saturation == 1. && self.value == 1. {
            return;
        }
        for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
            let (max, min) = (r.max(*g).max(*b), r.min(*g).min(*b));
            let delta = max - min;
            let inverse = if delta > 0. { 1. / delta } else { 0. };
            // Sextant position of the hue in [0, 6).
            let by_red = (*g - *b) * inverse;
            let by_red = if by_red < 0. { by_red + 6. } else { by_red };
            let by_green = (*b - *r) * inverse + 2.;
            let by_blue = (*r - *g) * inverse + 4.;
            let hue = if max == *r {
                by_red
            } else if max == *g {
                by_green
            } else {
                by_blue
            };
            let hue = hue * self.hue;
            let hue = if hue >= 6. { hue - 6. } else { hue };
            let value = (max * self.value).min(1.);
            // Value times the new saturation: the distance from the brightest to the darkest channel.
            let saturation = if max > 0. { (delta / max * self.saturation).min(1.) } else { 0. };
            let chroma = value * saturation;
            let channel = |n: f32| {
                let k = n + hue;
                let k = if k >= 6. { k - 6. } else { k };
                value - chroma * k.min(4. - k).clamp(0., 1.)
            };
            (*r, *g, *b) = (channel(5.), channel(3.), channel(1.));
        }
    }
}
