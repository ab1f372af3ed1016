//! The names of the log's files.

/// A segment.
pub(crate) fn segment(number: u64) -> String {
    format!("{number:016x}.log")
}

/// A segment that is being rewritten; found at an opening, it was not finished.
pub(crate) fn unfinished(number: u64) -> String {
    format!("{number:016x}.tmp")
}

/// What a sealed segment says without its payloads.
pub(crate) fn hint(number: u64) -> String {
    format!("{number:016x}.hint")
}

/// The number of a segment by its file's name; none for every other file.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    number(name, ".log")
}

/// The number of a segment whose rewriting was not finished.
pub(crate) fn unfinished_number(name: &str) -> Option<u64> {
    number(name, ".tmp")
}

/// The number of a segment that this file is the hint of.
pub(crate) fn hint_number(name: &str) -> Option<u64> {
    number(name, ".hint")
}

fn number(name: &str, end: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(end)?, 16).ok()?;
    (format!("{number:016x}{end}") == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_taken() {
        assert_eq!(segment_number(&segment(0x1f)), Some(0x1f));
        assert_eq!(unfinished_number(&unfinished(7)), Some(7));
        assert_eq!(hint_number(&hint(7)), Some(7));
        for name in [
            "1.log",
            "000000000000001F.log",
            "+00000000000001f.log",
            "LOCK",
        ] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
