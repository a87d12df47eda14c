//! What a plan would do, layer by layer and in all.

use std::collections::HashMap;

use serde::Serialize;

use super::{
    depth::Rewrite,
    error::PruneError,
    groups::Groups,
    masks::{MaskRow, mask_rows},
    plan::Plan,
    removal::Removal,
};
use crate::{
    graph::{Cost, Node, NodeId, Role},
    model::Model,
};

/// What a plan does to one convolution, the normalisation behind it included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanRow {
    /// Name of the convolution.
    pub layer: String,
    /// Channels it reads, before and after.
    pub inputs: [usize; 2],
    /// Filters, before and after.
    pub channels: [usize; 2],
    /// Parameters, before and after.
    pub params: [u64; 2],
    /// MACs, before and after.
    pub macs: [u64; 2],
}

/// What a plan does, layer by layer and in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanReport {
    /// A row for every convolution, in graph order.
    pub rows: Vec<PlanRow>,
    /// Side of the images that MACs are counted for.
    pub size: usize,
    /// Cost of the whole network as it is.
    pub before: Cost,
    /// Cost of the whole network once the plan is applied.
    pub after: Cost,
    /// A row for every convolution, if the plan has masks.
    pub masks: Vec<MaskRow>,
}

impl PlanReport {
    /// Share of the MACs that stays.
    pub fn macs_share(&self) -> f64 {
        self.after.macs as f64 / self.before.macs.max(1) as f64
    }

    /// Share of the parameters that stays.
    pub fn params_share(&self) -> f64 {
        self.after.params as f64 / self.before.params.max(1) as f64
    }
}

impl Plan {
    /// What applying the plan would do, without doing it.
    ///
    /// # Errors
    /// Where the plan does not fit the model.
    pub fn report(&self, model: &Model) -> Result<PlanReport, PruneError> {
        self.reported(model).map_err(|error| self.misfit(error))
    }

    fn reported(&self, model: &Model) -> Result<PlanReport, PruneError> {
        let graph = model.graph();
        let groups = Groups::of(graph)?;
        let narrow = Removal::of(self, graph, &groups)?.graph(graph, &groups)?;
        let pruned = Rewrite::of(&narrow, &self.branches)?.graph;
        let image = [self.size; 2];
        let (before, after) = (graph.costs(image)?, pruned.costs(image)?);
        let consumers = graph.consumers();
        let place: HashMap<&str, NodeId> =
            pruned.nodes().iter().enumerate().map(|(id, node)| (node.name.as_str(), id)).collect();
        // What is no longer there costs nothing.
        let now = |id: NodeId| place.get(graph.node(id).name.as_str()).map_or(Cost::default(), |&id| after[id]);
        let row = |(id, node): (NodeId, &Node)| {
            let old = node.op.as_conv()?;
            let new = place.get(node.name.as_str()).and_then(|&id| pruned.node(id).op.as_conv());
            let norms = consumers[id].iter().filter(|&&reader| graph.node(reader).op.owns(Role::NormScale));
            let params = |cost: &dyn Fn(NodeId) -> Cost| {
                cost(id).params + norms.clone().map(|&norm| cost(norm).params).sum::<u64>()
            };
            Some(PlanRow {
                layer: node.name.clone(),
                inputs: [old.in_channels, new.map_or(0, |conv| conv.in_channels)],
                channels: [old.out_channels, new.map_or(0, |conv| conv.out_channels)],
                params: [params(&|id| before[id]), params(&now)],
                macs: [before[id].macs, now(id).macs],
            })
        };
        let sum = |costs: &[Cost]| costs.iter().fold(Cost::default(), |sum, &cost| sum + cost);
        Ok(PlanReport {
            rows: graph.nodes().iter().enumerate().filter_map(row).collect(),
            size: self.size,
            before: sum(&before),
            after: sum(&after),
            masks: if self.masks.is_empty() { Vec::new() } else { mask_rows(model, &self.masks)? },
        })
    }
}
