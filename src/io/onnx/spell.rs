//! How ONNX spells each operation.

use candle_core::Result;

use super::builder::{Builder, int, ints, real, word};
use super::proto::Attribute;
use crate::exec::numbers::with_numbers;
use crate::graph::{Activation, Conv, Node, Op};
use crate::model::Tensors;

/// The name of the images.
pub(super) const IMAGES: &str = "images";

/// Adds a node's operation to a graph; gives the name of its value.
///
/// # Errors
/// Where its tensors cannot be read.
pub(super) fn spell(builder: &mut Builder, node: &Node, inputs: &[&str], tensors: &Tensors) -> Result<String> {
    let name = node.name.as_str();
    let mut owned = Vec::new();
    for parameter in node.op.parameters() {
        let full = node.tensor_name(parameter.suffix);
        owned.push(with_numbers(&tensors[&full], |numbers| builder.weight(&full, &parameter.shape, numbers))?);
    }
    let all: Vec<&str> = inputs.iter().copied().chain(owned.iter().map(String::as_str)).collect();
    Ok(match &node.op {
        Op::Input { .. } => IMAGES.into(),
        Op::Conv(conv) => builder.node("Conv", name, &all, conv_attributes(conv)),
        Op::BatchNorm(norm) => builder.node("BatchNormalization", name, &all, vec![real("epsilon", norm.eps as f32)]),
        Op::Activation(Activation::Silu) => {
            let gate = builder.node("Sigmoid", &format!("{name}.sigmoid"), &all, vec![]);
            builder.node("Mul", name, &[inputs[0], &gate], vec![])
        }
        Op::Activation(Activation::Relu) => builder.node("Relu", name, &all, vec![]),
        Op::Activation(Activation::LeakyRelu { slope }) => {
            builder.node("LeakyRelu", name, &all, vec![real("alpha", *slope as f32)])
        }
        // HardSwish itself is only there from opset 14 on; this is its definition.
        Op::Activation(Activation::Hardswish) => {
            let sixth = vec![real("alpha", 1.0 / 6.0), real("beta", 0.5)];
            let gate = builder.node("HardSigmoid", &format!("{name}.gate"), &all, sixth);
            builder.node("Mul", name, &[inputs[0], &gate], vec![])
        }
        Op::MaxPool(pool) => {
            let window = vec![
                ints("kernel_shape", [pool.kernel; 2]),
                ints("strides", [pool.stride; 2]),
                ints("pads", [pool.padding; 4]),
            ];
            builder.node("MaxPool", name, &all, window)
        }
        Op::Upsample { scale } => {
            let factor = *scale as f32;
            // The factors of a Resize are fp32 whatever it resizes.
            let scales = builder.fp32("scales", &[4], &[1.0, 1.0, factor, factor]);
            let nearest = vec![
                word("mode", "nearest"),
                word("coordinate_transformation_mode", "asymmetric"),
                word("nearest_mode", "floor"),
            ];
            builder.node("Resize", name, &[inputs[0], "", &scales], nearest)
        }
        Op::Add => match inputs {
            [alone] => builder.node("Identity", name, &[alone], vec![]),
            [_, _] => builder.node("Add", name, &all, vec![]),
            _ => builder.node("Sum", name, &all, vec![]),
        },
        Op::Concat => builder.node("Concat", name, &all, vec![int("axis", 1)]),
        Op::Slice { start, len } => {
            let mut index = |what: &str, number: usize| builder.indices(&format!("{what}_{number}"), &[number as i64]);
            let [starts, ends, axis] = [index("channel", *start), index("channel", start + len), index("axis", 1)];
            builder.node("Slice", name, &[inputs[0], &starts, &ends, &axis], vec![])
        }
    })
}

fn conv_attributes(conv: &Conv) -> Vec<Attribute> {
    vec![
        ints("kernel_shape", conv.kernel),
        ints("strides", conv.stride),
        ints("pads", conv.padding.into_iter().chain(conv.padding)),
        ints("dilations", conv.dilation),
        int("group", conv.groups as i64),
    ]
}
