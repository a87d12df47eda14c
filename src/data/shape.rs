//! The classes of the built-in dataset as geometry: signed distances and corners.

use crate::options::option_names;

/// The classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Circle,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
}

/// Half the thickness of a ring's band, and half the width of a cross's arms, for radius 1.
const BAND: f32 = 0.17;
const ARM: f32 = 0.3;
/// The inner corner of a star beside its tip (1, 0): at radius 0.42, 36° away.
const INNER: (f32, f32) = (0.42 * 0.809_017, 0.42 * 0.587_785_3);
/// Directions of the tips of a triangle and of a five-pointed star.
const TRIANGLE: [(f32, f32); 3] = [(1., 0.), (-0.5, 0.866_025_4), (-0.5, -0.866_025_4)];
const PENTAGON: [(f32, f32); 5] = [
    (1., 0.),
    (0.309_017, 0.951_056_5),
    (-0.809_017, 0.587_785_3),
    (-0.809_017, -0.587_785_3),
    (0.309_017, -0.951_056_5),
];

option_names!(
    Kind, "class": Circle = "circle", Square = "square", Triangle = "triangle", Star = "star", Ring = "ring",
    Cross = "cross",
);

impl Kind {
    /// Signed distance from (x, y) to the upright shape of radius 1: negative inside; exact near the edge.
    #[inline(always)]
    pub(crate) fn distance(self, x: f32, y: f32) -> f32 {
        match self {
            Kind::Circle => length(x, y) - 1.,
            Kind::Ring => (length(x, y) - (1. - BAND)).abs() - BAND,
            Kind::Square => {
                let half = std::f32::consts::FRAC_1_SQRT_2;
                let (dx, dy) = (x.abs() - half, y.abs() - half);
                length(dx.max(0.), dy.max(0.)) + dx.max(dy).min(0.)
            }
            Kind::Cross => {
                let (a, b) = (x.abs().max(y.abs()), x.abs().min(y.abs()));
                let (da, db) = (a - self.reach(), b - ARM);
                length(da.max(0.), db.max(0.)) + da.max(db).min(0.)
            }
            Kind::Triangle => star(x, y, &TRIANGLE, (0.25, 0.433_012_7)),
            Kind::Star => star(x, y, &PENTAGON, INNER),
        }
    }

    /// The corners of the shape's hull: all that its bounding box depends on (none for round shapes).
    pub(crate) fn corners(self) -> Vec<(f32, f32)> {
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let r = self.reach();
        match self {
            Kind::Circle | Kind::Ring => Vec::new(),
            Kind::Square => vec![(half, half), (-half, half), (-half, -half), (half, -half)],
            Kind::Triangle => TRIANGLE.to_vec(),
            Kind::Star => PENTAGON.to_vec(),
            Kind::Cross => vec![(r, ARM), (r, -ARM), (-r, ARM), (-r, -ARM), (ARM, r), (-ARM, r), (ARM, -r), (-ARM, -r)],
        }
    }

    /// Half the length of a cross, so that its corners have radius 1.
    fn reach(self) -> f32 {
        (1. - ARM * ARM).sqrt()
    }
}

/// A star with tips at radius 1 in the directions `tips` and inner corners at radius `inner`: folded into half a tip,
/// where its outline is one segment.
#[inline(always)]
fn star<const N: usize>(x: f32, y: f32, tips: &[(f32, f32); N], inner: (f32, f32)) -> f32 {
    let px = tips.iter().fold(f32::NEG_INFINITY, |most, (c, s)| most.max(x * c + y * s)) - 1.;
    let py = (x * x + y * y - (px + 1.) * (px + 1.)).max(0.).sqrt();
    let (ex, ey) = (inner.0 - 1., inner.1);
    let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0., 1.);
    let distance = length(px - along * ex, py - along * ey);
    if ex * py - ey * px < 0. { distance } else { -distance }
}

/// `f32::hypot` guards against overflow, which takes most of its time.
#[inline(always)]
pub(crate) fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_that_to_the_nearest_outline_point() {
        for kind in Kind::ALL {
            // Points of the outline: where the distance changes its sign along rays from far outside.
            let mut outline = Vec::new();
            for (i, j) in (-150..150).flat_map(|i| (-150..150).map(move |j| (i, j))) {
                let at = |i: i32, j: i32| kind.distance(i as f32 / 100., j as f32 / 100.);
                if (at(i, j) <= 0.) != (at(i + 1, j) <= 0.) || (at(i, j) <= 0.) != (at(i, j + 1) <= 0.) {
                    outline.push((i as f32 / 100., j as f32 / 100.));
                }
            }
            assert!(outline.len() > 200);
            for (x, y) in [(1.2, 0.4), (-0.9, 0.8), (0.1, -1.3), (-1.1, -0.7), (1.4, 1.4)] {
                let nearest = outline.iter().map(|(a, b)| length(a - x, b - y)).fold(f32::INFINITY, f32::min);
                let distance = kind.distance(x, y);
                assert!((nearest - distance).abs() < 0.03, "{kind:?} at {x}, {y}: {distance}, by search {nearest}");
            }
        }
    }
}
