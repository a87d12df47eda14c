//! How long every node of a network takes at several widths, measured once and kept.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    path::PathBuf,
};

use etcetera::{BaseStrategy, choose_base_strategy};
use serde::{Deserialize, Serialize};

use super::super::{
    apply::apply,
    error::PruneError,
    groups::Groups,
    plan::{LayerPlan, Plan},
};
use crate::{
    eval::{BenchOptions, bench},
    graph::Graph,
    io::atomic_write,
    model::Model,
    progress::Progress,
};

/// Shares of its channels that every group keeps in turn.
const WIDTHS: [f64; 8] = [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125];

/// Runs of each width.
const RUNS: usize = 7;

/// For every node that takes time, how long it takes at several amounts of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Profile {
    /// What it was measured of and on: a profile is used for that alone.
    key: String,
    /// By node name, (work, seconds), least work first; see [`work`].
    nodes: Vec<(String, Vec<(f64, f64)>)>,
}

impl Profile {
    /// The profile of a model for one image of `size` pixels square: that which was kept, or else a new one, which is then
    /// kept. Where there is no folder for caches, it is measured anew each time.
    pub(super) fn of(model: &Model, groups: &Groups, size: usize, progress: &dyn Progress) -> Result<Self, PruneError> {
        let key = key(model.graph(), size);
        let path = cache(&key);
        let kept = path.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let kept: Option<Self> = kept.and_then(|text| serde_json::from_str(&text).ok());
        if let Some(kept) = kept.filter(|kept| kept.key == key && kept.is_sound()) {
            return Ok(kept);
        }
        let profile = Self::measure(model, groups, size, key, progress)?;
        if let Some(path) = path {
            atomic_write(path, |writer: &mut dyn Write| Ok(serde_json::to_writer(writer, &profile)?))?;
        }
        Ok(profile)
    }

    fn measure(
        model: &Model,
        groups: &Groups,
        size: usize,
        key: String,
        progress: &dyn Progress,
    ) -> Result<Self, PruneError> {
        let mut nodes: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        for share in WIDTHS {
            let narrow = if share < 1.0 { apply(model, &uniform(model, groups, size, share))? } else { model.clone() };
            let channels = narrow.graph().channels()?;
            let options = BenchOptions { size, batch: 1, runs: RUNS, warm_up: 2, ..BenchOptions::default() };
            for layer in bench(&narrow, &options, progress)?.layers {
                let Some(id) = narrow.graph().find(&layer.layer) else { continue };
                let point = (work(narrow.graph(), id, |value| channels[value]), layer.forward);
                match nodes.iter_mut().find(|(name, _)| *name == layer.layer) {
                    Some((_, points)) => points.push(point),
                    None => nodes.push((layer.layer, vec![point])),
                }
            }
        }
        for (_, points) in &mut nodes {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            // More work never takes less time; what says so is noise.
            let mut least = 0.0;
            points.iter_mut().for_each(|(_, seconds)| {
                least = seconds.max(least);
                *seconds = least;
            });
        }
        Ok(Self { key, nodes })
    }

    /// Whether it can be used: files can be anything.
    fn is_sound(&self) -> bool {
        let number = |value: f64| value.is_finite() && value >= 0.0;
        let sound = |points: &Vec<(f64, f64)>| {
            !points.is_empty()
                && points.is_sorted_by(|a, b| a.0 <= b.0)
                && points.iter().all(|&(x, y)| number(x) && number(y))
        };
        !self.nodes.is_empty() && self.nodes.iter().all(|(_, points)| sound(points))
    }

    /// Seconds of a network whose values have so many channels, the sum over its nodes.
    pub(super) fn seconds(&self, graph: &Graph, channels: impl Fn(usize) -> usize) -> f64 {
        let node = |(name, points): &(String, Vec<(f64, f64)>)| {
            graph.find(name).map_or(0.0, |id| interpolate(points, work(graph, id, &channels)))
        };
        self.nodes.iter().map(node).sum()
    }
}

/// What a node's time grows with: a convolution's products of channels in and out, the channels of anything else.
fn work(graph: &Graph, id: usize, channels: impl Fn(usize) -> usize) -> f64 {
    let node = graph.node(id);
    let own = channels(id) as f64;
    match node.op.as_conv() {
        Some(conv) if conv.groups == 1 => own * channels(node.inputs[0]) as f64,
        _ => own,
    }
}

/// Between neighbours in a straight line, beyond the ends in proportion.
fn interpolate(points: &[(f64, f64)], work: f64) -> f64 {
    let after = points.partition_point(|&(x, _)| x < work);
    match (after.checked_sub(1).map(|before| points[before]), points.get(after)) {
        (Some((x0, y0)), Some(&(x1, y1))) if x1 > x0 => y0 + (y1 - y0) * (work - x0) / (x1 - x0),
        (Some((x, y)), None) | (None, Some(&(x, y))) if x > 0.0 => y * work / x,
        (_, Some(&(_, y))) | (Some((_, y)), None) => y,
        (None, None) => 0.0,
    }
}

/// The plan by which every group keeps a share of its channels.
fn uniform(model: &Model, groups: &Groups, size: usize, share: f64) -> Plan {
    let mut plan = Plan { model: model.provenance().name.clone(), size, ..Plan::default() };
    for group in groups.all() {
        let kept = ((group.channels.len() as f64 * share).round() as usize).max(1);
        let channels = groups.labels(group.layer).len();
        let layer = plan.layers.entry(model.graph().node(group.layer).name.clone());
        let layer = layer.or_insert_with(|| LayerPlan { channels, remove: Vec::new() });
        layer.remove.extend(&group.channels[kept.min(group.channels.len())..]);
    }
    plan
}

/// What decides how long a network takes: the program, the processor, its threads, the size, the network.
fn key(graph: &Graph, size: usize) -> String {
    let network = format!("{:?}", graph.nodes().iter().map(|node| (&node.op, &node.inputs)).collect::<Vec<_>>());
    format!(
        "{} · {} · {} threads · {size} px · {:016x}",
        env!("CARGO_PKG_VERSION"),
        processor(),
        rayon::current_num_threads(),
        hash(&network)
    )
}

/// The processor's name, where the system says (Linux), else its architecture.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn cache(key: &str) -> Option<PathBuf> {
    let folder = choose_base_strategy().ok()?.cache_dir();
    Some(folder.join("espalier").join("latency").join(format!("{:016x}.json", hash(key))))
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_and_beyond_what_was_measured() {
        let points = [(10.0, 1.0), (20.0, 2.0), (20.0, 3.0), (40.0, 5.0)];
        for (work, seconds) in [(10.0, 1.0), (15.0, 1.5), (30.0, 4.0), (40.0, 5.0), (5.0, 0.5), (80.0, 10.0)] {
            assert!((interpolate(&points, work) - seconds).abs() < 1e-12, "{work}");
        }
        assert_eq!(interpolate(&[], 1.0), 0.0);
    }
}
