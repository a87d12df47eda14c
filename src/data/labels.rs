//! Reading label files.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::error::Problem;
use crate::boxes::{Centred, Truth};

/// The longest label file that is read.
const MAX_BYTES: u64 = 16 << 20;
/// How many lines of one file are reported one by one.
const MAX_PROBLEMS: usize = 100;
/// How far a coordinate may lie outside [0, 1], for labels that were rounded.
const TOLERANCE: f32 = 0.01;

/// The boxes of a label file, nothing where there is no file, and what is wrong with it.
pub(crate) fn read(file: &Path, classes: usize) -> (Option<Vec<Truth<Centred>>>, Vec<Problem>) {
    let problem = |what: String| (Some(Vec::new()), vec![Problem::file(file, what)]);
    match fs::metadata(file) {
        Err(e) if e.kind() == ErrorKind::NotFound => return (None, Vec::new()),
        Err(e) => return problem(format!("cannot be read: {e}")),
        Ok(about) if about.len() > MAX_BYTES => {
            return problem(format!("{} bytes long; label files of up to {MAX_BYTES} are read", about.len()));
        }
        Ok(_) => {}
    }
    match fs::read(file).map(String::from_utf8) {
        Err(e) => problem(format!("cannot be read: {e}")),
        Ok(Err(_)) => problem("not UTF-8 text; expected lines `class cx cy w h`".into()),
        Ok(Ok(text)) => {
            let (boxes, problems) = parse(file, &text, classes);
            (Some(boxes), problems)
        }
    }
}

fn parse(file: &Path, text: &str, classes: usize) -> (Vec<Truth<Centred>>, Vec<Problem>) {
    let (mut boxes, mut problems, mut more) = (Vec::<Truth<Centred>>::new(), Vec::new(), 0);
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match parse_line(line, classes) {
            Ok(label) if !boxes.contains(&label) => boxes.push(label),
            _ if problems.len() >= MAX_PROBLEMS => more += 1,
            Ok(_) => problems.push(Problem::line(file, index + 1, "the same box a second time")),
            Err(what) => problems.push(Problem::line(file, index + 1, what)),
        }
    }
    if more > 0 {
        problems.push(Problem::file(file, format!("{more} more lines are wrong")));
    }
    (boxes, problems)
}

fn parse_line(line: &str, classes: usize) -> Result<Truth<Centred>, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let polygon = fields.len() >= 7 && fields.len() % 2 == 1;
    if fields.len() != 5 && !polygon {
        return Err(format!("expected `class cx cy w h`, found {} fields", fields.len()));
    }
    let class = class_index(fields[0], classes)?;
    let mut numbers = Vec::with_capacity(fields.len() - 1);
    for field in &fields[1..] {
        let number: f32 = field.parse().map_err(|_| format!("expected a number, found {}", shown(field)))?;
        if !(-TOLERANCE..=1. + TOLERANCE).contains(&number) {
            return Err(format!("{} is outside 0 to 1; coordinates are relative to the image's size", shown(field)));
        }
        numbers.push(number);
    }
    let bounds = match numbers[..] {
        [cx, cy, w, h] => Centred { cx, cy, w, h },
        _ => around(&numbers),
    };
    let Centred { w, h, .. } = bounds;
    if w <= 0. || h <= 0. {
        return Err(format!("a box {w} wide and {h} high is empty"));
    }
    Ok(Truth { class, bounds })
}

fn class_index(field: &str, classes: usize) -> Result<usize, String> {
    let number: f64 = field.parse().map_err(|_| format!("expected a class index, found {}", shown(field)))?;
    if number.fract() != 0. || !(0. ..classes as f64).contains(&number) {
        return Err(match classes {
            1 => format!("class {} does not exist; the only class is 0", shown(field)),
            n => format!("class {} does not exist; the classes are 0 to {}", shown(field), n - 1),
        });
    }
    Ok(number as usize)
}

/// The box around a polygon x1 y1 x2 y2 ….
fn around(points: &[f32]) -> Centred {
    let range = |offset: usize| {
        let values = points.iter().skip(offset).step_by(2).copied();
        (values.clone().fold(f32::INFINITY, f32::min), values.fold(f32::NEG_INFINITY, f32::max))
    };
    let ((x1, x2), (y1, y2)) = (range(0), range(1));
    Centred::of([x1, y1, x2, y2])
}

/// A field as part of a message: quoted, and not longer than a glance.
fn shown(field: &str) -> String {
    match field.char_indices().nth(24) {
        Some((end, _)) => format!("{:?}…", &field[..end]),
        None => format!("{field:?}"),
    }
}
