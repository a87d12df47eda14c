//! Checkpoints against the reference, saved models, and files that are refused.

mod headers;

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::*;
use crate::{
    exec,
    model::{Model, OutputKind},
    testing::shared,
};

const MODELS: [&str; 3] = ["yolov5n-coco", "yolov5n-bccd", "yolov8n-bccd"];

fn stored(name: &str) -> Option<HashMap<String, Tensor>> {
    shared(&format!("goldens/{name}.safetensors"))
        .map(|path| candle_core::safetensors::load(path, &Device::Cpu).unwrap())
}

fn largest_difference(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    (found - expected).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// A head's maps in the shapes of the reference: anchors and their numbers apart for YOLOv5, all places one after
/// another for YOLOv8.
fn heads(model: &Model, outputs: &[Tensor]) -> Vec<Tensor> {
    match &model.detector().head {
        crate::model::Head::Anchors { anchors } => {
            let split = |(map, level): (&Tensor, &Vec<[f32; 2]>)| {
                let (n, c, h, w) = map.dims4().unwrap();
                let apart = map.reshape((n, level.len(), c / level.len(), h, w)).unwrap();
                apart.permute((0, 1, 3, 4, 2)).unwrap().contiguous().unwrap()
            };
            outputs.iter().zip(anchors).map(split).collect()
        }
        crate::model::Head::Distribution { .. } => {
            let flat = |kind| {
                let maps = model.detector().by_level(kind, outputs);
                let maps: Vec<Tensor> = maps.iter().map(|map| map.flatten_from(2).unwrap()).collect();
                Tensor::cat(&maps, 2).unwrap()
            };
            vec![flat(OutputKind::Boxes), flat(OutputKind::Classes)]
        }
    }
}

#[test]
fn checkpoints_give_the_reference_outputs() {
    let Some(batch) = stored("batch") else { return };
    let image = batch["images"].narrow(0, 0, 1).unwrap();
    for name in MODELS {
        let model = load(shared(&format!("models/{name}.pt")).unwrap()).unwrap();
        let goldens = stored(name).unwrap();
        let taps: Vec<(String, usize)> = goldens
            .keys()
            .filter_map(|key| key.strip_prefix("tap."))
            .map(|path| (path.to_owned(), model.graph().module_output(path).unwrap()))
            .collect();
        assert!(taps.len() >= 5);
        let ids: Vec<usize> = taps.iter().map(|(_, id)| *id).collect();
        let values = exec::infer(&model, &image, &ids).unwrap();
        for (path, id) in &taps {
            let difference = largest_difference(&values.taps[id], &goldens[&format!("tap.{path}")]);
            assert!(difference <= 1e-3, "{name} {path}: {difference}");
        }
        for (index, head) in heads(&model, &values.outputs).iter().enumerate() {
            let difference = largest_difference(head, &goldens[&format!("head.{index}")]);
            assert!(difference <= 1e-3, "{name} head {index}: {difference}");
        }
    }
}

/// What the reference says of a checkpoint.
#[derive(serde::Deserialize)]
struct Facts {
    params: u64,
    macs_640: u64,
    names: Vec<String>,
    stride: Vec<f64>,
    anchors: Option<Vec<Vec<[f32; 2]>>>,
    reg_max: Option<usize>,
    convs: Vec<ConvFacts>,
}

#[derive(serde::Deserialize)]
struct ConvFacts {
    name: String,
    weight: [usize; 4],
    stride: usize,
    groups: usize,
    params: u64,
    macs: u64,
    mean: f64,
    std: f64,
    l1: f64,
    max_abs: f64,
    out: [usize; 3],
}

#[test]
fn checkpoints_have_the_reference_parameters_macs_and_facts() {
    for name in MODELS {
        let Some(path) = shared(&format!("goldens/{name}.json")) else { return };
        let facts: Facts = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let model = load(shared(&format!("models/{name}.pt")).unwrap()).unwrap();
        let cost = model.cost(640).unwrap();
        assert_eq!((cost.params, cost.macs), (facts.params, facts.macs_640), "{name}");
        assert_eq!(model.detector().classes, facts.names);
        let strides: Vec<f64> = model.detector().strides.iter().map(|&stride| stride as f64).collect();
        assert_eq!(strides, facts.stride);
        match &model.detector().head {
            crate::model::Head::Anchors { anchors } => assert_eq!(Some(anchors), facts.anchors.as_ref()),
            crate::model::Head::Distribution { reg_max } => assert_eq!(Some(*reg_max), facts.reg_max),
        }
        let costs = model.graph().costs([640, 640]).unwrap();
        let shapes = model.graph().shapes([640, 640]).unwrap();
        let nodes = model.graph().nodes().iter().enumerate();
        let convs: Vec<_> = nodes.filter(|(_, node)| matches!(node.op, crate::graph::Op::Conv(_))).collect();
        assert_eq!(convs.len(), facts.convs.len());
        for ((id, node), expected) in convs.into_iter().zip(&facts.convs) {
            let crate::graph::Op::Conv(conv) = &node.op else { unreachable!() };
            assert_eq!(node.name, expected.name);
            assert_eq!(
                (conv.weight_shape(), conv.stride, conv.groups),
                (expected.weight, [expected.stride; 2], expected.groups)
            );
            assert_eq!((costs[id].params, costs[id].macs), (expected.params, expected.macs), "{name} {}", node.name);
            assert_eq!([shapes[id].channels, shapes[id].height, shapes[id].width], expected.out);
            check_weights(&model, expected);
        }
    }
}

fn check_weights(model: &Model, expected: &ConvFacts) {
    let weight = &model.tensors()[&format!("{}.weight", expected.name)];
    let values: Vec<f64> = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let std = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let l1 = values.iter().map(|value| value.abs()).sum::<f64>();
    let max_abs = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (found, expected) in
        [(mean, expected.mean), (std, expected.std), (l1, expected.l1), (max_abs, expected.max_abs)]
    {
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1e-2), "{found} against {expected}");
    }
}

fn small() -> Model {
    let fresh = crate::zoo::Fresh { width: Some(0.125), ..crate::zoo::Fresh::numbered(2) };
    crate::zoo::yolo("yolov8n", &fresh).unwrap()
}

fn assert_same_tensors(found: &Model, expected: &Model, tolerance: f32) {
    assert_eq!(found.tensors().keys().collect::<Vec<_>>(), expected.tensors().keys().collect::<Vec<_>>());
    for (name, tensor) in expected.tensors() {
        let difference = largest_difference(&found.tensors()[name], tensor);
        assert!(difference <= tolerance, "{name}: {difference}");
    }
}

#[test]
fn saved_models_open_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut originals = vec![small().with_step("a step")];
    originals
        .extend(MODELS.iter().filter_map(|name| shared(&format!("models/{name}.pt"))).map(|path| load(path).unwrap()));
    for model in originals {
        save(&model, &path, Precision::Fp32).unwrap();
        let exact = load(&path).unwrap();
        assert_eq!(
            (exact.graph(), exact.detector(), exact.provenance()),
            (model.graph(), model.detector(), model.provenance())
        );
        assert_same_tensors(&exact, &model, 0.0);
        let size = std::fs::metadata(&path).unwrap().len();
        save(&model, &path, Precision::Fp16).unwrap();
        assert_same_tensors(&load(&path).unwrap(), &model, 2e-2);
        let half = std::fs::metadata(&path).unwrap().len();
        assert!(half * 3 < size * 2, "{half} against {size}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "temporary files stay behind");
}

#[test]
fn a_model_is_always_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let saved = |at: usize| {
        let path = folder.path().join(format!("{at}.safetensors"));
        save(&small(), &path, Precision::Fp16).unwrap();
        std::fs::read(path).unwrap()
    };
    let first = saved(0);
    assert!((1..12).all(|at| saved(at) == first));
}

#[test]
fn half_precision_keeps_numbers_that_it_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = small();
    let name = "model.0.bn.running_var";
    let large = (model.tensors()[name].ones_like().unwrap() * 1e6).unwrap();
    let mut tensors = model.tensors().clone();
    tensors.insert(name.into(), large);
    let model = model.with_tensors(tensors).unwrap();
    save(&model, &path, Precision::Fp16).unwrap();
    assert_eq!(largest_difference(&load(&path).unwrap().tensors()[name], &model.tensors()[name]), 0.0);
}

/// Opens a saved model whose header was changed; what went wrong must mention all of `expected`.
#[track_caller]
fn refused(change: impl FnOnce(&mut serde_json::Value), expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.safetensors");
    save(&small(), &path, Precision::Fp16).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    let changed = [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[8 + len..]].concat();
    std::fs::write(&path, changed).unwrap();
    let message = load(&path).unwrap_err().to_string();
    for part in ["changed.safetensors"].iter().chain(expected) {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// Changes the description of the network in a header.
fn network(header: &mut serde_json::Value, change: impl FnOnce(&mut serde_json::Value)) {
    let text = &mut header["__metadata__"]["espalier.model"];
    let mut description = serde_json::from_str(text.as_str().unwrap()).unwrap();
    change(&mut description);
    *text = description.to_string().into();
}

#[test]
fn tampered_headers_are_refused() {
    refused(|header| header["__metadata__"]["espalier.format"] = "3".into(), &["version 3", "newer"]);
    refused(|header| header["__metadata__"]["espalier.format"] = "one".into(), &["`one`"]);
    refused(|header| header["__metadata__"] = serde_json::json!({"format": "pt"}), &["not saved by Espalier"]);
    refused(|header| header["__metadata__"]["espalier.model"] = "{}".into(), &["description", "graph"]);
    refused(|header| header["model.0.bn.bias"]["data_offsets"] = serde_json::json!([0, 1u64 << 40]), &["broken"]);
    refused(|header| header["model.0.bn.bias"]["dtype"] = "F64".into(), &["broken"]);
    refused(
        |header| {
            let moved = header.as_object_mut().unwrap().remove("model.0.bn.bias").unwrap();
            header["model.0.bn.shift"] = moved;
        },
        &["model.0.bn.bias", "missing", "model.0.bn"],
    );
    refused(
        |header| header["model.0.conv.weight"]["shape"] = serde_json::json!([8, 27]),
        &["model.0.conv.weight", "[8, 27]"],
    );
    // Multiplied out, such a shape would overflow.
    let empty = |header: &mut serde_json::Value| {
        header["model.0.extra"] = serde_json::json!({
            "dtype": "F16", "shape": [0, 1u64 << 40, 1u64 << 40], "data_offsets": [0, 0],
        });
    };
    refused(empty, &["model.0.extra", "holds no numbers"]);
}

#[test]
fn networks_that_do_not_fit_are_refused() {
    refused(|header| network(header, |it| it["graph"]["nodes"][1]["out_channels"] = 9.into()), &["model.0", "9"]);
    refused(
        |header| network(header, |it| it["graph"]["nodes"][1]["inputs"] = serde_json::json!([70])),
        &["model.0.conv", "70"],
    );
    refused(
        |header| network(header, |it| it["graph"]["nodes"][1]["stride"] = serde_json::json!([0, 2])),
        &["model.0.conv", "stride"],
    );
    refused(
        |header| network(header, |it| it["graph"]["nodes"][1]["padding"] = serde_json::json!([1u64 << 60, 1])),
        &["padding"],
    );
    refused(|header| network(header, |it| it["graph"]["nodes"][1]["kind"] = "mystery".into()), &["mystery"]);
    for (key, value, expected) in [
        ("eps", 0.0, "between 0 and 1"),
        ("eps", 1.0, "between 0 and 1"),
        ("momentum", -0.5, "from 0 to 1"),
        ("momentum", 1.5, "from 0 to 1"),
    ] {
        let change = |it: &mut serde_json::Value| it["graph"]["nodes"][2][key] = value.into();
        refused(|header| network(header, change), &["model.0.bn", &format!("{key} is {value}"), expected]);
    }
    let leaky = serde_json::json!({ "function": "leaky_relu", "slope": 1e9 });
    let change = |it: &mut serde_json::Value| {
        let node = it["graph"]["nodes"][3].as_object_mut().unwrap();
        node.extend(leaky.as_object().unwrap().clone());
    };
    refused(|header| network(header, change), &["model.0.act", "slope is 1000000000"]);
    refused(|header| network(header, |it| it["graph"]["outputs"] = serde_json::json!([])), &["output"]);
    refused(
        |header| network(header, |it| it["detector"]["head"]["reg_max"] = serde_json::json!(u64::MAX)),
        &["channels"],
    );
    refused(|header| network(header, |it| it["detector"]["head"]["reg_max"] = 1.into()), &["reg_max 1", "YOLO26"]);
    refused(
        |header| network(header, |it| it["detector"]["strides"] = serde_json::json!([8, 16, 1 << 20])),
        &["1048576", "from 1 to 1024"],
    );
    let anchors =
        |extent: f32| serde_json::json!({ "kind": "anchors", "anchors": [[[extent, 4]], [[8, 8]], [[9, 9]]] });
    for extent in [0.0, -3.0] {
        let change = |it: &mut serde_json::Value| {
            it["detector"]["head"] = anchors(extent);
            it["detector"]["outputs"] = serde_json::Value::Null;
        };
        refused(|header| network(header, change), &["anchors", &format!("size {extent}")]);
    }
    refused(|header| network(header, |it| it["detector"]["classes"] = serde_json::json!([])), &["no classes"]);
    refused(|header| network(header, |it| it["detector"]["outputs"][3]["level"] = 0.into()), &["outputs", "level: 0"]);
    refused(|header| network(header, |it| it["detector"]["classes"] = serde_json::json!(["one"])), &["1 classes"]);
    refused(|header| network(header, |it| it["detector"]["strides"] = serde_json::json!([8, 16, 0])), &["stride"]);
}

#[test]
fn cut_and_changed_safetensors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.safetensors");
    save(&small(), &path, Precision::Fp16).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for part in [9, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..part]).unwrap();
        let message = load(&path).unwrap_err().to_string();
        assert!(message.contains("cut.safetensors") && message.contains("broken"), "{message}");
    }
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&path, huge).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("broken"));
}

#[test]
fn what_is_no_model_is_described() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("yolov5n.pt");
    let opened = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        let message = load(&path).unwrap_err().to_string();
        assert!(message.contains("yolov5n.pt"), "{message}");
        message
    };
    assert!(opened(b"version https://git-lfs.github.com/spec/v1\n").contains("text file"));
    assert!(opened(b"").contains("empty"));
    assert!(opened(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").contains("1.6"));
    assert!(opened(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00").contains("ff, d8"));
    assert!(
        opened(b"PK\x05\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
            .contains("data.pkl")
    );
    let missing = load(folder.path().join("nowhere.pt")).unwrap_err().to_string();
    assert!(missing.contains("nowhere.pt") && missing.contains("cannot be read"), "{missing}");
    let folder_itself = load(folder.path()).unwrap_err().to_string();
    assert!(folder_itself.contains("cannot be read"), "{folder_itself}");
}

#[test]
fn real_checkpoints_cut_short_are_refused() {
    let Some(original) = shared("models/yolov5n-bccd.pt") else { return };
    let whole = std::fs::read(original).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pt");
    for share in [1, 5, 9] {
        std::fs::write(&path, &whole[..whole.len() * share / 10]).unwrap();
        let message = load(&path).unwrap_err().to_string();
        assert!(message.contains("cut.pt") && message.contains("cut short"), "{message}");
    }
}
