//! The binary as a process: started, listened to, told, and waited for. Nothing here waits for ever:
//! a process that is silent, or does not end, fails its test.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Far above what anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn bowline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    command.args(arguments);
    // The machine's own variables must not decide.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("BOWLINE_") || name.starts_with("WEBSOCKET_") {
            command.env_remove(name);
        }
    }
    // Nor may the tests leave data where they run.
    command.env("BOWLINE_ENGINE_KIND", "memory");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it says and how it ends.
pub(crate) fn output(command: &mut Command) -> Output {
    let child = command.spawn().expect("it starts");
    let id = child.id();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(PATIENCE) else {
        signal(id, "KILL");
        panic!("{command:?} did not end");
    };
    output.expect("it is read")
}

/// `bowline serve` on a free port.
pub(crate) fn serve(arguments: &[&str]) -> Command {
    let mut command = bowline(&["serve", "--listen", "127.0.0.1:0"]);
    command.args(arguments);
    command
}

/// A process that ends with this.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// What comes out of it, where nobody else was given its ends.
    pub(crate) lines: Lines,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Pipe);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Pipe);
        let lines = Lines::of([stdout, stderr].into_iter().flatten());
        Self { child, lines }
    }

    /// Where it serves, once it says so.
    ///
    /// # Errors
    /// All that it says where it ends instead.
    pub(crate) fn announced(&self) -> Result<String, String> {
        let lines = self.lines.until("bowline is listening on ");
        let lines = lines.map_err(|told| told.join("\n"))?;
        let url = lines.last().and_then(|line| line.rsplit(' ').next());
        Ok(url.unwrap_or_default().to_owned())
    }

    pub(crate) fn url(&self) -> String {
        let announced = self.announced();
        announced.unwrap_or_else(|told| panic!("it does not start: {told}"))
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Sends the signal until it has ended: signals that are sent while one is pending become one.
    pub(crate) fn insist(&mut self, name: &str) {
        let begun = Instant::now();
        while self.child.try_wait().expect("it is ours").is_none() {
            assert!(begun.elapsed() < PATIENCE, "it did not end");
            self.signal(name);
        }
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it did not end");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that has said where it serves.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let process = Process::start(&mut serve(arguments));
        let url = process.url();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Self { process, url }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("it begins so")
    }
}

fn signal(id: u32, name: &str) {
    let id = id.to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.expect("kill runs").success());
}

pub(crate) type Pipe = Box<dyn Read + Send>;

/// Lines that are read as they come.
pub(crate) struct Lines(mpsc::Receiver<String>);

impl Lines {
    pub(crate) fn of(pipes: impl IntoIterator<Item = Pipe>) -> Self {
        let (tell, lines) = mpsc::channel();
        for pipe in pipes {
            let tell = tell.clone();
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self(lines)
    }

    /// The next line with this text; those before it are passed over.
    pub(crate) fn with(&self, text: &str) -> String {
        let lines = self.until(text);
        let mut lines = lines.unwrap_or_else(|rest| panic!("no line with {text:?}: {rest:?}"));
        lines.pop().expect("the last one has it")
    }

    /// The lines up to the next one with this text.
    ///
    /// # Errors
    /// Those up to the end, where none has it.
    pub(crate) fn until(&self, text: &str) -> Result<Vec<String>, Vec<String>> {
        self.take_until(|line| line.contains(text))
    }

    /// The lines up to the end.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.take_until(|_| false).expect_err("none is the last")
    }

    fn take_until(&self, is_last: impl Fn(&str) -> bool) -> Result<Vec<String>, Vec<String>> {
        let end = Instant::now() + PATIENCE;
        let mut taken = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                Ok(line) => taken.push(line),
                Err(RecvTimeoutError::Disconnected) => return Err(taken),
                Err(RecvTimeoutError::Timeout) => panic!("nothing follows in time: {taken:?}"),
            }
            if taken.last().is_some_and(|line| is_last(line)) {
                return Ok(taken);
            }
        }
    }
}
