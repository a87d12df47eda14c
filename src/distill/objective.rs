//! What a distillation step minimises: the detection loss, and the distance from the teacher.

use candle_core::{Device, Tensor};
use espalier_kernels::{elementwise, scratch};
use rayon::prelude::*;

use super::{
    DistillError, DistillOptions,
    adapter::Adapter,
    divergence::over_places,
    outputs::{Comparison, Map, Parts, Weights},
};
use crate::{
    exec::{
        Inference,
        numbers::{self, Numbers},
    },
    graph::{Graph, NodeId},
    model::{Detector, Model, Tensors},
    train::{Detection, Judgement, Objective, ObjectiveError, Step, loss::Gains},
};

/// The detection loss plus distillation of outputs and features, each with its weight.
pub struct Distillation {
    detection: Detection,
    detector: Detector,
    teacher: Inference,
    teacher_taps: Vec<NodeId>,
    student_taps: Vec<NodeId>,
    /// For each pair of features, what brings the student's to the teacher's width where they differ.
    adapters: Vec<Option<Adapter>>,
    weights: Weights,
    options: DistillOptions,
}

impl Distillation {
    /// Pairs the outputs and the neck's features of teacher and student.
    ///
    /// # Errors
    /// Where the two do not detect the same things in the same way, or a weight makes no sense.
    pub fn new(
        teacher: &Model,
        student: &Model,
        options: &DistillOptions,
        gains: &Gains,
    ) -> Result<Self, DistillError> {
        options.validate()?;
        super::check_pair(teacher, student)?;
        let (teacher_taps, student_taps) = match options.cwd > 0.0 {
            true => (neck_outputs(teacher.graph()), neck_outputs(student.graph())),
            false => (Vec::new(), Vec::new()),
        };
        if teacher_taps.len() != student_taps.len() {
            let [teacher, student] = [teacher_taps.len(), student_taps.len()];
            return Err(DistillError::Necks { teacher, student });
        }
        let (teacher_widths, student_widths) = (teacher.graph().channels()?, student.graph().channels()?);
        let adapter = |(&t, &s): (&NodeId, &NodeId)| {
            let (teacher, student) = (teacher_widths[t], student_widths[s]);
            (teacher != student).then_some(Adapter { student, teacher })
        };
        Ok(Self {
            detection: Detection::new(student.detector(), gains)?,
            detector: student.detector().clone(),
            teacher: Inference::new(teacher, &teacher_taps)?,
            adapters: teacher_taps.iter().zip(&student_taps).map(adapter).collect(),
            teacher_taps,
            student_taps,
            weights: Weights {
                objectness: options.logits * gains.objectness.unwrap_or(1.0),
                classes: options.logits * gains.class.unwrap_or(0.5),
                boxes: options.boxes,
                temperature: options.temperature,
            },
            options: *options,
        })
    }

    fn adapter_name(pair: usize) -> String {
        format!("distill.adapter.{pair}.weight")
    }

    /// Channel-wise distillation of one pair of features; gives the loss for a mean image and adds gradients.
    fn compare_features(
        &self,
        pair: usize,
        step: &Step<'_>,
        teacher: &Tensor,
        judgement: &mut Judgement,
    ) -> Result<f64, ObjectiveError> {
        let tap = self.student_taps[pair];
        let student = &step.values.taps[&tap];
        let (dims, device) = (student.dims4()?, student.device());
        let (batch, _, height, width) = dims;
        let maps = [teacher.dim(1)?, height * width];
        let (teacher, student) = (on_cpu(teacher)?, on_cpu(student)?);
        let (wanted, features) = (Numbers::of(&teacher)?, Numbers::of(&student)?);
        let name = Self::adapter_name(pair);
        let prepared = self.adapters[pair].as_ref().map(|adapter| {
            let matrix = on_cpu(&step.tensors[&name])?;
            candle_core::Result::Ok(adapter.prepare([height, width], &Numbers::of(&matrix)?))
        });
        let adapter = prepared.transpose()?;
        let compare = |teacher: &[f32], features: &[f32], of_features: &mut [f32]| match &adapter {
            None => {
                of_features.copy_from_slice(features);
                (self.compare_planes(teacher, of_features, maps), Vec::new())
            }
            Some(adapter) => {
                let mut widened = adapter.forward(features);
                let loss = self.compare_planes(teacher, &mut widened, maps);
                (loss, adapter.backward(features, &widened, of_features))
            }
        };
        let mut of_features = numbers::zeros(features.len());
        // Few images at a time, so that what lies between stays in the caches.
        let [of_teacher, of_student] = [&wanted, &features].map(|all| all.len() / batch);
        let images = (CACHED / of_teacher).min(batch / (2 * rayon::current_num_threads())).max(1);
        let teachers = wanted.par_chunks(images * of_teacher);
        let students = features.par_chunks(images * of_student).zip(of_features.par_chunks_mut(images * of_student));
        let (losses, of_matrices): (Vec<f64>, Vec<Vec<f32>>) =
            teachers.zip(students).map(|(teacher, (student, gradient))| compare(teacher, student, gradient)).unzip();
        if let Some(adapter) = &self.adapters[pair] {
            let mut of_matrix = vec![0.0; adapter.teacher * adapter.student];
            of_matrices.iter().for_each(|some| elementwise::add_assign(&mut of_matrix, some));
            let shape = (adapter.teacher, adapter.student, 1, 1);
            judgement.tensors.insert(name, Tensor::from_vec(of_matrix, shape, device)?);
        }
        let of_features = Tensor::from_vec(of_features, dims, device)?;
        judgement.gradients.taps.insert(tap, of_features);
        Ok(losses.iter().sum::<f64>() / batch as f64)
    }

    /// Channel-wise distillation of features of one width and size; the student's become their gradient.
    fn compare_planes(&self, teacher: &[f32], student: &mut [f32], [channels, places]: [usize; 2]) -> f64 {
        let scale = self.options.cwd / channels as f32;
        let mut buffer = scratch::take(places);
        let planes = teacher.chunks_exact(places).zip(student.chunks_exact_mut(places));
        let losses = planes
            .map(|(teacher, student)| over_places(teacher, student, self.options.cwd_temperature, scale, &mut buffer));
        losses.sum()
    }

    /// Distillation of the outputs; gives its parts for a mean image and adds to their gradients.
    fn compare_outputs(
        &self,
        step: &Step<'_>,
        teacher: &[Tensor],
        judgement: &mut Judgement,
    ) -> Result<Parts, ObjectiveError> {
        let teacher = teacher.iter().map(on_cpu).collect::<candle_core::Result<Vec<_>>>()?;
        let wanted = teacher.iter().map(Numbers::of).collect::<candle_core::Result<Vec<_>>>()?;
        let maps =
            wanted.iter().zip(&teacher).map(|(numbers, map)| Ok(Map { numbers, places: map.dim(2)? * map.dim(3)? }));
        let maps = maps.collect::<candle_core::Result<Vec<_>>>()?;
        let comparison = Comparison::new(&self.detector, step.images.dim(0)?, &maps, self.weights);
        let mut parts = Vec::new();
        for (index, (output, sum)) in step.values.outputs.iter().zip(&mut judgement.gradients.outputs).enumerate() {
            let found = on_cpu(output)?;
            let gradient = match sum.take() {
                Some(sum) => on_cpu(&sum)?,
                None => found.zeros_like()?,
            };
            let found = Numbers::of(&found)?;
            parts.push(numbers::change(&gradient, |gradient| comparison.add(index, &found, gradient))?);
            *sum = Some(gradient.to_device(output.device())?);
        }
        Ok(parts.into_iter().sum())
    }
}

/// Numbers of a teacher's features that are worked on at once.
const CACHED: usize = 1 << 17;

impl Objective for Distillation {
    fn part_names(&self) -> Vec<String> {
        let own = ["logits", "boxes", "cwd"].map(|name| format!("distill_{name}"));
        self.detection.part_names().into_iter().chain(own).collect()
    }

    fn taps(&self) -> &[NodeId] {
        &self.student_taps
    }

    fn tensors(&self) -> Tensors {
        let pair = |(pair, adapter): (usize, &Option<Adapter>)| {
            let adapter = adapter.as_ref()?;
            let matrix = adapter.initial(self.options.seed.wrapping_add(pair as u64));
            let tensor = Tensor::from_vec(matrix, (adapter.teacher, adapter.student, 1, 1), &Device::Cpu).ok()?;
            Some((Self::adapter_name(pair), tensor))
        };
        self.adapters.iter().enumerate().filter_map(pair).collect()
    }

    fn judge(&self, step: &Step<'_>) -> Result<Judgement, ObjectiveError> {
        let mut judgement = self.detection.judge(step)?;
        let teacher = self.teacher.run(step.images)?;
        let batch = step.images.dim(0)? as f64;
        let parts = self.compare_outputs(step, &teacher.outputs, &mut judgement)?;
        let mut features = 0.0;
        for (pair, tap) in self.teacher_taps.iter().enumerate() {
            features += self.compare_features(pair, step, &teacher.taps[tap], &mut judgement)?;
        }
        judgement.parts.extend([parts.logits, parts.boxes, features].map(|part| part as f32));
        judgement.total += (parts.logits + parts.boxes + features) * batch;
        Ok(judgement)
    }
}

/// The tensor itself where it is on the CPU and contiguous, else a copy that is.
fn on_cpu(tensor: &Tensor) -> candle_core::Result<Tensor> {
    tensor.to_device(&Device::Cpu)?.contiguous()
}

/// The values that the head reads, in the order of its levels: those that a node inside the head's module takes from
/// outside it.
fn neck_outputs(graph: &Graph) -> Vec<NodeId> {
    let Some(&output) = graph.outputs().first() else { return Vec::new() };
    let module: String = graph.node(output).name.split('.').take(2).collect::<Vec<_>>().join(".") + ".";
    let inside = |id: NodeId| graph.node(id).name.starts_with(&module);
    let mut neck: Vec<NodeId> = Vec::new();
    for node in graph.nodes().iter().filter(|node| node.name.starts_with(&module)) {
        for &input in node.inputs.iter().filter(|&&input| !inside(input)) {
            if !neck.contains(&input) {
                neck.push(input);
            }
        }
    }
    neck
}
