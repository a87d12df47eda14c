//! Words of the language as keys of maps: `#{ until: 0.9 }`.

use std::sync::atomic::{AtomicBool, Ordering};

use rhai::{Engine, Token};

/// Lets `until`, which otherwise ends a `do` loop, be a key where a key may stand: after `#{` or a comma. A loop's stands
/// after `}`.
pub fn allow(engine: &mut Engine) {
    let after_separator = AtomicBool::new(false);
    // "Deprecated" is how the language's crate marks what may change.
    #[allow(deprecated)]
    engine.on_parse_token(move |token, _, _| {
        let token = match token {
            Token::Until if after_separator.load(Ordering::Relaxed) => Token::Identifier(Box::new("until".into())),
            other => other,
        };
        after_separator.store(matches!(token, Token::MapStart | Token::Comma), Ordering::Relaxed);
        token
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_is_a_key_and_ends_a_loop() {
        let mut engine = Engine::new();
        allow(&mut engine);
        let number = |code: &str| engine.eval::<i64>(code).unwrap();
        assert_eq!(number("let map = #{ a: 1, until: 2 }; map.a + map[\"until\"]"), 3);
        assert_eq!(number("#{ until: 2 }[\"until\"]"), 2);
        assert_eq!(number("let x = 0; do { x += 1; } until x == 5; x"), 5);
    }
}
