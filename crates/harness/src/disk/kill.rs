//! SIGKILL at every sync of a fixed workload, and at every answer that is sent after one.
//!
//! Owns the counting of system calls: a first run counts them, then the workload is run once for each,
//! and dies there. It counts by thread, as strace does, so each run begins with a log that was closed in
//! order: opening that needs no sync, and the committer's are the only ones.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::{check, crew, demand, serve, wrapped};
use crate::{
    process::{Server, ServerError},
    scenario::{RunError, RunOptions},
    verdict::Verdict,
};

/// Each over HTTP and over a link.
const MESSAGES: u64 = 8;
/// A short run dies at every so many-th call only.
const SHORT_STRIDE: usize = 7;
const STOP_GRACE: Duration = Duration::from_secs(10);
const SYNC: &str = "fdatasync";
/// What answers are sent with.
const SENDS: [&str; 4] = ["write", "writev", "sendto", "sendmsg"];
/// One worker, so that all answers are counted by one thread.
const ENVIRONMENT: [(&str, &str); 1] = [("TOKIO_WORKER_THREADS", "1")];

pub(super) async fn run(options: RunOptions) -> Result<Verdict, RunError> {
    demand("strace").await?;
    fs::create_dir_all(&options.folder)?;
    let base = options.folder.join("base");
    prepare(&options, &base).await?;
    let counts = count(&options, &base).await?;
    let mut verdict = Verdict::default();
    let mut found = check::Found::default();
    let mut round = 1;
    let stride = if options.short { SHORT_STRIDE } else { 1 };
    for (call, &calls) in &counts {
        let mut died = 0;
        let mut wanted = 0;
        for when in (1..=calls).step_by(stride) {
            round += 1;
            wanted += 1;
            let reached = die_at(&options, &base, call, when, round, &mut found).await?;
            died += u64::from(reached);
            // How often the workload asks whether the server is ready is not fixed, so the last answers
            // may not come; a sync always does.
            if !reached && call == SYNC {
                found.violation(format!("{call} number {when} was not reached"));
            }
        }
        match call.as_str() {
            SYNC => verdict.exactly(&format!("killed at {call}"), died, wanted),
            _ => verdict.at_least(&format!("killed at {call}"), died, 1),
        }
    }
    let syncs = counts.get(SYNC).copied().unwrap_or(0) as u64;
    verdict.at_least("syncs of the workload", syncs, 2 * MESSAGES);
    verdict.inform("acked", found.acked);
    verdict.inform("unanswered and there", found.unknown_there);
    verdict.inform("unanswered and gone", found.unknown_gone);
    verdict.inform("keys and sessions asked for", found.marks);
    verdict.exactly("violations", found.violations.len() as u64, 0);
    verdict.violations = found.violations;
    Ok(verdict)
}

/// A log that was closed in order.
async fn prepare(options: &RunOptions, base: &Path) -> Result<(), RunError> {
    let server = serve(&options.server, &options.folder, &ENVIRONMENT).await?;
    crew::in_turn(server.address(), 1, 1).await;
    server.stop(STOP_GRACE).await;
    fs::rename(options.folder.join("data"), base)?;
    Ok(())
}

/// The most calls of one thread, by system call.
async fn count(options: &RunOptions, base: &Path) -> Result<BTreeMap<String, usize>, RunError> {
    put_back(options, base)?;
    let trace = options.folder.join("trace");
    let calls = [&[SYNC][..], &SENDS].concat().join(",");
    let prefix = format!(
        "strace -D -f -qq -y -o '{}' -e trace={calls}",
        trace.display()
    );
    let binary = wrapped(options, "counted", &prefix)?;
    let server = serve(&binary, &options.folder, &ENVIRONMENT).await?;
    let tracks = crew::in_turn(server.address(), 1, MESSAGES).await;
    server.stop(STOP_GRACE).await;
    if tracks.iter().any(|track| track.acked() as u64 != MESSAGES) {
        return Err(RunError::Failed(format!(
            "the workload ended early: {tracks:?}"
        )));
    }
    let mut threads: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in fs::read_to_string(&trace)?.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, arguments)) = call.trim().split_once('(') else {
            continue;
        };
        let is_answer = SENDS.contains(&name) && arguments.contains("<socket:");
        if name == SYNC || is_answer || arguments.contains("<TCP:") {
            *threads.entry((name.into(), thread.into())).or_default() += 1;
        }
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for ((name, _), count) in threads {
        let most = counts.entry(name).or_default();
        *most = count.max(*most);
    }
    Ok(counts)
}

/// Runs the workload into its death; whether it died there.
async fn die_at(
    options: &RunOptions,
    base: &Path,
    call: &str,
    when: usize,
    round: u64,
    found: &mut check::Found,
) -> Result<bool, RunError> {
    put_back(options, base)?;
    let prefix = format!(
        "strace -D -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={when}"
    );
    let binary = wrapped(options, "killed", &prefix)?;
    let (tracks, reached) = match serve(&binary, &options.folder, &ENVIRONMENT).await {
        Ok(mut server) => {
            let tracks = crew::in_turn(server.address(), round, MESSAGES).await;
            let reached = server.check_alive().is_err() || was_killed(server).await;
            (tracks, reached)
        }
        // Before it was ready.
        Err(RunError::Server(ServerError::Ended(_))) => (Vec::new(), true),
        Err(error) => return Err(error),
    };
    let mut server = match serve(&options.server, &options.folder, &[]).await {
        Ok(server) => server,
        Err(error) => {
            found.violation(format!("{call} number {when}: it does not open: {error}"));
            return Ok(reached);
        }
    };
    found.add(check::check(server.address(), &tracks, true).await?);
    server.kill().await?;
    Ok(reached)
}

/// It may still be dying, or die while it is closed.
async fn was_killed(server: Server) -> bool {
    use std::os::unix::process::ExitStatusExt;

    let status = server.stop(STOP_GRACE).await;
    status.is_some_and(|status| status.signal() == Some(9))
}

fn put_back(options: &RunOptions, base: &Path) -> Result<(), RunError> {
    super::copy::replace(&options.folder.join("data"), base)?;
    Ok(())
}
