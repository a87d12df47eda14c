//! Which features of teacher and student are compared: those that feed the head, those that feed the neck, or named ones.

use serde::{Deserialize, Serialize};

use super::{error::DistillError, head::head_module};
use crate::{
    graph::{Graph, NodeId, Op, Shape},
    model::Model,
    nearest::did_you_mean,
    options::{Kind, OptionValue, Value},
};

/// Which features of teacher and student are compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) enum Taps {
    /// Those that the necks hand to the heads, a level each.
    #[default]
    Neck,
    /// Those that the backbones hand to the necks.
    Backbone,
    /// Layers or modules of these names, or patterns of them, in both.
    Named(Vec<String>),
    /// Layers or modules of the teacher, each with that of the student.
    Between(Vec<(String, String)>),
}

/// The same thing's features in both networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FeaturePair {
    pub teacher: NodeId,
    pub student: NodeId,
    /// Channels of the teacher's.
    pub teacher_width: usize,
    /// Channels of the student's.
    pub student_width: usize,
    /// Pixels of the image per place.
    pub stride: usize,
}

impl OptionValue for Taps {
    type Limits = ();

    fn kind(_: Option<()>) -> Kind {
        Kind::OrMap(Box::new(Kind::Texts(&[])))
    }

    fn value(&self) -> Option<Value> {
        Some(match self {
            Taps::Neck => Value::Text("neck".into()),
            Taps::Backbone => Value::Text("backbone".into()),
            Taps::Named(names) => Value::Texts(names.clone()),
            Taps::Between(pairs) => Value::Map(
                pairs.iter().map(|(teacher, student)| (teacher.clone(), Value::Text(student.clone()))).collect(),
            ),
        })
    }

    fn read(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Text(name) if name == "neck" => Taps::Neck,
            Value::Text(name) if name == "backbone" => Taps::Backbone,
            Value::Text(name) => Taps::Named(vec![name.clone()]),
            Value::Texts(names) => Taps::Named(names.clone()),
            Value::Map(pairs) => {
                let pair = |(teacher, student): (&String, &Value)| match student {
                    Value::Text(student) => Some((teacher.clone(), student.clone())),
                    _ => None,
                };
                Taps::Between(pairs.iter().map(pair).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

/// The features that are compared, pair by pair.
///
/// # Errors
/// A name that fits nothing, features of different sizes, networks without what was asked for.
pub(super) fn choose(teacher: &Model, student: &Model, taps: &Taps) -> Result<Vec<FeaturePair>, DistillError> {
    let [of_teacher, of_student] = [teacher, student].map(Model::graph);
    let pairs = match taps {
        Taps::Neck => alike("neck", neck(of_teacher), neck(of_student))?,
        Taps::Backbone => alike("backbone", backbone(of_teacher), backbone(of_student))?,
        Taps::Named(names) => named(names, of_teacher, of_student)?,
        Taps::Between(pairs) => {
            let pair = |(teacher, student): &(String, String)| {
                Ok((one(of_teacher, "teacher", teacher)?, one(of_student, "student", student)?))
            };
            pairs.iter().map(pair).collect::<Result<_, DistillError>>()?
        }
    };
    if pairs.is_empty() {
        return Err(DistillError::NoTaps { taps: taps.value().map_or_else(String::new, |value| value.to_string()) });
    }
    // Any size that both can run at.
    let size = teacher.max_stride().max(student.max_stride()) * 2;
    let shapes = [of_teacher.shapes([size; 2])?, of_student.shapes([size; 2])?];
    let fit = |(teacher, student): (NodeId, NodeId)| {
        let [wanted, found] = [shapes[0][teacher], shapes[1][student]];
        if [wanted.height, wanted.width] != [found.height, found.width] {
            let fitting = same_size(of_student, &shapes[1], wanted);
            let [teacher, student] = [&of_teacher.node(teacher).name, &of_student.node(student).name].map(Clone::clone);
            return Err(DistillError::Sizes {
                teacher,
                student,
                strides: [wanted, found].map(|shape| size / shape.height.max(1)),
                fitting,
            });
        }
        let (teacher_width, student_width) = (wanted.channels, found.channels);
        Ok(FeaturePair { teacher, student, teacher_width, student_width, stride: size / wanted.height.max(1) })
    };
    pairs.into_iter().map(fit).collect()
}

fn alike(
    what: &'static str,
    teacher: Vec<NodeId>,
    student: Vec<NodeId>,
) -> Result<Vec<(NodeId, NodeId)>, DistillError> {
    if teacher.len() != student.len() {
        return Err(DistillError::Necks { what, teacher: teacher.len(), student: student.len() });
    }
    Ok(teacher.into_iter().zip(student).collect())
}

/// The values that the head reads, in the order of its levels: those that a node inside the head's module takes from
/// outside it.
pub(super) fn neck(graph: &Graph) -> Vec<NodeId> {
    let module = head_module(graph);
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

/// The values from before the first upsampling that it or something after it reads, finest first.
fn backbone(graph: &Graph) -> Vec<NodeId> {
    let upsampling = |node: &crate::graph::Node| matches!(node.op, Op::Upsample { .. });
    let Some(start) = graph.nodes().iter().position(upsampling) else { return Vec::new() };
    let read = |id: &NodeId| graph.nodes()[start..].iter().any(|node| node.inputs.contains(id));
    (0..start).filter(read).collect()
}

/// Every module of the student that a name fits, with that of the same name in the teacher.
fn named(names: &[String], teacher: &Graph, student: &Graph) -> Result<Vec<(NodeId, NodeId)>, DistillError> {
    let mut pairs = Vec::new();
    for name in names {
        let pattern = glob::Pattern::new(name)
            .map_err(|error| DistillError::Pattern { pattern: name.clone(), reason: error.to_string() })?;
        let fitting: Vec<&str> = modules(student).into_iter().filter(|module| pattern.matches(module)).collect();
        if fitting.is_empty() {
            return Err(no_such_layer(student, "student", name));
        }
        for module in fitting {
            let pair = (one(teacher, "teacher", module)?, one(student, "student", module)?);
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    Ok(pairs)
}

/// What the layer or module of a name gives.
fn one(graph: &Graph, of: &'static str, name: &str) -> Result<NodeId, DistillError> {
    graph.module_output(name).ok_or_else(|| no_such_layer(graph, of, name))
}

fn no_such_layer(graph: &Graph, of: &'static str, name: &str) -> DistillError {
    DistillError::NoSuchLayer { of, name: name.to_owned(), hint: did_you_mean(name, modules(graph)) }
}

/// Every layer and every module that holds one, each once.
fn modules(graph: &Graph) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for node in graph.nodes() {
        let ends = node.name.match_indices('.').map(|(end, _)| end).chain([node.name.len()]);
        // `model` alone is everything.
        for module in ends.skip(1).map(|end| &node.name[..end]) {
            if !all.contains(&module) {
                all.push(module);
            }
        }
    }
    all
}

/// The student's modules of two names (`model.4`) whose outputs have the size of a shape.
fn same_size(graph: &Graph, shapes: &[Shape], wanted: Shape) -> String {
    let outermost = modules(graph).into_iter().filter(|module| module.matches('.').count() == 1);
    let fits = |module: &&str| {
        graph.module_output(module).is_some_and(|id| {
            let found = shapes[id];
            [found.height, found.width] == [wanted.height, wanted.width]
        })
    };
    let fitting: Vec<&str> = outermost.filter(fits).collect();
    if fitting.is_empty() { "none fits".into() } else { format!("{} fit", fitting.join(", ")) }
}
