//! A checkpoint as a whole: its module tree and the shapes of its tensors say the structure and every width.

use std::{collections::BTreeMap, path::Path};

use candle_core::Tensor;

use super::{
    blocks,
    module::{Module, entries, lookup},
    names,
    pickle::{Pickle, Ref, Value},
    storage::{Archive, TensorRef},
};
use crate::{
    io::error::CheckpointError,
    model::{Detector, Head, Model, Provenance, Tensors},
    zoo::{Block, Detect, Layer, assemble},
};

type Found<T> = Result<T, CheckpointError>;

/// Opens a checkpoint.
pub(in crate::io) fn load(path: &Path) -> Found<Model> {
    let mut archive = Archive::open(path).map_err(CheckpointError::Archive)?;
    let bytes = archive.pickle().map_err(CheckpointError::Archive)?;
    let pickle = Pickle::parse(&bytes).map_err(|error| CheckpointError::Pickle(error.to_string()))?;
    if let Some(name) = names::foreign(&pickle) {
        return Err(CheckpointError::Foreign { name });
    }
    let network = network(&pickle)?;
    let list = list(&network)?;
    let mut reader = blocks::Reader::default();
    let mut layers = Vec::with_capacity(list.len());
    for module in &list {
        layers.push(Layer { from: from(module, &pickle)?, block: reader.block(module)? });
    }
    let graph = assemble(&layers)?;
    let tensors = tensors(&mut archive, &reader.tensors)?;
    let detector = detector(&network, &list, &layers, &mut archive, &pickle)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let step = format!("opened {}{}", path.file_name().unwrap_or_default().to_string_lossy(), origin(&network));
    Ok(Model::new(graph, tensors, detector, Provenance { name, history: vec![step], ..Provenance::default() })?)
}

/// The numbers of all tensors. Those of one storage are read in a row, so that it is unpacked once.
pub(super) fn tensors(archive: &mut Archive, described: &BTreeMap<String, TensorRef>) -> Found<Tensors> {
    let mut by_storage: Vec<(&String, &TensorRef)> = described.iter().collect();
    by_storage.sort_by_key(|(_, tensor)| &tensor.key);
    let read = |(name, tensor): (&String, &TensorRef)| {
        let named = |reason| CheckpointError::Tensor { name: name.clone(), reason };
        Ok((name.clone(), archive.tensor(tensor).map_err(named)?))
    };
    by_storage.into_iter().map(read).collect()
}

/// The detector in a checkpoint: its averaged weights where there are some, otherwise its last ones, or the whole pickle.
fn network(pickle: &Pickle) -> Found<Module<'_>> {
    let at = |at: Ref| Module::at(pickle, at, "");
    let found = at(pickle.root()).or_else(|| {
        let entries = entries(pickle, pickle.root())?;
        ["ema", "model"].into_iter().find_map(|key| at(lookup(pickle, entries, key)?))
    });
    let reason = "it has no network under `ema` or `model`, only data; save the whole model, not its state dict";
    found.ok_or_else(|| CheckpointError::Network(reason.into()))
}

fn list<'a>(network: &Module<'a>) -> Found<Vec<Module<'a>>> {
    let children = network.children()?;
    match children.into_iter().find(|(name, _)| name == "model") {
        Some((_, list)) => list.sequence(),
        None => Err(network.fault("its list of modules, `model`, is missing")),
    }
}

/// Which layers a module reads.
fn from(module: &Module, pickle: &Pickle) -> Found<Vec<isize>> {
    let source = |value: &Value| match value {
        Value::Int(value) => isize::try_from(*value).ok(),
        _ => None,
    };
    let sources = match module.value("f") {
        Some(Value::List(items) | Value::Tuple(items)) => items.iter().map(|&item| source(pickle.get(item))).collect(),
        Some(value) => source(value).map(|one| vec![one]),
        None => None,
    };
    sources.ok_or_else(|| module.fault("its `f` does not say which layers it reads"))
}

fn detector(
    network: &Module,
    list: &[Module],
    layers: &[Layer],
    archive: &mut Archive,
    pickle: &Pickle,
) -> Found<Detector> {
    let (Some(module), Some(layer)) = (list.last(), layers.last()) else {
        return Err(network.fault("its list of modules is empty"));
    };
    let strides = strides(network, module, archive)?;
    let Block::Detect(detect) = &layer.block else {
        return Err(module.fault("the last module is no detection head"));
    };
    let (head, classes) = match detect {
        Detect::Anchors { m } => {
            let anchors = anchors(module, &strides, archive)?;
            let each = anchors.first().map_or(1, |level| level.len().max(1));
            let outputs = m.first().map_or(0, |conv| conv.out_channels);
            (Head::Anchors { anchors }, (outputs / each).saturating_sub(5))
        }
        Detect::Distribution { cv2, cv3 } => {
            let reg_max = cv2.first().map_or(0, |tower| tower.last.out_channels / 4);
            (Head::Distribution { reg_max }, cv3.first().map_or(0, |tower| tower.last.out_channels))
        }
    };
    let classes = class_names(network, pickle)?.unwrap_or_else(|| (0..classes).map(|i| i.to_string()).collect());
    Ok(Detector::new(classes, strides, head))
}

fn numbers(module: &Module, name: &str, archive: &mut Archive) -> Found<(Vec<usize>, Vec<f32>)> {
    let tensor = module.need_tensor(name)?;
    let read = |tensor: Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    let values = archive.tensor(&tensor).and_then(|tensor| read(tensor).map_err(|error| error.to_string()));
    let named = |reason| CheckpointError::Tensor { name: format!("{}.{name}", module.path), reason };
    Ok((tensor.shape, values.map_err(named)?))
}

fn strides(network: &Module, head: &Module, archive: &mut Archive) -> Found<Vec<usize>> {
    let owner = if head.attribute("stride").is_some() { head } else { network };
    let (_, values) = numbers(owner, "stride", archive)?;
    let whole = |&value: &f32| (value.fract() == 0.0 && (1.0..=1024.0).contains(&value)).then_some(value as usize);
    let strides = values.iter().map(whole).collect::<Option<_>>();
    strides.ok_or_else(|| head.fault(format!("its strides {values:?} are not whole pixels from 1 to 1024")))
}

/// Anchors in pixels; the file has them in cells.
fn anchors(head: &Module, strides: &[usize], archive: &mut Archive) -> Found<Vec<Vec<[f32; 2]>>> {
    let (shape, values) = numbers(head, "anchors", archive)?;
    let [levels, each, 2] = shape[..] else {
        return Err(head.fault(format!("its anchors have shape {shape:?}; (levels, anchors, 2) is expected")));
    };
    if levels != strides.len() {
        return Err(head.fault(format!("it has anchors for {levels} levels, and {} strides", strides.len())));
    }
    let pairs: Vec<[f32; 2]> = values.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    let level = |(anchors, &stride): (&[[f32; 2]], &usize)| {
        anchors.iter().map(|pair| pair.map(|extent| extent * stride as f32)).collect()
    };
    Ok(pairs.chunks(each.max(1)).zip(strides).map(level).collect())
}

/// Class names: a list, or a map from index to name.
fn class_names(network: &Module, pickle: &Pickle) -> Found<Option<Vec<String>>> {
    let text = |at: Ref| match pickle.get(at) {
        Value::Text(name) => Some(name.clone()),
        Value::Int(name) => Some(name.to_string()),
        _ => None,
    };
    let names = match network.value("names") {
        None | Some(Value::None) => return Ok(None),
        Some(Value::List(items) | Value::Tuple(items)) => items.iter().map(|&item| text(item)).collect(),
        Some(Value::Dict(entries)) => {
            let mut sorted: Vec<(i64, Ref)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                if let Value::Int(index) = pickle.get(*key) {
                    sorted.push((*index, *value));
                }
            }
            sorted.sort_unstable();
            let in_order = sorted.iter().enumerate().all(|(place, (index, _))| place as i64 == *index);
            let complete = in_order && sorted.len() == entries.len();
            complete.then(|| sorted.iter().map(|(_, name)| text(*name)).collect::<Option<Vec<_>>>()).flatten()
        }
        Some(_) => None,
    };
    match names {
        Some(names) => Ok(Some(names)),
        None => Err(CheckpointError::Network("its class names are no list or map of texts by index".into())),
    }
}

/// What the checkpoint says of its architecture, in brackets.
fn origin(network: &Module) -> String {
    match network.value("yaml_file") {
        Some(Value::Text(file)) => format!(" ({} from {file})", network.full_kind()),
        _ => format!(" ({})", network.full_kind()),
    }
}
