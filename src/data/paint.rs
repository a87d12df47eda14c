//! Draws a scene of the built-in dataset: shapes by their signed distance, so that edges are smooth.

use image::RgbImage;
use rand::RngExt;

use super::random::{Purpose, rng};
use super::scene::{Background, Drawing, Object, Scene, Stroke, Texture};

/// Draws an image of the built-in dataset.
pub(crate) fn paint(drawing: &Drawing) -> RgbImage {
    let scene = Scene::new(drawing);
    let mut canvas = Canvas { size: scene.size, pixels: vec![[0.; 3]; scene.size * scene.size] };
    let split = drawing.split.len() as u64;
    let mut grain = Grain(rng(drawing.seed, Purpose::Paint, split, drawing.index as u64).random::<u32>() | 1);
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
        // sin(a + b) from tables of sin and cos of a (columns) and b (rows).
        let columns: Vec<[(f32, f32); 2]> =
            (0..self.size).map(|x| background.waves.map(|[fx, ..]| (fx * x as f32).sin_cos())).collect();
        for (y, row) in self.pixels.chunks_exact_mut(self.size).enumerate() {
            let rows = background.waves.map(|[_, fy, phase, height]| {
                let (s, c) = (fy * y as f32 + phase).sin_cos();
                (s * height, c * height)
            });
            for (x, (pixel, column)) in row.iter_mut().zip(&columns).enumerate() {
                let along = ((x as f32 / size - 0.5) * cos + (y as f32 / size - 0.5) * sin) * 0.7 + 0.5;
                let wave: f32 = column.iter().zip(&rows).map(|((s, c), (rs, rc))| s * rc + c * rs).sum();
                for c in 0..3 {
                    pixel[c] = background.from[c] + (background.to[c] - background.from[c]) * along + wave;
                }
            }
        }
    }

    fn stroke(&mut self, stroke: &Stroke) {
        let ((ax, ay), (bx, by), r) = (stroke.from, stroke.to, stroke.radius + 1.);
        let (ex, ey) = (bx - ax, by - ay);
        let length = (ex * ex + ey * ey).max(1e-6);
        let rows = self.range(ay.min(by) - r, ay.max(by) + r);
        for y in rows {
            // The columns where the line, thickened, meets this row.
            let py = y as f32 + 0.5;
            let (t1, t2) = if ey.abs() < 1e-3 { (0., 1.) } else { ((py - r - ay) / ey, (py + r - ay) / ey) };
            let (t1, t2) = (t1.min(t2).clamp(0., 1.), t1.max(t2).clamp(0., 1.));
            let (x1, x2) = (ax + ex * t1, ax + ex * t2);
            for x in self.range(x1.min(x2) - r, x1.max(x2) + r) {
                let (px, py) = (x as f32 + 0.5 - ax, py - ay);
                let t = ((px * ex + py * ey) / length).clamp(0., 1.);
                let distance = (px - t * ex).hypot(py - t * ey) - stroke.radius;
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
        let mut bytes = Vec::with_capacity(self.pixels.len() * 3);
        for pixel in &self.pixels {
            let noise = grain.normal() * noise * 255.;
            bytes.extend(pixel.map(|v| (v * 255. + noise + 0.5).clamp(0., 255.) as u8));
        }
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
}

impl<'a> Weave<'a> {
    fn new(object: &'a Object) -> Self {
        let (sin, cos) = object.direction.sin_cos();
        Self { object, sin, cos }
    }

    #[inline(always)]
    fn colour(&self, x: f32, y: f32, grain: &mut Grain) -> [f32; 3] {
        let object = self.object;
        let (dx, dy) = (x - object.x, y - object.y);
        let (u, v) = (dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin);
        let cell = |t: f32| t / object.period - (t / object.period).round();
        let second = match object.texture {
            Texture::Plain => 0.,
            Texture::Striped => (0.5 + (0.25 - cell(u).abs()) * object.period).clamp(0., 1.),
            Texture::Dotted => (0.5 + (0.3 - cell(u).hypot(cell(v))) * object.period).clamp(0., 1.),
            Texture::Gradient => (u / object.radius * 0.5 + 0.5).clamp(0., 1.),
            Texture::Noisy => (0.4 + 0.35 * grain.normal()).clamp(0., 1.),
        };
        std::array::from_fn(|c| object.colours[0][c] + (object.colours[1][c] - object.colours[0][c]) * second)
    }
}

/// A quick source of noise: xorshift (Marsaglia 2003).
struct Grain(u32);

impl Grain {
    /// About normal, with mean 0 and standard deviation 1: the sum of four bytes.
    #[inline(always)]
    fn normal(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        let sum: u32 = self.0.to_le_bytes().map(u32::from).iter().sum();
        // Each byte has mean 127.5 and standard deviation 73.9.
        (sum as f32 - 510.) * (1. / 147.8)
    }
}
