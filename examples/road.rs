//! The whole road through the library's public interface: open, look, prune, distil, compare, save.
//!
//! ```text
//! cargo run --release --example road -- MODEL.pt DATA.yaml [EPOCHS]
//! cargo run --release --example road
//! ```
//! Without arguments it takes the built-in teacher and the built-in dataset.

use std::error::Error;

use espalier::{
    data::{Dataset, ShapesOptions, dataset, shapes},
    distill::{DistillOptions, Distiller},
    eval::{EvaluateOptions, evaluate},
    io::{self, Precision},
    model::Model,
    progress::Silent,
    prune::{Amount, PruneOptions, Pruner},
    train::FitOptions,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (teacher, data, size) = match (arguments.next(), arguments.next()) {
        (Some(model), Some(data)) => (io::load(model)?, dataset(data)?, 320),
        _ => (io::teacher()?, shapes(&ShapesOptions::default())?, 160),
    };
    let epochs = arguments.next().map_or(Ok(3), |epochs| epochs.parse())?;

    for layer in teacher.layers(size)?.iter().take(3) {
        println!("{}: {} MACs", layer.name, layer.macs);
    }
    let mut options = PruneOptions::default();
    (options.amount, options.size) = (Amount::Macs(0.5), size);
    let student = Pruner::new(&teacher, options)?.prune()?;

    let mut fit = FitOptions::default();
    (fit.epochs, fit.size) = (epochs, size);
    let run = Distiller::new(&teacher, &student, DistillOptions::default())?.fit(&data, &fit, &Silent)?;

    for (name, model) in [("teacher", &teacher), ("pruned", &student), ("distilled", &run.model)] {
        report(name, model, &data, size)?;
    }
    let path = std::env::temp_dir().join("road.safetensors");
    io::save(&run.model, &path, Precision::Fp16)?;
    let again = io::load(&path)?;
    println!("saved {} with {} parameters", path.display(), again.cost(size)?.params);
    Ok(())
}

fn report(name: &str, model: &Model, data: &Dataset, size: usize) -> Result<(), Box<dyn Error>> {
    let cost = model.cost(size)?;
    let mut options = EvaluateOptions::default();
    options.size = size;
    let map = evaluate(model, data, &options, &Silent)?.scores.overall.map;
    println!("{name}: {} parameters, {} MACs, mAP50-95 {map:.3}", cost.params, cost.macs);
    Ok(())
}
