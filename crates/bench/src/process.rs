//! Processes of the run: started, measured through `/proc`, and ended when dropped.

use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

/// How long a server may take until it accepts.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// A child process that does not outlive its owner.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program whose standard input and output are pipes.
    pub(crate) fn start(program: &str, arguments: &[String]) -> io::Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("can't start {program}: {error}")))?;
        Ok(Self { child })
    }

    /// Starts a server and waits until it accepts.
    pub(crate) fn serve(program: &str, arguments: &[String], at: SocketAddr) -> io::Result<Self> {
        let mut process = Self::start(program, arguments)?;
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(at).is_err() {
            if let Some(status) = process.child.try_wait()? {
                return Err(io::Error::other(format!("{program} ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "{program} does not accept on {at}"
                )));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// The pipes of a process started by [`start`](Self::start), once.
    pub(crate) fn pipes(&mut self) -> io::Result<(ChildStdin, ChildStdout)> {
        let pipes = self.child.stdin.take().zip(self.child.stdout.take());
        pipes.ok_or_else(|| io::Error::other("the pipes are taken already"))
    }

    /// Asks it to stop, as a service manager does.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process id is positive"))?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self, within: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("it still runs after {within:?}")));
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time of all its threads so far, in nanoseconds: the scheduler's own count, since
    /// `utime` and `stime` tick in hundredths of a second.
    pub(crate) fn cpu_ns(&self) -> io::Result<u64> {
        let mut total = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let nanos = text.split_whitespace().next();
            total += nanos
                .and_then(|nanos| nanos.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(total)
    }

    /// Its resident memory in bytes.
    pub(crate) fn rss_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let kilobytes = text
            .lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| io::Error::other("smaps_rollup has no Rss"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, in which case there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Raises the soft limit of open files to the hard one; children inherit it.
pub(crate) fn raise_open_files() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// How many files may be open; beyond any need if there is no limit.
pub(crate) fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}
