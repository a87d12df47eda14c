//! Draws a scene of the built-in dataset: shapes by their signed distance, so that edges are smooth.

use image::RgbImage;
use rand::RngExt;

use super::random::Purpose;
use super::scene::{Background, Drawing, Object, Scene, Stroke, Texture};
use super::shape::length;

/// Draws an image of the built-in dataset.
pub(crate) fn paint(drawing: &Drawing) -> RgbImage {
    let scene = Scene::new(drawing);
    let mut canvas = Canvas { size: scene.size, pixels: vec![[0.; 3]; scene.size * scene.size] };
    let mut grain = Grain(drawing.rng(Purpose::Paint).random::<u32>() | 1);
    canvas.background(&scene.background);
    for stroke in scene.strokes.iter().filter(|s| !s.on_top) {
        canvas.stroke(stroke);
    }
    for object in &scene.objects {
        canvas.object(object, &mut grain);
    }
    for stroke in scene.strokes.iter().filter(|s| s.on_top) {
        canvas.stroke(stroke);
    }
    canvas.develop(scene.noise, &mut grain)
}

struct Canvas {
    size: usize,
    pixels: Vec<[f32; 3]>,
}

impl Canvas {
    fn background(&mut self, background: &Background) {
        let size = self.size as f32;
        let (sin, cos) = background.angle.sin_cos();
        let difference: [f32; 3] = std::array::from_fn(|c| background.to[c] - background.from[c]);
        // sin(a + b) from tables of sin and cos of a (columns) and b (rows).
        let columns: Vec<[(f32, f32); 2]> =
            (0..self.size).map(|x| background.waves.map(|[fx, ..]| (fx * x as f32).sin_cos())).collect();
        for (y, row) in self.pixels.chunks_exact_mut(self.size).enumerate() {
            let rows = background.waves.map(|[_, fy, phase, height]| {
                let (s, c) = (fy * y as f32 + phase).sin_cos();
                (s * height, c * height)
            });
            let (start, step) = (0.5 + 0.7 * ((y as f32 / size - 0.5) * sin - 0.5 * cos), 0.7 * cos / size);
            for (x, (pixel, [(s0, c0), (s1, c1)])) in row.iter_mut().zip(&columns).enumerate() {
                let along = start + step * x as f32;
                let wave = s0 * rows[0].1 + c0 * rows[0].0 + s1 * rows[1].1 + c1 * rows[1].0;
                for c in 0..3 {
                    pixel[c] = background.from[c] + difference[c] * along + wave;
                }
            }
        }
    }

    fn stroke(&mut self, stroke: &Stroke) {
        let ((ax, ay), (bx, by), r) = (stroke.from, stroke.to, stroke.radius + 1.);
        let (ex, ey) = (bx - ax, by - ay);
        let square = (ex * ex + ey * ey).max(1e-6);
        let rows = self.range(ay.min(by) - r, ay.max(by) + r);
        for y in rows {
            // The columns where the line, thickened, meets this row.
            let py = y as f32 + 0.5;
            let (t1, t2) = if ey.abs() < 1e-3 { (0., 1.) } else { ((py - r - ay) / ey, (py + r - ay) / ey) };
            let (t1, t2) = (t1.min(t2).clamp(0., 1.), t1.max(t2).clamp(0., 1.));
            let (x1, x2) = (ax + ex * t1, ax + ex * t2);
            for x in self.range(x1.min(x2) - r, x1.max(x2) + r) {
                let (px, py) = (x as f32 + 0.5 - ax, py - ay);
                let t = ((px * ex + py * ey) / square).clamp(0., 1.);
                let distance = length(px - t * ex, py - t * ey) - stroke.radius;
                self.blend(x, y, stroke.colour, (0.5 - distance).clamp(0., 1.) * stroke.alpha);
            }
        }
    }

    fn object(&mut self, object: &Object, grain: &mut Grain) {
        let [x1, y1, x2, y2] = object.bounds();
        let (sin, cos) = object.angle.sin_cos();
        let weave = Weave::new(object);
        for y in self.range(y1 - 1., y2 + 1.) {
            for x in self.range(x1 - 1., x2 + 1.) {
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                let cover = (0.5 - object.distance(px, py, sin, cos)).clamp(0., 1.) * object.alpha;
                if cover > 0. {
                    self.blend(x, y, weave.colour(px, py, grain), cover);
                }
            }
        }
    }

    fn develop(&self, noise: f32, grain: &mut Grain) -> RgbImage {
        let mut bytes = vec![0u8; self.pixels.len() * 3];
        let (values, amount) = (self.pixels.as_flattened(), noise * 255.);
        pulp::Arch::new().dispatch(Develop { values, amount, seed: grain.0, bytes: &mut bytes });
        RgbImage::from_raw(self.size as u32, self.size as u32, bytes).unwrap_or_default()
    }

    fn range(&self, from: f32, to: f32) -> std::ops::Range<usize> {
        from.floor().max(0.) as usize..(to.ceil().max(0.) as usize).min(self.size)
    }

    #[inline(always)]
    fn blend(&mut self, x: usize, y: usize, colour: [f32; 3], alpha: f32) {
        let pixel = &mut self.pixels[y * self.size + x];
        for (p, c) in pixel.iter_mut().zip(colour) {
            *p += (c - *p) * alpha;
        }
    }
}

/// An object's texture with what is constant over it worked out.
struct Weave<'a> {
    object: &'a Object,
    sin: f32,
    cos: f32,
    frequency: f32,
}

impl<'a> Weave<'a> {
    fn new(object: &'a Object) -> Self {
        let (sin, cos) = object.direction.sin_cos();
        Self { object, sin, cos, frequency: 1. / object.period }
    }

    #[inline(always)]
    fn colour(&self, x: f32, y: f32, grain: &mut Grain) -> [f32; 3] {
        let object = self.object;
        let (dx, dy) = (x - object.x, y - object.y);
        let (u, v) = (dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin);
        let cell = |t: f32| t * self.frequency - (t * self.frequency).round_ties_even();
        let second = match object.texture {
            Texture::Plain => 0.,
            Texture::Striped => (0.5 + (0.25 - cell(u).abs()) * object.period).clamp(0., 1.),
            Texture::Dotted => (0.5 + (0.3 - length(cell(u), cell(v))) * object.period).clamp(0., 1.),
            Texture::Gradient => (u / object.radius * 0.5 + 0.5).clamp(0., 1.),
            Texture::Noisy => (0.4 + 0.35 * grain.normal()).clamp(0., 1.),
        };
        std::array::from_fn(|c| object.colours[0][c] + (object.colours[1][c] - object.colours[0][c]) * second)
    }
}

/// Adds noise to values in \[0, 1\] and makes bytes of them; compiled for each instruction set, chosen at run time.
struct Develop<'a> {
    values: &'a [f32],
    amount: f32,
    seed: u32,
    bytes: &'a mut [u8],
}

impl pulp::WithSimd for Develop<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for ((byte, value), index) in self.bytes.iter_mut().zip(self.values).zip(0u32..) {
            // The finaliser of MurmurHash3, of a counter: unlike a generator's, its steps don't wait for each other.
            let mut bits = index.wrapping_mul(0x9e37_79b1).wrapping_add(self.seed);
            bits = (bits ^ (bits >> 16)).wrapping_mul(0x85eb_ca6b);
            bits = (bits ^ (bits >> 13)).wrapping_mul(0xc2b2_ae35);
            let noisy = (value * 255. + normal(bits ^ (bits >> 16)) * self.amount).clamp(0., 255.);
            // At 2²³ a float's last bit counts ones: this rounds, eight at a time, where a cast would go one by one.
            *byte = (noisy + 8_388_608.).to_bits() as u8;
        }
    }
}

/// About normal, with mean 0 and standard deviation 1, from 32 random bits: the sum of four bytes, each with mean 127.5 and
/// standard deviation 73.9.
#[inline(always)]
fn normal(bits: u32) -> f32 {
    let sum = (bits & 0xff) + (bits >> 8 & 0xff) + (bits >> 16 & 0xff) + (bits >> 24);
    (sum as i32 - 510) as f32 * (1. / 147.8)
}

/// A quick source of noise: xorshift (Marsaglia 2003).
struct Grain(u32);

impl Grain {
    #[inline(always)]
    fn normal(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        normal(self.0)
    }
}
