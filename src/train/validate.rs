//! Validation between epochs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{error::TrainError, loss::DetectionLoss, options::FitOptions, run::Validation};
use crate::{
    data::Dataset,
    eval::{EvalError, EvaluateOptions, evaluate_with},
    model::Model,
    progress::Progress,
};

/// Scores a model on the `val` split, with its mean detection losses there; nothing where the listener asks to stop.
pub(super) fn validate(
    model: &Model,
    data: &Dataset,
    options: &FitOptions,
    loss: &DetectionLoss,
    progress: &dyn Progress,
) -> Result<Option<Validation>, TrainError> {
    let evaluation = EvaluateOptions { size: options.size, batch: options.batch, ..EvaluateOptions::default() };
    let mut sums = vec![0.0; loss.part_names().len()];
    let mut images = 0;
    let metrics = evaluate_with(model, data, &evaluation, progress, &mut |batch, outputs| {
        let found = loss.compute(outputs, &batch.targets).map_err(|error| EvalError::Loss(error.into()))?;
        let count = batch.origins.len();
        images += count;
        for (sum, (_, part)) in sums.iter_mut().zip(found.parts) {
            *sum += f64::from(part) * count as f64;
        }
        Ok(())
    });
    let score = match metrics {
        Ok(metrics) => metrics.scores.overall,
        Err(EvalError::Stopped { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Validation {
        precision: score.precision,
        recall: score.recall,
        map50: score.map50,
        map: score.map,
        losses: sums.into_iter().map(|sum| sum / images.max(1) as f64).collect(),
    }))
}

/// The progress of a validation as a message of the run's progress, which stays where it is.
pub(super) struct Validating<'a> {
    progress: &'a dyn Progress,
    /// Steps of the run that are done.
    steps: u64,
    /// Which epoch it is.
    label: String,
    images: AtomicU64,
}

impl<'a> Validating<'a> {
    pub fn new(progress: &'a dyn Progress, steps: usize, label: String) -> Self {
        Self { progress, steps: steps as u64, label, images: AtomicU64::new(0) }
    }
}

impl Progress for Validating<'_> {
    fn start(&self, _what: &str, total: Option<u64>) {
        self.images.store(total.unwrap_or(0), Ordering::Relaxed);
        self.advance(0, "");
    }

    fn advance(&self, done: u64, _message: &str) {
        let images = self.images.load(Ordering::Relaxed);
        self.progress.advance(self.steps, &format!("{} · validating {done}/{images} images", self.label));
    }

    fn note(&self, line: &str) {
        self.progress.note(line);
    }

    fn finish(&self) {}

    fn stop_requested(&self) -> bool {
        self.progress.stop_requested()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        data::{ShapesOptions, shapes},
        model::fixtures::tiny_detector,
        train::loss::Gains,
    };

    /// Keeps the messages, and asks to stop once there are so many.
    struct Listener {
        messages: Mutex<Vec<String>>,
        limit: usize,
    }

    impl Progress for Listener {
        fn advance(&self, done: u64, message: &str) {
            self.messages.lock().unwrap().push(format!("{done}: {message}"));
        }
        fn stop_requested(&self) -> bool {
            self.messages.lock().unwrap().len() >= self.limit
        }
    }

    /// Validates on four images, one a batch, with the loss of a detector of so many classes.
    fn run(limit: usize, classes: usize) -> (Result<Option<Validation>, TrainError>, Vec<String>) {
        let classes_of_data = ["circle", "square"].map(String::from).to_vec();
        let drawn = ShapesOptions { train: 1, val: 4, size: 64, seed: 3, classes: classes_of_data };
        let (data, model) = (shapes(&drawn).unwrap(), tiny_detector(2));
        let options = FitOptions { size: 64, batch: 1, ..FitOptions::default() };
        let loss = DetectionLoss::new(tiny_detector(classes).detector(), &Gains::default()).unwrap();
        let listener = Listener { messages: Mutex::default(), limit };
        let found = validate(&model, &data, &options, &loss, &Validating::new(&listener, 7, "epoch 2/3".into()));
        (found, listener.messages.into_inner().unwrap())
    }

    #[test]
    fn it_is_shown_and_stops_when_asked_to() {
        let (found, messages) = run(usize::MAX, 2);
        assert_eq!(found.unwrap().unwrap().losses.len(), 3);
        assert_eq!(messages.len(), 5);
        assert_eq!(messages[4], "7: epoch 2/3 · validating 4/4 images");
        let (found, messages) = run(3, 2);
        assert!(found.unwrap().is_none() && messages.len() == 3, "{messages:?}");
    }

    #[test]
    fn an_error_of_the_loss_ends_it_at_once() {
        let (found, messages) = run(usize::MAX, 3);
        let error = found.unwrap_err().to_string();
        assert!(error.contains("head outputs"), "{error}");
        assert_eq!(messages, ["7: epoch 2/3 · validating 0/4 images"]);
    }
}
