//! The YOLOv8 loss: task-aligned assignment, CIoU, distribution focal loss and class cross-entropy.

use candle_core::Tensor;
use espalier_kernels::logistic::sigmoid_of;
use rayon::prelude::*;

use super::{
    assigner::{Assigned, TaskAligned},
    ciou::ciou,
    error::LossError,
    maps::{Extent, Maps, background, by_image},
    value::Loss,
};
use crate::{
    boxes::{Corners, Truth},
    data::Target,
    model::{Detector, OutputKind},
};

/// Weights of the YOLOv8 loss and the rule of its assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct DistributionLoss {
    strides: Vec<usize>,
    /// Of each level, which output gives the distances.
    sides: Vec<usize>,
    /// Of each level, which output gives the class scores.
    scores: Vec<usize>,
    reg_max: usize,
    /// Weight of 1 − CIoU.
    pub box_gain: f32,
    /// Weight of the class cross-entropy.
    pub class_gain: f32,
    /// Weight of the distribution focal loss (Li et al. 2020, "Generalized Focal Loss").
    pub distribution_gain: f32,
    /// Which cells answer for which target.
    pub assigner: TaskAligned,
}

/// The cells of all levels in a row.
struct Cells {
    /// Their centres, in cells of their level.
    centres: Vec<[f32; 2]>,
    /// First cell of each level.
    starts: Vec<usize>,
}

/// One image's part of every output.
struct Image<'a> {
    maps: Vec<&'a [f32]>,
}

/// Sums of one image.
#[derive(Clone, Copy, Default)]
struct Sums {
    bbox: f64,
    class: f64,
    distribution: f64,
}

impl DistributionLoss {
    /// The loss of a detector of so many bins a side with YOLOv8's weights: box 7.5, class 0.5, distribution 1.5, and its assignment: the ten best cells,
    /// score^0.5 · overlap^6.
    pub fn new(detector: &Detector, reg_max: usize) -> Self {
        let strides = detector.strides.clone();
        let least_side = strides.get(1).or(strides.first()).copied().unwrap_or(1) as f32;
        Self {
            strides,
            sides: detector.positions(OutputKind::Boxes),
            scores: detector.positions(OutputKind::Classes),
            reg_max,
            box_gain: 7.5,
            class_gain: 0.5,
            distribution_gain: 1.5,
            assigner: TaskAligned { top: 10, alpha: 0.5, beta: 6.0, least_side },
        }
    }

    pub(super) fn compute(&self, outputs: &[Tensor], targets: &[Target]) -> Result<Loss, LossError> {
        let maps = Maps::new(outputs)?;
        let extents = maps.extents()?;
        let batch = extents.first().map_or(0, |extent| extent.batch);
        let truths = self.truths(&extents, batch, targets);
        let assigned = maps.with_slices(|slices| self.assign(&extents, slices, &truths))?;
        let mut gradients: Vec<Vec<f32>> = extents.iter().map(|extent| vec![0.0; batch * extent.per_image()]).collect();
        let parts = maps.with_slices(|slices| self.losses(&extents, slices, &truths, &assigned, &mut gradients))?;
        let total = parts.iter().map(|(_, part)| part).sum::<f32>() * batch as f32;
        Ok(Loss { total, parts, gradients: maps.gradients(gradients)? })
    }

    fn cells(&self, extents: &[Extent]) -> Cells {
        let mut cells = Cells { centres: Vec::new(), starts: Vec::new() };
        for extent in self.sides.iter().map(|&output| extents[output]) {
            cells.starts.push(cells.centres.len());
            let row = |row: usize| (0..extent.width).map(move |column| [column as f32 + 0.5, row as f32 + 0.5]);
            cells.centres.extend((0..extent.height).flat_map(row));
        }
        cells
    }

    /// Targets in pixels, an image each.
    fn truths(&self, extents: &[Extent], batch: usize, targets: &[Target]) -> Vec<Vec<Truth>> {
        let (stride, finest) = (self.strides[0] as f32, extents[self.sides[0]]);
        let [width, height] = [finest.width as f32 * stride, finest.height as f32 * stride];
        let mut truths = vec![Vec::new(); batch];
        for target in targets {
            truths[target.image].push(target.truth.in_pixels(width, height));
        }
        truths
    }

    fn assign(&self, extents: &[Extent], slices: &[&[f32]], truths: &[Vec<Truth>]) -> Vec<Vec<Assigned>> {
        let cells = self.cells(extents);
        let mut centres = cells.centres.clone();
        for (level, &start) in cells.starts.iter().enumerate() {
            let end = cells.starts.get(level + 1).copied().unwrap_or(centres.len());
            let stride = self.strides[level] as f32;
            centres[start..end].iter_mut().for_each(|centre| *centre = centre.map(|place| place * stride));
        }
        let image = |(index, truths): (usize, &Vec<Truth>)| {
            let image = Image::new(extents, slices, index);
            let score = |cell: usize, class: usize| {
                let (level, place) = cells.locate(cell);
                sigmoid_of(image.maps[self.scores[level]][class * extents[self.scores[level]].cells() + place])
            };
            let mut bins = vec![0.0; self.reg_max];
            let bins = std::cell::RefCell::new(&mut bins);
            let prediction = |cell: usize| {
                let (level, place) = cells.locate(cell);
                let stride = extents[self.sides[level]].cells();
                let sides = [0, 1, 2, 3].map(|side| {
                    expectation(
                        image.maps[self.sides[level]],
                        (side * self.reg_max) * stride + place,
                        stride,
                        &mut bins.borrow_mut(),
                    )
                });
                around(cells.centres[cell], sides).map(|side| side * self.strides[level] as f32)
            };
            self.assigner.assign(truths, &centres, score, prediction)
        };
        truths.par_iter().enumerate().map(image).collect()
    }

    /// The parts of the loss for a given assignment; writes the gradients of their sum times the batch.
    fn losses(
        &self,
        extents: &[Extent],
        slices: &[&[f32]],
        truths: &[Vec<Truth>],
        assigned: &[Vec<Assigned>],
        gradients: &mut [Vec<f32>],
    ) -> Vec<(&'static str, f32)> {
        let batch = truths.len();
        let cells = self.cells(extents);
        let scores: f32 = assigned.iter().flatten().map(|assigned| assigned.score).sum();
        let scores = scores.max(1.0);
        let scale = batch as f32 / scores;
        let image = |(index, mut gradient): (usize, Vec<&mut [f32]>)| {
            let image = Image::new(extents, slices, index);
            let mut sums = Sums::default();
            for &output in &self.scores {
                sums.class += background(image.maps[output], self.class_gain * scale, gradient[output]);
            }
            for assigned in &assigned[index] {
                let truth = &truths[index][assigned.target];
                let (level, place) = cells.locate(assigned.cell);
                let (sides, scores) = (self.sides[level], self.scores[level]);
                let stride = extents[sides].cells();
                let class = truth.class * stride + place;
                sums.class -= f64::from(image.maps[scores][class] * assigned.score);
                gradient[scores][class] -= self.class_gain * scale * assigned.score;
                let target = truth.bounds.map(|side| side * (1.0 / self.strides[level] as f32));
                let centre = cells.centres[assigned.cell];
                let (logits, gradient) = (&image.maps[sides][place..], &mut gradient[sides][place..]);
                self.regress(logits, gradient, stride, centre, target, assigned.score, scale, &mut sums);
            }
            sums
        };
        let sums: Vec<Sums> = by_image(gradients, extents, batch).into_par_iter().enumerate().map(image).collect();
        let part = |gain: f32, part: fn(&Sums) -> f64| {
            (f64::from(gain) * sums.iter().map(part).sum::<f64>() / f64::from(scores)) as f32
        };
        vec![
            ("box_loss", part(self.box_gain, |sums| sums.bbox)),
            ("cls_loss", part(self.class_gain, |sums| sums.class)),
            ("dfl_loss", part(self.distribution_gain, |sums| sums.distribution)),
        ]
    }

    /// CIoU and distribution focal loss of one cell whose bins are `stride` apart in `logits`.
    #[allow(clippy::too_many_arguments)]
    fn regress(
        &self,
        logits: &[f32],
        gradient: &mut [f32],
        stride: usize,
        centre: [f32; 2],
        target: Corners,
        weight: f32,
        scale: f32,
        sums: &mut Sums,
    ) {
        let mut bins = vec![0.0; 4 * self.reg_max];
        let mut sides = [0.0; 4];
        for (side, bins) in bins.chunks_exact_mut(self.reg_max).enumerate() {
            sides[side] = expectation(logits, side * self.reg_max * stride, stride, bins);
        }
        let (overlap, [x1, y1, x2, y2]) = ciou(around(centre, sides), target);
        sums.bbox += f64::from((1.0 - overlap) * weight);
        // 1 − CIoU falls as CIoU rises; left and top distances move their corners the other way.
        let by_side = [x1, y1, -x2, -y2].map(|slope| self.box_gain * scale * weight * slope);
        let most = (self.reg_max - 1) as f32 - 0.01;
        let wanted = [centre[0] - target[0], centre[1] - target[1], target[2] - centre[0], target[3] - centre[1]];
        for side in 0..4 {
            let bins = &bins[side * self.reg_max..(side + 1) * self.reg_max];
            let wanted = wanted[side].clamp(0.0, most);
            let (left, share) = (wanted as usize, wanted.fract());
            let log = |bin: usize| f64::from(bins[bin].max(f32::MIN_POSITIVE).ln());
            let entropy = -(log(left) * f64::from(1.0 - share) + log(left + 1) * f64::from(share));
            sums.distribution += entropy / 4.0 * f64::from(weight);
            let by_distribution = self.distribution_gain * scale * weight / 4.0;
            for (bin, &probability) in bins.iter().enumerate() {
                let wanted = match bin {
                    _ if bin == left => 1.0 - share,
                    _ if bin == left + 1 => share,
                    _ => 0.0,
                };
                gradient[(side * self.reg_max + bin) * stride] =
                    by_side[side] * probability * (bin as f32 - sides[side]) + by_distribution * (probability - wanted);
            }
        }
    }
}

impl Cells {
    /// Level of a cell and its place there.
    fn locate(&self, cell: usize) -> (usize, usize) {
        let level = self.starts.partition_point(|&start| start <= cell) - 1;
        (level, cell - self.starts[level])
    }
}

impl<'a> Image<'a> {
    fn new(extents: &[Extent], slices: &[&'a [f32]], image: usize) -> Self {
        let part = |(slice, extent): (&&'a [f32], &Extent)| {
            let size = extent.per_image();
            &slice[image * size..(image + 1) * size]
        };
        Self { maps: slices.iter().zip(extents).map(part).collect() }
    }
}

fn around(centre: [f32; 2], [left, top, right, bottom]: [f32; 4]) -> Corners {
    [centre[0] - left, centre[1] - top, centre[0] + right, centre[1] + bottom]
}

/// Softmax of `bins.len()` logits that are `stride` apart, and its expected index.
fn expectation(logits: &[f32], start: usize, stride: usize, bins: &mut [f32]) -> f32 {
    let mut most = f32::NEG_INFINITY;
    for (index, bin) in bins.iter_mut().enumerate() {
        *bin = logits[start + index * stride];
        most = most.max(*bin);
    }
    let mut sum = 0.0;
    for bin in bins.iter_mut() {
        *bin = (*bin - most).exp();
        sum += *bin;
    }
    let mut mean = 0.0;
    for (index, bin) in bins.iter_mut().enumerate() {
        *bin /= sum;
        mean += *bin * index as f32;
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{boxes::Centred, model::Head};
    use candle_core::Device;

    fn detector(classes: usize, strides: &[usize]) -> Detector {
        let classes = (0..classes).map(|class| class.to_string()).collect();
        Detector::new(classes, strides.to_vec(), Head::Distribution { reg_max: 4 })
    }

    fn target(image: usize, class: usize, [cx, cy, w, h]: [f32; 4]) -> Target {
        Target { image, truth: Truth { class, bounds: Centred { cx, cy, w, h } } }
    }

    /// With the assignment held, class and distribution gradients are the exact derivatives.
    #[test]
    fn gradients_are_the_derivatives_for_a_fixed_assignment() {
        let loss = DistributionLoss { box_gain: 0.0, ..DistributionLoss::new(&detector(2, &[8, 16]), 4) };
        let extents = [(8, 4), (2, 4), (16, 2), (2, 2)].map(|(channels, side)| {
            let channels = if channels > 2 { 16 } else { channels };
            Extent { batch: 2, channels, height: side, width: side }
        });
        let number = |index: usize| ((index * 7919 % 1009) as f32 / 1009.0 - 0.5) * 3.0;
        let maps: Vec<Vec<f32>> =
            extents.iter().map(|extent| (0..2 * extent.per_image()).map(number).collect()).collect();
        let targets = [
            target(0, 1, [0.4, 0.5, 0.6, 0.5]),
            target(0, 0, [0.8, 0.3, 0.3, 0.3]),
            target(1, 0, [0.5, 0.5, 0.9, 0.4]),
        ];
        let truths = loss.truths(&extents, 2, &targets);
        let slices: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
        let assigned = loss.assign(&extents, &slices, &truths);
        assert!(assigned.iter().all(|image| image.len() > 3), "{assigned:?}");
        let run = |maps: &[Vec<f32>]| {
            let slices: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
            let mut gradients: Vec<Vec<f32>> = maps.iter().map(|map| vec![0.0; map.len()]).collect();
            let parts = loss.losses(&extents, &slices, &truths, &assigned, &mut gradients);
            (parts.iter().map(|(_, part)| f64::from(*part)).sum::<f64>() * 2.0, gradients)
        };
        let (_, gradients) = run(&maps);
        let mut nonzero = 0;
        for map in 0..maps.len() {
            for index in (0..maps[map].len()).step_by(3) {
                let at = |delta: f32| {
                    let mut moved = maps.clone();
                    moved[map][index] += delta;
                    run(&moved).0
                };
                let numeric = (at(2e-2) - at(-2e-2)) / 4e-2;
                let found = f64::from(gradients[map][index]);
                assert!((numeric - found).abs() < 2e-3 * numeric.abs().max(0.1), "{map} {index}: {found} {numeric}");
                nonzero += usize::from(found != 0.0);
            }
        }
        assert!(nonzero > 50);
    }

    #[test]
    fn images_without_targets_still_learn_background() {
        let loss = DistributionLoss::new(&detector(2, &[8]), 4);
        let map = |channels: usize| Tensor::zeros((1, channels, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let found = loss.compute(&[map(16), map(2)], &[]).unwrap();
        let expected = 0.5 * 8.0 * 2.0f32.ln();
        assert!((found.total - expected).abs() < 1e-5);
        assert_eq!(found.gradients[1].flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.25; 8]);
        assert_eq!(found.gradients[0].flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0; 64]);
    }
}
