//! Which name a misspelt one may have meant.
//!
//! Owns the distance between names. Must not know what they name.

/// Two slips of the finger, or one in four characters; beyond, a hint would mislead.
const DISTANCE_MIN: usize = 2;
const CHARACTERS_PER_SLIP: usize = 6;
/// Longer names are no misspellings of ours, and the comparison is quadratic.
const NAME_BYTES_MAX: usize = 64;

/// The name with the fewest edits, if they are few; or the one that differs only in its section.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let slips_max = DISTANCE_MIN.max(name.len() / CHARACTERS_PER_SLIP);
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    let own = name.rsplit('.').next().unwrap_or(name);
    names
        .map(|candidate| {
            let elsewhere = candidate.contains('.') && last(candidate) == own;
            let slips = if elsewhere {
                1
            } else {
                distance(name, candidate)
            };
            (slips, candidate)
        })
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The edits (insert, delete, replace) from one text to the other: Levenshtein's distance.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, ours) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, theirs) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(ours != theirs);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
