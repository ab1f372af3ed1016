//! The scenario `hostile-latency`: what attacks cost innocents in time.
//!
//! Owns the comparison: rounds in which the attack goes to the server, between rounds in which the same
//! bytes, at the same pace, go to a process that reads and discards them. So both kinds of rounds share
//! the machine with the attackers, and only the server's own work differs.

mod attack;
mod pings;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

use super::worlds::start_with;
use crate::{
    scenario::{RunError, RunOptions},
    verdict::Verdict,
};

/// Rounds of each kind; they take turns.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(10);
const ROUND_SHORT: Duration = Duration::from_secs(2);
const START_DEADLINE: Duration = Duration::from_secs(10);
/// What the discarding process reads at once: as much as the server does.
const READ_BYTES: usize = 16 << 10;

pub(super) async fn run(options: RunOptions) -> Result<Verdict, RunError> {
    fs::create_dir_all(&options.folder)?;
    let server = start_with(
        &options.server,
        &options.folder,
        "[log]\nlevel = \"error\"\n",
    )
    .await?;
    let (_sink, discarding) = spawn_sink().await?;
    let round = match (options.short, options.span) {
        (_, Some(span)) => span,
        (true, None) => ROUND_SHORT,
        (false, None) => ROUND,
    };
    let (mut control, mut attacked) = (Vec::new(), Vec::new());
    let (mut bytes_discarded, mut bytes_taken) = (0, 0);
    for _ in 0..ROUNDS {
        for (target, samples, bytes) in [
            (discarding, &mut control, &mut bytes_discarded),
            (server.address(), &mut attacked, &mut bytes_taken),
        ] {
            let attackers = attack::begin(target);
            let round = pings::measure(server.address(), round).await;
            *bytes += attackers.end().await;
            samples.extend(round.map_err(RunError::Failed)?);
        }
    }
    let (control_p99, attacked_p99) = (p99(&mut control), p99(&mut attacked));
    let mut verdict = Verdict::default();
    verdict.inform("attack bytes discarded, KB", bytes_discarded / 1_024);
    verdict.inform("attack bytes to the server, KB", bytes_taken / 1_024);
    // What the server ends early is not written, so the server sees a little less.
    verdict.at_least(
        "share of them that reached the server, %",
        bytes_taken * 100 / bytes_discarded.max(1),
        50,
    );
    verdict.inform("pings beside the discarding process", control.len() as u64);
    verdict.inform("pings under attack", attacked.len() as u64);
    verdict.inform("p99 beside the discarding process, us", control_p99);
    verdict.at_most("p99 under attack, us", attacked_p99, control_p99 * 2);
    Ok(verdict)
}

fn p99(samples: &mut [u64]) -> u64 {
    samples.sort_unstable();
    let index = samples.len().saturating_sub(1) * 99 / 100;
    samples.get(index).copied().unwrap_or(0)
}

/// This program once more, as the process that discards.
async fn spawn_sink() -> Result<(Child, SocketAddr), RunError> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("discard")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(output).lines();
    let line = timeout(START_DEADLINE, lines.next_line()).await;
    let late = |_| RunError::Late {
        what: "the discarding process".to_owned(),
        deadline: START_DEADLINE,
    };
    let line = line.map_err(late)??.unwrap_or_default();
    let address = line.parse();
    let address = address.map_err(|_| RunError::Failed(format!("it says {line:?}")))?;
    Ok((child, address))
}

/// Reads and discards whatever comes, until it is killed. Says first where.
///
/// # Errors
/// There is no port.
pub async fn discard() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    loop {
        let Ok((mut socket, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(async move {
            let mut sink = vec![0; READ_BYTES];
            while matches!(socket.read(&mut sink).await, Ok(1..)) {}
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p99_is_what_one_in_a_hundred_exceeds() {
        let mut samples: Vec<u64> = (1..=1_000).rev().collect();
        assert_eq!(p99(&mut samples), 990);
        assert_eq!(p99(&mut []), 0);
    }
}
