//! What widths mean for those who run a network: engines compute channels in blocks of eight.

use crate::graph::{Graph, GraphError, Op};

/// Channels that engines compute at once.
const BLOCK: usize = 8;

/// Convolutions whose widths fill no whole blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct OddWidths {
    /// How many there are.
    pub layers: usize,
    /// The first one's name and width.
    pub first: (String, usize),
    /// Multiply-accumulates of an image.
    pub macs: u64,
    /// About how many there would be with the nearest multiples of eight.
    pub rounded_macs: u64,
}

/// What to know about them, in a sentence.
impl std::fmt::Display for OddWidths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, width) = &self.first;
        let more = 100.0 * (self.rounded_macs as f64 / self.macs.max(1) as f64 - 1.0);
        write!(
            f,
            "{} convolutions have widths that are no multiple of {BLOCK} (`{name}` has {width}), and engines compute {BLOCK} \
             channels at once; pruned with round_to: {BLOCK} it would have about {more:+.1} % MACs",
            self.layers
        )
    }
}

/// The convolutions, those of the outputs apart, whose number of filters is no multiple of eight; none, if there are none.
///
/// # Errors
/// Where the network cannot run at that size.
pub fn odd_widths(graph: &Graph, size: usize) -> Result<Option<OddWidths>, GraphError> {
    let costs = graph.costs([size; 2])?;
    let widths = rounded(graph);
    let (mut odd, mut macs, mut rounded_macs) = (Vec::new(), 0, 0.0);
    for (id, node) in graph.nodes().iter().enumerate() {
        let Some(conv) = node.op.as_conv() else { continue };
        if widths[id] != conv.out_channels {
            odd.push((node.name.clone(), conv.out_channels));
        }
        let reads = if conv.groups == 1 { widths[node.inputs[0]] as f64 / conv.in_channels as f64 } else { 1.0 };
        macs += costs[id].macs;
        rounded_macs += costs[id].macs as f64 * reads * widths[id] as f64 / conv.out_channels as f64;
    }
    let odd_widths = |first: &(String, usize)| OddWidths {
        layers: odd.len(),
        first: first.clone(),
        macs,
        rounded_macs: rounded_macs as u64,
    };
    Ok(odd.iter().map(odd_widths).next())
}

/// The nearest multiple of eight for each value's channels, those of the outputs as they are.
fn rounded(graph: &Graph) -> Vec<usize> {
    let nearest = |width: usize| ((width + BLOCK / 2) / BLOCK * BLOCK).max(BLOCK);
    let mut widths: Vec<usize> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.nodes().iter().enumerate() {
        widths.push(match &node.op {
            Op::Input { channels } => *channels,
            Op::Conv(conv) if graph.outputs().contains(&id) => conv.out_channels,
            Op::Conv(conv) => nearest(conv.out_channels),
            Op::Slice { len, .. } => nearest(*len),
            Op::Concat => node.inputs.iter().map(|&input| widths[input]).sum(),
            Op::BatchNorm(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Upsample { .. } | Op::Add => {
                widths[node.inputs[0]]
            }
        });
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Conv;

    #[test]
    fn widths_beside_the_blocks_are_counted_and_rounded() {
        let mut graph = Graph::new();
        let image = graph.add("images", Op::Input { channels: 3 }, &[]);
        let first = graph.add("first", Op::Conv(Conv::same(3, 13, 1, 1)), &[image]);
        let second = graph.add("second", Op::Conv(Conv::same(13, 16, 1, 1)), &[first]);
        let output = graph.add("output", Op::Conv(Conv::same(16, 5, 1, 1)), &[second]);
        graph.set_outputs(vec![output]);
        let found = odd_widths(&graph, 2).unwrap().unwrap();
        // 13 becomes 16; the output's 5 stay.
        assert_eq!((found.layers, found.first), (1, ("first".into(), 13)));
        assert_eq!(found.macs, 4 * (3 * 13 + 13 * 16 + 16 * 5));
        assert_eq!(found.rounded_macs, 4 * (3 * 16 + 16 * 16 + 16 * 5));
        if let Op::Conv(conv) = graph.op_mut(first) {
            conv.out_channels = 16;
        }
        if let Op::Conv(conv) = graph.op_mut(second) {
            conv.in_channels = 16;
        }
        assert_eq!(odd_widths(&graph, 2).unwrap(), None);
    }
}
