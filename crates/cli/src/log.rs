//! `bowline log`: looks at the files of the engine `embedded` without a server.
//!
//! Owns what is printed. Reads only, so that it can be asked about a log that a server refuses or has
//! open; a log that is being written may end in the middle of a frame.

use std::{
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bowline_engine::offline::{FieldValue, FrameView, LogReport, OfflineLog, RecordView};
use serde_json::{Map, Value, json};

use crate::args::LogAction;

/// The file by which an engine has its folder for itself.
const LOCK: &str = "LOCK";

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LogError {
    /// The folder can't be read.
    #[error("{folder}: {source}")]
    Folder {
        /// Which.
        folder: String,
        /// Why.
        source: io::Error,
    },
    /// The folder is another one.
    #[error("there is no log in {0}")]
    None(String),
    /// An engine would not open it; what is wrong was printed.
    #[error("a server would refuse to open this log: {0} problem(s)")]
    Unsound(usize),
    /// Standard output is gone.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Does what was asked.
pub(crate) fn log(action: &LogAction) -> Result<(), LogError> {
    match action {
        LogAction::Verify { folder } => verify(folder),
        LogAction::Dump { folder, data } => dump(folder, *data),
        LogAction::Stats { folder } => stats(folder),
    }
}

fn verify(folder: &Path) -> Result<(), LogError> {
    let report = open(folder)?.verify().map_err(refused(folder))?;
    check_kind(folder, &report)?;
    let mut out = BufWriter::new(io::stdout());
    for segment in &report.segments {
        writeln!(
            out,
            "{}  {} bytes, {} frames, {} records{}{}{}{}",
            segment.file,
            segment.bytes,
            segment.frames,
            segment.records,
            mark(segment.is_rewritten, ", rewritten"),
            mark(segment.is_closed, ", closed in order"),
            mark(segment.has_hint, ", with a hint file"),
            match segment.torn_bytes {
                0 => String::new(),
                bytes => format!(", {bytes} torn bytes that the next opening cuts off"),
            },
        )?;
    }
    for hint in &report.bad_hints {
        writeln!(
            out,
            "{hint}: not the hint of its segment; it is not used, and written anew"
        )?;
    }
    conclude(&mut out, &report)
}

fn dump(folder: &Path, with_data: bool) -> Result<(), LogError> {
    let mut out = BufWriter::new(io::stdout());
    let mut written = Ok(());
    let report = open(folder)?
        .dump(|frame, records| {
            for record in records {
                written = writeln!(out, "{}", line(frame, record, with_data));
                if written.is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })
        .map_err(refused(folder))?;
    written?;
    check_kind(folder, &report)?;
    out.flush()?;
    conclude(&mut io::stderr(), &report)
}

fn stats(folder: &Path) -> Result<(), LogError> {
    let report = open(folder)?.verify().map_err(refused(folder))?;
    check_kind(folder, &report)?;
    let sum = |field: fn(&bowline_engine::offline::SegmentSummary) -> u64| -> u64 {
        report.segments.iter().map(field).sum()
    };
    let bytes = sum(|segment| segment.bytes);
    let live = sum(|segment| segment.live_bytes);
    let totals = json!({
        "epoch": report.epoch.map(|epoch| format!("{epoch:016x}")),
        "segments": report.segments.len(),
        "bytes": bytes,
        "live_bytes": live,
        "frames": sum(|segment| segment.frames),
        "records": sum(|segment| segment.records),
        "publications": sum(|segment| segment.publications),
        "channels": report.channels,
        "messages": report.messages,
        "message_bytes": report.message_bytes,
        "sessions": report.sessions,
        "time_ms": report.time_ms,
        "torn_bytes": sum(|segment| segment.torn_bytes),
    });
    writeln!(io::stdout(), "{totals:#}")?;
    conclude(&mut io::stderr(), &report)
}

/// One record as one line of JSON.
fn line(frame: &FrameView<'_>, record: &RecordView<'_>, with_data: bool) -> Value {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value);
    put("file", frame.file.into());
    put("at", record.offset.into());
    put("bytes", record.bytes.into());
    put("frame", frame.seq.into());
    put("time_ms", frame.time_ms.into());
    put("term", format!("{:08x}", frame.term).into());
    put("kind", record.kind.into());
    for (name, value) in &record.fields {
        let value = match value {
            FieldValue::Number(number) => (*number).into(),
            FieldValue::Hex(text) | FieldValue::Text(text) => text.clone().into(),
            _ => Value::Null,
        };
        put(name, value);
    }
    if let Some(data) = record.data {
        put("data_bytes", data.len().into());
        match std::str::from_utf8(data) {
            _ if !with_data => None,
            Ok(text) if record.kind == "publish" => put("data", text.into()),
            _ => put("data_b64", BASE64_STANDARD.encode(data).into()),
        };
    }
    line.into()
}

fn conclude(out: &mut dyn Write, report: &LogReport) -> Result<(), LogError> {
    for damage in &report.damage {
        writeln!(
            out,
            "{}, byte {}: {}",
            damage.file, damage.offset, damage.problem
        )?;
    }
    for (file, version) in &report.newer {
        writeln!(
            out,
            "{file}: format version {version}, newer than this program"
        )?;
    }
    if !report.is_sound() {
        out.flush()?;
        return Err(LogError::Unsound(report.damage.len() + report.newer.len()));
    }
    writeln!(
        out,
        "good: {} channels, {} messages, {} sessions",
        report.channels, report.messages, report.sessions
    )?;
    out.flush()?;
    Ok(())
}

fn open(folder: &Path) -> Result<OfflineLog, LogError> {
    OfflineLog::open(folder).map_err(refused(folder))
}

/// A server that has just made its folder has locked it, and may have begun no segment.
fn check_kind(folder: &Path, report: &LogReport) -> Result<(), LogError> {
    let is_empty = report.segments.is_empty() && report.is_sound();
    if is_empty && !folder.join(LOCK).exists() {
        return Err(LogError::None(folder.display().to_string()));
    }
    Ok(())
}

fn refused(folder: &Path) -> impl Fn(io::Error) -> LogError {
    move |source| LogError::Folder {
        folder: folder.display().to_string(),
        source,
    }
}

fn mark(is_set: bool, text: &str) -> &str {
    if is_set { text } else { "" }
}
