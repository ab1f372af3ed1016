//! The disk takes no more: it is full, read-only, or refuses a call.
//!
//! Publishes are refused with their code and to be retried; reads and live links go on; it is well again
//! by itself as soon as the disk is; and what was acked is there after a restart.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    Polling,
    check::{self, Found},
    command,
    crew::{Crew, Fate, Track},
    demand,
    image::Image,
    injected::Injection,
    serve,
    socket::Socket,
};
use crate::{
    process::Server,
    scenario::{RunError, RunOptions},
    verdict::Verdict,
};

const PUBLISHERS: usize = 16;
const IMAGE_BYTES: u64 = 16 << 20;
/// Given back later.
const FILLER_BYTES: usize = 8 << 20;
/// So many crews fill what is left, at most.
const CREWS_MAX: u64 = 60;
const BACK_MS_MAX: u64 = 1_000;
const DEADLINE: Duration = Duration::from_secs(30);
/// Calls that fail, with what, and the code that is owed.
const ERRORS: [(&str, &str, &str); 4] = [
    ("pwrite64", "ENOSPC", "storage_full"),
    ("pwrite64", "EDQUOT", "storage_full"),
    ("pwrite64", "EROFS", "storage_unavailable"),
    ("openat", "EMFILE", "storage_unavailable"),
];

/// A server with a live link, and everything that was published to it.
pub(super) struct Scene {
    pub(super) server: Server,
    pub(super) link: Socket,
    seq: u64,
    round: u64,
    pub(super) tracks: Vec<Track>,
}

pub(super) async fn full(options: RunOptions) -> Result<Verdict, RunError> {
    fs::create_dir_all(&options.folder)?;
    let image = Image::create(&options.folder, IMAGE_BYTES, "loop").await?;
    let filler = image.folder().join("filler");
    fs::write(&filler, vec![1; FILLER_BYTES])?;
    let mut scene = Scene::start(&options.server, &options.folder).await?;
    let mut verdict = Verdict::default();
    // What was refused once may find room again that rewriting has given back.
    while scene.round < CREWS_MAX
        && !(scene.is_refused("storage_full") && scene.refusal("keep:probe").await?.is_some())
    {
        scene.crew().await;
    }
    let refused = scene.count(Fate::Refused);
    verdict.at_least("publishers refused with storage_full", refused, 1);
    scene
        .judge_refusal(&mut verdict, "full", "storage_full")
        .await?;
    fs::remove_file(&filler)?;
    scene.judge_return(&mut verdict, "full").await?;
    scene
        .judge_restart(&mut verdict, &options.server, &options.folder)
        .await?;
    drop(image);
    Ok(verdict)
}

pub(super) async fn read_only(options: RunOptions) -> Result<Verdict, RunError> {
    demand("strace").await?;
    fs::create_dir_all(&options.folder)?;
    let mut image =
        Image::create(&options.folder, IMAGE_BYTES * 4, "loop,errors=remount-ro").await?;
    let mut scene = Scene::start(&options.server, &options.folder).await?;
    let mut verdict = Verdict::default();
    for (call, error, code) in ERRORS {
        let id = scene
            .server
            .id()
            .ok_or_else(|| RunError::Failed("no server".into()))?;
        let fault = format!("{call}:error={error}");
        let injection = Injection::attach(id, call, &fault, &options.folder.join("trace")).await?;
        // What only happens at a new segment may take a while.
        let polling = Polling::new("publishes are refused", DEADLINE);
        while !scene.is_refused(code) {
            polling.again().await?;
            scene.crew().await;
        }
        scene.judge_refusal(&mut verdict, error, code).await?;
        injection.detach().await?;
        scene.judge_return(&mut verdict, error).await?;
        scene.forget_ends();
    }
    if let Err(problem) = remount_read_only(image.folder()).await {
        return Err(RunError::NotRun(problem));
    }
    scene.crew().await;
    let http_refused = scene.refusal("keep:probe").await?;
    verdict.exactly("read-only: refused", u64::from(http_refused.is_some()), 1);
    judge_alive(&mut verdict, "read-only", &mut scene).await?;
    scene.server.kill().await?;
    image.remount().await?;
    scene
        .judge_restart(&mut verdict, &options.server, &options.folder)
        .await?;
    drop(image);
    Ok(verdict)
}

/// What the kernel does itself when it finds an error, with the mount option that we gave: an orderly
/// remount is refused while files are open for writing.
async fn remount_read_only(mount: &Path) -> Result<(), String> {
    let mount = &mount.canonicalize().map_err(|error| error.to_string())?;
    let mounts = fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let of = mounts.lines().find_map(|line| {
        let (device, rest) = line.split_once(' ')?;
        (Path::new(rest.split(' ').next()?) == mount).then_some(device)
    });
    let device = of.and_then(|device| device.strip_prefix("/dev/"));
    let device = device.ok_or("the image's device is not known")?;
    let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
    fs::write(&trigger, "1").map_err(|error| format!("{trigger}: {error}"))?;
    let probe = mount.join("probe").to_string_lossy().into_owned();
    match command(&["touch", &probe]).await {
        Ok(()) => Err("the image is still writable".into()),
        Err(_) => Ok(()),
    }
}

impl Scene {
    pub(super) async fn start(binary: &Path, folder: &Path) -> Result<Self, RunError> {
        let server = serve(binary, folder, &[]).await?;
        let hello = json!({"type":"hello","id":1,"session":"a-live-link-0123456789","link":1,
            "first":1,"next":1,"subscribe":{}});
        let (link, _) = Socket::open(server.address(), hello).await?;
        Ok(Self {
            server,
            link,
            seq: 0,
            round: 0,
            tracks: Vec::new(),
        })
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A crew publishes what it may, or until it is refused.
    pub(super) async fn crew(&mut self) {
        self.round += 1;
        let crew = Crew::start(self.address(), self.round, PUBLISHERS);
        self.tracks.extend(crew.tracks().await);
    }

    pub(super) fn is_refused(&self, code: &str) -> bool {
        self.tracks.iter().any(|track| track.ended.contains(code))
    }

    fn forget_ends(&mut self) {
        self.tracks.iter_mut().for_each(|track| track.ended.clear());
    }

    pub(super) fn count(&self, fate: Fate) -> u64 {
        let fates = self.tracks.iter().flat_map(|track| &track.fates);
        fates.filter(|one| **one == fate).count() as u64
    }

    /// The code with which a publish is refused; none if it is taken.
    pub(super) async fn refusal(&self, channel: &str) -> Result<Option<Value>, RunError> {
        let body = json!({"channel":channel,"data":"x".repeat(4_000)}).to_string();
        let answer = self.server.http().post("/api/publish", body).await;
        let (status, body) = answer.map_err(|error| RunError::Failed(error.to_string()))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok((!status.is_success()).then_some(body))
    }

    /// While the disk refuses: publishes are refused with this code, the rest goes on.
    async fn judge_refusal(
        &mut self,
        verdict: &mut Verdict,
        name: &str,
        code: &str,
    ) -> Result<(), RunError> {
        let body = self.refusal("keep:probe").await?.unwrap_or_default();
        let text = body.to_string();
        let is_right = text.contains(code) && text.contains("\"retry\":true");
        if !is_right {
            verdict.violations.push(format!("{name}: {text}"));
        }
        verdict.exactly(&format!("{name}: HTTP {code}, retry"), is_right.into(), 1);
        let told = self
            .link
            .publish(self.seq + 1, "keep:link", &json!("x".repeat(4_000)))
            .await?;
        let is_right = told == Err(code.to_owned());
        verdict.exactly(&format!("{name}: link told {code}"), is_right.into(), 1);
        judge_alive(verdict, name, self).await
    }

    /// The disk takes writes again: it is well within a second, and the link's message goes through.
    async fn judge_return(&mut self, verdict: &mut Verdict, name: &str) -> Result<(), RunError> {
        let polling = Polling::new("publishes are taken again", DEADLINE);
        while self.refusal("keep:probe").await?.is_some() {
            polling.again().await?;
        }
        let millis = polling.elapsed_ms();
        verdict.at_most(&format!("{name}: ms until well again"), millis, BACK_MS_MAX);
        self.seq += 1;
        let told = self.link.publish(self.seq, "keep:link", &json!(1)).await?;
        verdict.exactly(
            &format!("{name}: link acked afterwards"),
            told.is_ok().into(),
            1,
        );
        let polling = Polling::new("ready again", DEADLINE);
        while !is_ready(&self.server).await {
            polling.again().await?;
        }
        Ok(())
    }

    /// What was acked is there after a restart.
    pub(super) async fn judge_restart(
        &mut self,
        verdict: &mut Verdict,
        binary: &Path,
        folder: &Path,
    ) -> Result<(), RunError> {
        self.server.kill().await?;
        self.server = serve(binary, folder, &[]).await?;
        let mut found = Found::default();
        // A channel that keeps little has lost what the rounds before wrote.
        let (last, before): (Vec<_>, Vec<_>) = self
            .tracks
            .drain(..)
            .partition(|track| track.name.starts_with(&format!("r{}-", self.round)));
        let before: Vec<_> = before
            .into_iter()
            .filter(|track| track.channel.starts_with("keep:"))
            .collect();
        found.add(check::check(self.server.address(), &before, false).await?);
        found.add(check::check(self.server.address(), &last, false).await?);
        verdict.at_least("acked messages looked for", found.acked, 1);
        verdict.exactly("violations", found.violations.len() as u64, 0);
        verdict.violations.extend(found.violations);
        self.server.kill().await?;
        Ok(())
    }
}

/// Reads and the live link go on, and readiness says that appends are refused.
pub(super) async fn judge_alive(
    verdict: &mut Verdict,
    name: &str,
    scene: &mut Scene,
) -> Result<(), RunError> {
    let channel = scene
        .tracks
        .first()
        .map_or("keep:probe", |track| &track.channel);
    let path = format!("/api/channels/{channel}/history");
    let read = scene.server.http().get(&path).await;
    let is_read = read.is_ok_and(|(status, _)| status.is_success());
    verdict.exactly(&format!("{name}: history is read"), is_read.into(), 1);
    let is_alive = scene.link.ping().await.is_ok();
    verdict.exactly(&format!("{name}: live link answers"), is_alive.into(), 1);
    let is_told = !is_ready(&scene.server).await;
    verdict.exactly(&format!("{name}: not ready"), is_told.into(), 1);
    Ok(())
}

pub(super) async fn is_ready(server: &Server) -> bool {
    let answer = server.http().get("/health/ready").await;
    answer.is_ok_and(|(status, _)| status.is_success())
}
