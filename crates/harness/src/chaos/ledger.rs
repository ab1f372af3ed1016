//! The harness's own log, written line by line as things happen.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Mutex,
};

use crate::log::{LEDGER_FILE, Record};

#[derive(Debug)]
pub(super) struct Ledger(Mutex<BufWriter<File>>);

impl Ledger {
    /// Refuses a folder that already has one: logs of two runs would be judged as one.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let file = File::create_new(folder.join(LEDGER_FILE))?;
        Ok(Self(Mutex::new(BufWriter::new(file))))
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.0
            .lock()
            .expect("no holder of this lock can panic")
            .write_all(&line)
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        self.0
            .lock()
            .expect("no holder of this lock can panic")
            .flush()
    }
}
