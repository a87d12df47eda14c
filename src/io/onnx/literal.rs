//! Python literals, of which the metadata of ONNX files is made: texts, dictionaries, lists, numbers.

use std::collections::BTreeMap;

/// A text as a Python literal.
pub(super) fn quoted(text: &str) -> String {
    let escaped = |character: char| match character {
        '\\' => "\\\\".to_owned(),
        '\'' => "\\'".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        other => other.to_string(),
    };
    format!("'{}'", text.chars().map(escaped).collect::<String>())
}

/// Texts in a Python literal: a dictionary by index without gaps, or a list. `None` for anything else.
pub(super) fn texts(literal: &str) -> Option<Vec<String>> {
    let mut reader = Reader { rest: literal.trim() };
    let (close, keyed) = match reader.next()? {
        '{' => ('}', true),
        '[' => (']', false),
        _ => return None,
    };
    let mut found = BTreeMap::new();
    while !reader.skip(close) {
        let index = if keyed { reader.number().filter(|_| reader.skip(':'))? } else { found.len() };
        let text = reader.text()?;
        if found.insert(index, text).is_some() || !(reader.skip(',') || reader.rest.starts_with(close)) {
            return None;
        }
    }
    let whole = reader.rest.is_empty() && found.keys().copied().eq(0..found.len());
    whole.then(|| found.into_values().collect())
}

/// Whole numbers in a Python literal such as `[640, 640]` or `640`. `None` for anything else.
pub(super) fn numbers(literal: &str) -> Option<Vec<usize>> {
    let literal = literal.trim();
    let inside = literal.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(literal);
    inside.split(',').map(|number| number.trim().parse().ok()).collect()
}

/// Whether a dictionary as a Python literal has `True` under a key.
pub(super) fn is_true(literal: &str, key: &str) -> bool {
    let after = literal.split(&format!("'{key}':")).nth(1);
    after.is_some_and(|after| after.trim_start().starts_with("True"))
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// Whether that comes next; then it is passed, and so is space before it.
    fn skip(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(wanted);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn number(&mut self) -> Option<usize> {
        let rest = self.rest.trim_start();
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        self.rest = &rest[end..];
        rest[..end].parse().ok()
    }

    /// A text in quotes, or a number, which is the text that it is written as.
    fn text(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(|character: char| character.is_ascii_digit()) {
            return self.number().map(|number| number.to_string());
        }
        let quote = self.next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '\\' => text.push(self.escaped()?),
                end if end == quote => return Some(text),
                other => text.push(other),
            }
        }
    }

    /// What follows a backslash.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            quoted @ ('\\' | '\'' | '"') => quoted,
            _ => return None,
        })
    }

    /// A character by so many hexadecimal digits.
    fn code(&mut self, digits: usize) -> Option<char> {
        let code = self.rest.get(..digits)?;
        self.rest = &self.rest[digits..];
        u32::from_str_radix(code, 16).ok().and_then(char::from_u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_were() {
        assert_eq!(quoted("it's a \\ and\na line"), r"'it\'s a \\ and\na line'");
        let expected = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(texts("{0: 'RBC', 1: \"it's\"}"), expected(&["RBC", "it's"]));
        assert_eq!(texts("{1: 'b', 0: 'a',}"), expected(&["a", "b"]));
        assert_eq!(texts(" ['a', 'b' ] "), expected(&["a", "b"]));
        assert_eq!(texts("{0: 0, 1: 17}"), expected(&["0", "17"]));
        assert_eq!(texts(r"['\xe9\u4e2d\U0001f600', 'ü']"), expected(&["é中😀", "ü"]));
        let odd = "a 'quote', a \\ and a\nline: {1}";
        assert_eq!(texts(&format!("{{0: {}}}", quoted(odd))), expected(&[odd]));
        for wrong in [
            "",
            "{",
            "{0 'a'}",
            "{0: 'a'",
            "{0: 'a' 1: 'b'}",
            "{0: a}",
            "{2: 'a'}",
            "{0: 'a', 0: 'b'}",
            "{0: 'a'} more",
            "{99999999999999999999999: 'a'}",
            "7",
            "['a",
            r"['\x4",
            r"['\xé1']",
            r"['\ud800']",
        ] {
            assert_eq!(texts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_and_flags_are_found() {
        assert_eq!(numbers("[640, 320]"), Some(vec![640, 320]));
        assert_eq!((numbers("640"), numbers("[640"), numbers("")), (Some(vec![640]), None, None));
        assert!(is_true("{'batch': 1, 'nms': True}", "nms") && !is_true("{'nms': False, 'half': True}", "nms"));
    }
}
