//! What augmentation does to pixels and boxes.

use super::*;
use crate::data::render::Colour;

const COLOURS: [[u8; 3]; 3] = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];

/// Black images with one rectangle each, in its class's colour.
fn rectangles(folder: &Folder) -> Dataset {
    for (i, (width, height)) in
        [(80u32, 60u32), (50, 90), (64, 64), (120, 40), (70, 70), (33, 47)].into_iter().enumerate()
    {
        let (class, i) = (i % 3, i as u32);
        let (x1, y1, x2, y2) = (6 + i, 8, width - 9, height - 5 - 2 * i);
        let image = RgbImage::from_fn(width, height, |x, y| {
            Rgb(if (x1..x2).contains(&x) && (y1..y2).contains(&y) { COLOURS[class] } else { [0; 3] })
        });
        let name = format!("images/train/r{i}.png");
        folder.write(&name, "");
        image.save(folder.path(&name)).unwrap();
        let (w, h) = (f64::from(width), f64::from(height));
        let (cx, cy) = (f64::from(x1 + x2) / 2. / w, f64::from(y1 + y2) / 2. / h);
        let line = format!("{class} {cx} {cy} {} {}\n", f64::from(x2 - x1) / w, f64::from(y2 - y1) / h);
        folder.write(&format!("labels/train/r{i}.txt"), line);
    }
    std::fs::remove_file(folder.path("images/train/a.png")).unwrap();
    folder.write("data.yaml", "train: images/train\nval: images/val\nnames: [red, green, blue]\n");
    folder.open().unwrap()
}

/// Every box has its colour just inside each edge and another one just outside, and nearly all coloured pixels are in boxes.
#[test]
fn boxes_lie_on_their_pixels() {
    let folder = Folder::new();
    let data = rectangles(&folder);
    let split = data.split("train").unwrap();
    let geometric = Augment { hsv_h: 0., hsv_s: 0., hsv_v: 0., flipud: 0.5, ..Augment::default() };
    for (augment, share_outside) in [(geometric, 0.03), (geometric.without_mosaic(), 0.0001)] {
        let (mut boxes, mut coloured, mut outside) = (0, 0, 0);
        for epoch in 0..20 {
            const SIZE: usize = 96;
            let options = BatchOptions { size: SIZE, batch: 1, epoch, augment, ..Default::default() };
            for batch in Batches::train(split, &options).unwrap() {
                let batch = batch.unwrap();
                let planes = pixels(&batch);
                let is = |class: usize, x: i64, y: i64| {
                    let at = |c: usize| planes[c * SIZE * SIZE + y as usize * SIZE + x as usize];
                    at(class) > 0.5 && at((class + 1) % 3) < 0.3 && at((class + 2) % 3) < 0.3
                };
                let bounds = |t: &Target| t.truth.bounds.corners().map(|v| f64::from(v) * SIZE as f64);
                for target in &batch.targets {
                    boxes += 1;
                    let [x1, y1, x2, y2] = bounds(target);
                    let (mx, my) = (((x1 + x2) / 2.) as i64, ((y1 + y2) / 2.) as i64);
                    for (edge, inward, along_x, middle) in
                        [(x1, 1., true, my), (x2, -1., true, my), (y1, 1., false, mx), (y2, -1., false, mx)]
                    {
                        let colour_at = |distance: f64| {
                            let position = (edge + inward * distance).floor() as i64;
                            let (x, y) = if along_x { (position, middle) } else { (middle, position) };
                            (0..SIZE as i64).contains(&position).then(|| is(target.truth.class, x, y))
                        };
                        assert_ne!(colour_at(1.6), Some(false), "inside of {target:?}, epoch {epoch}");
                        assert_ne!(colour_at(-1.6), Some(true), "outside of {target:?}, epoch {epoch}");
                    }
                }
                for (x, y) in (0..SIZE as i64).flat_map(|y| (0..SIZE as i64).map(move |x| (x, y))) {
                    let Some(class) = (0..3).find(|&class| is(class, x, y)) else { continue };
                    coloured += 1;
                    let (px, py) = (x as f64 + 0.5, y as f64 + 0.5);
                    let within = batch
                        .targets
                        .iter()
                        .filter(|t| t.truth.class == class)
                        .map(bounds)
                        .any(|[x1, y1, x2, y2]| px > x1 - 1. && px < x2 + 1. && py > y1 - 1. && py < y2 + 1.);
                    outside += usize::from(!within);
                }
            }
        }
        assert!(boxes > 110, "{boxes} boxes");
        // A mosaic leaves some of boxes that were filtered out.
        println!("{outside} of {coloured}");
        assert!(
            (outside as f64) < coloured as f64 * share_outside,
            "{outside} of {coloured} coloured pixels are in no box"
        );
    }
}

#[test]
fn colours_change_as_by_the_textbook() {
    let mut worst = 0f32;
    for (hue, saturation, value) in [(1.015, 1.7, 1.4), (0.985, 0.3, 0.6), (1., 1.2, 0.9), (1.5, 1., 1.), (0.5, 0., 1.)]
    {
        let colour = Colour { hue, saturation, value };
        for i in 0..9 * 9 * 9 {
            let rgb = [i % 9, i / 9 % 9, i / 81].map(|v| v as f32 / 8.);
            let [mut r, mut g, mut b] = rgb.map(|v| [v]);
            colour.apply(&mut r, &mut g, &mut b);
            for (found, expected) in [r[0], g[0], b[0]].into_iter().zip(textbook(rgb, &colour)) {
                worst = worst.max((found - expected).abs());
            }
        }
    }
    assert!(worst < 1e-5, "{worst}");
}

/// Through hue in degrees, saturation and value, and back (Smith 1978).
fn textbook([r, g, b]: [f32; 3], factors: &Colour) -> [f32; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = max - min;
    let hue = match max {
        _ if chroma == 0. => 0.,
        _ if max == r => (60. * (g - b) / chroma).rem_euclid(360.),
        _ if max == g => 60. * (b - r) / chroma + 120.,
        _ => 60. * (r - g) / chroma + 240.,
    };
    let hue = (hue * factors.hue).rem_euclid(360.);
    let saturation = if max == 0. { 0. } else { (chroma / max * factors.saturation).min(1.) };
    let value = (max * factors.value).min(1.);
    let (sector, part) = ((hue / 60.).floor(), hue / 60. - (hue / 60.).floor());
    let (p, q, t) =
        (value * (1. - saturation), value * (1. - saturation * part), value * (1. - saturation * (1. - part)));
    match sector as i32 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}

#[test]
fn a_mosaic_shows_four_images_and_no_grey_between_them() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path("images/train/a.png")).unwrap();
    for (index, level) in [40u8, 90, 140, 190].into_iter().enumerate() {
        let name = format!("images/train/m{index}.png");
        folder.write(&name, "");
        RgbImage::from_pixel(64, 64, Rgb([level; 3])).save(folder.path(&name)).unwrap();
    }
    let data = folder.open().unwrap();
    let augment = Augment { mosaic: 1., ..Augment::none() };
    let options = BatchOptions { size: 64, batch: 1, augment, ..Default::default() };
    let mut levels_seen = std::collections::BTreeSet::new();
    for batch in Batches::train(data.split("train").unwrap(), &options).unwrap() {
        let red = &pixels(&batch.unwrap())[..64 * 64];
        // Square images fill their quarters: each pixel has the level of one of the images.
        for value in red {
            let level = (value * 255.).round() as u8;
            assert!([40, 90, 140, 190].contains(&level), "{level}");
            levels_seen.insert(level);
        }
    }
    assert_eq!(levels_seen.len(), 4);
}
