//! Where log lines go, and in which form.
//!
//! Owns the subscriber, and that a line of the log is one that the server wrote: whatever a client chose
//! as a name or a reason, its control characters are escaped. Panics are lines of it, too. Must not know
//! what is logged. Whoever serves says everything through here: a reader of standard error that is stuck
//! or gone would hold up, or bring down, whoever writes to it directly.

mod queue;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    borrow::Cow,
    io::{self, IsTerminal, Write},
    panic::PanicHookInfo,
    sync::mpsc::sync_channel,
    time::Duration,
};

use tracing::{Dispatch, dispatcher, level_filters::LevelFilter};
use tracing_subscriber::{fmt, util::SubscriberInitExt};

use crate::settings::{LogFormat, Settings};
pub(crate) use queue::Queue;

/// How long the end waits for a reader: one that is alive takes the last lines within milliseconds.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The log, whose last lines are written when this is dropped.
#[must_use]
pub(crate) struct Log(Queue);

/// Sends log lines, and what panics say, to standard error from now on.
///
/// # Errors
/// The system has no thread left that could write them.
pub(crate) fn start(settings: &Settings) -> io::Result<Log> {
    let colours = io::stderr().is_terminal();
    let queue = Queue::default();
    let log = {
        let queue = queue.clone();
        dispatch(settings, colours, move |line| queue.push(line))
    };
    // What was lost is told by the writer itself, which must not queue behind those that wait for it.
    let (tell, told) = sync_channel(1);
    let notices = dispatch(settings, colours, move |line| {
        let _ = tell.try_send(line.to_owned());
    });
    queue.write_to(io::stderr(), move |lost| {
        dispatcher::with_default(&notices, || {
            // An error, because those are logged at every level.
            tracing::error!(lost, "lines of the log were lost: nobody took them in time");
        });
        told.try_recv().unwrap_or_default()
    })?;
    log.init();
    std::panic::set_hook(Box::new(panicked));
    Ok(Log(queue))
}

impl Log {
    /// Takes a line as it stands.
    pub(crate) fn say(&self, line: &str) {
        self.0.push(&format!("{line}\n"));
    }

    /// The way to the log for those who outlive this.
    pub(crate) fn queue(&self) -> Queue {
        self.0.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH_MAX);
    }
}

/// Makes lines of events, and hands them to `sink`.
fn dispatch(
    settings: &Settings,
    colours: bool,
    sink: impl Fn(&str) + Clone + Send + Sync + 'static,
) -> Dispatch {
    let builder = fmt()
        .with_max_level(LevelFilter::from_level(settings.log_level))
        .with_writer(move || Lines {
            sink: sink.clone(),
            colours,
        })
        .with_ansi(colours)
        // It would tell them to standard error.
        .log_internal_errors(false);
    match settings.log_format {
        LogFormat::Text => builder.finish().into(),
        LogFormat::Json => builder.json().flatten_event(true).finish().into(),
    }
}

/// A panic is a line of the log, like all else: the default hook waits for whoever reads it.
fn panicked(panic: &PanicHookInfo<'_>) {
    let reason = panic.payload_as_str().unwrap_or("?");
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    tracing::error!(
        thread = thread.name().unwrap_or("?"),
        place = panic.location().map(tracing::field::display),
        backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| tracing::field::display(backtrace)),
        "panicked: {reason}"
    );
}

/// A sink for whole events, one in each write, as the subscriber makes them.
struct Lines<S> {
    sink: S,
    /// The subscriber colours the lines itself, and escapes what would colour them in fields.
    colours: bool,
}

impl<S: Fn(&str)> Write for Lines<S> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        (self.sink)(&one_line(&text, self.colours));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    use std::cell::RefCell;

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
    fn a_panic_is_a_line_whatever_it_says() {
        let (tell, told) = sync_channel(1);
        let sink = move |line: &str| tell.send(line.to_owned()).unwrap();
        let dispatch = dispatch(&Settings::default(), false, sink);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(panicked));
        let caught = dispatcher::with_default(&dispatch, || {
            std::panic::catch_unwind(|| panic!("planted\nby {}", "a test"))
        });
        std::panic::set_hook(before);
        assert!(caught.is_err());
        let line = told.try_recv().expect("a line");
        for expected in ["ERROR", "panicked: planted\\u000aby a test", "place="] {
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn all_of_an_event_counts_as_written() {
        let taken = RefCell::new(String::new());
        let mut lines = Lines {
            sink: |line: &str| taken.borrow_mut().push_str(line),
            colours: false,
        };
        lines.write_all(b"a\tb\n").unwrap();
        assert_eq!(*taken.borrow(), "a\\u0009b\n");
    }
}
