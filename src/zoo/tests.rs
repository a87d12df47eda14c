//! Fresh models: sizes, widths, initial weights.

use super::*;
use crate::model::Model;

/// Parameters and MACs at 640 pixels with 80 classes, then parameters with 3 classes, counted in PyTorch on the authors'
/// own definitions (YOLOv5 7.0.14, Ultralytics 8.4.190; YOLOv8 without the 16 constants of its integral).
const PUBLISHED: [(&str, u64, u64, u64); 10] = [
    ("yolov5n", 1_872_157, 2_234_060_800, 1_767_976),
    ("yolov5s", 7_235_389, 8_216_780_800, 7_027_720),
    ("yolov5m", 21_190_557, 24_436_224_000, 20_879_400),
    ("yolov5l", 46_563_709, 54_496_870_400, 46_149_064),
    ("yolov5x", 86_749_405, 102_724_096_000, 86_231_272),
    ("yolov8n", 3_157_184, 4_371_456_000, 3_011_417),
    ("yolov8s", 11_166_544, 14_300_774_400, 11_136_745),
    ("yolov8m", 25_902_624, 39_467_827_200, 25_858_041),
    ("yolov8l", 43_691_504, 82_573_721_600, 43_632_137),
    ("yolov8x", 68_229_632, 128_901_632_000, 68_155_481),
];

#[test]
fn variants_have_their_published_sizes() {
    for (name, params, macs, params_of_three) in PUBLISHED {
        let variant = variant(name);
        let graph = assemble(&variant.layers(80)).unwrap();
        graph.validate().unwrap();
        let cost = graph.total_cost([640, 640]).unwrap();
        assert_eq!((cost.params, cost.macs), (params, macs), "{name}");
        let three = assemble(&variant.layers(3)).unwrap().total_cost([640, 640]).unwrap();
        assert_eq!(three.params, params_of_three, "{name} with 3 classes");
    }
}

/// The variants with a fourth level: parameters and MACs at 256 pixels with 80 classes, then parameters with 3 classes, counted
/// in the same way.
const PUBLISHED_OF_FOUR_LEVELS: [(&str, u64, u64, u64); 10] = [
    ("yolov5n6", 3_246_940, 364_724_224, 3_098_176),
    ("yolov5s6", 12_626_620, 1_343_782_912, 12_330_016),
    ("yolov5m6", 35_731_932, 3_992_961_024, 35_287_488),
    ("yolov5l6", 76_770_172, 8_898_805_760, 76_177_888),
    ("yolov5x6", 140_794_780, 16_765_173_760, 140_054_656),
    ("yolov8n-p2", 3_354_128, 1_377_861_632, 2_926_940),
    ("yolov8s-p2", 10_884_320, 3_147_333_632, 10_637_740),
    ("yolov8m-p2", 25_082_480, 7_873_921_024, 25_052_604),
    ("yolov8l-p2", 42_888_064, 16_432_889_856, 42_848_332),
    ("yolov8x-p2", 66_637_520, 25_353_748_480, 66_587_932),
];

#[test]
fn variants_of_four_levels_have_their_published_sizes() {
    for (name, params, macs, params_of_three) in PUBLISHED_OF_FOUR_LEVELS {
        let variant = variant(name);
        let graph = assemble(&variant.layers(80)).unwrap();
        let cost = graph.total_cost([256, 256]).unwrap();
        assert_eq!((cost.params, cost.macs), (params, macs), "{name}");
        let three = assemble(&variant.layers(3)).unwrap().total_cost([256, 256]).unwrap();
        assert_eq!(three.params, params_of_three, "{name} with 3 classes");
    }
}

#[test]
fn variants_of_four_levels_have_maps_of_their_strides() {
    for (name, strides) in [("yolov5n6", [8, 16, 32, 64]), ("yolov8n-p2", [4, 8, 16, 32])] {
        let model = yolo(name, &Fresh::numbered(2)).unwrap();
        assert_eq!(model.detector().strides, strides);
        let shapes = model.graph().shapes([128, 128]).unwrap();
        let outputs = model.graph().outputs().iter().zip(&model.detector().outputs);
        for (&node, output) in outputs {
            let side = 128 / strides[output.level];
            assert_eq!([shapes[node].height, shapes[node].width], [side, side], "{name} {output:?}");
        }
    }
}

fn variant(name: &str) -> Variant {
    *VARIANTS.iter().find(|variant| variant.name == name).unwrap()
}

#[test]
fn fresh_models_are_initialised_from_their_seed() {
    let make = |seed| yolo("yolov5n", &Fresh { seed, ..Fresh::numbered(3) }).unwrap();
    let [first, again, other] = [make(1), make(1), make(2)];
    let values = |model: &Model, name: &str| model.tensors()[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let weight = "model.1.conv.weight";
    assert_eq!(values(&first, weight), values(&again, weight));
    assert_ne!(values(&first, weight), values(&other, weight));
    let bound = 1.0 / (16.0f32 * 9.0).sqrt();
    let largest = values(&first, weight).iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    assert!(largest <= bound && largest > 0.99 * bound);
    let bias = values(&first, "model.24.m.0.bias");
    let objectness = (8.0f32 / (80.0 * 80.0)).ln();
    assert!((bias[4] - objectness).abs() <= 1.0 / 8.0, "{}", bias[4]);
    let v8 = yolo("yolov8n", &Fresh::numbered(3)).unwrap();
    assert_eq!(values(&v8, "model.22.cv2.1.2.bias"), vec![1.0; 64]);
    assert!((values(&v8, "model.22.cv3.2.2.bias")[1] - (5.0f32 / 3.0 / 400.0).ln()).abs() < 1e-6);
}

#[test]
fn width_and_depth_can_be_chosen() {
    let model = yolo("yolov8n", &Fresh { width: Some(0.125), depth: Some(1.0), ..Fresh::numbered(2) }).unwrap();
    assert_eq!(model.tensors()["model.0.conv.weight"].dims(), [8, 3, 3, 3]);
    assert!(model.graph().find("model.4.m.5.cv1.conv").is_some());
    assert!(model.cost(640).unwrap().params < 3_011_417);
}

#[test]
fn impossible_requests_are_named() {
    let error = yolo("yolov9n", &Fresh::numbered(3)).unwrap_err().to_string();
    assert!(error.contains("yolov9n") && error.contains("yolov8n"), "{error}");
    let error = yolo("yolov5n", &Fresh::numbered(0)).unwrap_err().to_string();
    assert!(error.contains("classes") && error.contains("not 0"), "{error}");
    let error = yolo("yolov5n", &Fresh { width: Some(-1.0), ..Fresh::numbered(1) }).unwrap_err().to_string();
    assert!(error.contains("width"), "{error}");
}

#[test]
fn layers_that_do_not_fit_are_named() {
    let variant = VARIANTS[0];
    let mut layers = variant.layers(3);
    layers[12].from = vec![-1, 12];
    let error = assemble(&layers).unwrap_err().to_string();
    assert!(error.contains("model.12"), "{error}");
    let mut layers = variant.layers(3);
    layers.pop();
    let error = assemble(&layers).unwrap_err().to_string();
    assert!(error.contains("model.23") && error.contains("head"), "{error}");
}

#[test]
fn modules_give_their_last_node() {
    let graph = assemble(&variant("yolov8n").layers(3)).unwrap();
    let output = |path: &str| graph.node(graph.module_output(path).unwrap()).name.clone();
    assert_eq!(output("model.0"), "model.0.act");
    assert_eq!(output("model.2"), "model.2.cv2.act");
    assert_eq!(output("model.2.m.0"), "model.2.m.0.add");
    assert_eq!(output("model.11"), "model.11");
    assert_eq!(graph.outputs().len(), 6);
}

#[test]
fn a_network_drawn_anew_is_a_fresh_one() {
    let fresh = |seed| yolo("yolov8n", &Fresh { seed, ..Fresh::numbered(3) }).unwrap();
    let values = |model: &Model| -> Vec<Vec<f32>> {
        model.tensors().values().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let again = redraw(&fresh(1), &Redraw { seed: 2 }).unwrap();
    assert_eq!(values(&again), values(&fresh(2)));
    assert_ne!(values(&again), values(&fresh(1)));
    assert_eq!(again.provenance().history.last().unwrap(), "weights drawn anew, seed 2");
}
