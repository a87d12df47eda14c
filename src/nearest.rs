//! The nearest known name to a misspelt one, for error messages.

/// The candidate most like `word`, if any is near enough to be what was meant.
///
/// Near enough is a Damerau-Levenshtein distance of at most a third of the longer word, rounded up, or a difference
/// in case, `-` and `_` alone, or `word` being the beginning of exactly one candidate.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' ', '_'], "");
    let wanted = plain(word);
    let mut best: Option<(usize, &str)> = None;
    let mut begins = Vec::new();
    for candidate in candidates {
        let plain_candidate = plain(candidate);
        if wanted.len() >= 2 && plain_candidate.starts_with(&wanted) {
            begins.push(candidate);
        }
        let distance = strsim::damerau_levenshtein(&wanted, &plain_candidate);
        let longest = wanted.chars().count().max(plain_candidate.chars().count());
        let near = distance <= longest.div_ceil(3) && distance < longest;
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    match (best, begins.as_slice()) {
        (Some((_, name)), _) => Some(name),
        (None, [only]) => Some(only),
        _ => None,
    }
}

/// ` (did you mean "name"?)` for the nearest candidate, or nothing: a part of an error message.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|name| format!(" (did you mean \"{name}\"?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["granularity", "importance", "scope", "round_to", "lr"];
        assert_eq!(nearest("granularty", names), Some("granularity"));
        assert_eq!(nearest("roundTo", names), Some("round_to"));
        assert_eq!(nearest("import", names), Some("importance"));
        assert_eq!(nearest("rl", names), Some("lr"));
        assert_eq!(nearest("zebra", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(did_you_mean("scoop", names), " (did you mean \"scope\"?)");
        assert_eq!(did_you_mean("zebra", names), "");
    }
}
