//! Which Python names a detector's checkpoint has reason to mention.
//!
//! Nothing is ever called, whatever a file names; but a file that names `os.system` is no honest checkpoint, and whoever
//! opens it should hear so.

use super::pickle::{Pickle, Ref, Value};

/// Packages whose classes describe networks, tensors and training settings.
const PACKAGES: [&str; 12] = [
    "torch",
    "torchvision",
    "numpy",
    "collections",
    "models",
    "utils",
    "yolov5",
    "ultralytics",
    "pathlib",
    "argparse",
    "datetime",
    "omegaconf",
];

/// Single names from packages that can also do harm.
const NAMES: [&str; 7] = [
    "types.SimpleNamespace",
    "functools.partial",
    "_codecs.encode",
    "codecs.encode",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    "easydict.EasyDict",
];

/// `getattr` is how a module's method is pickled; where a pickle would call what it gives, that is refused below.
const BUILTINS: [&str; 15] = [
    "getattr",
    "set",
    "frozenset",
    "dict",
    "list",
    "tuple",
    "slice",
    "complex",
    "bytearray",
    "bytes",
    "range",
    "int",
    "float",
    "str",
    "object",
];

/// The first name in a pickle that no detector needs. The class of a network's module is not among them, known or not:
/// for those the importer says which module it is.
pub(super) fn foreign(pickle: &Pickle) -> Option<String> {
    let values = pickle.values();
    let mut is_module_class = vec![false; values.len()];
    for value in values {
        if let Value::Object { class, state: Some(state), .. } = value
            && is_module_state(pickle, *state)
        {
            is_module_class[*class] = true;
        }
    }
    let named = values.iter().zip(is_module_class).find_map(|(value, is_module_class)| match value {
        Value::Global { module, name } if !is_module_class && !is_familiar(module, name) => {
            Some(format!("{module}.{name}"))
        }
        _ => None,
    });
    // What is called must itself be a name, not something that a call would have given.
    let computed = || {
        values.iter().find_map(|value| match value {
            Value::Object { class, .. } if !matches!(pickle.get(*class), Value::Global { .. }) => {
                Some("a call of something computed".to_owned())
            }
            _ => None,
        })
    };
    named.or_else(computed)
}

fn is_module_state(pickle: &Pickle, state: Ref) -> bool {
    let Value::Dict(entries) = pickle.get(state) else { return false };
    entries.iter().any(|(key, _)| matches!(pickle.get(*key), Value::Text(key) if key == "_modules"))
}

fn is_familiar(module: &str, name: &str) -> bool {
    let package = module.split('.').next().unwrap_or(module);
    match package {
        "builtins" | "__builtin__" => BUILTINS.contains(&name),
        _ => PACKAGES.contains(&package) || NAMES.contains(&format!("{module}.{name}").as_str()),
    }
}
