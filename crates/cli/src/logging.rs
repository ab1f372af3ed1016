//! Where log lines go, and in which form.
//!
//! Owns the subscriber, and that a line of the log is one that the server wrote: whatever a client chose
//! as a name or a reason, its control characters are escaped. Must not know what is logged.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

use crate::settings::{LogFormat, Settings};

/// Sends log lines to standard error from now on.
pub(crate) fn start(settings: &Settings) {
    let colours = io::stderr().is_terminal();
    let builder = fmt()
        .with_max_level(LevelFilter::from_level(settings.log_level))
        .with_writer(move || Lines {
            inner: io::stderr(),
            colours,
        })
        .with_ansi(colours);
    match settings.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// A sink for whole events, one in each write, as the subscriber makes them.
struct Lines<W> {
    inner: W,
    /// The subscriber colours the lines itself, and escapes what would colour them in fields.
    colours: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.inner
            .write_all(one_line(&text, self.colours).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The event with all that could begin a line, or tell a terminal something, escaped in a form that
/// strings of JSON have as well.
fn one_line(event: &str, colours: bool) -> Cow<'_, str> {
    let (line, end) = match event.strip_suffix('\n') {
        Some(line) => (line, "\n"),
        None => (event, ""),
    };
    let harmful = |character: char| match character {
        '\u{1b}' => !colours,
        // The separators of Unicode are line ends to some viewers.
        '\u{2028}' | '\u{2029}' => true,
        character => character.is_control(),
    };
    if !line.contains(harmful) {
        return event.into();
    }
    let mut escaped = String::with_capacity(event.len() + 16);
    for character in line.chars() {
        if harmful(character) {
            escaped += &format!("\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    (escaped + end).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for (event, line) in [
            ("INFO fine: name=ana\n", "INFO fine: name=ana\n"),
            ("a\r\nFORGED\n", "a\\u000d\\u000aFORGED\n"),
            ("\u{1b}[31mred\u{9b}0m\n", "\\u001b[31mred\\u009b0m\n"),
            (
                "a\u{2028}b\u{2029}c\u{85}d\0\n",
                "a\\u2028b\\u2029c\\u0085d\\u0000\n",
            ),
            ("no end", "no end"),
            ("\n\n", "\\u000a\n"),
        ] {
            assert_eq!(one_line(event, false), line);
        }
    }

    #[test]
    fn the_subscriber_s_own_colours_stay_on_a_terminal() {
        let event = "\u{1b}[32m INFO\u{1b}[0m a\rb\n";
        assert_eq!(
            one_line(event, true),
            "\u{1b}[32m INFO\u{1b}[0m a\\u000db\n"
        );
    }

    #[test]
    fn json_stays_json() {
        let line = one_line("{\"channel\":\"a\u{2028}b\u{7f}\"}\n", false).into_owned();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["channel"], "a\u{2028}b\u{7f}");
    }

    #[test]
    fn all_of_an_event_counts_as_written() {
        let mut lines = Lines {
            inner: Vec::new(),
            colours: false,
        };
        lines.write_all(b"a\tb\n").unwrap();
        assert_eq!(lines.inner, b"a\\u0009b\n");
    }
}
