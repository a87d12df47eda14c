//! Values in tables, and how they are written.

use std::cmp::Ordering;

use serde_json::Value;

/// A typed value in a table. What it is decides how it is shown, sorted and written.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Cell {
    /// No value here.
    #[default]
    Missing,
    /// Words.
    Text(String),
    /// Yes or no.
    Flag(bool),
    /// A whole number, shown in full.
    Int(i64),
    /// A number of things, shown in human units: 1 870 000 as `1.87 M`.
    Count(u64),
    /// A real number, shown to four significant digits.
    Float(f64),
    /// A share of one, shown in per cent: 0.123 as `12.3 %`.
    Percent(f64),
    /// A size in bytes, shown in human units (powers of 1024).
    Bytes(u64),
    /// A length of time in seconds, shown in human units.
    Seconds(f64),
}

impl Cell {
    /// A [`Cell::Text`].
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A [`Cell::Count`].
    pub fn count(value: usize) -> Self {
        Self::Count(value as u64)
    }

    /// The value as a number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Self::Missing | Self::Text(_) | Self::Flag(_) => None,
            Self::Int(value) => Some(value as f64),
            Self::Count(value) | Self::Bytes(value) => Some(value as f64),
            Self::Float(value) | Self::Percent(value) | Self::Seconds(value) => Some(value),
        }
    }

    /// The value for people.
    pub fn human(&self) -> String {
        match self {
            Self::Missing => "·".into(),
            Self::Text(text) => text.clone(),
            Self::Flag(flag) => if *flag { "yes" } else { "no" }.into(),
            Self::Int(value) => value.to_string(),
            Self::Count(value) => count(*value),
            Self::Float(value) => significant(*value, 4),
            Self::Percent(share) => percent(*share),
            Self::Bytes(value) => bytes(*value),
            Self::Seconds(value) => seconds(*value),
        }
    }

    /// The value for programs, in full precision. What JSON cannot hold (not-a-number, infinities) becomes null.
    pub fn json(&self) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Text(text) => Value::from(text.as_str()),
            Self::Flag(flag) => Value::from(*flag),
            Self::Int(value) => Value::from(*value),
            Self::Count(value) | Self::Bytes(value) => Value::from(*value),
            Self::Float(value) | Self::Percent(value) | Self::Seconds(value) => Value::from(*value),
        }
    }

    /// The value for a CSV field, in full precision; empty when missing.
    pub fn plain(&self) -> String {
        match self {
            Self::Missing => String::new(),
            Self::Text(text) => text.clone(),
            Self::Flag(flag) => flag.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Count(value) | Self::Bytes(value) => value.to_string(),
            Self::Float(value) | Self::Percent(value) | Self::Seconds(value) => value.to_string(),
        }
    }

    /// The smaller first: numbers by size, then words by alphabet; not-a-number and missing ones last.
    pub fn compare(&self, other: &Self) -> Ordering {
        let rank = |cell: &Self| match (cell, cell.number()) {
            (Self::Missing, _) => 3,
            (_, Some(value)) if value.is_nan() => 2,
            (_, Some(_)) => 0,
            _ => 1,
        };
        rank(self).cmp(&rank(other)).then_with(|| match (self.number(), other.number()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => self.plain().cmp(&other.plain()),
        })
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Self::Int(value as i64)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<f32> for Cell {
    fn from(value: f32) -> Self {
        Self::Float(value.into())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

/// A count in human units: three significant digits and `k`, `M`, `G` or `T` from ten thousand on.
pub fn count(value: u64) -> String {
    if value < 10_000 { value.to_string() } else { scaled(value, 1000.0, ["", "k", "M", "G", "T", "P", "E"]) }
}

/// A size in human units, powers of 1024.
pub fn bytes(value: u64) -> String {
    match value < 1024 {
        true => format!("{value} B"),
        false => scaled(value, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]),
    }
}

/// Three significant digits of a number in the unit in which it is below a thousand, each `base` times the one before.
fn scaled(value: u64, base: f64, [first, larger @ ..]: [&str; 7]) -> String {
    let (mut scaled, mut unit) = (value as f64, first);
    for next in larger {
        // 999 950 would round to "1000 k".
        if scaled < 999.5 {
            break;
        }
        (scaled, unit) = (scaled / base, next);
    }
    format!("{} {unit}", three_digits(scaled))
}

/// A share of one in per cent.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return share.to_string().to_lowercase();
    }
    let value = share * 100.0;
    if value != 0.0 && value.abs() < 0.1 { format!("{value:.2} %") } else { format!("{value:.1} %") }
}

/// A length of time in human units.
pub fn seconds(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => value.to_string().to_lowercase(),
        0.0 => "0 s".into(),
        size if size < 1e-3 => format!("{} µs", three_digits(value * 1e6)),
        size if size < 1.0 => format!("{} ms", three_digits(value * 1e3)),
        size if size < 60.0 => format!("{} s", three_digits(value)),
        size if size < 3600.0 => format!("{} min {:02} s", (value / 60.0) as u64, (value % 60.0) as u64),
        _ => format!("{} h {:02} min", (value / 3600.0) as u64, (value % 3600.0 / 60.0) as u64),
    }
}

/// A real number to so many significant digits, with a power of ten where it is very large or very small.
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return value.to_string().to_lowercase();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let exponent: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    if (-4..digits.max(6) as i32).contains(&exponent) {
        format!("{value:.*}", (digits as i32 - 1 - exponent).max(0) as usize)
    } else {
        scientific
    }
}

/// A number below a thousand or so to three significant digits.
fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_units() {
        for (value, shown) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0 k"),
            (999_949, "1.00 M"),
            (1_867_405, "1.87 M"),
            (2_230_000_000, "2.23 G"),
        ] {
            assert_eq!(Cell::Count(value).human(), shown);
        }
        assert_eq!(Cell::Bytes(1536).human(), "1.50 KiB");
        assert_eq!(Cell::Bytes(7).human(), "7 B");
        assert_eq!(Cell::Percent(0.1234).human(), "12.3 %");
        assert_eq!(Cell::Percent(0.0004).human(), "0.04 %");
        assert_eq!(Cell::Seconds(0.01234).human(), "12.3 ms");
        assert_eq!(Cell::Seconds(75.0).human(), "1 min 15 s");
        assert_eq!(Cell::Seconds(2.5e-6).human(), "2.50 µs");
        assert_eq!(Cell::Float(0.551_234).human(), "0.5512");
        assert_eq!(Cell::Float(-1234.5678).human(), "-1235");
        assert_eq!(Cell::Float(1.5e-7).human(), "1.500e-7");
        assert_eq!(Cell::Float(f64::NAN).human(), "nan");
        assert_eq!(Cell::Missing.human(), "·");
    }

    #[test]
    fn floats_survive_json_and_csv() {
        for value in [0.1, 1.0 / 3.0, 5e-324, -1.797e308, 123_456_789.123_456_78] {
            let text = serde_json::to_string(&Cell::Float(value).json()).unwrap();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            assert_eq!(Cell::Float(value).plain().parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
        assert_eq!(Cell::Float(f64::INFINITY).json(), Value::Null);
    }
}
