//! The macro that gives the variants of an enum their names.

/// Names the variants of a fieldless enum, once: for display and parsing, in files, and as an option's choices.
macro_rules! option_names {
    ($type:ident, $what:literal: $($variant:ident = $name:literal),+ $(,)?) => {
        impl $type {
            /// All there are, in the order in which they are shown.
            pub const ALL: [Self; Self::NAMES.len()] = [$(Self::$variant),+];
            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name that users give.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::options::OptionError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.into_iter().find(|known| known.name() == name);
                found.ok_or_else(|| {
                    let kind = <Self as $crate::options::OptionValue>::kind(None);
                    $crate::options::OptionError::refused($what, &kind, &$crate::options::Value::Text(name.into()))
                })
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <String as serde::Deserialize>::deserialize(deserializer)?;
                name.parse().map_err(serde::de::Error::custom)
            }
        }

        impl $crate::options::OptionValue for $type {
            type Limits = ();

            fn kind(_: Option<()>) -> $crate::options::Kind {
                $crate::options::Kind::Choice(Self::NAMES)
            }

            fn value(&self) -> Option<$crate::options::Value> {
                Some($crate::options::Value::Text(self.name().into()))
            }

            fn read(value: &$crate::options::Value) -> Option<Self> {
                match value {
                    $crate::options::Value::Text(name) => name.parse().ok(),
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use option_names;
