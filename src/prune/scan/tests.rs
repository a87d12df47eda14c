//! Scans against pruned models, interrupted scans, and what is refused.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    super::{
        LayerPlan, Plan, PruneOptions, Pruner, apply,
        fixtures::{anchored, towers},
        groups::{Group, Groups},
    },
    cut::Cut,
    journal::NAME,
    *,
};
use crate::{
    data::{Dataset, ShapesOptions, dataset, shapes},
    eval::{EvaluateOptions, evaluate_with},
    exec::{self, Inference},
    graph::Activation,
    io,
    model::Model,
    options::Options,
    progress::{Progress, Silent},
    testing::shared,
    train::loss::{DetectionLoss, Gains},
};

/// Six images of the built-in dataset.
fn data() -> Dataset {
    shapes(&ShapesOptions { train: 1, val: 6, size: 160, seed: 5, ..ShapesOptions::default() }).unwrap()
}

fn pruner() -> Pruner {
    let options = PruneOptions { importance: Some("l2".into()), ..PruneOptions::default() };
    Pruner::new(&io::teacher().unwrap(), options).unwrap()
}

/// Two batches, the second with two images.
fn options() -> ScanOptions {
    ScanOptions { ratios: vec![0.25, 0.75], images: 6, size: 160, batch: 4, ..ScanOptions::default() }
}

/// Mean loss of an image, and mAP50-95, of a model on all images.
fn direct(model: &Model, dataset: &Dataset) -> (f64, f64) {
    let gains = Gains::default().for_training(model.detector(), 160);
    let loss = DetectionLoss::new(model.detector(), &gains).unwrap();
    let (mut sum, mut images) = (0.0, 0);
    let evaluation = EvaluateOptions { size: 160, batch: 4, ..EvaluateOptions::default() };
    let metrics = evaluate_with(model, dataset, &evaluation, &Silent, &mut |batch, outputs| {
        sum += f64::from(loss.compute(outputs, &batch.targets).unwrap().total);
        images += batch.origins.len();
        Ok(())
    });
    (sum / images as f64, metrics.unwrap().scores.overall.map)
}

/// The model without the channels of a cell, really removed.
fn pruned(model: &Model, row: &ScanRow, cell: &ScanCell) -> Model {
    let groups = Groups::of(model.graph()).unwrap();
    let layer = model.graph().find(&row.layer).unwrap();
    let entry = LayerPlan { channels: groups.labels(layer).len(), remove: cell.channels.clone() };
    let plan = Plan { size: 160, layers: [(row.layer.clone(), entry)].into(), ..Plan::default() };
    apply(model, &plan).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

#[test]
fn cells_are_what_pruned_models_give() {
    let (pruner, data) = (pruner(), data());
    let scan = pruner.sensitivity(&data, &options(), &Silent).unwrap();
    let by_map = ScanOptions { metric: ScanMetric::Map, ..options() };
    let by_map = pruner.sensitivity(&data, &by_map, &Silent).unwrap();
    assert_eq!(scan.rows.len(), pruner.groups().all().len());
    let (loss, map) = direct(pruner.model(), &data);
    assert!(close(scan.base, loss) && scan.images == 6, "{} {loss}", scan.base);
    assert_eq!(by_map.base, map);
    let residual = |group: &&Group| group.producers.len() > 1;
    let of_all = pruner.groups().all();
    assert!(of_all.iter().any(|group| residual(&group)));
    let mut seen = 0;
    for (at, row) in scan.rows.iter().enumerate() {
        // Every third group, and those whose channels several layers make.
        if at % 3 != 0 && !residual(&&of_all[at]) {
            continue;
        }
        let cell = &row.cells[at % 2];
        let (loss, map) = direct(&pruned(pruner.model(), row, cell), &data);
        assert!(close(cell.value, loss), "{}: {} for {loss}", row.group, cell.value);
        assert_eq!(cell.drop, cell.value - scan.base);
        // Boxes at the threshold of confidence may come or go by rounding.
        let found = by_map.rows[at].cells[at % 2].value;
        assert!((found - map).abs() < 2e-3, "{}: {found} for {map}", row.group);
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn cells_of_a_real_network_are_what_pruned_models_give() {
    let (Some(model), Some(yaml)) = (shared("models/yolov5n-bccd.pt"), shared("data/bccd/data.yaml")) else { return };
    let (model, all) = (io::load(model).unwrap(), dataset(&yaml).unwrap());
    // Four images are enough.
    let samples = all.split("val").unwrap().samples[..4].to_vec();
    let data = Dataset::new("four".into(), all.names.clone(), vec![("val".into(), samples, Vec::new())], 1 << 28);
    let pruner = Pruner::new(&model, PruneOptions::default()).unwrap();
    let layers = ["model.0", "model.4.cv1", "model.6.m.1.cv1", "model.9.cv2", "model.20.cv3"];
    let asked = ScanOptions { layers: layers.map(String::from).to_vec(), ratios: vec![0.5], images: 4, ..options() };
    let scan = pruner.sensitivity(&data, &asked, &Silent).unwrap();
    assert_eq!(scan.rows.len(), 5);
    for row in &scan.rows {
        let (loss, _) = direct(&pruned(&model, row, &row.cells[0]), &data);
        assert!(close(row.cells[0].value, loss), "{}: {} for {loss}", row.group, row.cells[0].value);
    }
}

#[test]
fn what_is_reused_changes_nothing() {
    let (pruner, data) = (pruner(), data());
    let shared = pruner.sensitivity(&data, &options(), &Silent).unwrap();
    let alone = pruner.sensitivity(&data, &ScanOptions { reuse: false, ..options() }, &Silent).unwrap();
    for (a, b) in shared.rows.iter().zip(&alone.rows) {
        for (a, b) in a.cells.iter().zip(&b.cells) {
            assert!(close(a.value, b.value), "{a:?} {b:?}");
        }
    }
}

#[test]
fn cuts_of_every_group_equal_whole_runs() {
    for (which, model) in [anchored(3), towers(4, Activation::Silu), towers(5, Activation::Relu)].iter().enumerate() {
        let groups = Groups::of(model.graph()).unwrap();
        let images = super::super::tests::images(32);
        for group in groups.all() {
            let cut = Cut::of(model, &groups, group);
            let known = Inference::new(model, cut.starts()).unwrap().run(&images).unwrap().taps;
            let places: Vec<usize> = (0..group.coupled.len()).step_by(2).collect();
            let found = cut.run(cut.network().unwrap().as_ref(), &images, &known, &places).unwrap();
            let whole = cut.run_whole(&images, &places).unwrap();
            let untouched = exec::infer(model, &images, &[]).unwrap().outputs;
            let apart = |a: &[candle_core::Tensor], b: &[candle_core::Tensor]| {
                let one = |(a, b): (&candle_core::Tensor, &candle_core::Tensor)| {
                    let apart = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                    apart / a.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap().max(1e-6)
                };
                a.iter().zip(b).map(one).fold(0.0, f32::max)
            };
            assert!(apart(&found, &whole) <= 1e-5, "{which} {}: {}", group.name, apart(&found, &whole));
            assert!(apart(&untouched, &whole) > 1e-5, "{which} {}", group.name);
        }
    }
}

/// Asks to stop after so many cells.
struct StopAfter {
    cells: usize,
    heard: AtomicUsize,
}

impl Progress for StopAfter {
    fn advance(&self, _: u64, _: &str) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    fn stop_requested(&self) -> bool {
        self.heard.load(Ordering::Relaxed) >= self.cells
    }
}

#[test]
fn an_interrupted_scan_ends_as_one_that_was_not() {
    let (pruner, data) = (pruner(), data());
    for metric in [ScanMetric::Loss, ScanMetric::Map] {
        let asked = ScanOptions { metric, layers: vec!["model.2*".into(), "model.4*".into()], ..options() };
        let expected = pruner.sensitivity(&data, &asked, &Silent).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let asked = ScanOptions { folder: Some(folder.path().join("scan")), ..asked };
        let journal = folder.path().join("scan").join(NAME);
        let mut lengths = Vec::new();
        for round in 0..20 {
            let cells = 1 + round * 5 % 7;
            let stopped = pruner.sensitivity(&data, &asked, &StopAfter { cells, heard: AtomicUsize::new(0) });
            if let Err(error) = &stopped {
                assert!(error.to_string().starts_with("stopped after"), "{error}");
            }
            // Cut off at some byte, as a process that is killed while it writes leaves it.
            let bytes = fs::read(&journal).unwrap();
            lengths.push(bytes.len());
            let cut = (round * 37 + 11) % 90;
            fs::write(&journal, &bytes[..bytes.len().saturating_sub(cut)]).unwrap();
        }
        assert!(lengths.last() > lengths.first(), "{lengths:?}");
        let found = pruner.sensitivity(&data, &asked, &Silent).unwrap();
        assert_eq!(found, expected);
        // Once it is complete nothing is measured any more.
        let before = fs::read(&journal).unwrap();
        assert_eq!(pruner.sensitivity(&data, &asked, &Silent).unwrap(), expected);
        assert_eq!(fs::read(&journal).unwrap(), before);
    }
}

#[test]
fn journals_of_other_scans_are_refused() {
    let (pruner, data) = (pruner(), data());
    let folder = tempfile::tempdir().unwrap();
    let asked = ScanOptions { layers: vec!["model.2*".into()], folder: Some(folder.path().into()), ..options() };
    pruner.sensitivity(&data, &asked, &Silent).unwrap();
    let refused =
        |pruner: &Pruner, asked: &ScanOptions| pruner.sensitivity(&data, asked, &Silent).unwrap_err().to_string();
    let error = refused(&pruner, &ScanOptions { batch: 3, ..asked.clone() });
    assert!(error.contains("its batch is 4, now it is 3"), "{error}");
    let other = Pruner::new(&pruner.prune().unwrap(), pruner.options().clone()).unwrap();
    let error = refused(&other, &asked);
    assert!(error.contains("its tensors is") && error.contains("name another folder"), "{error}");
    let random = PruneOptions { importance: Some("random".into()), ..PruneOptions::default() };
    let error = refused(&Pruner::new(pruner.model(), random).unwrap(), &asked);
    assert!(error.contains("its order of channels is"), "{error}");
    let journal = folder.path().join(NAME);
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("\"records\":[", "\"records\":[1.0,", 1)).unwrap();
    let error = refused(&pruner, &asked);
    assert!(error.contains("line 2 is damaged"), "{error}");
    fs::write(&journal, "a shopping list\n").unwrap();
    let error = refused(&pruner, &asked);
    assert!(error.contains("no journal of a scan"), "{error}");
}

#[test]
fn bad_options_are_named() {
    let (pruner, data) = (pruner(), data());
    let refused = |asked: ScanOptions| pruner.sensitivity(&data, &asked, &Silent).unwrap_err().to_string();
    let error = refused(ScanOptions { ratios: vec![0.5, 1.5], ..options() });
    assert!(error.contains("\"ratios\" takes a number from 0 to 1 or an array of such, not [0.5, 1.5]"), "{error}");
    let error = refused(ScanOptions { layers: vec!["model.99*".into()], ..options() });
    assert!(error.contains("model.99*"), "{error}");
    let error = refused(ScanOptions { size: 100, ..options() });
    assert!(error.contains("stride"), "{error}");
    assert!(ScanOptions::default().check().is_ok());
}

#[test]
fn the_oracle_leaves_each_channel_out_and_judges_criteria() {
    let (pruner, data) = (pruner(), data());
    let asked = ScanOptions { unit: ScanUnit::Channel, layers: vec!["model.2.*".into()], ..options() };
    let oracle = pruner.sensitivity(&data, &asked, &Silent).unwrap();
    for row in &oracle.rows {
        let left_out: Vec<usize> = row.cells.iter().map(|cell| cell.channels[0]).collect();
        assert!(left_out.len() == row.channels && left_out.is_sorted(), "{left_out:?}");
    }
    let row = &oracle.rows[0];
    let (loss, _) = direct(&pruned(pruner.model(), row, &row.cells[3]), &data);
    assert!(close(row.cells[3].value, loss), "{} for {loss}", row.cells[3].value);
    let found = oracle.correlation(&pruner).unwrap();
    assert_eq!(found.len(), oracle.rows.len());
    let scores = pruner.scores().unwrap();
    let own: Vec<f64> = scores.iter().filter(|score| score.group == row.group).map(|score| score.score).collect();
    let rises: Vec<f64> = row.cells.iter().map(|cell| cell.drop).collect();
    assert_eq!(found[0].spearman, spearman(&own, &rises));
    let magnitudes: Vec<f64> = rises.iter().map(|rise| rise.abs()).collect();
    assert_eq!(found[0].magnitude, spearman(&own, &magnitudes));
    let scan = pruner.sensitivity(&data, &ScanOptions { unit: ScanUnit::Group, ..asked }, &Silent).unwrap();
    let error = scan.correlation(&pruner).unwrap_err().to_string();
    assert!(error.contains("needs a scan with unit \"channel\""), "{error}");
}

/// A scan of one group of ten channels.
fn by_hand(drops: &[(usize, f64)]) -> Scan {
    let cell = |&(count, drop): &(usize, f64)| ScanCell { channels: (0..count).collect(), value: drop, drop };
    let cells = drops.iter().map(cell).collect();
    Scan {
        model: "hand".into(),
        digest: "0123456789".into(),
        asked: String::new(),
        data: String::new(),
        images: 1,
        options: ScanOptions::default(),
        base: 0.0,
        rows: vec![ScanRow { group: "g".into(), layer: "g".into(), channels: 10, cells }],
    }
}

#[test]
fn costs_lie_between_what_was_measured_and_never_fall() {
    let scan = by_hand(&[(2, 1.0), (4, 0.5), (6, 3.0)]);
    for (share, cost) in [(0.0, 0.0), (0.1, 0.5), (0.2, 1.0), (0.3, 1.0), (0.5, 2.0), (0.6, 3.0), (0.8, 5.0)] {
        let found = scan.cost("g", share).unwrap();
        assert!((found - cost).abs() < 1e-12, "{share}: {found} for {cost}");
    }
    assert_eq!(scan.cost("h", 0.5), None);
    assert_eq!(by_hand(&[(2, -1.0)]).cost("g", 0.9), Some(0.0));
    assert_eq!(by_hand(&[(0, 0.0), (0, 0.0)]).cost("g", 0.9), Some(0.0));
}

#[test]
fn a_file_holds_it_all_and_is_of_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.json");
    let scan = by_hand(&[(2, 1.0 / 3.0)]);
    scan.save(&path).unwrap();
    assert_eq!(Scan::load(&path).unwrap(), scan);
    let error = scan.check(pruner().model()).unwrap_err().to_string();
    assert!(error.contains("hand (tensors 01234567)") && error.contains("no group g of 10 channels"), "{error}");
    fs::write(&path, "{}").unwrap();
    assert!(Scan::load(&path).unwrap_err().to_string().contains("it is no scan: missing field"));
}
