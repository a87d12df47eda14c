//! Headers of saved models, changed at random: whatever they say, opening gives a model that fits together or an error
//! that says what is wrong, and never panics.

use std::sync::LazyLock;

use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::Value;

use crate::{
    io::{
        error::{IoError, NativeError},
        native::{self, Precision},
        open::save,
    },
    model::{Model, Tensors, fixtures::tiny_detector},
};

static SAVED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    let model = tiny_detector(2);
    let name = "model.0.conv.weight";
    let masks = Tensors::from([(name.to_owned(), model.tensors()[name].ones_like().unwrap())]);
    save(&model.with_masks(masks).unwrap(), &path, Precision::Fp16).unwrap();
    std::fs::read(&path).unwrap()
});

fn header_length() -> usize {
    u64::from_le_bytes(SAVED[..8].try_into().unwrap()) as usize
}

/// Values that an honest header may or may not have in a place.
fn values() -> impl Strategy<Value = Value> {
    let edges = prop::sample::select(vec![0, 1, 2, 1 << 31, 1 << 40, u64::MAX]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        edges.prop_map(Value::from),
        (0u64..20).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z.0-9]{0,8}".prop_map(Value::from),
        Just(Value::Object(serde_json::Map::new())),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
}

/// Pointers to all values within a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        Value::Object(entries) => {
            let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
            entries.iter().for_each(|(key, entry)| places(entry, &format!("{at}/{}", escaped(key)), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn put(whole: &mut Value, place: prop::sample::Index, value: Value) {
    let mut pointers = Vec::new();
    places(whole, "", &mut pointers);
    *whole.pointer_mut(&pointers[place.index(pointers.len())]).unwrap() = value;
}

/// What comes of a file: its parts fit together, or the error says something.
fn check(opened: Result<Model, NativeError>) {
    match opened {
        Ok(model) => assert!(model.detector().validate(model.graph()).is_ok()),
        Err(source) => {
            let message = IoError::Native { path: "tiny.safetensors".into(), source: Box::new(source) }.to_string();
            assert!(message.starts_with("tiny.safetensors cannot be opened: ") && message.len() > 50, "{message}");
        }
    }
}

fn with_header(header: &Value) -> Vec<u8> {
    let text = serde_json::to_vec(header).unwrap();
    [&(text.len() as u64).to_le_bytes(), &text[..], &SAVED[8 + header_length()..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(14),
        ..ProptestConfig::default()
    })]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = SAVED.clone();
        for (place, value) in changes {
            bytes[place.index(8 + header_length())] = value;
        }
        check(native::parse(&bytes));
    }

    #[test]
    fn changed_tensor_descriptions_never_panic(place in any::<prop::sample::Index>(), value in values()) {
        let mut header = serde_json::from_slice(&SAVED[8..8 + header_length()]).unwrap();
        put(&mut header, place, value);
        check(native::parse(&with_header(&header)));
    }

    #[test]
    fn changed_networks_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), values()), 1..3)
    ) {
        let mut header: Value = serde_json::from_slice(&SAVED[8..8 + header_length()]).unwrap();
        let text = &mut header["__metadata__"]["espalier.model"];
        let mut network = serde_json::from_str(text.as_str().unwrap()).unwrap();
        changes.into_iter().for_each(|(place, value)| put(&mut network, place, value));
        *text = network.to_string().into();
        check(native::parse(&with_header(&header)));
    }
}
