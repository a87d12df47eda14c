//! The type of a half-written expression, for completion.

use std::any::TypeId;

use rhai::Dynamic;

use crate::script::Session;
use crate::script::scan::{Token, TokenKind, tokens};

/// What stands before a dot, as far as it can be told without evaluating it.
#[derive(Debug)]
pub enum Before {
    /// A variable's value.
    Value(Dynamic),
    /// A value of this type.
    Type(TypeId),
}

impl Before {
    /// The type.
    pub fn type_id(&self) -> TypeId {
        match self {
            Self::Value(value) => value.type_id(),
            Self::Type(id) => *id,
        }
    }
}

/// The value or type of the expression that `text` ends in.
pub fn infer(session: &Session, text: &str) -> Option<Before> {
    let tokens = tokens(text);
    let chain = chain(text, &tokens)?;
    let (first, rest) = chain.split_first()?;
    let mut before = match first {
        Link::Text => Before::Type(TypeId::of::<rhai::ImmutableString>()),
        Link::Name(name) => Before::Value(session.variable(name)?.clone()),
        Link::Call(name) => Before::Type(session.type_id(session.catalog().returns(None, name)?)?),
    };
    for link in rest {
        let (Link::Name(name) | Link::Call(name)) = link else { return None };
        let returns = session.catalog().returns(Some(before.type_id()), name)?;
        before = Before::Type(session.type_id(returns)?);
    }
    Some(before)
}

/// A part of `a.b(…).c`.
#[derive(Debug, PartialEq, Eq)]
enum Link<'a> {
    Name(&'a str),
    Call(&'a str),
    Text,
}

fn chain<'a>(text: &'a str, tokens: &[Token]) -> Option<Vec<Link<'a>>> {
    let word = |at: usize| -> &'a str { &text[tokens[at].range.clone()] };
    let mut links = Vec::new();
    let mut end = tokens.len();
    loop {
        let last = end.checked_sub(1)?;
        let start = match (tokens[last].kind, word(last)) {
            (TokenKind::Text { closed: true, .. }, _) => {
                links.push(Link::Text);
                last
            }
            (TokenKind::Word, name) => {
                links.push(Link::Name(name));
                last
            }
            (_, ")") => {
                let open = opening(last, &word)?;
                let name = open.checked_sub(1).filter(|&at| tokens[at].kind == TokenKind::Word)?;
                links.push(Link::Call(word(name)));
                name
            }
            _ => return None,
        };
        if start == 0 || word(start - 1) != "." {
            links.reverse();
            return Some(links);
        }
        end = start - 1;
    }
}

fn opening<'a>(close: usize, word: &impl Fn(usize) -> &'a str) -> Option<usize> {
    let mut depth = 0usize;
    (0..=close).rev().find(|&at| {
        match word(at) {
            ")" | "]" | "}" => depth += 1,
            "(" | "[" | "{" | "#{" => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_read_backwards() {
        let read = |text: &'static str| chain(text, &tokens(text));
        assert_eq!(read("let x = net.layers(f(1), #{})"), Some(vec![Link::Name("net"), Link::Call("layers")]));
        assert_eq!(read("load(\"a)\").a"), Some(vec![Link::Call("load"), Link::Name("a")]));
        assert_eq!(read("1 + \"x\""), Some(vec![Link::Text]));
        assert_eq!(read("(a + b)"), None);
        assert_eq!(read("x["), None);
        assert_eq!(read(")"), None);
    }
}
