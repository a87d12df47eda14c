//! All the text that a session has evaluated, and places in it.

use std::ops::Range;
use std::path::PathBuf;

use super::failure::Place;

/// All the text that a session has evaluated, as one document, so that a position in a function defined ten lines
/// ago still points at its source. Each piece is compiled with enough line breaks before it to stand where it stands here.
#[derive(Debug, Default)]
pub struct Document {
    pieces: Vec<Piece>,
    lines: usize,
    /// Where modules are looked for.
    pub folder: PathBuf,
}

/// One evaluated text.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What it is called in messages: a file, or `prompt`.
    pub origin: String,
    /// The text.
    pub text: String,
    /// Its first line in the document, from 0.
    first: usize,
}

/// Rhai counts lines in 16 bits.
const MOST_LINES: usize = u16::MAX as usize;

impl Document {
    /// Adds a text and gives back what to compile: the same text, moved down to its place.
    pub fn add(&mut self, origin: &str, text: &str) -> String {
        let length = text.lines().count().max(1);
        if self.lines + length > MOST_LINES {
            // Positions of older functions would be ambiguous: forget their text instead.
            self.pieces.clear();
            self.lines = 0;
        }
        self.pieces.push(Piece { origin: origin.into(), text: text.into(), first: self.lines });
        let moved = "\n".repeat(self.lines) + text;
        self.lines += length;
        moved
    }

    /// The piece that was added last.
    pub fn last(&self) -> Option<&Piece> {
        self.pieces.last()
    }

    /// The place of a position in a module's file; `None` when the file can't be read any more.
    pub fn in_module(&self, name: &str, position: rhai::Position) -> Option<Place> {
        let near = self.folder.join(name);
        let candidates = [near.clone(), near.with_extension("rhai"), name.into()];
        let (path, text) = candidates.iter().find_map(|path| Some((path, std::fs::read_to_string(path).ok()?)))?;
        let piece = Piece { origin: path.display().to_string(), text, first: 0 };
        let range =
            piece.token(offset(&piece.text, position.line()?.checked_sub(1)?, position.position()?.saturating_sub(1)));
        Some(Place { origin: piece.origin, text: piece.text, range })
    }

    /// The piece in which a position (line and column from 1) is, and the byte offset there.
    pub fn locate(&self, position: rhai::Position) -> Option<(&Piece, usize)> {
        let line = position.line()?.checked_sub(1)?;
        let piece = self.pieces.iter().rfind(|piece| piece.first <= line)?;
        Some((piece, offset(&piece.text, line - piece.first, position.position().unwrap_or(1).saturating_sub(1))))
    }
}

/// The byte offset of a line and column, both from 0; the column in characters. Past the end is the end.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = if line == 0 { 0 } else { text.match_indices('\n').nth(line - 1).map_or(text.len(), |(at, _)| at + 1) };
    let rest = &text[start..];
    let end = rest.find('\n').unwrap_or(rest.len());
    start + rest[..end].char_indices().nth(column).map_or(end, |(at, _)| at)
}

impl Piece {
    /// The line (from 1) of a byte offset.
    pub fn line(&self, offset: usize) -> usize {
        self.text[..offset.min(self.text.len())].matches('\n').count() + 1
    }

    /// What stands at a byte offset: the token there, or one character; after a dot, the name.
    pub fn token(&self, offset: usize) -> Range<usize> {
        let mut tokens = super::scan::tokens(&self.text).into_iter().skip_while(|token| token.range.end <= offset);
        match tokens.next() {
            Some(dot) if &self.text[dot.range.clone()] == "." => tokens.next().map_or(dot.range, |name| name.range),
            Some(token) if token.range.start <= offset => offset..token.range.end,
            _ => offset..offset,
        }
    }

    /// The variables that the text defines.
    pub fn defines(&self) -> Vec<String> {
        let tokens = super::scan::tokens(&self.text);
        let pairs =
            tokens.windows(2).map(|pair| (&self.text[pair[0].range.clone()], &self.text[pair[1].range.clone()]));
        pairs.filter(|(word, _)| matches!(*word, "let" | "const" | "for")).map(|(_, name)| name.to_owned()).collect()
    }

    /// Where an option's key stands, in the call that begins at a byte offset.
    pub fn key(&self, key: &str, from: usize) -> Option<Range<usize>> {
        let tokens = super::scan::tokens(&self.text);
        tokens.windows(2).map(|pair| (&pair[0].range, &pair[1].range)).find_map(|(word, next)| {
            let is_key = self.text[word.clone()].trim_matches('"') == key && &self.text[next.clone()] == ":";
            (word.start >= from && is_key).then(|| word.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use rhai::Position;

    use super::*;

    #[test]
    fn finds_the_piece_and_the_place_in_it() {
        let mut document = Document::default();
        assert_eq!(document.add("a", "one\ntwo"), "one\ntwo");
        assert_eq!(document.add("b", "thrée four"), "\n\nthrée four");
        let (piece, at) = document.locate(Position::new(3, 7)).unwrap();
        assert_eq!((piece.origin.as_str(), &piece.text[piece.token(at)], piece.line(at)), ("b", "four", 1));
        let (piece, at) = document.locate(Position::new(2, 1)).unwrap();
        assert_eq!((piece.origin.as_str(), &piece.text[piece.token(at)], piece.line(at)), ("a", "two", 2));
        assert!(document.locate(Position::NONE).is_none());
    }

    #[test]
    fn points_at_an_option_key() {
        let mut document = Document::default();
        document.add("a", "let lr = 1; fit(#{ lr: 2 })");
        let piece = document.last().unwrap();
        assert_eq!(piece.key("lr", 12), Some(19..21));
        assert_eq!(piece.key("rl", 0), None);
    }

    #[test]
    fn a_very_long_session_starts_over() {
        let mut document = Document::default();
        document.add("a", &"\n".repeat(40_000));
        assert_eq!(document.add("b", &format!("x{}", "\n".repeat(40_000))).find('x'), Some(0));
    }
}
