//! Files that are opened: what is known of them, what they give, what is refused.

use std::fs;

use candle_core::DType;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::*;
use crate::io::onnx::expected::decoded;
use crate::io::onnx::proto::{Entry, Extent};
use crate::io::onnx::{Batch, ExportOptions, export};
use crate::io::{Opened, load, open, teacher};
use crate::model::{Model, fixtures::tiny_detector};
use crate::progress::Silent;
use crate::{exec, zoo};

fn exported(folder: &TempDir, model: &Model, options: &ExportOptions) -> PathBuf {
    let path = folder.path().join("net.onnx");
    export(model, &path, options, &Silent).unwrap();
    path
}

fn small() -> ExportOptions {
    ExportOptions { size: 64, ..ExportOptions::default() }
}

fn noise(images: usize, size: usize) -> Tensor {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let pixels = (0..images * 3 * size * size).map(|_| random.random::<f32>()).collect();
    Tensor::from_vec::<_, f32>(pixels, (images, 3, size, size), &Device::Cpu).unwrap()
}

fn largest(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

#[test]
fn an_exported_model_comes_back_as_a_file_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = zoo::yolo("yolov8n", &zoo::Fresh::numbered(3)).unwrap();
    for (model, layout) in
        [(teacher().unwrap(), Layout::ByPlace), (tiny_detector(2), Layout::ByPlace), (fresh, Layout::ByValue)]
    {
        for batch in [Batch::Fixed(1), Batch::Fixed(2), Batch::Dynamic] {
            let path = exported(&folder, &model, &ExportOptions { batch, ..small() });
            let Opened::Onnx(file) = open(&path).unwrap() else { panic!("it is no ONNX file") };
            assert_eq!(file.classes(), model.detector().classes);
            let images = match batch {
                Batch::Fixed(images) => Some(images),
                Batch::Dynamic => None,
            };
            assert_eq!((file.name(), file.size(), file.batch()), ("net.onnx", Some(64), images));
            assert_eq!(file.bytes(), fs::metadata(&path).unwrap().len());
            // The last of three images does not fill a batch of two.
            let images = noise(3, 64);
            let found = file.run(&images, None).unwrap();
            assert_eq!(found.layout, layout);
            let maps = exec::infer(&model, &images, &[]).unwrap().outputs;
            assert!(largest(&found.values, &decoded(model.detector(), &maps).unwrap()) < 1e-3);
            let threads = Threads::new(2);
            assert!(largest(&file.run(&images, Some(&threads)).unwrap().values, &found.values) < 1e-4);
        }
    }
}

#[test]
fn boxes_that_are_suppressed_and_halves_are_run() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny_detector(2));
    let nms = OnnxModel::open(exported(&folder, &model, &ExportOptions { nms: true, conf: 0.1, ..small() })).unwrap();
    let boxes = nms.run(&noise(2, 64), None).unwrap();
    assert_eq!((boxes.layout, boxes.values.dims()), (Layout::Suppressed, &[2, 300, 6][..]));
    let whole = OnnxModel::open(exported(&folder, &model, &small())).unwrap();
    let half = OnnxModel::open(exported(&folder, &model, &ExportOptions { half: true, ..small() })).unwrap();
    assert!(half.bytes() < whole.bytes() && half.weights().count == whole.weights().count);
    let [whole, half] = [whole, half].map(|file| file.run(&noise(1, 64), None).unwrap().values);
    assert!((0.0..0.5).contains(&largest(&whole, &half)) && whole.dtype() == DType::F32);
}

#[test]
fn weights_and_multiplications_are_counted() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny_detector(2));
    let file = OnnxModel::open(exported(&folder, &model, &small())).unwrap();
    // Folded: two convolutions with a bias each.
    let convolutions = 4 * 3 * 9 + 7 * 4;
    assert_eq!((file.weights().count, file.weights().convolutions.count), (convolutions + 4 + 7, convolutions));
    assert_eq!(file.macs(64).unwrap(), model.cost(64).unwrap().macs);
    let text = file.macs(96).unwrap_err().to_string();
    assert!(text.contains("takes 64, the only size that net.onnx was exported for, not 96"), "{text}");
    assert!(file.check_batch(2).unwrap_err().to_string().contains("takes 1"));
    // Two images at once cost no more each; a distribution's mean is a product too.
    let fresh = zoo::yolo("yolov8n", &zoo::Fresh::numbered(3)).unwrap();
    let file =
        OnnxModel::open(exported(&folder, &fresh, &ExportOptions { batch: Batch::Fixed(2), ..small() })).unwrap();
    let places = 64 + 16 + 4;
    assert_eq!(file.macs(64).unwrap(), fresh.cost(64).unwrap().macs + 16 * 4 * places);
}

/// What is said of a file that was changed.
fn refused(change: impl Fn(&mut ModelProto)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = exported(&folder, &tiny_detector(2), &small());
    let mut file = decode(&fs::read(&path).unwrap()).unwrap();
    change(&mut file);
    fs::write(&path, file.encode_to_vec()).unwrap();
    let text = OnnxModel::open(&path).and_then(|file| file.run(&noise(1, 64), None)).unwrap_err().to_string();
    assert!(text.starts_with(&format!("{} cannot be used: ", path.display())), "{text}");
    text
}

fn set(file: &mut ModelProto, key: &str, value: &str) {
    file.metadata_props.retain(|entry| entry.key != key);
    file.metadata_props.push(Entry { key: key.into(), value: value.into() });
}

#[test]
fn files_of_another_kind_are_refused() {
    let dimension = |file: &mut ModelProto, at: usize, extent: Extent| {
        let input = &mut file.graph.as_mut().unwrap().input[0];
        input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape.as_mut().unwrap().dim[at].extent =
            Some(extent);
    };
    let text = refused(|file| set(file, "task", "segment"));
    assert!(text.contains("it is for the task `segment`, and only detectors"), "{text}");
    let text = refused(|file| file.metadata_props.retain(|entry| entry.key != "names"));
    assert!(text.contains("no class names (`names`)") && text.contains("export it again"), "{text}");
    for (names, expected) in [("__import__('os')", "no list of class names"), ("{}", "names 0 classes")] {
        let text = refused(|file| set(file, "names", names));
        assert!(text.contains(expected), "{text}");
    }
    let text = refused(|file| set(file, "names", "['a', 'b', 'c', 'd', 'e']"));
    assert!(text.contains("with 5 classes (n, 9, places) or (n, places, 10) was expected"), "{text}");
    for stride in ["-1", "0", "much", "[8, 99999]"] {
        let text = refused(|file| set(file, "stride", stride));
        assert!(text.contains("`stride` in its metadata"), "{text}");
    }
    let text = refused(|file| dimension(file, 2, Extent::Value(128)));
    assert!(text.contains("export it for squares"), "{text}");
    let text = refused(|file| dimension(file, 1, Extent::Value(1)));
    assert!(text.contains("three channels"), "{text}");
    for batch in [0, -3, i64::MAX] {
        let text = refused(|file| dimension(file, 0, Extent::Value(batch)));
        assert!(text.contains("which no images are"), "{text}");
    }
    let text = refused(|file| {
        let graph = file.graph.as_mut().unwrap();
        graph.input.push(graph.output[0].clone());
    });
    assert!(text.contains("it has 2 inputs"), "{text}");
    let text = refused(|file| file.graph.as_mut().unwrap().initializer[0].data_location = 1);
    assert!(text.contains("in another file; export it as one file"), "{text}");
    let text = refused(|file| file.graph.as_mut().unwrap().initializer[0].dims[0] += 1);
    assert!(text.contains("damaged") && text.contains("by its shape"), "{text}");
    let text = refused(|file| file.graph.as_mut().unwrap().initializer[0].dims = vec![i64::MAX; 4]);
    assert!(text.contains("damaged"), "{text}");
    let text = refused(|file| file.graph.as_mut().unwrap().node[0].op_type = "Convolve".into());
    assert!(text.contains("it cannot be run") && text.contains("Convolve"), "{text}");
    let text = refused(|file| file.graph = None);
    assert!(text.contains("it holds no graph"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let path = exported(&folder, &tiny_detector(2), &ExportOptions { raw: true, ..small() });
    let raw = OnnxModel::open(&path).unwrap_err().to_string();
    assert!(raw.contains("without `raw`"), "{raw}");
    let text = load(&path).unwrap_err().to_string();
    assert!(text.contains("`io::open`"), "{text}");
}

#[test]
fn damaged_files_are_errors_that_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = exported(&folder, &tiny_detector(2), &small());
    let whole = fs::read(&path).unwrap();
    let opens = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        open(&path).map(|_| ()).map_err(|error| error.to_string())
    };
    for bytes in [&b""[..], b"not a model", &whole[..1], &whole[..whole.len() / 2], &whole[..whole.len() - 1]] {
        let text = opens(bytes).unwrap_err();
        assert!(text.starts_with(&format!("{} cannot be used: ", path.display())), "{text}");
    }
    // What is changed may still be a model; it must never be a crash.
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let head = whole.len().min(3000);
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..4) {
            let (at, bit) = (random.random_range(0..head), random.random_range(0..8));
            bytes[at] ^= 1 << bit;
        }
        if let Err(text) = opens(&bytes) {
            assert!(text.contains("net.onnx"), "{text}");
        }
    }
    assert!(opens(&whole).is_ok());
}

#[test]
fn layouts_are_told_apart() {
    let facts = |classes: usize, suppresses| Facts {
        classes: vec!["a".into(); classes],
        stride: 32,
        size: None,
        batch: None,
        output: 0,
        suppresses,
    };
    let is = |dims: [usize; 3], classes, suppresses| layout(&dims, &facts(classes, suppresses)).ok();
    assert_eq!(is([1, 84, 8400], 80, false), Some(Layout::ByValue));
    assert_eq!(is([1, 25200, 85], 80, false), Some(Layout::ByPlace));
    assert_eq!(is([2, 300, 6], 80, true), Some(Layout::Suppressed));
    // As files without a word about it have it, and one class of YOLOv5, which has six values.
    assert_eq!(is([2, 300, 6], 80, false), Some(Layout::Suppressed));
    assert_eq!(is([1, 25200, 6], 1, false), Some(Layout::ByPlace));
    // Six values for each of six places, or seven.
    assert_eq!(is([1, 6, 7], 2, false), Some(Layout::ByValue));
    assert_eq!((is([1, 84, 8400], 3, false), is([1, 84, 8400], 80, true)), (None, None));
}
