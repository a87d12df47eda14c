//! Options as they are declared, set and checked.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Red,
    Green,
}
option_names!(Colour, "colour": Red = "red", Green = "green");

options! {
    /// Options within options.
    #[derive(Copy)]
    #[serde(default, deny_unknown_fields)]
    pub struct Inner {
        /// A share.
        pub share: f32 = 0.1, 0.0..=0.9;
    }
}

options! {
    /// One of every type.
    #[serde(default, deny_unknown_fields)]
    pub struct All {
        /// Passes over
        /// the data.
        pub epochs: usize = 30, 1..=1000;
        /// A number.
        #[serde(alias = "learning_rate")]
        pub lr: f64 = 0.01, 0.0..=1.0;
        /// A flag.
        pub mosaic: bool = true;
        /// A choice.
        pub colour: Colour = Colour::Red;
        /// A split.
        pub split: String = "val".into(), SPLITS;
        /// Texts.
        pub ignore: Vec<String> = Vec::new();
        /// A folder.
        pub folder: Option<PathBuf> = None;
        /// Nested.
        pub inner: Inner = Inner::default();
        /// Numbers.
        pub ratios: Vec<f64> = vec![0.1, 0.5], 0.0..=1.0;
        /// Whole numbers.
        pub block: Vec<usize> = vec![4, 1], 1..=64;
        /// Shares by layer.
        pub shares: ByPattern<f64> = ByPattern::default(), 0.0..=0.9;
        /// Widths.
        pub width: PerLayer<usize> = PerLayer::from(4), 1..=64;
        /// No default.
        pub gain: Option<f32> = None, 0.0..=f32::MAX;
    }
}

#[test]
fn a_declaration_says_it_all() {
    let specs = All::specs();
    let keys: Vec<&str> = specs.iter().map(|spec| spec.key).collect();
    assert_eq!(
        keys,
        [
            "epochs", "lr", "mosaic", "colour", "split", "ignore", "folder", "share", "ratios", "block", "shares",
            "width", "gain"
        ]
    );
    let shown = |key: &str| {
        let spec = specs.iter().find(|spec| spec.key == key).unwrap();
        let default = spec.default.as_ref().map(ToString::to_string);
        (spec.kind.to_string(), default.unwrap_or_default(), spec.doc.clone())
    };
    assert_eq!(shown("epochs"), ("a whole number from 1 to 1000".into(), "30".into(), "Passes over the data".into()));
    assert_eq!(shown("share"), ("a number from 0 to 0.9".into(), "0.1".into(), "A share".into()));
    assert_eq!(shown("colour").0, "\"red\" | \"green\"");
    assert_eq!(shown("gain"), ("a number from 0 up".into(), String::new(), "No default".into()));
}

#[test]
fn options_are_set_by_key_and_refused_in_words() {
    let mut all = All::default();
    all.set("colour", &Value::Text("green".into())).unwrap();
    all.set("share", &Value::Int(0)).unwrap();
    all.set("folder", &Value::Text("a".into())).unwrap();
    assert_eq!((all.colour, all.inner.share, all.folder.clone()), (Colour::Green, 0.0, Some("a".into())));
    assert_eq!(all.changes(), "colour \"green\", folder \"a\", share 0.0");
    all.set("folder", &Value::Text(String::new())).unwrap();
    assert_eq!(all.folder, None);
    let refused = |key: &str, value: Value| All::default().set(key, &value).unwrap_err().to_string();
    assert_eq!(
        refused("colour", Value::Text("gren".into())),
        "option \"colour\" takes \"red\" | \"green\", not \"gren\" (did you mean \"green\"?)"
    );
    assert_eq!(refused("epochs", Value::Int(0)), "option \"epochs\" takes a whole number from 1 to 1000, not 0");
    assert!(refused("epoch", Value::Int(1)).starts_with("there is no option \"epoch\" (did you mean \"epochs\"?)"));
    all.set("ratios", &Value::Int(1)).unwrap();
    all.set("block", &Value::Numbers(vec![2.0, 8.0])).unwrap();
    assert_eq!((&all.ratios[..], &all.block[..]), (&[1.0][..], &[2, 8][..]));
    for found in [vec![], vec![0.1, 1.5], vec![f64::NAN]] {
        assert!(
            refused("ratios", Value::Numbers(found)).contains("takes a number from 0 to 1 or an array of such, not [")
        );
    }
    let block = "option \"block\" takes a whole number from 1 to 64 or an array of such, not";
    assert_eq!(refused("block", Value::Numbers(vec![4.0, 1.5])), format!("{block} [4, 1.5]"));
    assert_eq!(refused("block", Value::Int(0)), format!("{block} 0"));
    let wrong = All { inner: Inner { share: f32::NAN }, ..All::default() };
    assert_eq!(wrong.check().unwrap_err().to_string(), "option \"share\" takes a number from 0 to 0.9, not NaN");
    assert_eq!(
        wrong.check().unwrap_err().of("fit").to_string(),
        "option \"share\" of fit takes a number from 0 to 0.9, not NaN"
    );
}

#[test]
fn files_keep_their_form() {
    let all = All { epochs: 7, colour: Colour::Green, ..All::default() };
    let text = serde_json::to_string(&all).unwrap();
    assert!(
        text.starts_with("{\"epochs\":7,\"lr\":0.01,\"mosaic\":true,\"colour\":\"green\",\"split\":\"val\""),
        "{text}"
    );
    assert!(text.contains("\"inner\":{\"share\":0.1}"), "{text}");
    assert_eq!(serde_json::from_str::<All>(&text).unwrap(), all);
    assert_eq!(serde_json::from_str::<All>("{\"learning_rate\":0.5}").unwrap().lr, 0.5);
    assert!(serde_json::from_str::<All>("{\"epoch\":7}").is_err());
    assert!(serde_json::from_str::<All>("{\"colour\":\"gren\"}").unwrap_err().to_string().contains("green"));
}

#[test]
fn numbers_are_given_for_all_layers_or_by_pattern() {
    let mut all = All::default();
    let map = |entries: &[(&str, Value)]| {
        Value::Map(entries.iter().map(|(pattern, value)| ((*pattern).to_owned(), value.clone())).collect())
    };
    all.set("shares", &map(&[("model.4*", Value::Number(0.3)), ("b", Value::Int(0))])).unwrap();
    all.set("width", &map(&[("model.0", Value::Int(8)), ("*", Value::Int(2))])).unwrap();
    assert_eq!(all.shares, ByPattern::from([("model.4*", 0.3), ("b", 0.0)]));
    assert_eq!((all.width.every(), all.width.patterns().iter().count()), (Some(&2), 2));
    let shown = r##"shares #{ "b": 0.0, "model.4*": 0.3 }, width #{ "*": 2, "model.0": 8 }"##;
    assert_eq!(all.changes(), shown);
    let text = serde_json::to_string(&all).unwrap();
    assert!(text.contains(r##""shares":{"b":0.0,"model.4*":0.3},"width":{"*":2,"model.0":8}"##), "{text}");
    assert_eq!(serde_json::from_str::<All>(&text).unwrap(), all);
    all.set("width", &Value::Int(7)).unwrap();
    assert_eq!((all.width.clone(), all.width.to_string()), (PerLayer::from(7), "7".into()));
    assert!(serde_json::to_string(&all).unwrap().contains("\"width\":7"));
    assert_eq!(serde_json::from_str::<All>("{\"width\":9}").unwrap().width, PerLayer::from(9));
    let refused = |key: &str, value: Value| All::default().set(key, &value).unwrap_err().to_string();
    assert_eq!(
        refused("shares", map(&[("a", Value::Number(1.5))])),
        "option \"shares\" takes a map from patterns of layers to a number from 0 to 0.9, not #{ \"a\": 1.5 }"
    );
    assert!(refused("shares", Value::Number(0.5)).ends_with("0.9, not 0.5"));
    assert!(refused("width", Value::Int(0)).contains("64, or a map from patterns of layers to such, not 0"));
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Flag),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Number),
        (-3i64..2000).prop_map(Value::Int),
        (-0.1f64..1.1).prop_map(Value::Number),
        "[a-z]{0,5}".prop_map(Value::Text),
        prop::sample::select(vec!["red", "green", "val"]).prop_map(|word| Value::Text(word.into())),
        prop::collection::vec("[a-z]{0,3}", 0..3).prop_map(Value::Texts),
        prop::collection::vec(-0.1f64..1.1, 0..3).prop_map(Value::Numbers),
        prop::collection::vec((-3i32..70).prop_map(f64::from), 0..3).prop_map(Value::Numbers),
        prop::collection::btree_map("[a-z.*]{0,3}", (-1i64..70).prop_map(Value::Int), 0..3).prop_map(Value::Map),
        prop::collection::btree_map("[a-z.*]{0,3}", (-0.1f64..1.1).prop_map(Value::Number), 0..3).prop_map(Value::Map),
    ]
}

proptest! {
    /// Whatever is set is refused and changes nothing, or fits and is what was given.
    #[test]
    fn what_is_accepted_fits(key in 0usize..14, value in values()) {
        let specs = All::specs();
        let key = specs.get(key).map_or("none", |spec| spec.key);
        let mut all = All::default();
        match all.set(key, &value) {
            Ok(()) => prop_assert!(all.check().is_ok(), "{all:?}"),
            Err(error) => {
                prop_assert_eq!(error.key(), key);
                prop_assert_eq!(&all, &All::default());
            }
        }
    }
}
