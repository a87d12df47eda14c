//! Tables made of figures that are given here.

use super::*;

#[test]
fn a_comparison_shows_what_was_measured() {
    let row = |name: &str, macs, score| Compared {
        name: name.into(),
        params: 10,
        macs,
        bytes: 40,
        sparsity: 0.0,
        near_zeros: 0.1,
        latency: None,
        score,
    };
    let rows = [row("a", 100, None), row("b", 50, Some(Score { map: 0.5, ..Score::default() }))];
    let table = comparison(&rows, 320);
    assert_eq!(table.get(1, "macs_share").unwrap(), &Cell::Percent(0.5));
    assert_eq!(table.get(1, "map").unwrap(), &Cell::Float(0.5));
    assert_eq!(table.get(0, "map").unwrap(), &Cell::Missing);
    assert!(table.position("latency").is_err() && table.position("sparsity").is_err());
    let masked = [Compared { sparsity: 0.5, ..rows[0].clone() }, rows[1].clone()];
    let table = comparison(&masked, 320);
    assert_eq!(table.get(0, "sparsity").unwrap(), &Cell::Percent(0.5));
    assert_eq!(table.get(1, "near_zeros").unwrap(), &Cell::Percent(0.1));
}

#[test]
fn off_the_cpu_a_bench_shows_no_figures_of_the_cpu() {
    let report = BenchReport {
        size: 64,
        batch: 1,
        threads: 2,
        timing: crate::eval::Timing::new(vec![0.5]),
        images_per_second: 2.0,
        macs_per_second: 1e9,
        precision: crate::exec::ComputeDtype::Fp32,
        instructions: None,
        peak_flops: None,
        peak_memory: None,
        layers: Vec::new(),
    };
    let off = bench_report("net", &report);
    assert!(["peak_share", "peak_memory", "instructions"].into_iter().all(|column| off.position(column).is_err()));
    let on_the_cpu = bench_report("net", &BenchReport { peak_flops: Some(8e9), peak_memory: Some(1024), ..report });
    let row = ["peak_share", "peak_memory"].map(|column| on_the_cpu.get(0, column).unwrap().clone());
    assert_eq!(row, [Cell::Percent(0.25), Cell::Bytes(1024)]);
}

#[test]
fn a_bench_looks_like_this() {
    let layer = |name: &str, macs, forward, backward| LayerTime {
        layer: name.into(),
        kind: "Conv".into(),
        way: Some("direct bf16".into()),
        output: [16, 32, 32],
        macs,
        forward,
        backward,
    };
    let report = BenchReport {
        size: 64,
        batch: 2,
        threads: 4,
        timing: crate::eval::Timing::new(vec![0.010, 0.011, 0.0125]),
        images_per_second: 181.8,
        macs_per_second: 2.5e9,
        precision: crate::exec::ComputeDtype::Bf16,
        instructions: Some("AVX-512 BF16".into()),
        peak_flops: Some(1e11),
        peak_memory: Some(300 << 20),
        layers: vec![layer("model.0.conv", 1_000_000, 0.004, Some(0.006)), layer("model.1.conv", 0, 0.001, Some(0.0))],
    };
    let view = crate::report::View::default();
    insta::assert_snapshot!(bench_report("net, training", &report).render(view));
    insta::assert_snapshot!(bench_layers("net, training", &report).render(view));
}

#[test]
fn an_evaluation_looks_like_this() {
    let score = |map| Score { precision: 0.75, recall: 0.5, map50: 0.625, map75: 0.4, map };
    let class = |class, map| crate::eval::ClassScore { class, images: 3, labels: 7, score: score(map) };
    let found = Metrics {
        scores: crate::eval::Scores {
            rule: crate::eval::Rule::Ultralytics,
            overall: score(0.375),
            classes: vec![class(0, 0.5), class(2, 0.25)],
            confidence: 0.4,
            coco: None,
        },
        class_names: ["circle", "square", "star"].map(str::to_owned).to_vec(),
        split: "val".into(),
        size: 160,
        images: 5,
        backgrounds: 1,
        labels: 14,
        detections: 40,
        seconds: crate::eval::Seconds { total: 1.25, ..Default::default() },
        results: Vec::new().into(),
        samples: Vec::new().into(),
    };
    insta::assert_snapshot!(metrics(&found).render(crate::report::View::default()));
}

#[test]
fn a_comparison_looks_like_this() {
    let row = |name: &str, params, seconds: f64, map| Compared {
        name: name.into(),
        params,
        macs: params * 100,
        bytes: params * 4,
        sparsity: 0.0,
        near_zeros: 0.1,
        latency: Some(crate::eval::Timing::new(vec![seconds])),
        score: Some(Score { precision: 0.9, recall: 0.8, map50: 0.85, map75: 0.7, map }),
    };
    let rows = [row("net", 1_872_157, 0.020, 0.6), row("slim", 700_000, 0.0125, 0.55)];
    insta::assert_snapshot!(comparison(&rows, 320).render(crate::report::View::default()));
}
