//! The types that hold the values of options.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::kind::{Kind, Value, whole};

/// A type that can hold an option's value.
pub trait OptionValue: Sized {
    /// What may limit the values.
    type Limits;

    /// What values it takes.
    fn kind(limits: Option<Self::Limits>) -> Kind;

    /// The value held; `None` where none was given.
    fn value(&self) -> Option<Value>;

    /// Holds a value; `None` where it is of another kind.
    fn read(value: &Value) -> Option<Self>;
}

impl OptionValue for bool {
    type Limits = ();

    fn kind(_: Option<()>) -> Kind {
        Kind::Flag
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Flag(*self))
    }

    fn read(value: &Value) -> Option<Self> {
        if let Value::Flag(flag) = value { Some(*flag) } else { None }
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl OptionValue for $type {
            type Limits = RangeInclusive<$type>;

            fn kind(limits: Option<Self::Limits>) -> Kind {
                let (least, most) = limits.unwrap_or(0..=<$type>::MAX).into_inner();
                let int = |bound| i64::try_from(bound).unwrap_or(i64::MAX);
                Kind::Int(int(least)..=int(most))
            }

            /// Larger numbers than scripts have count as their largest.
            fn value(&self) -> Option<Value> {
                Some(Value::Int(i64::try_from(*self).unwrap_or(i64::MAX)))
            }

            fn read(value: &Value) -> Option<Self> {
                if let Value::Int(number) = value { (*number).try_into().ok() } else { None }
            }
        }
    )+};
}
whole_numbers!(usize, u64);

impl OptionValue for f64 {
    type Limits = RangeInclusive<f64>;

    fn kind(limits: Option<Self::Limits>) -> Kind {
        Kind::Number(limits.unwrap_or(f64::MIN..=f64::MAX))
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Number(*self))
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(*number as f64),
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl OptionValue for f32 {
    type Limits = RangeInclusive<f32>;

    fn kind(limits: Option<Self::Limits>) -> Kind {
        let (least, most) = limits.unwrap_or(f32::MIN..=f32::MAX).into_inner();
        Kind::Number(decimal(least)..=decimal(most))
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Number(decimal(*self)))
    }

    fn read(value: &Value) -> Option<Self> {
        f64::read(value).map(|number| number as f32)
    }
}

/// The number that has the same short decimal: 0.1 for 0.1, not 0.10000000149.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

impl OptionValue for String {
    type Limits = &'static [&'static str];

    fn kind(choices: Option<Self::Limits>) -> Kind {
        choices.map_or(Kind::Text, Kind::Choice)
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Text(self.clone()))
    }

    fn read(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl OptionValue for PathBuf {
    type Limits = ();

    fn kind(_: Option<()>) -> Kind {
        Kind::Text
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Text(self.display().to_string()))
    }

    fn read(value: &Value) -> Option<Self> {
        String::read(value).map(PathBuf::from)
    }
}

impl OptionValue for Vec<String> {
    type Limits = &'static [&'static str];

    fn kind(choices: Option<Self::Limits>) -> Kind {
        Kind::Texts(choices.unwrap_or_default())
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Texts(self.clone()))
    }

    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(vec![text.clone()]),
            Value::Texts(texts) => Some(texts.clone()),
            _ => None,
        }
    }
}

impl OptionValue for Vec<f64> {
    type Limits = RangeInclusive<f64>;

    fn kind(limits: Option<Self::Limits>) -> Kind {
        Kind::Numbers(limits.unwrap_or(f64::MIN..=f64::MAX))
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Numbers(self.clone()))
    }

    fn read(value: &Value) -> Option<Self> {
        if let Value::Numbers(numbers) = value { Some(numbers.clone()) } else { Some(vec![f64::read(value)?]) }
    }
}

impl OptionValue for Vec<usize> {
    type Limits = RangeInclusive<usize>;

    fn kind(limits: Option<Self::Limits>) -> Kind {
        let (least, most) = limits.unwrap_or(0..=usize::MAX).into_inner();
        let int = |bound| i64::try_from(bound).unwrap_or(i64::MAX);
        Kind::Ints(int(least)..=int(most))
    }

    fn value(&self) -> Option<Value> {
        Some(Value::Numbers(self.iter().map(|&number| number as f64).collect()))
    }

    fn read(value: &Value) -> Option<Self> {
        let number = |number: &f64| whole(*number)?.try_into().ok();
        if let Value::Numbers(numbers) = value {
            numbers.iter().map(number).collect()
        } else {
            Some(vec![usize::read(value)?])
        }
    }
}

/// An option without a default. An empty text is none.
impl<T: OptionValue> OptionValue for Option<T> {
    type Limits = T::Limits;

    fn kind(limits: Option<Self::Limits>) -> Kind {
        T::kind(limits)
    }

    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(T::value)
    }

    fn read(value: &Value) -> Option<Self> {
        if *value == Value::Text(String::new()) { Some(None) } else { T::read(value).map(Some) }
    }
}
