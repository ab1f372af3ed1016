//! What commands print, where nobody may be reading.
//!
//! Owns that a closed or full output is an error or nothing, and no panic. Must not be used while
//! serving: it waits for whoever reads, and `logging` does not.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Says it on standard error, if it can be said there.
pub(crate) fn say(text: impl Display) {
    // There is no better place to tell that it failed.
    let _ = writeln!(io::stderr(), "bowline: {text}");
}

/// Prints it on standard output, to its end.
///
/// # Errors
/// Nobody reads there any more, or the disk is full.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}
