//! What is on an image of the built-in dataset: decided here, from a seed; drawn in `paint`.

use std::f32::consts::TAU;
use std::fmt;
use std::sync::Arc;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::random::{Purpose, rng};
use super::shape::Kind;
use crate::boxes::{Centred, Truth};

/// Which image of the built-in dataset: all that is needed to draw it.
#[derive(Debug, Clone)]
pub struct Drawing {
    pub(crate) seed: u64,
    pub(crate) split: &'static str,
    pub(crate) index: usize,
    pub(crate) size: usize,
    pub(crate) kinds: Arc<[Kind]>,
}

impl Drawing {
    /// The random numbers of one image.
    pub(crate) fn rng(&self, purpose: Purpose) -> ChaCha8Rng {
        let split = self.split.bytes().fold(0u64, |a, b| a << 8 | u64::from(b));
        rng(self.seed, purpose, split, self.index as u64)
    }
}

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shapes {} {}", self.split, self.index)
    }
}

/// Everything on one image, in pixels; what comes later lies on top.
pub(crate) struct Scene {
    pub(crate) size: usize,
    pub(crate) background: Background,
    pub(crate) strokes: Vec<Stroke>,
    pub(crate) objects: Vec<Object>,
    /// Standard deviation of the noise over everything, in \[0, 1\] units.
    pub(crate) noise: f32,
}

/// A gradient with two waves and grain.
pub(crate) struct Background {
    pub(crate) from: [f32; 3],
    pub(crate) to: [f32; 3],
    /// Direction of the gradient.
    pub(crate) angle: f32,
    /// Waves: x and y frequency (radians a pixel), phase, height.
    pub(crate) waves: [[f32; 4]; 2],
}

/// A line that is no object.
pub(crate) struct Stroke {
    pub(crate) from: (f32, f32),
    pub(crate) to: (f32, f32),
    pub(crate) radius: f32,
    pub(crate) colour: [f32; 3],
    pub(crate) alpha: f32,
    /// Drawn over the objects.
    pub(crate) on_top: bool,
}

/// A labelled shape.
pub(crate) struct Object {
    pub(crate) class: usize,
    pub(crate) kind: Kind,
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) radius: f32,
    pub(crate) angle: f32,
    pub(crate) colours: [[f32; 3]; 2],
    pub(crate) texture: Texture,
    /// Wavelength of the texture in pixels, its direction, and opacity of the shape.
    pub(crate) period: f32,
    pub(crate) direction: f32,
    pub(crate) alpha: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texture {
    Plain,
    Striped,
    Dotted,
    Gradient,
    Noisy,
}

impl Object {
    /// Left, top, right, bottom of the whole shape.
    pub(crate) fn bounds(&self) -> [f32; 4] {
        let (sin, cos) = self.angle.sin_cos();
        let corners = self.kind.corners();
        if corners.is_empty() {
            return [self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius];
        }
        corners.iter().fold([f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY], |b, &(cx, cy)| {
            let (x, y) = (self.x + self.radius * (cx * cos - cy * sin), self.y + self.radius * (cx * sin + cy * cos));
            [b[0].min(x), b[1].min(y), b[2].max(x), b[3].max(y)]
        })
    }

    /// Signed distance in pixels.
    #[inline(always)]
    pub(crate) fn distance(&self, x: f32, y: f32, sin: f32, cos: f32) -> f32 {
        let (dx, dy) = ((x - self.x) / self.radius, (y - self.y) / self.radius);
        self.kind.distance(dx * cos + dy * sin, dy * cos - dx * sin) * self.radius
    }
}

/// An object that would hide more of another one, or of itself, than this is not placed.
const LEAST_VISIBLE: f32 = 0.45;

impl Scene {
    pub(crate) fn new(drawing: &Drawing) -> Self {
        let mut rng = drawing.rng(Purpose::Scene);
        let size = drawing.size as f32;
        let background = Background::new(&mut rng, size);
        let strokes = (0..rng.random_range(2..9)).map(|_| Stroke::new(&mut rng, size, &background)).collect();
        let mut scene =
            Self { size: drawing.size, background, strokes, objects: Vec::new(), noise: rng.random_range(0.01..0.06) };
        // One image in twenty has no object.
        let wanted = if rng.random_bool(0.05) { 0 } else { rng.random_range(1..=9) };
        for _ in 0..wanted {
            scene.place(&mut rng, &drawing.kinds);
        }
        scene
    }

    /// The labels: boxes of the whole shapes, clipped to the image.
    pub(crate) fn boxes(&self) -> Vec<Truth<Centred>> {
        let size = self.size as f32;
        let boxes = self.objects.iter().map(|object| {
            let bounds = Centred::of(object.bounds().map(|v| (v / size).clamp(0., 1.)));
            Truth { class: object.class, bounds }
        });
        boxes.collect()
    }

    /// Tries a few times to add an object that leaves all of them visible enough.
    fn place(&mut self, rng: &mut ChaCha8Rng, kinds: &[Kind]) {
        for _ in 0..6 {
            self.objects.push(Object::new(rng, self.size as f32, kinds, &self.background));
            if (0..self.objects.len()).all(|i| self.visible(i) >= LEAST_VISIBLE) {
                return;
            }
            self.objects.pop();
        }
    }

    /// Which share of an object is on the image and not covered by later ones, on a grid of 12 × 12 points.
    fn visible(&self, index: usize) -> f32 {
        const GRID: usize = 12;
        let object = &self.objects[index];
        let [x1, y1, x2, y2] = object.bounds();
        let size = self.size as f32;
        let later: Vec<_> = self.objects[index + 1..].iter().map(|o| (o, o.bounds(), o.angle.sin_cos())).collect();
        let (sin, cos) = object.angle.sin_cos();
        let (mut inside, mut seen) = (0, 0);
        for j in 0..GRID {
            let y = y1 + (y2 - y1) * (j as f32 + 0.5) / GRID as f32;
            for i in 0..GRID {
                let x = x1 + (x2 - x1) * (i as f32 + 0.5) / GRID as f32;
                if object.distance(x, y, sin, cos) > 0. {
                    continue;
                }
                inside += 1;
                let covered = later.iter().any(|(o, b, (sin, cos))| {
                    x >= b[0] && x <= b[2] && y >= b[1] && y <= b[3] && o.distance(x, y, *sin, *cos) <= 0.
                });
                let on_image = x >= 0. && y >= 0. && x < size && y < size;
                seen += usize::from(on_image && !covered);
            }
        }
        seen as f32 / inside.max(1) as f32
    }
}

impl Background {
    fn new(rng: &mut ChaCha8Rng, size: f32) -> Self {
        let from = colour(rng, 0.7);
        let to = near(rng, from, 0.35);
        let waves = std::array::from_fn(|_| {
            let (frequency, angle) = (TAU * log_uniform(rng, 1., 24.) / size, rng.random_range(0.0..TAU));
            [frequency * angle.cos(), frequency * angle.sin(), rng.random_range(0.0..TAU), rng.random_range(0.0..0.09)]
        });
        Self { from, to, angle: rng.random_range(0.0..TAU), waves }
    }
}

impl Stroke {
    fn new(rng: &mut ChaCha8Rng, size: f32, background: &Background) -> Self {
        let from = (rng.random_range(0.0..size), rng.random_range(0.0..size));
        // Some are specks rather than lines.
        let length =
            size * if rng.random_bool(0.35) { rng.random_range(0.0..0.04) } else { rng.random_range(0.1..0.9) };
        let angle: f32 = rng.random_range(0.0..TAU);
        Self {
            from,
            to: (from.0 + length * angle.cos(), from.1 + length * angle.sin()),
            radius: size * log_uniform(rng, 0.003, 0.02),
            colour: if rng.random_bool(0.5) { near(rng, background.from, 0.4) } else { colour(rng, 1.) },
            alpha: rng.random_range(0.4..1.0),
            on_top: rng.random_bool(0.25),
        }
    }
}

impl Object {
    fn new(rng: &mut ChaCha8Rng, size: f32, kinds: &[Kind], background: &Background) -> Self {
        let class = rng.random_range(0..kinds.len());
        let radius = (size * log_uniform(rng, 0.035, 0.24)).max(4.);
        // One in six may reach over the border of the image, the others lie within.
        let margin = if rng.random_bool(1. / 6.) { radius * 0.3 } else { radius.min(size / 2. - 1.) };
        let mut position = || rng.random_range(margin..size - margin);
        let (x, y) = (position(), position());
        let first = if rng.random_bool(0.3) { near(rng, background.from, 0.22) } else { colour(rng, 1.) };
        let first = apart(first, [background.from, background.to]);
        let second = if rng.random_bool(0.5) { near(rng, first, 0.4) } else { colour(rng, 1.) };
        let textures =
            [Texture::Plain, Texture::Plain, Texture::Striped, Texture::Dotted, Texture::Gradient, Texture::Noisy];
        Self {
            class,
            kind: kinds[class],
            x,
            y,
            radius,
            angle: rng.random_range(0.0..TAU),
            colours: [first, second],
            texture: textures.choose(rng).copied().unwrap_or(Texture::Plain),
            period: (radius * rng.random_range(0.25..0.7)).max(2.5),
            direction: rng.random_range(0.0..TAU),
            alpha: rng.random_range(0.75..1.0),
        }
    }
}

/// Any colour, at most that saturated.
fn colour(rng: &mut ChaCha8Rng, saturation: f32) -> [f32; 3] {
    let grey: f32 = rng.random_range(0.05..0.95);
    std::array::from_fn(|_| (grey + saturation * (rng.random_range(0.0..1.0f32) - grey) * 0.8).clamp(0., 1.))
}

/// A colour at most `by` away in each channel.
fn near(rng: &mut ChaCha8Rng, from: [f32; 3], by: f32) -> [f32; 3] {
    from.map(|v| (v + rng.random_range(-by..by)).clamp(0., 1.))
}

/// Moves a colour away from others that it could not be told from.
fn apart(colour: [f32; 3], others: [[f32; 3]; 2]) -> [f32; 3] {
    let distance = |other: [f32; 3]| colour.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    if others.into_iter().all(|other| distance(other) >= 0.16) {
        return colour;
    }
    let mean: f32 = others.iter().flatten().sum::<f32>() / 6.;
    let step = if mean > 0.5 { -0.18 } else { 0.18 };
    colour.map(|v| (v + step).clamp(0., 1.))
}

fn log_uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    rng.random_range(low.ln()..high.ln()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_tight() {
        for kind in Kind::ALL {
            for turn in 0..12 {
                let object = Object {
                    class: 0,
                    kind,
                    x: 50.3,
                    y: 49.6,
                    radius: 40.,
                    angle: turn as f32 * 0.55,
                    colours: [[0.; 3]; 2],
                    texture: Texture::Plain,
                    period: 5.,
                    direction: 0.,
                    alpha: 1.,
                };
                let (sin, cos) = object.angle.sin_cos();
                // Inside points on a grid of a quarter of a pixel.
                let mut found = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
                for (i, j) in (0..400).flat_map(|j| (0..400).map(move |i| (i, j))) {
                    let (x, y) = (i as f32 / 4., j as f32 / 4.);
                    if object.distance(x, y, sin, cos) <= 0. {
                        found = [found[0].min(x), found[1].min(y), found[2].max(x), found[3].max(y)];
                    }
                }
                for (side, (a, b)) in found.iter().zip(object.bounds()).enumerate() {
                    // A star's sharp tip slips through the grid for some way.
                    assert!((a - b).abs() < 1.2, "{kind:?} turned {turn}, side {side}: {a} against {b}");
                }
            }
        }
    }

    #[test]
    fn objects_stay_visible_and_all_kinds_of_scene_come_up() {
        let (mut empty, mut small, mut covered, mut classes) = (0, 0, 0, [0; 6]);
        for index in 0..400 {
            let drawing = Drawing { seed: 3, split: "train", index, size: 160, kinds: Kind::ALL.into() };
            let scene = Scene::new(&drawing);
            empty += usize::from(scene.objects.is_empty());
            for (i, object) in scene.objects.iter().enumerate() {
                let seen = scene.visible(i);
                assert!(seen >= LEAST_VISIBLE);
                covered += usize::from(seen < 0.95);
                small += usize::from(object.radius < 8.);
                classes[object.class] += 1;
            }
        }
        assert!((8..60).contains(&empty), "{empty} of 400 images are empty");
        assert!(small > 200 && covered > 100, "{small} small objects, {covered} partly hidden");
        let (least, most) = (classes.iter().min().unwrap(), classes.iter().max().unwrap());
        assert!(*least > 200 && most * 2 < least * 3, "{classes:?}");
    }
}
