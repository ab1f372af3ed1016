//! One strike after the other, each counted with the messages that it met.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use tokio::time::{Instant, sleep};

use super::{
    ChaosOptions,
    kinds::{Kind, Strike, pairs, singles},
    say,
    theme::Theme,
    world::World,
};
use crate::{log::Record, rng::Rng, scenario::RunError};

/// Each kind so many times, and so many different pairs: full, short.
const ROUNDS: (usize, usize) = (10, 1);
const PAIRS: (usize, usize) = (60, 8);
/// A kind that did not take hold is tried again so often.
const REPEATS_MAX: usize = 10;
/// Every third strike outlasts the silence after which either side gives a link up (2 s).
const LONG_SHARE: u64 = 3;
const LONG_MS: (u64, u64) = (2_200, 3_400);
const BRIEF_MS: (u64, u64) = (700, 1_800);
const SHORT_FORM_MS: (u64, u64) = (500, 1_000);
const PAUSE_MS: (u64, u64) = (50, 400);

/// What is owed in a form: how often a kind, and how many pairs.
pub(super) fn owed(short: bool) -> (u64, u64) {
    match short {
        true => (ROUNDS.1 as u64, PAIRS.1 as u64),
        false => (ROUNDS.0 as u64, 50),
    }
}

/// Strikes by the theme, until everything that is owed took hold.
pub(super) async fn play(
    world: &World,
    options: &ChaosOptions,
    mut rng: Rng,
) -> Result<(), RunError> {
    let short = options.load.short;
    let kinds: Vec<Kind> = Kind::all(&world.ground)
        .into_iter()
        .filter(|kind| options.faults.is_empty() || options.faults.contains(&kind.name()))
        .collect();
    if kinds.is_empty() {
        return Err(RunError::Options("there is no such fault".into()));
    }
    let pick = |(full, small)| if short { small } else { full };
    let (strikes, least) = match options.theme {
        Theme::Pairs => (pairs(&kinds, pick(PAIRS), &mut rng), 1),
        _ => (singles(&kinds, pick(ROUNDS), &mut rng), pick(ROUNDS)),
    };
    let names = kinds.iter().map(|kind| kind.name()).collect();
    world.ledger.write(&Record::Kinds { kinds: names })?;
    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    for (number, strike) in strikes.iter().enumerate() {
        let took_hold = one(world, *strike, short, number, &mut rng).await?;
        *held.entry(name(*strike)).or_default() += usize::from(took_hold);
    }
    let mut distinct = strikes;
    distinct.sort_by_key(|strike| name(*strike));
    distinct.dedup();
    for strike in distinct {
        for number in 0..REPEATS_MAX {
            let count = held.entry(name(strike)).or_default();
            if *count >= least {
                break;
            }
            let took_hold = one(world, strike, short, number, &mut rng).await?;
            *held.entry(name(strike)).or_default() += usize::from(took_hold);
        }
    }
    Ok(())
}

/// Whether all of it took hold.
async fn one(
    world: &World,
    (first, second): Strike,
    short: bool,
    number: usize,
    rng: &mut Rng,
) -> Result<bool, RunError> {
    sleep(rng.millis(PAUSE_MS.0, PAUSE_MS.1)).await;
    let (least, most) = match number as u64 % LONG_SHARE {
        _ if short => SHORT_FORM_MS,
        0 => LONG_MS,
        _ => BRIEF_MS,
    };
    let lasts = rng.millis(least, most);
    let progress = &world.progress;
    let (begun, settled) = (Instant::now(), progress.settled.load(Relaxed));
    let strike = |kind, rng| world.strike(kind, lasts, rng);
    let (one, other) = match second {
        Some(second) => {
            // The second one falls into the first half of the first one.
            let later = lasts.mul_f64(rng.below(50) as f64 / 100.0);
            let (a, b) = (rng.fork(0), rng.fork(1));
            let late = async {
                sleep(later).await;
                strike(second, b).await
            };
            let (one, other) = tokio::try_join!(strike(first, a), late)?;
            (one, Some(other))
        }
        None => (strike(first, rng.fork(0)).await?, None),
    };
    let felt = one.min(other.unwrap_or(one));
    let in_flight = progress.issued.load(Relaxed) - settled;
    let record = Record::Strike {
        kind: first.name(),
        with: second.map(Kind::name),
        felt,
        in_flight,
        lasted_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    world.ledger.write(&record)?;
    if let Some(second) = second {
        say(format_args!(
            "{} with {}: {felt}",
            first.name(),
            second.name()
        ));
    }
    Ok(felt > 0)
}

fn name((first, second): Strike) -> String {
    let second = second.map(|second| format!(" with {}", second.name()));
    first.name() + &second.unwrap_or_default()
}
