//! A dataset in numbers.

use super::dataset::{Dataset, Split};

/// What one split holds.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SplitSummary {
    /// The split's name.
    pub split: String,
    /// Usable images.
    pub images: usize,
    /// Images without a box, those without a label file among them.
    pub background: usize,
    /// Images whose labels are not known, beside those.
    pub unlabelled: usize,
    /// Boxes of all classes.
    pub boxes: usize,
    /// Class names with their number of boxes, in class order.
    pub classes: Vec<(String, usize)>,
    /// Smallest width and height of an image in pixels (each by itself).
    pub smallest: (usize, usize),
    /// Largest width and height of an image in pixels (each by itself).
    pub largest: (usize, usize),
    /// Median of the boxes' sizes, √(w·h), in pixels of the original image; 0 without boxes.
    pub box_size: f32,
    /// Files and lines that were skipped.
    pub problems: usize,
}

impl Dataset {
    /// One row a split.
    pub fn summary(&self) -> Vec<SplitSummary> {
        self.splits.iter().map(|split| split.summary(&self.names)).collect()
    }
}

impl Split {
    fn summary(&self, names: &[String]) -> SplitSummary {
        let mut counts = vec![0; names.len()];
        let mut sizes = Vec::new();
        for sample in &self.samples {
            for label in &sample.boxes {
                counts[label.class] += 1;
                sizes.push((label.bounds.w * sample.width as f32 * label.bounds.h * sample.height as f32).sqrt());
            }
        }
        sizes.sort_by(f32::total_cmp);
        let (widths, heights) = (|| self.samples.iter().map(|s| s.width), || self.samples.iter().map(|s| s.height));
        SplitSummary {
            split: self.name.clone(),
            images: self.samples.len(),
            background: self.samples.iter().filter(|s| s.boxes.is_empty()).count(),
            unlabelled: self.unlabelled.len(),
            boxes: sizes.len(),
            classes: names.iter().cloned().zip(counts).collect(),
            smallest: (widths().min().unwrap_or(0), heights().min().unwrap_or(0)),
            largest: (widths().max().unwrap_or(0), heights().max().unwrap_or(0)),
            box_size: sizes.get(sizes.len() / 2).copied().unwrap_or(0.),
            problems: self.problems().len(),
        }
    }
}
