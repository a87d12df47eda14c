//! Small checkpoints, honest and hostile, written by hand.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// A Python object to be pickled.
#[derive(Clone)]
pub(crate) enum P {
    None,
    Bool(bool),
    Int(i32),
    Text(String),
    Tuple(Vec<P>),
    List(Vec<P>),
    Dict(Vec<(P, P)>),
    Global(&'static str, &'static str),
    /// A class called without arguments, then given a state.
    New(Box<P>, Box<P>),
    /// A call.
    Call(Box<P>, Vec<P>),
    Persistent(Box<P>),
}

pub(crate) fn text(value: &str) -> P {
    P::Text(value.into())
}

pub(crate) fn dict(entries: Vec<(&str, P)>) -> P {
    P::Dict(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

/// An `nn.Module` with these attributes, tensors and children.
pub(crate) fn module(
    (package, class): (&'static str, &'static str),
    attributes: Vec<(&str, P)>,
    parameters: Vec<(&str, P)>,
    buffers: Vec<(&str, P)>,
    children: Vec<(&str, P)>,
) -> P {
    let mut state = vec![("_parameters", dict(parameters)), ("_buffers", dict(buffers)), ("_modules", dict(children))];
    state.extend(attributes);
    P::New(Box::new(P::Global(package, class)), Box::new(dict(state)))
}

/// A tensor on storage `key` of `elements` numbers.
pub(crate) fn tensor(storage: &'static str, key: &str, elements: i32, offset: i32, shape: &[i32], stride: &[i32]) -> P {
    let id = vec![text("storage"), P::Global("torch", storage), text(key), text("cpu"), P::Int(elements)];
    let sizes = |values: &[i32]| P::Tuple(values.iter().map(|&value| P::Int(value)).collect());
    let hooks = P::Call(Box::new(P::Global("collections", "OrderedDict")), vec![]);
    let args =
        vec![P::Persistent(Box::new(P::Tuple(id))), P::Int(offset), sizes(shape), sizes(stride), P::Bool(false), hooks];
    P::Call(Box::new(P::Global("torch._utils", "_rebuild_tensor_v2")), args)
}

/// A dense fp32 tensor that fills its storage.
pub(crate) fn dense(key: &str, shape: &[i32]) -> P {
    let mut stride = vec![1; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        stride[axis] = stride[axis + 1] * shape[axis + 1];
    }
    tensor("FloatStorage", key, shape.iter().product(), 0, shape, &stride)
}

pub(crate) fn pickle(object: &P) -> Vec<u8> {
    let mut bytes = vec![0x80, 2];
    emit(object, &mut bytes);
    bytes.push(b'.');
    bytes
}

fn emit(object: &P, out: &mut Vec<u8>) {
    match object {
        P::None => out.push(b'N'),
        P::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        P::Int(value) => {
            out.push(b'J');
            out.extend(value.to_le_bytes());
        }
        P::Text(value) => {
            out.push(b'X');
            out.extend((value.len() as u32).to_le_bytes());
            out.extend(value.as_bytes());
        }
        P::Tuple(items) => {
            out.push(b'(');
            items.iter().for_each(|item| emit(item, out));
            out.push(b't');
        }
        P::List(items) => {
            out.extend(b"](");
            items.iter().for_each(|item| emit(item, out));
            out.push(b'e');
        }
        P::Dict(entries) => {
            out.extend(b"}(");
            for (key, value) in entries {
                emit(key, out);
                emit(value, out);
            }
            out.push(b'u');
        }
        P::Global(module, name) => out.extend(format!("c{module}\n{name}\n").bytes()),
        P::New(class, state) => {
            emit(class, out);
            out.extend([b')', 0x81]);
            emit(state, out);
            out.push(b'b');
        }
        P::Call(function, args) => {
            emit(function, out);
            emit(&P::Tuple(args.clone()), out);
            out.push(b'R');
        }
        P::Persistent(id) => {
            emit(id, out);
            out.push(b'Q');
        }
    }
}

/// A checkpoint being put together: what is pickled, and the storages beside it.
pub(crate) struct Checkpoint {
    pub pickle: Vec<u8>,
    pub storages: Vec<(String, Vec<u8>)>,
    pub compression: CompressionMethod,
}

impl Checkpoint {
    pub fn new(object: &P, storages: Vec<(&str, Vec<u8>)>) -> Self {
        let storages = storages.into_iter().map(|(key, bytes)| (key.to_owned(), bytes)).collect();
        Self { pickle: pickle(object), storages, compression: CompressionMethod::Stored }
    }

    pub fn write(&self, path: &Path) {
        let mut zip = ZipWriter::new(std::fs::File::create(path).unwrap());
        let options = SimpleFileOptions::default().compression_method(self.compression);
        zip.start_file("best/data.pkl", options).unwrap();
        zip.write_all(&self.pickle).unwrap();
        for (key, bytes) in &self.storages {
            zip.start_file(format!("best/data/{key}"), options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    /// Written into a folder of its own.
    pub fn file(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.pt");
        self.write(&path);
        (folder, path)
    }
}

/// The numbers 0, 1, 2 … as fp32.
pub(crate) fn counting(elements: usize) -> Vec<u8> {
    (0..elements).flat_map(|value| (value as f32).to_le_bytes()).collect()
}

pub(crate) fn conv2d(weight: P, bias: P, kernel: i32, stride: i32) -> P {
    let both = |value: i32| P::Tuple(vec![P::Int(value), P::Int(value)]);
    let attributes = vec![
        ("stride", both(stride)),
        ("padding", both(kernel / 2)),
        ("dilation", both(1)),
        ("groups", P::Int(1)),
        ("padding_mode", text("zeros")),
    ];
    module(("torch.nn.modules.conv", "Conv2d"), attributes, vec![("weight", weight), ("bias", bias)], vec![], vec![])
}

/// The convolution, its normalisation folded in, that begins the small detector: 4 filters of 3×3 on 3 channels, whose
/// weight this is.
pub(crate) fn stem(class: (&'static str, &'static str), weight: P) -> P {
    let act = module(("torch.nn.modules.activation", "SiLU"), vec![], vec![], vec![], vec![]);
    let children = vec![("conv", conv2d(weight, P::None, 3, 2)), ("act", act)];
    module(class, vec![("f", P::Int(-1)), ("i", P::Int(0))], vec![], vec![], children)
}

/// A head of one level with one anchor and two classes.
pub(crate) fn head(class: (&'static str, &'static str)) -> P {
    let conv = conv2d(dense("head", &[7, 4, 1, 1]), dense("bias", &[7]), 1, 1);
    let list = module(("torch.nn.modules.container", "ModuleList"), vec![], vec![], vec![], vec![("0", conv)]);
    let attributes = vec![("f", P::List(vec![P::Int(0)])), ("stride", dense("stride", &[1]))];
    module(class, attributes, vec![], vec![("anchors", dense("anchors", &[1, 1, 2]))], vec![("m", list)])
}

/// A head of one level and two classes whose sides are distributions over so many bins.
pub(crate) fn distribution_head(bins: i32) -> P {
    let list = |kind, child| module(("torch.nn.modules.container", kind), vec![], vec![], vec![], vec![("0", child)]);
    let tower = |key, bias, channels| {
        let last = conv2d(dense(key, &[channels, 4, 1, 1]), dense(bias, &[channels]), 1, 1);
        list("ModuleList", list("Sequential", last))
    };
    let attributes = vec![("f", P::List(vec![P::Int(0)])), ("stride", dense("stride", &[1]))];
    let children = vec![("cv2", tower("boxes", "box bias", 4 * bins)), ("cv3", tower("scores", "score bias", 2))];
    module(("ultralytics.nn.modules.head", "Detect"), attributes, vec![], vec![], children)
}

pub(crate) const CONV: (&str, &str) = ("models.common", "Conv");
pub(crate) const DETECT: (&str, &str) = ("models.yolo", "Detect");

/// A detector of these two modules.
pub(crate) fn detector(stem: P, head: P) -> P {
    let children = vec![("0", stem), ("1", head)];
    let list = module(("torch.nn.modules.container", "Sequential"), vec![], vec![], vec![], children);
    let names = vec![("names", P::List(vec![text("cat"), text("dog")]))];
    let network = module(("models.yolo", "DetectionModel"), names, vec![], vec![], vec![("model", list)]);
    dict(vec![("epoch", P::Int(3)), ("model", network), ("ema", P::None)])
}

/// The numbers of the small detector's tensors.
pub(crate) fn storages() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("stem", counting(4 * 3 * 3 * 3)),
        ("head", counting(28)),
        ("bias", counting(7)),
        ("stride", 2f32.to_le_bytes().to_vec()),
        ("anchors", [1.5f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect()),
    ]
}

/// The small detector as it should be.
pub(crate) fn honest() -> Checkpoint {
    Checkpoint::new(&detector(stem(CONV, dense("stem", &[4, 3, 3, 3])), head(DETECT)), storages())
}
