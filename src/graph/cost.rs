//! What a node costs: parameters and multiply-accumulates.

use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::{
    error::GraphError,
    network::Graph,
    node::Node,
    parameter::Role,
    shape::{Shape, bad},
};

/// Cost of a node or a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Trained numbers.
    pub params: u64,
    /// Multiply-accumulates of one forward pass of one image, of the convolutions; FLOPs are twice as many.
    pub macs: u64,
}

impl Cost {
    fn checked_add(self, other: Cost) -> Option<Cost> {
        Some(Cost { params: self.params.checked_add(other.params)?, macs: self.macs.checked_add(other.macs)? })
    }
}

/// Of parts of one network; see [`Graph::costs`] for why the sum fits.
impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost { params: self.params + other.params, macs: self.macs + other.macs }
    }
}

impl Graph {
    /// Cost of every node for images of this height and width. The sum over all nodes fits too.
    ///
    /// # Errors
    /// As [`Graph::shapes`]; names the layer with which the count goes beyond 64 bits.
    pub fn costs(&self, image: [usize; 2]) -> Result<Vec<Cost>, GraphError> {
        let shapes = self.shapes(image)?;
        let mut total = Cost::default();
        let mut costs = Vec::with_capacity(shapes.len());
        for (node, shape) in self.nodes().iter().zip(&shapes) {
            let sum = cost(node, shape).and_then(|cost| Some((cost, total.checked_add(cost)?)));
            let (cost, sum) =
                sum.ok_or_else(|| bad(node, "the multiply-accumulates up to here are beyond 64 bits".into()))?;
            total = sum;
            costs.push(cost);
        }
        Ok(costs)
    }

    /// Cost of the whole network for images of this height and width.
    ///
    /// # Errors
    /// As [`Graph::costs`].
    pub fn total_cost(&self, image: [usize; 2]) -> Result<Cost, GraphError> {
        Ok(self.costs(image)?.into_iter().fold(Cost::default(), Cost::add))
    }
}

/// A node's cost, or `None` where the numbers do not fit.
fn cost(node: &Node, output: &Shape) -> Option<Cost> {
    let mut cost = Cost::default();
    for parameter in node.op.parameters().into_iter().filter(|parameter| parameter.role.is_trainable()) {
        let params = parameter.count() as u64;
        let positions = if parameter.role == Role::Weight { (output.height * output.width) as u64 } else { 0 };
        cost = cost.checked_add(Cost { params, macs: params.checked_mul(positions)? })?;
    }
    Some(cost)
}
