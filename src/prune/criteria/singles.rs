//! Runs forwards and backwards, image by image: what the Fisher information is made of.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    super::{error::PruneError, groups::Groups},
    backwards::{add, means},
    labelled::{Labelled, check},
    measured::{Measured, PruneData},
    needs::Needs,
    planes::pairs_by_channel,
};
use crate::{
    data::Target,
    eval::over_batches,
    exec::{Backend, TrainOptions, ValueGradients, image_gradients},
    graph::{NodeId, Role},
    model::{Model, Tensors},
    progress::Progress,
};

/// Measures the squares of single images' gradients, and those of what is joined over coupled channels.
pub(super) fn singles(
    model: &Model,
    groups: &Groups,
    (importance, needs): (&'static str, &Needs),
    data: &PruneData,
    progress: &dyn Progress,
    measured: &mut Measured,
) -> Result<(), PruneError> {
    let labelled = Labelled::new(model, importance, data)?;
    let backend = Backend::for_device(&model.device());
    let options = TrainOptions { taps: &needs.joint, gradient_taps: &needs.joint, ..TrainOptions::default() };
    let zeros = || vec![0.0; groups.count()];
    let (mut squares, mut products, mut joint, mut images) = (Tensors::new(), zeros(), zeros(), 0);
    over_batches(model, &data.dataset, &data.options, progress, "gradients of single images", |batch| {
        let values = RefCell::new(BTreeMap::new());
        let loss = |index, run: &crate::exec::Values| {
            let own = batch.targets.iter().filter(|target| target.image == index);
            let own: Vec<Target> = own.map(|target| Target { image: 0, ..*target }).collect();
            values.replace(run.taps.clone());
            let gradients = labelled.gradients(&run.outputs, &own)?;
            Ok(ValueGradients { outputs: gradients.outputs, ..ValueGradients::default() })
        };
        image_gradients(backend, model, &batch.images, &options, loss, |_, found| {
            add_squares(&mut products, &of_parameters(model, groups, &needs.products, &found.tensors)?);
            if needs.squares {
                for (name, gradient) in found.tensors {
                    add(&mut squares, name, gradient.sqr()?)?;
                }
            }
            add_squares(&mut joint, &of_values(groups, &values.take(), &found.taps)?);
            images += 1;
            Ok::<(), crate::eval::EvalError>(())
        })
    })?;
    labelled.finish()?;
    check(model, importance, &squares)?;
    measured.squares = means(squares, images)?;
    let means = |sums: Vec<f64>| sums.into_iter().map(|sum| sum / images as f64).collect();
    if !needs.products.is_empty() {
        measured.products = means(products);
    }
    if !needs.joint.is_empty() {
        measured.joint = means(joint);
    }
    Ok(())
}

fn add_squares(sums: &mut [f64], of_image: &[f64]) {
    sums.iter_mut().zip(of_image).for_each(|(sum, number)| *sum += number * number);
}

/// For every coupled channel, the sum of parameters of some roles times their gradients.
fn of_parameters(model: &Model, groups: &Groups, roles: &[Role], gradients: &Tensors) -> candle_core::Result<Vec<f64>> {
    let mut sums = vec![0.0; groups.count()];
    for (node, name, parameter) in model.graph().parameters() {
        if !roles.contains(&parameter.role) {
            continue;
        }
        let Some(gradient) = gradients.get(&name) else { continue };
        let products = (&model.tensors()[&name] * gradient)?;
        let own = products.reshape((products.dim(0)?, ()))?.sum(1)?.to_vec1::<f32>()?;
        groups.labels(node).iter().zip(own).for_each(|(&channel, product)| sums[channel] += f64::from(product));
    }
    Ok(sums)
}

/// For every coupled channel, the sum of values times gradients over nodes and places.
fn of_values(
    groups: &Groups,
    values: &BTreeMap<NodeId, Tensor>,
    gradients: &BTreeMap<NodeId, Tensor>,
) -> candle_core::Result<Vec<f64>> {
    let mut sums = vec![0.0; groups.count()];
    for (&node, gradient) in gradients {
        let labels = groups.labels(node);
        pairs_by_channel(&values[&node], gradient, |a, g| a * g, |channel, sum| sums[labels[channel]] += sum)?;
    }
    Ok(sums)
}
