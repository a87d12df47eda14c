//! Opening a `data.yaml` in the Ultralytics layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;

use super::dataset::{DEFAULT_CACHE_BYTES, Dataset, ImageSource, Sample};
use super::error::{DataError, Problem};
use super::{files, labels, picture};

/// The longest `data.yaml` that is read.
const MAX_YAML_BYTES: u64 = 4 << 20;

/// Opens a dataset described by a `data.yaml`:
///
/// ```yaml
/// path: .              # the dataset's root: absolute, or relative to this file (the default)
/// train: images/train  # a folder, a .txt list of images, or a list of those; relative to `path`
/// val: images/val
/// test: images/test    # may be left out
/// names: [cat, dog]    # or a map from 0, 1, …
/// nc: 2                # may be left out
/// ```
///
/// The labels of `…/images/…/a.jpg` are in `…/labels/…/a.txt`: a line `class cx cy w h` a box, relative to the image
/// (or `class x1 y1 x2 y2 x3 y3 …`, a polygon, of which the bounding box is taken). An image without a label file has no
/// boxes and counts as background, like one whose label file is empty. Reads all labels and image headers, in parallel; see [`Dataset::problems`] for what was skipped.
///
/// # Errors
/// A file that isn't a `data.yaml`; missing or inconsistent `names`; `train` or `val` not given, not there, or without a
/// single usable image.
pub fn dataset(path: impl AsRef<Path>) -> Result<Dataset, DataError> {
    let file = path.as_ref();
    let yaml = read(file)?;
    let names = class_names(file, &yaml)?;
    let root = root(file, &yaml)?;
    let mut splits = Vec::new();
    for (split, paths, needed) in [("train", &yaml.train, true), ("val", &yaml.val, true), ("test", &yaml.test, false)]
    {
        let fail = |what: String| DataError::Split { file: file.into(), split: split.into(), what };
        let entries = paths.as_ref().map(Paths::entries).unwrap_or_default();
        if entries.is_empty() {
            if needed {
                return Err(fail(format!("not given; add a line such as `{split}: images/{split}`")));
            }
            continue;
        }
        let mut problems = Vec::new();
        let images = files::images(&root, &entries, &mut problems).map_err(fail)?;
        let samples = samples(&images, names.len(), &mut problems);
        if samples.is_empty() {
            let first = problems.first().map(|p| format!("; the first problem: {p}")).unwrap_or_default();
            return Err(fail(format!("no usable image (JPEG, PNG, BMP or WebP) in {}{first}", entries.join(", "))));
        }
        splits.push((split.to_string(), samples, problems));
    }
    Ok(Dataset::new(file.display().to_string(), names, splits, DEFAULT_CACHE_BYTES))
}

#[derive(Deserialize)]
struct Yaml {
    path: Option<String>,
    train: Option<Paths>,
    val: Option<Paths>,
    test: Option<Paths>,
    names: Option<Names>,
    nc: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

impl Paths {
    fn entries(&self) -> Vec<String> {
        match self {
            Self::One(path) if path.is_empty() => Vec::new(),
            Self::One(path) => vec![path.clone()],
            Self::Many(paths) => paths.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<Name>),
    Map(BTreeMap<usize, Name>),
}

/// A class name; YAML reads `names: [0, 1, true]` as numbers and a boolean.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Bool(v) => v.to_string(),
            Self::Integer(v) => v.to_string(),
            Self::Number(v) => v.to_string(),
            Self::Text(v) => v.clone(),
        }
    }
}

fn read(file: &Path) -> Result<Yaml, DataError> {
    let wrong = |why: String| DataError::Yaml { file: file.into(), why };
    let io = |why| DataError::Read { file: file.into(), why };
    let about = fs::metadata(file).map_err(io)?;
    if about.is_dir() {
        return Err(wrong("it is a folder; give the path of the data.yaml in it".into()));
    }
    if about.len() > MAX_YAML_BYTES {
        return Err(wrong(format!("{} bytes long; a data.yaml has a few lines", about.len())));
    }
    let bytes = fs::read(file).map_err(io)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8 text".into()))?;
    serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))
}

fn class_names(file: &Path, yaml: &Yaml) -> Result<Vec<String>, DataError> {
    let wrong = |what: String| DataError::Names { file: file.into(), what };
    let names: Vec<String> = match &yaml.names {
        None => return Err(wrong("no `names`; add the class names, such as `names: [cat, dog]`".into())),
        Some(Names::List(list)) => list.iter().map(Name::text).collect(),
        Some(Names::Map(map)) => {
            if let Some((expected, (&found, _))) = map.iter().enumerate().find(|(i, (k, _))| i != *k) {
                return Err(wrong(format!(
                    "`names` must number the classes 0, 1, 2 … without gaps; expected {expected}, found {found}"
                )));
            }
            map.values().map(Name::text).collect()
        }
    };
    if names.is_empty() {
        return Err(wrong("`names` is empty; a dataset has at least one class".into()));
    }
    match yaml.nc {
        Some(nc) if nc != names.len() => Err(wrong(format!(
            "`nc` says {nc} classes but `names` has {}; correct one of them (`nc` may be left out)",
            names.len()
        ))),
        _ => Ok(names),
    }
}

/// The folder that the splits' paths are relative to.
fn root(file: &Path, yaml: &Yaml) -> Result<PathBuf, DataError> {
    let beside = file.parent().unwrap_or(Path::new(""));
    let root = beside.join(yaml.path.as_deref().unwrap_or(""));
    if !root.as_os_str().is_empty() && !root.is_dir() {
        let why = format!(
            "`path` is {}, but there is no such folder; give the dataset's root, absolute or relative to this file",
            root.display()
        );
        return Err(DataError::Yaml { file: file.into(), why });
    }
    Ok(root)
}

/// Reads headers and labels; keeps the images that can be used.
fn samples(images: &[PathBuf], classes: usize, problems: &mut Vec<Problem>) -> Vec<Sample> {
    let read: Vec<(Option<Sample>, Vec<Problem>)> = images.par_iter().map(|path| sample(path, classes)).collect();
    let mut samples = Vec::with_capacity(read.len());
    for (sample, found) in read {
        samples.extend(sample);
        problems.extend(found);
    }
    samples
}

fn sample(path: &Path, classes: usize) -> (Option<Sample>, Vec<Problem>) {
    let (width, height) = match picture::probe(path) {
        Ok(size) => size,
        Err(DataError::Image { what, .. }) => return (None, vec![Problem::file(path, what)]),
        Err(DataError::Read { why, .. }) => return (None, vec![Problem::file(path, format!("cannot be read: {why}"))]),
        Err(other) => return (None, vec![Problem::file(path, other.to_string())]),
    };
    let (boxes, problems) = labels::read(&files::label_path(path), classes);
    let (labelled, boxes) = (boxes.is_some(), boxes.unwrap_or_default());
    (Some(Sample { source: ImageSource::File(path.into()), width, height, boxes, labelled }), problems)
}
