//! Finding a split's images, and an image's label file.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::error::Problem;

/// How deep folders of images may be nested; stops at links that lead in a circle.
const MAX_DEPTH: usize = 32;
/// The longest list of images that is read.
const MAX_LIST_BYTES: u64 = 1 << 30;

/// All images of a split: its entries are folders (searched with their subfolders) and `.txt` lists, relative to `root`.
/// Sorted, each once. An entry that isn't there is an error; a listed image that isn't there is a problem of that line.
pub(crate) fn images(root: &Path, entries: &[String], problems: &mut Vec<Problem>) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in entries {
        let path = locate(root, entry);
        if path.is_dir() {
            folder(&path, 0, &mut found, problems);
        } else if path.is_file() && has_extension(&path, &["txt"]) {
            list(root, &path, &mut found, problems)?;
        } else if path.exists() {
            return Err(format!("{} is neither a folder nor a .txt list of images", path.display()));
        } else {
            return Err(format!(
                "{} does not exist; correct the path (relative to {})",
                path.display(),
                root.join(".").display()
            ));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Where an image's labels are: the last folder `images` of its path becomes `labels`, the extension `txt`.
pub(crate) fn label_path(image: &Path) -> PathBuf {
    let parts: Vec<Component> = image.components().collect();
    let folders = parts.len().saturating_sub(1);
    let swap = parts[..folders].iter().rposition(|c| c.as_os_str() == "images");
    let path: PathBuf = parts
        .iter()
        .enumerate()
        .map(|(i, part)| if Some(i) == swap { "labels".as_ref() } else { part.as_os_str() })
        .collect();
    path.with_extension("txt")
}

/// `entry` under `root`. Exports of some labelling services say `../train/images` where `train/images` is meant.
fn locate(root: &Path, entry: &str) -> PathBuf {
    let path = root.join(entry);
    match entry.strip_prefix("../").map(|rest| root.join(rest)) {
        Some(inside) if !path.exists() && inside.exists() => inside,
        _ => path,
    }
}

fn folder(path: &Path, depth: usize, found: &mut Vec<PathBuf>, problems: &mut Vec<Problem>) {
    if depth > MAX_DEPTH {
        problems.push(Problem::file(path, format!("more than {MAX_DEPTH} folders deep; not searched further")));
        return;
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(why) => {
            problems.push(Problem::file(path, format!("the folder cannot be read: {why}")));
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            folder(&path, depth + 1, found, problems);
        } else if has_extension(&path, &["jpg", "jpeg", "png", "bmp", "webp"]) {
            found.push(path);
        } else if has_extension(&path, &["tif", "tiff", "gif", "heic", "heif", "avif", "jp2", "dng", "mpo", "pfm"]) {
            problems.push(Problem::file(path, "this kind of image is not supported: expected JPEG, PNG, BMP or WebP"));
        }
    }
}

fn list(root: &Path, file: &Path, found: &mut Vec<PathBuf>, problems: &mut Vec<Problem>) -> Result<(), String> {
    let cannot = |why: String| format!("{} cannot be read: {why}", file.display());
    let length = fs::metadata(file).map_err(|e| cannot(e.to_string()))?.len();
    if length > MAX_LIST_BYTES {
        return Err(cannot("longer than 1 GiB".into()));
    }
    let text = String::from_utf8(fs::read(file).map_err(|e| cannot(e.to_string()))?)
        .map_err(|_| cannot("not UTF-8 text".into()))?;
    let beside = file.parent().unwrap_or(root);
    for (number, line) in text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())) {
        if line.is_empty() {
            continue;
        }
        match [beside.join(line), root.join(line)].into_iter().find(|p| p.is_file()) {
            Some(image) => found.push(image),
            None => {
                problems.push(Problem::line(file, number, format!("no such image: {}", beside.join(line).display())))
            }
        }
    }
    Ok(())
}

fn has_extension(path: &Path, allowed: &[&str]) -> bool {
    path.extension().is_some_and(|e| allowed.iter().any(|a| e.eq_ignore_ascii_case(a)))
}
