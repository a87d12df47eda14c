//! A tolerant scanner of script text: for colours, carets and completion, which must cope with half a line.

use std::ops::Range;

/// What a stretch of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A name or a keyword.
    Word,
    /// A number.
    Number,
    /// A string or a character, with its quotes.
    Text {
        /// Whether the closing quote is there.
        closed: bool,
        /// The quote it opened with.
        quote: char,
    },
    /// A comment.
    Comment,
    /// Everything else but blanks: a run of one operator, bracket or separator.
    Symbol,
}

/// A stretch of text and where it is, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is.
    pub range: Range<usize>,
}

/// The words that belong to the language itself.
pub const KEYWORDS: &[&str] = &[
    "as", "break", "catch", "const", "continue", "do", "else", "export", "false", "fn", "for", "if", "import", "in",
    "let", "loop", "private", "return", "switch", "this", "throw", "true", "try", "until", "while",
];

/// All tokens of a text, blanks left out.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let rest = &text[at..];
        let (kind, length) = if rest.starts_with("//") {
            (TokenKind::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (TokenKind::Comment, block_comment(rest))
        } else if matches!(first, '"' | '`' | '\'') {
            let (length, closed) = quoted(rest, first);
            (TokenKind::Text { closed, quote: first }, length)
        } else if first.is_alphabetic() || first == '_' {
            (TokenKind::Word, span(rest, |c| c.is_alphanumeric() || c == '_'))
        } else if first.is_ascii_digit() {
            (TokenKind::Number, number(rest))
        } else if rest.starts_with("#{") {
            (TokenKind::Symbol, 2)
        } else {
            (TokenKind::Symbol, first.len_utf8())
        };
        tokens.push(Token { kind, range: at..at + length });
        at += length;
    }
    tokens
}

/// Whether the last statement of a text ends in `;`.
pub fn ends_in_semicolon(text: &str) -> bool {
    let tokens = tokens(text);
    tokens.iter().rfind(|token| token.kind != TokenKind::Comment).is_some_and(|token| &text[token.range.clone()] == ";")
}

/// An open call's brackets around the end of a half-written text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// The function's or method's name.
    pub name: String,
    /// Where the name begins, in bytes.
    pub at: usize,
    /// The options, when the end is inside the call's `#{…}`.
    pub options: Option<OpenOptions>,
}

/// Options being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The keys whose maps the end is inside of, the outermost first.
    pub within: Vec<String>,
    /// The keys already there.
    pub keys: Vec<String>,
    /// The key whose value is being written; otherwise a key is.
    pub value_of: Option<String>,
}

/// The innermost call in whose arguments a text ends. A string that isn't closed yet counts as part of the arguments.
pub fn open_call(before: &str) -> Option<OpenCall> {
    let tokens = tokens(before);
    let word = |at: usize| -> &str { &before[tokens[at].range.clone()] };
    if tokens.last().is_some_and(|last| last.kind == TokenKind::Comment) {
        return None;
    }
    let mut open = last_open(tokens.len(), &word)?;
    let options = (word(open) == "#{").then(|| options_after(open, tokens.len(), &word));
    let mut within = Vec::new();
    while word(open) == "#{" {
        let outer = last_open(open, &word)?;
        if word(outer) == "#{" {
            within.insert(0, options_after(outer, open, &word).value_of?);
        }
        open = outer;
    }
    let (paren, options) = (open, options.map(|options| OpenOptions { within, ..options }));
    let is_call = word(paren) == "(" && paren > 0 && tokens[paren - 1].kind == TokenKind::Word;
    let name = is_call.then(|| word(paren - 1)).filter(|name| !KEYWORDS.contains(name))?;
    Some(OpenCall { name: name.into(), at: tokens[paren - 1].range.start, options })
}

/// The last bracket before token `end` that nothing closes.
fn last_open<'a>(end: usize, word: &impl Fn(usize) -> &'a str) -> Option<usize> {
    let mut depth = 0usize;
    (0..end).rev().find(|&at| {
        match word(at) {
            "}" | ")" | "]" => depth += 1,
            "#{" | "{" | "(" | "[" if depth > 0 => depth -= 1,
            "#{" | "{" | "(" | "[" => return true,
            _ => {}
        }
        false
    })
}

fn options_after<'a>(open: usize, end: usize, word: &impl Fn(usize) -> &'a str) -> OpenOptions {
    let (mut options, mut depth) = (OpenOptions::default(), 0usize);
    for at in open + 1..end {
        match word(at) {
            "#{" | "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ":" if depth == 0 => {
                let key = word(at - 1).trim_matches('"').to_owned();
                options.keys.push(key.clone());
                options.value_of = Some(key);
            }
            "," if depth == 0 => options.value_of = None,
            _ => {}
        }
    }
    options
}

fn span(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn number(text: &str) -> usize {
    let mut length = span(text, |c| c.is_ascii_alphanumeric() || c == '_');
    let fraction = &text[length..];
    if fraction.starts_with('.') && fraction[1..].starts_with(|c: char| c.is_ascii_digit()) {
        length += 1 + span(&fraction[1..], |c| c.is_ascii_alphanumeric() || c == '_');
    }
    if text[..length].ends_with(['e', 'E']) && text[length..].starts_with(['-', '+']) && !text.starts_with("0x") {
        length += 1 + span(&text[length + 1..], |c| c.is_ascii_digit() || c == '_');
    }
    length
}

fn quoted(text: &str, quote: char) -> (usize, bool) {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return (at + 1, true),
            '\n' if quote != '`' => return (at, false),
            _ => {}
        }
    }
    (text.len(), false)
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).into_iter().map(|token| &text[token.range]).collect()
    }

    #[test]
    fn splits_what_the_language_splits() {
        assert_eq!(
            words(r#"let é = f("a\"b", #{lr: 1.5e-3}) // end"#),
            ["let", "é", "=", "f", "(", r#""a\"b""#, ",", "#{", "lr", ":", "1.5e-3", "}", ")", "// end"]
        );
        assert_eq!(words("1..3"), ["1", ".", ".", "3"]);
        assert_eq!(words("a /* b /* c */ d */ e"), ["a", "/* b /* c */ d */", "e"]);
        assert_eq!(words("`two\nlines`"), ["`two\nlines`"]);
        assert_eq!(tokens("\"open").last().unwrap().kind, TokenKind::Text { closed: false, quote: '"' });
    }

    #[test]
    fn sees_a_last_semicolon_behind_comments_only() {
        assert!(ends_in_semicolon("f(); // done\n"));
        assert!(!ends_in_semicolon("f() // done;"));
        assert!(!ends_in_semicolon("\"a;\""));
        assert!(!ends_in_semicolon(""));
    }

    #[test]
    fn finds_the_maps_that_are_open() {
        let within = |before: &str| {
            open_call(before).and_then(|call| call.options).map(|options| (options.within, options.keys))
        };
        let one = |key: &str| vec![key.to_owned()];
        assert_eq!(within("d(a, b, #{ at: 1, cwd: #{ weight: 2, "), Some((one("cwd"), one("weight"))));
        assert_eq!(within("d(#{ a: #{ b: #{ "), Some((vec!["a".into(), "b".into()], vec![])));
        assert_eq!(within("d(#{ cwd: #{ weight: 2 }, "), Some((vec![], one("cwd"))));
        assert_eq!(within("d(#{ #{ "), None);
    }

    fn options(before: &str) -> Option<(String, Vec<String>, Option<String>)> {
        let call = open_call(before)?;
        call.options.map(|options| (call.name, options.keys, options.value_of))
    }

    #[test]
    fn finds_the_call_that_is_open() {
        assert_eq!(options("pruner(net, #{"), Some(("pruner".into(), vec![], None)));
        assert_eq!(options("n.fit(d, #{ epochs: f(1, 2), l"), Some(("fit".into(), vec!["epochs".into()], None)));
        let value = Some(("fit".into(), vec!["epochs".into()], Some("epochs".into())));
        assert_eq!(options("net.fit(d, #{ epochs: "), value);
        assert_eq!(options("net.fit(d, #{ epochs: \"op"), value);
        assert_eq!(open_call("net.fit(d, ").map(|call| (call.name, call.at)), Some(("fit".into(), 4)));
        assert_eq!(open_call("net.fit(d, #{ epochs: 1 })"), None);
        assert_eq!(open_call("if x { y"), None);
        assert_eq!(open_call("while (x"), None);
        assert_eq!(open_call("f(#{ a: [1, 2"), None);
    }
}
