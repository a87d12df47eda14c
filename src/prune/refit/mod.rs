//! Recovery without training: the weights of every convolution fitted to what the unpruned model gives.
//!
//! Once channels are gone, the convolutions that read them give something else. Least squares finds the weights with which
//! they come nearest to what the unpruned model's gave before its normalisations (He et al. 2017, "Channel pruning for
//! accelerating very deep neural networks"; Luo et al. 2017, ThiNet), from the image on, each from what really reaches it.

mod cholesky;
mod normal;

use std::collections::BTreeMap;

use candle_core::Tensor;

use self::normal::{Normal, Solution};
use super::{error::PruneError, kept::kept_channels};
use crate::{
    data::{Augment, BatchOptions, Batches, Dataset},
    exec::{Backend, Inference, InferenceOptions, transfer},
    graph::{Conv, Graph, NodeId, Op, Role},
    model::{Model, Tensors},
    options::{Options, SPLITS, options},
    progress::Progress,
};

options! {
    /// On which images weights are fitted, and how.
    #[serde(default)]
    pub struct RefitOptions {
        /// The split they are from.
        pub split: String = "train".into(), SPLITS;
        /// How many, from a shuffled order; all if there are fewer.
        pub images: usize = 64, 1..=1_000_000;
        /// Side of the square images in pixels.
        pub size: usize = 640, 32..=8192;
        /// Images a batch.
        pub batch: usize = 8, 1..=4096;
        /// How much weights are held where they are: a share of the mean power of what flows in.
        pub ridge: f64 = 1e-3, 0.0..=1e6;
        /// Seed of the order.
        pub seed: u64 = 0;
    }
}

/// A convolution whose weights are fitted.
#[derive(Clone, Debug)]
struct Fitted {
    id: NodeId,
    conv: Conv,
    /// The normalisation behind it.
    norm: Option<NodeId>,
    /// Which of the reference's filters its own are.
    filters: Tensor,
}

/// The same model with the weights of its convolutions fitted, from the image on, to what the convolutions of `reference`
/// give, which is the model that it was pruned from. Normalisations and biases are the reference's again, up to a shift
/// that is fitted as well; so it is done before training, not after. Grouped convolutions stay as they are.
///
/// # Errors
/// Options out of range, a reference that the model was not pruned from, a split that is not there or cannot be read, values
/// that are not finite, or a listener that asks to stop.
pub fn refit(
    model: &Model,
    reference: &Model,
    dataset: &Dataset,
    options: &RefitOptions,
    progress: &dyn Progress,
) -> Result<Model, PruneError> {
    options.check()?;
    let split = dataset.split(&options.split)?;
    let batches = BatchOptions {
        size: options.size,
        batch: options.batch,
        seed: options.seed,
        augment: Augment::none(),
        ..BatchOptions::default()
    };
    let count = options.images.min(split.samples.len());
    let images = || -> Result<_, PruneError> {
        let mut left = count;
        Ok(Batches::train(split, &batches)?.map_while(move |batch| {
            if left == 0 {
                return None;
            }
            let cut = batch.map_err(PruneError::from).and_then(|batch| {
                let taken = left.min(batch.images.dim(0)?);
                left -= taken;
                Ok(batch.images.narrow(0, 0, taken)?)
            });
            Some(cut)
        }))
    };
    let fitted = refit_on(model, reference, images, count, options.ridge, progress)?;
    let name = &reference.provenance().name;
    Ok(fitted.with_step(format!("weights fitted to what {name} gives on {count} images of {}", dataset.name)))
}

/// [`refit`] on batches (n, 3, h, w) of any source, which is asked for the same `count` images again for every depth of the
/// network.
///
/// # Errors
/// As [`refit`], and the first error of the source.
pub fn refit_on<I>(
    model: &Model,
    reference: &Model,
    images: impl Fn() -> Result<I, PruneError>,
    count: usize,
    ridge: f64,
    progress: &dyn Progress,
) -> Result<Model, PruneError>
where
    I: Iterator<Item = Result<Tensor, PruneError>>,
{
    let depths = fitted(model, reference)?;
    let total = depths.len() * count;
    progress.start("refit", Some(total as u64));
    let mut done = 0;
    let mut run = || {
        let mut model = model.clone();
        for layers in &depths {
            let mut equations: Vec<Normal> =
                layers.iter().map(|layer| Normal::new(layer.fan_in(), layer.conv.out_channels)).collect();
            let ids: Vec<NodeId> = layers.iter().map(|layer| layer.id).collect();
            let inputs: Vec<NodeId> = ids.iter().map(|&id| model.graph().node(id).inputs[0]).collect();
            let (own, other) = (up_to(&model, inputs)?, up_to(reference, ids.clone())?);
            for batch in images()? {
                let batch = transfer::up_one(&batch?, &model.device())?;
                let (read, wanted) = (own.run(&batch)?.taps, other.run(&batch)?.taps);
                for (layer, equations) in layers.iter().zip(&mut equations) {
                    let (read, wanted) = (&read[&model.graph().node(layer.id).inputs[0]], &wanted[&layer.id]);
                    let wanted = wanted.index_select(&layer.filters, 1)?;
                    for image in 0..batch.dim(0)? {
                        equations.add(&layer.conv, &read.narrow(0, image, 1)?, &wanted.narrow(0, image, 1)?)?;
                    }
                }
                done += batch.dim(0)?;
                progress.advance(done as u64, &model.graph().node(ids[0]).name);
                if progress.stop_requested() {
                    return Err(PruneError::Stopped { what: "images", done, total });
                }
            }
            let mut tensors = model.tensors().clone();
            for (layer, equations) in layers.iter().zip(equations) {
                layer.fit(&model, reference, equations, ridge, &mut tensors)?;
            }
            model = model.with_tensors(tensors)?;
        }
        Ok(model)
    };
    let result = run();
    progress.finish();
    result
}

/// A network that gives these values alone.
fn up_to(model: &Model, taps: Vec<NodeId>) -> Result<Inference, PruneError> {
    let options = InferenceOptions { taps, taps_alone: true, ..InferenceOptions::default() };
    Ok(Inference::with_options(Backend::for_device(&model.device()), model, options)?)
}

/// The convolutions that read something else than in the reference, by how many of them lie before: those of one depth do not
/// read each other.
fn fitted(model: &Model, reference: &Model) -> Result<Vec<Vec<Fitted>>, PruneError> {
    let graph = model.graph();
    let kept = kept_channels(model, reference.graph())?;
    let all = reference.graph().channels()?;
    let consumers = graph.consumers();
    let mut depth = vec![0; graph.nodes().len()];
    let mut differs = vec![false; graph.nodes().len()];
    let mut depths: BTreeMap<usize, Vec<Fitted>> = BTreeMap::new();
    for (id, node) in graph.nodes().iter().enumerate() {
        depth[id] = node.inputs.iter().map(|&input| depth[input]).max().unwrap_or(0);
        differs[id] = node.inputs.iter().any(|&input| differs[input]);
        let Some(conv) = node.op.as_conv() else { continue };
        differs[id] |= kept[node.inputs[0]].len() < all[node.inputs[0]];
        depth[id] += 1;
        if differs[id] && conv.groups == 1 {
            let filters: Vec<u32> = kept[id].iter().map(|&filter| filter as u32).collect();
            let filters = Tensor::from_vec(filters, kept[id].len(), &model.device())?;
            let norm = consumers[id].iter().copied().find(|&reader| matches!(graph.node(reader).op, Op::BatchNorm(_)));
            depths.entry(depth[id]).or_default().push(Fitted { id, conv: *conv, norm, filters });
        }
    }
    Ok(depths.into_values().collect())
}

impl Fitted {
    /// Numbers that a filter looks at.
    fn fan_in(&self) -> usize {
        self.conv.in_channels * self.conv.kernel[0] * self.conv.kernel[1]
    }

    /// Solves, and puts what was found into the tensors.
    fn fit(
        &self,
        model: &Model,
        reference: &Model,
        equations: Normal,
        ridge: f64,
        tensors: &mut Tensors,
    ) -> Result<(), PruneError> {
        let graph = model.graph();
        let node = graph.node(self.id);
        let weight = tensor_name(graph, self.id, Role::Weight);
        let Some(name) = weight else { return Ok(()) };
        let so_far = tensors[&name].flatten_all()?.to_vec1::<f32>()?;
        let found = equations.solve(&so_far, ridge, self.conv.bias || self.norm.is_some());
        let Solution { weights, intercepts } =
            found.ok_or_else(|| PruneError::Unsolvable { layer: node.name.clone() })?;
        let single = |numbers: &[f64]| numbers.iter().map(|&number| number as f32).collect::<Vec<f32>>();
        let device = model.device();
        tensors.insert(name, Tensor::from_vec(single(&weights), self.conv.weight_shape().to_vec(), &device)?);
        let intercepts = Tensor::from_vec(single(&intercepts), intercepts.len(), &device)?;
        if let Some(norm) = self.norm {
            for parameter in graph.node(norm).op.parameters() {
                let name = graph.node(norm).tensor_name(parameter.suffix);
                let reference = reference.tensors()[&name].to_device(&device)?.index_select(&self.filters, 0)?;
                // What is added before a normalisation is taken from its mean, unless there is a bias for it.
                let value = if parameter.role == Role::RunningMean && !self.conv.bias {
                    (reference - &intercepts)?
                } else {
                    reference
                };
                tensors.insert(name, value);
            }
        }
        if let Some(name) = tensor_name(graph, self.id, Role::Bias) {
            tensors.insert(name, intercepts);
        }
        Ok(())
    }
}

/// The full name of a node's tensor of this role, if it has one.
fn tensor_name(graph: &Graph, id: NodeId, role: Role) -> Option<String> {
    graph.node(id).op.parameter(role).map(|parameter| graph.node(id).tensor_name(parameter.suffix))
}
