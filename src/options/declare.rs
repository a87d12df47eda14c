//! The macro that declares a struct of options.

/// Declares a struct of options: each field with its documentation, type and default, and after a comma its limits (a
/// range for numbers, choices for texts). A field may itself be such a struct, whose options then count as its own.
macro_rules! options {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)*)])?
                pub $field:ident: $type:ty = $default:expr $(, $limits:expr)?;
            )+
        }
    ) => {
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        $(#[$meta])*
        $visibility struct $name {
            $(
                $(#[doc = $doc])+
                $(#[serde($($serde)*)])?
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::options::Field for $name {
            type Limits = ();

            fn declare(
                &self,
                _: &'static str,
                _: &'static str,
                _: Option<()>,
                specs: &mut Vec<$crate::options::Spec>,
            ) {
                $(
                    let doc = concat!($($doc),+);
                    let limits = None $(.or(Some($limits)))?;
                    $crate::options::Field::declare(&self.$field, $crate::options::key(stringify!($field)), doc, limits, specs);
                )+
            }

            fn values(&self, values: &mut Vec<Option<$crate::options::Value>>) {
                $($crate::options::Field::values(&self.$field, values);)+
            }

            fn assign(&mut self, _: &str, key: &str, value: &$crate::options::Value) -> bool {
                $($crate::options::Field::assign(&mut self.$field, $crate::options::key(stringify!($field)), key, value))||+
            }
        }

        impl $crate::options::Options for $name {}
    };
}

pub(crate) use options;
