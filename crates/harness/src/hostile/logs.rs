//! What the servers have written down while they were attacked.
//!
//! Owns the judgement of a log: each line is one that the server wrote, whatever names and reasons were
//! in it, and none shows a secret.

use std::{fs, io, path::Path};

use serde_json::Value;

/// Every forgery of the table has this word where a line of its own would begin.
const FORGED: &str = "FORGED";
/// Faults beyond it are only counted.
const FAULTS_SHOWN: usize = 10;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) lines: u64,
    pub(super) faults: Vec<String>,
}

/// Judges the log of one server.
pub(super) fn judge(log: &Path, is_json: bool, secrets: &[String]) -> io::Result<Judged> {
    Ok(judge_text(&fs::read(log)?, is_json, secrets))
}

fn judge_text(log: &[u8], is_json: bool, secrets: &[String]) -> Judged {
    let mut judged = Judged::default();
    for line in log.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        judged.lines += 1;
        if let Some(fault) = fault_of(line, is_json, secrets)
            && judged.faults.len() < FAULTS_SHOWN
        {
            let text = String::from_utf8_lossy(line);
            judged.faults.push(format!("{fault}: {text:?}"));
        }
    }
    judged
}

fn fault_of(line: &[u8], is_json: bool, secrets: &[String]) -> Option<&'static str> {
    let Ok(text) = std::str::from_utf8(line) else {
        return Some("no UTF-8");
    };
    // Beside ASCII's: NEL, and the separators that some viewers take for the end of a line.
    let breaks = |character: char| character.is_control() || "\u{2028}\u{2029}".contains(character);
    if text.contains(breaks) {
        return Some("a control character");
    }
    if secrets.iter().any(|secret| text.contains(secret.as_str())) {
        return Some("a secret");
    }
    let begun = match text.as_bytes() {
        [b'{', ..] if is_json => serde_json::from_str::<Value>(text).is_ok(),
        // A date, as each line of the text form has.
        [b'2', b'0', _, _, b'-', ..] if !is_json => true,
        // What `serve` says on standard output before it listens.
        _ => !text.starts_with(FORGED) && !text.trim_start().starts_with('{'),
    };
    (!begun).then_some("a line that the server did not write")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(log: &str, is_json: bool) -> usize {
        judge_text(log.as_bytes(), is_json, &["secret".to_owned()])
            .faults
            .len()
    }

    #[test]
    fn what_the_server_writes_passes() {
        let text =
            "bowline is listening\n2026-11-28T00:00:00Z  INFO bowline: name=\"a\\r\\nFORGED\"\n";
        assert_eq!(faults(text, false), 0);
        assert_eq!(
            faults(
                "{\"level\":\"INFO\",\"name\":\"\\u001b[31mFORGED\"}\n",
                true
            ),
            0
        );
    }

    #[test]
    fn forgeries_and_secrets_are_found() {
        for text in [
            "FORGED\n",
            "2026-11-28 a\rFORGED\n",
            "2026-11-28 \u{1b}[31mFORGED\n",
            "2026-11-28 a\u{2028}FORGED\n",
            "2026-11-28 the secret\n",
        ] {
            assert_eq!(faults(text, false), 1, "{text:?}");
        }
        assert_eq!(faults("{\"level\":\n", true), 1);
        assert_eq!(judge_text(b"2026-11-28 \xff\n", false, &[]).faults.len(), 1);
    }
}
