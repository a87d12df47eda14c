//! Weights fitted to what the unpruned model gives.

use candle_core::Tensor;

use super::{
    fixtures,
    tests::{difference, images, loose},
    *,
};
use crate::{graph::Activation, io, model::Model, progress::Silent, testing::shared};

fn pruned(model: &Model, share: f64, importance: &str) -> Model {
    let options = PruneOptions { importance: Some(importance.into()), ..loose(Amount::Macs(share)) };
    Pruner::new(model, options).unwrap().prune().unwrap()
}

fn fitted(model: &Model, reference: &Model, batches: &[Tensor]) -> Result<Model, PruneError> {
    let count = batches.iter().map(|batch| batch.dim(0).unwrap()).sum();
    refit_on(model, reference, || Ok(batches.iter().cloned().map(Ok)), count, 1e-6, &Silent)
}

fn noise(seed: f32, count: usize, side: usize) -> Tensor {
    let values =
        (0..count * 3 * side * side).map(|index| ((index as f32 * 12.9898 + seed).sin() * 43758.547).fract().abs());
    Tensor::from_iter(values, &candle_core::Device::Cpu).unwrap().reshape((count, 3, side, side)).unwrap()
}

#[test]
fn what_was_kept_is_known_however_often_a_model_was_pruned() {
    for model in [fixtures::anchored(1), fixtures::towers(2, Activation::Silu)] {
        let mut slim = model.clone();
        for (round, share) in [0.7, 0.7, 0.8].into_iter().enumerate() {
            let options =
                PruneOptions { importance: Some("random".into()), seed: round as u64, ..loose(Amount::Macs(share)) };
            slim = Pruner::new(&slim, options).unwrap().prune().unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slim.safetensors");
        io::save(&slim, &path, io::Precision::Fp32).unwrap();
        assert_eq!(io::load(&path).unwrap().provenance(), slim.provenance());
        // The weights that are left are where it says they were.
        let kept = kept::kept_channels(&slim, model.graph()).unwrap();
        let mut seen = 0;
        for (id, name, parameter) in slim.graph().parameters() {
            let mut tensor = model.tensors()[&name].clone();
            for (axis, value) in parameter.channel_axes(slim.graph().node(id).inputs[0], id) {
                let index: Vec<u32> = kept[value].iter().map(|&channel| channel as u32).collect();
                tensor = tensor.index_select(&Tensor::new(index, &model.device()).unwrap(), axis).unwrap();
            }
            let [found, wanted] =
                [&slim.tensors()[&name], &tensor].map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            assert_eq!(found, wanted, "{name}");
            seen += usize::from(model.tensors()[&name].dims() != tensor.dims());
        }
        assert!(seen > 10);
    }
}

#[test]
fn what_is_redundant_costs_nothing_once_refitted() {
    // Every channel of the first layer twice, so that the others say all that those say that go.
    let model = fixtures::anchored(3);
    let mut tensors = model.tensors().clone();
    for (name, tensor) in &mut tensors {
        if name.starts_with("model.0.") {
            let half = tensor.narrow(0, 0, tensor.dim(0).unwrap() / 2).unwrap();
            *tensor = Tensor::cat(&[&half, &half], 0).unwrap();
        }
    }
    let model = model.with_tensors(tensors).unwrap();
    let channels = model.tensors()["model.0.conv.weight"].dim(0).unwrap();
    let mut plan = Plan { size: 64, ..Plan::default() };
    let remove = (channels / 2..channels).collect();
    plan.layers.insert("model.0.conv".into(), LayerPlan { channels, remove });
    let slim = apply(&model, &plan).unwrap();
    let refitted = fitted(&slim, &model, &[noise(0.1, 4, 64), noise(0.2, 4, 64)]).unwrap();
    let held_out = |other: &Model| difference(&model, other, 64);
    assert!(held_out(&refitted) < 0.02 * held_out(&slim), "{} {}", held_out(&refitted), held_out(&slim));
}

#[test]
fn unseen_images_come_nearer_to_what_they_gave() {
    let teacher = io::teacher().unwrap();
    let data = crate::data::shapes(&crate::data::ShapesOptions::default()).unwrap();
    let batch = |split: &str, count: usize| -> Tensor {
        let batches = crate::data::Batches::eval(data.split(split).unwrap(), 64, 8).unwrap();
        let batches: Vec<Tensor> = batches.take(count).map(|batch| batch.unwrap().images).collect();
        Tensor::cat(&batches, 0).unwrap()
    };
    let (seen, unseen) = (batch("train", 3), batch("val", 2));
    let apart = |other: &Model| -> f64 {
        let [a, b] = [&teacher, other].map(|model| crate::exec::infer(model, &unseen, &[]).unwrap().outputs);
        let squares =
            |a: &Tensor, b: &Tensor| (a - b).unwrap().sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
        a.iter().zip(&b).map(|(a, b)| f64::from(squares(a, b))).sum()
    };
    for importance in ["group_l2", "random"] {
        let slim = pruned(&teacher, 0.6, importance);
        let recalibrated = recalibrate_on(&slim, [Ok(seen.clone())]).unwrap();
        let refitted = fitted(&recalibrated, &teacher, std::slice::from_ref(&seen)).unwrap();
        let [pruned, recalibrated, refitted] = [&slim, &recalibrated, &refitted].map(apart);
        assert!(refitted < 0.7 * pruned.min(recalibrated), "{importance}: {pruned} {recalibrated} {refitted}");
    }
    assert_eq!(apart(&fitted(&teacher, &teacher, &[seen]).unwrap()), 0.0);
}

#[test]
fn another_model_is_no_reference() {
    let model = fixtures::anchored(4);
    let slim = pruned(&model, 0.5, "l2");
    let text = |reference: &Model| fitted(&slim, reference, &[images(64)]).unwrap_err().to_string();
    assert!(
        text(&fixtures::towers(4, Activation::Silu)).contains("pruned from"),
        "{}",
        text(&fixtures::towers(4, Activation::Silu))
    );
    assert!(text(&pruned(&model, 0.8, "l2")).contains("the reference has"));
    if let Some(file) = shared("models/yolov5n-bccd.pt") {
        assert!(text(&io::load(file).unwrap()).contains("was not pruned from the reference"));
    }
}
