//! How much memory a server takes: its resident set, and the buffers of all TCP sockets.

use std::{fs, io, time::Duration};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

const INTERVAL: Duration = Duration::from_millis(20);
/// The kernel counts in pages of the usual size on this architecture.
const PAGE_BYTES: u64 = 4_096;

/// Measures until it is stopped.
#[derive(Debug)]
pub(super) struct Gauge {
    idle: u64,
    highest: watch::Receiver<u64>,
    task: JoinHandle<()>,
    process: u32,
}

impl Gauge {
    /// Takes the present value for idle, and begins.
    pub(super) fn start(process: u32) -> io::Result<Self> {
        let idle = taken(process)?;
        let (sender, highest) = watch::channel(idle);
        let task = tokio::spawn(async move {
            let mut ticks = interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Ok(now) = taken(process) else { return };
                sender.send_modify(|highest| *highest = now.max(*highest));
            }
        });
        Ok(Self {
            idle,
            highest,
            task,
            process,
        })
    }

    pub(super) fn idle(&self) -> u64 {
        self.idle
    }

    /// The highest value above idle.
    pub(super) async fn stop(&mut self) -> u64 {
        self.task.abort();
        let last = taken(self.process).unwrap_or(0);
        let highest = *self.highest.borrow();
        highest.max(last).saturating_sub(self.idle)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn taken(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let resident = resident_bytes(&status).ok_or(io::ErrorKind::InvalidData)?;
    let kernel = kernel_pages(&sockets).ok_or(io::ErrorKind::InvalidData)? * PAGE_BYTES;
    Ok(resident + kernel)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

fn kernel_pages(sockets: &str) -> Option<u64> {
    let line = sockets.lines().find(|line| line.starts_with("TCP:"))?;
    line.rsplit_once("mem ")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        let status = "Name:\tbowline\nVmRSS:\t    5120 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes(status), Some(5_120 * 1_024));
        let sockets =
            "sockets: used 25\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 133\nUDP: inuse 0 mem 0\n";
        assert_eq!(kernel_pages(sockets), Some(133));
    }
}
