//! Pruning and distillation as one: a smaller model in one call.

use thiserror::Error;

use super::{error::DistillError, options::DistillOptions, tuner::Imitation};
use crate::{
    data::Dataset,
    model::Model,
    progress::Progress,
    prune::{Gradual, GradualOptions, PruneError, Pruner, gradual},
    train::FitOptions,
};

/// What can go wrong while a model is compressed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The teacher.
    #[error(transparent)]
    Distill(#[from] DistillError),
    /// The pruning, and the training between its steps.
    #[error(transparent)]
    Prune(#[from] Box<PruneError>),
}

/// [`gradual`] pruning with distillation after each step and in the end, from `teacher` or else from the unpruned model. The
/// model that it gives is the best of the training at the end by its validation; one that was stopped before, or that
/// fell too deep, gives what [`gradual`] does.
///
/// # Errors
/// As [`gradual`], and a teacher that the model cannot imitate.
pub fn compress(
    pruner: &Pruner,
    teacher: Option<&Model>,
    data: &Dataset,
    (steps, distill, fit): (&GradualOptions, DistillOptions, &FitOptions),
    progress: &dyn Progress,
) -> Result<Gradual, CompressError> {
    let tuner = Imitation::new(std::slice::from_ref(teacher.unwrap_or(pruner.model())), pruner.model(), distill)?;
    let found = gradual(pruner, data, steps, fit, &tuner, progress).map_err(Box::new)?;
    let model = found.run.as_ref().map_or(&found.model, |run| &run.model).clone();
    Ok(Gradual { model, ..found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{ShapesOptions, shapes},
        io,
        model::digest,
        progress::Silent,
        prune::{Amount, PruneOptions},
    };

    #[test]
    fn it_ends_with_the_best_model_of_the_size_asked_for_and_is_resumed_to_it() {
        let (teacher, folder) = (io::teacher().unwrap(), tempfile::tempdir().unwrap());
        let data = shapes(&ShapesOptions { train: 16, val: 8, size: 64, ..ShapesOptions::default() }).unwrap();
        let mut options = PruneOptions::default();
        (options.amount, options.size) = (Amount::Macs(0.5), 64);
        let pruner = Pruner::new(&teacher, options).unwrap();
        let mut steps = GradualOptions::default();
        (steps.steps, steps.tune_epochs, steps.epochs, steps.recalibrate) = (2, 1, 2, 16);
        let fit = FitOptions { batch: 8, size: 64, ..FitOptions::default() };
        let run = |fit: &FitOptions| {
            compress(&pruner, None, &data, (&steps, DistillOptions::default(), fit), &Silent).unwrap()
        };
        let whole = run(&FitOptions { folder: Some(folder.path().join("compressed")), ..fit });
        let (end, macs) = (whole.run.clone().unwrap(), |model: &Model| model.cost(64).unwrap().macs as f64);
        assert!((macs(&whole.model) / macs(&teacher) - 0.5).abs() < 0.02);
        assert_eq!(whole.steps.iter().map(|step| step.step).collect::<Vec<_>>(), [Some(1), Some(2), None]);
        assert!(end.parts.iter().any(|part| crate::distill::is_distilled(part)), "{:?}", end.parts);
        let accuracy = |epoch: usize| end.history[epoch - 1].validation.as_ref().unwrap().fitness();
        let best = end.best.unwrap();
        assert!((1..=end.history.len()).all(|epoch| accuracy(epoch) <= accuracy(best)));
        let tensors = |model: &Model| digest(model.tensors()).unwrap();
        assert_eq!(tensors(&whole.model), tensors(&end.model));
        // What is complete gives the same again, its run included.
        let again = run(&FitOptions { resume: whole.folder.clone(), ..FitOptions::default() });
        assert_eq!(tensors(&again.model), tensors(&whole.model));
        assert_eq!(again.run.unwrap().history, end.history);
    }
}
