//! Both sides of `bowline.v1` over links that break, in virtual time.
//!
//! Clients are [`bowline_proto::client::Client`]; the server is the machines of
//! [`bowline_proto::server`], put together as the server's connections do it. A seed decides who
//! publishes when and which link breaks how; a failure names it, and `SEED=n` replays it alone.

#[path = "simulation/check.rs"]
mod check;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/server.rs"]
mod server;
#[path = "simulation/world.rs"]
mod world;

use check::Totals;
use world::World;

/// Enough that every kind of fault comes often, in a few seconds.
const SEEDS: u32 = 60;

#[test]
fn nothing_is_lost_doubled_reordered_or_silently_left_out() {
    let only = std::env::var("SEED")
        .ok()
        .map(|seed| seed.parse::<u32>().expect("SEED is a number of 32 bits"));
    let seeds = only.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut totals = Totals::default();
    for seed in seeds {
        let mut world = World::new(seed);
        world.run();
        let found = check::violations(&world);
        assert!(found.is_empty(), "SEED={seed}: {found:#?}");
        totals.add(&world);
    }
    println!("{totals:?}");
    if only.is_none() {
        totals.assert_covered();
    }
}

#[test]
fn the_checker_finds_a_planted_loss_double_swap_and_silent_gap() {
    let mut world = World::new(1);
    world.run();
    assert_eq!(check::violations(&world), Vec::<String>::new());
    for plant in check::PLANTS {
        let mut planted = world.observed();
        plant.apply(&mut planted);
        let found = check::judge(&planted, &world.log);
        assert!(!found.is_empty(), "{plant:?} is not found");
    }
}

#[test]
fn a_seed_repeats_itself() {
    let play = || {
        let mut world = World::new(7);
        world.run();
        (world.log.entries(), world.observed())
    };
    assert_eq!(play(), play());
}
