//! The network as data: nodes, operations, shapes and costs. No tensors live here.

mod cost;
mod error;
mod network;
mod node;
mod op;
mod parameter;
mod query;
mod shape;

pub use cost::Cost;
pub use error::GraphError;
pub use network::Graph;
pub use node::{Node, NodeId};
pub use op::{Activation, BatchNorm, Conv, MaxPool, Op};
pub use parameter::{Axis, Parameter, Role};
pub use query::Reader;
pub use shape::Shape;

#[cfg(test)]
mod tests;
