//! The hostile suite: every attack of the table against live servers, beside innocents.
//!
//! Owns the order of the run: start the servers and their innocents, play each case, look after each
//! whether the server lives and the innocents have lost nothing, judge the logs, count. The table is
//! `table`, one file a category.

mod case;
mod deflate;
mod innocents;
mod latency;
mod logs;
mod memory;
mod play;
mod table;
mod template;
mod tokens;
mod wire;
mod worlds;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    process::Server,
    scenario::{RunError, RunOptions, Scenario},
    verdict::Verdict,
};
use case::Case;
use innocents::Innocents;
pub use latency::discard;
use play::Player;
use template::Names;
use tokens::Tokens;
use worlds::{ADMIN_TOKEN, API_KEY, World};

/// The scenarios of this module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hostile",
        what: "every attack of the table against live servers, and what must come of it",
        run: |options| Box::pin(run(options)),
        judge,
    },
    Scenario {
        name: "hostile-memory",
        what: "what attacks cost the server in memory, the kernel's included",
        run: |options| Box::pin(memory::run(options)),
        judge,
    },
    Scenario {
        name: "hostile-latency",
        what: "what attacks cost innocents in time, beside a process that discards the same bytes",
        run: |options| Box::pin(latency::run(options)),
        judge,
    },
];

/// How long a server may be full of what a case has left, and how often it is looked at.
const LIVES_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const JUDGED_AT_ONCE: &str = "this scenario is judged while it runs; run it again";

fn judge(_: &Path) -> Result<Verdict, RunError> {
    Err(RunError::NotRun(JUDGED_AT_ONCE.to_owned()))
}

/// A server with all that belongs to it.
struct Place {
    world: World,
    server: Server,
    innocents: Innocents,
    log: PathBuf,
    /// Its process was told to go; nobody is left there.
    is_left: bool,
}

async fn run(options: RunOptions) -> Result<Verdict, RunError> {
    // Where cargo puts it, beside the server.
    let application = options
        .server
        .with_file_name("examples")
        .join("misbehaving");
    if !application.exists() {
        let missing = format!("{} is not there", application.display());
        return Err(RunError::Options(missing));
    }
    fs::create_dir_all(&options.folder)?;
    let tokens = Tokens::new().map_err(RunError::Failed)?;
    let mut places = BTreeMap::new();
    for world in World::ALL {
        let place = Place::open(world, &options, &application, &tokens).await?;
        places.insert(world, place);
    }
    let mut verdict = Verdict::default();
    let mut codes = BTreeSet::new();
    let mut number = 0;
    for (category, cases) in table::CATEGORIES {
        if !options.faults.is_empty() && !options.faults.iter().any(|name| name == category) {
            continue;
        }
        let mut passed = 0;
        for case in *cases {
            number += 1;
            let place = places.get_mut(&case.world).expect("all worlds are open");
            match place.play(case, number, &tokens).await {
                Ok(()) => {
                    passed += 1;
                    codes.extend(case.outcome.code());
                }
                Err(problem) => {
                    let line = format!("{category}: {}: {problem}", case.name);
                    eprintln!("{line}");
                    verdict.violations.push(line);
                }
            }
        }
        verdict.exactly(
            &format!("{category}: cases passed"),
            passed,
            cases.len() as u64,
        );
    }
    conclude(&mut verdict, places, &codes, &tokens).await?;
    Ok(verdict)
}

/// What holds over the whole run.
async fn conclude(
    verdict: &mut Verdict,
    places: BTreeMap<World, Place>,
    codes: &BTreeSet<&str>,
    tokens: &Tokens,
) -> Result<(), RunError> {
    let all: usize = table::CATEGORIES.iter().map(|(_, cases)| cases.len()).sum();
    verdict.at_least("cases in all", all as u64, 300);
    let owed = table::code_names().map_err(RunError::Failed)?;
    let missing = owed.iter().filter(|code| !codes.contains(code.as_str()));
    for code in missing.clone() {
        verdict
            .violations
            .push(format!("code {code} was not provoked"));
    }
    verdict.exactly(
        "codes of the table provoked",
        (owed.len() - missing.count()) as u64,
        owed.len() as u64,
    );
    let (mut received, mut lines, mut faults) = (0, 0, Vec::new());
    for place in places.into_values() {
        received += place.innocents.received();
        let judged = logs::judge(&place.log, place.world.logs_json(), &tokens.secrets())?;
        lines += judged.lines;
        let world = place.world.name();
        faults.extend(
            judged
                .faults
                .into_iter()
                .map(|fault| format!("log of {world}: {fault}")),
        );
    }
    verdict.inform("messages received by innocents", received);
    verdict.inform("log lines looked at", lines);
    verdict.exactly("log lines forged or with a secret", faults.len() as u64, 0);
    verdict.violations.extend(faults);
    Ok(())
}

impl Place {
    async fn open(
        world: World,
        options: &RunOptions,
        application: &Path,
        tokens: &Tokens,
    ) -> Result<Self, RunError> {
        let server = world
            .start(&options.server, application, &options.folder)
            .await?;
        let token = world.innocent_token().and_then(|name| tokens.mint(name));
        let innocents = Innocents::connect(&server, token.as_deref()).await;
        let innocents = innocents
            .map_err(|problem| RunError::Failed(format!("{}: {problem}", world.name())))?;
        Ok(Self {
            world,
            server,
            innocents,
            log: options.folder.join(world.name()).join("server.log"),
            is_left: false,
        })
    }

    /// Plays a case, and looks at the server and its innocents.
    async fn play(&mut self, case: &Case, number: usize, tokens: &Tokens) -> Result<(), String> {
        let host = self.server.address().to_string();
        let name = format!("case-{number}");
        let names = Names {
            host: &host,
            case: &name,
            key: API_KEY,
            admin: ADMIN_TOKEN,
            tokens,
        };
        // An address of its own, so that no limit by address carries over from one case to the next.
        let from = format!("127.{}.{}.1", 1 + number / 200, 1 + number % 200);
        let player = Player::new(&self.server, names, &self.log, from);
        player.play(case).await?;
        self.is_left |= case.acts.iter().any(case::Act::ends_the_server);
        if self.is_left {
            return Ok(());
        }
        let alive = self.server.check_alive();
        alive.map_err(|error| format!("the server died: {error}"))?;
        self.lives().await?;
        if self.world.delivers() {
            return self.innocents.check(&self.server).await;
        }
        self.innocents.are_there()
    }

    /// The sockets of a case go when the server sees their end, and may hold every place until then.
    async fn lives(&self) -> Result<(), String> {
        let deadline = Instant::now() + LIVES_WITHIN;
        loop {
            match self.server.http().get("/health/live").await {
                Ok((status, _)) if status.is_success() => return Ok(()),
                _ if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
                other => return Err(format!("the server does not live: {other:?}")),
            }
        }
    }
}
