//! Faults of system calls, by strace on a server that runs: a sync that fails, and syncs that are slow.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::Instant,
};

use super::{
    Polling,
    crew::{Crew, Fate},
    demand,
    refusals::{Scene, is_ready, judge_alive},
};
use crate::{
    process::terminate,
    scenario::{RunError, RunOptions},
    verdict::Verdict,
};

const DEADLINE: Duration = Duration::from_secs(30);
const SLOW_PUBLISHERS: usize = 16;
/// What a sync takes longer.
const DELAY: Duration = Duration::from_millis(600);
/// A read or a ping that waited for a sync would take about as long as one.
const PROMPT: Duration = Duration::from_millis(400);
const SLOW_READS: usize = 20;

/// A fault that lasts until it is detached.
pub(super) struct Injection {
    child: Child,
    trace: PathBuf,
}

impl Injection {
    /// Attaches to all threads of a process.
    pub(super) async fn attach(
        id: u32,
        call: &str,
        fault: &str,
        trace: &Path,
    ) -> Result<Self, RunError> {
        let child = Command::new("strace")
            .args(["-f", "-y", "-p", &id.to_string(), "-o"])
            .arg(trace)
            .args([
                "-e",
                &format!("trace={call}"),
                "-e",
                &format!("inject={fault}"),
            ])
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let injection = Self {
            child,
            trace: trace.to_owned(),
        };
        let status = format!("/proc/{id}/status");
        let polling = Polling::new("strace is attached", DEADLINE);
        while !is_traced(&status) {
            polling
                .again()
                .await
                .map_err(|_| RunError::NotRun("strace can't attach".into()))?;
        }
        Ok(injection)
    }

    /// Lets go, and answers what was traced.
    pub(super) async fn detach(mut self) -> Result<String, RunError> {
        terminate(&mut self.child, DEADLINE).await;
        Ok(fs::read_to_string(&self.trace)?)
    }
}

fn is_traced(status: &str) -> bool {
    let status = fs::read_to_string(status).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

pub(super) async fn eio(options: RunOptions) -> Result<Verdict, RunError> {
    demand("strace").await?;
    fs::create_dir_all(&options.folder)?;
    let mut scene = Scene::start(&options.server, &options.folder).await?;
    let mut verdict = Verdict::default();
    scene.crew().await;
    let id = scene
        .server
        .id()
        .ok_or_else(|| RunError::Failed("no server".into()))?;
    let fault = "fdatasync:error=EIO:when=1";
    let trace = options.folder.join("trace");
    let injection = Injection::attach(id, "fdatasync", fault, &trace).await?;
    scene.crew().await;
    verdict.at_least("fates unknown", scene.count(Fate::Unknown), 1);
    for attempt in 1..=5 {
        let body = scene
            .refusal("keep:probe")
            .await?
            .unwrap_or_default()
            .to_string();
        let is_right = body.contains("storage_unavailable");
        let name = format!("publish {attempt} refused with storage_unavailable");
        verdict.exactly(&name, is_right.into(), 1);
    }
    judge_alive(&mut verdict, "eio", &mut scene).await?;
    let trace = injection.detach().await?;
    let failed = trace.lines().find(|line| line.contains("EIO"));
    let file = failed.and_then(|line| line.split(['<', '>']).nth(1));
    let file = file.ok_or_else(|| RunError::Failed("no sync was failed".into()))?;
    let syncs = trace.lines().filter(|line| line.contains(file)).count();
    verdict.exactly(
        "syncs of the file, the failed one included",
        syncs as u64,
        1,
    );
    let log = options.folder.join("server.log");
    let polling = Polling::new("the server's log tells of it", DEADLINE);
    while !fs::read_to_string(&log)?.contains("fdatasync of the log failed") {
        polling.again().await?;
    }
    verdict.exactly("told in the server's log", 1, 1);
    let is_back = is_ready(&scene.server).await;
    verdict.exactly("ready again without a restart", is_back.into(), 0);
    scene
        .judge_restart(&mut verdict, &options.server, &options.folder)
        .await?;
    Ok(verdict)
}

pub(super) async fn slow(options: RunOptions) -> Result<Verdict, RunError> {
    demand("strace").await?;
    fs::create_dir_all(&options.folder)?;
    let mut scene = Scene::start(&options.server, &options.folder).await?;
    let mut verdict = Verdict::default();
    scene.crew().await;
    let id = scene
        .server
        .id()
        .ok_or_else(|| RunError::Failed("no server".into()))?;
    let fault = format!("fdatasync:delay_enter={}", DELAY.as_micros());
    let trace = options.folder.join("trace");
    let injection = Injection::attach(id, "fdatasync", &fault, &trace).await?;
    let crew = Crew::start(scene.server.address(), 1_000, SLOW_PUBLISHERS);
    let path = format!("/api/channels/{}/history", scene.tracks[0].channel);
    let mut http = scene.server.http();
    let (mut prompt_reads, mut prompt_pings) = (0, 0);
    for _ in 0..SLOW_READS {
        let begun = Instant::now();
        let read = http.get(&path).await;
        prompt_reads += u64::from(read.is_ok() && begun.elapsed() < PROMPT);
        let begun = Instant::now();
        scene.link.ping().await?;
        prompt_pings += u64::from(begun.elapsed() < PROMPT);
    }
    let polling = Polling::new("acks on a slow disk", DEADLINE);
    while crew.acked() < 2 * SLOW_PUBLISHERS as u64 {
        polling.again().await?;
    }
    crew.end();
    verdict.at_least(
        "acks on a slow disk",
        crew.acked(),
        2 * SLOW_PUBLISHERS as u64,
    );
    let is_well = is_ready(&scene.server).await;
    verdict.exactly("ready", is_well.into(), 1);
    injection.detach().await?;
    scene.tracks.extend(crew.tracks().await);
    let reads = SLOW_READS as u64;
    verdict.at_least(
        "reads that did not wait for a sync",
        prompt_reads,
        reads - 1,
    );
    verdict.at_least(
        "pings that did not wait for a sync",
        prompt_pings,
        reads - 1,
    );
    scene
        .judge_restart(&mut verdict, &options.server, &options.folder)
        .await?;
    Ok(verdict)
}
