//! What the driver says: lines in order, flushed as soon as nothing more waits.

use std::{
    io::Write,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Instant,
};

use serde_json::{Value, json};

/// Lines that wait for stdout; the harness always drains it, so this is a burst.
const LINES_MAX: usize = 65_536;

/// The driver's stdout.
pub(crate) struct Output {
    lines: mpsc::SyncSender<Value>,
    started: Instant,
    writer: JoinHandle<()>,
}

/// One client's part of it, until `stop`.
#[derive(Clone)]
pub(crate) struct Voice {
    client: Arc<str>,
    started: Instant,
    /// None after `stop`, which is the client's last word.
    lines: Arc<Mutex<Option<mpsc::SyncSender<Value>>>>,
}

impl Output {
    pub(crate) fn start() -> Self {
        let (lines, received) = mpsc::sync_channel(LINES_MAX);
        let writer = std::thread::spawn(move || write(&received));
        Self {
            lines,
            started: Instant::now(),
            writer,
        }
    }

    pub(crate) fn say(&self, mut event: Value) {
        stamp(&mut event, self.started);
        // Fails only when stdout is gone, and the harness with it.
        let _ = self.lines.send(event);
    }

    /// Writes what waits. Clients that are still alive keep no line back.
    pub(crate) fn finish(self) {
        let _ = self.lines.send(Value::Null);
        let _ = self.writer.join();
    }
}

impl Voice {
    pub(crate) fn new(client: &str, output: &Output) -> Self {
        Self {
            client: client.into(),
            started: output.started,
            lines: Arc::new(Mutex::new(Some(output.lines.clone()))),
        }
    }

    pub(crate) fn say(&self, name: &str, fields: Value) {
        let lines = self.lines.lock().expect("nobody panics while speaking");
        if let Some(lines) = &*lines {
            let _ = lines.send(self.event(name, fields));
        }
    }

    /// Nothing is said after this but what `stopped` of the answer says.
    pub(crate) fn hush(&self) -> impl FnOnce() + use<> {
        let lines = self
            .lines
            .lock()
            .expect("nobody panics while speaking")
            .take();
        let voice = self.clone();
        move || {
            if let Some(lines) = lines {
                let _ = lines.send(voice.event("stopped", json!({})));
            }
        }
    }

    fn event(&self, name: &str, mut fields: Value) -> Value {
        let object = fields.as_object_mut().expect("fields are an object");
        object.retain(|_, value| !value.is_null());
        object.insert("event".into(), name.into());
        object.insert("client".into(), (*self.client).into());
        stamp(&mut fields, self.started);
        fields
    }
}

fn stamp(event: &mut Value, started: Instant) {
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    event["t_us"] = micros.into();
}

fn write(lines: &mpsc::Receiver<Value>) {
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    while let Ok(mut line) = lines.recv() {
        loop {
            if line.is_null() {
                let _ = stdout.flush();
                return;
            }
            if writeln!(stdout, "{line}").is_err() {
                return;
            }
            match lines.try_recv() {
                Ok(next) => line = next,
                Err(_) => break,
            }
        }
        if stdout.flush().is_err() {
            return;
        }
    }
}
