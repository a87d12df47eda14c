//! Bilinear resizing without anti-aliasing, in the fixed-point arithmetic of OpenCV's `INTER_LINEAR` for bytes, so that
//! a detector sees the same pixels as it was trained on.

use image::RgbImage;

/// Resizes to `width` × `height`. Weights have 11 bits, as in OpenCV: horizontally exact 19-bit sums, vertically
/// `((b0·(s0 >> 4)) >> 16) + ((b1·(s1 >> 4)) >> 16) + 2) >> 2`.
pub fn resize_bilinear(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (columns, rows) = (taps(image.width(), width), taps(image.height(), height));
    let stride = image.width() as usize * 3;
    let source = image.as_raw();
    let mut output = vec![0u8; width as usize * height as usize * 3];
    let mut above = Line::empty(width as usize * 3);
    let mut below = Line::empty(width as usize * 3);
    for (row, out) in rows.iter().zip(output.chunks_exact_mut(width as usize * 3)) {
        if above.row != row.first && below.row == row.first {
            std::mem::swap(&mut above, &mut below);
        }
        above.fill(row.first, &source[row.first * stride..][..stride], &columns);
        below.fill(row.second, &source[row.second * stride..][..stride], &columns);
        for ((o, &a), &b) in out.iter_mut().zip(&above.sums).zip(&below.sums) {
            *o = ((((row.weight0 * (a >> 4)) >> 16) + ((row.weight1 * (b >> 4)) >> 16) + 2) >> 2) as u8;
        }
    }
    RgbImage::from_raw(width, height, output).unwrap_or_default()
}

/// As [`resize_bilinear`], giving the image back untouched where it has that size already.
pub(crate) fn resize_bilinear_owned(image: RgbImage, width: u32, height: u32) -> RgbImage {
    if image.dimensions() == (width, height) { image } else { resize_bilinear(&image, width, height) }
}

const ONE: f32 = 2048.;

/// The two source positions of an output position and their weights in 1/2048.
struct Tap {
    first: usize,
    second: usize,
    weight0: i32,
    weight1: i32,
}

fn taps(from: u32, to: u32) -> Vec<Tap> {
    let scale = f64::from(from) / f64::from(to);
    let last = from as usize - 1;
    (0..to)
        .map(|i| {
            let at = ((f64::from(i) + 0.5) * scale - 0.5) as f32;
            let floor = at.floor();
            let (first, part) = match floor as i64 {
                f if f < 0 => (0, 0.),
                f if f as usize >= last => (last, 0.),
                f => (f as usize, at - floor),
            };
            Tap {
                first,
                second: (first + 1).min(last),
                weight0: ((1. - part) * ONE).round_ties_even() as i32,
                weight1: (part * ONE).round_ties_even() as i32,
            }
        })
        .collect()
}

/// A source row after horizontal interpolation, in 1/2048.
struct Line {
    row: usize,
    sums: Vec<i32>,
}

impl Line {
    fn empty(length: usize) -> Self {
        Self { row: usize::MAX, sums: vec![0; length] }
    }

    fn fill(&mut self, row: usize, source: &[u8], columns: &[Tap]) {
        if self.row == row {
            return;
        }
        self.row = row;
        for (sums, tap) in self.sums.chunks_exact_mut(3).zip(columns) {
            let (a, b) = (&source[tap.first * 3..][..3], &source[tap.second * 3..][..3]);
            for c in 0..3 {
                sums[c] = i32::from(a[c]) * tap.weight0 + i32::from(b[c]) * tap.weight1;
            }
        }
    }
}
