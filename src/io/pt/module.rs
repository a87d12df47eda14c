//! A view of one pickled `nn.Module`: its class, attributes, children and tensors.

use super::{
    pickle::{Pickle, Ref, Value},
    storage::TensorRef,
};
use crate::io::error::CheckpointError;

/// A pickled module and the path that leads to it.
#[derive(Clone)]
pub(super) struct Module<'a> {
    pickle: &'a Pickle,
    /// Path in the checkpoint's state dict, such as `model.4.m.0`.
    pub path: String,
    class: (&'a str, &'a str),
    attributes: &'a [(Ref, Ref)],
}

/// Entries of a dict or an `OrderedDict`.
pub(super) fn entries(pickle: &Pickle, at: Ref) -> Option<&[(Ref, Ref)]> {
    match pickle.get(at) {
        Value::Dict(entries) => Some(entries),
        Value::Object { items, .. } => Some(items),
        _ => None,
    }
}

/// The last entry of this name.
pub(super) fn lookup(pickle: &Pickle, entries: &[(Ref, Ref)], name: &str) -> Option<Ref> {
    let is_name = |key: Ref| matches!(pickle.get(key), Value::Text(text) if text == name);
    entries.iter().rev().find(|(key, _)| is_name(*key)).map(|(_, value)| *value)
}

impl<'a> Module<'a> {
    /// The module at a place, or `None` where there is something else.
    pub fn at(pickle: &'a Pickle, at: Ref, path: &str) -> Option<Self> {
        let Value::Object { class, state: Some(state), .. } = pickle.get(at) else { return None };
        let (Value::Global { module, name }, Value::Dict(attributes)) = (pickle.get(*class), pickle.get(*state)) else {
            return None;
        };
        lookup(pickle, attributes, "_modules")?;
        Some(Self { pickle, path: path.into(), class: (module, name), attributes })
    }

    /// The class name where the class is PyTorch's or from a YOLO package, or else the class with its package.
    pub fn kind(&self) -> String {
        let (module, name) = self.class;
        match module.split('.').next() {
            Some("torch" | "models" | "yolov5" | "ultralytics") => name.to_owned(),
            _ => format!("{module}.{name}"),
        }
    }

    /// The class with its package.
    pub fn full_kind(&self) -> String {
        format!("{}.{}", self.class.0, self.class.1)
    }

    /// An error that names this module.
    pub fn fault(&self, reason: impl Into<String>) -> CheckpointError {
        let path = if self.path.is_empty() { "(the whole)".into() } else { self.path.clone() };
        CheckpointError::Module { path, kind: self.kind(), reason: reason.into() }
    }

    /// The children in order.
    pub fn children(&self) -> Result<Vec<(String, Module<'a>)>, CheckpointError> {
        let mut children = Vec::new();
        let modules = self.entries("_modules").unwrap_or_default();
        for &(key, value) in modules {
            let Value::Text(name) = self.pickle.get(key) else {
                return Err(self.fault("one of its parts has no name"));
            };
            if *self.pickle.get(value) == Value::None {
                continue;
            }
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            let child = Module::at(self.pickle, value, &path);
            children.push((name.clone(), child.ok_or_else(|| self.fault(format!("its part `{name}` is no module")))?));
        }
        Ok(children)
    }

    /// The children of these names, in that order, where there are no others.
    pub fn parts<const N: usize>(&self, names: [&str; N]) -> Result<[Option<Module<'a>>; N], CheckpointError> {
        let mut parts = [const { None }; N];
        for (name, child) in self.children()? {
            match names.iter().position(|known| *known == name) {
                Some(index) => parts[index] = Some(child),
                None => return Err(child.fault(format!("a {} with this part is not supported", self.kind()))),
            }
        }
        Ok(parts)
    }

    /// A child that must be there.
    pub fn need(&self, part: Option<Module<'a>>, name: &str) -> Result<Module<'a>, CheckpointError> {
        part.ok_or_else(|| self.fault(format!("its part `{name}` is missing")))
    }

    /// The children of a `Sequential` or `ModuleList`, which are numbered.
    pub fn sequence(&self) -> Result<Vec<Module<'a>>, CheckpointError> {
        if !matches!(self.kind().as_str(), "Sequential" | "ModuleList") {
            return Err(self.fault("expected a Sequential or ModuleList"));
        }
        let children = self.children()?;
        for (index, (name, child)) in children.iter().enumerate() {
            if *name != index.to_string() {
                return Err(child.fault(format!("expected part {index} of a sequence")));
            }
        }
        Ok(children.into_iter().map(|(_, child)| child).collect())
    }

    /// A parameter, buffer or attribute of this name that holds a tensor; `None` where there is none.
    pub fn tensor(&self, name: &str) -> Result<Option<TensorRef>, CheckpointError> {
        let of = |group| self.entries(group).and_then(|entries| lookup(self.pickle, entries, name));
        let found = of("_parameters").or_else(|| of("_buffers")).or_else(|| self.attribute(name));
        match found {
            Some(at) if *self.pickle.get(at) != Value::None => {
                let named = |reason| CheckpointError::Tensor { name: format!("{}.{name}", self.path), reason };
                TensorRef::parse(self.pickle, at).map(Some).map_err(named)
            }
            _ => Ok(None),
        }
    }

    /// A tensor that must be there.
    pub fn need_tensor(&self, name: &str) -> Result<TensorRef, CheckpointError> {
        let missing =
            || CheckpointError::Tensor { name: format!("{}.{name}", self.path), reason: "it is missing".into() };
        self.tensor(name)?.ok_or_else(missing)
    }

    /// The place of an attribute.
    pub fn attribute(&self, name: &str) -> Option<Ref> {
        lookup(self.pickle, self.attributes, name)
    }

    /// The value of an attribute.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.attribute(name).map(|at| self.pickle.get(at))
    }

    /// A whole number that must be there.
    pub fn int(&self, name: &str) -> Result<usize, CheckpointError> {
        match self.value(name) {
            Some(Value::Int(value)) if (0..=i64::from(u32::MAX)).contains(value) => Ok(*value as usize),
            _ => Err(self.fault(format!("its `{name}` is not a whole number"))),
        }
    }

    /// A number that must be there.
    pub fn float(&self, name: &str) -> Result<f64, CheckpointError> {
        match self.value(name) {
            Some(Value::Float(value)) => Ok(*value),
            Some(Value::Int(value)) => Ok(*value as f64),
            _ => Err(self.fault(format!("its `{name}` is not a number"))),
        }
    }

    /// A truth value, or the default where there is none.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, CheckpointError> {
        match self.value(name) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(self.fault(format!("its `{name}` is neither true nor false"))),
        }
    }

    /// (height, width): a pair, or one number for both.
    pub fn pair(&self, name: &str) -> Result<[usize; 2], CheckpointError> {
        let as_size = |value: &Value| match value {
            Value::Int(value) => u32::try_from(*value).ok().map(|value| value as usize),
            _ => None,
        };
        let pair = match self.value(name) {
            Some(Value::Tuple(items) | Value::List(items)) => match items[..] {
                [height, width] => as_size(self.pickle.get(height)).zip(as_size(self.pickle.get(width))),
                _ => None,
            },
            Some(value) => as_size(value).map(|both| (both, both)),
            None => None,
        };
        pair.map(|(height, width)| [height, width]).ok_or_else(|| self.fault(format!("its `{name}` is no size")))
    }

    fn entries(&self, name: &str) -> Option<&'a [(Ref, Ref)]> {
        entries(self.pickle, self.attribute(name)?)
    }
}
