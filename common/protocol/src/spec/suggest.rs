//! "Did you mean …?": the known word that is nearest to an unknown one.

/// The candidate that `word` is most likely a misspelling of: at most a third of its letters
/// differ, or one of the two begins with the other.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |candidate: &str| {
        let distance = strsim::damerau_levenshtein(word, candidate);
        let longest = word.chars().count().max(candidate.chars().count());
        let contained = word.len().min(candidate.len()) >= 3
            && (candidate.starts_with(word) || word.starts_with(candidate));
        (distance <= longest.div_ceil(3).max(1) || contained).then_some(distance)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((close(candidate)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`, each in backquotes and joined by `word`.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>, word: &str) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_strange_one_finds_none() {
        let keys = ["lanes", "epochs", "batch_size", "seed"];
        let check = |word, expected| assert_eq!(nearest(word, keys), expected, "{word}");
        check("lane", Some("lanes"));
        check("epohcs", Some("epochs"));
        check("batchsize", Some("batch_size"));
        check("batch", Some("batch_size"));
        check("workers", None);
        check("", None);
    }

    #[test]
    fn names_are_listed_as_people_would_say_them() {
        assert_eq!(listed(["a"], "or"), "`a`");
        assert_eq!(listed(["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
