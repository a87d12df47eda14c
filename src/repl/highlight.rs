//! Colours of what is typed.

use crate::script::scan::{self, TokenKind};

/// A line with colours: keywords, strings, numbers, comments, and what is called.
pub fn highlight(line: &str, is_known: impl Fn(&str) -> bool) -> String {
    let tokens = scan::tokens(line);
    let mut text = String::with_capacity(line.len() * 2);
    let mut done = 0;
    for (at, token) in tokens.iter().enumerate() {
        let word = &line[token.range.clone()];
        let called = tokens.get(at + 1).is_some_and(|next| &line[next.range.clone()] == "(");
        let colour = match token.kind {
            TokenKind::Word if scan::KEYWORDS.contains(&word) => Some("35"),
            TokenKind::Word if called && is_known(word) => Some("34"),
            TokenKind::Number => Some("36"),
            TokenKind::Text { .. } => Some("32"),
            TokenKind::Comment => Some("2"),
            TokenKind::Word | TokenKind::Symbol => None,
        };
        text += &line[done..token.range.start];
        match colour {
            Some(code) => text += &format!("\x1b[{code}m{word}\x1b[0m"),
            None => text += word,
        }
        done = token.range.end;
    }
    text + &line[done..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_leave_the_text_as_it_is() {
        let line = "let a = load(\"x\") + odd(1) // é ";
        let coloured = highlight(line, |name| name == "load");
        assert!(coloured.contains("\x1b[35mlet\x1b[0m") && coloured.contains("\x1b[34mload\x1b[0m("), "{coloured:?}");
        assert!(coloured.contains(" odd("), "{coloured:?}");
        let mut plain = coloured.replace("\x1b[0m", "");
        for code in ["35", "34", "36", "32", "2"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, line);
    }
}
