//! The power is cut under a busy server, again and again.
//!
//! Each round: the server opens the log, a crew publishes, the file system is shut down without a flush
//! of its journal, the server is killed, the image is mounted again, and the server that comes back is
//! asked about everything that was acked before the cut, in this round and in the one before.

use std::{fs, time::Duration};

use super::{
    Polling, check,
    crew::{Crew, Track},
    demand,
    image::Image,
    serve,
};
use crate::{
    process::Server,
    rng::Rng,
    scenario::{RunError, RunOptions},
    tracer::{SyncFault, Tracer},
    verdict::Verdict,
};

const PUBLISHERS: usize = 24;
const ROUNDS: u64 = 300;
const ROUNDS_SHORT: u64 = 4;
/// In which a log must be found out that was never synced.
const LYING_ROUNDS: u64 = 20;
const IMAGE_BYTES: u64 = 1 << 30;
const ACKS_DEADLINE: Duration = Duration::from_secs(20);
/// By then a round is cut: long before any publisher has said all that it has to say.
const ACKED_MAX: usize = PUBLISHERS * 150;
/// How late a sync is that the cut should come before, where that can be had.
const SYNC_DELAY: Duration = Duration::from_millis(5);
/// What a full run owes.
const ACKED_FULL: u64 = 300_000;
const DISCARDED_FULL: u64 = 200;
/// What each round of a smaller one owes.
const ACKED_EACH_MIN: u64 = 50;

/// Totals of all rounds.
#[derive(Default)]
struct Totals {
    rounds: u64,
    acked: u64,
    discarded_rounds: u64,
    shorter_rounds: u64,
    compactions: u64,
    hinted: u64,
    found: check::Found,
}

pub(super) async fn run(options: RunOptions) -> Result<Verdict, RunError> {
    let rounds = options
        .sizes
        .rounds
        .unwrap_or(if options.short { ROUNDS_SHORT } else { ROUNDS });
    let totals = rounds_of(&options, rounds, &[]).await?;
    let mut verdict = Verdict::default();
    verdict.exactly("rounds", totals.rounds, rounds);
    let (acked, discarded) = match rounds {
        ROUNDS.. => (ACKED_FULL, DISCARDED_FULL),
        // Runs that are summed: the record owes the same.
        _ => (rounds * ACKED_EACH_MIN, rounds / 4),
    };
    verdict.at_least("acked", totals.acked, acked);
    verdict.at_least(
        "rounds that discarded an unacked tail",
        totals.discarded_rounds,
        discarded,
    );
    verdict.inform(
        "rounds after which the log was shorter",
        totals.shorter_rounds,
    );
    verdict.at_least("compactions before cuts", totals.compactions, 1);
    verdict.inform("segments opened by hints", totals.hinted);
    verdict.inform("unanswered and there", totals.found.unknown_there);
    verdict.inform("unanswered and gone", totals.found.unknown_gone);
    verdict.inform("keys and sessions asked for", totals.found.marks);
    verdict.inform("acked messages looked for", totals.found.acked);
    verdict.exactly("violations", totals.found.violations.len() as u64, 0);
    verdict.violations = totals.found.violations;
    Ok(verdict)
}

/// A server whose syncs do nothing must be found out.
pub(super) async fn run_lying(options: RunOptions) -> Result<Verdict, RunError> {
    demand("eatmydata").await?;
    let library = fs::read_dir("/usr/lib")?
        .filter_map(|entry| Some(entry.ok()?.path().join("libeatmydata.so")))
        .find(|path| path.exists());
    let Some(library) = library else {
        return Err(RunError::NotRun("there is no libeatmydata.so".into()));
    };
    let library = library.to_string_lossy().into_owned();
    let lie = [("LD_PRELOAD", library.as_str())];
    let totals = rounds_of(&options, LYING_ROUNDS, &lie).await?;
    let mut verdict = Verdict::default();
    verdict.at_most("rounds until it was found out", totals.rounds, LYING_ROUNDS);
    verdict.at_least("violations", totals.found.violations.len() as u64, 1);
    Ok(verdict)
}

/// Rounds until there are violations.
async fn rounds_of(
    options: &RunOptions,
    rounds: u64,
    environment: &[(&str, &str)],
) -> Result<Totals, RunError> {
    fs::create_dir_all(&options.folder)?;
    let mut image = Image::create(&options.folder, IMAGE_BYTES, "loop").await?;
    let mut rng = Rng::new(options.seed);
    let mut totals = Totals::default();
    let can_delay = Tracer::is_there().await;
    let mut server = serve(&options.server, &options.folder, environment).await?;
    let mut before = Vec::new();
    while totals.rounds < rounds && totals.found.violations.is_empty() {
        totals.rounds += 1;
        let crew = Crew::start(server.address(), totals.rounds, PUBLISHERS);
        wait_acked(&crew, rng.index(ACKED_MAX)).await?;
        totals.compactions += detail(&server, "compactions").await;
        // Three of four cuts come when there is most to lose: between a write and its sync, which is
        // late so that the cut falls before it.
        let when_written = totals.rounds % 4 != 0;
        let tracer = match (when_written && can_delay, server.id()) {
            (true, Some(id)) => {
                let late = SyncFault::Delay(SYNC_DELAY);
                Some(Tracer::start(id, late, &options.folder).await?)
            }
            _ => None,
        };
        let cutter = image.cutter().await?;
        crew.end();
        cutter.cut(when_written).await?;
        let bytes = image.log_bytes()?;
        server.kill().await?;
        drop(tracer);
        let tracks = crew.tracks().await;
        totals.acked += tracks.iter().map(|track| track.acked() as u64).sum::<u64>();
        image.remount().await?;
        totals.shorter_rounds += u64::from(image.log_bytes()? < bytes);
        if let Err(error) = server.restart().await {
            let text = format!("round {}: it does not open: {error}", totals.rounds);
            totals.found.violation(text);
            break;
        }
        totals.hinted += detail(&server, "segments_hinted_at_opening").await;
        let found = check::check(server.address(), &tracks, true).await?;
        totals.discarded_rounds += u64::from(found.unknown_gone > 0);
        totals.found.add(found);
        let old = check::check(server.address(), &before, false).await?;
        totals.found.add(old);
        before = tracks;
        before.retain(|track| track.channel.starts_with("keep:"));
        // Asking for the keys has published what was not there.
        before.iter_mut().for_each(Track::forget_refusals);
        if totals.rounds % 25 == 0 {
            eprintln!("round {}, {} acked", totals.rounds, totals.acked);
        }
    }
    let _ = server.kill().await;
    drop(server);
    Ok(totals)
}

/// Until so many were acked, and every second publisher can have been answered.
async fn wait_acked(crew: &Crew, acked: usize) -> Result<(), RunError> {
    let polling = Polling::new("enough acks", ACKS_DEADLINE);
    while crew.acked() < acked.max(PUBLISHERS / 2) as u64 {
        polling.again().await?;
    }
    Ok(())
}

async fn detail(server: &Server, name: &str) -> u64 {
    server
        .stats()
        .await
        .map_or(0, |stats| super::find(&stats, name))
}
