//! Small checkpoints: what is read of honest ones, and why others are refused.

use rand::{RngExt, SeedableRng};
use zip::CompressionMethod;

use super::{
    checkpoint,
    fixture::*,
    pickle::{Pickle, Value},
    storage::{Archive, TensorRef},
};
use crate::{
    io::open::load,
    model::{Head, Model},
};

fn open(checkpoint: &Checkpoint) -> Result<Model, String> {
    let (_folder, path) = checkpoint.file();
    load(&path).map_err(|error| {
        let message = error.to_string();
        assert!(message.contains("small.pt"), "{message}");
        message
    })
}

/// Opens the small detector with another first module, head or numbers; what went wrong must mention all of `expected`.
#[track_caller]
fn refused(checkpoint: &Checkpoint, expected: &[&str]) {
    let message = open(checkpoint).unwrap_err();
    for part in expected {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

fn with_weight(weight: P) -> Checkpoint {
    Checkpoint::new(&detector(stem(CONV, weight), head(DETECT)), storages())
}

fn values(model: &Model, name: &str) -> Vec<f32> {
    model.tensors()[name].flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_pickle_is_data() {
    // {"a": (1, 2.5, [None]), "b": <the same list>} with the list remembered before it is filled.
    let bytes =
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01G\x40\x04\x00\x00\x00\x00\x00\x00]q\x01Na\x87X\x01\x00\x00\x00bh\x01u.";
    let pickle = Pickle::parse(bytes).unwrap();
    let Value::Dict(entries) = pickle.get(pickle.root()) else { panic!("no dictionary") };
    let Value::Tuple(items) = pickle.get(entries[0].1) else { panic!("no tuple") };
    assert_eq!((pickle.get(items[0]), pickle.get(items[1])), (&Value::Int(1), &Value::Float(2.5)));
    assert_eq!(items[2], entries[1].1);
    assert!(matches!(pickle.get(items[2]), Value::List(list) if list.len() == 1));
}

#[test]
fn long_numbers_are_signed() {
    let long = |bytes: &[u8]| {
        let pickle = [&[0x80, 2, 0x8a, bytes.len() as u8], bytes, b"."].concat();
        let pickle = Pickle::parse(&pickle).unwrap();
        pickle.get(pickle.root()).clone()
    };
    assert_eq!(long(&[]), Value::Int(0));
    assert_eq!(long(&[0xff]), Value::Int(-1));
    assert_eq!(long(&[0xff, 0]), Value::Int(255));
}

#[test]
fn pickles_that_refer_to_themselves_stay_small() {
    // ((((…),(…)),((…),(…)))): 2⁶⁰ leaves, were they copied.
    let mut bytes = vec![0x80, 2, b')'];
    for _ in 0..60 {
        bytes.extend([b'q', 0, b'h', 0, 0x86]);
    }
    bytes.push(b'.');
    assert_eq!(Pickle::parse(&bytes).unwrap().values().len(), 61);
    let mut checkpoint = honest();
    checkpoint.pickle = bytes;
    refused(&checkpoint, &["no network"]);
    // A million lists, one inside the other.
    checkpoint.pickle = [vec![0x80, 2], vec![b']'; 1 << 20], vec![b'a'; (1 << 20) - 1], vec![b'.']].concat();
    refused(&checkpoint, &["no network"]);
    // A module that is its own part.
    let before = b"\x80\x02ctorch.nn.modules.container\nSequential\n)\x81q\x00}";
    let modules = b"X\x08\x00\x00\x00_modules}X\x05\x00\x00\x00modelh\x00ss";
    checkpoint.pickle = [&before[..], modules, b"b."].concat();
    refused(&checkpoint, &["model", "Sequential"]);
}

#[test]
fn broken_pickles_say_where() {
    let broken = |bytes: &[u8]| Pickle::parse(bytes).unwrap_err().to_string();
    assert!(broken(b"\x80\x02").contains("at byte 2"));
    assert!(broken(b"\x80\x02X\xff\xff\xff\xffabc.").contains("4294967295 bytes are said to follow, 4 do"));
    assert!(broken(b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.").contains("said to follow"));
    assert!(broken(b"\x80\x07.").contains("protocol 7"));
    assert!(broken(b"\x80\x02i.").contains("0x69"));
    assert!(broken(b"\x80\x02h\x05.").contains("object 5"));
    assert!(broken(b"\x80\x02N(\x85.").contains("too few"));
    assert!(broken(b"\x80\x02t.").contains("mark"));
    assert!(broken(b"\x80\x02)NNs.").contains("holds none"));
}

#[test]
fn a_small_checkpoint_opens() {
    let model = open(&honest()).unwrap();
    assert_eq!(model.detector().classes, ["cat", "dog"]);
    assert_eq!(model.detector().strides, [2]);
    assert_eq!(model.detector().head, Head::Anchors { anchors: vec![vec![[3.0, 4.0]]] });
    assert_eq!(model.provenance().name, "small");
    assert_eq!(values(&model, "model.0.conv.weight"), (0..108).map(|value| value as f32).collect::<Vec<_>>());
    assert_eq!(model.graph().node(model.graph().outputs()[0]).name, "model.1.m.0");
    let mut compressed = honest();
    compressed.compression = CompressionMethod::Deflated;
    assert_eq!(values(&open(&compressed).unwrap(), "model.1.m.0.bias"), values(&model, "model.1.m.0.bias"));
}

#[test]
fn any_float_type_and_dense_layout_is_read() {
    let expected: Vec<f32> = (0..108).map(|value| value as f32).collect();
    let numbers = |convert: &dyn Fn(f32) -> Vec<u8>| expected.iter().flat_map(|&value| convert(value)).collect();
    let cases: [(&'static str, Vec<u8>); 3] = [
        ("HalfStorage", numbers(&|value| half::f16::from_f32(value).to_le_bytes().to_vec())),
        ("BFloat16Storage", numbers(&|value| half::bf16::from_f32(value).to_le_bytes().to_vec())),
        ("DoubleStorage", numbers(&|value| f64::from(value).to_le_bytes().to_vec())),
    ];
    for (storage, bytes) in cases {
        let mut checkpoint = with_weight(tensor(storage, "stem", 108, 0, &[4, 3, 3, 3], &[27, 9, 3, 1]));
        checkpoint.storages[0].1 = bytes;
        assert_eq!(values(&open(&checkpoint).unwrap(), "model.0.conv.weight"), expected, "{storage}");
    }
    // Channels last, behind two other numbers.
    let mut checkpoint = with_weight(tensor("FloatStorage", "stem", 110, 2, &[4, 3, 3, 3], &[27, 1, 9, 3]));
    checkpoint.storages[0].1 = counting(110);
    let found = values(&open(&checkpoint).unwrap(), "model.0.conv.weight");
    let at = |o: usize, i: usize, h: usize, w: usize| (2 + 27 * o + i + 9 * h + 3 * w) as f32;
    assert_eq!(found[..4], [at(0, 0, 0, 0), at(0, 0, 0, 1), at(0, 0, 0, 2), at(0, 0, 1, 0)]);
    assert_eq!((found[9], found[107]), (at(0, 1, 0, 0), at(3, 2, 2, 2)));
}

#[test]
fn harmful_names_are_refused_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("it-ran");
    let command = format!("touch {}", witness.display());
    for (module, name) in [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("subprocess", "Popen")] {
        let call = P::Call(Box::new(P::Global(module, name)), vec![text(&command)]);
        let full = format!("{module}.{name}");
        refused(&Checkpoint::new(&call, storages()), &[&full, "nothing was run"]);
        // Beside an honest network.
        let P::Dict(mut entries) = detector(stem(CONV, dense("stem", &[4, 3, 3, 3])), head(DETECT)) else {
            unreachable!()
        };
        entries.push((text("extra"), call));
        refused(&Checkpoint::new(&P::Dict(entries), storages()), &[&full]);
    }
    // By names from the stack, as protocol 4 does.
    let mut checkpoint = honest();
    checkpoint.pickle = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.".to_vec();
    refused(&checkpoint, &["posix.system"]);
    assert!(!witness.exists());
}

#[test]
fn methods_are_data_too_but_not_called() {
    let method = P::Call(Box::new(P::Global("builtins", "getattr")), vec![text("module"), text("forward")]);
    let beside = |extra: P| {
        let P::Dict(mut entries) = detector(stem(CONV, dense("stem", &[4, 3, 3, 3])), head(DETECT)) else {
            unreachable!()
        };
        entries.push((text("forward"), extra));
        Checkpoint::new(&P::Dict(entries), storages())
    };
    open(&beside(method.clone())).unwrap();
    refused(&beside(P::Call(Box::new(method), vec![])), &["a call of something computed"]);
}

#[test]
fn modules_that_are_not_known_are_named() {
    let weight = || dense("stem", &[4, 3, 3, 3]);
    let other = |stem, head| Checkpoint::new(&detector(stem, head), storages());
    refused(&other(stem(("models.common", "C3TR"), weight()), head(DETECT)), &["model.0", "C3TR", "not known"]);
    refused(&other(stem(("__main__", "Mine"), weight()), head(DETECT)), &["model.0", "__main__.Mine"]);
    for kind in ["Segment", "Pose", "OBB", "Classify", "v10Detect"] {
        let class = ("ultralytics.nn.modules.head", kind);
        refused(&other(stem(CONV, weight()), head(class)), &["model.1", kind, "no plain detection head"]);
    }
    refused(&other(stem(CONV, weight()), stem(CONV, weight())), &["model.1", "head"]);
    let mut state_dict = honest();
    state_dict.pickle = pickle(&dict(vec![("model", dict(vec![("model.0.conv.weight", weight())]))]));
    refused(&state_dict, &["no network", "state dict"]);
}

#[test]
fn tensors_that_lie_are_named() {
    let name = "model.0.conv.weight";
    let shaped = |elements, offset, shape: &[i32], stride: &[i32]| {
        with_weight(tensor("FloatStorage", "stem", elements, offset, shape, stride))
    };
    refused(&shaped(108, 0, &[4, 3, 3, 4], &[36, 12, 4, 1]), &[name, "108 elements"]);
    refused(&shaped(108, 1, &[4, 3, 3, 3], &[27, 9, 3, 1]), &[name, "from element 1"]);
    refused(&shaped(1 << 30, 0, &[4, 3, 3, 3], &[27, 9, 3, 1]), &[name, "4294967296 bytes, and has 432"]);
    let huge = i32::MAX;
    refused(&shaped(108, 0, &[huge, huge, huge, huge], &[1, 1, 1, 1]), &[name, "does not fit"]);
    refused(&shaped(108, 0, &[-4, 3, 3, 3], &[27, 9, 3, 1]), &[name, "-4"]);
    refused(&shaped(108, 0, &[4, 3, 3, 3], &[0, 9, 3, 1]), &[name, "gaps or overlaps"]);
    refused(&shaped(108, 0, &[0, huge, huge, huge], &[1, 1, 1, 1]), &[name, "holds no numbers"]);
    refused(&shaped(108, 0, &[108], &[1]), &["model.0.conv", "four dimensions"]);
    refused(&with_weight(tensor("LongStorage", "stem", 108, 0, &[4, 3, 3, 3], &[27, 9, 3, 1])), &[name, "LongStorage"]);
    // The right size for itself, but not for what reads it.
    refused(&with_weight(dense("head", &[7, 4, 1, 1])), &["model.0.conv", "4 channels", "has 3"]);
}

#[test]
fn tensors_that_are_missing_are_named() {
    refused(&with_weight(P::None), &["model.0.conv.weight", "missing"]);
    refused(&with_weight(dense("nowhere", &[4, 3, 3, 3])), &["model.0.conv.weight", "data/nowhere"]);
    let mut short = honest();
    short.storages[0].1.truncate(400);
    refused(&short, &["model.0.conv.weight", "432 bytes, and has 400"]);
}

#[test]
fn sides_of_one_bin_are_refused_by_name() {
    let with_bins = |bins: i32| {
        let head = distribution_head(bins);
        let mut checkpoint = Checkpoint::new(&detector(stem(CONV, dense("stem", &[4, 3, 3, 3])), head), storages());
        for (key, elements) in [("boxes", 16 * bins), ("box bias", 4 * bins), ("scores", 8), ("score bias", 2)] {
            checkpoint.storages.push((key.into(), counting(elements as usize)));
        }
        checkpoint
    };
    assert_eq!(open(&with_bins(2)).unwrap().detector().head, Head::Distribution { reg_max: 2 });
    refused(&with_bins(1), &["reg_max 1", "YOLO26", "not supported yet"]);
}

#[test]
fn a_storage_of_many_tensors_is_unpacked_once() {
    let part = |offset| tensor("FloatStorage", "stem", 108, offset, &[4], &[1]);
    let tensors = [("a", part(0)), ("b", dense("bias", &[7])), ("c", part(8)), ("d", part(4))];
    let described = Checkpoint::new(&P::Tuple(tensors.iter().map(|(_, tensor)| tensor.clone()).collect()), storages());
    let (_folder, path) = described.file();
    let pickle = Pickle::parse(&described.pickle).unwrap();
    let Value::Tuple(places) = pickle.get(pickle.root()) else { panic!("no tuple") };
    let named = tensors.iter().zip(places);
    let named = named.map(|((name, _), &at)| ((*name).to_owned(), TensorRef::parse(&pickle, at).unwrap())).collect();
    let mut archive = Archive::open(&path).unwrap();
    let found = checkpoint::tensors(&mut archive, &named).unwrap();
    assert_eq!(archive.unpacked, 2);
    assert_eq!(found["c"].to_vec1::<f32>().unwrap(), [8.0, 9.0, 10.0, 11.0]);
    assert_eq!(found["d"].to_vec1::<f32>().unwrap(), [4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn one_storage_cannot_stand_for_many() {
    let mut checkpoint = honest();
    // Twelve heads on one storage of more numbers than all the others.
    let levels: Vec<(String, P)> = (0..12)
        .map(|level| (level.to_string(), conv2d(dense("wide", &[700, 4, 1, 1]), dense("bias", &[7]), 1, 1)))
        .collect();
    let levels = levels.iter().map(|(name, conv)| (name.as_str(), conv.clone())).collect();
    let list = module(("torch.nn.modules.container", "ModuleList"), vec![], vec![], vec![], levels);
    let reads = P::List(vec![P::Int(0); 12]);
    let attributes = vec![("f", reads), ("stride", dense("stride", &[1]))];
    let anchors = vec![("anchors", dense("anchors", &[1, 1, 2]))];
    let wide = module(DETECT, attributes, vec![], anchors, vec![("m", list)]);
    checkpoint.pickle = pickle(&detector(stem(CONV, dense("stem", &[4, 3, 3, 3])), wide));
    checkpoint.storages.push(("wide".into(), counting(2800)));
    refused(&checkpoint, &["model.1.m", "more numbers than the file holds"]);
}

#[test]
fn archives_that_unpack_to_much_more_are_refused() {
    let mut bomb = honest();
    bomb.compression = CompressionMethod::Deflated;
    bomb.storages.push(("bomb".into(), vec![0; 64 << 20]));
    refused(&bomb, &["claim to unpack"]);
}

#[test]
fn cut_and_changed_archives_are_refused() {
    let (folder, path) = honest().file();
    let whole = std::fs::read(&path).unwrap();
    let broken = folder.path().join("broken.pt");
    for len in (0..whole.len()).step_by(7) {
        std::fs::write(&broken, &whole[..len]).unwrap();
        let message = load(&broken).unwrap_err().to_string();
        assert!(message.contains("broken.pt"), "{message}");
    }
    // One changed number is found by the archive's checksum.
    let needle: Vec<u8> = counting(28)[8..].to_vec();
    let at = whole.windows(needle.len()).rposition(|window| window == needle).unwrap();
    let mut changed = whole.clone();
    changed[at] ^= 1;
    std::fs::write(&broken, &changed).unwrap();
    let message = load(&broken).unwrap_err().to_string();
    assert!(message.contains("hecksum"), "{message}");
}

/// Whatever a file holds, opening it gives a model or an error.
#[test]
fn changed_pickles_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.pt");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let original = honest();
    let mut opened = 0;
    for _ in 0..1500 {
        let mut checkpoint = Checkpoint { pickle: original.pickle.clone(), ..honest() };
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..checkpoint.pickle.len());
            match rng.random_range(0..3) {
                0 => checkpoint.pickle[at] = rng.random(),
                1 => drop(checkpoint.pickle.remove(at)),
                _ => checkpoint.pickle.insert(at, b"htRb(sueQ.\x85\x81"[rng.random_range(0..12)]),
            }
        }
        checkpoint.write(&path);
        if let Ok(model) = load(&path) {
            Model::new(model.graph().clone(), model.tensors().clone(), model.detector().clone(), Default::default())
                .unwrap();
            opened += 1;
        }
    }
    assert!(opened > 0 && opened < 1500);
}
