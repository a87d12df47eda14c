//! What a node costs: parameters and multiply-accumulates.

use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::{Graph, GraphError, Op};

/// Cost of a node or a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Trained numbers.
    pub params: u64,
    /// Multiply-accumulates of one forward pass of one image, of the convolutions; FLOPs are twice as many.
    pub macs: u64,
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { params: self.params + other.params, macs: self.macs + other.macs }
    }
}

impl Graph {
    /// Cost of every node for images of this height and width.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn costs(&self, image: [usize; 2]) -> Result<Vec<Cost>, GraphError> {
        let shapes = self.shapes(image)?;
        let cost = |(node, shape): (&super::Node, &super::Shape)| {
            let trained = node.op.parameters().into_iter().filter(|parameter| parameter.role.is_trainable());
            let params = trained.map(|parameter| parameter.shape.iter().product::<usize>() as u64).sum();
            let macs = match &node.op {
                Op::Conv(conv) => {
                    let filters: usize = conv.weight_shape().iter().product();
                    (filters * shape.height * shape.width) as u64
                }
                Op::Input { .. }
                | Op::BatchNorm(_)
                | Op::Activation(_)
                | Op::MaxPool(_)
                | Op::Upsample { .. }
                | Op::Add
                | Op::Concat
                | Op::Slice { .. } => 0,
            };
            Cost { params, macs }
        };
        Ok(self.nodes().iter().zip(&shapes).map(cost).collect())
    }

    /// Cost of the whole network for images of this height and width.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn total_cost(&self, image: [usize; 2]) -> Result<Cost, GraphError> {
        Ok(self.costs(image)?.into_iter().fold(Cost::default(), Cost::add))
    }
}
