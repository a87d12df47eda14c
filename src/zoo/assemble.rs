//! From a list of modules to a graph: the one place that knows how YOLO's modules are wired inside.
//!
//! Nodes are named as the parameters are in the checkpoints' own state dicts (`model.4.m.0.cv1.conv`).

use super::{
    error::ZooError,
    layer::{Block, Bottleneck, ConvBlock, Detect, Layer, Tower},
};
use crate::graph::{Graph, MaxPool, NodeId, Op};

/// Wires the layers of a detector into a graph whose outputs are its head's convolutions: for [`Detect::Anchors`]
/// one a level, for [`Detect::Distribution`] boxes and classes, level after level.
///
/// # Errors
/// Where a layer reads what does not come before it or the number of things that it reads does not suit it, or where the
/// last layer is no detection head.
pub fn assemble(layers: &[Layer]) -> Result<Graph, ZooError> {
    let mut builder = Builder { graph: Graph::new() };
    let image = builder.graph.add("images", Op::Input { channels: 3 }, &[]);
    let mut values: Vec<NodeId> = Vec::with_capacity(layers.len());
    for (index, layer) in layers.iter().enumerate() {
        let path = format!("model.{index}");
        let inputs = sources(&layer.from, &values, image).map_err(|reason| bad(&path, reason))?;
        let is_last = index + 1 == layers.len();
        match (&layer.block, is_last) {
            (Block::Detect(head), true) => {
                let outputs = builder.head(&path, head, &inputs).map_err(|reason| bad(&path, reason))?;
                builder.graph.set_outputs(outputs);
                return Ok(builder.graph);
            }
            (_, true) => return Err(bad(&path, "the last module must be a detection head".into())),
            (block, false) => {
                values.push(builder.block(&path, block, &inputs).map_err(|reason| bad(&path, reason))?);
            }
        }
    }
    Err(bad("model", "it has no modules".into()))
}

fn bad(path: &str, reason: String) -> ZooError {
    ZooError::Layer { path: path.into(), reason }
}

fn sources(from: &[isize], values: &[NodeId], image: NodeId) -> Result<Vec<NodeId>, String> {
    let source = |&from: &isize| {
        let index = if from < 0 { values.len().checked_add_signed(from) } else { usize::try_from(from).ok() };
        match index {
            Some(index) if index < values.len() => Ok(values[index]),
            None if values.is_empty() && from == -1 => Ok(image),
            _ => Err(format!("it reads layer {from}, and there are {} before it", values.len())),
        }
    };
    from.iter().map(source).collect()
}

struct Builder {
    graph: Graph,
}

impl Builder {
    fn block(&mut self, path: &str, block: &Block, inputs: &[NodeId]) -> Result<NodeId, String> {
        match block {
            Block::Conv(block) => Ok(self.conv(path, block, only(inputs)?)),
            Block::Bottleneck(bottleneck) => Ok(self.bottleneck(path, bottleneck, only(inputs)?)),
            Block::C3 { cv1, cv2, cv3, m } => {
                let input = only(inputs)?;
                let first = self.conv(&format!("{path}.cv1"), cv1, input);
                let deep = self.bottlenecks(path, m, first).last().copied().unwrap_or(first);
                let past = self.conv(&format!("{path}.cv2"), cv2, input);
                let cat = self.graph.add(format!("{path}.cat"), Op::Concat, &[deep, past]);
                Ok(self.conv(&format!("{path}.cv3"), cv3, cat))
            }
            Block::C2f { cv1, cv2, m } => {
                let both = self.conv(&format!("{path}.cv1"), cv1, only(inputs)?);
                let width = cv1.conv.out_channels;
                let second = m.first().map_or(width / 2, |first| first.cv1.conv.in_channels);
                let first = width
                    .checked_sub(second)
                    .ok_or_else(|| format!("its first bottleneck reads {second} channels, but `cv1` gives {width}"))?;
                let split = [(0, 0, first), (1, first, second)];
                let mut pieces = split
                    .map(|(part, start, len)| {
                        self.graph.add(format!("{path}.split.{part}"), Op::Slice { start, len }, &[both])
                    })
                    .to_vec();
                pieces.extend(self.bottlenecks(path, m, pieces[1]));
                let cat = self.graph.add(format!("{path}.cat"), Op::Concat, &pieces);
                Ok(self.conv(&format!("{path}.cv2"), cv2, cat))
            }
            Block::Sppf { cv1, cv2, pool, times, add } => {
                let input = only(inputs)?;
                let first = self.conv(&format!("{path}.cv1"), cv1, input);
                let cat = self.pyramid(path, *pool, *times, first);
                let joined = self.conv(&format!("{path}.cv2"), cv2, cat);
                Ok(if *add { self.graph.add(format!("{path}.add"), Op::Add, &[joined, input]) } else { joined })
            }
            Block::Upsample { scale } => Ok(self.graph.add(path, Op::Upsample { scale: *scale }, &[only(inputs)?])),
            Block::Concat => Ok(self.graph.add(path, Op::Concat, inputs)),
            Block::Detect(_) => Err("a detection head must be the last module".into()),
        }
    }

    fn head(&mut self, path: &str, head: &Detect, inputs: &[NodeId]) -> Result<Vec<NodeId>, String> {
        let fits = |levels: usize, what: &str| {
            if levels == inputs.len() {
                return Ok(());
            }
            Err(format!("it reads {} maps, but has {what} for {levels}", inputs.len()))
        };
        match head {
            Detect::Anchors { m } => {
                fits(m.len(), "convolutions")?;
                let mut outputs = Vec::with_capacity(m.len());
                for (index, (conv, &input)) in m.iter().zip(inputs).enumerate() {
                    outputs.push(self.graph.add(format!("{path}.m.{index}"), Op::Conv(*conv), &[input]));
                }
                Ok(outputs)
            }
            Detect::Distribution { cv2, cv3 } => {
                fits(cv2.len(), "box towers")?;
                fits(cv3.len(), "class towers")?;
                let [boxes, scores] = [("cv2", cv2), ("cv3", cv3)].map(|(name, towers)| {
                    let levels = towers.iter().zip(inputs).enumerate();
                    let outputs = levels
                        .map(|(index, (tower, &input))| self.tower(&format!("{path}.{name}.{index}"), tower, input));
                    outputs.collect::<Vec<_>>()
                });
                Ok(boxes.into_iter().zip(scores).flat_map(|(boxes, scores)| [boxes, scores]).collect())
            }
        }
    }

    fn conv(&mut self, path: &str, block: &ConvBlock, input: NodeId) -> NodeId {
        let mut last = self.graph.add(format!("{path}.conv"), Op::Conv(block.conv), &[input]);
        if let Some(norm) = block.norm {
            last = self.graph.add(format!("{path}.bn"), Op::BatchNorm(norm), &[last]);
        }
        if let Some(activation) = block.activation {
            last = self.graph.add(format!("{path}.act"), Op::Activation(activation), &[last]);
        }
        last
    }

    fn bottleneck(&mut self, path: &str, block: &Bottleneck, input: NodeId) -> NodeId {
        let first = self.conv(&format!("{path}.cv1"), &block.cv1, input);
        let second = self.conv(&format!("{path}.cv2"), &block.cv2, first);
        if block.add { self.graph.add(format!("{path}.add"), Op::Add, &[input, second]) } else { second }
    }

    /// Bottlenecks one after another; the output of each.
    fn bottlenecks(&mut self, path: &str, blocks: &[Bottleneck], input: NodeId) -> Vec<NodeId> {
        let mut last = input;
        let mut next = |(index, block)| {
            last = self.bottleneck(&format!("{path}.m.{index}"), block, last);
            last
        };
        blocks.iter().enumerate().map(&mut next).collect()
    }

    fn pyramid(&mut self, path: &str, pool: MaxPool, times: usize, input: NodeId) -> NodeId {
        let mut pieces = vec![input];
        for index in 0..times {
            let last = pieces[index];
            pieces.push(self.graph.add(format!("{path}.pool.{index}"), Op::MaxPool(pool), &[last]));
        }
        self.graph.add(format!("{path}.cat"), Op::Concat, &pieces)
    }

    fn tower(&mut self, path: &str, tower: &Tower, input: NodeId) -> NodeId {
        let mut last = input;
        for (index, block) in tower.blocks.iter().enumerate() {
            last = self.conv(&format!("{path}.{index}"), block, last);
        }
        self.graph.add(format!("{path}.{}", tower.blocks.len()), Op::Conv(tower.last), &[last])
    }
}

fn only(inputs: &[NodeId]) -> Result<NodeId, String> {
    match inputs {
        [input] => Ok(*input),
        _ => Err(format!("it should read one layer, and reads {}", inputs.len())),
    }
}
