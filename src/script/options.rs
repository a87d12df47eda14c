//! The options of a call: those that are declared with it below this layer, and objects that only scripts have.

use std::any::TypeId;

use rhai::{Dynamic, EvalAltResult, Map};

use super::failure::raise;
use super::object::{Object, short_text};
use crate::options::{self, OptionError, Options, Value};

/// The options of a function or method.
#[derive(Debug)]
pub struct OptionSet {
    /// The name of the function or method.
    pub call: &'static str,
    /// The object whose method it is; `None` for a function.
    pub receiver: Option<&'static str>,
    /// Arguments that stand before the options.
    pub before: usize,
    /// The options, in the order in which they are shown.
    pub specs: Vec<Spec>,
}

/// One option of a call.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The key in the object map.
    pub key: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// The value when it isn't given, if there is one.
    pub default: Option<Value>,
    /// What it does.
    pub doc: String,
}

/// What values an option of a call takes.
#[derive(Clone, Debug)]
pub enum OptionKind {
    /// Plain values.
    Plain(options::Kind),
    /// Plain values, or a function.
    Callable(options::Kind),
    /// Whatever a predicate accepts.
    Custom {
        /// The values it takes, in words.
        takes: &'static str,
        /// Whether a value is one of them.
        accepts: fn(&Dynamic) -> bool,
    },
    /// An object of a script type.
    Object {
        /// The type's name in scripts.
        name: &'static str,
        /// Its Rust type.
        id: TypeId,
    },
}

impl OptionSet {
    /// The options of a function, none yet.
    pub fn function(call: &'static str) -> Self {
        Self { call, receiver: None, before: 0, specs: Vec::new() }
    }

    /// The options of a method, none yet.
    pub fn method<T: Object>(call: &'static str) -> Self {
        Self { call, receiver: Some(T::NAME), before: 0, specs: Vec::new() }
    }

    /// The same for a call whose first so many arguments may be maps themselves.
    pub fn after(self, before: usize) -> Self {
        Self { before, ..self }
    }

    /// Adds the options of a declared struct, but for keys that are there already.
    pub fn group<T: Options>(mut self) -> Self {
        for options::Spec { key, kind, mut default, mut doc } in T::specs() {
            if key == SEED {
                (default, doc) = (None, format!("{doc}; that of seed(n) unless given"));
            }
            self = self.with(Spec { key, kind: OptionKind::Plain(kind), default, doc });
        }
        self
    }

    /// Adds an object.
    pub fn object<T: Object>(self, key: &'static str, doc: &str) -> Self {
        let kind = OptionKind::Object { name: T::NAME, id: TypeId::of::<T>() };
        self.with(Spec { key, kind, default: None, doc: doc.into() })
    }

    /// Adds an option that takes whatever a predicate accepts.
    pub fn custom(self, key: &'static str, takes: &'static str, accepts: fn(&Dynamic) -> bool, doc: &str) -> Self {
        self.with(Spec { key, kind: OptionKind::Custom { takes, accepts }, default: None, doc: doc.into() })
    }

    /// The same, but this option takes a function too.
    pub fn callable(mut self, key: &str) -> Self {
        for spec in self.specs.iter_mut().filter(|spec| spec.key == key) {
            if let OptionKind::Plain(kind) = &spec.kind {
                spec.kind = OptionKind::Callable(kind.clone());
            }
        }
        self
    }

    /// The same with another default.
    pub fn default(mut self, key: &str, default: Value) -> Self {
        for spec in self.specs.iter_mut().filter(|spec| spec.key == key) {
            spec.default = Some(default.clone());
        }
        self
    }

    /// The call as users write it: `pruner`, `Model.fit`.
    pub fn name(&self) -> String {
        self.receiver.map_or(self.call.to_owned(), |receiver| format!("{receiver}.{}", self.call))
    }

    /// Checks a map against the declarations; `seed` is that of whatever isn't given one.
    pub fn read(&'static self, map: Map, seed: u64) -> Result<Given, Box<EvalAltResult>> {
        let mut values = Vec::new();
        for (key, value) in &map {
            values.extend(self.value(key, value).map_err(raise)?);
        }
        Ok(Given { set: self, map, values, seed })
    }

    /// The declaration of a key.
    pub fn spec(&self, key: &str) -> Result<&Spec, OptionError> {
        self.specs
            .iter()
            .find(|spec| spec.key == key)
            .ok_or_else(|| OptionError::unknown(key, self.specs.iter().map(|spec| spec.key).collect()).of(&self.name()))
    }

    /// The options that may be written inside the maps of these keys, the outermost first; those of the call for none.
    pub fn inside(&self, within: &[String]) -> Vec<Spec> {
        within.iter().fold(self.specs.clone(), |specs, key| {
            let inner = specs.into_iter().find(|spec| spec.key == key).map(|spec| spec.kind);
            let Some(OptionKind::Plain(options::Kind::OrOptions(_, inner))) = inner else { return Vec::new() };
            let spec =
                |options::Spec { key, kind, default, doc }| Spec { key, kind: OptionKind::Plain(kind), default, doc };
            inner.into_iter().map(spec).collect()
        })
    }

    /// The key and the plain value that are given for it; none, if the option takes objects.
    pub fn value(&self, key: &str, given: &Dynamic) -> Result<Option<(&'static str, Value)>, OptionError> {
        let spec = self.spec(key)?;
        let value = spec.read(given).map_err(|error| error.of(&self.name()))?;
        Ok(value.map(|value| (spec.key, value)))
    }

    fn with(mut self, spec: Spec) -> Self {
        if self.specs.iter().all(|known| known.key != spec.key) {
            self.specs.push(spec);
        }
        self
    }
}

/// The option that the session knows when a call isn't given it.
const SEED: &str = "seed";

impl Spec {
    /// The first clause of what it does.
    pub fn summary(&self) -> &str {
        self.doc.find([';', '.']).map_or(&self.doc, |end| &self.doc[..end])
    }

    /// The plain value given; none, if the option takes objects.
    fn read(&self, given: &Dynamic) -> Result<Option<Value>, OptionError> {
        let refused = || OptionError::value(self.key, self.kind.to_string(), short_text(given));
        match &self.kind {
            OptionKind::Callable(_) if given.is_fnptr() => Ok(None),
            OptionKind::Plain(kind) | OptionKind::Callable(kind) => match plain(given) {
                Some(value) if kind.accepts(&value) => Ok(Some(value)),
                Some(Value::Flag(_) | Value::Int(_) | Value::Number(_))
                    if matches!(self.kind, OptionKind::Callable(_)) =>
                {
                    Err(refused())
                }
                Some(value) => Err(OptionError::refused(self.key, kind, &value)),
                None => Err(refused()),
            },
            OptionKind::Custom { accepts, .. } => accepts(given).then_some(None).ok_or_else(refused),
            OptionKind::Object { id, .. } => (given.type_id() == *id).then_some(None).ok_or_else(refused),
        }
    }
}

/// The values it takes, in words.
impl std::fmt::Display for OptionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(kind) => kind.fmt(f),
            Self::Callable(kind) => write!(f, "{kind}, or a function"),
            Self::Custom { takes, .. } => f.write_str(takes),
            Self::Object { name, .. } => write!(f, "a {name}"),
        }
    }
}

/// Options that were given and checked.
#[derive(Debug)]
pub struct Given {
    set: &'static OptionSet,
    map: Map,
    values: Vec<(&'static str, Value)>,
    seed: u64,
}

impl Given {
    /// The options of a declared struct: those given, others at the call's defaults.
    pub fn group<T: Options>(&self) -> T {
        let mut group = T::default();
        for spec in &self.set.specs {
            let given = self.values.iter().find(|(key, _)| *key == spec.key).map(|(_, value)| value);
            let session = Value::Int(i64::try_from(self.seed).unwrap_or(i64::MAX));
            if let Some(value) = given.or(spec.default.as_ref()).or((spec.key == SEED).then_some(&session)) {
                group.assign("", spec.key, value);
            }
        }
        group
    }

    /// The call as users write it.
    pub fn name(&self) -> String {
        self.set.name()
    }

    /// An object that was given.
    pub fn object<T: Object>(&self, key: &str) -> Option<T> {
        self.value(key).and_then(|value| value.clone().try_cast::<T>())
    }

    /// A value of any kind that was given.
    pub fn value(&self, key: &str) -> Option<&Dynamic> {
        self.map.get(key)
    }

    /// The error that what was given for an option doesn't go with the others.
    pub fn wrong(&self, key: &str, expected: &str) -> Box<EvalAltResult> {
        let found = self.value(key).map_or_else(|| "what it is by default".to_owned(), short_text);
        raise(OptionError::value(key, expected, found).of(&self.name()))
    }
}

/// A plain value of a script.
pub fn plain(value: &Dynamic) -> Option<Value> {
    if let Some(items) = value.read_lock::<rhai::Array>() {
        let number = |item: &Dynamic| item.as_int().map(|whole| whole as f64).or_else(|_| item.as_float()).ok();
        let texts =
            || items.iter().map(|item| item.clone().into_string().ok()).collect::<Option<_>>().map(Value::Texts);
        return texts().or_else(|| items.iter().map(number).collect::<Option<_>>().map(Value::Numbers));
    }
    if let Some(entries) = value.read_lock::<Map>() {
        let read = entries.iter().map(|(key, value)| Some((key.to_string(), plain(value)?)));
        return read.collect::<Option<_>>().map(Value::Map);
    }
    let number = value.as_int().map(Value::Int).or_else(|_| value.as_float().map(Value::Number));
    let flag = || value.as_bool().map(Value::Flag);
    let text = || value.clone().into_string().map(Value::Text);
    number.or_else(|_| flag()).or_else(|_| text()).ok()
}

/// The script's value that is that plain value.
pub fn dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Flag(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Number(number) => (*number).into(),
        Value::Text(text) => text.into(),
        Value::Texts(texts) => texts.iter().map(|text| text.into()).collect::<rhai::Array>().into(),
        Value::Numbers(numbers) => numbers.iter().map(|&number| number.into()).collect::<rhai::Array>().into(),
        Value::Map(values) => values.iter().map(|(key, value)| (key.into(), dynamic(value))).collect::<Map>().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::options::options;
    use crate::script::failure::ErrorValue;

    options! {
        struct Passes {
            /// passes over the data
            pub epochs: usize = 30, 1..=1000;
            /// learning rate
            pub lr: f32 = 0.01, 0.0..=1.0;
            /// four images in one
            pub mosaic: bool = true;
            /// the split
            pub split: String = "train".into(), options::SPLITS;
            /// layers to leave alone
            pub ignore: Vec<String> = Vec::new();
            /// of everything
            pub seed: u64 = 0;
            /// share that stays
            pub macs: Option<f64> = None, 0.01..=1.0;
            /// shares by layer
            pub shares: options::ByPattern<f64> = options::ByPattern::default(), 0.0..=1.0;
        }
    }

    static FIT: LazyLock<OptionSet> =
        LazyLock::new(|| OptionSet::function("fit").group::<Passes>().default("split", Value::Text("val".into())));

    fn map(source: &str) -> Map {
        rhai::Engine::new().eval(source).unwrap()
    }

    fn read(map: Map) -> Result<Passes, String> {
        match FIT.read(map, 5) {
            Ok(given) => Ok(given.group()),
            Err(error) => match *error {
                EvalAltResult::ErrorRuntime(value, _) => Err(value.cast::<ErrorValue>().to_string()),
                other => panic!("{other}"),
            },
        }
    }

    #[test]
    fn reads_given_values_and_defaults() {
        let passes = read(map(r#"#{ lr: 1, ignore: ["a", "b"], mosaic: false }"#)).unwrap();
        assert_eq!((passes.lr, passes.epochs, passes.mosaic, passes.macs), (1.0, 30, false, None));
        assert_eq!((passes.split.as_str(), passes.seed, passes.ignore), ("val", 5, vec!["a".into(), "b".into()]));
        let passes = read(map(r##"#{ shares: #{ "model.4*": 0.3, b: 1 } }"##)).unwrap();
        assert_eq!(passes.shares, options::ByPattern::from([("model.4*", 0.3), ("b", 1.0)]));
        let passes = read(map(r#"#{ ignore: "a", seed: 7 }"#)).unwrap();
        assert_eq!((passes.ignore, passes.seed), (vec!["a".into()], 7));
    }

    #[test]
    fn a_misspelt_key_names_the_nearest_and_all() {
        assert_eq!(
            read(map("#{ epoch: 3 }")).unwrap_err(),
            "fit has no option \"epoch\" (did you mean \"epochs\"?); its options are epochs, lr, mosaic, split, ignore, \
             seed, macs, shares"
        );
    }

    #[test]
    fn wrong_types_and_ranges_say_what_is_allowed() {
        let error = |source: &str| read(map(source)).unwrap_err();
        assert_eq!(error("#{ epochs: 1.5 }"), "option \"epochs\" of fit takes a whole number from 1 to 1000, not 1.5");
        assert_eq!(error("#{ epochs: 0 }"), "option \"epochs\" of fit takes a whole number from 1 to 1000, not 0");
        assert_eq!(error("#{ lr: \"a\" }"), "option \"lr\" of fit takes a number from 0 to 1, not \"a\"");
        assert_eq!(error("#{ mosaic: 1 }"), "option \"mosaic\" of fit takes true or false, not 1");
        assert_eq!(
            error("#{ ignore: [1] }"),
            "option \"ignore\" of fit takes a string or an array of strings, not [1]"
        );
        let shares = error("#{ shares: #{ a: \"b\" } }");
        assert!(shares.ends_with("patterns of layers to a number from 0 to 1, not #{ \"a\": \"b\" }"), "{shares}");
        assert!(error("#{ shares: #{ a: [] } }").contains("\"shares\""));
        let choice = error("#{ split: \"vla\" }");
        assert!(choice.ends_with("\"test\", not \"vla\" (did you mean \"val\"?)"), "{choice}");
    }

    #[test]
    fn every_default_of_every_call_is_in_its_own_range() {
        let mut api = crate::script::api::Api::default();
        crate::script::objects::bind(&mut api);
        let (_, _, sets) = api.finish();
        assert!(sets.len() > 10);
        for set in sets {
            for spec in &set.specs {
                if let (OptionKind::Plain(kind) | OptionKind::Callable(kind), Some(default)) =
                    (&spec.kind, &spec.default)
                {
                    assert!(kind.accepts(default), "{} of {}", spec.key, set.name());
                }
                assert!(!spec.doc.is_empty(), "{} of {}", spec.key, set.name());
            }
        }
    }

    fn anything() -> impl Strategy<Value = Dynamic> {
        let plain = prop_oneof![
            any::<i64>().prop_map(Dynamic::from),
            (0i64..2000).prop_map(Dynamic::from),
            any::<f64>().prop_map(Dynamic::from),
            (0.0f64..1.0).prop_map(Dynamic::from),
            any::<bool>().prop_map(Dynamic::from),
            "[a-z]{0,4}".prop_map(Dynamic::from),
            Just(Dynamic::UNIT),
        ];
        plain.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Dynamic::from))
    }

    proptest! {
        /// Whatever map is given, it is read into options in their ranges or refused with a word about a key of it.
        #[test]
        fn any_map_is_read_or_refused(
            given in prop::collection::vec((prop::sample::select(vec!["epochs", "lr", "mosaic", "split", "ignore", "seed", "macs", "shares", "x"]), anything()), 0..4)
        ) {
            let map: Map = given.into_iter().map(|(key, value)| (key.into(), value)).collect();
            let keys: Vec<String> = map.keys().map(ToString::to_string).collect();
            match read(map) {
                Ok(passes) => prop_assert!(passes.check().is_ok(), "{passes:?}"),
                Err(text) => prop_assert!(keys.iter().any(|key| text.contains(key)), "{text}"),
            }
        }
    }
}
