//! Objectives with terms beside the detection loss.

use candle_core::{Device, Tensor};

use super::{dataset, quick, tiny, values};
use crate::{
    exec::{Backend, ComputeDtype},
    model::Tensors,
    progress::Silent,
    train::{loss::Gains, *},
};

/// A tensor of its own that is drawn to 1, beside the detection loss.
struct Drawn {
    fails_at: f64,
}

impl Term for Drawn {
    fn part_names(&self) -> Vec<String> {
        vec!["drawn_loss".into()]
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!({ "fails_at": self.fails_at })
    }

    fn taps(&self) -> Vec<usize> {
        vec![3]
    }

    fn tensors(&self) -> Result<Tensors, TermError> {
        Ok(Tensors::from([("drawn".to_string(), Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu)?)]))
    }

    fn compute(&self, input: &TermInput<'_>, gradients: &mut LossGradients) -> Result<Vec<f64>, TermError> {
        assert_eq!(input.values.taps[&3].dims()[0], input.batch());
        let off = (&input.tensors["drawn"] - 1.0)?;
        gradients.add_tensor("drawn", (&off * 20.0)?)?;
        let value: f32 = off.sqr()?.sum_all()?.to_scalar()?;
        Ok(vec![if input.progress >= self.fails_at { f64::NAN } else { f64::from(value) }])
    }
}

#[test]
fn an_objective_trains_tensors_of_its_own_and_a_loss_that_is_no_number_ends_the_run() {
    let data = dataset(6);
    let model = tiny("yolov5n");
    let objective = Objective::detection(model.detector(), &Gains::default()).unwrap().with(Drawn { fails_at: 0.75 });
    let options = FitOptions { epochs: 4, validate: false, ..quick() };
    let error = fit_with(&model, &data, &options, &objective, &mut [], &Silent).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("loss is no longer finite in epoch 4, batch 1 (drawn_loss, of") && text.contains("lr"),
        "{text}"
    );
    let TrainError::Diverged { run, .. } = error else { panic!("{text}") };
    assert_eq!(run.parts.last().unwrap(), "drawn_loss");
    let drawn: Vec<f64> = run.history.iter().map(|row| *row.losses.last().unwrap()).collect();
    assert!(drawn.len() == 3 && drawn[2] < drawn[1] && drawn[1] < drawn[0], "{drawn:?}");
    assert!(values(&run.model).iter().all(|(_, values)| values.iter().all(|value| value.is_finite())));
}

/// A term on the student's own tensors, with nothing else to minimise.
#[test]
fn a_penalty_on_weights_moves_them_and_nothing_else() {
    const NAME: &str = "model.0.conv.weight";
    let model = tiny("yolov8n");
    let penalty = Autograd::new("l2", |leaves| Ok(leaves.tensor(NAME)?.sqr()?.sum_all()?));
    let objective = Objective::default().with(penalty);
    let images = Tensor::zeros((2, 3, 64, 64), candle_core::DType::F32, &Device::Cpu).unwrap();
    let (rates, lr) = (Rates { lr: [0.05; 3], momentum: 0.0 }, 0.05);
    let options = FitOptions { weight_decay: 0.0, clip: 0.0, ..quick() };
    for backend in [Backend::Fast(ComputeDtype::Fp32), Backend::Reference] {
        let options = FitOptions { backend: Some(backend), ..options.clone() };
        let mut trainer = Trainer::new(&model, &Tensors::new(), &options, 10).unwrap();
        let report = trainer.step(&images, &[], &objective, &rates, 0.0).unwrap();
        assert!(report.cause.is_none() && report.total > 0.0 && report.norm > 0.0, "{report:?}");
        for ((name, before), (_, after)) in values(&model).into_iter().zip(values(trainer.model())) {
            let trained = !name.contains("running");
            // The loss is that of two images, so its derivative is 4 w.
            let shrunk = if name == NAME { 1.0 - 4.0 * lr } else { 1.0 };
            let near = |(before, after): (&f32, &f32)| (before * shrunk - after).abs() < 1e-6;
            assert!(!trained || before.iter().zip(&after).all(near), "{name}");
        }
    }
}
