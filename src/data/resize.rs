//! Bilinear resizing without anti-aliasing, in the fixed-point arithmetic of OpenCV's `INTER_LINEAR` for bytes, so that
//! a detector sees the same pixels as it was trained on.

use image::RgbImage;

/// Resizes to `width` × `height`. Weights have 11 bits, as in OpenCV: horizontally exact 19-bit sums, vertically
/// `((b0·(s0 >> 4)) >> 16) + ((b1·(s1 >> 4)) >> 16) + 2) >> 2`.
pub fn resize_bilinear(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (columns, rows) = (taps(image.width(), width, true), taps(image.height(), height, false));
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

/// At the left and right edge the weight is one; at the upper and lower edge OpenCV takes the same row twice, which
/// rounds differently.
fn taps(from: u32, to: u32, whole_at_edges: bool) -> Vec<Tap> {
    let scale = f64::from(from) / f64::from(to);
    let last = i64::from(from) - 1;
    (0..to)
        .map(|i| {
            let at = ((f64::from(i) + 0.5) * scale - 0.5) as f32;
            let (floor, mut part) = (at.floor() as i64, at - at.floor());
            if whole_at_edges && !(0..last).contains(&floor) {
                part = 0.;
            }
            Tap {
                first: floor.clamp(0, last) as usize,
                second: (floor + 1).clamp(0, last) as usize,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let v = |a: u32, b: u32, c: u32| ((x * a + y * b + x * y * c) % 256) as u8;
            image::Rgb([v(37, 91, 5), v(11, 53, 17), v(71, 29, 3)])
        })
    }

    #[test]
    fn agrees_with_opencv() {
        // cv2.resize(…, interpolation=cv2.INTER_LINEAR) of the same picture, first channel.
        let red = |w, h| resize_bilinear(&picture(7, 5), w, h).pixels().map(|p| p.0[0]).collect::<Vec<u8>>();
        assert_eq!(red(4, 3), OPENCV_4_3);
        assert_eq!(red(9, 6), OPENCV_9_6);
    }

    const OPENCV_4_3: [u8; 12] = [45, 112, 105, 162, 200, 26, 108, 190, 98, 174, 121, 133];
    const OPENCV_9_6: [u8; 54] = [
        0, 25, 53, 82, 111, 140, 168, 197, 222, 68, 95, 127, 159, 191, 73, 62, 94, 121, 144, 174, 142, 95, 129, 81, 93,
        128, 157, 113, 146, 118, 73, 111, 149, 128, 119, 152, 40, 75, 117, 144, 136, 177, 111, 68, 103, 108, 146, 190,
        178, 23, 67, 112, 156, 194,
    ];

    #[test]
    fn half_the_size_is_the_mean_of_four() {
        let (whole, half) = (picture(10, 6), resize_bilinear(&picture(10, 6), 5, 3));
        for (x, y, pixel) in half.enumerate_pixels() {
            for c in 0..3 {
                let sum: u32 = [(0, 0), (1, 0), (0, 1), (1, 1)]
                    .iter()
                    .map(|(i, j)| u32::from(whole.get_pixel(2 * x + i, 2 * y + j).0[c]))
                    .sum();
                assert_eq!(u32::from(pixel.0[c]), (sum + 2) / 4);
            }
        }
    }

    #[test]
    fn the_same_size_changes_nothing_and_one_pixel_becomes_all() {
        assert_eq!(resize_bilinear(&picture(9, 4), 9, 4), picture(9, 4));
        let one = RgbImage::from_pixel(1, 1, image::Rgb([3, 200, 255]));
        assert!(resize_bilinear(&one, 13, 7).pixels().all(|p| p.0 == [3, 200, 255]));
        assert_eq!(resize_bilinear(&picture(300, 2), 1, 1).dimensions(), (1, 1));
    }
}
