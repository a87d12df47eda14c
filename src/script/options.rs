use std::any::TypeId;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use rhai::{Dynamic, EvalAltResult, Map};

use super::failure::raise;
use super::object::{Object, short_text};
use crate::nearest::did_you_mean;

/// The options of one call, declared once: reading, errors, completion, hints and help all go by this.
#[derive(Debug)]
pub struct OptionSet {
    /// The name of the function or method.
    pub call: &'static str,
    /// The object whose method it is; `None` for a function.
    pub receiver: Option<&'static str>,
    /// The options, in the order in which they are shown.
    pub specs: Vec<Spec>,
}

/// One option.
#[derive(Debug)]
pub struct Spec {
    /// The key in the object map.
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The value when it isn't given, if there is one.
    pub default: Option<Dynamic>,
    /// What it does, in a line.
    pub doc: &'static str,
}

/// What values an option takes.
#[derive(Debug)]
pub enum Kind {
    /// A real number in a range; whole numbers are accepted.
    Float(RangeInclusive<f64>),
    /// A whole number in a range.
    Int(RangeInclusive<i64>),
    /// `true` or `false`.
    Flag,
    /// A string.
    Text,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// An array of strings, or one string.
    Texts,
    /// Whatever a predicate accepts.
    Value {
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

/// What is wrong with an option.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// A key that the call doesn't know.
    #[error("{call} has no option \"{key}\"{}; its options are {}", did_you_mean(key, allowed.iter().copied()), allowed.join(", "))]
    Unknown {
        /// The call.
        call: String,
        /// The key found.
        key: String,
        /// The keys there are.
        allowed: Vec<&'static str>,
    },
    /// A value of the wrong type, out of range, or not among the choices.
    #[error("option \"{key}\" of {call} takes {expected}, not {found}")]
    Value {
        /// The call.
        call: String,
        /// The key.
        key: String,
        /// What it takes.
        expected: String,
        /// What it got, with a suggestion where there is one.
        found: String,
    },
    /// An option that must be given.
    #[error("{call} needs the option \"{key}\": {doc}")]
    Needed {
        /// The call.
        call: String,
        /// The key.
        key: &'static str,
        /// What it does.
        doc: &'static str,
    },
}

impl OptionError {
    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Unknown { key, .. } | Self::Value { key, .. } => key,
            Self::Needed { key, .. } => key,
        }
    }
}

impl OptionSet {
    /// The options of a function, none yet.
    pub fn function(call: &'static str) -> Self {
        Self { call, receiver: None, specs: Vec::new() }
    }

    /// The options of a method, none yet.
    pub fn method<T: Object>(call: &'static str) -> Self {
        Self { call, receiver: Some(T::NAME), specs: Vec::new() }
    }

    /// Adds a real number with a default.
    pub fn float(
        self,
        key: &'static str,
        range: RangeInclusive<f64>,
        default: impl Into<f64>,
        doc: &'static str,
    ) -> Self {
        self.with(key, Kind::Float(range), Some(Dynamic::from_float(default.into())), doc)
    }

    /// Adds a whole number with a default.
    pub fn int(
        self,
        key: &'static str,
        range: RangeInclusive<i64>,
        default: impl TryInto<i64>,
        doc: &'static str,
    ) -> Self {
        self.with(key, Kind::Int(range), default.try_into().ok().map(Dynamic::from_int), doc)
    }

    /// Adds a yes or no with a default.
    pub fn flag(self, key: &'static str, default: bool, doc: &'static str) -> Self {
        self.with(key, Kind::Flag, Some(default.into()), doc)
    }

    /// Adds a string with a default.
    pub fn text(self, key: &'static str, default: &'static str, doc: &'static str) -> Self {
        self.with(key, Kind::Text, Some(default.into()), doc)
    }

    /// Adds a choice with a default.
    pub fn one_of(
        self,
        key: &'static str,
        choices: &'static [&'static str],
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        self.with(key, Kind::OneOf(choices), Some(default.into()), doc)
    }

    /// Adds an option without a default.
    pub fn optional(self, key: &'static str, kind: Kind, doc: &'static str) -> Self {
        self.with(key, kind, None, doc)
    }

    /// All options of another set, for a call that passes them on.
    pub fn and(mut self, other: OptionSet) -> Self {
        for spec in other.specs {
            if !self.specs.iter().any(|known| known.key == spec.key) {
                self.specs.push(spec);
            }
        }
        self
    }

    /// The same without an option, for a call that decides it itself.
    pub fn without(mut self, key: &str) -> Self {
        self.specs.retain(|spec| spec.key != key);
        self
    }

    /// Checks a map against the declaration: keys, types and ranges.
    pub fn read(&'static self, map: Map) -> Result<Options, Box<EvalAltResult>> {
        for (key, value) in &map {
            let Some(spec) = self.specs.iter().find(|spec| spec.key == key.as_str()) else {
                let allowed = self.specs.iter().map(|spec| spec.key).collect();
                return Err(raise(OptionError::Unknown { call: self.name(), key: key.to_string(), allowed }));
            };
            if !spec.kind.accepts(value) {
                return Err(raise(self.wrong_value(spec, value)));
            }
        }
        Ok(Options { set: self, map })
    }

    /// The call as users write it: `pruner`, `Model.fit`.
    pub fn name(&self) -> String {
        self.receiver.map_or(self.call.to_owned(), |receiver| format!("{receiver}.{}", self.call))
    }

    fn with(mut self, key: &'static str, kind: Kind, default: Option<Dynamic>, doc: &'static str) -> Self {
        debug_assert!(self.specs.iter().all(|spec| spec.key != key), "option {key} of {} is declared twice", self.call);
        self.specs.push(Spec { key, kind, default, doc });
        self
    }

    fn wrong_value(&self, spec: &Spec, value: &Dynamic) -> OptionError {
        let mut found = short_text(value);
        if let (Kind::OneOf(choices), Ok(word)) = (&spec.kind, value.clone().into_immutable_string()) {
            found += &did_you_mean(&word, choices.iter().copied());
        }
        OptionError::Value { call: self.name(), key: spec.key.into(), expected: spec.kind.expected(), found }
    }
}

impl Kind {
    /// An object of this script type.
    pub fn object<T: Object>() -> Self {
        Self::Object { name: T::NAME, id: TypeId::of::<T>() }
    }

    /// A seed.
    pub fn seed() -> Self {
        Self::Int(0..=i64::MAX)
    }

    /// The values it takes, in words.
    pub fn expected(&self) -> String {
        match self {
            Self::Float(range) if *range.end() == f64::MAX => format!("a number from {} up", range.start()),
            Self::Float(range) => format!("a number from {} to {}", range.start(), range.end()),
            Self::Int(range) if *range.end() == i64::MAX => format!("a whole number from {} up", range.start()),
            Self::Int(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Flag => "true or false".into(),
            Self::Text => "a string".into(),
            Self::OneOf(choices) => {
                choices.iter().map(|choice| format!("\"{choice}\"")).collect::<Vec<_>>().join(" | ")
            }
            Self::Texts => "a string or an array of strings".into(),
            Self::Value { takes, .. } => (*takes).into(),
            Self::Object { name, .. } => format!("a {name}"),
        }
    }

    fn accepts(&self, value: &Dynamic) -> bool {
        match self {
            Self::Float(range) => number(value).is_some_and(|value| range.contains(&value)),
            Self::Int(range) => value.as_int().is_ok_and(|value| range.contains(&value)),
            Self::Flag => value.is_bool(),
            Self::Text => value.is_string(),
            Self::OneOf(choices) => value.clone().into_immutable_string().is_ok_and(|word| choices.contains(&&*word)),
            Self::Texts => value.is_string() || texts(value).is_some(),
            Self::Value { accepts, .. } => accepts(value),
            Self::Object { id, .. } => value.type_id() == *id,
        }
    }
}

/// Options that were given and checked.
#[derive(Debug)]
pub struct Options {
    set: &'static OptionSet,
    map: Map,
}

impl Options {
    /// A number that was given.
    pub fn given_float(&self, key: &str) -> Option<f64> {
        self.given(key).and_then(number)
    }

    /// A number, or its default.
    pub fn float(&self, key: &str) -> f64 {
        number(self.value(key)).expect("checked against the declaration")
    }

    /// A whole number that was given.
    pub fn given_int<T: TryFrom<i64>>(&self, key: &str) -> Option<T> {
        self.given(key).and_then(|value| value.as_int().ok()).and_then(|value| T::try_from(value).ok())
    }

    /// A whole number, or its default; the declared range must fit `T`.
    pub fn int<T: TryFrom<i64>>(&self, key: &str) -> T {
        let value = self.value(key).as_int().expect("checked against the declaration");
        T::try_from(value).ok().expect("the declared range fits the type")
    }

    /// A yes or no, or its default.
    pub fn flag(&self, key: &str) -> bool {
        self.value(key).as_bool().expect("checked against the declaration")
    }

    /// A string that was given.
    pub fn given_text(&self, key: &str) -> Option<String> {
        self.given(key).and_then(|value| value.clone().into_string().ok())
    }

    /// A string, or its default.
    pub fn text(&self, key: &str) -> String {
        self.value(key).clone().into_string().expect("checked against the declaration")
    }

    /// A path that was given.
    pub fn given_path(&self, key: &str) -> Option<PathBuf> {
        self.given_text(key).map(PathBuf::from)
    }

    /// Strings, none when not given.
    pub fn texts(&self, key: &str) -> Vec<String> {
        let Some(value) = self.given(key) else { return Vec::new() };
        texts(value).or_else(|| value.clone().into_string().ok().map(|text| vec![text])).unwrap_or_default()
    }

    /// An object that was given.
    pub fn given_object<T: Object>(&self, key: &str) -> Option<T> {
        self.given(key).and_then(|value| value.clone().try_cast::<T>())
    }

    /// A value of any kind that was given.
    pub fn given_value(&self, key: &str) -> Option<&Dynamic> {
        self.given(key)
    }

    /// The error that an option's value doesn't go with the others.
    pub fn wrong(&self, key: &'static str, expected: &str) -> Box<EvalAltResult> {
        let (found, expected) = (short_text(self.value(key)), expected.to_owned());
        raise(OptionError::Value { call: self.set.name(), key: key.into(), expected, found })
    }

    /// The error that an option without a default wasn't given.
    pub fn needed(&self, key: &'static str) -> Box<EvalAltResult> {
        raise(OptionError::Needed { call: self.set.name(), key, doc: self.spec(key).doc })
    }

    /// Whether the option was given.
    pub fn has(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    fn given(&self, key: &str) -> Option<&Dynamic> {
        debug_assert_eq!(self.spec(key).key, key);
        self.map.get(key)
    }

    fn value(&self, key: &str) -> &Dynamic {
        let default = || self.spec(key).default.as_ref().expect("an option with a default");
        self.map.get(key).unwrap_or_else(default)
    }

    fn spec(&self, key: &str) -> &'static Spec {
        let specs = &self.set.specs;
        specs
            .iter()
            .find(|spec| spec.key == key)
            .unwrap_or_else(|| panic!("option {key} of {} is not declared", self.set.call))
    }
}

fn number(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|value| value as f64))
}

fn texts(value: &Dynamic) -> Option<Vec<String>> {
    let items = value.read_lock::<rhai::Array>()?;
    items.iter().map(|item| item.clone().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::script::failure::Trouble;

    static FIT: LazyLock<OptionSet> = LazyLock::new(|| {
        OptionSet::function("fit")
            .int("epochs", 1..=1000, 30, "passes")
            .float("lr", 0.0..=1.0, 0.01, "learning rate")
            .one_of("optimizer", &["sgd", "adamw"], "sgd", "the optimiser")
            .flag("mosaic", true, "four images in one")
            .optional("ignore", Kind::Texts, "layers to leave alone")
            .optional("macs", Kind::Float(0.01..=1.0), "share that stays")
    });

    fn map(source: &str) -> Map {
        rhai::Engine::new().eval(source).unwrap()
    }

    fn error(source: &str) -> String {
        match *FIT.read(map(source)).unwrap_err() {
            EvalAltResult::ErrorRuntime(value, _) => value.cast::<Trouble>().to_string(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn reads_given_values_and_defaults() {
        let options = FIT.read(map(r#"#{ lr: 1, ignore: ["a", "b"], mosaic: false }"#)).unwrap();
        assert_eq!(options.float("lr"), 1.0);
        assert_eq!(options.int::<usize>("epochs"), 30);
        assert_eq!(options.text("optimizer"), "sgd");
        assert!(!options.flag("mosaic"));
        assert_eq!(options.texts("ignore"), ["a", "b"]);
        assert_eq!(options.given_float("macs"), None);
        assert_eq!(FIT.read(map(r#"#{ ignore: "a" }"#)).unwrap().texts("ignore"), ["a"]);
    }

    #[test]
    fn a_misspelt_key_names_the_nearest_and_all() {
        let text = error("#{ epoch: 3 }");
        assert_eq!(
            text,
            "fit has no option \"epoch\" (did you mean \"epochs\"?); its options are epochs, lr, optimizer, mosaic, ignore, macs"
        );
    }

    #[test]
    fn wrong_types_and_ranges_say_what_is_allowed() {
        assert_eq!(error("#{ epochs: 1.5 }"), "option \"epochs\" of fit takes a whole number from 1 to 1000, not 1.5");
        assert_eq!(error("#{ epochs: 0 }"), "option \"epochs\" of fit takes a whole number from 1 to 1000, not 0");
        assert_eq!(error("#{ lr: \"a\" }"), "option \"lr\" of fit takes a number from 0 to 1, not \"a\"");
        assert_eq!(error("#{ mosaic: 1 }"), "option \"mosaic\" of fit takes true or false, not 1");
        assert_eq!(
            error("#{ ignore: [1] }"),
            "option \"ignore\" of fit takes a string or an array of strings, not [1]"
        );
        let choice = error("#{ optimizer: \"adam\" }");
        assert!(choice.ends_with("takes \"sgd\" | \"adamw\", not \"adam\" (did you mean \"adamw\"?)"), "{choice}");
    }
}
