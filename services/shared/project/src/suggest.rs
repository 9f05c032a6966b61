//! "Did you mean": the nearest of what exists, if it is near enough.

/// The candidate that is fewest edits away from `word`, at most a third of its length.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Longer words are not typos, and the comparison is quadratic.
    if word.len() > 256 {
        return None;
    }
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(word.chars().count()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
