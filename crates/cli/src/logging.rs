//! Where log lines go, and in which form.
//!
//! Owns the subscriber. Must not know what is logged. Both forms escape control characters, so a
//! name that a client chose can't forge a line.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

use crate::settings::{LogFormat, Settings};

/// Sends log lines to standard error from now on.
pub(crate) fn start(settings: &Settings) {
    let builder = fmt()
        .with_max_level(LevelFilter::from_level(settings.log_level))
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    match settings.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
