//! The table: every attack by name, and the outcome that is owed, a file a category.
//!
//! Owns the list of categories, and the test that every code of the code table has a case.

mod auth;
mod compression;
mod floods;
mod framing;
mod handshake;
mod http_api;
mod json;
mod log_injection;
mod order;
mod oversize;
mod slow_handshakes;
mod slow_readers;
mod spoofing;

use serde_json::Value;

use super::case::Case;

/// The code table, as the server's own tests write it.
const CODES: &str = include_str!("../../../../vectors/codes.json");

/// All cases.
pub(super) const CATEGORIES: &[(&str, &[Case])] = &[
    ("handshake", handshake::CASES),
    ("framing", framing::CASES),
    ("deflate", compression::CASES),
    ("json", json::CASES),
    ("order", order::CASES),
    ("auth", auth::CASES),
    ("floods", floods::CASES),
    ("slow handshakes", slow_handshakes::CASES),
    ("slow readers", slow_readers::CASES),
    ("spoofing", spoofing::CASES),
    ("oversize", oversize::CASES),
    ("http api", http_api::CASES),
    ("log injection", log_injection::CASES),
];

/// The names of all codes.
pub(super) fn code_names() -> Result<Vec<String>, String> {
    let rows: Vec<Value> = serde_json::from_str(CODES).map_err(|error| error.to_string())?;
    let names = rows.iter().filter_map(|row| row["code"].as_str());
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_case() {
        let cases = CATEGORIES.iter().flat_map(|(_, cases)| *cases);
        let covered: BTreeSet<_> = cases.filter_map(|case| case.outcome.code()).collect();
        let names = code_names().unwrap();
        let owed: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            owed.difference(&covered).collect::<Vec<_>>(),
            Vec::<&&str>::new()
        );
        assert_eq!(
            covered.difference(&owed).collect::<Vec<_>>(),
            Vec::<&&str>::new()
        );
    }

    #[test]
    fn the_table_is_as_large_as_it_is_said_to_be() {
        let mut all = 0;
        for (category, cases) in CATEGORIES {
            assert!(
                (10..=60).contains(&cases.len()),
                "{category}: {}",
                cases.len()
            );
            let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
            assert_eq!(names.len(), cases.len(), "{category} has a name twice");
            all += cases.len();
        }
        assert!(all >= 300, "{all}");
    }
}
