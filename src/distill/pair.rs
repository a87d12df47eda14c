//! A teacher and a student that can be compared.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{error::DistillError, options::DistillOptions};
use crate::{
    exec::{ExecError, Inference},
    graph::{Graph, NodeId},
    model::{Detector, Model, digest},
    train::loss::Gains,
};

/// What terms are made from.
pub(super) struct Pair<'a> {
    /// The teacher, ready to run; it keeps its side of `features`.
    pub teacher: Arc<Inference>,
    /// For each of the student's outputs, which of the teacher's is of the same level and kind.
    pub outputs: Vec<usize>,
    /// What both detect, as the student gives it.
    pub detector: &'a Detector,
    /// The features that the heads read, level by level; empty where no term compares features.
    pub features: Vec<FeaturePair>,
    /// Weights of the student's detection loss.
    pub gains: &'a Gains,
    pub options: &'a DistillOptions,
    /// Digest of the teacher's tensors.
    pub digest: String,
}

/// The same level's features in both networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeaturePair {
    pub teacher: NodeId,
    pub student: NodeId,
    /// Channels of the teacher's.
    pub teacher_width: usize,
    /// Channels of the student's.
    pub student_width: usize,
}

impl<'a> Pair<'a> {
    /// Pairs outputs and, where a term compares `features`, those of the necks of teacher and student.
    pub fn new(
        teacher: &Model,
        student: &'a Model,
        options: &'a DistillOptions,
        gains: &'a Gains,
        features: bool,
    ) -> Result<Self, DistillError> {
        let features = match features {
            true => pair_features(teacher, student)?,
            false => Vec::new(),
        };
        let same = |output| teacher.detector().outputs.iter().position(|other| other == output);
        let outputs = student.detector().outputs.iter().map(same).collect::<Option<_>>();
        let outputs = outputs.ok_or_else(|| heads(teacher, student))?;
        let taps: Vec<NodeId> = features.iter().map(|pair| pair.teacher).collect();
        let digest = digest(teacher.tensors()).map_err(ExecError::from)?;
        let teacher = Arc::new(Inference::new(teacher, &taps)?);
        Ok(Self { teacher, outputs, detector: student.detector(), features, gains, options, digest })
    }

    /// The student's side of the features.
    pub fn student_taps(&self) -> Vec<NodeId> {
        self.features.iter().map(|pair| pair.student).collect()
    }

    /// What decides a term: its weight, its temperature, the teacher.
    pub fn settings(&self, weight: f32, temperature: Option<f32>) -> Value {
        let (weight, temperature) = (decimal(weight), temperature.map(decimal));
        json!({ "weight": weight, "temperature": temperature, "teacher (SHA-256)": self.digest })
    }
}

/// The number that is written as the fp32 number is.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// Checks that two models detect the same things in the same way.
pub(super) fn check(teacher: &Model, student: &Model) -> Result<(), DistillError> {
    if teacher.detector().classes != student.detector().classes {
        let (teacher, student) = (teacher.detector().classes.clone(), student.detector().classes.clone());
        return Err(DistillError::Classes { teacher, student });
    }
    if teacher.detector().head != student.detector().head || teacher.detector().strides != student.detector().strides {
        return Err(heads(teacher, student));
    }
    let (here, there) = (teacher.device(), student.device());
    if !here.same_device(&there) {
        return Err(DistillError::Devices { teacher: format!("{here:?}"), student: format!("{there:?}") });
    }
    Ok(())
}

fn heads(teacher: &Model, student: &Model) -> DistillError {
    let describe = |model: &Model| format!("{:?} with strides {:?}", model.detector().head, model.detector().strides);
    DistillError::Heads { teacher: describe(teacher), student: describe(student) }
}

fn pair_features(teacher: &Model, student: &Model) -> Result<Vec<FeaturePair>, DistillError> {
    let (of_teacher, of_student) = (neck_outputs(teacher.graph()), neck_outputs(student.graph()));
    if of_teacher.len() != of_student.len() {
        let [teacher, student] = [of_teacher.len(), of_student.len()];
        return Err(DistillError::Necks { teacher, student });
    }
    let (teacher_widths, student_widths) = (teacher.graph().channels()?, student.graph().channels()?);
    let pair = |(teacher, student): (NodeId, NodeId)| {
        let (teacher_width, student_width) = (teacher_widths[teacher], student_widths[student]);
        FeaturePair { teacher, student, teacher_width, student_width }
    };
    Ok(of_teacher.into_iter().zip(of_student).map(pair).collect())
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
